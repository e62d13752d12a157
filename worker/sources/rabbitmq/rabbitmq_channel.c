/* Which states there are, and the picture of them, is in rabbitmq_channel_state.h; here is what leads
 * from one to the next. Each step follows from the answer to the last, so the channel only ever has to
 * look one step ahead: follow() compares what the source wants with where it stands.
 *
 * A job's way through here: a message becomes a job (rabbitmq_incoming.h); the core has it then, and
 * comes back with settle(). What that tells the broker, when, and how it is known to have arrived, is
 * the matter of rabbitmq_answers.h. Whether our consumer is really there is asked in
 * rabbitmq_consumer.h.
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
 * Whether a queue is such a one has to be asked (rabbitmq_single_active.h), and is when the channel is to let go of
 * jobs. Until it is told they stay where they are (undecided). A channel without a job asks nothing: what the broker
 * sends in the very moment of its basic.cancel is all that could be overtaken. The answer holds as long as the consumer does: while there is none of ours, the queue may be deleted and made
 * anew without our notice. */
#include "sources/rabbitmq/rabbitmq_channel.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/census.h"
#include "sources/rabbitmq/rabbitmq_answers.h"
#include "sources/rabbitmq/rabbitmq_channel_state.h"
#include "sources/rabbitmq/rabbitmq_consumer.h"
#include "sources/rabbitmq/rabbitmq_copies.h"
#include "sources/rabbitmq/rabbitmq_dead_queue.h"
#include "sources/rabbitmq/rabbitmq_incoming.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_passage.h"
#include "sources/rabbitmq/rabbitmq_prefetch.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "sources/rabbitmq/rabbitmq_returns.h"
#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "sources/rabbitmq/rabbitmq_single_active.h"
#include "sources/source.h"

#include <stdio.h>

struct rabbitmq_channel {
	struct rabbitmq_channels *all;
	const struct queue_settings *settings;
	struct route *route;
	uint16_t number;

	enum channel_state state;
	bool has_consumed;
	bool forgiven; /* before it has, too, no refusal is for good */
	const struct rabbitmq_delivery_rules *rules; /* the broker's, since it was opened */
	bool copy_failed;                            /* of one near the limit: no more are tried */
	bool limit_told;                             /* that it counts what goes back */
	bool retired, suspended;                     /* see source.h */
	bool
	    caught_up; /* since it was opened: what its queue gives out again has come, first of all */
	struct rabbitmq_dead_queue dead;
	struct rabbitmq_single_active single_active;
	struct timer *
	    again; /* CANCELLED, BROKEN: to try again; READY: it has had to wait; ASKING: the answer is not waited for longer */
	struct reconnect backoff;
	uint64_t subscribed_ns; /* when it was asked for last */
	uint64_t not_before_ns; /* it does not subscribe */
	unsigned costs;         /* so many connections in a row; see may_not_subscribe_yet() */

	struct rabbitmq_consumer *consumer;
	struct rabbitmq_incoming *incoming;
	struct rabbitmq_answers *answers;
	struct list aside; /* struct job.in_route: deliveries that the core has not been told of */
	struct list in_busy; /* all->busy: something to tell, to prove, or to release */
};

/* --- states ------------------------------------------------------------------------------------ */

static struct source_host *host_of(const struct rabbitmq_channel *ch)
{
	return ch->all->source->host;
}

static bool is_open(const struct rabbitmq_channel *ch)
{
	return channel_state_is_open(ch->state);
}

static bool is_wanted(const struct rabbitmq_channel *ch)
{
	return ch->all->intake_wanted && !ch->retired && !ch->suspended;
}

/* As far as it is known. */
static bool is_single_active(const struct rabbitmq_channel *ch)
{
	return ch->single_active.is_one;
}

static bool may_be_single_active(const struct rabbitmq_channel *ch)
{
	return rabbitmq_single_active_is_due(&ch->single_active, ch->all->conn);
}

/* Any queue may be a quorum queue, where the broker has such: what the channel keeps back goes with it. */
static enum rabbitmq_word whose_word(const struct rabbitmq_channel *ch)
{
	if (ch->rules == NULL)
		return WORD_OF_CHANNEL;
	bool consumes = channel_state_consumes(ch->state) || ch->state == CHANNEL_FINISHING;
	return consumes ? WORD_OF_LEADER_OF_CONSUMER : WORD_OF_LEADER;
}

/* The only place that assigns the state. Whoever calls it tells the source when all is in order. */
static void move(struct rabbitmq_channel *ch, enum channel_state next)
{
	must(channel_state_may_become(ch->state, next));
	log_say(ch->all->log, LOG_DEBUG, "channel moved", kv_text("queue", ch->settings->name),
		kv_text("from", channel_state_name(ch->state)),
		kv_text("to", channel_state_name(next)));
	if (channel_state_consumes(ch->state) && !channel_state_consumes(next))
		rabbitmq_consumer_ended(ch->consumer);
	ch->state = next;
	rabbitmq_answers_believe(ch->answers, whose_word(ch));
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

static void be_busy(struct rabbitmq_channel *ch)
{
	if (list_linked(&ch->in_busy))
		return;
	list_append(&ch->all->busy, &ch->in_busy);
	loop_turn_again(ch->all->loop); /* we may be behind TURN_SETTLE already */
}

/* --- losing ------------------------------------------------------------------------------------ */

static void forget_copies(struct rabbitmq_channel *ch)
{
	rabbitmq_copies_forget(ch->all->copies, ch->route);
	rabbitmq_passage_forget(ch->all->passage, ch->route);
}

static void drop_aside(struct rabbitmq_channel *ch)
{
	struct list *it;
	while ((it = list_take_first(&ch->aside)) != NULL)
		job_destroy(list_entry(it, struct job, in_route));
}

/* What has no answer goes back to the broker by itself. */
static void end_epoch(struct rabbitmq_channel *ch)
{
	rabbitmq_incoming_drop(ch->incoming);
	list_remove(&ch->in_busy);
	if (ch->route != NULL)
		forget_copies(ch);
	rabbitmq_answers_end(ch->answers);
	drop_aside(ch);
}

static void lose_everything(struct rabbitmq_channel *ch)
{
	if (!rabbitmq_answers_has_begun(ch->answers) && !rabbitmq_answers_has_pending(ch->answers))
		return;
	end_epoch(ch);
	rabbitmq_answers_give_up(ch->answers);
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
	rabbitmq_answers_conclude(ch->answers, ch->all->conn);
	move(ch, next);
	send(ch, AMQP_CHANNEL_CLOSE_METHOD, &close);
	end_epoch(ch);
	if (ch->route != NULL)
		host_of(ch)->took_back(host_of(ch), ch->route);
}

static bool has_finished(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_FINISHING && rabbitmq_answers_all_ended(ch->answers) &&
	       (ch->rules == NULL || !rabbitmq_answers_has_pending(ch->answers));
}

static void release(struct rabbitmq_channel *ch)
{
	log_say(ch->all->log, LOG_DEBUG, "channel released",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("given_back", (int64_t)rabbitmq_answers_parked(ch->answers)));
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
	uint64_t wait_ms = rabbitmq_answers_turn(ch->answers, ch->all->conn, now_ns,
						 ch->all->urgent || !is_wanted(ch));
	if (!rabbitmq_answers_wants_turn(ch->answers))
		list_remove(&ch->in_busy);
	return wait_ms;
}

/* --- settling ---------------------------------------------------------------------------------- */

static enum rabbitmq_return how_to_return(const struct rabbitmq_channel *ch)
{
	switch (ch->state) {
	case CHANNEL_CANCELLING:
		return RETURN_AFTER_CANCEL;
	case CHANNEL_FINISHING:
		return RETURN_WITH_CHANNEL; /* a single active consumer would get it again itself */
	case CHANNEL_ASKING:
		return RETURN_UNDECIDED;
	default:
		return RETURN_BY_ANSWER;
	}
}

static void settle_further(struct rabbitmq_channel *ch)
{
	if (rabbitmq_answers_wants_turn(ch->answers) || has_finished(ch))
		be_busy(ch);
}

void rabbitmq_channel_settle(struct rabbitmq_channel *ch, struct job *job)
{
	struct error why;
	if (rabbitmq_answers_settle(ch->answers, job, how_to_return(ch), ch->all->conn, &why) ==
	    ST_OK)
		settle_further(ch);
	else
		reset(ch, why.text); /* no memory: the broker keeps it better than we could */
}

void rabbitmq_channel_copied(struct rabbitmq_channel *ch, struct job *job)
{
	rabbitmq_answers_copied(ch->answers, job);
	settle_further(ch);
}

void rabbitmq_channel_not_copied(struct rabbitmq_channel *ch, struct job *job)
{
	ch->copy_failed |= job->near_limit; /* or it would come and go back for ever */
	rabbitmq_answers_not_copied(ch->answers, job, how_to_return(ch), ch->all->conn);
	settle_further(ch);
}

/* The queue's own dead letter exchange may have it: a dead job, whatever its verdict was to be. */
void rabbitmq_channel_copy_refused(struct rabbitmq_channel *ch, struct job *job)
{
	job->verdict.fate = FATE_DEAD;
	rabbitmq_answers_reject(ch->answers, job);
	settle_further(ch);
}

/* --- taking ------------------------------------------------------------------------------------ */

/* Once: each worker of a fleet says it at its start. */
static void tell_of_limit(struct rabbitmq_channel *ch)
{
	char limit[40] = "none unless it is set";
	if (ch->limit_told || ch->rules == NULL || ch->settings->delivery_limit != 0)
		return;
	ch->limit_told = true;
	if (ch->rules->limit != 0)
		(void)snprintf(limit, sizeof limit, "%u unless it is set", ch->rules->limit);
	log_say(ch->all->log, LOG_WARN,
		"quorum queue drops what comes back more often than its delivery limit, so it "
		"goes back to the tail as a copy before",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_text("limit", limit),
		kv_text("set", "policy delivery-limit = -1, and delivery_limit = 1000000 here"));
}

static void ask_whether_single_active(struct rabbitmq_channel *ch);

static void hand_over(struct rabbitmq_channel *ch, struct job *job)
{
	if (job->lost > 0 && may_be_single_active(ch))
		job->lost = 0; /* it will not begin here */
	if (job->lost > 0 && is_single_active(ch))
		job->lost =
		    rabbitmq_lost(ch->settings, ch->rules, BACK_WITH_CHANNEL, job->source_count);
	enum rabbitmq_way_back how = is_single_active(ch) ? BACK_WITH_CHANNEL : BACK_BY_NACK;
	job->near_limit = !ch->copy_failed &&
			  rabbitmq_is_near_limit(ch->settings, ch->rules, how, job->source_count);
	ch->all->delivered++;
	host_of(ch)->deliver(host_of(ch), &job); /* may lead back into settle() */
}

/* Whether workers died with it depends on what the queue is. That is asked then, and what comes behind it waits,
 * too, for the order's sake. */
static bool has_to_wait(struct rabbitmq_channel *ch, const struct job *job)
{
	if (!list_empty(&ch->aside))
		return true;
	if (job->lost == 0 || !may_be_single_active(ch))
		return false;
	if (ch->state == CHANNEL_CONSUMING)
		ask_whether_single_active(ch);
	return ch->state == CHANNEL_ASKING;
}

static void deliver_aside(struct rabbitmq_channel *ch)
{
	struct list *it;
	while ((it = list_take_first(&ch->aside)) != NULL)
		hand_over(ch, list_entry(it, struct job, in_route));
}

static void deliver(struct rabbitmq_channel *ch, struct job *job)
{
	if (rabbitmq_answers_take(ch->answers, job) != ST_OK) {
		job_destroy(job);
		reset(ch, "out of memory for a delivery");
		return;
	}
	if (job->source_count > 0)
		tell_of_limit(ch);
	if (has_to_wait(ch, job))
		list_append(&ch->aside, &job->in_route);
	else
		hand_over(ch, job);
}

/* What was lost goes to the head of its queue, so behind the first message that is new nothing of it comes;
 * unless the broker does not know yet that the connection is gone, and still holds it for that. */
static void note_new(struct rabbitmq_channel *ch)
{
	if (ch->caught_up || loop_now_ns(ch->all->loop) < ch->all->held_until_ns)
		return;
	ch->caught_up = true;
	host_of(ch)->redelivered_all(host_of(ch), ch->route);
}

static void begin_message(struct rabbitmq_channel *ch, const amqp_basic_deliver_t *m)
{
	if (!rabbitmq_channel_may_deliver(ch) && ch->state != CHANNEL_FINISHING) {
		amqp_conn_fail(ch->all->conn, "a delivery that nobody asked for");
		return;
	}
	if (!rabbitmq_answers_expects_more(ch->answers)) {
		amqp_conn_fail(ch->all->conn, "many more deliveries than the prefetch allows");
		return;
	}
	if (!m->redelivered)
		note_new(ch);
	rabbitmq_incoming_begin(ch->incoming, m->delivery_tag, m->redelivered != 0);
	if (ch->state == CHANNEL_FINISHING)
		rabbitmq_incoming_skip(ch->incoming); /* its delivery stays without an answer */
}

static void reject(struct rabbitmq_channel *ch)
{
	rabbitmq_answers_reject_unfit(ch->answers, ch->all->conn,
				      rabbitmq_incoming_tag(ch->incoming));
	settle_further(ch);
	host_of(ch)->buried(host_of(ch), ch->route, 1);
}

/* Headers that do not fit into the copy never will. */
static void let_pass(struct rabbitmq_channel *ch, struct job *job, uint64_t body_bytes)
{
	struct error why;
	enum status st = rabbitmq_answers_take(ch->answers, job);
	if (st != ST_OK) {
		job_destroy(job);
		reset(ch, "out of memory for a delivery");
		return;
	}
	st = rabbitmq_passage_begin(ch->all->passage, job, ch->settings, body_bytes, &why);
	if (st == ST_INVALID) {
		rabbitmq_answers_reject(ch->answers, job);
		settle_further(ch);
	} else if (st != ST_OK) {
		reset(ch, why.text);
	}
}

static void take_step(struct rabbitmq_channel *ch, enum incoming_step step, struct job *job,
		      const char *if_out_of_step)
{
	switch (step) {
	case INCOMING_MORE:
	case INCOMING_TOO_LARGE: /* only by its header */
		return;
	case INCOMING_WHOLE:
		deliver(ch, job);
		return;
	case INCOMING_UNFIT:
		reject(ch);
		return;
	case INCOMING_NO_MEMORY:
		reset(ch, "out of memory for a job");
		return;
	case INCOMING_OUT_OF_STEP:
		amqp_conn_fail(ch->all->conn, if_out_of_step);
		return;
	}
}

/* A header or a body on a channel that is not open was sent before the broker had read our
 * channel.close. */
void rabbitmq_channel_header(struct rabbitmq_channel *ch, const struct amqp_header *header)
{
	struct job *job = NULL;
	if (!is_open(ch))
		return;
	enum incoming_step step = rabbitmq_incoming_header(ch->incoming, ch->route, header, &job);
	if (step == INCOMING_TOO_LARGE)
		let_pass(ch, job, header->body_bytes);
	else
		take_step(ch, step, job, "a header without a delivery");
}

void rabbitmq_channel_body(struct rabbitmq_channel *ch, struct span piece)
{
	struct job *job = NULL;
	if (!is_open(ch))
		return;
	enum incoming_step step = rabbitmq_incoming_body(ch->incoming, piece, &job);
	if (step == INCOMING_MORE)
		rabbitmq_passage_body(ch->all->passage, ch->route, piece);
	take_step(ch, step, job, "more of a body than its header said");
}

/* --- opening, consuming ------------------------------------------------------------------------ */

void rabbitmq_channel_open(struct rabbitmq_channel *ch)
{
	amqp_channel_open_t open = {0};
	move(ch, CHANNEL_OPENING);
	rabbitmq_consumer_begin(ch->consumer);
	send(ch, AMQP_CHANNEL_OPEN_METHOD, &open);
}

static void declare(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_DECLARING);
	rabbitmq_queue_declare(ch->all->conn, ch->number, ch->settings);
}

static void check_dead(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_CHECKING);
	rabbitmq_dead_queue_ask(&ch->dead, ch->all->conn, ch->number);
}

static void opened(struct rabbitmq_channel *ch)
{
	rabbitmq_answers_begin(ch->answers, ++ch->all->last_epoch);
	ch->caught_up = false;
	ch->rules = rabbitmq_server_delivery_rules(amqp_conn_server(ch->all->conn));
	rabbitmq_incoming_opened(ch->incoming, ch->rules);
	if (rabbitmq_dead_queue_is_due(&ch->dead))
		check_dead(ch);
	else
		declare(ch);
}

/* For a trial, one. A single active consumer could not be renewed for more. */
static uint16_t prefetch_now(const struct rabbitmq_channel *ch)
{
	if (pause_takes_one(&ch->route->lane->pause) && !is_single_active(ch))
		return 1;
	return (uint16_t)rabbitmq_prefetch(ch->settings, ch->all->worker, ch->route->lane);
}

/* The broker applies it to the consumers that come after it, so it is worked out now, when the handler's
 * processes have said what they can. */
static void limit(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_LIMITING);
	rabbitmq_answers_limit(ch->answers, ch->all->conn, prefetch_now(ch));
}

static void declared(struct rabbitmq_channel *ch)
{
	switch (ch->state) {
	case CHANNEL_CHECKING:
		rabbitmq_dead_queue_is_there(&ch->dead);
		declare(ch);
		return;
	case CHANNEL_DECLARING:
		limit(ch);
		return;
	default:
		return; /* a channel.close of ours has overtaken it */
	}
}

/* A queue without a leader takes its time over basic.consume, and answers with 541, which ends the connection and what
 * the others had out on it (3.10.8: after 65 s, "INTERNAL_ERROR" and no more). It is asked again after a wait of its own, which they do not share. */
static bool may_not_subscribe_yet(struct rabbitmq_channel *ch)
{
	uint64_t now_ns = loop_now_ns(ch->all->loop);
	if (now_ns >= ch->not_before_ns)
		return false;
	timer_start(ch->again, (ch->not_before_ns - now_ns) / 1000000 + 1);
	return true;
}

static void subscribe(struct rabbitmq_channel *ch)
{
	if (prefetch_now(ch) != rabbitmq_answers_prefetch(ch->answers))
		rabbitmq_answers_limit(ch->answers, ch->all->conn, prefetch_now(ch));
	rabbitmq_answers_expect(ch->answers);
	rabbitmq_single_active_doubt(&ch->single_active);
	ch->subscribed_ns = loop_now_ns(ch->all->loop);
	move(ch, CHANNEL_SUBSCRIBING);
	rabbitmq_consumer_subscribe(ch->consumer, ch->all->conn);
}

static void cancel(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_CANCELLING);
	rabbitmq_consumer_cancel(ch->consumer, ch->all->conn);
}

static bool may_take_more(const struct rabbitmq_channel *ch)
{
	return prefetch_now(ch) > rabbitmq_answers_prefetch(ch->answers);
}

/* What is held or runs is answered as ever: its tags are the channel's. */
static void renew(struct rabbitmq_channel *ch)
{
	rabbitmq_answers_limit(ch->answers, ch->all->conn, prefetch_now(ch));
	rabbitmq_answers_expect(ch->answers);
	move(ch, CHANNEL_RENEWING);
	rabbitmq_consumer_renew(ch->consumer, ch->all->conn);
}

/* The other way round: see "single active consumer" above. It may have nothing to finish. */
static void finish_jobs(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_FINISHING);
	rabbitmq_incoming_skip(ch->incoming);
	be_busy(ch);
}

/* --- whether the queue has a single active consumer ---------------------------------------------- */

static void follow(struct rabbitmq_channel *ch);

static void say_prefetch_stays(const struct rabbitmq_channel *ch)
{
	log_say(ch->all->log, LOG_WARN,
		"prefetch stays as it is while the single active consumer does",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("prefetch", rabbitmq_answers_prefetch(ch->answers)),
		kv_int("wanted", prefetch_now(ch)));
}

static void say_whether_single_active(const struct rabbitmq_channel *ch,
				      enum rabbitmq_single_active_answer answer, struct span words)
{
	if (answer == SINGLE_ACTIVE_YES_IT_IS)
		log_say(ch->all->log, LOG_INFO, "queue has a single active consumer",
			kv_text("source", ch->all->source->name),
			kv_text("queue", ch->settings->name));
	else if (answer == SINGLE_ACTIVE_NOT_TOLD)
		log_say(ch->all->log, LOG_INFO,
			"not known whether the queue has a single active consumer, taken for "
			"none",
			kv_text("source", ch->all->source->name),
			kv_text("queue", ch->settings->name), kv_span("why", words),
			kv_text("set", "single_active"));
}

static void told_whether_single_active(struct rabbitmq_channel *ch,
				       enum rabbitmq_single_active_answer answer, struct span words)
{
	if (answer == SINGLE_ACTIVE_NO_NEWS_YET || answer == SINGLE_ACTIVE_ASK_AGAIN)
		return;
	say_whether_single_active(ch, answer, words);
	if (ch->state != CHANNEL_ASKING)
		return;
	move(ch, CHANNEL_CONSUMING);
	deliver_aside(ch);
	if (is_wanted(ch) && is_single_active(ch) && may_take_more(ch))
		say_prefetch_stays(ch);
	follow(ch);
	rabbitmq_answers_decide(ch->answers, how_to_return(ch), ch->all->conn);
	settle_further(ch);
	moved(ch);
}

/* From the top, so that they meet those of the queues on connections with a thousand of them. 0: none is free. */
static uint16_t channel_for_question(const struct rabbitmq_channel *ch)
{
	uint16_t highest = amqp_conn_highest_channel(ch->all->conn);
	size_t below = ch->number - 1u;
	return highest > ch->all->n_numbers + below ? (uint16_t)(highest - below) : 0;
}

static void ask_whether_single_active(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_ASKING);
	timer_start(ch->again, SINGLE_ACTIVE_PATIENCE_MS);
	told_whether_single_active(
	    ch,
	    rabbitmq_single_active_ask(&ch->single_active, ch->all->conn, channel_for_question(ch)),
	    span_text("no channel is free to ask on"));
}

static void not_told_in_time(struct rabbitmq_channel *ch)
{
	rabbitmq_single_active_give_up(&ch->single_active);
	told_whether_single_active(ch, SINGLE_ACTIVE_NOT_TOLD, span_text("no answer in time"));
}

bool rabbitmq_channel_answered(struct rabbitmq_channel *ch, uint16_t number,
			       amqp_method_number_t id, const void *decoded)
{
	struct span words = span_text("");
	if (ch->single_active.wire == QUESTION_SHUT || ch->single_active.channel != number)
		return false;
	enum rabbitmq_single_active_answer answer =
	    rabbitmq_single_active_method(&ch->single_active, ch->all->conn, id, decoded, &words);
	told_whether_single_active(ch, answer, words);
	if (ch->retired)
		moved(ch); /* it may have waited for the end of that channel */
	return true;
}

/* --- towards what is wanted ---------------------------------------------------------------------- */

/* What the queue is has to be known first, unless there is no job that could be overtaken. What is only to be proved
 * is, before it is cancelled: an empty queue cannot be asked for a proof if it is one of those. */
static void let_go(struct rabbitmq_channel *ch)
{
	if (may_be_single_active(ch) && !rabbitmq_answers_all_ended(ch->answers))
		ask_whether_single_active(ch);
	else if (may_be_single_active(ch) && rabbitmq_answers_has_pending(ch->answers))
		be_busy(ch); /* comes again when they are proved */
	else if (is_single_active(ch))
		finish_jobs(ch);
	else
		cancel(ch);
}

static void take_more(struct rabbitmq_channel *ch)
{
	if (may_be_single_active(ch))
		ask_whether_single_active(ch);
	else if (!is_single_active(ch))
		renew(ch);
}

/* Towards what the source wants, one step: the next one follows from its answer. */
static void follow(struct rabbitmq_channel *ch)
{
	bool wanted = is_wanted(ch);
	if (ch->state == CHANNEL_READY && wanted && !may_not_subscribe_yet(ch))
		subscribe(ch);
	else if (ch->state == CHANNEL_RELEASED && wanted)
		rabbitmq_channel_open(ch);
	else if (ch->state == CHANNEL_CONSUMING && !wanted)
		let_go(ch);
	else if (ch->state == CHANNEL_CONSUMING && may_take_more(ch))
		take_more(ch);
}

void rabbitmq_channel_follow(struct rabbitmq_channel *ch)
{
	follow(ch);
}

/* A single active consumer that goes makes another one active, so it stays, with what it has. */
void rabbitmq_channel_limits_changed(struct rabbitmq_channel *ch)
{
	if (ch->state == CHANNEL_CONSUMING && !may_be_single_active(ch) && is_single_active(ch) &&
	    may_take_more(ch))
		say_prefetch_stays(ch);
	follow(ch);
}

static void counted(struct rabbitmq_channel *ch, const amqp_queue_declare_ok_t *m)
{
	rabbitmq_answers_counted(ch->answers, m->message_count, m->consumer_count);
}

static void proof_ended(struct rabbitmq_channel *ch)
{
	settle_further(ch);
	if (ch->state == CHANNEL_CONSUMING)
		follow(ch); /* it may have waited for this */
}

static void commit_answered(struct rabbitmq_channel *ch)
{
	rabbitmq_answers_commit_ok(ch->answers);
	proof_ended(ch);
}

static void proved_by_get(struct rabbitmq_channel *ch)
{
	rabbitmq_answers_got(ch->answers);
	proof_ended(ch);
	moved(ch);
}

/* It was asked for a proof, and goes back unread. */
static void got(struct rabbitmq_channel *ch, const amqp_basic_get_ok_t *m)
{
	rabbitmq_answers_return_got(ch->answers, ch->all->conn, m->delivery_tag);
	rabbitmq_incoming_begin(ch->incoming, m->delivery_tag, m->redelivered != 0);
	rabbitmq_incoming_skip(ch->incoming);
	proved_by_get(ch);
}

static void qos_answered(struct rabbitmq_channel *ch)
{
	rabbitmq_answers_qos_ok(ch->answers, ch->all->conn);
	proof_ended(ch);
	if (ch->state != CHANNEL_LIMITING)
		return;
	move(ch, CHANNEL_READY);
	follow(ch);
	moved(ch);
}

static void consume_answered(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_CONSUMING);
	ch->has_consumed = true;
	reconnect_worked(&ch->backoff);
	ch->costs = 0;
	log_say(ch->all->log, LOG_INFO, "consumer started",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("prefetch", rabbitmq_answers_prefetch(ch->answers)));
	if (ch->settings->declare == DECLARE_QUORUM && ch->rules != NULL && ch->rules->limit != 0)
		tell_of_limit(ch);
	rabbitmq_consumer_started(ch->consumer, ch->all->conn);
	follow(ch);
	moved(ch);
}

static void renewal_answered(struct rabbitmq_channel *ch)
{
	move(ch, CHANNEL_CONSUMING);
	log_say(ch->all->log, LOG_INFO, "consumer renewed for more jobs at once",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("prefetch", rabbitmq_answers_prefetch(ch->answers)));
	follow(ch); /* it may not be wanted any more */
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

static void consumer_has_gone(struct rabbitmq_channel *ch, const char *event)
{
	move(ch, CHANNEL_CANCELLED);
	rabbitmq_answers_decide(ch->answers, how_to_return(ch), ch->all->conn);
	settle_further(ch);
	uint64_t wait_ms = wait_to_try_again(ch);
	log_say(ch->all->log, LOG_WARN, event, kv_text("source", ch->all->source->name),
		kv_text("queue", ch->settings->name), kv_int("wait_ms", (int64_t)wait_ms));
	moved(ch);
}

static void looked(struct rabbitmq_channel *ch, const amqp_queue_declare_ok_t *m)
{
	if (!rabbitmq_consumer_looked(ch->consumer, m->consumer_count))
		consumer_has_gone(ch, "consumer is gone without a word, trying again");
}

/* The queue was deleted, or is moving. What we hold of it can still be answered. */
static void cancelled_by_broker(struct rabbitmq_channel *ch, const amqp_basic_cancel_t *m)
{
	if (!m->nowait) {
		amqp_basic_cancel_ok_t ok = {.consumer_tag = m->consumer_tag};
		send(ch, AMQP_BASIC_CANCEL_OK_METHOD, &ok);
	}
	struct span tag = span_of(m->consumer_tag.bytes, m->consumer_tag.len);
	bool was_renewed =
	    ch->state == CHANNEL_RENEWING && !rabbitmq_consumer_has_tag(ch->consumer, tag);
	if (was_renewed || (!channel_state_consumes(ch->state) && ch->state != CHANNEL_SUBSCRIBING))
		return; /* ours is on its way, and its cancel-ok will come */
	consumer_has_gone(ch, "consumer cancelled by the broker, trying again");
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

static void say_broken(const struct rabbitmq_channel *ch, const char *event,
		       const struct error *why)
{
	log_say(ch->all->log, LOG_WARN, event, kv_text("source", ch->all->source->name),
		kv_text("queue", ch->settings->name), kv_why(why));
}

/* True: the channel is open again, or on its way, for something else to be tried with the dead letter
 * queue. */
static bool goes_on_without_dead(struct rabbitmq_channel *ch, const struct error *why)
{
	if (!rabbitmq_dead_queue_refused(&ch->dead, why->status, ch->has_consumed))
		return false;
	if (!rabbitmq_dead_queue_is_due(&ch->dead))
		say_broken(ch, "dead letter queue is missing, jobs that end there will wait for it",
			   why);
	rabbitmq_channel_open(ch);
	return true;
}

static bool goes_on_without_timeout(struct rabbitmq_channel *ch, const struct error *why)
{
	if (!rabbitmq_consumer_timeout_refused(ch->consumer, why))
		return false;
	rabbitmq_channel_open(ch);
	return true;
}

static void wait_after(struct rabbitmq_channel *ch, const char *event, const struct error *why)
{
	uint64_t wait_ms = wait_to_try_again(ch);
	log_say(ch->all->log, LOG_WARN, event, kv_text("source", ch->all->source->name),
		kv_text("queue", ch->settings->name), kv_int("wait_ms", (int64_t)wait_ms),
		kv_why(why));
}

static const char *say_why_to_wait(enum channel_state when, const struct error *why)
{
	if (why->status != ST_MISSING)
		return "channel closed by the broker, reopening";
	return when == CHANNEL_CHECKING ? "dead letter queue is missing, waiting for it"
					: "queue is missing, waiting for it";
}

static void be_broken(struct rabbitmq_channel *ch, const struct error *why)
{
	enum channel_state when = ch->state;
	move(ch, CHANNEL_BROKEN);
	if (when != CHANNEL_CHECKING && why->status == ST_MISSING)
		rabbitmq_answers_queue_gone(ch->answers);
	lose_everything(ch);
	if (ch->retired)
		say_broken(ch, "channel of a removed queue closed by the broker", why);
	else if (when == CHANNEL_CHECKING && goes_on_without_dead(ch, why))
		return;
	else if (when == CHANNEL_SUBSCRIBING && goes_on_without_timeout(ch, why))
		return;
	else if (is_for_good(ch, why))
		ch->all->refused(ch->all->source, why);
	else
		wait_after(ch, say_why_to_wait(when, why), why);
}

static void explain_close(const struct rabbitmq_channel *ch, const amqp_channel_close_t *m,
			  struct error *why)
{
	enum status st = rabbitmq_queue_refusal(m->reply_code, m->reply_text);
	(void)error_set(why, st, "%d %.*s", m->reply_code, (int)m->reply_text.len,
			(const char *)m->reply_text.bytes);
	if (ch->state == CHANNEL_SUBSCRIBING && rabbitmq_consumer_met_stream(why))
		(void)error_set(why, st, "is a stream, which is no job queue: jobs would be lost");
	if (ch->state == CHANNEL_CHECKING)
		(void)error_add(why, st,
				st == ST_MISSING
				    ? "its dead letter queue \"%s\" is not there, create it or set "
				      "declare = \"durable\""
				    : "its dead letter queue \"%s\"",
				ch->settings->dead);
	(void)error_add(why, st, "queue \"%s\"", ch->settings->name);
}

static void closed_by_broker(struct rabbitmq_channel *ch, const amqp_channel_close_t *m)
{
	struct error why;
	amqp_channel_close_ok_t ok = {0};
	send(ch, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
	if (!channel_state_may_be_closed(ch->state))
		return; /* it is closed already, as far as we know */
	if (m->reply_code ==
	    AMQP_RESOURCE_LOCKED) /* so says the leader of a single active consumer's queue */
		rabbitmq_answers_got(ch->answers);
	explain_close(ch, m, &why);
	if (m->reply_code == AMQP_ACCESS_REFUSED)
		ch->all->doubted(ch->all->source);
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
	if (ch->state == CHANNEL_ASKING)
		not_told_in_time(ch);
	else if (ch->retired)
		return;
	else if (ch->state == CHANNEL_CANCELLED)
		declare(ch);
	else if (ch->state == CHANNEL_BROKEN && ch->all->conn != NULL)
		rabbitmq_channel_open(ch);
	else if (ch->state == CHANNEL_READY)
		follow(ch);
}

/* The broker names nobody. A healthy queue answers in milliseconds, also one beside it that subscribes again. */
static bool takes_long_to_subscribe(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_SUBSCRIBING &&
	       loop_now_ns(ch->all->loop) - ch->subscribed_ns >= UINT64_C(1000000000);
}

void rabbitmq_channel_blame(struct rabbitmq_channel *ch, const struct error *why)
{
	enum { FIRST_MS = 10000, DOUBLED_MOST = 4 };
	if (!takes_long_to_subscribe(ch))
		return;
	uint64_t wait_ms = (uint64_t)FIRST_MS << ch->costs;
	ch->costs += ch->costs < DOUBLED_MOST;
	ch->not_before_ns = loop_now_ns(ch->all->loop) + wait_ms * 1000000;
	log_say(ch->all->log, LOG_WARN, "queue has cost the connection, not consumed for a while",
		kv_text("source", ch->all->source->name), kv_text("queue", ch->settings->name),
		kv_int("wait_ms", (int64_t)wait_ms), kv_why(why));
}

/* --- closing ----------------------------------------------------------------------------------- */

void rabbitmq_channel_lose(struct rabbitmq_channel *ch)
{
	if (ch->state == CHANNEL_CLOSED)
		return;
	rabbitmq_dead_queue_connection_lost(&ch->dead);
	rabbitmq_consumer_connection_lost(ch->consumer);
	rabbitmq_single_active_connection_lost(&ch->single_active);
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

void rabbitmq_channel_suspend(struct rabbitmq_channel *ch, bool suspended)
{
	ch->suspended = suspended;
	follow(ch);
	moved(ch);
}

bool rabbitmq_channel_is_suspended(const struct rabbitmq_channel *ch)
{
	return ch->suspended;
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
	if (ch->route->in_ledger > 0 || rabbitmq_passage_has(ch->all->passage, ch->route))
		return LEAVING_JOBS;
	rabbitmq_channel_close(ch);
	bool gone = ch->state == CHANNEL_CLOSED && ch->single_active.wire == QUESTION_SHUT;
	return gone ? LEAVING_GONE : LEAVING_JOBS;
}

static void close_answered(struct rabbitmq_channel *ch)
{
	if (ch->state == CHANNEL_CLOSING) {
		rabbitmq_answers_close_ok(ch->answers);
		move(ch, CHANNEL_CLOSED);
		moved(ch);
	} else if (ch->state == CHANNEL_RELEASING) {
		rabbitmq_answers_close_ok(ch->answers);
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

/* No RabbitMQ sends these two here, and others may: nothing is published on this channel. */
static void agree_to_flow(struct rabbitmq_channel *ch, const amqp_channel_flow_t *m)
{
	amqp_channel_flow_ok_t ok = {.active = m->active};
	send(ch, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
}

static void skip_message(struct rabbitmq_channel *ch)
{
	rabbitmq_incoming_begin(ch->incoming, 0, false);
	rabbitmq_incoming_skip(ch->incoming);
}

void rabbitmq_channel_method(struct rabbitmq_channel *ch, amqp_method_number_t id,
			     const void *decoded)
{
	if (!rabbitmq_incoming_is_idle(ch->incoming)) {
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
		counted(ch, decoded);
		if (rabbitmq_consumer_is_looking(ch->consumer))
			looked(ch, decoded);
		else
			declared(ch);
		return;
	case AMQP_BASIC_GET_OK_METHOD:
		if (is_open(ch))
			got(ch, decoded);
		return;
	case AMQP_BASIC_GET_EMPTY_METHOD:
		if (is_open(ch))
			proved_by_get(ch);
		return;
	case AMQP_BASIC_QOS_OK_METHOD:
		if (is_open(ch))
			qos_answered(ch);
		return;
	case AMQP_TX_SELECT_OK_METHOD:
		return; /* its refusal would be a channel.close */
	case AMQP_TX_COMMIT_OK_METHOD:
		if (is_open(ch))
			commit_answered(ch);
		return;
	case AMQP_BASIC_CONSUME_OK_METHOD:
		if (is_answer_in(ch, CHANNEL_SUBSCRIBING))
			consume_answered(ch);
		return;
	case AMQP_BASIC_CANCEL_OK_METHOD:
		if (is_answer_in(ch, CHANNEL_CANCELLING))
			cancel_answered(ch);
		else if (is_answer_in(ch, CHANNEL_RENEWING))
			renewal_answered(ch);
		return;
	case AMQP_BASIC_CANCEL_METHOD:
		if (is_open(ch))
			cancelled_by_broker(ch, decoded);
		return;
	case AMQP_CHANNEL_FLOW_METHOD:
		if (is_open(ch))
			agree_to_flow(ch, decoded);
		return;
	case AMQP_BASIC_RETURN_METHOD:
		if (is_open(ch))
			skip_message(ch);
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

struct rabbitmq_channel *rabbitmq_channel_of_busy(struct list *node)
{
	return list_entry(node, struct rabbitmq_channel, in_busy);
}

void rabbitmq_channel_count(struct rabbitmq_channel *ch, unsigned round)
{
	if (!channel_state_consumes(ch->state) && ch->state != CHANNEL_READY) {
		census_tell(ch->all->census, round, ch->route, CENSUS_NOT_KNOWN);
		return;
	}
	rabbitmq_consumer_count(ch->consumer, ch->all->conn, ch->all->census, round, ch->route);
}

bool rabbitmq_channel_is_retired(const struct rabbitmq_channel *ch)
{
	return ch->retired;
}

bool rabbitmq_channel_consumes(const struct rabbitmq_channel *ch)
{
	return channel_state_consumes(ch->state);
}

bool rabbitmq_channel_may_deliver(const struct rabbitmq_channel *ch)
{
	return channel_state_may_deliver(ch->state);
}

bool rabbitmq_channel_is_closed(const struct rabbitmq_channel *ch)
{
	return ch->state == CHANNEL_CLOSED;
}

const char *rabbitmq_channel_waits_for(const struct rabbitmq_channel *ch)
{
	const char *what = channel_state_waits_for(ch->state);
	if (what[0] != '\0')
		return what;
	return rabbitmq_answers_has_pending(ch->answers) ? "proof that the answers have arrived"
							 : "";
}

const char *rabbitmq_channel_queue(const struct rabbitmq_channel *ch)
{
	return ch->settings->name;
}

unsigned rabbitmq_channel_limit(const struct rabbitmq_channel *ch)
{
	return rabbitmq_answers_prefetch(ch->answers);
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
	ch->dead.queue = settings;
	rabbitmq_single_active_init(&ch->single_active, settings);
	list_init(&ch->aside);
	list_init(&ch->in_busy);
	ch->consumer = rabbitmq_consumer_create(&(struct rabbitmq_consumer_place){
	    .loop = all->loop,
	    .log = all->log,
	    .source = all->source->name,
	    .worker = all->worker->name,
	    .queue = settings,
	    .channel = number,
	    .check_ms = all->check_ms,
	});
	ch->incoming = rabbitmq_incoming_create(all->log, all->source, all->worker, settings);
	ch->answers = rabbitmq_answers_create(&(struct rabbitmq_answers_place){
	    .loop = all->loop,
	    .log = all->log,
	    .host = all->source->host,
	    .copies = all->copies,
	    .passage = all->passage,
	    .queue = settings,
	    .channel = number,
	});
	ch->again = timer_create_on(all->loop, try_again, ch);
	if (ch->consumer == NULL || ch->incoming == NULL || ch->answers == NULL ||
	    ch->again == NULL) {
		rabbitmq_channel_destroy(ch);
		return error_set(why, ST_NOMEM, "queue \"%s\": out of memory", settings->name);
	}
	*ret_channel = ch;
	return ST_OK;
}

static const char *where_dead_go(const struct queue_settings *queue)
{
	if (queue->dead != NULL)
		return queue->dead;
	return queue->dlx == DLX_OWN ? "the dead letter exchange of its queue"
				     : "lost, unless its queue has a dead letter exchange";
}

void rabbitmq_channel_bind(struct rabbitmq_channel *ch, struct route *route)
{
	must(ch->route == NULL);
	ch->route = route;
	route->source_ref = ch;
	route->dead_to = where_dead_go(ch->settings);
}

void rabbitmq_channel_forgive(struct rabbitmq_channel *ch)
{
	ch->forgiven = true;
}

void rabbitmq_channel_destroy(struct rabbitmq_channel *ch)
{
	if (ch == NULL)
		return;
	list_remove(&ch->in_busy);
	if (ch->route != NULL)
		forget_copies(ch);
	rabbitmq_consumer_destroy(ch->consumer);
	rabbitmq_incoming_destroy(ch->incoming);
	rabbitmq_answers_destroy(ch->answers);
	rabbitmq_single_active_fini(&ch->single_active);
	timer_destroy(ch->again);
	memory_free(ch);
}
