/* producer - puts jobs into a queue and knows when they are safe there: the contract behind
 * `outfall enqueue`.
 *
 * Thread: the loop's, both ways.
 * Owns:   a producer belongs to whoever opened it. A message is borrowed for the call only.
 * Units:  milliseconds for delays, bytes.
 * Fails:  failed() once, for good: nothing more is sent, and what was not confirmed may or may not
 *         have arrived. */
#ifndef OUTFALL_SOURCES_PRODUCER_H
#define OUTFALL_SOURCES_PRODUCER_H

#include "base/error.h"
#include "base/span.h"

#include <stddef.h>
#include <stdint.h>

struct loop;
struct log;
struct producer;
struct rabbitmq_settings;
struct redis_settings;
struct queue_settings;
struct list_settings;

struct producer_header {
	const char *key, *value;
};

struct producer_message {
	struct span body;
	const struct producer_header *headers; /* RabbitMQ only; the Redis list format has none */
	size_t n_headers;
	uint64_t delay_ms; /* not to be run before; 0 = now */
};

struct producer_events {
	void (*ready)(void *arg);                      /* logged in, the queue is there */
	void (*confirmed)(void *arg, size_t messages); /* so many more are safe, oldest first */
	void (*failed)(void *arg, const struct error *why); /* refused, returned, or gone */
	void (*closed)(void *arg);                          /* after producer_close() */
};

struct producer_ops {
	const char *kind;
	/* ST_NOMEM, or ST_INVALID for a message this kind cannot carry. */
	enum status (*send)(struct producer *producer, const struct producer_message *message,
			    struct error *why);
	void (*close)(struct producer *producer);   /* in order; ends in closed() */
	void (*destroy)(struct producer *producer); /* at once */
};

struct producer { /* first member of each kind's own struct */
	const struct producer_ops *ops;
	const struct producer_events *events;
	void *arg;
};

/* NULL: no memory. */
struct producer *rabbitmq_producer_open(struct loop *loop, struct log *log,
					const struct rabbitmq_settings *settings,
					const struct queue_settings *queue,
					const struct producer_events *events, void *arg);
struct producer *redis_producer_open(struct loop *loop, struct log *log,
				     const struct redis_settings *settings,
				     const struct list_settings *list,
				     const struct producer_events *events, void *arg);

#endif
