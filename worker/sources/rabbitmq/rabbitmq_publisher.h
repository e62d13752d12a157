/* rabbitmq_publisher - puts messages into queues and knows when they are safe there.
 *
 * On a connection of its own, dialed at the first need: a broker that raises an alarm stops reading
 * from connections that publish, and acknowledgements must not wait behind that.
 *
 * Thread: the loop's.
 * Owns:   its connection. A publication is the caller's, and is on the publisher's lists from
 *         publisher_send() until arrived(), bounced() or publisher_withdraw().
 * Units:  milliseconds; bytes.
 * Fails:  publisher_create() with ST_NOMEM. Trouble afterwards, with PUBLISHER_COMES_BACK, is a log
 *         line and a way back: what was not confirmed is published again on the next connection,
 *         so it may arrive twice. */
#ifndef OUTFALL_SOURCES_RABBITMQ_PUBLISHER_H
#define OUTFALL_SOURCES_RABBITMQ_PUBLISHER_H

#include "base/error.h"
#include "base/list.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;
struct loop;
struct publisher;
struct queue_settings;
struct rabbitmq_settings;

struct publication {
	/* Set by the caller, who keeps alive what they point to. */
	const char *queue;   /* where it shall be run */
	uint64_t delay_ms;   /* how long it waits in a retry queue before; 0: not at all */
	struct span id;      /* its message_id */
	struct span encoded; /* its properties, flags first */
	struct span body;

	/* The publisher's. */
	struct list node;  /* waiting to be sent, or sent and not confirmed */
	uint64_t sequence; /* among the channel's publications, from 1 */
	uint32_t week;     /* that its retry queue is named after; of the last time it was sent */
	bool returned;     /* basic.return came; its confirm is about to */
	bool sent;         /* at least once, so that it may be there */
	bool suspect;      /* it, or one that was out with it, was refused */
};

struct publisher_events {         /* not to destroy the publisher from within, closed() excepted */
	void (*ready)(void *arg); /* confirms are on, the queue is there; after each dialing */
	void (*arrived)(void *arg, struct publication *publication);
	/* It is nowhere: no such queue, or one that is refused, or the broker could not take it. Not sent
	 * again by itself. It never can be with ST_INVALID, as its headers do not fit into a frame, and
	 * with ST_FULL, as the broker refuses it: its body is over the limit there. */
	void (*bounced)(void *arg, struct publication *publication, const struct error *why);
	/* The connection or the channel is gone, for good with PUBLISHER_GIVES_UP. */
	void (*down)(void *arg, const struct error *why);
	void (*closed)(void *arg); /* after publisher_close() */
};

enum publisher_trouble { PUBLISHER_COMES_BACK, PUBLISHER_GIVES_UP };

/* `queue`: declared as it says before ready(); NULL: none. `name`: of the connection, copied. */
enum status publisher_create(struct loop *loop, struct log *log,
			     const struct rabbitmq_settings *settings, const char *name,
			     const struct queue_settings *queue, enum publisher_trouble in_trouble,
			     const struct publisher_events *events, void *arg,
			     struct publisher **ret_publisher, struct error *why);
void publisher_dial(struct publisher *publisher); /* now; else the first send does it */
void publisher_send(struct publisher *publisher, struct publication *publication);
/* Fine on one that is on no list. In the middle of its body it costs the connection. */
void publisher_withdraw(struct publisher *publisher, struct publication *publication);
bool publisher_is_blocked(const struct publisher *publisher); /* by connection.blocked */
size_t publisher_unconfirmed(const struct publisher *publisher);
void publisher_close(
    struct publisher *publisher); /* in order, if it is read there; ends in closed() */
void publisher_destroy(struct publisher *publisher); /* at once; NULL is fine */

#endif
