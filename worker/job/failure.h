/* failure - why a job failed, in the handler's own words: what people ask first of a dead job. It travels
 * with the job, into the log, the retried copy and the dead letter.
 *
 * Thread: any; it belongs to its job.
 * Owns:   its texts, in one allocation.
 * Units:  bytes.
 * Fails:  failure_create() with NULL without memory: then the outcome's short reason has to do. */
#ifndef OUTFALL_JOB_FAILURE_H
#define OUTFALL_JOB_FAILURE_H

#include "base/span.h"

enum {
	FAILURE_CLASS_BYTES = 200,
	FAILURE_MESSAGE_BYTES = 2048,
	FAILURE_BACKTRACE_BYTES = 4096, /* its beginning, where the failure is */
};

/* Each may be empty. */
struct failure {
	struct span class;     /* of the exception: "ValueError" */
	struct span message;   /* all of it, where the outcome's reason has the beginning */
	struct span backtrace; /* lines */
};

/* A copy, each text cut to what is above, and no character in its middle. */
struct failure *failure_create(const struct failure *said);
void failure_destroy(struct failure *failure); /* NULL is fine */

/* At most `most` bytes of it, and no half of a character. */
struct span failure_cut(struct span text, size_t most);

#endif
