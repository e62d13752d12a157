/* rabbitmq_confirming - a connection whose one channel confirms what is published on it.
 *
 *     idle --dialing--> down --connected--> opening --open-ok--> selecting --select-ok--> ready
 *                       ^ |                    ^
 *                       | +--dialing           +--opened anew-- broken <--channel.close (any)
 *                       +-- connection lost (any), or at once: leaving <--of no use any more (any)
 *     (any) --close--> closing --close-ok, or none to wait for--> closed
 *
 * Thread: the loop's.
 * Owns:   its link, and so its connection. Who uses it dials the link, publishes once it is ready, and
 *         counts what it publishes.
 * Units:  a sequence is the number of a publication since the channel was opened, from 1.
 * Fails:  rabbitmq_confirming_init() with ST_NOMEM. Trouble afterwards is an event: what follows from it
 *         is decided by who uses this. */
#ifndef OUTFALL_SOURCES_RABBITMQ_CONFIRMING_H
#define OUTFALL_SOURCES_RABBITMQ_CONFIRMING_H

#include "base/error.h"
#include "base/span.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "wire/amqp_codec.h"
#include "wire/amqp_frame.h"

#include <stdbool.h>
#include <stdint.h>

enum { CONFIRMING_CHANNEL = 1 };

enum confirming_state {
	CONFIRMING_IDLE,
	CONFIRMING_DOWN,
	CONFIRMING_OPENING,
	CONFIRMING_SELECTING,
	CONFIRMING_READY,
	CONFIRMING_BROKEN,
	CONFIRMING_LEAVING,
	CONFIRMING_CLOSING,
	CONFIRMING_CLOSED,
};

struct rabbitmq_confirming_events {
	void (*ready)(void *arg); /* confirms are on */
	/* The broker has taken it, or could not; with AMQP_UP_TO all before it, too. */
	void (*confirmed)(void *arg, uint64_t sequence, enum amqp_reach reach, bool taken);
	/* One that was published to a queue which is not there. Its confirm follows. `id`: its message_id,
	 * empty when that cannot be read. */
	void (*returned)(void *arg, const char *queue, struct span id);
	void (*declared)(void *arg); /* declare-ok; NULL: nothing is declared there */
	void (*blocked)(void *arg, const char *reason); /* as in amqp_events */
	/* `why`: what the broker says. */
	void (*channel_closed)(void *arg, const amqp_channel_close_t *m, const struct error *why);
	/* The connection, or an attempt at one: time for rabbitmq_link_lost(), or another way on. `why`
	 * is NULL, and nothing is left to do, after rabbitmq_confirming_close(). */
	void (*closed)(void *arg, const struct error *why);
	const char *unexpected; /* what is said of any other method */
};

struct rabbitmq_confirming {
	struct rabbitmq_link link;
	const struct rabbitmq_confirming_events *events;
	void *arg;
	char name[128];

	enum confirming_state state; /* only to be read; so is the next */
	bool blocked;                /* by connection.blocked */
	uint64_t last_sequence;      /* counted up by who publishes */

	bool in_return; /* the header of a returned message is due */
	char returned_queue[RABBITMQ_NAME_ROOM];
};

/* A channel.close over a message for what it is: its body is over the broker's max_message_size. */
bool rabbitmq_confirming_refuses_message(const amqp_channel_close_t *m);

/* In zeroed memory. `name`: of the connection, copied; cut is fine, it is for people. */
enum status rabbitmq_confirming_init(struct rabbitmq_confirming *c, struct loop *loop,
				     struct log *log, const struct rabbitmq_settings *settings,
				     const char *name,
				     const struct rabbitmq_confirming_events *events, void *arg,
				     struct error *why);
void rabbitmq_confirming_fini(struct rabbitmq_confirming *c);

void rabbitmq_confirming_open(struct rabbitmq_confirming *c); /* anew, when it is broken */
/* The connection is of no use any more; ends in closed(), and until then confirms still count. */
void rabbitmq_confirming_leave(struct rabbitmq_confirming *c, const struct error *why);

enum confirming_close { CONFIRMING_IN_ORDER, CONFIRMING_AT_ONCE };
void rabbitmq_confirming_close(struct rabbitmq_confirming *c, enum confirming_close how);

#endif
