/* The way to a channel that confirms is rabbitmq_confirming.h's. One that breaks is opened anew, after a wait
 * and on the same connection.
 *
 * Publications are on one of two lists: waiting, or sent and in the order of their sequence number.
 * Losing the channel puts the sent ones back in front of the waiting ones, in order. A confirm
 * takes what it speaks of from the front, usually the very first.
 *
 * The awkward part is basic.return, which has no sequence number. It comes before the confirm of
 * the same message, and it names the message's id and its queue. Two messages alike in both come
 * back alike, in the order they were published; so the first one sent that fits and is not yet
 * marked is the one. What is marked and then confirmed has bounced.
 *
 * A retry queue may be refused, and a refusal closes the channel: whatever is not confirmed by then is
 * published once more for it. So the first one is declared when nothing waits for a confirm, and nothing is
 * published until it has its answer; and where one has ever been refused, so is each. Between these, to wait
 * would cost a round trip for each new delay; the first refusal there may make copies arrive twice.
 *
 * The broker may refuse a message for what it is: its body is over max_message_size. That, too, closes the
 * channel, and with it go the confirms of those before it, which are there. So whatever may be refused goes
 * alone: nothing else is out when it is sent, and nothing follows until it has its answer. Then the refused one
 * is known, nothing is published twice, and it costs a round trip. "May be" is a body larger than any that
 * the broker has taken on this channel. Where it refuses one of several all the same (the limit was lowered
 * under them), each of these goes alone from then on.
 *
 * A body larger than what may wait in the output goes in pieces, as the output shrinks, so that it is in memory once.
 * It goes alone, too: where its job is withdrawn in the middle of it the protocol has no way to take back the
 * half, and the connection is left, which is then nobody else's loss.
 *
 * Output is bounded: nothing is put into the stream while a megabyte waits there, or while the
 * broker says that it is blocked. What waits costs nothing more; the job behind it is in memory
 * anyway. */
#include "sources/rabbitmq/rabbitmq_publisher.h"

#include "base/log.h"
#include "base/memory.h"
#include "loop/loop.h"
#include "sources/rabbitmq/rabbitmq_confirming.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp.h"

#include <stdio.h>

enum {
	OUTPUT_MOST = 1 << 20,
	PIECE_BYTES = 256 << 10,
	TAKEN_BY_ALL = 4096, /* nobody sets max_message_size below that */
};

/* A retry queue that was declared on this channel, in this week. */
struct declared_queue {
	struct list node;
	uint64_t number; /* of its declaration on this channel, from 1 */
	char name[RABBITMQ_NAME_ROOM];
};

struct publisher {
	struct rabbitmq_confirming out;
	const struct queue_settings *queue;
	enum publisher_trouble in_trouble;
	const struct publisher_events *events;
	void *arg;

	bool declaring; /* the queue; ready after that */
	bool has_been_ready;
	struct list waiting, sent;
	size_t largest_taken;          /* body on this channel, in bytes */
	struct publication *in_pieces; /* the one sent last, while some of its body is left */
	size_t body_sent;              /* of it */
	uint32_t week;                 /* which retry queues are named after */
	enum retry_queue_kind kind;    /* theirs, at this broker */
	bool told_kind;                /* that they may lose what waits in them */
	struct list declared_queues;   /* the one used last is first */
	uint64_t last_declared;        /* of the retry queues on this channel, counted from 1 */
	uint64_t last_answered;
	enum retry_queues {
		RETRY_QUEUES_UNTRIED,
		RETRY_QUEUES_FINE,
		RETRY_QUEUES_REFUSED
	} retry_queues;

	struct timer *reopen; /* while it is broken */
	struct reconnect backoff;
	struct turn_hook pump; /* sends on when the output has shrunk */
};

/* --- publishing -------------------------------------------------------------------------------- */

static void forget_declared(struct publisher *p)
{
	struct list *it;
	while ((it = list_take_first(&p->declared_queues)) != NULL)
		memory_free(list_entry(it, struct declared_queue, node));
}

/* In front, when it is there. */
static struct declared_queue *find_declared(struct publisher *p, const char *name)
{
	list_each (it, &p->declared_queues) {
		struct declared_queue *queue = list_entry(it, struct declared_queue, node);
		if (strcmp(queue->name, name) != 0)
			continue;
		list_remove(it);
		list_prepend(&p->declared_queues, it);
		return queue;
	}
	return NULL;
}

static struct retry_queue retry_queue_of(const struct publisher *p, const struct publication *it,
					 uint32_t week)
{
	return (struct retry_queue){
	    .of = it->queue, .delay_ms = it->delay_ms, .week = week, .kind = p->kind};
}

static void target_name(const struct publisher *p, const struct publication *it, uint32_t week,
			char *ret_name)
{
	struct retry_queue retry = retry_queue_of(p, it, week);
	if (it->delay_ms > 0)
		rabbitmq_retry_queue_name(ret_name, &retry);
	else
		(void)snprintf(ret_name, RABBITMQ_NAME_ROOM, "%s", it->queue);
}

static void tell_kind(struct publisher *p)
{
	if (p->kind == RETRY_QUEUE_QUORUM || p->told_kind)
		return;
	p->told_kind = true;
	log_say(
	    p->out.link.log, LOG_WARN,
	    "retries may be lost: this broker drops one that its queue cannot take at the moment "
	    "it is due; RabbitMQ 3.10 or later keeps it",
	    kv_text("source", p->out.link.settings->name),
	    kv_text("server", amqp_conn_server(p->out.link.conn)));
}

/* Makes sure that the retry queue is there. Without memory to remember it, it is declared again the next
 * time. */
static void declare_retry_queue(struct publisher *p, const char *name, const struct publication *it)
{
	struct retry_queue retry = retry_queue_of(p, it, p->week);
	struct declared_queue *queue = find_declared(p, name);
	if (queue != NULL)
		return;
	tell_kind(p);
	rabbitmq_retry_queue_declare(p->out.link.conn, CONFIRMING_CHANNEL, &retry);
	p->last_declared++;
	queue = memory_clear(1, sizeof *queue);
	if (queue == NULL)
		return;
	queue->number = p->last_declared;
	memcpy(queue->name, name, strlen(name) + 1);
	list_prepend(&p->declared_queues, &queue->node);
}

/* Another week, other queues. */
static void look_at_calendar(struct publisher *p)
{
	uint32_t week = rabbitmq_retry_week(time(NULL));
	if (week == p->week)
		return;
	p->week = week;
	forget_declared(p);
}

static bool goes_in_pieces(const struct publication *it)
{
	return it->body.len > OUTPUT_MOST;
}

static bool has_room(const struct publisher *p)
{
	return p->out.state == CONFIRMING_READY && !p->out.blocked &&
	       amqp_conn_unsent(p->out.link.conn) < OUTPUT_MOST;
}

/* The end of this turn may write all of them, and then nothing else would begin another. */
static void send_pieces(struct publisher *p)
{
	if (p->in_pieces != NULL && has_room(p))
		loop_turn_again(p->out.link.loop);
	while (p->in_pieces != NULL && has_room(p)) {
		struct span body = p->in_pieces->body;
		size_t left = body.len - p->body_sent;
		size_t n = left < PIECE_BYTES ? left : PIECE_BYTES;
		amqp_conn_publish_body(p->out.link.conn, CONFIRMING_CHANNEL,
				       span_of(body.ptr + p->body_sent, n));
		p->body_sent += n;
		if (n == left)
			p->in_pieces = NULL;
	}
}

static enum status publish(struct publisher *p, struct publication *it, const char *target)
{
	struct amqp_conn *conn = p->out.link.conn;
	if (!goes_in_pieces(it))
		return amqp_conn_publish(conn, CONFIRMING_CHANNEL, span_text(target), it->encoded,
					 it->body);
	enum status st = amqp_conn_publish_begin(conn, CONFIRMING_CHANNEL, span_text(target),
						 it->encoded, it->body.len);
	if (st != ST_OK)
		return st;
	p->in_pieces = it;
	p->body_sent = 0;
	return ST_OK;
}

/* Properties that do not fit into a frame never will: bounced, for the owner to decide. */
static void send_one(struct publisher *p, struct publication *it)
{
	char target[RABBITMQ_NAME_ROOM];
	target_name(p, it, p->week, target);
	it->week = p->week;
	if (it->delay_ms > 0)
		declare_retry_queue(p, target, it);
	list_remove(&it->node);
	enum status st = publish(p, it, target);
	if (st == ST_INVALID) {
		struct error why;
		(void)error_set(&why, st, "its headers do not fit into a frame");
		p->events->bounced(p->arg, it, &why);
		return;
	}
	it->sequence = ++p->out.last_sequence;
	it->returned = false;
	it->sent = true;
	list_append(&p->sent, &it->node);
}

static bool awaits_retry_queue(const struct publisher *p)
{
	return p->retry_queues != RETRY_QUEUES_FINE && p->last_answered != p->last_declared;
}

static bool may_publish(const struct publisher *p)
{
	return has_room(p) && !p->declaring && !awaits_retry_queue(p) && p->in_pieces == NULL;
}

static bool goes_alone(const struct publisher *p, const struct publication *it)
{
	size_t taken = p->largest_taken > TAKEN_BY_ALL ? p->largest_taken : TAKEN_BY_ALL;
	bool may_be_refused = it->suspect || it->body.len > taken;
	return may_be_refused || goes_in_pieces(it);
}

static bool goes_with_those_sent(const struct publisher *p, const struct publication *it)
{
	if (list_empty(&p->sent))
		return true;
	return !goes_alone(p, it) &&
	       !goes_alone(p, list_entry(p->sent.next, const struct publication, node));
}

/* False: not now, its retry queue comes first. Without memory to remember it there is nothing to wait for:
 * it goes right behind a declaration. */
static bool may_send_one(struct publisher *p, const struct publication *it)
{
	char target[RABBITMQ_NAME_ROOM];
	if (it->delay_ms == 0 || p->retry_queues == RETRY_QUEUES_FINE)
		return true;
	target_name(p, it, p->week, target);
	if (find_declared(p, target) != NULL)
		return true;
	if (!list_empty(&p->sent))
		return false;
	declare_retry_queue(p, target, it);
	return find_declared(p, target) == NULL;
}

static void pump(void *arg)
{
	struct publisher *p = arg;
	if (!list_empty(&p->waiting))
		look_at_calendar(p);
	send_pieces(p);
	while (!list_empty(&p->waiting) && may_publish(p)) {
		struct publication *first = list_entry(p->waiting.next, struct publication, node);
		if (!goes_with_those_sent(p, first) || !may_send_one(p, first))
			return;
		send_one(p, first);
		send_pieces(p);
	}
}

void publisher_send(struct publisher *p, struct publication *it)
{
	list_init(&it->node);
	list_append(&p->waiting, &it->node);
	if (it->delay_ms > RETRY_MOST_MS)
		it->delay_ms = RETRY_MOST_MS;
	if (p->out.state == CONFIRMING_IDLE)
		publisher_dial(p);
	else
		pump(p);
}

void publisher_withdraw(struct publisher *p, struct publication *it)
{
	struct error why;
	list_remove(&it->node);
	if (p->in_pieces != it)
		return;
	p->in_pieces = NULL;
	(void)error_set(&why, ST_CLOSED, "a message was withdrawn in the middle of its body");
	rabbitmq_confirming_leave(&p->out, &why);
}

/* --- confirms and returns ---------------------------------------------------------------------- */

static void conclude(struct publisher *p, struct publication *it, bool taken)
{
	struct error why;
	char target[RABBITMQ_NAME_ROOM];
	list_remove(&it->node);
	it->suspect = false;
	if (it->body.len > p->largest_taken)
		p->largest_taken =
		    it->body.len; /* returned and nacked ones have passed that as well */
	if (taken && !it->returned) {
		reconnect_worked(&p->backoff);
		p->events->arrived(p->arg, it);
		return;
	}
	target_name(p, it, it->week, target);
	if (it->returned)
		(void)error_set(&why, ST_MISSING, "there is no queue \"%s\"", target);
	else
		(void)error_set(&why, ST_REFUSED, "the broker could not take it");
	p->events->bounced(p->arg, it, &why);
}

static void on_confirmed(void *arg, uint64_t sequence, enum amqp_reach reach, bool taken)
{
	struct publisher *p = arg;
	list_each_safe (node, &p->sent) {
		struct publication *it = list_entry(node, struct publication, node);
		if (it->sequence > sequence)
			break;
		if (it->sequence == sequence || reach == AMQP_UP_TO)
			conclude(p, it, taken);
	}
	pump(p);
}

static bool was_sent_as(const struct publisher *p, const struct publication *it, const char *target,
			struct span id)
{
	char name[RABBITMQ_NAME_ROOM];
	target_name(p, it, it->week, name);
	return strcmp(name, target) == 0 && span_equal(it->id, id);
}

/* A queue that was there, and whose time had not come. */
static void miss_queue(struct publisher *p, const char *name)
{
	struct declared_queue *queue = find_declared(p, name);
	if (queue == NULL)
		return;
	if (queue->number <= p->last_answered)
		log_say(
		    p->out.link.log, LOG_ERROR,
		    "retry queue has vanished, and what waited in it: was it deleted, or does a "
		    "policy expire it?",
		    kv_text("source", p->out.link.settings->name), kv_text("queue", name));
	list_remove(&queue->node);
	memory_free(queue);
}

static void on_returned(void *arg, const char *target, struct span id) /* we always set an id */
{
	struct publisher *p = arg;
	miss_queue(p, target);
	list_each (node, &p->sent) {
		struct publication *it = list_entry(node, struct publication, node);
		if (it->returned || !was_sent_as(p, it, target, id))
			continue;
		it->returned = true;
		return;
	}
}

/* --- its channel ------------------------------------------------------------------------------- */

static void lose_channel(struct publisher *p, const struct error *why)
{
	list_splice(&p->sent, &p->waiting); /* sent ones first, in order */
	list_splice(&p->waiting, &p->sent);
	p->largest_taken = 0;
	p->in_pieces = NULL;
	forget_declared(p);
	if (p->events->down != NULL)
		p->events->down(p->arg, why);
}

static void reopen_channel(void *arg)
{
	struct publisher *p = arg;
	rabbitmq_confirming_open(&p->out);
}

/* The retry queue whose declaration has no answer yet. "": all have, or it is not remembered. */
static void first_unanswered(const struct publisher *p, char *ret_name)
{
	ret_name[0] = '\0';
	list_each (it, &p->declared_queues) {
		const struct declared_queue *queue =
		    list_entry(it, const struct declared_queue, node);
		if (queue->number == p->last_answered + 1)
			memcpy(ret_name, queue->name, sizeof queue->name);
	}
}

/* The one that the broker has closed the channel for. "": it was for something else. */
static void refused_queue(const struct publisher *p, const amqp_channel_close_t *m, char *ret_name)
{
	ret_name[0] = '\0';
	if (((uint32_t)m->class_id << 16 | m->method_id) != AMQP_QUEUE_DECLARE_METHOD)
		return;
	first_unanswered(p, ret_name);
}

/* Its messages go on by way of the default exchange when they are dead: the broker asks for that, too. */
static const char *say_refused(int reply_code)
{
	switch (reply_code) {
	case AMQP_ACCESS_REFUSED:
		return "retry queue refused, its jobs wait: the user needs the rights configure "
		       "and read on it, and write on amq.default";
	case AMQP_PRECONDITION_FAILED:
		return "retry queue refused, its jobs wait: there is one that we have not made, "
		       "delete it when it is empty";
	default:
		return "retry queue refused, its jobs wait";
	}
}

/* Sent again with the others, what goes there would close the channel under them each time. */
static void bounce_refused(struct publisher *p, const char *name, const struct error *closed)
{
	struct error why;
	(void)error_set(&why, closed->status, "retry queue \"%s\" was refused", name);
	list_each_safe (node, &p->waiting) {
		struct publication *it = list_entry(node, struct publication, node);
		char target[RABBITMQ_NAME_ROOM];
		target_name(p, it, p->week, target);
		if (it->delay_ms == 0 || strcmp(target, name) != 0)
			continue;
		list_remove(node);
		p->events->bounced(p->arg, it, &why);
	}
}

/* The only one that was out is it; of several, each may be. */
static void find_refused(struct publisher *p, const struct error *closed)
{
	struct error why;
	if (list_empty(&p->sent))
		return;
	struct publication *first = list_entry(p->sent.next, struct publication, node);
	if (first->node.next != &p->sent) {
		list_each (node, &p->sent)
			list_entry(node, struct publication, node)->suspect = true;
		return;
	}
	(void)error_set(&why, ST_FULL, "the broker refuses it: %s", closed->text);
	list_remove(&first->node);
	p->events->bounced(p->arg, first, &why);
}

static void reopen_later(struct publisher *p, const struct error *why)
{
	uint64_t wait_ms = reconnect_failed(&p->backoff, rabbitmq_random());
	timer_start(p->reopen, wait_ms);
	log_say(p->out.link.log, LOG_WARN, "publishing channel closed by the broker, reopening",
		kv_text("source", p->out.link.settings->name), kv_int("wait_ms", (int64_t)wait_ms),
		kv_why(why));
}

/* The channel is as good as ever, and others wait for it; what was refused waits by itself. */
static void reopen_without(struct publisher *p, const char *refused, int reply_code,
			   const struct error *why)
{
	log_say(p->out.link.log, LOG_WARN, say_refused(reply_code),
		kv_text("source", p->out.link.settings->name), kv_text("queue", refused),
		kv_why(why));
	p->retry_queues = RETRY_QUEUES_REFUSED;
	reconnect_worked(&p->backoff);
	timer_start(p->reopen, reconnect_failed(&p->backoff, rabbitmq_random()));
	lose_channel(p, why);
	bounce_refused(p, refused, why);
}

static void on_channel_closed(void *arg, const amqp_channel_close_t *m, const struct error *why)
{
	struct publisher *p = arg;
	char refused[RABBITMQ_NAME_ROOM];
	amqp_channel_close_ok_t ok = {0};
	amqp_conn_send(p->out.link.conn, CONFIRMING_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
	refused_queue(p, m, refused);
	if (m->reply_code == AMQP_ACCESS_REFUSED)
		rabbitmq_link_doubt(&p->out.link);
	if (rabbitmq_confirming_refuses_message(m)) {
		find_refused(p, why);
		if (p->in_trouble == PUBLISHER_COMES_BACK)
			timer_start(p->reopen, 0);
		lose_channel(p, why);
		return;
	}
	if (p->in_trouble == PUBLISHER_COMES_BACK && refused[0] != '\0') {
		reopen_without(p, refused, m->reply_code, why);
		return;
	}
	if (p->in_trouble == PUBLISHER_COMES_BACK)
		reopen_later(p, why);
	lose_channel(p, why);
}

static void become_ready(struct publisher *p)
{
	p->has_been_ready = true;
	rabbitmq_link_worked(&p->out.link);
	if (p->events->ready != NULL)
		p->events->ready(p->arg);
	pump(p);
}

static void on_ready(void *arg)
{
	struct publisher *p = arg;
	p->last_declared = p->last_answered = 0;
	p->kind = rabbitmq_server_dead_letters_at_least_once(amqp_conn_server(p->out.link.conn))
		      ? RETRY_QUEUE_QUORUM
		      : RETRY_QUEUE_CLASSIC;
	p->declaring = p->queue != NULL;
	if (p->declaring)
		rabbitmq_queue_declare(p->out.link.conn, CONFIRMING_CHANNEL, p->queue);
	else
		become_ready(p);
}

static void on_declared(void *arg)
{
	struct publisher *p = arg;
	if (!p->declaring) {
		p->last_answered++; /* a retry queue's; its refusal would be a channel.close */
		if (p->retry_queues == RETRY_QUEUES_UNTRIED)
			p->retry_queues = RETRY_QUEUES_FINE;
		pump(p);
		return;
	}
	p->declaring = false;
	become_ready(p);
}

/* --- its connection ---------------------------------------------------------------------------- */

static void on_blocked(void *arg, const char *reason)
{
	struct publisher *p = arg;
	log_say(p->out.link.log, LOG_WARN,
		reason ? "publishing blocked by the broker, waiting" : "publishing unblocked",
		kv_text("source", p->out.link.settings->name), kv_text("why", reason));
	pump(p);
}

bool publisher_is_blocked(const struct publisher *p)
{
	return p->out.blocked;
}

/* A declaration may be what it was lost for: where a quorum queue finds no majority of nodes, 541. What
 * waits for that one waits by itself, then. */
static void on_closed(void *arg, const struct error *why)
{
	struct publisher *p = arg;
	char unanswered[RABBITMQ_NAME_ROOM];
	timer_stop(p->reopen);
	if (why == NULL) {
		p->events->closed(p->arg);
		return;
	}
	first_unanswered(p, unanswered);
	if (p->in_trouble == PUBLISHER_COMES_BACK)
		rabbitmq_link_lost(&p->out.link, why);
	else if (p->has_been_ready)
		rabbitmq_link_stop(&p->out.link);
	else if (rabbitmq_link_try_next(&p->out.link))
		return; /* it has not begun yet, so it may as well begin elsewhere */
	lose_channel(p, why);
	if (p->in_trouble == PUBLISHER_COMES_BACK && unanswered[0] != '\0')
		bounce_refused(p, unanswered, why);
}

static const struct rabbitmq_confirming_events on_channel = {
    .ready = on_ready,
    .confirmed = on_confirmed,
    .returned = on_returned,
    .declared = on_declared,
    .blocked = on_blocked,
    .channel_closed = on_channel_closed,
    .closed = on_closed,
    .unexpected = "an unexpected method on the publishing channel",
};

void publisher_dial(struct publisher *p)
{
	rabbitmq_link_dial(&p->out.link);
}

enum status publisher_create(struct loop *loop, struct log *log,
			     const struct rabbitmq_settings *settings, const char *name,
			     const struct queue_settings *queue, enum publisher_trouble in_trouble,
			     const struct publisher_events *events, void *arg,
			     struct publisher **ret_publisher, struct error *why)
{
	struct publisher *p = memory_clear(1, sizeof *p);
	if (p == NULL)
		return error_set(why, ST_NOMEM, "publisher: out of memory");
	p->queue = queue;
	p->in_trouble = in_trouble;
	p->events = events;
	p->arg = arg;
	list_init(&p->waiting);
	list_init(&p->sent);
	list_init(&p->declared_queues);
	p->pump = (struct turn_hook){.run = pump, .arg = p};
	loop_add_hook(loop, TURN_SETTLE, &p->pump);
	p->reopen = timer_create_on(loop, reopen_channel, p);
	enum status st = p->reopen == NULL ? error_set(why, ST_NOMEM, "publisher: out of memory")
					   : rabbitmq_confirming_init(&p->out, loop, log, settings,
								      name, &on_channel, p, why);
	if (st != ST_OK) {
		publisher_destroy(p);
		return st;
	}
	*ret_publisher = p;
	return ST_OK;
}

size_t publisher_unconfirmed(const struct publisher *p)
{
	size_t n = 0;
	list_each (it, &p->waiting)
		n++;
	list_each (it, &p->sent)
		n++;
	return n;
}

/* A broker that does not read does not answer either. */
void publisher_close(struct publisher *p)
{
	timer_stop(p->reopen);
	rabbitmq_confirming_close(&p->out,
				  p->out.blocked ? CONFIRMING_AT_ONCE : CONFIRMING_IN_ORDER);
}

void publisher_destroy(struct publisher *p)
{
	if (p == NULL)
		return;
	loop_remove_hook(&p->pump);
	rabbitmq_confirming_fini(&p->out);
	timer_destroy(p->reopen);
	while (list_take_first(&p->waiting) != NULL)
		; /* the publications are the caller's; they leave our lists */
	while (list_take_first(&p->sent) != NULL)
		;
	forget_declared(p);
	memory_free(p);
}
