/* scripted - the test and its plugin live in one process, so a job's body simply points at what it
 * shall do. An empty body is a job that does nothing. */
#ifndef OUTFALL_TESTS_SCRIPTED_H
#define OUTFALL_TESTS_SCRIPTED_H

#include "plugin/outfall.h"

#include <stdatomic.h>

struct said_error {
	const char *class_name, *message;
	const char *const *backtrace;
	size_t lines;
};

struct script {
	int returns; /* an outcome, or what is none */
	const char *reason;
	int waits_for_gate;
	int waits_for_stop;
	/* Said before it waits, if set. */
	const char *note;
	double progress;
	uint64_t extend_ms, retry_after_ms;
	const struct said_error *error;
	const char *checkpoint;
	size_t checkpoint_bytes;
	/* Set by the plugin. */
	atomic_int begun, ended;
	_Atomic int64_t left_ms;
	int checkpoint_kept;     /* what outfall_checkpoint() returned */
	struct outfall_job seen; /* valid after `ended` */
	/* Set by the test. */
	atomic_int gate;
};

#endif
