/* rabbitmq_single_active - finds out whether a queue has a single active consumer, because such a queue
 * is left in another order (rabbitmq_channel.c).
 *
 * Nothing in AMQP tells, but a declaration does: with the arguments that the queue has it is answered, with others
 * refused, and the words of the refusal say what one of them really is. That is learned, and it is declared again:
 *
 *     unasked --ask()--> asked --declare-ok: the queue is as declared----------------> told
 *                        ^  |
 *                        |  +--"inequivalent arg 'x-single-active-consumer' ... current is 'true'"--> told
 *                        +--+--"inequivalent arg 'x-expires' ... current is the value '600000' ..."
 *     asked --anything else, or no answer in time--> told, that it cannot be known
 *
 * It makes no queue, should that one be gone: an argument that only streams know (x-max-age) is in each declaration. It
 * is not compared with a queue of another type that is there, and forbids to make one (3.10.8, 4.0.5, 4.3.6).
 *
 * A refusal is two error lines in the broker's log, and what was learned is kept: a durable classic queue without
 * arguments costs none, another one as many refusals as it has arguments that the broker compares, once in the
 * worker's life. So it is asked when the answer is needed, and not before. It takes the right to configure the
 * queue, and a channel of its own, since a refusal closes that.
 *
 * Thread: the loop's.
 * Owns:   what it has learned, and its channel while it is open. Connections are borrowed for the length of a call.
 * Fails:  never: it is not told then. */
#ifndef OUTFALL_SOURCES_RABBITMQ_SINGLE_ACTIVE_H
#define OUTFALL_SOURCES_RABBITMQ_SINGLE_ACTIVE_H

#include "base/span.h"
#include "wire/amqp.h"

#include <stdbool.h>
#include <stdint.h>

struct queue_settings;
struct rabbitmq_learned;

enum { SINGLE_ACTIVE_PATIENCE_MS = 1000 }; /* a healthy broker answers in one round trip */

enum rabbitmq_single_active_state {
	SINGLE_ACTIVE_UNASKED,
	SINGLE_ACTIVE_ASKED,
	SINGLE_ACTIVE_TOLD,
};

enum rabbitmq_single_active_channel { QUESTION_SHUT, QUESTION_OPEN, QUESTION_CLOSING };

struct rabbitmq_single_active {
	const struct queue_settings *queue;
	enum rabbitmq_single_active_state state; /* zero: as at the start */
	bool is_one;                             /* as far as it is known */
	struct rabbitmq_learned *learned;        /* NULL: it was never asked */
	enum rabbitmq_single_active_channel wire;
	uint16_t channel;
};

void rabbitmq_single_active_init(struct rabbitmq_single_active *sa,
				 const struct queue_settings *queue);
void rabbitmq_single_active_fini(struct rabbitmq_single_active *sa);

/* False: the configuration says, the queue is declared by us, it has been told, or this broker would not. */
bool rabbitmq_single_active_is_due(const struct rabbitmq_single_active *sa,
				   const struct amqp_conn *conn);

enum rabbitmq_single_active_answer {
	SINGLE_ACTIVE_YES_IT_IS,
	SINGLE_ACTIVE_NO_IT_IS_NOT,
	SINGLE_ACTIVE_NOT_TOLD,
	SINGLE_ACTIVE_ASK_AGAIN,   /* something was learned */
	SINGLE_ACTIVE_NO_NEWS_YET, /* wait on */
};
/* On a channel that nobody else uses. NO_NEWS_YET, or NOT_TOLD at once. */
enum rabbitmq_single_active_answer rabbitmq_single_active_ask(struct rabbitmq_single_active *sa,
							      struct amqp_conn *conn,
							      uint16_t channel);
/* Something has come on that channel, or what has not come will not be waited for. ASK_AGAIN is seen to. */
enum rabbitmq_single_active_answer rabbitmq_single_active_method(struct rabbitmq_single_active *sa,
								 struct amqp_conn *conn,
								 amqp_method_number_t id,
								 const void *decoded,
								 struct span *ret_words);
void rabbitmq_single_active_give_up(struct rabbitmq_single_active *sa);
void rabbitmq_single_active_connection_lost(struct rabbitmq_single_active *sa);

/* The pure part of ask(); false: no memory. */
bool rabbitmq_single_active_begin(struct rabbitmq_single_active *sa);
/* The pure part of method(): a refusal with these words; "" for a declare-ok. */
enum rabbitmq_single_active_answer rabbitmq_single_active_answered(
    struct rabbitmq_single_active *sa, struct span words);

/* Nobody has watched the queue meanwhile: it may be another one. */
void rabbitmq_single_active_doubt(struct rabbitmq_single_active *sa);

#endif
