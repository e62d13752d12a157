/* rabbitmq_tags - the deliveries of one channel that the broker counts as unanswered, in the order
 * of their tags, and what has been told of them but is not yet known to have arrived. No I/O.
 *
 *     take --> outstanding --finish--> ready --tell--> told --prove--> proving --> proved
 *
 * Thread: the loop's.
 * Owns:   the order; jobs are the core's. Only user of job->in_source and job->source_step.
 * Units:  counts; bytes of bodies.
 * Fails:  tags_take() with ST_NOMEM, nothing taken. */
#ifndef OUTFALL_SOURCES_RABBITMQ_TAGS_H
#define OUTFALL_SOURCES_RABBITMQ_TAGS_H

#include "base/error.h"
#include "base/list.h"
#include "wire/amqp_frame.h"

#include <stddef.h>
#include <stdint.h>

struct job;

struct tags {
	struct list outstanding; /* ready ones among them, until told */
	size_t n_outstanding;
	struct job **ready; /* in the order they became so; room for all outstanding */
	size_t n_ready, room;
	struct list told, proving;
	size_t told_bytes; /* of the bodies that wait for a proof to be begun */
};

enum tag_answer {
	ANSWER_ACK,
	ANSWER_REQUEUE,
	ANSWER_REQUEUE_FAILED, /* by basic.reject, which is what a delivery limit counts */
	ANSWER_REJECT,
};

struct tag_sink {
	void (*tell)(void *arg, enum tag_answer answer, uint64_t tag, enum amqp_reach reach);
	void *arg;
};

void tags_init(struct tags *tags);
void tags_fini(struct tags *tags); /* holds nothing any more */

enum status tags_take(struct tags *tags, struct job *job); /* its tag is the highest so far */

void tags_finish(struct tags *tags, struct job *job, enum tag_answer answer);

/* Answers as few times as possible, and `most` times at most: the rest stays ready. PREFIX: only what no unfinished
 * tag stands in front of. */
enum tags_which { TAGS_PREFIX, TAGS_ALL };
void tags_tell(struct tags *tags, enum tags_which which, size_t most, const struct tag_sink *sink);

size_t tags_count_ready(const struct tags *tags, enum tag_answer answer);

/* Everything told so far is what the next proof is about. */
void tags_begin_proof(struct tags *tags);
void tags_doubt(struct tags *tags);                   /* that proof has failed: they need another */
struct job *tags_take_proved(struct tags *tags);      /* NULL: no more in proof */
struct job *tags_take_outstanding(struct tags *tags); /* whatever its step; NULL: no more */

#endif
