/* Three limits stand between a held job and its handler: the queue's, the handler's, the worker's.
 * A route that holds jobs and is under its own limit is on its lane's `ready` ring; a lane with a
 * ready route is on the `turn` ring, or on `starved` while the worker's budget is spent. The pump
 * takes the first lane, its first route, its first job, and puts lane and route at the end of
 * their rings: round robin between queues, O(1) for each job, no matter how many queues there are.
 *
 * Staging. An executor with threads can be given more jobs than it runs (executor.h: width, depth), so
 * that its threads need no trip through the loop between two short jobs. It holds at most `width`
 * permits of the budget, because it runs at most `width` at once. What is staged must stay little,
 * or a full queue of slow jobs would stand in front of another queue on the same handler: `ahead`
 * doubles while the threads run dry, and halves as soon as a job waited on the stage for longer
 * than STAGE_NS. Slow jobs are thus not staged at all, and short ones by the hundred.
 *
 * A thread cannot be killed: where the executor cannot, an overdue job is asked and then waited for;
 * its place stays taken, which is what it is.
 *
 * Rates. A route or lane that must wait for its rate leaves its ring for a list of paced ones;
 * `next_paced_ns` says when the first of them may begin again, and all of them get back in line then.
 *
 * Width. Executors of long-lived processes grow and shrink. A lane that has more jobs than the new
 * width keeps them; a route that waits for nothing but width lines up again in dispatch_resized().
 *
 * A handler that could not begin a job is paused (pause.h): its width is 0, or such that one more job
 * may begin, the trial, whatever it still runs of those before.
 *
 * Suspects. A job that workers have died with runs alone in its queue, so that the next death has one cause. A
 * route whose first job is such a one waits until nothing of it runs, or has yet to be settled, and begins nothing
 * beside it.
 *
 * Timeouts. `next_timeout_ns` is a lower bound, lowered at each start and recomputed by a walk only
 * when it is reached: nothing is paid for a job that ends in time. */
#include "dispatch/dispatch.h"

#include "base/clock.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "job/ledger.h"
#include "sources/source.h"

enum { STAGE_NS = 5 * 1000 * 1000 }; /* longest that a job should lie staged, when all is well */

void dispatch_init(struct dispatch *dispatch, const struct clock *clock, struct ledger *ledger,
		   struct roster *roster, unsigned concurrency)
{
	dispatch->clock = clock;
	dispatch->ledger = ledger;
	dispatch->roster = roster;
	dispatch->budget = (struct budget){.limit = concurrency};
	roster->budget = &dispatch->budget;
	dispatch->next_timeout_ns = UINT64_MAX;
	list_init(&dispatch->turn);
	list_init(&dispatch->starved);
	list_init(&dispatch->paced_lanes);
	list_init(&dispatch->paced_routes);
	dispatch->next_paced_ns = UINT64_MAX;
}

static bool waits_to_be_alone(const struct route *route)
{
	const struct job *first = dispatch_first_held(route);
	bool others = route->assigned > 0 || route->in_ledger > route->held;
	return route->suspects_begun > 0 || (others && first != NULL && first->lost > 0);
}

/* A queue limit at or above what the handler can ever run says nothing; its jobs may be staged. */
static bool route_is_full(const struct route *route)
{
	unsigned widest = lane_widest(route->lane);
	if (waits_to_be_alone(route))
		return true;
	return route->limit != 0 && route->limit < widest && route->assigned >= route->limit;
}

static bool lane_is_full(const struct lane *lane)
{
	const struct executor *executor = lane->executor;
	if (executor->width == 0)
		return true; /* nothing is staged where nothing runs */
	unsigned most = executor->width + lane->ahead;
	if (lane->pause.state != PAUSE_SERVING)
		return lane->assigned >= lane_width(lane);
	if (lane->limit != 0 && lane->limit < executor->width)
		most = lane->limit; /* what is staged would begin by itself, so nothing is */
	return lane->assigned >= (most < executor->depth ? most : executor->depth);
}

static void line_up_lane(struct dispatch *dispatch, struct lane *lane)
{
	if (!list_linked(&lane->in_turn) && !list_empty(&lane->ready))
		list_append(&dispatch->turn, &lane->in_turn);
}

static void line_up(struct dispatch *dispatch, struct route *route)
{
	if (route->held == 0 || route->retired || route_is_full(route))
		return;
	if (!list_linked(&route->in_ready))
		list_append(&route->lane->ready, &route->in_ready);
	line_up_lane(dispatch, route->lane);
}

/* Whoever comes back first, the order is the one in which they were taken. */
static void hold_in_order(struct route *route, struct job *job)
{
	struct list *held = &route->held_jobs, *at = held;
	if (!list_empty(held) &&
	    list_entry(held->prev, struct job, in_route)->serial > job->serial) {
		at = held->next;
		while (list_entry(at, struct job, in_route)->serial < job->serial)
			at = at->next;
	}
	list_insert_before(at, &job->in_route);
	route->held++;
}

void dispatch_hold(struct dispatch *dispatch, struct job *job)
{
	struct route *route = job->route;
	hold_in_order(route, job);
	line_up(dispatch, route);
}

void dispatch_left(struct dispatch *dispatch, struct route *route)
{
	if (route->suspects > 0)
		line_up(dispatch, route);
}

void dispatch_forget(struct dispatch *dispatch, struct job *job)
{
	(void)dispatch;
	struct route *route = job->route;
	must(route->held > 0);
	list_remove(&job->in_route);
	route->held--;
	if (route->held == 0)
		list_remove(&route->in_ready);
}

void dispatch_retire(struct dispatch *dispatch, struct route *route)
{
	roster_retire_route(dispatch->roster, route);
	list_remove(&route->in_ready);
	if (route->assigned > 0)
		dispatch_retract_lane(route->lane);
}

struct job *dispatch_first_held(const struct route *route)
{
	if (list_empty(&route->held_jobs))
		return NULL;
	return list_entry(route->held_jobs.next, struct job, in_route);
}

/* One permit for each job that can run at once; what is staged needs none. */
static bool permit_is_free(const struct dispatch *dispatch, const struct lane *lane)
{
	return lane->permits >= lane_width(lane) || budget_left(&dispatch->budget) > 0;
}

static void take_permit(struct dispatch *dispatch, struct lane *lane)
{
	if (lane->permits >= lane_width(lane))
		return;
	must(budget_take(&dispatch->budget));
	lane->permits++;
}

static void give_back_permit(struct dispatch *dispatch, struct lane *lane)
{
	if (lane->permits <= lane->assigned)
		return;
	lane->permits--;
	budget_give_back(&dispatch->budget);
}

static void expect_timeout(struct dispatch *dispatch, uint64_t at_ns)
{
	if (at_ns < dispatch->next_timeout_ns)
		dispatch->next_timeout_ns = at_ns;
}

/* A route that holds nothing has no turn, and its source may have more: now it knows. */
static void ask_for_more(struct route *route)
{
	const struct source_ops *ops = route->source->ops;
	if (ops->room_came != NULL)
		ops->room_came(route->source, route);
}

static void begin(struct dispatch *dispatch, struct lane *lane, struct job *job, uint64_t now_ns)
{
	struct route *route = job->route;
	dispatch_forget(dispatch, job);
	ledger_begin(dispatch->ledger, job);
	list_append(&lane->running, &job->in_lane);
	lane->assigned++;
	route->assigned++;
	route->suspects_begun += job->lost > 0;
	job->given_ns = now_ns;
	if (lane->timeout_ns != 0)
		expect_timeout(dispatch, now_ns + lane->timeout_ns);
	if (pause_give(&lane->pause))
		lane->trial = job;
	lane->executor->ops->start(lane->executor, job); /* may finish it: do not touch it again */
	if (route->held == 0)
		ask_for_more(route);
}

static void expect_pace(struct dispatch *dispatch, uint64_t at_ns)
{
	if (at_ns < dispatch->next_paced_ns)
		dispatch->next_paced_ns = at_ns;
}

/* Whether the lane must wait for its rate. */
static bool pace_lane(struct dispatch *dispatch, struct lane *lane, uint64_t now_ns)
{
	uint64_t next_ns = rate_next_ns(&lane->rate, now_ns);
	if (next_ns <= now_ns)
		return false;
	list_append(&dispatch->paced_lanes, &lane->in_turn);
	expect_pace(dispatch, next_ns);
	return true;
}

/* The first ready route that its own rate allows to begin a job; the others step aside. */
static struct route *take_ready_route(struct dispatch *dispatch, struct lane *lane, uint64_t now_ns)
{
	struct list *it;
	while ((it = list_take_first(&lane->ready)) != NULL) {
		struct route *route = list_entry(it, struct route, in_ready);
		if (waits_to_be_alone(route))
			continue; /* lined up again when what runs has ended */
		uint64_t next_ns = rate_next_ns(&route->rate, now_ns);
		if (next_ns <= now_ns)
			return route;
		list_append(&dispatch->paced_routes, &route->in_ready);
		expect_pace(dispatch, next_ns);
	}
	return NULL;
}

static void end_paces(struct dispatch *dispatch, uint64_t now_ns)
{
	if (now_ns < dispatch->next_paced_ns)
		return;
	dispatch->next_paced_ns = UINT64_MAX;
	struct list *it;
	while ((it = list_take_first(&dispatch->paced_routes)) != NULL)
		line_up(dispatch, list_entry(it, struct route, in_ready));
	while ((it = list_take_first(&dispatch->paced_lanes)) != NULL)
		line_up_lane(dispatch, list_entry(it, struct lane, in_turn));
}

/* Serves the lane once. It leaves the ring when it has nothing to begin or no room. */
static void serve(struct dispatch *dispatch, struct lane *lane, uint64_t now_ns)
{
	if (list_empty(&lane->ready) || lane_is_full(lane))
		return; /* lined up again by a new job, or when one of its jobs ends */
	if (pace_lane(dispatch, lane, now_ns))
		return;
	if (!permit_is_free(dispatch, lane)) {
		list_append(&dispatch->starved, &lane->in_turn);
		return;
	}
	struct route *route = take_ready_route(dispatch, lane, now_ns);
	if (route == NULL)
		return;
	take_permit(dispatch, lane);
	rate_count(&lane->rate, now_ns);
	rate_count(&route->rate, now_ns);
	begin(dispatch, lane, dispatch_first_held(route), now_ns);
	line_up(dispatch, route);
	line_up_lane(dispatch, lane);
}

/* The starved go first, and only when a permit is free: whoever has just got room again, because one
 * of his jobs ended, waits for less long than they do. Each visit begins a job or retires the lane. */
static struct lane *next_lane(struct dispatch *dispatch)
{
	struct list *it = NULL;
	if (budget_left(&dispatch->budget) > 0)
		it = list_take_first(&dispatch->starved);
	if (it == NULL)
		it = list_take_first(&dispatch->turn);
	return it != NULL ? list_entry(it, struct lane, in_turn) : NULL;
}

void dispatch_pump(struct dispatch *dispatch)
{
	uint64_t now_ns = 0;
	if (dispatch->next_paced_ns != UINT64_MAX) {
		now_ns = clock_now_ns(dispatch->clock);
		end_paces(dispatch, now_ns);
	}
	struct lane *lane = next_lane(dispatch);
	if (lane == NULL)
		return;
	now_ns = now_ns != 0 ? now_ns : clock_now_ns(dispatch->clock);
	for (; lane != NULL; lane = next_lane(dispatch))
		serve(dispatch, lane, now_ns);
}

void dispatch_resized(struct dispatch *dispatch, const struct executor *executor)
{
	list_each (it, &dispatch->roster->routes) {
		struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane->executor == executor)
			line_up(dispatch, route);
	}
}

/* It may be in line since it had a higher limit. */
static void line_up_or_leave(struct dispatch *dispatch, struct route *route)
{
	if (route_is_full(route))
		list_remove(&route->in_ready);
	else
		line_up(dispatch, route);
}

void dispatch_limits_changed(struct dispatch *dispatch, unsigned concurrency)
{
	dispatch->budget.limit = concurrency;
	if (dispatch->next_paced_ns != UINT64_MAX)
		dispatch->next_paced_ns = 0; /* who waits for a rate asks again */
	list_each (it, &dispatch->roster->routes)
		line_up_or_leave(dispatch, list_entry(it, struct route, in_roster));
}

static void leave_lane(struct dispatch *dispatch, struct job *job)
{
	struct route *route = job->route;
	struct lane *lane = route->lane;
	must(lane->assigned > 0 && route->assigned > 0);
	must(lane->trial !=
	     job); /* pausing.c has heard of its end: it would look at it once more */
	if (lane->walk == &job->in_lane)
		lane->walk = job->in_lane.next;
	list_remove(&job->in_lane);
	lane->assigned--;
	route->assigned--;
	route->suspects_begun -= job->lost > 0;
	give_back_permit(dispatch, lane);
}

/* See "Staging" above. */
static void adapt_stage(struct lane *lane, const struct job *job)
{
	const struct executor *executor = lane->executor;
	if (executor->depth == executor->width || job->begun_ns < job->given_ns)
		return;
	if (job->begun_ns - job->given_ns > STAGE_NS)
		lane->ahead /= 2;
	else if (lane->assigned <= executor->width && !list_empty(&lane->ready))
		lane->ahead =
		    lane->ahead < executor->depth / 2 ? lane->ahead * 2 + 1 : executor->depth;
}

void dispatch_release(struct dispatch *dispatch, struct job *job)
{
	struct route *route = job->route;
	leave_lane(dispatch, job);
	adapt_stage(route->lane, job);
	line_up(dispatch, route);
	line_up_lane(dispatch, route->lane);
}

void dispatch_hold_again(struct dispatch *dispatch, struct job *job)
{
	struct route *route = job->route;
	leave_lane(dispatch, job);
	job->given_ns = job->begun_ns = 0;
	job->stop = JOB_NOT_STOPPED; /* it may have been asked, and never heard of it */
	job->killed = false;
	job->in_drain = false;
	hold_in_order(route, job);
	line_up(dispatch, route);
	line_up_lane(dispatch, route->lane); /* its place is for others, if its queue is retired */
}

void dispatch_retract_lane(struct lane *lane)
{
	lane->executor->ops->retract(lane->executor);
}

void dispatch_retract(struct dispatch *dispatch)
{
	list_each (it, &dispatch->roster->lanes) {
		dispatch_retract_lane(list_entry(it, struct lane, in_roster));
	}
}

/* stop() may end or take back any job of its lane before it returns, one that the walk has not reached as
 * well as one that it has passed. So the lane knows which is next, and leave_lane() moves that on. */
static struct job *next_running(struct lane *lane)
{
	struct list *it = lane->walk;
	if (it == &lane->running) {
		lane->walk = NULL;
		return NULL;
	}
	lane->walk = it->next;
	return list_entry(it, struct job, in_lane);
}

static struct job *first_running(struct lane *lane)
{
	must(lane->walk == NULL); /* no host call leads back into a walk */
	lane->walk = lane->running.next;
	return next_running(lane);
}

static void stop_job(struct lane *lane, struct job *job, enum job_stop why, enum stop_how how)
{
	if (job->stop == JOB_NOT_STOPPED)
		job->stop = why;
	if (how == STOP_KILL)
		job->killed = true;
	lane->executor->ops->stop(lane->executor, job, how);
}

/* When this job must be acted on next; UINT64_MAX when no more. A staged job is not running yet. */
static uint64_t check_timeout(struct lane *lane, struct job *job, uint64_t now_ns,
			      uint64_t grace_ns)
{
	uint64_t begun_ns = lane->executor->ops->begun_ns(lane->executor, job);
	if (begun_ns == 0)
		return now_ns + lane->timeout_ns;
	uint64_t ask_ns = begun_ns + lane->timeout_ns;
	if (job->extended_ns > ask_ns)
		ask_ns = job->extended_ns;
	if (now_ns < ask_ns)
		return ask_ns;
	if (job->killed)
		return UINT64_MAX;
	if (job->stop == JOB_NOT_STOPPED) {
		job->overdue_ns = now_ns;
		stop_job(lane, job, JOB_STOPPED_BY_TIMEOUT, STOP_ASK);
		return lane->executor->can_kill ? now_ns + grace_ns : UINT64_MAX;
	}
	uint64_t kill_ns = (job->overdue_ns > ask_ns ? job->overdue_ns : ask_ns) + grace_ns;
	if (now_ns < kill_ns)
		return kill_ns;
	if (lane->executor->can_kill)
		stop_job(lane, job, JOB_STOPPED_BY_TIMEOUT, STOP_KILL); /* may end the job here */
	return UINT64_MAX;
}

static void check_lane(struct dispatch *dispatch, struct lane *lane, uint64_t now_ns,
		       uint64_t grace_ns)
{
	if (lane->timeout_ns == 0)
		return;
	for (struct job *job = first_running(lane); job != NULL; job = next_running(lane))
		expect_timeout(dispatch, check_timeout(lane, job, now_ns, grace_ns));
}

static void kill_lane(struct lane *lane)
{
	lane->kill_ns = UINT64_MAX;
	for (struct job *job = first_running(lane); job != NULL; job = next_running(lane))
		stop_job(lane, job, JOB_STOPPED_BY_DRAIN, STOP_KILL);
}

void dispatch_check_timeouts(struct dispatch *dispatch, uint64_t grace_ns)
{
	if (dispatch->next_timeout_ns == UINT64_MAX)
		return;
	uint64_t now_ns = clock_now_ns(dispatch->clock);
	if (now_ns < dispatch->next_timeout_ns)
		return;
	dispatch->next_timeout_ns = UINT64_MAX;
	list_each (it, &dispatch->roster->lanes) {
		struct lane *lane = list_entry(it, struct lane, in_roster);
		check_lane(dispatch, lane, now_ns, grace_ns);
		if (now_ns >= lane->kill_ns)
			kill_lane(lane);
		expect_timeout(dispatch, lane->kill_ns);
	}
}

static void ask_lane(struct lane *lane)
{
	for (struct job *job = first_running(lane); job != NULL; job = next_running(lane))
		stop_job(lane, job, JOB_STOPPED_BY_DRAIN, STOP_ASK);
}

void dispatch_stop_running(struct dispatch *dispatch, unsigned policies, uint64_t kill_ns)
{
	list_each (it, &dispatch->roster->lanes) {
		struct lane *lane = list_entry(it, struct lane, in_roster);
		if ((policies & (1u << lane->policy)) == 0)
			continue;
		ask_lane(lane);
		if (kill_ns < lane->kill_ns)
			lane->kill_ns = kill_ns;
		expect_timeout(dispatch, lane->kill_ns);
	}
}

void dispatch_kill_running(struct dispatch *dispatch)
{
	list_each (it, &dispatch->roster->lanes) {
		kill_lane(list_entry(it, struct lane, in_roster));
	}
}

/* The pump leaves nothing that could begin; but what came after it may have made room, or made jobs come back. */
static bool pump_is_due(const struct dispatch *dispatch)
{
	return !list_empty(&dispatch->turn) ||
	       (!list_empty(&dispatch->starved) && budget_left(&dispatch->budget) > 0);
}

uint64_t dispatch_next_ns(const struct dispatch *dispatch, bool begins_jobs)
{
	if (begins_jobs && pump_is_due(dispatch))
		return 0;
	if (begins_jobs && dispatch->next_paced_ns < dispatch->next_timeout_ns)
		return dispatch->next_paced_ns;
	return dispatch->next_timeout_ns;
}
