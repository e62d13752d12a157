/* rabbitmq_incoming - how a message becomes a job: the delivery, then its header, then its body in
 * pieces. One message at a time, as a channel brings them. No I/O.
 *
 *     idle --begin--> header due --header--> body due --last piece--> idle, and a job
 *
 * Thread: the loop's.
 * Owns:   the job that is being filled, until INCOMING_WHOLE or INCOMING_TOO_LARGE hands it over.
 * Units:  bytes.
 * Fails:  rabbitmq_incoming_create() with NULL; afterwards as enum incoming_step says. */
#ifndef OUTFALL_SOURCES_RABBITMQ_INCOMING_H
#define OUTFALL_SOURCES_RABBITMQ_INCOMING_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct amqp_header;
struct job;
struct log;
struct queue_settings;
struct rabbitmq_delivery_rules;
struct rabbitmq_incoming;
struct route;
struct source;
struct worker_settings;

enum incoming_step {
	INCOMING_MORE,  /* is awaited, or the rest of one that is skipped */
	INCOMING_WHOLE, /* *ret_job is the caller's; the next message may begin */
	/* *ret_job is the caller's, without its body, which is larger than max_body: it goes to the
	 * dead letter queue, and the pieces that follow with it. */
	INCOMING_TOO_LARGE,
	INCOMING_UNFIT, /* it can not become a job: reject its tag. What is left of it is skipped */
	INCOMING_NO_MEMORY,  /* for the job: the caller drops it */
	INCOMING_OUT_OF_STEP /* not what was due: the peer broke the protocol */
};

struct rabbitmq_incoming *rabbitmq_incoming_create(struct log *log, const struct source *source,
						   const struct worker_settings *worker,
						   const struct queue_settings *queue);
void rabbitmq_incoming_destroy(struct rabbitmq_incoming *in);

/* A channel is open to a broker with these rules; NULL: none. What a job is said to have lost is that of a queue
 * without a single active consumer. */
void rabbitmq_incoming_opened(struct rabbitmq_incoming *in,
			      const struct rabbitmq_delivery_rules *rules);
bool rabbitmq_incoming_is_idle(const struct rabbitmq_incoming *in); /* between two messages */
void rabbitmq_incoming_begin(struct rabbitmq_incoming *in, uint64_t tag, bool redelivered);
enum incoming_step rabbitmq_incoming_header(struct rabbitmq_incoming *in, struct route *route,
					    const struct amqp_header *header, struct job **ret_job);
enum incoming_step rabbitmq_incoming_body(struct rabbitmq_incoming *in, struct span piece,
					  struct job **ret_job);

/* Nothing is to become of the message that is coming in, if there is one; its rest is still read. */
void rabbitmq_incoming_skip(struct rabbitmq_incoming *in);
/* Nor will its rest come: the channel has ended. */
void rabbitmq_incoming_drop(struct rabbitmq_incoming *in);

uint64_t rabbitmq_incoming_tag(const struct rabbitmq_incoming *in); /* of the one begun last */

#endif
