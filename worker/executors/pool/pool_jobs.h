/* pool_jobs - the jobs of one process, found by their id.
 *
 * Thread: the loop's.
 * Owns:   the table; the tasks are the pool's.
 * Fails:  pool_jobs_init() and pool_task_name() for lack of memory. */
#ifndef OUTFALL_EXECUTORS_POOL_JOBS_H
#define OUTFALL_EXECUTORS_POOL_JOBS_H

#include "base/list.h"
#include "base/span.h"
#include "executors/pool/pool_outbox.h"
#include "job/outcome.h"

#include <stdbool.h>
#include <stdint.h>

struct job;
struct pool_child;

/* A job's stay in a pool. */
struct pool_task {
	struct list place; /* its child's jobs, those that wait for a child, or the spare ones */
	struct list in_bucket; /* of its child's table */
	struct list
	    in_unbegun; /* the pool's, in the order given, until its first byte is written */
	struct letter letter;
	struct job *job;
	struct pool_child *child; /* NULL: it waits for one */
	struct span id;           /* as the child reads it, and says it */
	char *id_copy;            /* where `id` points if the job's own is no UTF-8; else NULL */
	uint32_t hash;            /* of the id */
	bool cancelled;           /* was asked to stop */
	bool answered;            /* `outcome` is its own, told once its body is out */
	struct outcome outcome;
};

struct pool_jobs {
	struct list all; /* struct pool_task.place, in the order given */
	unsigned count;
	struct list *buckets;
	uint32_t mask; /* their number less one */
};

/* For about so many at once; more are only slower. */
bool pool_jobs_init(struct pool_jobs *jobs, unsigned expected);
void pool_jobs_fini(struct pool_jobs *jobs); /* also of a zeroed one */

uint32_t pool_jobs_hash(struct span id);
/* Gives the task its id, that of task->job; false without memory. */
bool pool_task_name(struct pool_task *task);
void pool_task_unname(struct pool_task *task);

struct pool_task *pool_jobs_find(const struct pool_jobs *jobs, struct span id, uint32_t hash);
void pool_jobs_add(struct pool_jobs *jobs, struct pool_task *task);
void pool_jobs_remove(struct pool_jobs *jobs, struct pool_task *task);

static inline struct pool_task *pool_task_at(struct list *place)
{
	return list_entry(place, struct pool_task, place);
}

static inline struct pool_task *pool_jobs_first(const struct pool_jobs *jobs)
{
	return list_empty(&jobs->all) ? NULL : pool_task_at(jobs->all.next);
}

#endif
