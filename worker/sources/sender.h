/* sender - many messages through one producer, a bounded number of them on the way at a time.
 *
 * Thread: the loop's.
 * Owns:   the producer it was given, until sender_destroy().
 * Units:  milliseconds, bytes.
 * Fails:  ended() comes exactly once, whatever happens; sender_result() tells how.
 *
 *     connecting --ready--> sending --all confirmed--> closing --closed--> ended
 *         \-- too late, refused, gone, stopped --------------------------------^            */
#ifndef OUTFALL_SOURCES_SENDER_H
#define OUTFALL_SOURCES_SENDER_H

#include "base/error.h"
#include "sources/producer.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct sender;

struct sender_plan {
	uint64_t count;
	struct producer_message
	    message; /* its body is composed anew for each, where compose is set */
	/* The body of message `number`, from 1; borrowed until the next call. */
	struct span (*compose)(void *arg, uint64_t number);
	uint64_t connect_ms; /* how long to wait until it is ready */
	uint64_t quiet_ms;   /* how long to wait for the next confirmation, and for the close */
	void (*ended)(void *arg);
	void *arg;
};

struct sender_result {
	uint64_t sent, confirmed;
	enum status status; /* ST_OK: every one that was sent is safe */
	struct error why;
};

/* What the producer is opened with, the sender being its `arg`. */
extern const struct producer_events sender_events;

/* NULL: no memory. The plan is copied, what it points to is borrowed. */
struct sender *sender_create(struct loop *loop, const struct sender_plan *plan);

/* Takes the producer; nothing happens before. */
void sender_start(struct sender *sender, struct producer *producer);

/* Sends no more; what is on the way is awaited for quiet_ms. A second call awaits nothing. */
void sender_stop(struct sender *sender);

const struct sender_result *sender_result(const struct sender *sender);
void sender_destroy(struct sender *sender); /* not from within ended(); NULL is fine */

#endif
