/* rabbitmq_message - what a message's properties say of the job in it, and the properties that a
 * copy of it carries into a retry queue, a dead letter queue or back into its own. Pure: no
 * connection, no clock.
 *
 *     x-outfall-attempt        which run this will be, from 1
 *     x-outfall-interruptions  how many runs were ended by us and not by the job
 *     x-outfall-crashes        in how many the handler died; absent: in none
 *     x-outfall-checkpoint     what an earlier run left for the next; absent: nothing
 *     x-outfall-reason         why the last run failed, for people: all of the message
 *     x-outfall-error-class    and what class of exception it was, where the handler said
 *     x-outfall-backtrace      and where, line by line
 *     x-outfall-lost           how many workers have died with it; absent: none. Gone when it ends by itself
 *     x-outfall-queue          the queue it was taken from
 *     x-outfall-expires        when its expiration is over, in ms since 1970; absent: it has none
 *     x-outfall-dead           on a dead letter: after how many attempts. Back in a queue it starts over
 *
 * Thread: any.
 * Owns:   what rabbitmq_message_copy() returns belongs to the caller: memory_free().
 * Units:  bytes.
 * Fails:  rabbitmq_message_copy() with ST_NOMEM, or ST_INVALID for properties that do not decode. */
#ifndef OUTFALL_SOURCES_RABBITMQ_MESSAGE_H
#define OUTFALL_SOURCES_RABBITMQ_MESSAGE_H

#include "base/error.h"
#include "base/span.h"
#include "wire/amqp_codec.h"

#include <stdbool.h>
#include <stdint.h>

struct job;

struct rabbitmq_message { /* spans borrow from the decoded properties */
	uint32_t attempt;
	uint32_t interruptions; /* an upper bound on classic queues; see the .c */
	uint32_t crashes;
	uint64_t expires_ms;    /* since 1970, of a copy; 0: not said */
	uint64_t expiration_ms; /* the property, of one that is no copy; 0: none */
	uint32_t lost;          /* before it was this message */
	uint32_t returned;      /* x-delivery-count: see rabbitmq_returns.h; 0 on classic queues */
	struct span id;         /* empty: it has none */
	struct span content_type, traceparent, checkpoint;
};

/* `queue`: the one it comes from. What has been dead, or a dead letter of that very queue, starts over:
 * attempt 1, no crashes, no interruptions but those since. Its checkpoint it keeps. */
struct rabbitmq_message rabbitmq_message_read(const amqp_basic_properties_t *properties,
					      const char *queue, bool redelivered);

enum rabbitmq_copy_for { COPY_FOR_RETRY, COPY_FOR_DEAD, COPY_FOR_RETURN };

/* The properties of `job`'s copy, encoded, flags first. The counts and the reason come from its
 * verdict and outcome. `checkpoint`: for the next run; empty: the copy carries none. */
enum status rabbitmq_message_copy(const struct job *job, enum rabbitmq_copy_for purpose,
				  const char *queue, struct span checkpoint,
				  struct span *ret_encoded, struct error *why);

/* Whether the properties of two deliveries, encoded (job->origin), are those of one message: what a broker
 * changes between two deliveries is left out. False as well where there is no memory to find out. */
bool rabbitmq_message_is_again(struct span first, struct span again);

/* Encodes `properties`; the span's memory belongs to the caller. */
enum status rabbitmq_message_encode(const amqp_basic_properties_t *properties, size_t room,
				    struct span *ret_encoded, struct error *why);

amqp_table_entry_t rabbitmq_text_entry(const char *key, struct span text);
amqp_table_entry_t rabbitmq_number_entry(const char *key, int64_t number);

#endif
