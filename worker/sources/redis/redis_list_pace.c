/* Both rules look at the same span of time, LINGER_NS. A claim that was used up within it can be
 * twice as large; a job that has been held for longer says that too much was claimed. At most a
 * tenth of a second's work is thus ever hoarded, whether that is 256 jobs or none at all.
 *
 * The next claim is made when half of what is ahead is left, so that the reply arrives before the
 * handlers run dry. What is held although places are idle waits for something else (a turn, a rate), and
 * claiming for those places would only add to it.
 *
 * Taking turns. Dispatch knows only of queues that hold a job. A list that claimed nothing while other
 * queues have all places, of the handler or of the worker, would have no turn when one of them is free
 * again: the others hold jobs by then, and begin one before an answer to us could be here. So it holds
 * one then, however slow the jobs are, and more only if turns come quickly. It does without while all
 * places are its own: one of them comes free when a job of its own ends, and it is asked then.
 *
 * A rate that lets nothing begin for a while is the same: one job, which is what dispatch wakes up for.
 *
 * A prefetch that the operator set is the bound on all jobs of the list in this process, as it is on
 * RabbitMQ; that is in `room`, and places that are idle do not come on top of it. */
#include "sources/redis/redis_list_pace.h"

#include "dispatch/budget.h"
#include "dispatch/routes.h"
#include "job/job.h"

enum {
	MOST_AHEAD = 256, /* a larger claim saves no measurable time: its cost is in the jobs */
};

/* Jobs of this list that no handler has begun: held, or staged at the executor. */
static size_t unbegun(const struct route *route)
{
	unsigned width = lane_width(route->lane);
	unsigned staged = route->lane->assigned > width ? route->lane->assigned - width : 0;
	if (!lane_stages(route->lane))
		staged = 0; /* more run than its width: processes are being retired */
	return route->held + (staged < route->assigned ? staged : route->assigned);
}

/* Where a job could begin at once. A process that comes up says so (room_came), and its places count
 * then. */
static unsigned places_left(const struct route *route)
{
	unsigned most = lane_width(route->lane);
	if (route->lane->assigned >= most)
		return 0;
	most -= route->lane->assigned;
	if (most > budget_left(route->lane->budget))
		most = budget_left(route->lane->budget);
	if (route->limit == 0)
		return most;
	unsigned left = route->limit > route->assigned ? route->limit - route->assigned : 0;
	return left < most ? left : most;
}

/* Others that ask for jobs see the same places, and if each claimed for all of them, most of what
 * arrived would wait. What is left over is divided again when these have begun. */
static unsigned idle_places(const struct route *route)
{
	unsigned asking = route->lane->asking;
	unsigned left = places_left(route);
	return asking > 1 ? (left + asking - 1) / asking : left;
}

/* At its own limit it waits for nobody but itself. */
static bool others_have_the_places(const struct route *route)
{
	const struct lane *lane = route->lane;
	if (route->limit != 0 && route->assigned >= route->limit)
		return false;
	if (lane->assigned >= lane_width(lane))
		return lane->assigned > route->assigned;
	return budget_left(lane->budget) == 0 && lane->budget->taken > route->assigned;
}

static size_t begin_soon(const struct route *route, uint64_t now_ns)
{
	uint64_t own = rate_allows(&route->rate, now_ns, now_ns + LINGER_NS);
	uint64_t all = rate_allows(&route->lane->rate, now_ns, now_ns + LINGER_NS);
	uint64_t least = own < all ? own : all;
	return least < SIZE_MAX ? (size_t)least : SIZE_MAX;
}

struct pace_facts pace_facts_of(const struct route *route, uint64_t now_ns)
{
	struct pace_facts facts = {
	    .now_ns = now_ns,
	    .unbegun = unbegun(route),
	    .idle = idle_places(route),
	    .shared = others_have_the_places(route),
	    .soon = begin_soon(route, now_ns),
	};
	if (!list_empty(&route->held_jobs))
		facts.oldest_taken_ns =
		    list_entry(route->held_jobs.next, struct job, in_route)->taken_ns;
	return facts;
}

void pace_init(struct pace *pace, unsigned prefetch)
{
	*pace = (struct pace){.ahead = prefetch, .fixed = prefetch != 0};
}

static void adapt(struct pace *pace, const struct pace_facts *facts)
{
	uint64_t now = facts->now_ns;
	if (facts->unbegun > 0) {
		if (facts->oldest_taken_ns != 0 && now - facts->oldest_taken_ns > LINGER_NS &&
		    now - pace->lowered_ns > LINGER_NS) {
			pace->ahead /= 2;
			pace->lowered_ns = now;
		}
		return;
	}
	bool served = facts->shared || (facts->idle > 0 && pace->ended);
	if (served && pace->full && now - pace->claimed_ns < LINGER_NS) {
		unsigned used_up = facts->idle > 0 ? facts->idle : 1;
		pace->ahead = pace->ahead == 0 ? used_up : pace->ahead * 2;
		if (pace->ahead > MOST_AHEAD)
			pace->ahead = MOST_AHEAD;
		pace->full = false; /* once for each claim */
	}
}

/* How many it should hold unbegun. */
static size_t aim(const struct pace *pace, const struct pace_facts *facts, size_t startable)
{
	size_t target = startable + pace->ahead;
	if (pace->fixed)
		return target;
	if (target > facts->soon)
		target = facts->soon;
	bool takes_turns = facts->shared || (facts->idle > 0 && facts->soon == 0);
	return target == 0 && takes_turns ? 1 : target;
}

size_t pace_wanted(struct pace *pace, const struct pace_facts *facts)
{
	if (facts->only_idle) {
		size_t most = facts->unbegun > 0 ? 0 : facts->idle;
		return most < facts->room ? most : facts->room;
	}
	if (!pace->fixed)
		adapt(pace, facts);
	size_t startable = pace->fixed || facts->unbegun > 0 ? 0 : facts->idle;
	size_t target = aim(pace, facts, startable);
	if (facts->unbegun >= target || (startable == 0 && facts->unbegun > pace->ahead / 2))
		return 0;
	size_t wanted = target - facts->unbegun;
	return wanted < facts->room ? wanted : facts->room;
}

void pace_claimed(struct pace *pace, uint64_t now_ns, bool full)
{
	pace->claimed_ns = now_ns;
	pace->full = full;
	pace->ended = false;
}

void pace_job_ended(struct pace *pace)
{
	pace->ended = true;
}
