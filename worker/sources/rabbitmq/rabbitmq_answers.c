/* A verdict is an answer, or a copy of the job first (rabbitmq_copies.h) and then an answer. What is
 * finished is collected in the tags (rabbitmq_tags.h) and told at the end of a turn.
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
 * But that is the word of the channel, and who it speaks for depends on the queue (rabbit_fifo_client of 3.10 to 4.3):
 *
 *     qos-ok, commit-ok, close-ok   classic: the queue has all that was told before, in order, ahead of whatever the
 *                                   channel does next. Quorum: the channel has it. It hands on 32 commands that
 *                                   the leader has not yet applied, keeps the others, and forgets those when it closes
 *     declare-ok (passive)          quorum: with a message or a consumer in it the leader has answered, so it
 *                                   has got what was handed on before. 0 and 0 may be a leader that is silent for 250
 *                                   ms, or is not there
 *     cancel-ok, get-ok, get-empty  quorum: a majority has applied what was handed on before
 *
 * Any queue may be a quorum queue, and AMQP does not tell. So no more than WINDOW answers are told before the leader
 * has given its word; what is finished meanwhile is collected, and told with few answers later. A proof is a passive
 * declare, with basic.qos behind it to tell whose answer it is. As long as our consumer is counted, 0 and 0 is no
 * answer. When it is not, an empty queue is asked by basic.get; the message that may have come meanwhile goes back. What
 * has no such proof when the channel closes is not proved, whatever close-ok says.
 *
 * Giving back many at once is the other awkward part. One "multiple" nack gives back ten thousand in
 * 30 ms, but while jobs with lower tags still run it would give back those too. Ten thousand single
 * nacks keep a classic queue busy for more than 20 s: it looks for each one's place from the head
 * on, so the cost grows with the square. In a transaction the channel collects single nacks and hands
 * them to the queue as one list. So the channel goes into transactions then (tx.select; there is no
 * way back), and from there on it is a commit that makes the answers hold, and commit-ok that proves
 * them. (Backwards, single nacks would be fast too, but other consumers would get the last first.)
 *
 * A tag means (connection, channel, tag). Each opening of a channel gets an epoch of its own that no
 * other opening ever has; a job of another epoch is never told of here. */
#include "sources/rabbitmq/rabbitmq_answers.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/rabbitmq/rabbitmq_copies.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_passage.h"
#include "sources/rabbitmq/rabbitmq_returns.h"
#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "sources/source.h"
#include "wire/amqp.h"

#include <stdio.h>

#define COLLECT_NS      UINT64_C(1000000)   /* longest that a finished job waits to be told */
#define PROVE_EVERY_NS  UINT64_C(50000000)  /* a proof costs as much as a few acks */
#define TOLD_BYTES_MOST (8u << 20)          /* memory that may wait for a proof */
#define RETURN_SINGLY   50u                 /* more than so many are given back as one list */
#define WINDOW          16u                 /* half of what a channel hands on */
#define SILENT_NS       UINT64_C(200000000) /* an answer that took so long may be none */
#define TELL_MOST       100u /* beyond it a larger "multiple" saves nothing measurable */

enum proof { PROOF_NONE, PROOF_QOS, PROOF_COMMIT, PROOF_LEADER, PROOF_GET };

struct rabbitmq_answers {
	struct rabbitmq_answers_place at;
	uint64_t epoch;    /* of the opening whose tags can be told; 0: none */
	uint16_t prefetch; /* told last; 0: not yet */
	struct tags tags;
	size_t n_parked;         /* outstanding ones that go back with the channel */
	size_t outstanding_most; /* a broker that sends more does not keep to our prefetch */
	uint64_t ready_since_ns; /* the oldest finished and untold; valid while there is one */
	uint64_t proved_ns;      /* when the last proof was begun */
	enum proof proof;        /* under way */
	enum rabbitmq_word word; /* that a proof takes */
	bool counted_any;        /* the last declare-ok: a message, or a consumer */
	bool silent;             /* the last proof has failed; the next one waits */
	size_t n_told,
	    n_proving; /* answers since the leader's last word, and those that it is asked for */
	unsigned qos_unanswered; /* of this opening; a proof by one ends with the last of them */
	struct job **undecided;  /* they go back, and how is not known yet */
	size_t n_undecided, undecided_room;
	bool in_transactions;    /* answers hold with the next commit only */
	bool others_uncommitted; /* and so do those that are in no tag */
};

/* --- settling ---------------------------------------------------------------------------------- */

static void finish(struct rabbitmq_answers *a, struct job *job, enum tag_answer answer)
{
	if (a->tags.n_ready == 0)
		a->ready_since_ns = loop_now_ns(a->at.loop);
	tags_finish(&a->tags, job, answer);
}

/* A failure counts against the delivery limit of a quorum queue, an interruption does not, where the
 * broker leaves us the choice. */
static bool has_failed(const struct job *job)
{
	return job->outcome.kind == OUTCOME_RETURN && job->outcome.failed;
}

static const struct rabbitmq_delivery_rules *rules_of(struct amqp_conn *conn)
{
	return rabbitmq_server_delivery_rules(amqp_conn_server(conn));
}

static enum tag_answer answer_of_return(const struct job *job, struct amqp_conn *conn)
{
	if (!has_failed(job))
		return ANSWER_REQUEUE;
	const struct rabbitmq_delivery_rules *rules = rules_of(conn);
	return rules != NULL && !rules->counts_nacks ? ANSWER_REQUEUE_FAILED : ANSWER_REQUEUE;
}

static void requeue(struct rabbitmq_answers *a, struct job *job, enum rabbitmq_return how,
		    struct amqp_conn *conn)
{
	if (how == RETURN_WITH_CHANNEL)
		a->n_parked++;
	else
		finish(a, job, answer_of_return(job, conn));
}

/* False: no memory, so it is to be decided now. */
static bool put_off(struct rabbitmq_answers *a, struct job *job)
{
	if (a->n_undecided == a->undecided_room) {
		size_t room = a->undecided_room ? 2 * a->undecided_room : 16;
		struct job **grown = memory_grow(a->undecided, room * sizeof(struct job *));
		if (grown == NULL)
			return false;
		a->undecided = grown;
		a->undecided_room = room;
	}
	a->undecided[a->n_undecided++] = job;
	return true;
}

static enum status begin_copy(struct rabbitmq_answers *a, struct job *job,
			      enum rabbitmq_copy_when when, struct error *why)
{
	return rabbitmq_copies_begin(a->at.copies, job, a->at.queue, when, why);
}

/* A copy would go to the tail, behind what the queue of a single active consumer has to run after it. */
static void leave_checkpoint_for_order(struct rabbitmq_answers *a, const struct job *job)
{
	log_say(a->at.log, LOG_WARN,
		"job goes back without its new checkpoint, which would cost it its place",
		kv_text("source", job->route->source_name), kv_text("queue", job->route->name),
		KV_JOB(job));
}

/* A nack cannot carry a checkpoint, and a quorum queue may drop what has come back often. */
static bool goes_as_copy(struct rabbitmq_answers *a, const struct job *job,
			 enum rabbitmq_return how, struct amqp_conn *conn)
{
	bool parked = how == RETURN_WITH_CHANNEL;
	enum rabbitmq_way_back way = parked ? BACK_WITH_CHANNEL : BACK_BY_NACK;
	if (job->near_limit)
		return true;
	if (job->source_count > 0 && !has_failed(job) &&
	    !rabbitmq_may_go_back(a->at.queue, rules_of(conn), way, job->source_count))
		return true;
	if (job_left_new_checkpoint(job) && parked)
		leave_checkpoint_for_order(a, job);
	return job_left_new_checkpoint(job) && !parked;
}

/* Without memory for a copy its checkpoint is lost, and the job is not. */
static void give_back(struct rabbitmq_answers *a, struct job *job, enum rabbitmq_return how,
		      struct amqp_conn *conn)
{
	enum rabbitmq_copy_when when = how == RETURN_AFTER_CANCEL ? COPY_WHEN_RELEASED : COPY_NOW;
	if (how == RETURN_UNDECIDED && put_off(a, job))
		return;
	if (!goes_as_copy(a, job, how, conn) || begin_copy(a, job, when, NULL) != ST_OK)
		requeue(a, job, how, conn);
}

/* It would be dead when it came back, so it is now, and while it is known why. */
static void die_of_age(struct job *job)
{
	char last[sizeof job->outcome.reason];
	if (job->verdict.fate != FATE_RETRIED || job->expires_ms == 0 ||
	    rabbitmq_wall_ms() + job->verdict.delay_ms < job->expires_ms)
		return;
	memcpy(last, job->outcome.reason, sizeof last);
	(void)snprintf(job->outcome.reason, sizeof job->outcome.reason,
		       "expires before its next attempt; %.60s", last);
	job->verdict.fate = FATE_DEAD;
}

enum status rabbitmq_answers_settle(struct rabbitmq_answers *a, struct job *job,
				    enum rabbitmq_return how, struct amqp_conn *conn,
				    struct error *why)
{
	if (job->source_epoch != a->epoch) {
		a->at.host->settled(a->at.host, job, SETTLED_LOST);
		return ST_OK;
	}
	if (job->copied) {
		finish(a, job, ANSWER_ACK);
		return ST_OK;
	}
	die_of_age(job);
	switch (job->verdict.fate) {
	case FATE_DONE:
		finish(a, job, ANSWER_ACK);
		return ST_OK;
	case FATE_RETURNED:
		give_back(a, job, how, conn);
		return ST_OK;
	case FATE_DEAD:
		if (a->at.queue->dead != NULL)
			return begin_copy(a, job, COPY_NOW, why);
		finish(a, job, ANSWER_REJECT);
		return ST_OK;
	case FATE_RETRIED:
		return begin_copy(a, job, COPY_NOW, why);
	case FATE_UNSETTLED:
	case FATE_COUNT:
		break;
	}
	must(false && "a verdict that can be told");
	return ST_INVALID;
}

void rabbitmq_answers_decide(struct rabbitmq_answers *a, enum rabbitmq_return how,
			     struct amqp_conn *conn)
{
	size_t n = a->n_undecided;
	must(how != RETURN_UNDECIDED);
	a->n_undecided = 0;
	for (size_t i = 0; i < n; i++) {
		struct job *job = a->undecided[i];
		if (job->verdict.fate == FATE_RETURNED)
			give_back(a, job, how, conn);
		else
			requeue(a, job, how, conn);
	}
}

void rabbitmq_answers_copied(struct rabbitmq_answers *a, struct job *job)
{
	must(job->source_epoch == a->epoch); /* else its copy would have been forgotten */
	job->copied = true;
	finish(a, job, ANSWER_ACK);
}

void rabbitmq_answers_not_copied(struct rabbitmq_answers *a, struct job *job,
				 enum rabbitmq_return how, struct amqp_conn *conn)
{
	must(job->source_epoch == a->epoch);
	if (job->verdict.fate != FATE_RETURNED)
		job->verdict.fate = FATE_UNSETTLED; /* it ended, and comes again */
	if (how != RETURN_UNDECIDED || !put_off(a, job))
		requeue(a, job, how, conn);
}

void rabbitmq_answers_reject(struct rabbitmq_answers *a, struct job *job)
{
	finish(a, job, ANSWER_REJECT);
}

void rabbitmq_answers_reject_unfit(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t tag)
{
	amqp_conn_reject(conn, a->at.channel, tag, false);
	a->others_uncommitted = a->in_transactions;
}

/* --- telling ----------------------------------------------------------------------------------- */

struct way { /* to the broker */
	struct amqp_conn *conn;
	uint16_t channel;
	size_t *n_told;
};

static void write_answer(void *arg, enum tag_answer answer, uint64_t tag, enum amqp_reach reach)
{
	const struct way *way = arg;
	++*way->n_told;
	switch (answer) {
	case ANSWER_ACK:
		amqp_conn_ack(way->conn, way->channel, tag, reach);
		return;
	case ANSWER_REQUEUE:
		amqp_conn_requeue(way->conn, way->channel, tag, reach);
		return;
	case ANSWER_REJECT:
		amqp_conn_reject(way->conn, way->channel, tag, false);
		return;
	case ANSWER_REQUEUE_FAILED:
		amqp_conn_reject(way->conn, way->channel, tag, true);
		return;
	}
}

/* A transaction is handed on as a few commands, whatever is in it. */
static size_t may_tell(const struct rabbitmq_answers *a)
{
	size_t open = a->n_told + a->n_proving;
	if (a->word == WORD_OF_CHANNEL || a->in_transactions)
		return SIZE_MAX;
	return open < WINDOW ? WINDOW - open : 0;
}

static void tell(struct rabbitmq_answers *a, struct amqp_conn *conn, enum tags_which which)
{
	struct way way = {conn, a->at.channel, &a->n_told};
	tags_tell(&a->tags, which, may_tell(a),
		  &(struct tag_sink){.tell = write_answer, .arg = &way});
}

static void tell_all(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	tell(a, conn, TAGS_PREFIX);
	if (!a->in_transactions && rabbitmq_server_speaks_tx(amqp_conn_server(conn)) &&
	    tags_count_ready(&a->tags, ANSWER_REQUEUE) > RETURN_SINGLY) {
		amqp_tx_select_t select = {0};
		amqp_conn_send(conn, a->at.channel, AMQP_TX_SELECT_METHOD, &select);
		a->in_transactions = true;
	}
	tell(a, conn, TAGS_ALL);
}

static size_t enough_to_tell(const struct rabbitmq_answers *a)
{
	size_t half = a->prefetch / 2;
	return half < TELL_MOST ? half : TELL_MOST;
}

static void tell_what_is_due(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t now_ns,
			     bool urgent)
{
	size_t ready = a->tags.n_ready;
	if (ready == 0)
		return;
	if (urgent || now_ns - a->ready_since_ns >= COLLECT_NS) {
		tell_all(a, conn);
		return;
	}
	if (ready < enough_to_tell(a))
		return;
	tell(a, conn, TAGS_PREFIX);
	if (a->tags.n_ready >= enough_to_tell(a))
		tell_all(a, conn);
	if (a->tags.n_ready < ready)
		a->ready_since_ns = now_ns; /* those in front of the rest have just left */
}

/* --- proving ----------------------------------------------------------------------------------- */

static void send_qos(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	amqp_basic_qos_t qos = {.prefetch_count = a->prefetch};
	amqp_conn_send(conn, a->at.channel, AMQP_BASIC_QOS_METHOD, &qos);
	a->qos_unanswered++;
}

static void send_commit(const struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	amqp_tx_commit_t commit = {0};
	if (a->in_transactions)
		amqp_conn_send(conn, a->at.channel, AMQP_TX_COMMIT_METHOD, &commit);
}

static void ask_leader(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	amqp_queue_declare_t ask = {.queue = amqp_cstring_bytes(a->at.queue->name), .passive = 1};
	amqp_conn_send(conn, a->at.channel, AMQP_QUEUE_DECLARE_METHOD, &ask);
	send_qos(a, conn);
}

static void begin_proof(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	bool leader = a->word != WORD_OF_CHANNEL && !list_empty(&a->tags.told);
	send_commit(a, conn);
	if (leader)
		ask_leader(a, conn);
	else if (!a->in_transactions)
		send_qos(a, conn);
	a->proof = leader ? PROOF_LEADER : a->in_transactions ? PROOF_COMMIT : PROOF_QOS;
	a->n_proving = a->n_told;
	a->n_told = 0;
	tags_begin_proof(&a->tags);
	a->others_uncommitted = false;
	a->proved_ns = loop_now_ns(a->at.loop);
}

/* A commit may not wait: the broker counts what is not committed against the prefetch. */
static void prove_what_is_due(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t now_ns,
			      bool urgent)
{
	if ((list_empty(&a->tags.told) && !a->others_uncommitted) || a->proof != PROOF_NONE)
		return;
	if (a->silent && now_ns - a->proved_ns < PROVE_EVERY_NS)
		return;
	if (urgent || may_tell(a) <= WINDOW / 2 || a->in_transactions ||
	    now_ns - a->proved_ns >= PROVE_EVERY_NS || a->tags.told_bytes >= TOLD_BYTES_MOST)
		begin_proof(a, conn);
}

static void leave(struct rabbitmq_answers *a, struct job *job, enum settled how)
{
	if (job->passes_by)
		rabbitmq_passage_ended(a->at.passage, job, how);
	else
		a->at.host->settled(a->at.host, job, how);
}

static void end_proof(struct rabbitmq_answers *a, enum settled how)
{
	struct job *job;
	while ((job = tags_take_proved(&a->tags)) != NULL)
		leave(a, job, how);
	a->proof = PROOF_NONE;
	a->silent = false;
	a->n_proving = 0;
}

static void doubt(struct rabbitmq_answers *a)
{
	tags_doubt(&a->tags);
	a->proof = PROOF_NONE;
	a->silent = true;
	a->n_told += a->n_proving;
	a->n_proving = 0;
	a->proved_ns = loop_now_ns(a->at.loop);
}

static void leader_answered(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	bool late = loop_now_ns(a->at.loop) - a->proved_ns >= SILENT_NS;
	if (a->counted_any) {
		end_proof(a, SETTLED);
	} else if (a->word != WORD_OF_LEADER || late) {
		doubt(a);
	} else {
		amqp_basic_get_t get = {.queue = amqp_cstring_bytes(a->at.queue->name)};
		amqp_conn_send(conn, a->at.channel, AMQP_BASIC_GET_METHOD, &get);
		a->proof = PROOF_GET;
	}
}

void rabbitmq_answers_qos_ok(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	if (a->qos_unanswered > 0)
		a->qos_unanswered--;
	if (a->qos_unanswered > 0)
		return; /* it was for the prefetch alone */
	if (a->proof == PROOF_QOS)
		end_proof(a, SETTLED);
	else if (a->proof == PROOF_LEADER)
		leader_answered(a, conn);
}

void rabbitmq_answers_counted(struct rabbitmq_answers *a, uint32_t messages, uint32_t consumers)
{
	a->counted_any = messages > 0 || consumers > 0;
}

void rabbitmq_answers_return_got(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t tag)
{
	amqp_conn_requeue(conn, a->at.channel, tag, AMQP_ONE);
	a->others_uncommitted = a->in_transactions;
}

void rabbitmq_answers_got(struct rabbitmq_answers *a)
{
	if (a->proof == PROOF_GET)
		end_proof(a, SETTLED);
}

void rabbitmq_answers_believe(struct rabbitmq_answers *a, enum rabbitmq_word word)
{
	a->word = word;
}

void rabbitmq_answers_queue_gone(struct rabbitmq_answers *a)
{
	tags_begin_proof(&a->tags);
	end_proof(a, SETTLED);
}

void rabbitmq_answers_commit_ok(struct rabbitmq_answers *a)
{
	if (a->proof == PROOF_COMMIT)
		end_proof(a, SETTLED);
}

void rabbitmq_answers_close_ok(struct rabbitmq_answers *a)
{
	end_proof(a, a->word == WORD_OF_CHANNEL ? SETTLED : SETTLED_UNPROVED);
}

/* The same basic.qos that proves. One that is under way says what held before; it ends with the answer to
 * this one, so that no later proof takes that for its own. */
void rabbitmq_answers_limit(struct rabbitmq_answers *a, struct amqp_conn *conn, uint16_t prefetch)
{
	a->prefetch = prefetch;
	if (a->in_transactions || a->proof != PROOF_NONE)
		send_qos(a, conn);
	else
		begin_proof(a, conn);
}

/* --- the end of a turn, and of the channel ------------------------------------------------------- */

uint64_t rabbitmq_answers_turn(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t now_ns,
			       bool urgent)
{
	tell_what_is_due(a, conn, now_ns, urgent);
	prove_what_is_due(a, conn, now_ns, urgent);
	if (a->tags.n_ready > 0 && may_tell(a) > 0)
		return 1;
	if (list_empty(&a->tags.told) || a->proof != PROOF_NONE)
		return UINT64_MAX; /* the answer to a proof begins a turn */
	return (PROVE_EVERY_NS - (now_ns - a->proved_ns)) / 1000000 + 1;
}

bool rabbitmq_answers_wants_turn(const struct rabbitmq_answers *a)
{
	return a->tags.n_ready > 0 || !list_empty(&a->tags.told) || a->others_uncommitted;
}

void rabbitmq_answers_conclude(struct rabbitmq_answers *a, struct amqp_conn *conn)
{
	a->n_told = a->n_proving = 0; /* what does not reach the leader now never will */
	tell_all(a, conn);
	begin_proof(a, conn); /* for the commit, if it takes one */
}

void rabbitmq_answers_begin(struct rabbitmq_answers *a, uint64_t epoch)
{
	must(a->epoch == 0 && !rabbitmq_answers_has_pending(a));
	a->epoch = epoch;
	a->in_transactions = false;
	a->silent = false;
	a->n_told = a->n_proving = 0;
	a->qos_unanswered = 0;
}

void rabbitmq_answers_end(struct rabbitmq_answers *a)
{
	struct job *job;
	a->others_uncommitted = false;
	a->epoch = 0;
	a->n_parked = 0;
	a->n_undecided = 0; /* they are outstanding as well */
	while ((job = tags_take_outstanding(&a->tags)) != NULL)
		if (job->passes_by || job->state == JOB_SETTLING)
			leave(a, job, SETTLED_LOST);
}

void rabbitmq_answers_give_up(struct rabbitmq_answers *a)
{
	tags_begin_proof(&a->tags); /* what no proof was begun for ends just the same */
	end_proof(a, SETTLED_UNPROVED);
}

/* --- deliveries -------------------------------------------------------------------------------- */

/* Twice the number is allowed: this is for a peer that would fill our memory, not for one that counts
 * differently. */
void rabbitmq_answers_expect(struct rabbitmq_answers *a)
{
	a->outstanding_most = a->tags.n_outstanding + 2 * (size_t)a->prefetch;
}

bool rabbitmq_answers_expects_more(const struct rabbitmq_answers *a)
{
	return a->tags.n_outstanding < a->outstanding_most;
}

enum status rabbitmq_answers_take(struct rabbitmq_answers *a, struct job *job)
{
	enum status st = tags_take(&a->tags, job);
	if (st == ST_OK)
		job->source_epoch = a->epoch;
	return st;
}

size_t rabbitmq_answers_parked(const struct rabbitmq_answers *a)
{
	return a->n_parked;
}

bool rabbitmq_answers_all_ended(const struct rabbitmq_answers *a)
{
	return a->tags.n_outstanding == a->tags.n_ready + a->n_parked;
}

/* --- what others ask --------------------------------------------------------------------------- */

uint16_t rabbitmq_answers_prefetch(const struct rabbitmq_answers *a)
{
	return a->prefetch;
}

bool rabbitmq_answers_has_begun(const struct rabbitmq_answers *a)
{
	return a->epoch != 0;
}

bool rabbitmq_answers_has_pending(const struct rabbitmq_answers *a)
{
	return rabbitmq_answers_wants_turn(a) || a->proof != PROOF_NONE;
}

/* --- life -------------------------------------------------------------------------------------- */

struct rabbitmq_answers *rabbitmq_answers_create(const struct rabbitmq_answers_place *place)
{
	struct rabbitmq_answers *a = memory_clear(1, sizeof *a);
	if (a == NULL)
		return NULL;
	a->at = *place;
	tags_init(&a->tags);
	return a;
}

void rabbitmq_answers_destroy(struct rabbitmq_answers *a)
{
	if (a == NULL)
		return;
	rabbitmq_answers_end(a);
	rabbitmq_answers_give_up(a);
	tags_fini(&a->tags);
	memory_free(a->undecided);
	memory_free(a);
}
