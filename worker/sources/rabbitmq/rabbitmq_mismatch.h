/* rabbitmq_mismatch - what the broker says when a queue is declared otherwise than it is. Pure.
 *
 *     PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'jobs' in vhost '/':
 *         received none but current is the value '600000' of type 'signedint'
 *     ... inequivalent arg 'durable' for queue 'jobs' in vhost '/': received 'true' but current is 'false'
 *
 * Words of RabbitMQ 3.10; newer sources have the same (rabbit_misc.erl: equivalence_fail). A text of more
 * than 255 bytes ends in "..." and is not understood.
 *
 * Thread: any.
 * Owns:   nothing: spans borrow from the words.
 * Fails:  with false. */
#ifndef OUTFALL_SOURCES_RABBITMQ_MISMATCH_H
#define OUTFALL_SOURCES_RABBITMQ_MISMATCH_H

#include "base/span.h"

#include <stdbool.h>

enum rabbitmq_value_type {
	VALUE_IS_NONE, /* the queue has no such argument */
	VALUE_IS_BOOL,
	VALUE_IS_NUMBER,
	VALUE_IS_TEXT,
	VALUE_IS_AS_SENT, /* of the type that was sent, which is not named again */
	VALUE_IS_OTHER,
};

struct rabbitmq_mismatch {
	struct span key, current; /* current: empty for VALUE_IS_NONE */
	enum rabbitmq_value_type type;
};

bool rabbitmq_mismatch_read(struct span words, struct rabbitmq_mismatch *ret_mismatch);

#endif
