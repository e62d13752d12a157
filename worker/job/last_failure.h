/* last_failure - which of a queue's jobs failed last, when and why: what an operator asks of a count that
 * rises. A copy, for the job has gone since.
 *
 * Thread: the loop's.
 * Owns:   its texts, each cut to the room it has here, with no character in its middle.
 * Units:  monotonic nanoseconds.
 * Fails:  never. */
#ifndef OUTFALL_JOB_LAST_FAILURE_H
#define OUTFALL_JOB_LAST_FAILURE_H

#include "job/outcome.h"

#include <stdint.h>

struct job;

struct last_failure {
	uint64_t at_ns; /* 0: none has failed */
	enum fate fate; /* FATE_RETRIED or FATE_DEAD */
	uint32_t attempt;
	char job[128];
	char class[80]; /* "": its handler named none */
	char message[240];
};

/* Any fate: those of no failure are passed over. */
void last_failure_note(struct last_failure *last, const struct job *job, enum fate fate,
		       uint64_t now_ns);

#endif
