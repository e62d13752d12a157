/* producer - puts jobs into a queue and knows when they are safe there: the contract behind
 * `outfall enqueue`. A kind opens them (kind.h).
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

struct producer;

struct producer_header {
	const char *key, *value;
};

struct producer_message {
	struct span body;
	const struct producer_header *headers; /* none, where the kind has none (KIND_NO_HEADERS) */
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

#endif
