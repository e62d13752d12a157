/* One retry queue for each delay, and not one queue with a lifetime on each message: a classic
 * queue looks for aged messages at its head only, so a short delay would wait behind a long one.
 * The delays of a policy are few (retry_delay_ms() sees to it), those that handlers compute are made few
 * (rabbitmq_retry_delay_ms()), and so are the queues.
 *
 * Unused ones must vanish, and never with a job in them: a queue that expires takes its messages
 * along, dead-lettering none. The broker deletes a queue x-expires after its last declaration
 * (publishing does not count as use). So, with D the moment we declared it last:
 *
 *     it lives until                              D + delay + SPARE   at least
 *     we publish to it until                      D + FRESH           then we declare it again
 *     our copy is in it before its confirm, at    C
 *     it leaves the queue at the latest at        C + delay
 *     so it leaves in time when                   C - D < SPARE
 *
 * FRESH is a minute, SPARE ten. A confirm that took so long that C - D is more than nine minutes (a
 * blocked connection, a stopped broker) is not believed, and the copy is published again: twice is
 * better than never. The same holds when the queue expired before our copy reached the broker: the
 * copy is mandatory, so it comes back. */
#include "sources/rabbitmq/rabbitmq_queue.h"

#include "base/must.h"
#include "settings/settings.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "wire/amqp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static amqp_table_entry_t true_entry(const char *key)
{
	return (amqp_table_entry_t){
	    .key = amqp_cstring_bytes(key),
	    .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1},
	};
}

void rabbitmq_queue_declare(struct amqp_conn *conn, uint16_t channel,
			    const struct queue_settings *settings)
{
	amqp_table_entry_t arguments[2];
	int n = 0;
	amqp_queue_declare_t declare = {
	    .queue = amqp_cstring_bytes(settings->name),
	    .passive = settings->declare == DECLARE_PASSIVE,
	    .durable = settings->declare != DECLARE_PASSIVE,
	};
	if (settings->declare == DECLARE_QUORUM)
		arguments[n++] = rabbitmq_text_entry("x-queue-type", span_text("quorum"));
	if (settings->declare != DECLARE_PASSIVE && settings->single_active == SINGLE_ACTIVE_YES)
		arguments[n++] = true_entry("x-single-active-consumer");
	declare.arguments = (amqp_table_t){.num_entries = n, .entries = arguments};
	amqp_conn_send(conn, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

/* A queue whose node is down is "not found" as well, and it comes back with its node. */
static bool is_out_of_reach(amqp_bytes_t reply_text)
{
	static const char words[] = "is down or inaccessible";
	return memmem(reply_text.bytes, reply_text.len, words, sizeof words - 1) != NULL;
}

enum status rabbitmq_queue_refusal(int reply_code, amqp_bytes_t reply_text)
{
	if (reply_code == AMQP_NOT_FOUND)
		return is_out_of_reach(reply_text) ? ST_PROTO : ST_MISSING;
	bool lasting = reply_code == AMQP_ACCESS_REFUSED || reply_code == AMQP_RESOURCE_LOCKED ||
		       reply_code == AMQP_PRECONDITION_FAILED;
	return lasting ? ST_REFUSED : ST_PROTO;
}

static uint64_t fnv1a(const char *text)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return hash;
}

uint64_t rabbitmq_retry_delay_ms(uint64_t asked_ms)
{
	uint64_t unit = 1;
	while (asked_ms / unit >= 100)
		unit *= 10;
	uint64_t units = asked_ms / unit + (asked_ms % unit != 0);
	return units * unit < RETRY_MOST_MS ? units * unit : RETRY_MOST_MS;
}

void rabbitmq_retry_queue_name(char *ret_name, const char *queue, uint64_t delay_ms)
{
	int len = snprintf(ret_name, RABBITMQ_NAME_ROOM, "%s.retry.%" PRIu64, queue, delay_ms);
	if (len < RABBITMQ_NAME_ROOM)
		return;
	/* Too long for the protocol: keep what fits, and what tells it from its like. */
	len = snprintf(ret_name, RABBITMQ_NAME_ROOM, "%.190s~%016" PRIx64 ".retry.%" PRIu64, queue,
		       fnv1a(queue), delay_ms);
	must(len < RABBITMQ_NAME_ROOM);
}

/* Not with nowait: only an answered declaration counts as use. */
void rabbitmq_retry_queue_declare(struct amqp_conn *conn, uint16_t channel, const char *name,
				  const char *queue, uint64_t delay_ms)
{
	must(delay_ms <= RETRY_MOST_MS);
	amqp_table_entry_t arguments[] = {
	    rabbitmq_number_entry("x-message-ttl", (int64_t)delay_ms),
	    rabbitmq_number_entry("x-expires", (int64_t)(delay_ms + RETRY_SPARE_MS)),
	    rabbitmq_text_entry("x-dead-letter-exchange", span_text("")),
	    rabbitmq_text_entry("x-dead-letter-routing-key", span_text(queue)),
	};
	amqp_queue_declare_t declare = {
	    .queue = amqp_cstring_bytes(name),
	    .durable = 1,
	    .arguments = {.num_entries = 4, .entries = arguments},
	};
	amqp_conn_send(conn, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}
