/* rabbitmq_queue - how queues are declared: the configured ones, and those that jobs wait in; and what
 * the broker means when it refuses one.
 *
 * A job that shall run again in five seconds is put into "<queue>.retry.5000": its messages die of
 * age there after five seconds, and their dead letter exchange is the way back to <queue>.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Units:  milliseconds; RETRY_* in nanoseconds where the name says so.
 * Fails:  never here; the broker answers with declare-ok, or closes the channel. */
#ifndef OUTFALL_SOURCES_RABBITMQ_QUEUE_H
#define OUTFALL_SOURCES_RABBITMQ_QUEUE_H

#include "base/error.h"
#include "wire/amqp_codec.h"

#include <stdint.h>

struct amqp_conn;
struct queue_settings;

enum { RABBITMQ_NAME_ROOM = 256 }; /* a short string of the protocol, and its NUL */

void rabbitmq_queue_declare(struct amqp_conn *conn, uint16_t channel,
			    const struct queue_settings *settings);

/* What a channel.close says of the queue: ST_MISSING, ST_REFUSED, or ST_PROTO for what may pass. */
enum status rabbitmq_queue_refusal(int reply_code, amqp_bytes_t reply_text);

/* Longest delay a retry queue can be given. */
/* A delay that a handler computed, made longer to two significant digits: each is a queue of its own, and so
 * they stay few. */
uint64_t rabbitmq_retry_delay_ms(uint64_t asked_ms);

#define RETRY_MOST_MS     (UINT64_C(4294967295) - RETRY_SPARE_MS)
#define RETRY_SPARE_MS    UINT64_C(600000)       /* x-expires is this much above the delay */
#define RETRY_FRESH_NS    UINT64_C(60000000000)  /* redeclared when the last time is longer ago */
#define RETRY_BELIEVED_NS UINT64_C(540000000000) /* a later confirm does not prove enough */

void rabbitmq_retry_queue_name(char *ret_name, const char *queue, uint64_t delay_ms);
void rabbitmq_retry_queue_declare(struct amqp_conn *conn, uint16_t channel, const char *name,
				  const char *queue, uint64_t delay_ms);

#endif
