/* pool_inside - what the parts of a pool's process share; nobody else includes it.
 *
 *     pool_child.c   its life: start, share, end, and what its jobs become when it has gone
 *     pool_told.c    what it is given to read: jobs, notices; which of that it has begun
 *     pool_heard.c   what it says: answers, facts about its jobs, complaints
 *
 * Thread: the loop's.
 * Owns:   see pool_child.h.
 * Units:  milliseconds. */
#ifndef OUTFALL_EXECUTORS_POOL_INSIDE_H
#define OUTFALL_EXECUTORS_POOL_INSIDE_H

#include "executors/pool/pool_child.h"
#include "settings/settings.h"

enum { STDIN, STDOUT, STDERR };

static inline pid_t pool_pid(const struct pool_child *c)
{
	return c->process.child.pid;
}

static inline const char *pool_name(const struct pool_child *c)
{
	return c->shared->settings->name;
}

/* The only place that assigns the state. What the last one waited for is waited for no longer. */
void pool_child_move(struct pool_child *child, enum pool_state next);
/* Its stdin closes when all is written, and it has so long to end. */
void pool_child_leave(struct pool_child *child, uint64_t wait_ms, const char *late_why);
uint64_t pool_child_leave_ms(const struct pool_child *child);
/* It is of no more use, whatever it may still say. */
void pool_child_break_down(struct pool_child *child, const char *why);
void pool_child_rest_if_idle(struct pool_child *child);
void pool_child_retire_if_used_up(struct pool_child *child);
void pool_child_retire_if_too_large(struct pool_child *child);
void pool_child_close_end(struct pool_child *child, int end);

void pool_told_end_task(struct pool_child *child, struct pool_task *task,
			const struct outcome *outcome);
/* Nobody reads its stdin any more: how far it came. */
void pool_told_count_read(struct pool_child *child);
void pool_told_give_up_untouched(struct pool_child *child);
void pool_told_stop(struct pool_child *child); /* its stdin stays open, for the count */

void pool_heard_rest(struct pool_child *child); /* of a process that has gone */
void pool_heard_forgive(struct pool_child *child);

/* What is watched; `arg` is the child. */
void pool_told_room(void *arg, unsigned events);
void pool_heard_stdout(void *arg, unsigned events);
void pool_heard_stderr(void *arg, unsigned events);

#endif
