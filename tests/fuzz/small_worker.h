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

struct log;
struct source;
struct source_host;
struct route;

struct small_worker;

struct small_kind { /* of source */
	enum status (*create)(struct loop *loop, struct log *log,
			      const struct worker_settings *worker, struct source_host *host,
			      struct source **ret_source);
	void (*bind)(struct source *source, size_t index, struct route *route);
	enum status (*add)(struct source *source, size_t index, struct route *route);
	const char *const *queues; /* their names; NULL ends them */
	size_t (*piece)(struct span left);
	bool answers;
	/* What the worker wrote, see fake_edges.h. NULL: nobody listens. */
	void (*heard)(const struct small_worker *w, unsigned stream, struct span bytes);
};

extern const struct small_kind small_rabbitmq, small_redis; /* each with two queues */

/* What every queue's settings name. */
extern const struct retry_settings small_retry;

/* Whether the job that bears this tag in that queue has run to an answer, or left a checkpoint, which
 * goes back as a copy. All others must not be acknowledged. */
bool small_worker_may_ack(const struct small_worker *w, size_t queue, uint64_t tag);

enum { SMALL_RELOADS = 0x80 };

bool small_worker_run(const struct small_kind *kind, const uint8_t *bytes, size_t size);

#endif
