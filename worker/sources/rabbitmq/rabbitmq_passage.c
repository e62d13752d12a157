/* The awkward part is a message that ends in the middle: the broker we take it from is gone, or the one
 * we give it to reads no further, and we have not kept what would be needed to go on. The protocol has no
 * way to take back half a message; anything else on its channel breaks the whole connection. So that is
 * what we do: the connection is dropped, the broker forgets the half, and the original, which has no
 * answer yet, goes back and comes again. For that reason it is a connection of its own, and not a channel
 * beside the copies of jobs (rabbitmq_publisher.h): those would all be published once more, for nothing.
 *
 * Never is anything awaited that could keep the consuming connection from being read for long: answers
 * and heartbeats come in on it too. While output stands, reading stops, for a few seconds at most; a broker
 * that is blocked says so, and then it does not stop at all.
 *
 * One body at a time can pass, because the pieces of two must not mix on one channel; the next begins as
 * soon as the last piece of this one has left, without awaiting its confirm. One that comes in between
 * (on another channel of the consuming connection, they do mix there), or when there is no connection,
 * waits: without its body, which is read past, and without an answer, so that it keeps its place in the
 * prefetch. When all is ready it is given back, and the broker delivers it again.
 *
 * The broker may refuse one for its size (max_message_size), by a channel.close without a number. If one is too
 * large, the largest is: that one is rejected.
 *
 * basic.return has no number. Several that are under way to one queue are alike to it, so all of them
 * count as returned: twice in the dead letter queue is better than nowhere. */
#include "sources/rabbitmq/rabbitmq_passage.h"

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settle/verdict.h"
#include "sources/rabbitmq/rabbitmq_confirming.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp.h"

#include <inttypes.h>
#include <stdio.h>

enum {
	OUTPUT_MOST = 512 << 10, /* beyond it reading stops; one read brings half of it */
	OUTPUT_FEW = 128 << 10,  /* and below it goes on */
	HOLD_MS = 5000,          /* for so long at most; with short heartbeats half of one */
	HURRY_MS = 1000,
};

struct passing {
	struct list node; /* under_way or waiting */
	struct job *job;
	const char *to; /* the dead letter queue */
	uint64_t body_bytes;
	uint64_t sequence; /* among the channel's publications, from 1 */
	bool returned;     /* basic.return came; its confirm is about to */
};

struct rabbitmq_passage {
	struct rabbitmq_confirming out;
	const struct rabbitmq_passage_events *events;
	void *arg;

	bool intake_wanted;      /* else what waits goes back at once */
	struct list under_way;   /* in the order of their sequence */
	struct list waiting;     /* to go back */
	struct passing *current; /* the last under way, while its body still comes; NULL: none */
	uint64_t body_left;      /* of it */

	bool holds;
	struct turn_hook flow; /* on the list while it holds */
	struct timer *patience;
	struct timer *again; /* what waits may not go back before */
	struct reconnect backoff;
	struct timer *hurry;
};

/* --- holding the input -------------------------------------------------------------------------- */

static uint64_t hold_most_ms(const struct rabbitmq_passage *p)
{
	uint64_t half_ms = p->out.link.settings->heartbeat_ms / 2;
	return half_ms != 0 && half_ms < HOLD_MS ? half_ms : HOLD_MS;
}

static void hold(struct rabbitmq_passage *p)
{
	p->holds = true;
	loop_add_hook(p->out.link.loop, TURN_SETTLE, &p->flow);
	timer_start(p->patience, hold_most_ms(p));
	p->events->hold(p->arg);
}

static void let_flow(struct rabbitmq_passage *p)
{
	if (!p->holds)
		return;
	p->holds = false;
	loop_remove_hook(&p->flow);
	timer_stop(p->patience);
	p->events->let_flow(p->arg);
}

static void look_at_output(void *arg)
{
	struct rabbitmq_passage *p = arg;
	if (amqp_conn_unsent(p->out.link.conn) <= OUTPUT_FEW)
		let_flow(p);
}

/* --- going back --------------------------------------------------------------------------------- */

static void go_back(struct rabbitmq_passage *p, struct passing *it)
{
	struct job *job = it->job;
	list_remove(&it->node);
	memory_free(it);
	job->verdict.fate = FATE_RETURNED;
	p->events->not_passed(p->arg, job);
}

static void all_go_back(struct rabbitmq_passage *p, struct list *those)
{
	while (!list_empty(those))
		go_back(p, list_entry(those->next, struct passing, node));
}

static bool may_begin(const struct rabbitmq_passage *p)
{
	return p->out.state == CONFIRMING_READY && !p->out.blocked && p->current == NULL &&
	       amqp_conn_unsent(p->out.link.conn) <= OUTPUT_MOST;
}

static void waiting_go_back(struct rabbitmq_passage *p)
{
	if (may_begin(p) && !timer_armed(p->again))
		all_go_back(p, &p->waiting);
}

static void try_again(void *arg)
{
	waiting_go_back(arg);
}

static void wait_to_go_back(struct rabbitmq_passage *p, struct passing *it)
{
	list_remove(&it->node);
	list_append(&p->waiting, &it->node);
	if (!p->intake_wanted) {
		go_back(p, it);
		return;
	}
	if (!timer_armed(p->again))
		timer_start(p->again, reconnect_failed(&p->backoff, rabbitmq_random()));
	if (p->out.state == CONFIRMING_IDLE)
		rabbitmq_link_dial(&p->out.link);
}

/* All of it has left, so it may have arrived: told, because it is about to be there once more. */
static void log_doubt(const struct rabbitmq_passage *p, const struct job *job,
		      const struct error *why)
{
	log_say(p->out.link.log, LOG_WARN,
		"large message goes back, it may be in the dead letter queue already",
		kv_text("source", p->out.link.settings->name), kv_text("queue", job->route->name),
		KV_JOB(job), kv_why(why));
}

static void give_up_current(struct rabbitmq_passage *p)
{
	struct passing *it = p->current;
	p->current = NULL;
	if (it != NULL)
		wait_to_go_back(p, it);
}

static void give_up_under_way(struct rabbitmq_passage *p, const struct error *why)
{
	give_up_current(p);
	list_each_safe (node, &p->under_way) {
		struct passing *it = list_entry(node, struct passing, node);
		log_doubt(p, it->job, why);
		wait_to_go_back(p, it);
	}
}

/* In the middle of a message: see the essay. Those before it may still be confirmed until it is dropped. */
static void leave(struct rabbitmq_passage *p, const char *why)
{
	struct error told;
	must(p->out.state == CONFIRMING_READY);
	(void)error_set(&told, ST_CLOSED, "given up in the middle of a large message: %s", why);
	rabbitmq_confirming_leave(&p->out, &told);
	give_up_current(p);
	let_flow(p);
}

static void lose_patience(void *arg)
{
	struct rabbitmq_passage *p = arg;
	if (p->current != NULL)
		leave(p, "the broker reads too slowly");
	else
		let_flow(p);
}

static void hurry_is_over(void *arg)
{
	struct rabbitmq_passage *p = arg;
	struct error why;
	(void)error_set(&why, ST_TIMEOUT, "it was not confirmed in time");
	if (p->current != NULL)
		leave(p, "it is time to stop");
	give_up_under_way(p, &why);
}

void rabbitmq_passage_follow(struct rabbitmq_passage *p, bool intake_wanted)
{
	p->intake_wanted = intake_wanted;
	timer_stop(p->hurry);
	if (intake_wanted)
		return;
	if (p->holds && p->current != NULL)
		leave(p, "it is time to stop");
	let_flow(p);
	all_go_back(p, &p->waiting);
	if (!list_empty(&p->under_way))
		timer_start(p->hurry, HURRY_MS);
}

/* --- passing ------------------------------------------------------------------------------------ */

static void judge(struct job *job, uint64_t body_bytes)
{
	job->outcome = (struct outcome){.kind = OUTCOME_REJECT};
	(void)snprintf(job->outcome.reason, sizeof job->outcome.reason,
		       "its body of %" PRIu64 " bytes is larger than max_body", body_bytes);
	struct verdict_facts facts = {
	    .outcome = &job->outcome,
	    .attempt = job->attempt,
	    .interruptions = job->interruptions,
	    .crashes = job->crashes,
	};
	job->verdict = verdict_of(&facts, NULL); /* a rejection asks no retry policy */
}

static enum status publish(struct rabbitmq_passage *p, struct passing *it, uint64_t body_bytes,
			   const char *from, struct error *why)
{
	struct span encoded;
	enum status st = rabbitmq_message_copy(it->job, COPY_FOR_DEAD, from,
					       job_next_checkpoint(it->job), &encoded, why);
	if (st != ST_OK)
		return st;
	st = amqp_conn_publish_begin(p->out.link.conn, CONFIRMING_CHANNEL, span_text(it->to),
				     encoded, body_bytes);
	memory_free((char *)(uintptr_t)encoded.ptr);
	if (st == ST_INVALID)
		return error_set(why, st, "its headers do not fit into a frame");
	if (st != ST_OK)
		return ST_AGAIN; /* it is just about to be lost */
	it->sequence = ++p->out.last_sequence;
	list_append(&p->under_way, &it->node);
	p->current = it;
	p->body_left = body_bytes;
	return ST_OK;
}

enum status rabbitmq_passage_begin(struct rabbitmq_passage *p, struct job *job,
				   const struct queue_settings *queue, uint64_t body_bytes,
				   struct error *why)
{
	struct passing *it = memory_clear(1, sizeof *it);
	if (it == NULL)
		return error_set(why, ST_NOMEM, "a large message: out of memory");
	must(queue->dead != NULL && body_bytes > 0);
	list_init(&it->node);
	it->job = job;
	it->to = queue->dead;
	it->body_bytes = body_bytes;
	judge(job, body_bytes);
	enum status st = may_begin(p) ? publish(p, it, body_bytes, queue->name, why) : ST_AGAIN;
	if (st == ST_AGAIN)
		wait_to_go_back(p, it);
	else if (st != ST_OK)
		memory_free(it);
	return st == ST_AGAIN ? ST_OK : st;
}

void rabbitmq_passage_body(struct rabbitmq_passage *p, const struct route *route, struct span piece)
{
	if (p->current == NULL || p->current->job->route != route)
		return;
	must(piece.len <= p->body_left);
	amqp_conn_publish_body(p->out.link.conn, CONFIRMING_CHANNEL, piece);
	p->body_left -= piece.len;
	if (!p->holds && amqp_conn_unsent(p->out.link.conn) > OUTPUT_MOST)
		hold(p);
	if (p->body_left > 0)
		return;
	p->current = NULL;
	waiting_go_back(p);
}

static void forget_those(struct list *those, const struct route *route)
{
	list_each_safe (node, those) {
		struct passing *it = list_entry(node, struct passing, node);
		if (it->job->route != route)
			continue;
		list_remove(node);
		memory_free(it);
	}
}

static void doubt_those(const struct rabbitmq_passage *p, const struct route *route)
{
	struct error why;
	(void)error_set(&why, ST_CLOSED, "its channel has ended");
	list_each (node, &p->under_way) {
		const struct passing *it = list_entry(node, const struct passing, node);
		if (it != p->current && it->job->route == route)
			log_doubt(p, it->job, &why);
	}
}

void rabbitmq_passage_forget(struct rabbitmq_passage *p, const struct route *route)
{
	bool in_the_middle = p->current != NULL && p->current->job->route == route;
	doubt_those(p, route);
	if (in_the_middle)
		p->current = NULL;
	forget_those(&p->under_way, route);
	forget_those(&p->waiting, route);
	if (in_the_middle)
		leave(p, "the broker has taken it back");
}

size_t rabbitmq_passage_count(const struct rabbitmq_passage *p)
{
	size_t n = 0;
	list_each (it, &p->under_way)
		n++;
	return n;
}

/* Whose answer is lost, or not proved, comes again: its copy is there, and then there is another. */
static const char *say_end(const struct job *job, enum settled how)
{
	if (!job->copied)
		return "message rejected, larger than max_body, and no copy of it can be made";
	return how == SETTLED
		   ? "message dead, its body is larger than max_body"
		   : "message dead, its body is larger than max_body; perhaps twice, its "
		     "answer was lost";
}

void rabbitmq_passage_ended(struct rabbitmq_passage *p, struct job *job, enum settled how)
{
	struct source_host *host = job->route->source->host;
	bool rejected = !job->copied && job->verdict.fate == FATE_DEAD && how == SETTLED;
	if (job->copied || rejected) {
		log_say(p->out.link.log, LOG_WARN, say_end(job, how),
			kv_text("source", p->out.link.settings->name),
			kv_text("queue", job->route->name), KV_JOB(job),
			kv_text("reason", job->outcome.reason));
		host->buried(host, job->route, 1);
	}
	job_destroy(job);
}

bool rabbitmq_passage_has(const struct rabbitmq_passage *p, const struct route *route)
{
	list_each (node, &p->under_way) {
		if (list_entry(node, const struct passing, node)->job->route == route)
			return true;
	}
	return false;
}

bool rabbitmq_passage_is_blocked(const struct rabbitmq_passage *p)
{
	return p->out.blocked;
}

/* --- confirms and returns ----------------------------------------------------------------------- */

static void log_refusal(const struct rabbitmq_passage *p, const struct passing *it)
{
	log_say(p->out.link.log, LOG_WARN,
		it->returned ? "large message could not be placed, there is no such queue"
			     : "large message could not be placed, the broker did not take it",
		kv_text("source", p->out.link.settings->name),
		kv_text("queue", it->job->route->name), KV_JOB(it->job), kv_text("to", it->to));
}

static void conclude(struct rabbitmq_passage *p, struct passing *it, bool taken)
{
	struct job *job = it->job;
	if (!taken || it->returned) {
		log_refusal(p, it);
		wait_to_go_back(p, it);
		return;
	}
	reconnect_worked(&p->backoff);
	list_remove(&it->node);
	memory_free(it);
	p->events->passed(p->arg, job);
}

static void on_confirmed(void *arg, uint64_t sequence, enum amqp_reach reach, bool taken)
{
	struct rabbitmq_passage *p = arg;
	list_each_safe (node, &p->under_way) {
		struct passing *it = list_entry(node, struct passing, node);
		if (it == p->current || it->sequence > sequence)
			break;
		if (it->sequence == sequence || reach == AMQP_UP_TO)
			conclude(p, it, taken);
	}
}

static void on_returned(void *arg, const char *queue, struct span id)
{
	struct rabbitmq_passage *p = arg;
	(void)id; /* see the essay */
	list_each (node, &p->under_way) {
		struct passing *it = list_entry(node, struct passing, node);
		if (it != p->current && strcmp(it->to, queue) == 0)
			it->returned = true;
	}
}

/* --- its connection ----------------------------------------------------------------------------- */

static void on_ready(void *arg)
{
	struct rabbitmq_passage *p = arg;
	rabbitmq_link_worked(&p->out.link);
	waiting_go_back(p);
}

static void reject_largest(struct rabbitmq_passage *p, const struct error *closed)
{
	struct passing *largest = NULL;
	list_each (node, &p->under_way) {
		struct passing *it = list_entry(node, struct passing, node);
		if (largest == NULL || it->body_bytes > largest->body_bytes)
			largest = it;
	}
	if (largest == NULL)
		return;
	struct job *job = largest->job;
	(void)snprintf(job->outcome.reason, sizeof job->outcome.reason, "refused: %.80s",
		       closed->text);
	if (largest == p->current)
		p->current = NULL;
	list_remove(&largest->node);
	memory_free(largest);
	p->events->refused(p->arg, job);
}

/* The channel is all that the connection is for, so that goes too. */
static void on_channel_closed(void *arg, const amqp_channel_close_t *m, const struct error *why)
{
	struct rabbitmq_passage *p = arg;
	rabbitmq_confirming_leave(&p->out, why);
	if (rabbitmq_confirming_refuses_message(m))
		reject_largest(p, why);
	give_up_current(p);
}

/* Until the alarm is over nothing is read there, and the rest of a body must not wait here for that. */
static void on_blocked(void *arg, const char *reason)
{
	struct rabbitmq_passage *p = arg;
	log_say(p->out.link.log, LOG_WARN,
		reason ? "large messages wait, blocked by the broker" : "publishing unblocked",
		kv_text("source", p->out.link.settings->name), kv_text("why", reason));
	if (reason != NULL && p->current != NULL)
		leave(p, reason);
	waiting_go_back(p);
}

static void on_closed(void *arg, const struct error *why)
{
	struct rabbitmq_passage *p = arg;
	if (why == NULL) {
		p->events->closed(p->arg);
		return;
	}
	rabbitmq_link_lost(&p->out.link, why);
	let_flow(p);
	give_up_under_way(p, why);
}

static const struct rabbitmq_confirming_events on_channel = {
    .ready = on_ready,
    .confirmed = on_confirmed,
    .returned = on_returned,
    .blocked = on_blocked,
    .channel_closed = on_channel_closed,
    .closed = on_closed,
    .unexpected = "an unexpected method on the passing channel",
};

/* --- life --------------------------------------------------------------------------------------- */

enum status rabbitmq_passage_create(struct loop *loop, struct log *log,
				    const struct rabbitmq_settings *settings, const char *worker,
				    const struct rabbitmq_passage_events *events, void *arg,
				    struct rabbitmq_passage **ret_passage, struct error *why)
{
	char name[128];
	(void)snprintf(name, sizeof name, "%.100s (large messages)", worker);
	struct rabbitmq_passage *p = memory_clear(1, sizeof *p);
	if (p == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	p->events = events;
	p->arg = arg;
	list_init(&p->under_way);
	list_init(&p->waiting);
	p->intake_wanted = true;
	p->flow = (struct turn_hook){.run = look_at_output, .arg = p};
	list_init(&p->flow.node);
	p->patience = timer_create_on(loop, lose_patience, p);
	p->again = timer_create_on(loop, try_again, p);
	p->hurry = timer_create_on(loop, hurry_is_over, p);
	bool whole = p->patience != NULL && p->again != NULL && p->hurry != NULL;
	enum status st = whole ? rabbitmq_confirming_init(&p->out, loop, log, settings, name,
							  &on_channel, p, why)
			       : error_set(why, ST_NOMEM, "out of memory");
	if (st != ST_OK) {
		rabbitmq_passage_destroy(p);
		return st;
	}
	*ret_passage = p;
	return ST_OK;
}

/* In order, unless it is not read there; the channels of the originals are closed by now, so that
 * nothing here is anybody's business any more. */
void rabbitmq_passage_close(struct rabbitmq_passage *p)
{
	bool in_order = p->out.state == CONFIRMING_READY && !p->out.blocked;
	must(list_empty(&p->under_way) && list_empty(&p->waiting));
	timer_stop(p->again);
	timer_stop(p->hurry);
	let_flow(p);
	rabbitmq_confirming_close(&p->out, in_order ? CONFIRMING_IN_ORDER : CONFIRMING_AT_ONCE);
}

void rabbitmq_passage_destroy(struct rabbitmq_passage *p)
{
	if (p == NULL)
		return;
	must(list_empty(&p->under_way) && list_empty(&p->waiting));
	loop_remove_hook(&p->flow);
	rabbitmq_confirming_fini(&p->out);
	timer_destroy(p->patience);
	timer_destroy(p->again);
	timer_destroy(p->hurry);
	memory_free(p);
}
