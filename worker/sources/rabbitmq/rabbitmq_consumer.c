/* A consumer can be gone without a word: a queue whose leader moved, a broker's defect. To us that looks
 * like a queue without work, for ever. So now and then a passive declare asks how many consumers the
 * queue has: ours is one of them, and where there is none it has to subscribe again. (Another worker's
 * hides the loss of ours; its prefetch then shares the work at least.) The timer starts anew with each
 * answer, so a hung broker is asked once. While the question is under way the consumer may have been
 * cancelled: then the answer says nothing. A quorum queue whose leader does not answer within 250 ms is said
 * to have none, either (3.10 to 4.3): so none is believed only when it is said twice, some seconds apart.
 *
 * No tag is used twice on a channel. A channel that still maps it, whatever has become of the consumer, takes that
 * for a violation (530), and closes the connection with all other queues' jobs (3.10 to 4.3; 4.3 keeps the tag even of
 * a consumer that it has cancelled itself). And should the old consumer live after all it is cancelled first.
 *
 * A prefetch holds for the consumers that come after it, so a larger one takes another consumer. It comes
 * first and the old one goes then: there is always one. Its tag has not been used on this channel. What
 * the old one has outstanding is answered later, and a classic queue counts each answer for whichever
 * consumer has that tag: by the same tag the new one would be allowed so many more for good. */
#include "sources/rabbitmq/rabbitmq_consumer.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "loop/loop.h"
#include "sources/census.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp.h"

#include <stdio.h>
#include <string.h>

struct rabbitmq_consumer {
	struct rabbitmq_consumer_place at;
	char tag[256];          /* as long as the protocol allows */
	unsigned consumers;     /* so many have there been on this channel, as long as it is open */
	bool doubted;           /* the last answer knew of no consumer */
	struct timer *again;    /* from started() until it looks */
	struct amqp_conn *conn; /* from started() until ended() */
	bool without_timeout;   /* the queue has refused it, on this connection */
	bool looking;           /* whether the queue still knows of it: asked, not answered */
	unsigned census_round;  /* the same answer is awaited by a census; 0: by none */
	uint32_t census_ours; /* of the consumers that it will tell of: a cancel may be behind it */
	struct census *census;
	const struct route *route;
};

/* A stream is consumed from wherever it happens to end, keeps what it has given, and takes any answer for a
 * mere credit: jobs would be lost in silence. It knows no x-priority, and says so (3.10 to 4.3), while to the
 * other types 0 is what they have without one: so it is always sent. */
bool rabbitmq_consumer_met_stream(const struct error *why)
{
	return strstr(why->text, "invalid arg 'x-priority'") != NULL &&
	       strstr(why->text, "of queue type rabbit_stream_queue") != NULL;
}

/* The wish is one of the operator's, so that it cannot be met is said each time. */
static bool knows_timeout(const struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	const char *server = amqp_conn_server(conn);
	bool knows = rabbitmq_server_knows_consumer_timeout(server);
	if (!knows)
		log_say(c->at.log, LOG_WARN,
			"consumer_timeout is not for this broker, its own holds: "
			"x-consumer-timeout came with RabbitMQ 3.12",
			kv_text("source", c->at.source), kv_text("queue", c->at.queue->name),
			kv_text("server", server));
	return knows;
}

static int put_arguments(const struct rabbitmq_consumer *c, struct amqp_conn *conn,
			 amqp_table_entry_t entries[2])
{
	const struct queue_settings *queue = c->at.queue;
	int n = 0;
	if (queue->priority != 0 || rabbitmq_server_has_streams(amqp_conn_server(conn)))
		entries[n++] = rabbitmq_number_entry("x-priority", queue->priority);
	if (queue->consumer_timeout_ms != 0 && !c->without_timeout && knows_timeout(c, conn))
		entries[n++] = rabbitmq_number_entry("x-consumer-timeout",
						     (int64_t)queue->consumer_timeout_ms);
	return n;
}

static void write_tag(struct rabbitmq_consumer *c)
{
	char more[16] = "";
	if (c->consumers > 1)
		(void)snprintf(more, sizeof more, "/%u", c->consumers);
	(void)snprintf(c->tag, sizeof c->tag, "%.120s/%.120s%s", c->at.worker, c->at.queue->name,
		       more);
}

static void consume(struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	amqp_table_entry_t entries[2];
	c->consumers++;
	write_tag(c);
	amqp_basic_consume_t consume = {
	    .queue = amqp_cstring_bytes(c->at.queue->name),
	    .consumer_tag = amqp_cstring_bytes(c->tag),
	};
	consume.arguments =
	    (amqp_table_t){.num_entries = put_arguments(c, conn, entries), .entries = entries};
	amqp_conn_send(conn, c->at.channel, AMQP_BASIC_CONSUME_METHOD, &consume);
}

/* Without an answer: there may be nobody. */
static void cancel_leftover(const struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes(c->tag), .nowait = 1};
	amqp_conn_send(conn, c->at.channel, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

void rabbitmq_consumer_subscribe(struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	if (c->consumers > 0)
		cancel_leftover(c, conn);
	consume(c, conn);
}

bool rabbitmq_consumer_timeout_refused(struct rabbitmq_consumer *c, const struct error *why)
{
	if (c->without_timeout || strstr(why->text, "invalid arg 'x-consumer-timeout'") == NULL)
		return false;
	c->without_timeout = true;
	log_say(c->at.log, LOG_WARN,
		"consumer_timeout is not for this queue: RabbitMQ 4.3 takes nothing back from "
		"consumers of classic queues",
		kv_text("source", c->at.source), kv_text("queue", c->at.queue->name), kv_why(why));
	return true;
}

void rabbitmq_consumer_connection_lost(struct rabbitmq_consumer *c)
{
	c->without_timeout = false; /* the next broker may be another, and so the queue */
}

static void cancel(const struct rabbitmq_consumer *c, struct amqp_conn *conn, const char *tag)
{
	amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes(tag)};
	amqp_conn_send(conn, c->at.channel, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

void rabbitmq_consumer_cancel(struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	cancel(c, conn, c->tag);
}

void rabbitmq_consumer_renew(struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	char before[sizeof c->tag];
	memcpy(before, c->tag, sizeof before);
	consume(c, conn);
	cancel(c, conn, before);
}

bool rabbitmq_consumer_has_tag(const struct rabbitmq_consumer *c, struct span tag)
{
	return span_equal(tag, span_text(c->tag));
}

static void look_later(struct rabbitmq_consumer *c)
{
	enum { DOUBT_MS = 3000 };
	bool soon = c->doubted && c->at.check_ms > DOUBT_MS;
	if (c->at.check_ms != 0)
		timer_start(c->again, soon ? DOUBT_MS : c->at.check_ms);
}

static void look(struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	amqp_queue_declare_t ask = {.queue = amqp_cstring_bytes(c->at.queue->name), .passive = 1};
	if (c->looking)
		return;
	c->looking = true;
	amqp_conn_send(conn, c->at.channel, AMQP_QUEUE_DECLARE_METHOD, &ask);
}

static void look_again(void *arg)
{
	struct rabbitmq_consumer *c = arg;
	look(c, c->conn);
}

void rabbitmq_consumer_started(struct rabbitmq_consumer *c, struct amqp_conn *conn)
{
	c->conn = conn;
	look_later(c);
}

void rabbitmq_consumer_ended(struct rabbitmq_consumer *c)
{
	c->conn = NULL;
	timer_stop(c->again);
}

bool rabbitmq_consumer_is_looking(const struct rabbitmq_consumer *c)
{
	return c->looking;
}

void rabbitmq_consumer_count(struct rabbitmq_consumer *c, struct amqp_conn *conn,
			     struct census *census, unsigned round, const struct route *route)
{
	c->census = census;
	c->census_round = round;
	c->census_ours = c->conn != NULL ? 1 : 0;
	c->route = route;
	look(c, conn);
}

static void tell_census(struct rabbitmq_consumer *c, uint32_t consumers)
{
	uint32_t ours = c->census_ours;
	if (c->census_round == 0)
		return;
	census_tell(c->census, c->census_round, c->route,
		    consumers > ours ? (long)(consumers - ours) : 0);
	c->census_round = 0;
}

bool rabbitmq_consumer_looked(struct rabbitmq_consumer *c, uint32_t consumers)
{
	c->looking = false;
	tell_census(c, consumers);
	if (c->conn == NULL)
		return true;
	bool believed = consumers == 0 && c->doubted;
	c->doubted = consumers == 0 && !believed;
	if (believed)
		return false;
	look_later(c);
	return true;
}

void rabbitmq_consumer_begin(struct rabbitmq_consumer *c)
{
	c->looking = false;
	c->census_round = 0;
	c->consumers = 0;
	c->doubted = false;
}

struct rabbitmq_consumer *rabbitmq_consumer_create(const struct rabbitmq_consumer_place *place)
{
	struct rabbitmq_consumer *c = memory_clear(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->at = *place;
	write_tag(c);
	c->again = timer_create_on(place->loop, look_again, c);
	if (c->again == NULL) {
		memory_free(c);
		return NULL;
	}
	return c;
}

void rabbitmq_consumer_destroy(struct rabbitmq_consumer *c)
{
	if (c == NULL)
		return;
	timer_destroy(c->again);
	memory_free(c);
}
