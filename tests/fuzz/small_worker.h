/* small_worker - a worker as run_worker.c builds one, on fake edges (fake_edges.h): the real core, one
 * real source whose broker is the input, and a handler whose answer is in the first byte of a job's body.
 *
 *     done, retry, reject, return, left unanswered until asked to stop
 *
 * Input: which peer it is (torn, hangs up), how many turns until the worker is told to stop and, in the
 * highest bit, whether halfway there each queue is removed and added again, and then the script.
 *
 * Thread: one.
 * Owns:   everything, until small_worker_run() returns.
 * Fails:  by abort: when a drain does not end, or anything is left of it. Returns false when there was
 *         no memory to build it. */
#ifndef OUTFALL_TESTS_SMALL_WORKER_H
#define OUTFALL_TESTS_SMALL_WORKER_H

#include "fake_edges.h"

#include "base/error.h"
#include "settings/settings.h"

#include <stdint.h>

struct small_worker;
struct source_kind;

struct small_source {
	const struct source_kind *kind;
	const struct source_settings *settings; /* with two queues */
	size_t (*piece)(struct span left);
	bool answers;
	/* What the worker wrote, see fake_edges.h. NULL: nobody listens. */
	void (*heard)(const struct small_worker *w, unsigned stream, struct span bytes);
};

extern const struct small_source small_rabbitmq, small_redis;

/* What every queue's settings name. */
extern const struct retry_settings small_retry;

/* Whether the job that bears this tag in that queue has run to an answer, or left a checkpoint, which
 * goes back as a copy. All others must not be acknowledged. */
bool small_worker_may_ack(const struct small_worker *w, size_t queue, uint64_t tag);

enum { SMALL_RELOADS = 0x80 };

bool small_worker_run(const struct small_source *of, const uint8_t *bytes, size_t size);

#endif
