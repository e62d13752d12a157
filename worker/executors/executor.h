/* executor - where a handler runs: the contract. One struct executor for each `handler` section.
 *
 * Thread: the loop's, both ways. Executors with threads or children of their own come back to the
 *         loop before they call the host (but for a line of the log).
 * Owns:   a started job stays the core's; the executor borrows it until it calls finished() or
 *         retracted(), or until the process exits (a thread cannot be killed).
 * Fails:  start() never fails. A handler that cannot begin the job says could_not_begin(), and what
 *         fails once the job has begun is an outcome.
 *
 * width and depth. `width` is how many jobs can run at once: processes, threads. `depth` is how many
 * may be given to the executor: what lies between is staged, not begun, and comes back with
 * retract(). Threads take their next job from the stage without a trip through the loop, which is
 * what makes a no-op job cost microseconds; a process for each job has depth = width. Where the
 * processes are long-lived, width follows those that are up (resized() tells the core), and
 * `widest` is what it is when all of them are. It is 0 until the first of them is ready, and for a
 * moment more than `widest` while one replaces another. Where it follows from the configuration's
 * concurrency it changes with resize(), and may be less than what runs.
 *
 * What may be called from within what. An op may call the host before it returns, also for jobs that it was not
 * asked about: whoever writes to a process may find that it has gone.
 *
 *     op              finished(), retracted(),                    resized()   progress(), extend(), checkpoint()
 *                     could_not_begin()
 *     start           of this job (retracted: only once width     yes         of any other job it has
 *                     is 0), of any other job it has
 *     probe           no; but probed()                            no          no
 *     retract, stop,  of any job it has                           yes         of any job it has
 *     drain_notice,
 *     resize
 *     begun_ns,       no                                          no          no
 *     destroy
 *
 *     host call       ops that it may lead back into before it returns
 *     finished        retract(), of this executor and of others: what was told of the job may have
 *                     shown its source that the connection is gone
 *     retracted,      none but begun_ns()
 *     could_not_begin,
 *     probed,
 *     resized, ...
 *
 * So a job may be gone after any call to the host or to an op, and its neighbours, too: who walks over jobs
 * while calling out takes each from its list first, or lets the list know where the walk is. start(),
 * stop(), probe(), drain_notice() and resize() never come from within a host call. */
#ifndef OUTFALL_EXECUTORS_EXECUTOR_H
#define OUTFALL_EXECUTORS_EXECUTOR_H

#include "base/error.h"
#include "base/log.h"
#include "base/span.h"
#include "job/outcome.h"

#include <stdbool.h>
#include <stdint.h>

struct failure;
struct job;
struct executor;
struct worker_settings;

struct executor_host {
	/* Exactly once for each job that was started and not retracted. */
	void (*finished)(struct executor_host *host, struct job *job,
			 const struct outcome *outcome);
	/* No handler has seen the job (it was staged, or lay unread in a pipe, or its handler cannot begin
	 * now); it is held again, in front of its route, and whatever it was asked is forgotten. */
	void (*retracted)(struct executor_host *host, struct job *job);
	/* Nothing of the job has begun, and the next one would fare no better: no such program, no process
	 * to be had, nobody who listens. It is held again in its old place, uncounted, and the handler is
	 * paused (dispatch/pause.h). From within start() is allowed. What is wrong with this very job is
	 * an outcome. */
	void (*could_not_begin)(struct executor_host *host, struct job *job, const char *why);
	/* The answer to probe(): NULL, or why it still could not. */
	void (*probed)(struct executor_host *host, struct executor *executor, const char *why);

	/* What a running job says of itself, at any moment between start() and finished(). */
	/* How far it is, 0 to 1; less than 0: not said. `note` may be empty. */
	void (*progress)(struct executor_host *host, struct job *job, double done,
			 struct span note);
	/* It wants so much time from now on; its timeout does not count before; LONGEST_WAIT_MS at
	 * most. A drain's deadline stands all the same. */
	void (*extend)(struct executor_host *host, struct job *job, uint64_t more_ms);
	/* What its next run is to be handed, should there be one. False: larger than allowed, the
	 * one before stands; the executor says so in the log. */
	bool (*checkpoint)(struct executor_host *host, struct job *job, struct span bytes);

	/* Why it will have failed, in more words than an outcome has room for, and what class of exception it
	 * was. Before finished(); the last one counts. */
	void (*explain)(struct executor_host *host, struct job *job, const struct failure *said);

	/* executor->width is another now: processes came up or went away. */
	void (*resized)(struct executor_host *host, struct executor *executor);

	/* A line for the log from a running job, or from a hook of its handler's (NULL). The one call
	 * that comes from any thread. NULL: the executor has a log itself, which is the usual thing. */
	void (*wrote)(struct executor_host *host, const struct job *job, enum log_level level,
		      const char *line);
};

enum stop_how {
	STOP_ASK,  /* cancel notice, SIGTERM to the group; the job may still end by itself */
	STOP_KILL, /* no more waiting: kill; what cannot be killed is reported OUTCOME_ABANDONED, and
	            * its thread may not touch the job again */
};

struct executor_ops {
	const char *kind; /* "exec", "plugin" */
	/* Begins the job, or stages it. Sets job->begun_ns when it really begins (a staged job may
	 * get it from its thread; read it with executor_begun_ns()). */
	void (*start)(struct executor *executor, struct job *job);
	/* Hands back everything that was started and has not begun through retracted(), the last one
	 * first, before returning. */
	void (*retract)(struct executor *executor);
	/* 0 until it really begins. Any moment between start() and finished(). */
	uint64_t (*begun_ns)(const struct executor *executor, const struct job *job);
	void (*stop)(struct executor *executor, struct job *job, enum stop_how how);
	/* Looks, without a job, whether one could begin now, and tells probed(), from within or later, once
	 * for each call. NULL: that takes a job. */
	void (*probe)(struct executor *executor);
	/* A drain began: running handlers may be told how long they have. UINT64_MAX: for ever. */
	void (*drain_notice)(struct executor *executor, uint64_t remaining_ms);
	/* The configuration's concurrency may be another one now, its handler's settings or `worker`'s: makes
	 * it wider or narrower while its jobs run on undisturbed, and tells resized(). What cannot be had is
	 * said in the log, and it stays as it is. NULL: its width has nothing to do with that. */
	void (*resize)(struct executor *executor, const struct worker_settings *worker);
	/* Nothing is assigned any more. Threads that never came back are left to the exit. */
	void (*destroy)(struct executor *executor);
};

/* First member of each kind's own struct. */
struct executor {
	const struct executor_ops *ops;
	struct executor_host *host;
	const char *name; /* borrowed from the settings */
	unsigned width;
	unsigned widest; /* what sources hold jobs ready for; at least 1 */
	unsigned depth;  /* >= width; follows it */
	bool
	    can_kill; /* STOP_KILL ends a job (a process), not only our waiting for it (a thread) */
};

#endif
