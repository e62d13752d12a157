/* pool_child - one process of a pool, from its start until it is reaped: what it is sent, what it says,
 * which jobs it has.
 *
 * Thread: the loop's.
 * Owns:   the process, its pipes, and the tasks given to it until they come back through
 *         pool_shared.finished() or .not_begun().
 * Units:  monotonic nanoseconds, milliseconds for timers.
 * Fails:  starting, with a sentence; the rest ends the process, which is an outcome of its jobs.
 *
 *     starting --ready--> ready --retire--> retiring --no jobs--> leaving --reaped--> gone
 *         \                 \                  |                  ^  |                 ^
 *          \                 \--drain, idle----|------------------+  |                 |
 *           \--- closed its stdout --> mute ---|-- not reaped soon-^  |                 |
 *            \----- late, or broken, or a job that must be killed ---+----> killed ----/
 *
 * It may end by itself at any time: gone follows each of them. What the kernel does not let go of is
 * kept: killed --half a second--> kept. */
#ifndef OUTFALL_EXECUTORS_POOL_CHILD_H
#define OUTFALL_EXECUTORS_POOL_CHILD_H

#include "base/error.h"
#include "base/list.h"
#include "executors/child/output.h"
#include "executors/child/process.h"
#include "executors/pool/pool_jobs.h"
#include "executors/pool/pool_outbox.h"

#include <stdbool.h>
#include <stdint.h>

struct executor_host;
struct handler_settings;
struct log;
struct loop;
struct pool_place;
struct spawn_profile;
struct timer;
struct watch;

enum pool_state {
	POOL_STARTING, /* it has not said that it is ready */
	POOL_READY,
	POOL_RETIRING, /* gets no more jobs, and finishes those it has */
	POOL_MUTE,     /* it closed its stdout, and is about to be reaped, as a rule */
	POOL_LEAVING,  /* its stdin is closed, or will be when all is written: it is to end */
	POOL_KILLED,   /* or it ended under its jobs, and what it started is to end */
	POOL_GONE,     /* reaped, and all of its group that had to end */
	POOL_KEPT,     /* killed, but the kernel keeps it, or another of its group: given up */
	POOL_STATES,
};

/* Why it goes. */
enum pool_cause {
	CAUSE_NONE,    /* it does not, or there is nothing wrong with it */
	CAUSE_ITS_OWN, /* it closed one of its pipes: nobody has asked it to leave */
	CAUSE_BROKEN,  /* we killed it for what it did, and listen no more */
	CAUSE_JOB,     /* we killed it for a job that did not stop */
};

enum { POOL_NOT_REAPED = -1 }; /* no status of wait(2)'s */

struct pool_child;

/* What the processes of one pool have in common. The pool owns it. */
struct pool_shared {
	struct loop *loop;
	struct log *log;
	struct children *children;
	const struct handler_settings *settings;
	const char *path; /* of the program */
	char *const *envp;
	const struct spawn_profile *profile;
	size_t line_limit; /* the longest line it may say */
	struct executor_host *host;
	struct list unbegun;  /* struct pool_task.in_unbegun, in the order given */
	struct list to_write; /* struct pool_child.in_to_write */
	bool draining;

	/* How many jobs it can have is another now, or it serves no longer (state > POOL_READY). */
	void (*changed)(struct pool_shared *shared, struct pool_child *child);
	/* The task is the pool's again; its job has ended, or was never begun. */
	void (*finished)(struct pool_shared *shared, struct pool_child *child,
			 struct pool_task *task, const struct outcome *outcome);
	void (*not_begun)(struct pool_shared *shared, struct pool_task *task);
	/* The last word: the pool destroys it. */
	void (*ended)(struct pool_shared *shared, struct pool_child *child);
};

struct pool_child {
	struct list in_all, in_open, in_to_write; /* the pool's lists */
	struct pool_shared *shared;
	struct pool_place *place; /* the one it fills or is to fill; NULL: none any more */
	enum pool_state state;

	struct process process;
	int status; /* as wait(2) tells it; or POOL_NOT_REAPED */
	int fds[3]; /* our ends of its stdin, stdout, stderr; -1: closed */
	struct watch *watches[3];
	struct timer *timer; /* the state's own */
	enum pool_cause cause;
	const char
	    *why; /* broken: what it did; leaving: what it will have done if it does not end */
	char killed_for[64]; /* CAUSE_JOB: its id, cut */

	struct outbox outbox;
	uint64_t read_to; /* of what was sent, once nobody reads it any more; before: UINT64_MAX */
	struct output says, complains;            /* its stdout and stderr */
	unsigned bad_lines;                       /* in a row */
	unsigned complaints, complaints_left_out; /* lines of stderr since its last answer */
	unsigned mistakes;                        /* in lines that say something all the same */

	struct pool_jobs jobs;
	unsigned unread_answers; /* tasks answered before their body was out */
	unsigned concurrency;    /* 0: not said yet */
	uint64_t given, results;
	uint64_t started_ns, ready_ns, weighed_ns;
	uint64_t dismissed_ns; /* its stdin was closed */
	char last_words[160];  /* a line of its stderr, cut: mostly why it ended */
};

/* On success the process runs, in the state POOL_STARTING. */
enum status pool_child_start(struct pool_shared *shared, struct pool_place *place,
			     struct pool_child **ret_child, struct error *why);
void pool_child_destroy(struct pool_child *child);

/* How many jobs it counts for, and whether it can have one more. */
unsigned pool_child_capacity(const struct pool_child *child);
bool pool_child_is_open(const struct pool_child *child);

/* It must be open and have no job of this id. False: no memory. */
bool pool_child_give(struct pool_child *child, struct pool_task *task);
void pool_child_take_back(struct pool_child *child, struct pool_task *task); /* unbegun */
void pool_child_write(struct pool_child *child); /* at the end of the turn */

/* Both are written at the end of the turn, as jobs are. A drain began, or has another deadline. */
void pool_child_notify(struct pool_child *child, uint64_t remaining_ms);
void pool_child_cancel(struct pool_child *child, struct pool_task *task);
void pool_child_kill_for(struct pool_child *child, const struct pool_task *task);
void pool_child_retire(struct pool_child *child);

/* The worker exits. */
void pool_child_dismiss(struct pool_child *child); /* it sees the end of its stdin */
/* Reaps it. False: it still runs, so long after its stdin was closed. */
bool pool_child_bury(struct pool_child *child, uint64_t patience_ns);
void pool_child_kill(struct pool_child *child);

static inline bool pool_child_was_reaped(const struct pool_child *child)
{
	return child->status != POOL_NOT_REAPED;
}

static inline bool pool_task_is_unbegun(const struct pool_task *task)
{
	return list_linked(&task->in_unbegun);
}

#endif
