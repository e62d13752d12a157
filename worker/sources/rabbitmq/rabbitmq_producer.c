/* A publisher that gives up at the first trouble, because somebody sits in front of it: better a
 * sentence now than a program that waits.
 *
 * The caller is told from the end of a turn and one thing at a time, so that he may send, close or
 * destroy from within any of his callbacks. "Oldest first" is kept although the broker may confirm
 * out of order: messages stay on a list in the order they were sent, and what is reported is how
 * many have left at its head. */
#include "sources/rabbitmq/rabbitmq_producer.h"

#include "base/list.h"
#include "base/memory.h"
#include "loop/loop.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_publisher.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "sources/rabbitmq/rabbitmq_settings.h"

#include <stdio.h>
#include <sys/random.h>

enum { UUID_TEXT = 37 };

struct message {
	struct publication publication;
	struct list in_order;
	bool arrived;
	char id[UUID_TEXT];
	char body[];
};

struct rabbitmq_producer {
	struct producer base;
	struct loop *loop;
	const struct rabbitmq_settings *settings;
	const struct queue_settings *queue;
	struct publisher *publisher;
	struct list messages; /* not reported as confirmed, oldest first */
	struct turn_hook turn;

	/* What has happened and is to be told; cleared when it is. */
	bool became_ready, broke, ended;
	bool failed; /* told or not: nothing more is sent */
	struct error why;
};

static struct rabbitmq_producer *of(struct producer *producer)
{
	return list_entry(producer, struct rabbitmq_producer, base);
}

/* --- what the publisher says ------------------------------------------------------------------- */

static void on_ready(void *arg)
{
	struct rabbitmq_producer *p = arg;
	p->became_ready = true;
}

static void on_arrived(void *arg, struct publication *publication)
{
	(void)arg;
	list_entry(publication, struct message, publication)->arrived = true;
}

static void fail(struct rabbitmq_producer *p, const struct error *why)
{
	if (p->failed)
		return;
	p->failed = p->broke = true;
	p->why = *why;
	(void)error_add(&p->why, why->status, "rabbitmq \"%s\"", p->settings->name);
}

static void on_bounced(void *arg, struct publication *publication, const struct error *why)
{
	(void)publication; /* one that is nowhere is enough to fail */
	fail(arg, why);
}

static void on_down(void *arg, const struct error *why)
{
	fail(arg, why);
}

static void on_closed(void *arg)
{
	struct rabbitmq_producer *p = arg;
	p->ended = true;
	loop_turn_again(p->loop); /* it may have closed at once, from within our caller's hook */
}

static const struct publisher_events on_publisher = {
    .ready = on_ready,
    .arrived = on_arrived,
    .bounced = on_bounced,
    .down = on_down,
    .closed = on_closed,
};

/* --- what the caller hears --------------------------------------------------------------------- */

static void drop_message(struct rabbitmq_producer *p, struct message *m)
{
	publisher_withdraw(p->publisher, &m->publication);
	list_remove(&m->in_order);
	memory_free((char *)(uintptr_t)m->publication.encoded.ptr);
	memory_free(m);
}

static size_t take_arrived(struct rabbitmq_producer *p)
{
	size_t n = 0;
	while (!list_empty(&p->messages)) {
		struct message *m = list_entry(p->messages.next, struct message, in_order);
		if (!m->arrived)
			break;
		drop_message(p, m);
		n++;
	}
	return n;
}

/* Takes back the flag and says whether it was up. */
static bool lower(bool *flag)
{
	bool was = *flag;
	*flag = false;
	return was;
}

/* One call, and nothing after it: the caller may have destroyed us. The next is for the next turn. */
static void report(void *arg)
{
	struct rabbitmq_producer *p = arg;
	const struct producer_events *events = p->base.events;
	size_t arrived = take_arrived(p);
	if (arrived > 0 || p->became_ready || p->broke || p->ended)
		loop_turn_again(p->loop);
	if (arrived > 0)
		events->confirmed(p->base.arg, arrived);
	else if (lower(&p->became_ready))
		events->ready(p->base.arg);
	else if (lower(&p->broke))
		events->failed(p->base.arg, &p->why);
	else if (lower(&p->ended))
		events->closed(p->base.arg);
}

/* --- sending ----------------------------------------------------------------------------------- */

static enum status make_id(char *ret_id, struct error *why)
{
	unsigned char b[16];
	if (getrandom(b, sizeof b, 0) != sizeof b)
		return error_set(why, ST_SYSTEM, "no random bytes for a message id");
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* version 4, */
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80); /* as RFC 4122 has it */
	(void)snprintf(ret_id, UUID_TEXT,
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		       b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		       b[13], b[14], b[15]);
	return ST_OK;
}

static enum status encode(const struct producer_message *message, struct message *m,
			  struct error *why)
{
	size_t room = 128;
	amqp_table_entry_t *entries = memory_clear(message->n_headers, sizeof(amqp_table_entry_t));
	if (entries == NULL)
		return error_set(why, ST_NOMEM, "message: out of memory");
	for (size_t i = 0; i < message->n_headers; i++) {
		const struct producer_header *h = &message->headers[i];
		entries[i] = rabbitmq_text_entry(h->key, span_text(h->value));
		room += strlen(h->key) + strlen(h->value) + 8;
	}
	amqp_basic_properties_t properties = {
	    ._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
		      AMQP_BASIC_MESSAGE_ID_FLAG,
	    .headers = {.num_entries = (int)message->n_headers, .entries = entries},
	    .delivery_mode = AMQP_DELIVERY_PERSISTENT,
	    .message_id = amqp_cstring_bytes(m->id),
	};
	enum status st = rabbitmq_message_encode(&properties, room, &m->publication.encoded, why);
	memory_free(entries);
	return st;
}

static enum status check(const struct producer_message *message, struct error *why)
{
	if (message->delay_ms > RETRY_MOST_MS)
		return error_set(why, ST_INVALID, "a delay of more than 35 days");
	for (size_t i = 0; i < message->n_headers; i++)
		if (strlen(message->headers[i].key) > 255)
			return error_set(why, ST_INVALID, "a header whose name is longer than 255");
	return ST_OK;
}

static enum status make_message(struct rabbitmq_producer *p, const struct producer_message *message,
				struct message **ret_message, struct error *why)
{
	struct message *m = memory_take(sizeof *m + message->body.len);
	if (m == NULL)
		return error_set(why, ST_NOMEM, "message: out of memory");
	memset(m, 0, sizeof *m);
	if (message->body.len > 0)
		memcpy(m->body, message->body.ptr, message->body.len);
	enum status st = make_id(m->id, why);
	if (st == ST_OK)
		st = encode(message, m, why);
	if (st != ST_OK) {
		memory_free(m);
		return st;
	}
	m->publication.queue = p->queue->name;
	m->publication.delay_ms = message->delay_ms;
	m->publication.id = span_text(m->id);
	m->publication.body = span_of(m->body, message->body.len);
	list_init(&m->publication.node);
	list_init(&m->in_order);
	*ret_message = m;
	return ST_OK;
}

static enum status send(struct producer *producer, const struct producer_message *message,
			struct error *why)
{
	struct rabbitmq_producer *p = of(producer);
	struct message *m = NULL;
	if (p->failed)
		return ST_OK; /* failed() has told, or is about to */
	enum status st = check(message, why);
	if (st == ST_OK)
		st = make_message(p, message, &m, why);
	if (st != ST_OK)
		return st;
	list_append(&p->messages, &m->in_order);
	publisher_send(p->publisher, &m->publication);
	return ST_OK;
}

/* --- life -------------------------------------------------------------------------------------- */

static void close_in_order(struct producer *producer)
{
	publisher_close(of(producer)->publisher);
}

static void destroy(struct producer *producer)
{
	struct rabbitmq_producer *p = of(producer);
	while (!list_empty(&p->messages))
		drop_message(p, list_entry(p->messages.next, struct message, in_order));
	publisher_destroy(p->publisher);
	loop_remove_hook(&p->turn);
	memory_free(p);
}

static const struct producer_ops ops = {
    .kind = "rabbitmq",
    .send = send,
    .close = close_in_order,
    .destroy = destroy,
};

struct producer *rabbitmq_producer_open(struct loop *loop, struct log *log,
					const struct rabbitmq_settings *settings,
					const struct queue_settings *queue,
					const struct producer_events *events, void *arg)
{
	struct rabbitmq_producer *p = memory_clear(1, sizeof *p);
	if (p == NULL)
		return NULL;
	p->base = (struct producer){.ops = &ops, .events = events, .arg = arg};
	p->loop = loop;
	p->settings = settings;
	p->queue = queue;
	list_init(&p->messages);
	p->turn = (struct turn_hook){.run = report, .arg = p};
	loop_add_hook(loop, TURN_DRAIN, &p->turn);
	if (publisher_create(loop, log, settings, "outfall enqueue", queue, PUBLISHER_GIVES_UP,
			     &on_publisher, p, &p->publisher, NULL) != ST_OK) {
		destroy(&p->base);
		return NULL;
	}
	publisher_dial(p->publisher);
	return &p->base;
}
