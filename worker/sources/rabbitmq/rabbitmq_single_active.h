/* rabbitmq_single_active - finds out whether a queue has a single active consumer, because such a queue
 * is released in another order (rabbitmq_channel.c).
 *
 * Nothing in AMQP tells, but a refusal does. A declaration with x-single-active-consumer = 7 can neither
 * match a queue nor make one: the broker closes the channel, and its words say what the argument is. Those
 * before it in the broker's order have to match first, and are learned in the same way, one at a time:
 *
 *     unasked --ask()--> asked --"inequivalent arg 'x-single-active-consumer' ... current is ..."--> told
 *                          ^  |
 *                          +--+--"inequivalent arg 'x-expires' ... current is the value '600000' ..."
 *     asked --anything else--> told, that it cannot be known
 *
 * It takes the right to configure the queue, and leaves a line in the broker's log each time. So it is asked
 * once, unless there is doubt that the queue is still the same one.
 *
 * Checked against RabbitMQ 3.10: the words, and that nothing is made when the queue is not there.
 *
 * Thread: the loop's.
 * Owns:   what it has learned.
 * Fails:  ask() with ST_NOMEM. */
#ifndef OUTFALL_SOURCES_RABBITMQ_SINGLE_ACTIVE_H
#define OUTFALL_SOURCES_RABBITMQ_SINGLE_ACTIVE_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct amqp_conn;
struct queue_settings;
struct rabbitmq_learned;

enum rabbitmq_single_active_state {
	SINGLE_ACTIVE_UNASKED,
	SINGLE_ACTIVE_ASKED,
	SINGLE_ACTIVE_TOLD,
};

struct rabbitmq_single_active {
	const struct queue_settings *queue;
	enum rabbitmq_single_active_state state; /* zero: as at the start */
	bool is_one;                             /* as far as it is known */
	struct rabbitmq_learned *learned;        /* while asked */
};

void rabbitmq_single_active_init(struct rabbitmq_single_active *sa,
				 const struct queue_settings *queue);
void rabbitmq_single_active_fini(struct rabbitmq_single_active *sa);

/* False: the configuration says, the queue is declared by us, it has been told, or this broker would not. */
bool rabbitmq_single_active_is_due(const struct rabbitmq_single_active *sa,
				   const struct amqp_conn *conn);
/* The broker closes the channel for it, so there must be nothing on it. */
enum status rabbitmq_single_active_ask(struct rabbitmq_single_active *sa, struct amqp_conn *conn,
				       uint16_t channel);

enum rabbitmq_single_active_answer {
	SINGLE_ACTIVE_YES_IT_IS,
	SINGLE_ACTIVE_NO_IT_IS_NOT,
	SINGLE_ACTIVE_ASK_AGAIN, /* something was learned */
	SINGLE_ACTIVE_NOT_TOLD,
};
/* The channel was closed with these words; "" for a declare-ok. */
enum rabbitmq_single_active_answer rabbitmq_single_active_answered(
    struct rabbitmq_single_active *sa, struct span words);

/* The queue was deleted, and may be another one when it is there again. */
void rabbitmq_single_active_doubt(struct rabbitmq_single_active *sa);

#endif
