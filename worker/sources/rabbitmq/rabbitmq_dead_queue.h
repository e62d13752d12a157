/* rabbitmq_dead_queue - whether the dead letter queue that a queue names is there. A job that cannot be
 * buried keeps its place, and a drain waits for it in vain: so this is asked before the first job is taken.
 *
 *     looked for --declare-ok--> there          looked for --missing, may be made--> made
 *     made --declare-ok--> there                made --refused--> looked for, after a wait
 *     (either) --refused, after the queue had been consumed--> lacking, while the connection lasts
 *
 * One that is lost later keeps nobody from working: most jobs never need it, and those that do wait for it.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Fails:  never here; the broker answers with declare-ok, or closes the channel. */
#ifndef OUTFALL_SOURCES_RABBITMQ_DEAD_QUEUE_H
#define OUTFALL_SOURCES_RABBITMQ_DEAD_QUEUE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct amqp_conn;
struct queue_settings;

enum rabbitmq_dead_state {
	DEAD_LOOKED_FOR, /* passive, so that one of whatever kind is left alone */
	DEAD_MADE,       /* it is missing, and the queue itself is declared, too */
	DEAD_LACKING,
};

struct rabbitmq_dead_queue {
	const struct queue_settings *queue;
	enum rabbitmq_dead_state state; /* zero: as at the start */
};

/* Whether to ask before the queue is declared. */
bool rabbitmq_dead_queue_is_due(const struct rabbitmq_dead_queue *dead);
void rabbitmq_dead_queue_ask(const struct rabbitmq_dead_queue *dead, struct amqp_conn *conn,
			     uint16_t channel);

void rabbitmq_dead_queue_is_there(struct rabbitmq_dead_queue *dead);
/* The channel was closed for an answer. True: there is a way to go on with at once, on a new channel. */
bool rabbitmq_dead_queue_refused(struct rabbitmq_dead_queue *dead, enum status st,
				 bool queue_was_consumed);
void rabbitmq_dead_queue_connection_lost(struct rabbitmq_dead_queue *dead);

#endif
