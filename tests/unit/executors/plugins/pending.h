/* pending - an asynchronous plugin whose jobs the test completes itself: a job's body points at what
 * its run() does and where it leaves its context. An empty body is completed at once by a thread of
 * the plugin's own. */
#ifndef OUTFALL_TESTS_PENDING_H
#define OUTFALL_TESTS_PENDING_H

#include "plugin/outfall.h"

#include <stdatomic.h>

enum { PENDING_AT_ONCE = 3 }; /* the plugin's .concurrency */

struct pending {
	int completes_in_run; /* before it returns */
	int returns;          /* OUTFALL_PENDING, if the test says so */
	int waits_for_gate;   /* in run(), after what else it does */
	/* Set by the plugin. */
	_Atomic(struct outfall_context *) ctx; /* set when run() has begun */
	const struct outfall_job *job;
	atomic_int returned;
	/* Set by the test. */
	atomic_int gate;
};

#endif
