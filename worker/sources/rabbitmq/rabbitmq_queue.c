/* One retry queue for each delay, and not one queue with a lifetime on each message: a queue looks for aged
 * messages at its head only, so a short delay would wait behind a long one. The delays of a policy are few
 * (retry_delay_ms() sees to it), those that handlers compute are made few (rabbitmq_retry_delay_ms()), and
 * so are the queues.
 *
 * What waits there is acknowledged: nobody else has it. A classic queue dead-letters at most once, and drops
 * what its target cannot take at that moment: the target is full, is being made again, its node is away. A
 * quorum queue with x-dead-letter-strategy = at-least-once keeps it until the target has confirmed it, and
 * tries again (after dead_letter_worker_publisher_confirm_timeout, 180 s, which is the broker's alone to
 * set). That wants x-overflow = reject-publish; with no bound of length nothing is ever rejected.
 * (RabbitMQ 3.10.8, 4.0.5, 4.3.6; before 3.10 it is a classic queue, see rabbitmq_server.h.)
 *
 * Unused ones must vanish, and never with a job in them: a queue that expires takes its messages along. A
 * classic queue counts x-expires from its last declaration; a quorum queue counts from when it was made,
 * declared again or not, whatever is in it. (Nor does it take if-empty at queue.delete.) So its name says
 * the week it is published to in, and it lives
 *
 *     from its first declaration in that week, for     a week + its delay + a week
 *     the last copy is in it at the end of the week, and leaves it a delay later
 *     so its target may be away for                    a week at least
 *
 * Clocks of workers that are apart by less than that do no harm: each makes what it does not find. A copy
 * that comes when the queue has gone is mandatory, so it comes back. */
#include "sources/rabbitmq/rabbitmq_queue.h"

#include "base/must.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
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

/* A queue whose node is down is "not found" as well, and it comes back with its node; one that is not there is "no
 * queue". Told by how the sentence begins, since a long name cuts off its end (rabbit_amqqueue:absent of 3.10 to 4.3). */
static bool is_out_of_reach(amqp_bytes_t reply_text)
{
	static const char *const sentences[] = {
	    "NOT_FOUND - home node '", /* ... of durable queue 'jobs' in vhost '/' is down */
	    "NOT_FOUND - queue '", /* ... process is stopped, or has crashed; of a node that is away
	                                * from 4.0 on */
	    "NOT_FOUND - failed to perform operation on queue '", /* ... due to timeout */
	    "NOT_FOUND - timed out while declaring queue '",
	    "NOT_FOUND - leader of queue '", /* ... may be stopping or being demoted */
	};
	for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
		size_t len = strlen(sentences[i]);
		if (reply_text.len >= len && memcmp(reply_text.bytes, sentences[i], len) == 0)
			return true;
	}
	return false;
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

uint32_t rabbitmq_retry_week(time_t now)
{
	return (uint32_t)((uint64_t)now / (RETRY_WEEK_MS / 1000));
}

static void put_date(char *ret_date, size_t size, uint32_t week)
{
	struct tm day;
	time_t first = (time_t)week * (time_t)(RETRY_WEEK_MS / 1000);
	(void)gmtime_r(&first, &day);
	(void)strftime(ret_date, size, "%Y-%m-%d", &day);
}

void rabbitmq_retry_queue_name(char *ret_name, const struct retry_queue *it)
{
	char what[64], date[16];
	put_date(date, sizeof date, it->week);
	(void)snprintf(what, sizeof what, ".retry.%" PRIu64 ".%s%s", it->delay_ms, date,
		       it->kind == RETRY_QUEUE_QUORUM ? "" : ".classic");
	int len = snprintf(ret_name, RABBITMQ_NAME_ROOM, "%s%s", it->of, what);
	if (len < RABBITMQ_NAME_ROOM)
		return;
	/* Too long for the protocol: keep what fits, and what tells it from its like. */
	len = snprintf(ret_name, RABBITMQ_NAME_ROOM, "%.190s~%016" PRIx64 "%s", it->of,
		       fnv1a(it->of), what);
	must(len < RABBITMQ_NAME_ROOM);
}

void rabbitmq_retry_queue_declare(struct amqp_conn *conn, uint16_t channel,
				  const struct retry_queue *it)
{
	char name[RABBITMQ_NAME_ROOM];
	must(it->delay_ms <= RETRY_MOST_MS);
	rabbitmq_retry_queue_name(name, it);
	amqp_table_entry_t arguments[] = {
	    rabbitmq_number_entry("x-message-ttl", (int64_t)it->delay_ms),
	    rabbitmq_number_entry("x-expires", (int64_t)(it->delay_ms + 2 * RETRY_WEEK_MS)),
	    rabbitmq_text_entry("x-dead-letter-exchange", span_text("")),
	    rabbitmq_text_entry("x-dead-letter-routing-key", span_text(it->of)),
	    /* These for a quorum queue only. */
	    rabbitmq_text_entry("x-queue-type", span_text("quorum")),
	    rabbitmq_text_entry("x-dead-letter-strategy", span_text("at-least-once")),
	    rabbitmq_text_entry("x-overflow", span_text("reject-publish")),
	};
	amqp_queue_declare_t declare = {
	    .queue = amqp_cstring_bytes(name),
	    .durable = 1,
	    .arguments = {.num_entries = it->kind == RETRY_QUEUE_QUORUM ? 7 : 4,
			  .entries = arguments},
	};
	amqp_conn_send(conn, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}
