/* core - ledger, dispatch, settle and drain, introduced to each other: all that the edges see of
 * them.
 *
 *     sources --deliver--> dispatch --start--> executors --finished--> settle --settle--> sources
 *        ^                                                                                  |
 *        +------- the ledger drops the job, its room is free <-------------- settled -------+
 *
 * Thread: the loop's.
 * Owns:   every job from deliver() on, routes and lanes; sources and executors are borrowed.
 * Units:  monotonic nanoseconds.
 * Fails:  never, once its routes stand. It knows no loop and no broker: the same core runs under
 *         libuv and, in the simulation, in virtual time.
 *
 * Words for letting go, each with one meaning:
 *
 *     settle     tell the broker what became of a job; settled: that has ended, proved or not
 *     give back  settle a job that was never begun: to the head of its queue, uncounted
 *     retract    take back from an executor what no handler has seen: held again
 *     take back  what the broker does with jobs whose connection, channel or lease is gone
 *     lose       a delivery is no longer ours to settle, though its run goes on
 *     stop       ask a running job to end, then kill it; a worker's stop is a drain
 *     abandon    give up a run that even the kill did not end; what it touches is never freed
 *     drop       a job leaves the ledger, whatever its fate
 *     keep       remember the end of a job that could not be proved told; forget is the opposite
 *     retire     a queue begins nothing more and goes when its jobs have gone, while the worker stays
 *     leave      a route's way out of its source; gone: nobody names it any more
 *     close      end a connection in order; destroy frees, without asking anybody */
#ifndef OUTFALL_CORE_H
#define OUTFALL_CORE_H

#include "dispatch/dispatch.h"
#include "dispatch/routes.h"
#include "drain/drain.h"
#include "executors/executor.h"
#include "job/ledger.h"
#include "settle/recall.h"
#include "settle/settle.h"
#include "sources/source.h"

struct core {
	struct source_host source_host;     /* what sources call */
	struct executor_host executor_host; /* what executors call */
	const struct clock *clock;
	struct log *log;
	struct ledger ledger;
	struct roster roster;
	struct dispatch dispatch;
	struct settle settle;
	struct drain drain;
	struct recall recall;
	uint64_t last_serial;
	size_t stuck;    /* jobs that are never freed, because a handler still has them */
	bool held_again; /* jobs came back unbegun: in a drain they are given back, together */
	uint64_t timeout_grace_ns;   /* between asking an overdue job to stop and killing it */
	size_t max_checkpoint_bytes; /* larger ones are refused; no limit until somebody sets one */
	/* A retired route is about to be freed; what it borrowed may be freed, too. */
	void (*route_gone)(void *arg, struct route *route);
	void *route_gone_arg;
};

/* `clock`, `log` and `drain` are borrowed. */
void core_init(struct core *core, const struct clock *clock, struct log *log, unsigned concurrency,
	       const struct drain_settings *drain, uint32_t seed);
/* Counts what is left (unbegun: returned; finished: unsettled), frees it, and the routes. Sources
 * and executors must be gone or going; stuck jobs are left to the exit. */
void core_fini(struct core *core);

/* Its queue drains while the worker stays: see drain/retire.h. */
void core_retire(struct core *core, struct route *route);

/* See dispatch_limits_changed(); sources hear of it, too. */
void core_limits_changed(struct core *core, unsigned concurrency);

void core_begin_jobs(struct core *core); /* TURN_DISPATCH */
void core_drain_turn(struct core *core); /* TURN_DRAIN; retired routes may go in it */
/* Call both again then, even if nothing happens; 0: at once. */
uint64_t core_next_ns(const struct core *core);

/* Jobs that are still here when the time is up leave with the fate the exit gives them. */
void core_abandon_rest(struct core *core);

static inline void core_event(struct core *core, enum drain_event event, const char *why)
{
	drain_event(&core->drain, event, why);
}

static inline bool core_is_closed(const struct core *core)
{
	return core->drain.phase == PHASE_CLOSED;
}

#endif
