/* rabbitmq_queue - how queues are declared: the configured ones, and those that jobs wait in; and what
 * the broker means when it refuses one.
 *
 * A job that shall run again in five seconds is put into "<queue>.retry.5000.2026-11-26", the date being
 * the first day of this week (of 1970's count: a Thursday): its messages die of age there after five
 * seconds, and their dead letter exchange is the way back to <queue>.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Units:  milliseconds.
 * Fails:  never here; the broker answers with declare-ok, or closes the channel. */
#ifndef OUTFALL_SOURCES_RABBITMQ_QUEUE_H
#define OUTFALL_SOURCES_RABBITMQ_QUEUE_H

#include "base/error.h"
#include "wire/amqp_codec.h"

#include <stdint.h>
#include <time.h>

struct amqp_conn;
struct queue_settings;

enum { RABBITMQ_NAME_ROOM = 256 }; /* a short string of the protocol, and its NUL */

void rabbitmq_queue_declare(struct amqp_conn *conn, uint16_t channel,
			    const struct queue_settings *settings);

/* What a channel.close says of the queue: ST_MISSING, ST_REFUSED, or ST_PROTO for what may pass. */
enum status rabbitmq_queue_refusal(int reply_code, amqp_bytes_t reply_text);

#define RETRY_WEEK_MS (UINT64_C(7) * 24 * 3600 * 1000)
/* Longest delay a retry queue can be given, 35 days: x-expires is 32 bits wide. */
#define RETRY_MOST_MS (UINT64_C(4294967295) - 2 * RETRY_WEEK_MS)

enum retry_queue_kind { RETRY_QUEUE_CLASSIC, RETRY_QUEUE_QUORUM };

struct retry_queue {
	const char *of; /* the queue whose jobs wait there */
	uint64_t delay_ms;
	uint32_t week;
	enum retry_queue_kind kind;
};

/* A delay that a handler computed, made longer to two significant digits: each is a queue of its own, and so
 * they stay few. */
uint64_t rabbitmq_retry_delay_ms(uint64_t asked_ms);
uint32_t rabbitmq_retry_week(time_t now);

void rabbitmq_retry_queue_name(char *ret_name, const struct retry_queue *it);
void rabbitmq_retry_queue_declare(struct amqp_conn *conn, uint16_t channel,
				  const struct retry_queue *it);

#endif
