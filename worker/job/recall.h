/* recall - jobs that ran to their end here and whose broker could not be told: it will give them out
 * again, perhaps to us, and then they need not run a second time.
 *
 * Thread: the loop's.
 * Owns:   the jobs it keeps, until recall_take() hands one back or it is forgotten.
 * Units:  monotonic nanoseconds, bytes.
 * Fails:  never: what cannot be kept is forgotten, which costs a second run. */
#ifndef OUTFALL_JOB_RECALL_H
#define OUTFALL_JOB_RECALL_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;
struct route;

enum { RECALL_BUCKETS = 1024 };

struct recall {
	struct list by_age;                  /* struct job.in_ledger, the oldest first */
	struct list buckets[RECALL_BUCKETS]; /* struct job.in_route */
	size_t count, bytes;
};

void recall_init(struct recall *recall);
void recall_fini(struct recall *recall);

/* Keeps the job, which the caller's pointer lets go of. It is on no list. */
void recall_keep(struct recall *recall, struct job **job, uint64_t now_ns);

/* The one that `job`, just given out, is a second delivery of; the caller's then. NULL: none. */
struct job *recall_take(struct recall *recall, const struct job *job, uint64_t now_ns);

/* The route is about to go: what is kept of it is its heir's, or is forgotten. */
void recall_part(struct recall *recall, const struct route *route, struct route *heir);

/* Whether these two are deliveries of the same run of a job: the same queue and attempt, the same id or,
 * where the producer gave none, the same body. */
bool recall_is_same(const struct job *a, const struct job *b);

#endif
