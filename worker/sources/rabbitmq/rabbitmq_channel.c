/*  down --connection--> opening --> declaring --> limiting --> ready
 *    ready --intake wanted--> subscribing --consume-ok--> consuming --basic.cancel--> cancelled
 *      ^                                                      |                           |
 *      +-------- cancel-ok -------- cancelling <--not wanted--+       declaring <--wait---+
 *    consuming --not wanted, single active--> finishing --its jobs have ended, channel.close--> releasing
 *    releasing --close-ok--> released --wanted--> opening
 *    (open) --channel.close--> broken --wait--> opening
 *    (open) --our own trouble--> resetting --close-ok--> broken
 *    (open) --rabbitmq_channel_close()--> closing --close-ok--> closed
 *    (any)  --connection lost--> down
 *
 * A job's way through here: deliver, header and body become a job (assembling); the core has it
 * then, and comes back with settle(). Its answer is collected in the tags (rabbitmq_tags.h) and told
 * at the end of a turn.
 *
 * When to tell: when enough is finished for a worthwhile "multiple", else after a millisecond, at
 * once when somebody waits for it. "Enough" is half the prefetch at most, so the broker is never
 * short of room to send; with a prefetch of 1 it is every job.
 *
 * The awkward part is proof. The protocol has no answer to an ack, and a reset connection can lose
 * the last ones; a job reported as done that the broker redelivers would be a lie. So now and then we
 * repeat basic.qos with the value it has anyway: the channel works in order, so its qos-ok proves
 * everything told before. One is under way at a time, 50 ms apart unless somebody waits; what is told
 * and not proved when the channel goes is reported as lost. channel.close-ok proves just the same.
 *
 * Giving back many at once is the other awkward part. One "multiple" nack gives back ten thousand in
 * 30 ms, but while jobs with lower tags still run it would give back those too. Ten thousand single
 * nacks keep a classic queue busy for more than 20 s: it looks for each one's place from the head
 * on, so the cost grows with the square. In a transaction the channel collects single nacks and hands
 * them to the queue as one list. So the channel goes into transactions then (tx.select; there is no
 * way back), and from there on it is a commit that makes the answers hold, and commit-ok that proves
 * them. (Backwards, single nacks would be fast too, but other consumers would get the last first.)
 *
 * A queue with a single active consumer promises its order. basic.cancel makes the next consumer the
 * active one at once, and it overtakes what still runs here and what we hold. Giving back first is no
 * better: it all comes straight back to us, the only active one, and goes back again behind later
 * jobs (measured on a quorum queue: order broken in 100 of 100 rounds). Only channel.close does both in
 * one step inside the queue: it takes back what has no answer, in order, and then passes on to the
 * next consumer (broken in none). So such a channel stays subscribed until its last job has ended,
 * and closes then. What goes back is not answered but left to the close (parked), and what still
 * arrives is not even read.
 *
 * A tag means (connection, channel, tag). Each opening of a channel gets an epoch of its own that no
 * other opening ever has; a job of another epoch is never told of here. */
#include "sources/rabbitmq/rabbitmq_channel.h"

#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "job/job.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "settings/settings.h"
#include "sources/census.h"
#include "sources/rabbitmq/rabbitmq_copies.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "sources/rabbitmq/rabbitmq_tags.h"
#include "sources/source.h"

#include <inttypes.h>
#include <stdio.h>

#define COLLECT_NS      UINT64_C(1000000)  /* longest that a finished job waits to be told */
#define PROVE_EVERY_NS  UINT64_C(50000000) /* a proof costs as much as a few acks */
#define TOLD_BYTES_MOST (8u << 20)         /* memory that may wait for a proof */
#define RETURN_SINGLY   50u                /* more than so many are given back as one list */
#define TELL_MOST       100u /* beyond it a larger "multiple" saves nothing measurable */

enum channel_state {
	CHANNEL_DOWN,
	CHANNEL_OPENING,
	CHANNEL_DECLARING,
	CHANNEL_LIMITING,
	CHANNEL_READY,
	CHANNEL_SUBSCRIBING,
	CHANNEL_CONSUMING,
	CHANNEL_CANCELLING,
	CHANNEL_FINISHING,
	CHANNEL_CANCELLED,
	CHANNEL_BROKEN,
	CHANNEL_RESETTING,
	CHANNEL_RELEASING,
	CHANNEL_RELEASED,
	CHANNEL_CLOSING,
	CHANNEL_CLOSED,
};

#define MAY(state) (1u << (state))
#define MAY_END                                                                                    \
	(MAY(CHANNEL_DOWN) | MAY(CHANNEL_BROKEN) | MAY(CHANNEL_RESETTING) | MAY(CHANNEL_CLOSING))
#define MAY_SHUT (MAY(CHANNEL_DOWN) | MAY(CHANNEL_CLOSED))

static const struct {
	const char *name;
	const char *waits_for; /* what has to happen before it is closed or paused; "" nothing */
	unsigned may;
} states[] = {
    [CHANNEL_DOWN] = {"down",                    "",                 MAY(CHANNEL_OPENING) | MAY_SHUT   },
    [CHANNEL_OPENING] = {"opening",                 "channel.open-ok",  MAY(CHANNEL_DECLARING) | MAY_END  },
    [CHANNEL_DECLARING] = {"declaring",               "queue.declare-ok", MAY(CHANNEL_LIMITING) | MAY_END   },
    [CHANNEL_LIMITING] = {"limiting",                "basic.qos-ok",     MAY(CHANNEL_READY) | MAY_END      },
    [CHANNEL_READY] = {"ready",                   "",                 MAY(CHANNEL_SUBSCRIBING) | MAY_END},
    [CHANNEL_SUBSCRIBING] = {"subscribing",             "basic.consume-ok",
                      MAY(CHANNEL_CONSUMING) | MAY(CHANNEL_CANCELLED) | MAY_END                        },
    [CHANNEL_CONSUMING] = {"consuming",               "",
                      MAY(CHANNEL_CANCELLING) | MAY(CHANNEL_FINISHING) |
			       MAY(CHANNEL_CANCELLED) | MAY_END                                        },
    [CHANNEL_CANCELLING] = {"cancelling",              "basic.cancel-ok",  MAY(CHANNEL_READY) | MAY_END      },
    [CHANNEL_FINISHING] = {"finishing",               "the last job",     MAY(CHANNEL_RELEASING) | MAY_END  },
    [CHANNEL_CANCELLED] = {"cancelled by the broker", "",                 MAY(CHANNEL_DECLARING) | MAY_END  },
    [CHANNEL_BROKEN] = {"closed by the broker",    "",                 MAY(CHANNEL_OPENING) | MAY_SHUT   },
    [CHANNEL_RESETTING] = {"resetting",               "channel.close-ok",
                      MAY(CHANNEL_BROKEN) | MAY(CHANNEL_CLOSING) | MAY(CHANNEL_DOWN)                   },
    [CHANNEL_RELEASING] = {"releasing",               "channel.close-ok",
                      MAY(CHANNEL_RELEASED) | MAY(CHANNEL_BROKEN) | MAY(CHANNEL_CLOSING) |
			       MAY(CHANNEL_DOWN)						       },
    [CHANNEL_RELEASED] = {"released",                "",                 MAY(CHANNEL_OPENING) | MAY_SHUT   },
    [CHANNEL_CLOSING] = {"closing",                 "channel.close-ok", MAY(CHANNEL_CLOSED)               },
    [CHANNEL_CLOSED] = {"closed",                  "",                 0                                 },
};

/* The message that is coming in: deliver, then header, then its body in pieces. */
enum incoming_part { INCOMING_NONE, INCOMING_HEADER, INCOMING_BODY };

struct incoming {
	enum incoming_part due;
	uint64_t tag;
	bool redelivered;
	uint64_t body_left;
	struct job *job; /* NULL while the body is skipped */
	size_t filled;
};

enum proof { PROOF_NONE, PROOF_QOS, PROOF_COMMIT };

struct rabbitmq_channel {
	struct rabbitmq_channels *all;
	const struct queue_settings *settings;
	struct route *route;
	uint16_t number;
	uint16_t prefetch; /* told last; 0: not yet */
	char consumer_tag[256];

	enum channel_state state;
	uint64_t epoch; /* of the opening whose tags can be told; 0: none */
	bool has_consumed;
	bool forgiven; /* before it has, too, no refusal is for good */
	bool retired;
	struct timer *again; /* while CANCELLED or BROKEN: to try again; while CONSUMING: to look */
	bool looking;        /* whether the queue still knows of a consumer: asked, not answered */
	unsigned census_round; /* the same answer is awaited by a census; 0: by none */
	struct reconnect backoff;

	struct incoming incoming;
	struct tags tags;
	size_t n_parked; /* while FINISHING: outstanding ones that go back with the channel */
	size_t outstanding_most; /* a broker that sends more does not keep to our prefetch */
	struct list in_busy;
	uint64_t ready_since_ns; /* the oldest finished and untold; valid while there is one */
	uint64_t proved_ns;      /* when the last proof was begun */
	enum proof proof;        /* under way */
	bool in_transactions;    /* answers hold with the next commit only */
	uint64_t rejected;       /* messages that could not become jobs */
};

/* --- states ------------------------------------------------------------------------------------ */

static struct source_host *host_of(const struct rabbitmq_channel *ch)
{
	return ch->all->source->host;
}

static bool is_open(const struct rabbitmq_channel *ch)
{
	return ch->state >= CHANNEL_DECLARING && ch->state <= CHANNEL_CANCELLED;
}

/* The only place that assigns the state. Whoever calls it tells the source when all is in order. */
static void move(struct rabbitmq_channel *ch, enum channel_state next)
{
	must((states[ch->state].may & MAY(next)) != 0);
	log_say(ch->all->log, LOG_DEBUG, "channel moved", kv_text("queue", ch->settings->name),
		kv_text("from", states[ch->state].name), kv_text("to", states[next].name));
	ch->state = next;
	timer_stop(ch->again);
}

static void moved(struct rabbitmq_channel *ch)
{
	ch->all->moved(ch->all->source);
}

static void send(struct rabbitmq_channel *ch, amqp_method_number_t id, const void *method)
{
	amqp_conn_send(ch->all->conn, ch->number, id, method);
}

static uint64_t wait_to_try_again(struct rabbitmq_channel *ch)
{
	uint64_t wait_ms = reconnect_failed(&ch->backoff, rabbitmq_random());
	timer_start(ch->again, wait_ms);
	return wait_ms;
}

/* --- answers ----------------------------------------------------------------------------------- */

static void be_busy(struct rabbitmq_channel *ch)
{
	if (list_linked(&ch->in_busy))
		return;
	list_append(&ch->all->busy, &ch->in_busy);
	loop_turn_again(ch->all->loop); /* we may be behind TURN_SETTLE already */
}

static void finish(struct rabbitmq_channel *ch, struct job *job, enum tag_answer answer)
{
	if (ch->tags.n_ready == 0)
		ch->ready_since_ns = loop_now_ns(ch->all->loop);
	tags_finish(&ch->tags, job, answer);
	be_busy(ch);
}

/* "RabbitMQ 3.10.8". What is not RabbitMQ has none of its versions. */
static bool server_is_at_least(const struct rabbitmq_channel *ch, unsigned major, unsigned minor)
{
	unsigned has_major, has_minor;
	if (sscanf(amqp_conn_server(ch->all->conn), "RabbitMQ %u.%u", &has_major, &has_minor) != 2)
		return false;
	return has_major > major || (has_major == major && has_minor >= minor);
}

/* From RabbitMQ 4 on a quorum queue's delivery limit counts basic.reject and not basic.nack; before it
 * counts both. So a failure is told by the one, and an interruption by the other. */
static enum tag_answer answer_of_return(const struct rabbitmq_channel *ch, const struct job *job)
{
	bool failed = job->outcome.kind == OUTCOME_RETURN && job->outcome.failed;
	return failed && server_is_at_least(ch, 4, 0) ? ANSWER_REQUEUE_FAILED : ANSWER_REQUEUE;
}

/* A single active consumer would get it again itself. */
static void requeue(struct rabbitmq_channel *ch, struct job *job)
{
	if (ch->state != CHANNEL_FINISHING) {
		finish(ch, job, answer_of_return(ch, job));
		return;
	}
	ch->n_parked++;
	be_busy(ch);
}

static void write_answer(void *arg, enum tag_answer answer, uint64_t tag, enum amqp_reach reach)
{
	struct rabbitmq_channel *ch = arg;
	switch (answer) {
	case ANSWER_ACK:
		amqp_conn_ack(ch->all->conn, ch->number, tag, reach);
		return;
	case ANSWER_REQUEUE:
		amqp_conn_requeue(ch->all->conn, ch->number, tag, reach);
		return;
	case ANSWER_REJECT:
		amqp_conn_reject(ch->all->conn, ch->number, tag, false);
		return;
	case ANSWER_REQUEUE_FAILED:
		amqp_conn_reject(ch->all->conn, ch->number, tag, true);
		return;
	}
}

static void tell(struct rabbitmq_channel *ch, enum tags_which which)
{
	tags_tell(&ch->tags, which, &(struct tag_sink){.tell = write_answer, .arg = ch});
}

/* tx is RabbitMQ's; elsewhere it may be an error that costs the connection. */
static void tell_all(struct rabbitmq_channel *ch)
{
	tell(ch, TAGS_PREFIX);
	bool speaks_tx = strncmp(amqp_conn_server(ch->all->conn), "RabbitMQ ", 9) == 0;
	if (speaks_tx && !ch->in_transactions &&
	    tags_count_ready(&ch->tags, ANSWER_REQUEUE) > RETURN_SINGLY) {
		amqp_tx_select_t select = {0};
		send(ch, AMQP_TX_SELECT_METHOD, &select);
		ch->in_transactions = true;
	}
	tell(ch, TAGS_ALL);
}

static size_t enough_to_tell(const struct rabbitmq_channel *ch)
{
	size_t half = ch->prefetch / 2;
	return half < TELL_MOST ? half : TELL_MOST;
}

static void tell_what_is_due(struct rabbitmq_channel *ch, uint64_t now_ns)
{
	size_t ready = ch->tags.n_ready;
	if (ready == 0)
		return;
	if (ch->all->urgent || now_ns - ch->ready_since_ns >= COLLECT_NS) {
		tell_all(ch);
		return;
	}
	if (ready < enough_to_tell(ch))
		return;
	tell(ch, TAGS_PREFIX);
	if (ch->tags.n_ready >= enough_to_tell(ch))
		tell_all(ch);
	if (ch->tags.n_ready < ready)
		ch->ready_since_ns = now_ns; /* those in front of the rest have just left */
}

static void send_qos(struct rabbitmq_channel *ch)
{
	amqp_basic_qos_t qos = {.prefetch_count = ch->prefetch};
	send(ch, AMQP_BASIC_QOS_METHOD, &qos);
}

static void begin_proof(struct rabbitmq_channel *ch)
{
	if (ch->in_transactions) {
		amqp_tx_commit_t commit = {0};
		send(ch, AMQP_TX_COMMIT_METHOD, &commit);
		ch->proof = PROOF_COMMIT;
	} else {
		send_qos(ch);
		ch->proof = PROOF_QOS;
	}
	tags_begin_proof(&ch->tags);
	ch->proved_ns = loop_now_ns(ch->all->loop);
}

/* A commit may not wait: the broker counts what is not committed against the prefetch. */
static void prove_what_is_due(struct rabbitmq_channel *ch, uint64_t now_ns)
{
	if (list_empty(&ch->tags.told) || ch->proof != PROOF_NONE)
		return;
	if (ch->all->urgent || ch->in_transactions || now_ns - ch->proved_ns >= PROVE_EVERY_NS ||
	    ch->tags.told_bytes >= TOLD_BYTES_MOST)
		begin_proof(ch);
}

struct rabbitmq_channel *rabbitmq_channel_of_busy(struct list *node)
{
	return list_entry(node, struct rabbitmq_channel, in_busy);
}

static void report_proved(struct rabbitmq_channel *ch)
{
	struct job *job;
	while ((job = tags_take_proved(&ch->tags)) != NULL)
		host_of(ch)->settled(host_of(ch), job, SETTLED);
	ch->proof = PROOF_NONE;
}

/* --- losing ------------------------------------------------------------------------------------ */

static void drop_incoming(struct rabbitmq_channel *ch)
{
	job_destroy(ch->incoming.job);
	ch->incoming = (struct incoming){0};
}

/* What has no answer goes back to the broker by itself. What runs goes on without us, and its
 * settle() will find that its epoch is over. */
static void lose_outstanding(struct rabbitmq_channel *ch)
{
	struct job *job;
	while ((job = tags_take_outstanding(&ch->tags)) != NULL)
		if (job->state == JOB_SETTLING)
			host_of(ch)->settled(host_of(ch), job, SETTLED_LOST);
}

static void lose_unproved(struct rabbitmq_channel *ch)
{
	struct job *job;
	tags_begin_proof(&ch->tags);
	while ((job = tags_take_proved(&ch->tags)) != NULL)
		host_of(ch)->settled(host_of(ch), job, SETTLED_UNPROVED);
	ch->proof = PROOF_NONE;
}

static void end_epoch(struct rabbitmq_channel *ch)
{
	ch->epoch = 0;
	ch->n_parked = 0;
	drop_incoming(ch);
	list_remove(&ch->in_busy);
	if (ch->route != NULL)
		rabbitmq_copies_forget(ch->all->copies, ch->route);
	lose_outstanding(ch);
}

static void lose_everything(struct rabbitmq_channel *ch)
{
	if (ch->epoch == 0 && list_empty(&ch->tags.told) && list_empty(&ch->tags.proving))
		return;
	end_epoch(ch);
	lose_unproved(ch);
	host_of(ch)->took_back(host_of(ch), ch->route);
}

/* Trouble of our own on an open channel: everything on it goes back, and we begin again. */
static void reset(struct rabbitmq_channel *ch, const char *why)
{
	amqp_channel_close_t close = {.reply_code = AMQP_RESOURCE_ERROR,
				      .reply_text = amqp_cstring_bytes(why)};
	log_say(ch->all->log, LOG_ERROR, "channel given up, its jobs go back to the broker",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_text("why", why));
	send(ch, AMQP_CHANNEL_CLOSE_METHOD, &close);
	move(ch, CHANNEL_RESETTING);
	lose_everything(ch);
	moved(ch);
}

/* --- letting go -------------------------------------------------------------------------------- */

/* Answers first, in the same write. What has none then goes back, and close-ok proves the rest. */
static void close_channel(struct rabbitmq_channel *ch, enum channel_state next)
{
	amqp_channel_close_t close = {.reply_code = AMQP_REPLY_SUCCESS,
				      .reply_text = amqp_cstring_bytes("done")};
	tell_all(ch);
	begin_proof(ch); /* for the commit, if it takes one */
	move(ch, next);
	send(ch, AMQP_CHANNEL_CLOSE_METHOD, &close);
	end_epoch(ch);
	if (ch->route != NULL)
		host_of(ch)->took_back(host_of(ch), ch->route);
}

static bool has_finished(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_FINISHING &&
	       ch->tags.n_outstanding == ch->tags.n_ready + ch->n_parked;
}

static void release(struct rabbitmq_channel *ch)
{
	log_say(ch->all->log, LOG_DEBUG, "single active consumer released",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("given_back", (int64_t)ch->n_parked));
	close_channel(ch, CHANNEL_RELEASING);
	moved(ch);
}

/* --- the end of a turn ------------------------------------------------------------------------- */

uint64_t rabbitmq_channel_turn(struct rabbitmq_channel *ch, uint64_t now_ns)
{
	must(is_open(ch));
	if (has_finished(ch)) {
		release(ch);
		return UINT64_MAX;
	}
	tell_what_is_due(ch, now_ns);
	prove_what_is_due(ch, now_ns);
	if (ch->tags.n_ready > 0)
		return 1;
	if (list_empty(&ch->tags.told)) {
		list_remove(&ch->in_busy);
		return UINT64_MAX;
	}
	if (ch->proof != PROOF_NONE)
		return UINT64_MAX; /* its answer begins a turn */
	return (PROVE_EVERY_NS - (now_ns - ch->proved_ns)) / 1000000 + 1;
}

/* --- settling ---------------------------------------------------------------------------------- */

static void begin_copy(struct rabbitmq_channel *ch, struct job *job)
{
	struct error why;
	if (rabbitmq_copies_begin(ch->all->copies, job, ch->settings, COPY_NOW, &why) != ST_OK)
		reset(ch, why.text); /* no memory: the broker keeps it better than we could */
}

/* A nack cannot carry a checkpoint. Without memory for a copy it is lost, and the job is not. */
static void give_back(struct rabbitmq_channel *ch, struct job *job)
{
	enum rabbitmq_copy_when when =
	    ch->state == CHANNEL_CANCELLING ? COPY_WHEN_RELEASED : COPY_NOW;
	if (!job_left_new_checkpoint(job) ||
	    rabbitmq_copies_begin(ch->all->copies, job, ch->settings, when, NULL) != ST_OK)
		requeue(ch, job);
}

void rabbitmq_channel_settle(struct rabbitmq_channel *ch, struct job *job)
{
	if (job->source_epoch != ch->epoch) {
		host_of(ch)->settled(host_of(ch), job, SETTLED_LOST);
		return;
	}
	if (job->copied) {
		finish(ch, job, ANSWER_ACK);
		return;
	}
	switch (job->verdict.fate) {
	case FATE_DONE:
		finish(ch, job, ANSWER_ACK);
		return;
	case FATE_RETURNED:
		give_back(ch, job);
		return;
	case FATE_DEAD:
		if (ch->settings->dead == NULL)
			finish(ch, job, ANSWER_REJECT);
		else
			begin_copy(ch, job);
		return;
	case FATE_RETRIED:
		begin_copy(ch, job);
		return;
	case FATE_UNSETTLED:
	case FATE_COUNT:
		break;
	}
	must(!"a verdict that can be told");
}

void rabbitmq_channel_copied(struct rabbitmq_channel *ch, struct job *job)
{
	must(job->source_epoch == ch->epoch); /* else its copy would have been forgotten */
	job->copied = true;
	finish(ch, job, ANSWER_ACK);
}

void rabbitmq_channel_not_copied(struct rabbitmq_channel *ch, struct job *job)
{
	must(job->source_epoch == ch->epoch && job->verdict.fate == FATE_RETURNED);
	requeue(ch, job);
}

/* --- assembling -------------------------------------------------------------------------------- */

static void deliver(struct rabbitmq_channel *ch)
{
	struct job *job = ch->incoming.job;
	ch->incoming = (struct incoming){0};
	if (tags_take(&ch->tags, job) != ST_OK) {
		job_destroy(job);
		reset(ch, "out of memory for a delivery");
		return;
	}
	ch->all->delivered++;
	host_of(ch)->deliver(host_of(ch), &job); /* may lead back into settle() */
}

static void begin_message(struct rabbitmq_channel *ch, const amqp_basic_deliver_t *m)
{
	if (!rabbitmq_channel_may_deliver(ch) && ch->state != CHANNEL_FINISHING) {
		amqp_conn_fail(ch->all->conn, "a delivery that nobody asked for");
		return;
	}
	if (ch->tags.n_outstanding >= ch->outstanding_most) {
		amqp_conn_fail(ch->all->conn, "many more deliveries than the prefetch allows");
		return;
	}
	ch->incoming = (struct incoming){
	    .due = INCOMING_HEADER,
	    .tag = m->delivery_tag,
	    .redelivered = m->redelivered != 0,
	};
}

static struct job *make_job(struct rabbitmq_channel *ch, const struct amqp_header *header)
{
	struct incoming *in = &ch->incoming;
	struct rabbitmq_message m = rabbitmq_message_read(header->properties, in->redelivered);
	uint64_t serial = host_of(ch)->next_serial(host_of(ch));
	char made_up[160];
	bool id_made_up = m.id.len == 0;
	if (id_made_up) {
		(void)snprintf(made_up, sizeof made_up, "%.120s-%" PRIu64, ch->all->worker->name,
			       serial);
		m.id = span_text(made_up);
	}
	struct job *job = job_create(&(struct job_facts){
	    .route = ch->route,
	    .serial = serial,
	    .attempt = m.attempt,
	    .interruptions = m.interruptions,
	    .crashes = m.crashes,
	    .id_made_up = id_made_up,
	    .redelivered = in->redelivered || m.interruptions > 0, /* a copy's first delivery too */
	    .id = m.id,
	    .content_type = m.content_type,
	    .traceparent = m.traceparent,
	    .checkpoint = m.checkpoint,
	    .origin = header->encoded,
	    .body_bytes = (size_t)header->body_bytes,
	});
	if (job == NULL)
		return NULL;
	job->source_tag = in->tag;
	job->source_epoch = ch->epoch;
	return job;
}

/* Without its body no copy of it can be made, nor without its properties, so the queue's own dead
 * letter exchange has to do. */
static void reject(struct rabbitmq_channel *ch, const struct amqp_header *header, const char *what)
{
	struct span id = span_of("", 0);
	if (header->properties != NULL)
		id = rabbitmq_message_read(header->properties, false).id;
	ch->rejected++;
	log_say(ch->all->log, LOG_ERROR, what, kv_text("source", ch->all->source->name),
		kv_text("queue", ch->settings->name), kv_span("job", id),
		kv_int("bytes", (int64_t)header->body_bytes),
		kv_int("so_far", (int64_t)ch->rejected),
		kv_text("dead", ch->settings->dead ? "no copy of it can be made" : NULL));
	amqp_conn_reject(ch->all->conn, ch->number, ch->incoming.tag, false);
}

static void begin_job(struct rabbitmq_channel *ch, const struct amqp_header *header)
{
	struct incoming *in = &ch->incoming;
	in->job = make_job(ch, header);
	if (in->job == NULL)
		reset(ch, "out of memory for a job");
	else if (in->body_left == 0)
		deliver(ch);
}

/* NULL: it can become a job. */
static const char *why_rejected(const struct rabbitmq_channel *ch, const struct amqp_header *header)
{
	if (header->body_bytes > ch->all->worker->max_body_bytes)
		return "message rejected, its body is larger than max_body";
	if (header->properties == NULL)
		return "message rejected, its headers are nested too deeply";
	return NULL;
}

/* Its delivery stays without an answer. */
static void skip_body(struct rabbitmq_channel *ch)
{
	job_destroy(ch->incoming.job);
	ch->incoming.job = NULL;
	if (ch->incoming.due == INCOMING_BODY && ch->incoming.body_left == 0)
		drop_incoming(ch);
}

void rabbitmq_channel_header(struct rabbitmq_channel *ch, const struct amqp_header *header)
{
	struct incoming *in = &ch->incoming;
	if (!is_open(ch))
		return; /* sent before the broker had read our channel.close */
	if (in->due != INCOMING_HEADER) {
		amqp_conn_fail(ch->all->conn, "a header without a delivery");
		return;
	}
	in->due = INCOMING_BODY;
	in->body_left = header->body_bytes;
	if (ch->state == CHANNEL_FINISHING) {
		skip_body(ch);
		return;
	}
	const char *why = why_rejected(ch, header);
	if (why == NULL) {
		begin_job(ch, header);
		return;
	}
	reject(ch, header, why);
	if (in->body_left == 0)
		drop_incoming(ch);
}

void rabbitmq_channel_body(struct rabbitmq_channel *ch, struct span piece)
{
	struct incoming *in = &ch->incoming;
	if (!is_open(ch))
		return;
	if (in->due != INCOMING_BODY || piece.len > in->body_left) {
		amqp_conn_fail(ch->all->conn, "more of a body than its header said");
		return;
	}
	in->body_left -= piece.len;
	if (in->job == NULL) {
		if (in->body_left == 0)
			drop_incoming(ch);
		return;
	}
	memcpy(job_body(in->job) + in->filled, piece.ptr, piece.len);
	in->filled += piece.len;
	if (in->body_left == 0)
		deliver(ch);
}

/* --- opening, consuming ------------------------------------------------------------------------ */

void rabbitmq_channel_open(struct rabbitmq_channel *ch)
{
	amqp_channel_open_t open = {0};
	move(ch, CHANNEL_OPENING);
	ch->in_transactions = false;
	ch->looking = false;
	ch->census_round = 0;
	send(ch, AMQP_CHANNEL_OPEN_METHOD, &open);
}

static void declare(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_DECLARING);
	rabbitmq_queue_declare(ch->all->conn, ch->number, ch->settings);
}

static void opened(struct rabbitmq_channel *ch)
{
	ch->epoch = ++ch->all->last_epoch;
	declare(ch);
}

static unsigned lesser(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Twice what can run, so that the next job is here when one ends. Where jobs are staged they may take
 * microseconds, less than the way to the broker: more of them have to be on it. */
unsigned rabbitmq_channel_prefetch(const struct queue_settings *queue,
				   const struct worker_settings *worker, const struct lane *lane)
{
	const struct executor *executor = lane->executor;
	bool stages = executor->depth > executor->width;
	unsigned width = lesser(worker->concurrency, executor->widest);
	if (queue->prefetch != 0)
		return queue->prefetch;
	if (queue->concurrency != 0)
		width = lesser(width, queue->concurrency);
	if (lane->limit != 0)
		width = lesser(width, lane->limit);
	return lesser(width * (stages ? 16 : 2), UINT16_MAX);
}

/* The same basic.qos that proves; one that is under way will do. The broker applies it to the consumers
 * that come after it, so it is worked out now, when the handler's processes have said what they can. */
static void limit(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_LIMITING);
	if (!ch->in_transactions && ch->proof != PROOF_NONE)
		return;
	ch->prefetch =
	    (uint16_t)rabbitmq_channel_prefetch(ch->settings, ch->all->worker, ch->route->lane);
	if (ch->in_transactions)
		send_qos(ch);
	else
		begin_proof(ch);
}

/* What an earlier consumer got is not counted against a new one's prefetch. And twice the number is allowed:
 * this is for a peer that would fill our memory, not for one that counts differently. */
static void expect_deliveries(struct rabbitmq_channel *ch)
{
	ch->outstanding_most = ch->tags.n_outstanding + 2 * (size_t)ch->prefetch;
}

/* The wish is one of the operator's, so that it cannot be met is said each time. */
static bool knows_consumer_timeout(const struct rabbitmq_channel *ch)
{
	bool knows = server_is_at_least(ch, 3, 12);
	if (!knows)
		log_say(ch->all->log, LOG_WARN,
			"consumer_timeout is not for this broker, its own holds: "
			"x-consumer-timeout came with RabbitMQ 3.12",
			kv_text("source", ch->all->source->name),
			kv_text("queue", ch->settings->name),
			kv_text("server", amqp_conn_server(ch->all->conn)));
	return knows;
}

static int put_arguments(const struct rabbitmq_channel *ch, amqp_table_entry_t entries[2])
{
	const struct queue_settings *queue = ch->settings;
	int n = 0;
	if (queue->priority != 0)
		entries[n++] = rabbitmq_number_entry("x-priority", queue->priority);
	if (queue->consumer_timeout_ms != 0 && knows_consumer_timeout(ch))
		entries[n++] = rabbitmq_number_entry("x-consumer-timeout",
						     (int64_t)queue->consumer_timeout_ms);
	return n;
}

static void subscribe(struct rabbitmq_channel *ch)
{
	amqp_table_entry_t entries[2];
	amqp_basic_consume_t consume = {
	    .queue = amqp_cstring_bytes(ch->settings->name),
	    .consumer_tag = amqp_cstring_bytes(ch->consumer_tag),
	};
	consume.arguments =
	    (amqp_table_t){.num_entries = put_arguments(ch, entries), .entries = entries};
	expect_deliveries(ch);
	move(ch, CHANNEL_SUBSCRIBING);
	send(ch, AMQP_BASIC_CONSUME_METHOD, &consume);
}

static void cancel(struct rabbitmq_channel *ch)
{
	amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes(ch->consumer_tag)};
	move(ch, CHANNEL_CANCELLING);
	send(ch, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

/* The other way round: see "single active consumer" above. It may have nothing to finish. */
static void finish_jobs(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_FINISHING);
	skip_body(ch);
	be_busy(ch);
}

/* Towards what the source wants, one step: the next one follows from its answer. */
static void follow(struct rabbitmq_channel *ch)
{
	bool wanted = ch->all->intake_wanted && !ch->retired;
	if (ch->state == CHANNEL_READY && wanted)
		subscribe(ch);
	else if (ch->state == CHANNEL_RELEASED && wanted)
		rabbitmq_channel_open(ch);
	else if (ch->state == CHANNEL_CONSUMING && !wanted &&
		 ch->settings->single_active == SINGLE_ACTIVE_YES)
		finish_jobs(ch);
	else if (ch->state == CHANNEL_CONSUMING && !wanted)
		cancel(ch);
}

void rabbitmq_channel_follow(struct rabbitmq_channel *ch)
{
	follow(ch);
}

static void qos_answered(struct rabbitmq_channel *ch)
{
	if (ch->proof == PROOF_QOS)
		report_proved(ch);
	if (ch->state != CHANNEL_LIMITING)
		return;
	move(ch, CHANNEL_READY);
	follow(ch);
	moved(ch);
}

/* Looking after the consumer
 *
 * A consumer can be gone without a word: a queue whose leader moved, a broker's defect. To us that looks
 * like a queue without work, for ever. So now and then a passive declare asks how many consumers the
 * queue has: ours is one of them, and where there is none it has to subscribe again. (Another worker's
 * hides the loss of ours; its prefetch then shares the work at least.) The timer runs while nothing
 * else needs it, and starts anew with each answer, so a hung broker is asked once. */

static void look_later(struct rabbitmq_channel *ch)
{
	if (ch->all->check_ms != 0)
		timer_start(ch->again, ch->all->check_ms);
}

static void look(struct rabbitmq_channel *ch)
{
	amqp_queue_declare_t ask = {.queue = amqp_cstring_bytes(ch->settings->name), .passive = 1};
	ch->looking = true;
	send(ch, AMQP_QUEUE_DECLARE_METHOD, &ask);
}

static void consumer_is_gone(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_CANCELLED);
	uint64_t wait_ms = wait_to_try_again(ch);
	log_say(ch->all->log, LOG_WARN, "consumer is gone without a word, trying again",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("wait_ms", (int64_t)wait_ms));
	moved(ch);
}

/* Ours is one of them, while we consume. */
static void tell_census(struct rabbitmq_channel *ch, uint32_t consumers)
{
	uint32_t ours = ch->state == CHANNEL_CONSUMING ? 1 : 0;
	if (ch->census_round == 0)
		return;
	census_tell(ch->all->census, ch->census_round, ch->route,
		    consumers > ours ? (long)(consumers - ours) : 0);
	ch->census_round = 0;
}

/* While it was under way the consumer may have been cancelled: then the answer says nothing. */
static void looked(struct rabbitmq_channel *ch, const amqp_queue_declare_ok_t *m)
{
	ch->looking = false;
	tell_census(ch, m->consumer_count);
	if (ch->state != CHANNEL_CONSUMING)
		return;
	if (m->consumer_count == 0)
		consumer_is_gone(ch);
	else
		look_later(ch);
}

void rabbitmq_channel_count(struct rabbitmq_channel *ch, unsigned round)
{
	if (ch->state != CHANNEL_CONSUMING && ch->state != CHANNEL_READY) {
		census_tell(ch->all->census, round, ch->route, CENSUS_NOT_KNOWN);
		return;
	}
	ch->census_round = round;
	if (!ch->looking)
		look(ch);
}

static void consume_answered(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_CONSUMING);
	ch->has_consumed = true;
	reconnect_worked(&ch->backoff);
	log_say(ch->all->log, LOG_INFO, "consumer started",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("prefetch", ch->prefetch));
	look_later(ch);
	follow(ch);
	moved(ch);
}

static void cancel_answered(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_READY);
	rabbitmq_copies_release(ch->all->copies, ch->route);
	follow(ch); /* it may be wanted again already */
	moved(ch);
}

/* --- the broker ends it ------------------------------------------------------------------------ */

/* The queue was deleted, or is moving. What we hold of it can still be answered. */
static void cancelled_by_broker(struct rabbitmq_channel *ch, const amqp_basic_cancel_t *m)
{
	if (!m->nowait) {
		amqp_basic_cancel_ok_t ok = {.consumer_tag = m->consumer_tag};
		send(ch, AMQP_BASIC_CANCEL_OK_METHOD, &ok);
	}
	if (ch->state != CHANNEL_CONSUMING && ch->state != CHANNEL_SUBSCRIBING)
		return; /* ours is on its way, and its cancel-ok will come */
	move(ch, CHANNEL_CANCELLED);
	uint64_t wait_ms = wait_to_try_again(ch);
	log_say(ch->all->log, LOG_WARN, "consumer cancelled by the broker, trying again",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("wait_ms", (int64_t)wait_ms));
	moved(ch);
}

/* A queue whose node is down is "not found" as well, and it comes back with its node. */
static bool is_out_of_reach(amqp_bytes_t reply_text)
{
	static const char words[] = "is down or inaccessible";
	return memmem(reply_text.bytes, reply_text.len, words, sizeof words - 1) != NULL;
}

static enum status meaning_of(int reply_code, amqp_bytes_t reply_text)
{
	if (reply_code == AMQP_NOT_FOUND)
		return is_out_of_reach(reply_text) ? ST_PROTO : ST_MISSING;
	bool lasting = reply_code == AMQP_ACCESS_REFUSED || reply_code == AMQP_RESOURCE_LOCKED ||
		       reply_code == AMQP_PRECONDITION_FAILED;
	return lasting ? ST_REFUSED : ST_PROTO;
}

/* Only before it has ever worked: a mistake in the configuration shows at the start. */
static bool is_for_good(const struct rabbitmq_channel *ch, const struct error *why)
{
	if (ch->has_consumed || ch->forgiven)
		return false;
	if (why->status == ST_MISSING)
		return ch->settings->missing == MISSING_FAIL;
	return why->status == ST_REFUSED;
}

static void be_broken(struct rabbitmq_channel *ch, const struct error *why)
{
	bool refused = is_for_good(ch, why);
	move(ch, CHANNEL_BROKEN);
	lose_everything(ch);
	if (ch->retired) {
		log_say(ch->all->log, LOG_WARN, "channel of a removed queue closed by the broker",
			kv_text("source", ch->all->source->name),
			kv_text("queue", ch->settings->name), kv_why(why));
		return;
	}
	if (refused) {
		ch->all->refused(ch->all->source, why);
		return;
	}
	uint64_t wait_ms = wait_to_try_again(ch);
	log_say(ch->all->log, LOG_WARN,
		why->status == ST_MISSING ? "queue is missing, waiting for it"
					  : "channel closed by the broker, reopening",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("wait_ms", (int64_t)wait_ms), kv_why(why));
}

static void closed_by_broker(struct rabbitmq_channel *ch, const amqp_channel_close_t *m)
{
	struct error why;
	amqp_channel_close_ok_t ok = {0};
	send(ch, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
	(void)error_set(&why, meaning_of(m->reply_code, m->reply_text), "queue \"%s\": %d %.*s",
			ch->settings->name, m->reply_code, (int)m->reply_text.len,
			(const char *)m->reply_text.bytes);
	if (ch->state == CHANNEL_CLOSING) {
		lose_everything(ch);
		move(ch, CHANNEL_CLOSED);
	} else {
		be_broken(ch, &why);
	}
	moved(ch);
}

static void try_again(void *arg)
{
	struct rabbitmq_channel *ch = arg;
	if (ch->retired)
		return;
	if (ch->state == CHANNEL_CANCELLED)
		declare(ch);
	else if (ch->state == CHANNEL_BROKEN && ch->all->conn != NULL)
		rabbitmq_channel_open(ch);
	else if (ch->state == CHANNEL_CONSUMING)
		look(ch);
}

/* --- closing ----------------------------------------------------------------------------------- */

void rabbitmq_channel_lose(struct rabbitmq_channel *ch)
{
	if (ch->state == CHANNEL_CLOSED)
		return;
	lose_everything(ch);
	if (ch->state == CHANNEL_CLOSING)
		move(ch, CHANNEL_CLOSED);
	else
		move(ch, CHANNEL_DOWN);
}

void rabbitmq_channel_close(struct rabbitmq_channel *ch)
{
	if (ch->state == CHANNEL_CLOSING || ch->state == CHANNEL_CLOSED)
		return;
	if (ch->state == CHANNEL_DOWN || ch->state == CHANNEL_BROKEN ||
	    ch->state == CHANNEL_RELEASED) {
		move(ch, CHANNEL_CLOSED);
		return;
	}
	if (ch->state == CHANNEL_RESETTING || ch->state == CHANNEL_RELEASING) {
		move(ch, CHANNEL_CLOSING); /* its close-ok is on the way */
		return;
	}
	close_channel(ch, CHANNEL_CLOSING);
}

void rabbitmq_channel_retire(struct rabbitmq_channel *ch)
{
	ch->retired = true;
	follow(ch);
	moved(ch);
}

enum leaving rabbitmq_channel_leave(struct rabbitmq_channel *ch)
{
	must(ch->retired);
	if (rabbitmq_channel_may_deliver(ch))
		return LEAVING_INTAKE;
	if (ch->route->in_ledger > 0)
		return LEAVING_JOBS;
	rabbitmq_channel_close(ch);
	return ch->state == CHANNEL_CLOSED ? LEAVING_GONE : LEAVING_JOBS;
}

static void close_answered(struct rabbitmq_channel *ch)
{
	if (ch->state == CHANNEL_CLOSING) {
		report_proved(ch);
		move(ch, CHANNEL_CLOSED);
		moved(ch);
	} else if (ch->state == CHANNEL_RELEASING) {
		report_proved(ch);
		move(ch, CHANNEL_RELEASED);
		follow(ch); /* it may be wanted again already */
		moved(ch);
	} else if (ch->state == CHANNEL_RESETTING) {
		move(ch, CHANNEL_BROKEN);
		(void)wait_to_try_again(ch);
		moved(ch);
	} /* else it crossed with a channel.close from the other side */
}

/* --- the broker speaks ------------------------------------------------------------------------- */

/* An answer to something that we asked in `asked`; anything else is one that comes too late to
 * matter, because a channel.close of ours has overtaken it. */
static bool is_answer_in(const struct rabbitmq_channel *ch, enum channel_state asked)
{
	return ch->state == asked;
}

void rabbitmq_channel_method(struct rabbitmq_channel *ch, amqp_method_number_t id,
			     const void *decoded)
{
	if (ch->incoming.due != INCOMING_NONE) {
		amqp_conn_fail(ch->all->conn, "a method in the middle of a message");
		return;
	}
	switch (id) {
	case AMQP_BASIC_DELIVER_METHOD:
		if (is_open(ch))
			begin_message(ch, decoded);
		return;
	case AMQP_CHANNEL_OPEN_OK_METHOD:
		if (is_answer_in(ch, CHANNEL_OPENING))
			opened(ch);
		return;
	case AMQP_QUEUE_DECLARE_OK_METHOD:
		if (ch->looking)
			looked(ch, decoded);
		else if (is_answer_in(ch, CHANNEL_DECLARING))
			limit(ch);
		return;
	case AMQP_BASIC_QOS_OK_METHOD:
		if (is_open(ch))
			qos_answered(ch);
		return;
	case AMQP_TX_SELECT_OK_METHOD:
		return; /* its refusal would be a channel.close */
	case AMQP_TX_COMMIT_OK_METHOD:
		if (is_open(ch) && ch->proof == PROOF_COMMIT)
			report_proved(ch);
		return;
	case AMQP_BASIC_CONSUME_OK_METHOD:
		if (is_answer_in(ch, CHANNEL_SUBSCRIBING))
			consume_answered(ch);
		return;
	case AMQP_BASIC_CANCEL_OK_METHOD:
		if (is_answer_in(ch, CHANNEL_CANCELLING))
			cancel_answered(ch);
		return;
	case AMQP_BASIC_CANCEL_METHOD:
		if (is_open(ch))
			cancelled_by_broker(ch, decoded);
		return;
	case AMQP_CHANNEL_CLOSE_METHOD:
		closed_by_broker(ch, decoded);
		return;
	case AMQP_CHANNEL_CLOSE_OK_METHOD:
		close_answered(ch);
		return;
	default:
		amqp_conn_fail(ch->all->conn, "an unexpected method on a consuming channel");
	}
}

/* --- what others ask --------------------------------------------------------------------------- */

bool rabbitmq_channel_is_retired(const struct rabbitmq_channel *ch)
{
	return ch->retired;
}

bool rabbitmq_channel_consumes(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_CONSUMING;
}

bool rabbitmq_channel_may_deliver(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_SUBSCRIBING || ch->state == CHANNEL_CONSUMING ||
	       ch->state == CHANNEL_CANCELLING;
}

bool rabbitmq_channel_is_closed(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_CLOSED;
}

const char *rabbitmq_channel_waits_for(const struct rabbitmq_channel *ch)
{
	if (states[ch->state].waits_for[0] != '\0')
		return states[ch->state].waits_for;
	return ch->tags.n_ready > 0 || !list_empty(&ch->tags.told) || ch->proof != PROOF_NONE
		   ? "proof that the answers have arrived"
		   : "";
}

const char *rabbitmq_channel_queue(const struct rabbitmq_channel *ch)
{
	return ch->settings->name;
}

unsigned rabbitmq_channel_limit(const struct rabbitmq_channel *ch)
{
	return ch->prefetch;
}

/* --- life -------------------------------------------------------------------------------------- */

enum status rabbitmq_channel_create(struct rabbitmq_channels *all,
				    const struct queue_settings *settings, uint16_t number,
				    struct rabbitmq_channel **ret_channel, struct error *why)
{
	struct rabbitmq_channel *ch = memory_clear(1, sizeof *ch);
	if (ch == NULL)
		return error_set(why, ST_NOMEM, "queue \"%s\": out of memory", settings->name);
	ch->all = all;
	ch->settings = settings;
	ch->number = number;
	(void)snprintf(ch->consumer_tag, sizeof ch->consumer_tag, "%.120s/%.120s",
		       all->worker->name, settings->name);
	list_init(&ch->in_busy);
	tags_init(&ch->tags);
	ch->again = timer_create_on(all->loop, try_again, ch);
	if (ch->again == NULL) {
		rabbitmq_channel_destroy(ch);
		return error_set(why, ST_NOMEM, "queue \"%s\": out of memory", settings->name);
	}
	*ret_channel = ch;
	return ST_OK;
}

void rabbitmq_channel_bind(struct rabbitmq_channel *ch, struct route *route)
{
	must(ch->route == NULL);
	ch->route = route;
	route->source_ref = ch;
}

void rabbitmq_channel_forgive(struct rabbitmq_channel *ch)
{
	ch->forgiven = true;
}

void rabbitmq_channel_destroy(struct rabbitmq_channel *ch)
{
	if (ch == NULL)
		return;
	end_epoch(ch);
	lose_unproved(ch);
	tags_fini(&ch->tags);
	timer_destroy(ch->again);
	memory_free(ch);
}
