/* dispatch - which held job begins next, and where. Gives held jobs to executors as room allows,
 * fairly between queues, and asks overdue ones to stop.
 *
 * Thread: the loop's.
 * Owns:   which route and lane waits for what; the jobs stay the ledger's.
 * Units:  counts of jobs; monotonic nanoseconds.
 * Fails:  never. Cost per job is O(1) in queues, handlers and held jobs. */
#ifndef OUTFALL_DISPATCH_DISPATCH_H
#define OUTFALL_DISPATCH_DISPATCH_H

#include "base/list.h"
#include "dispatch/budget.h"
#include "job/job.h"

#include <stdbool.h>
#include <stdint.h>

struct clock;
struct executor;
struct ledger;
struct roster;
struct lane;

struct dispatch {
	const struct clock *clock;
	struct ledger *ledger;
	struct roster *roster;
	struct budget budget;
	struct list turn;         /* lanes with ready routes, next first (struct lane.in_turn) */
	struct list starved;      /* lanes that wait for a permit of the budget */
	struct list paced_lanes;  /* lanes whose rate makes them wait (struct lane.in_turn) */
	struct list paced_routes; /* routes whose rate does (struct route.in_ready) */
	uint64_t next_paced_ns;   /* none of them may begin a job before this; UINT64_MAX = none */
	uint64_t next_timeout_ns; /* no running job is overdue before this; UINT64_MAX = none */
};

void dispatch_init(struct dispatch *dispatch, const struct clock *clock, struct ledger *ledger,
		   struct roster *roster, unsigned concurrency);

/* A job was taken: it is held, behind those of its route that were taken before. */
void dispatch_hold(struct dispatch *dispatch, struct job *job);

/* Begins as many held jobs as there is room for. */
void dispatch_pump(struct dispatch *dispatch);

/* Takes back what executors have staged and not begun; it is held again, in its old order. */
void dispatch_retract(struct dispatch *dispatch);
void dispatch_retract_lane(struct lane *lane);
/* One of those, or one that could not begin: it is held in its old place. */
void dispatch_hold_again(struct dispatch *dispatch, struct job *job);

/* The first job of the route that is held, or NULL. Once told or dropped by the ledger it must
 * leave its route with dispatch_forget(). */
struct job *dispatch_first_held(const struct route *route);
void dispatch_left(struct dispatch *dispatch, struct route *route); /* one, the ledger */
void dispatch_forget(struct dispatch *dispatch, struct job *job);

/* The route begins no more jobs; what of its lane was staged is held again. */
void dispatch_retire(struct dispatch *dispatch, struct route *route);

/* The executor's width is another now. */
void dispatch_resized(struct dispatch *dispatch, const struct executor *executor);

/* Limits of the roster's routes and lanes are others now, and the worker's is `concurrency`. Jobs that run
 * beyond a limit go on. */
void dispatch_limits_changed(struct dispatch *dispatch, unsigned concurrency);

/* The job's handler has ended: its place is free. */
void dispatch_release(struct dispatch *dispatch, struct job *job);

/* Asks jobs that are past their handler's timeout to stop; kills those asked `grace_ns` ago. */
void dispatch_check_timeouts(struct dispatch *dispatch, uint64_t grace_ns);

/* For the drain's sake: asks the running jobs whose handler has one of these policies (bits
 * 1 << policy) to stop, and kills those that have not by `kill_ns`. */
void dispatch_stop_running(struct dispatch *dispatch, unsigned policies, uint64_t kill_ns);
void dispatch_kill_running(struct dispatch *dispatch);

/* When dispatch_check_timeouts() must be called again, and dispatch_pump() if jobs may begin. */
uint64_t dispatch_next_ns(const struct dispatch *dispatch, bool begins_jobs);

#endif
