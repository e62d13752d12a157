/* routes - which queue leads to which handler, and who waits for room there.
 *
 * A route is one configured queue or list. A lane is one handler with its executor. Many routes
 * may lead to one lane; a route leads to exactly one.
 *
 * A queue that is no longer wanted has its route retired: nothing begins there any more, and it goes
 * when its jobs have gone. The same queue may be wanted again before that; then it has a second route,
 * its heir, and who looks from outside should see one queue: what is counted is counted there.
 *
 * Thread: the loop's.
 * Owns:   routes and lanes live in their roster from roster_add_*() to roster_fini(), routes until
 *         roster_remove_route() at the latest; names and settings are borrowed and must outlive them.
 * Units:  counts of jobs.
 * Fails:  adding, with NULL, for lack of memory. */
#ifndef OUTFALL_DISPATCH_ROUTES_H
#define OUTFALL_DISPATCH_ROUTES_H

#include "base/histogram.h"
#include "base/list.h"
#include "dispatch/pause.h"
#include "dispatch/rate.h"
#include "job/last_failure.h"
#include "job/outcome.h"
#include "settings/settings.h"

#include <stdbool.h>
#include <stdint.h>

struct budget;
struct job;
struct text;
struct source;
struct executor;

struct lane {
	struct list in_roster;
	struct executor *executor;
	const struct budget *budget; /* the worker's, which all lanes share */
	uint64_t timeout_ns;         /* for each job; 0 = none */
	struct rate rate;
	unsigned limit;              /* of jobs at once; 0 = what the executor can run */
	enum deadline_policy policy; /* what a drain does to its running jobs */
	uint64_t kill_ns; /* a drain asked them to stop: when they are killed; UINT64_MAX = not */
	struct list running; /* jobs assigned here, in the order given */
	struct list *walk;   /* while they are asked to stop: the next one; NULL: nobody asks */
	unsigned assigned;   /* their number: running and staged */
	unsigned permits;    /* of the worker's concurrency it holds: min(assigned, lane_width()) */
	unsigned asking;     /* routes that may have more than is here, of sources that ask */
	unsigned ahead;      /* how many may be staged beyond width now; see dispatch.c */
	struct list ready;   /* routes that hold jobs and may start one, next first */
	struct list in_turn; /* on dispatch's ring of lanes to serve, starved or paced */
	struct pause pause;  /* drain/pausing.h moves it */
	struct list in_paused; /* roster.paused */
	struct job *trial;     /* while on trial; else NULL */
	char why_paused[160];  /* as the log was told; "": it was not told of a pause */
};

struct route {
	struct list in_roster;
	const char *name;
	struct source *source;
	const char *source_name; /* outlives the source: a thread may still read it at the exit */
	struct lane *lane;
	const struct retry_settings *retry;
	const char *dead_to; /* where its dead jobs go, in the source's words; NULL: it has none */
	struct rate rate;
	unsigned limit;    /* of this queue, 0 = none but the lane's and the worker's */
	size_t hold_limit; /* most jobs in this process at once, settling ones included; 0 = none */
	unsigned assigned; /* given to the lane and not finished */
	size_t held;       /* taken, not given to the lane */
	size_t in_ledger;  /* all of its jobs */
	size_t suspects;   /* those of them that workers have died with */
	unsigned suspects_begun; /* assigned, too: at most one, and then it is alone */
	struct list held_jobs;   /* struct job.in_route, head of the queue first */
	struct list in_ready;    /* struct lane.ready, or dispatch's list of paced routes */
	struct list parked; /* struct job.in_route: second deliveries that wait, see recall.h */
	uint64_t fates[FATE_COUNT];
	struct last_failure last_failure;
	struct histogram waits; /* from taken to begun */
	struct histogram runs;  /* from begun to ended */
	bool told_too_long;     /* operators were told that its jobs do not fit into a drain */
	void *source_ref;       /* the source's own record of this queue */
	bool retired;           /* begins no more jobs, and goes when it has none; see retire.h */
	uint64_t retired_ns;    /* since when */
	struct list in_retired; /* struct roster.retired */
	bool suspended; /* its source was told to take nothing, for its handler can begin nothing */
	struct route *heir; /* of a retired one: the route its queue has now; or NULL */
};

struct roster {
	struct list sources; /* struct source.in_roster */
	struct list lanes;
	struct list
	    paused; /* those that are not serving, or only just again (struct lane.in_paused) */
	struct list routes;
	struct list retired;         /* those of them that are (struct route.in_retired) */
	const struct budget *budget; /* dispatch's; set before lanes are added */
};

/* How many of its jobs can run at once. Changes with the executor's, and while it is paused. */
unsigned lane_width(const struct lane *lane);
unsigned lane_widest(const struct lane *lane); /* when all of its processes are up */
/* It is given more than can run: those jobs are staged, and begin without us. */
bool lane_stages(const struct lane *lane);

/* Why it is given no jobs now, for people; NULL: it is, if only one for trial. */
const char *lane_paused_because(const struct lane *lane);

void roster_init(struct roster *roster);
void roster_fini(struct roster *roster); /* frees routes and lanes; not sources, not executors */
struct lane *roster_add_lane(struct roster *roster, struct executor *executor, uint64_t timeout_ms);
struct route *roster_add_route(struct roster *roster, const char *name, struct source *source,
			       struct lane *lane, const struct retry_settings *retry,
			       unsigned limit);
void roster_retire_route(struct roster *roster, struct route *route);
void roster_remove_route(struct roster *roster, struct route *route); /* has no jobs; freed */
/* Where what happens to its jobs is counted: fates, histograms. */
struct route *route_of_counts(struct route *route);
static inline const struct histogram *route_runs(const struct route *route)
{
	while (route->heir != NULL)
		route = route->heir;
	return &route->runs;
}
/* Appends what came with the job beside its body: describe() of its source (sources/source.h). */
void route_describe(const struct job *job, struct text *to);
bool route_is_same_queue(const struct route *a, const struct route *b);
void roster_add_source(struct roster *roster, struct source *source);

#endif
