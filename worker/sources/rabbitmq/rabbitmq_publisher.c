/*  idle --first send--> down --connected--> opening --open-ok--> selecting --select-ok--> ready
 *                        ^ |                                         \--declaring--declare-ok-^
 *                        | +-- wait, dial                                     |
 *                        +---- connection lost (any)         broken <-- channel.close (any)
 *                                                               \-- wait --> opening
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
 * Output is bounded: nothing is put into the stream while a megabyte waits there, or while the
 * broker says that it is blocked. What waits costs nothing more; the job behind it is in memory
 * anyway. */
#include "sources/rabbitmq/rabbitmq_publisher.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "settings/settings.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "wire/amqp.h"

#include <stdio.h>

enum { CHANNEL = 1, OUTPUT_MOST = 1 << 20 };

enum publisher_state {
	PUBLISHER_IDLE,
	PUBLISHER_DOWN,
	PUBLISHER_OPENING,
	PUBLISHER_SELECTING,
	PUBLISHER_DECLARING,
	PUBLISHER_READY,
	PUBLISHER_BROKEN,
	PUBLISHER_CLOSING,
	PUBLISHER_CLOSED,
};

/* A retry queue and when it was declared; forgotten once it is no longer fresh. */
struct lease {
	struct list node;
	uint64_t declared_ns;
	uint64_t number; /* of its declaration on this channel, from 1 */
	char name[RABBITMQ_NAME_ROOM];
};

struct publisher {
	struct rabbitmq_link link;
	const struct queue_settings *queue;
	enum publisher_trouble in_trouble;
	const struct publisher_events *events;
	void *arg;
	char name[128];

	enum publisher_state state;
	bool blocked; /* by connection.blocked */
	bool has_been_ready;
	struct list waiting, sent;
	uint64_t last_sequence;
	struct list leases;     /* the one used last is first */
	uint64_t last_declared; /* of the retry queues on this channel, counted from 1 */
	uint64_t last_answered;

	bool in_return; /* the header of a returned message is due */
	char returned_queue[RABBITMQ_NAME_ROOM];

	struct timer *reopen; /* while BROKEN */
	struct reconnect backoff;
	struct turn_hook pump; /* sends on when the output has shrunk */
};

static bool is_over(const struct publisher *p)
{
	return p->state == PUBLISHER_CLOSING || p->state == PUBLISHER_CLOSED;
}

/* --- publishing -------------------------------------------------------------------------------- */

static void forget_leases(struct publisher *p)
{
	struct list *it;
	while ((it = list_take_first(&p->leases)) != NULL)
		memory_free(list_entry(it, struct lease, node));
}

/* The fresh lease of that name, in front; drops those it meets that are not fresh any more. */
static struct lease *find_lease(struct publisher *p, const char *name, uint64_t now_ns)
{
	list_each_safe (it, &p->leases) {
		struct lease *lease = list_entry(it, struct lease, node);
		if (now_ns - lease->declared_ns > RETRY_FRESH_NS) {
			list_remove(it);
			memory_free(lease);
		} else if (strcmp(lease->name, name) == 0) {
			list_remove(it);
			list_prepend(&p->leases, it);
			return lease;
		}
	}
	return NULL;
}

static void drop_lease(struct publisher *p, const char *name)
{
	list_each_safe (it, &p->leases) {
		struct lease *lease = list_entry(it, struct lease, node);
		if (strcmp(lease->name, name) != 0)
			continue;
		list_remove(it);
		memory_free(lease);
	}
}

/* Makes sure that the queue is there, and says since when we know. Without memory to remember it, it
 * is declared again the next time. */
static uint64_t lease_queue(struct publisher *p, const char *name, const struct publication *it)
{
	uint64_t now_ns = loop_now_ns(p->link.loop);
	struct lease *lease = find_lease(p, name, now_ns);
	if (lease != NULL)
		return lease->declared_ns;
	rabbitmq_retry_queue_declare(p->link.conn, CHANNEL, name, it->queue, it->delay_ms);
	p->last_declared++;
	lease = memory_clear(1, sizeof *lease);
	if (lease != NULL) {
		lease->declared_ns = now_ns;
		lease->number = p->last_declared;
		memcpy(lease->name, name, strlen(name) + 1);
		list_prepend(&p->leases, &lease->node);
	}
	return now_ns;
}

static void target_name(char *ret_name, const struct publication *it)
{
	if (it->delay_ms > 0)
		rabbitmq_retry_queue_name(ret_name, it->queue, it->delay_ms);
	else
		(void)snprintf(ret_name, RABBITMQ_NAME_ROOM, "%s", it->queue);
}

/* Properties that do not fit into a frame never will: bounced, for the owner to decide. */
static void send_one(struct publisher *p, struct publication *it)
{
	char target[RABBITMQ_NAME_ROOM];
	target_name(target, it);
	if (it->delay_ms > 0)
		it->leased_ns = lease_queue(p, target, it);
	list_remove(&it->node);
	enum status st =
	    amqp_conn_publish(p->link.conn, CHANNEL, span_text(target), it->encoded, it->body);
	if (st == ST_INVALID) {
		struct error why;
		(void)error_set(&why, st, "its headers do not fit into a frame");
		p->events->bounced(p->arg, it, &why);
		return;
	}
	it->sequence = ++p->last_sequence;
	it->returned = false;
	it->sent = true;
	list_append(&p->sent, &it->node);
}

static void pump(void *arg)
{
	struct publisher *p = arg;
	while (p->state == PUBLISHER_READY && !p->blocked && !list_empty(&p->waiting) &&
	       amqp_conn_unsent(p->link.conn) < OUTPUT_MOST)
		send_one(p, list_entry(p->waiting.next, struct publication, node));
}

void publisher_send(struct publisher *p, struct publication *it)
{
	list_init(&it->node);
	list_append(&p->waiting, &it->node);
	if (it->delay_ms > RETRY_MOST_MS)
		it->delay_ms = RETRY_MOST_MS;
	if (p->state == PUBLISHER_IDLE)
		publisher_dial(p);
	else
		pump(p);
}

void publisher_withdraw(struct publication *it)
{
	list_remove(&it->node);
}

/* --- confirms and returns ---------------------------------------------------------------------- */

static void conclude(struct publisher *p, struct publication *it, bool taken)
{
	struct error why;
	list_remove(&it->node);
	bool stale =
	    it->delay_ms > 0 && loop_now_ns(p->link.loop) - it->leased_ns > RETRY_BELIEVED_NS;
	if (taken && !it->returned && !stale) {
		reconnect_worked(&p->backoff);
		p->events->arrived(p->arg, it);
		return;
	}
	if (it->returned)
		(void)error_set(&why, ST_MISSING, "there is no queue \"%s\"", it->queue);
	else if (!taken)
		(void)error_set(&why, ST_REFUSED, "the broker could not take it");
	else
		(void)error_set(&why, ST_TIMEOUT, "its confirm came too late to rely on");
	p->events->bounced(p->arg, it, &why);
}

static void confirmed(struct publisher *p, uint64_t tag, enum amqp_reach reach, bool taken)
{
	if (reach == AMQP_UP_TO && tag == 0)
		tag = p->last_sequence; /* the protocol's "all so far" */
	list_each_safe (node, &p->sent) {
		struct publication *it = list_entry(node, struct publication, node);
		if (it->sequence > tag)
			break;
		if (it->sequence == tag || reach == AMQP_UP_TO)
			conclude(p, it, taken);
	}
	pump(p);
}

static void begin_return(struct publisher *p, const amqp_basic_return_t *m)
{
	p->in_return = true;
	(void)snprintf(p->returned_queue, sizeof p->returned_queue, "%.*s", (int)m->routing_key.len,
		       (const char *)m->routing_key.bytes);
	drop_lease(p, p->returned_queue); /* whatever we believed, it is not there */
}

static bool was_sent_as(const struct publication *it, const char *target, struct span id)
{
	char name[RABBITMQ_NAME_ROOM];
	target_name(name, it);
	return strcmp(name, target) == 0 && span_equal(it->id, id);
}

static void returned(void *arg, uint16_t channel, const struct amqp_header *header)
{
	struct publisher *p = arg;
	(void)channel;
	if (!p->in_return)
		return;
	p->in_return = false;
	if (header->properties == NULL)
		return; /* no copy of ours: it was made of a job */
	struct span id = amqp_span_of(header->properties->message_id); /* we always set one */
	list_each (node, &p->sent) {
		struct publication *it = list_entry(node, struct publication, node);
		if (it->returned || !was_sent_as(it, p->returned_queue, id))
			continue;
		it->returned = true;
		return;
	}
}

static void ignore_body(void *arg, uint16_t channel, struct span piece)
{
	(void)arg; /* of a returned message; we have it still */
	(void)channel;
	(void)piece;
}

/* --- its channel ------------------------------------------------------------------------------- */

static void lose_channel(struct publisher *p, enum publisher_state next, const struct error *why)
{
	p->state = next;
	p->blocked = false;
	p->in_return = false;
	list_splice(&p->sent, &p->waiting); /* sent ones first, in order */
	list_splice(&p->waiting, &p->sent);
	forget_leases(p);
	if (p->events->down != NULL)
		p->events->down(p->arg, why);
}

static void open_channel(struct publisher *p)
{
	amqp_channel_open_t open = {0};
	p->state = PUBLISHER_OPENING;
	p->last_sequence = 0;
	p->last_declared = p->last_answered = 0;
	amqp_conn_send(p->link.conn, CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open);
}

static void reopen_channel(void *arg)
{
	struct publisher *p = arg;
	if (p->state == PUBLISHER_BROKEN)
		open_channel(p);
}

static enum status meaning_of(int reply_code)
{
	if (reply_code == AMQP_NOT_FOUND)
		return ST_MISSING;
	return reply_code == AMQP_ACCESS_REFUSED || reply_code == AMQP_PRECONDITION_FAILED
		   ? ST_REFUSED
		   : ST_PROTO;
}

/* The retry queue whose declaration the broker has closed the channel for: the first that has no answer.
 * "": it was for something else. */
static void refused_queue(const struct publisher *p, const amqp_channel_close_t *m, char *ret_name)
{
	ret_name[0] = '\0';
	if (((uint32_t)m->class_id << 16 | m->method_id) != AMQP_QUEUE_DECLARE_METHOD)
		return;
	list_each (it, &p->leases) {
		const struct lease *lease = list_entry(it, struct lease, node);
		if (lease->number == p->last_answered + 1)
			memcpy(ret_name, lease->name, sizeof lease->name);
	}
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
		target_name(target, it);
		if (it->delay_ms == 0 || strcmp(target, name) != 0)
			continue;
		list_remove(node);
		p->events->bounced(p->arg, it, &why);
	}
}

static void reopen_later(struct publisher *p, const struct error *why)
{
	uint64_t wait_ms = reconnect_failed(&p->backoff, rabbitmq_random());
	timer_start(p->reopen, wait_ms);
	log_say(p->link.log, LOG_WARN, "publishing channel closed by the broker, reopening",
		kv_text("source", p->link.settings->name), kv_int("wait_ms", (int64_t)wait_ms),
		kv_why(why));
}

/* The channel is as good as ever, and others wait for it; what was refused waits by itself. */
static void reopen_without(struct publisher *p, const char *refused, int reply_code,
			   const struct error *why)
{
	log_say(p->link.log, LOG_WARN, say_refused(reply_code),
		kv_text("source", p->link.settings->name), kv_text("queue", refused), kv_why(why));
	reconnect_worked(&p->backoff);
	timer_start(p->reopen, reconnect_failed(&p->backoff, rabbitmq_random()));
	lose_channel(p, PUBLISHER_BROKEN, why);
	bounce_refused(p, refused, why);
}

static void channel_closed(struct publisher *p, const amqp_channel_close_t *m)
{
	struct error why;
	char refused[RABBITMQ_NAME_ROOM];
	amqp_channel_close_ok_t ok = {0};
	amqp_conn_send(p->link.conn, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
	(void)error_set(&why, meaning_of(m->reply_code), "%d %.*s", m->reply_code,
			(int)m->reply_text.len, (const char *)m->reply_text.bytes);
	refused_queue(p, m, refused);
	if (p->in_trouble == PUBLISHER_COMES_BACK && refused[0] != '\0') {
		reopen_without(p, refused, m->reply_code, &why);
		return;
	}
	if (p->in_trouble == PUBLISHER_COMES_BACK)
		reopen_later(p, &why);
	lose_channel(p, PUBLISHER_BROKEN, &why);
}

static void become_ready(struct publisher *p)
{
	p->state = PUBLISHER_READY;
	p->has_been_ready = true;
	rabbitmq_link_worked(&p->link);
	if (p->events->ready != NULL)
		p->events->ready(p->arg);
	pump(p);
}

static void confirms_are_on(struct publisher *p)
{
	if (p->queue == NULL) {
		become_ready(p);
		return;
	}
	p->state = PUBLISHER_DECLARING;
	rabbitmq_queue_declare(p->link.conn, CHANNEL, p->queue);
}

static void on_method(void *arg, uint16_t channel, amqp_method_number_t id, const void *decoded)
{
	struct publisher *p = arg;
	(void)channel;
	switch (id) {
	case AMQP_CHANNEL_OPEN_OK_METHOD: {
		amqp_confirm_select_t select = {0};
		if (p->state != PUBLISHER_OPENING)
			return;
		p->state = PUBLISHER_SELECTING;
		amqp_conn_send(p->link.conn, CHANNEL, AMQP_CONFIRM_SELECT_METHOD, &select);
		return;
	}
	case AMQP_CONFIRM_SELECT_OK_METHOD:
		if (p->state == PUBLISHER_SELECTING)
			confirms_are_on(p);
		return;
	case AMQP_QUEUE_DECLARE_OK_METHOD:
		if (p->state == PUBLISHER_DECLARING)
			become_ready(p);
		else
			p->last_answered++; /* a retry queue's; its refusal would be a channel.close */
		return;
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *m = decoded;
		confirmed(p, m->delivery_tag, m->multiple ? AMQP_UP_TO : AMQP_ONE, true);
		return;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *m = decoded;
		confirmed(p, m->delivery_tag, m->multiple ? AMQP_UP_TO : AMQP_ONE, false);
		return;
	}
	case AMQP_BASIC_RETURN_METHOD:
		begin_return(p, decoded);
		return;
	case AMQP_CHANNEL_CLOSE_METHOD:
		channel_closed(p, decoded);
		return;
	default:
		amqp_conn_fail(p->link.conn, "an unexpected method on the publishing channel");
	}
}

/* --- its connection ---------------------------------------------------------------------------- */

static void on_opened(void *arg)
{
	open_channel(arg);
}

static void on_blocked(void *arg, const char *reason)
{
	struct publisher *p = arg;
	p->blocked = reason != NULL;
	log_say(p->link.log, LOG_WARN,
		reason ? "publishing blocked by the broker, waiting" : "publishing unblocked",
		kv_text("source", p->link.settings->name), kv_text("why", reason));
	pump(p);
}

bool publisher_is_blocked(const struct publisher *p)
{
	return p->blocked;
}

static void finish_closing(struct publisher *p)
{
	p->state = PUBLISHER_CLOSED;
	rabbitmq_link_stop(&p->link);
	timer_stop(p->reopen);
	p->events->closed(p->arg);
}

static void on_closed(void *arg, const struct error *why)
{
	struct publisher *p = arg;
	if (is_over(p)) {
		finish_closing(p);
		return;
	}
	must(why != NULL);
	timer_stop(p->reopen);
	if (p->in_trouble == PUBLISHER_COMES_BACK)
		rabbitmq_link_lost(&p->link, why);
	else if (p->has_been_ready)
		rabbitmq_link_stop(&p->link);
	else if (rabbitmq_link_try_next(&p->link))
		return; /* it has not begun yet, so it may as well begin elsewhere */
	lose_channel(p, PUBLISHER_DOWN, why);
}

static const struct amqp_events on_connection = {
    .opened = on_opened,
    .method = on_method,
    .header = returned,
    .body = ignore_body,
    .blocked = on_blocked,
    .closed = on_closed,
};

static void on_dialing(void *arg)
{
	struct publisher *p = arg;
	p->state = PUBLISHER_DOWN;
}

void publisher_dial(struct publisher *p)
{
	rabbitmq_link_dial(&p->link);
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
	p->link = (struct rabbitmq_link){
	    .loop = loop,
	    .log = log,
	    .settings = settings,
	    .name = p->name,
	    .channels = CHANNEL,
	    .dialing = on_dialing,
	    .events = &on_connection,
	    .arg = p,
	};
	p->queue = queue;
	p->in_trouble = in_trouble;
	p->events = events;
	p->arg = arg;
	(void)snprintf(p->name, sizeof p->name, "%s", name); /* cut is fine: it is for people */
	list_init(&p->waiting);
	list_init(&p->sent);
	list_init(&p->leases);
	p->pump = (struct turn_hook){.run = pump, .arg = p};
	loop_add_hook(loop, TURN_SETTLE, &p->pump);
	p->reopen = timer_create_on(loop, reopen_channel, p);
	enum status st = p->reopen != NULL ? rabbitmq_link_init(&p->link, why)
					   : error_set(why, ST_NOMEM, "publisher: out of memory");
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

void publisher_close(struct publisher *p)
{
	if (is_over(p))
		return;
	bool connected = p->state != PUBLISHER_IDLE && p->link.conn != NULL;
	p->state = PUBLISHER_CLOSING;
	if (connected)
		amqp_conn_close(p->link.conn);
	else
		finish_closing(p);
}

void publisher_destroy(struct publisher *p)
{
	if (p == NULL)
		return;
	loop_remove_hook(&p->pump);
	rabbitmq_link_fini(&p->link);
	timer_destroy(p->reopen);
	while (list_take_first(&p->waiting) != NULL)
		; /* the publications are the caller's; they leave our lists */
	while (list_take_first(&p->sent) != NULL)
		;
	forget_leases(p);
	memory_free(p);
}
