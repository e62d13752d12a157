#include "dispatch/routes.h"

#include "base/memory.h"
#include "base/must.h"
#include "executors/executor.h"
#include "job/job.h"
#include "sources/source.h"

#include <string.h>

void roster_init(struct roster *roster)
{
	list_init(&roster->sources);
	list_init(&roster->lanes);
	list_init(&roster->paused);
	list_init(&roster->routes);
	list_init(&roster->retired);
	roster->budget = NULL;
}

void roster_fini(struct roster *roster)
{
	struct list *it;
	while ((it = list_take_first(&roster->routes)) != NULL)
		memory_free(list_entry(it, struct route, in_roster));
	while ((it = list_take_first(&roster->lanes)) != NULL)
		memory_free(list_entry(it, struct lane, in_roster));
}

struct lane *roster_add_lane(struct roster *roster, struct executor *executor, uint64_t timeout_ms)
{
	struct lane *lane = memory_clear(1, sizeof *lane);
	if (lane == NULL)
		return NULL;
	lane->executor = executor;
	lane->budget = roster->budget;
	lane->timeout_ns = timeout_ms * UINT64_C(1000000);
	lane->ahead = executor->width;
	lane->kill_ns = UINT64_MAX;
	list_init(&lane->running);
	list_init(&lane->ready);
	list_init(&lane->in_turn);
	list_init(&lane->in_paused);
	lane->pause.next_ns = UINT64_MAX;
	if (executor->width == 0) {
		(void)pause_unmanned(&lane->pause, 0);
		list_append(&roster->paused, &lane->in_paused);
	}
	list_append(&roster->lanes, &lane->in_roster);
	return lane;
}

static unsigned limited(const struct lane *lane, unsigned width)
{
	return lane->limit != 0 && lane->limit < width ? lane->limit : width;
}

unsigned lane_width(const struct lane *lane)
{
	return pause_width(&lane->pause, limited(lane, lane->executor->width), lane->assigned);
}

unsigned lane_widest(const struct lane *lane)
{
	return limited(lane, lane->executor->widest);
}

bool lane_stages(const struct lane *lane)
{
	return lane->executor->depth > lane->executor->width;
}

const char *lane_paused_because(const struct lane *lane)
{
	if (!pause_is_idle(&lane->pause))
		return NULL;
	if (lane->pause.state == PAUSE_UNMANNED)
		return "none of its processes is ready";
	return lane->why_paused;
}

struct route *route_of_counts(struct route *route)
{
	while (route->heir != NULL)
		route = route->heir;
	return route;
}

bool route_is_same_queue(const struct route *a, const struct route *b)
{
	return a == b || (a->source == b->source && strcmp(a->name, b->name) == 0);
}

static void hand_over_counts(struct route *to, struct route *from)
{
	memcpy(to->fates, from->fates, sizeof to->fates);
	memset(from->fates, 0, sizeof from->fates);
	to->waits = from->waits;
	from->waits = (struct histogram){0};
	to->runs = from->runs;
	from->runs = (struct histogram){0};
	to->told_too_long = from->told_too_long;
}

/* The queue may have been retired more than once: the last of those has the counts of all. */
static void inherit(struct roster *roster, struct route *heir)
{
	list_each (it, &roster->retired) {
		struct route *route = list_entry(it, struct route, in_retired);
		if (route->heir != NULL || !route_is_same_queue(route, heir))
			continue;
		hand_over_counts(heir, route);
		route->heir = heir;
	}
}

static void disinherit(struct roster *roster, struct route *heir)
{
	list_each (it, &roster->retired) {
		struct route *route = list_entry(it, struct route, in_retired);
		if (route->heir != heir)
			continue;
		route->heir = heir->heir;
		if (route->heir == NULL)
			hand_over_counts(route, heir);
	}
}

struct route *roster_add_route(struct roster *roster, const char *name, struct source *source,
			       struct lane *lane, const struct retry_settings *retry,
			       unsigned limit)
{
	struct route *route = memory_clear(1, sizeof *route);
	if (route == NULL)
		return NULL;
	route->name = name;
	route->source = source;
	route->source_name = source->name;
	route->lane = lane;
	route->retry = retry;
	route->limit = limit;
	list_init(&route->held_jobs);
	list_init(&route->parked);
	list_init(&route->in_ready);
	list_init(&route->in_retired);
	list_append(&roster->routes, &route->in_roster);
	inherit(roster, route);
	return route;
}

void route_describe(const struct job *job, struct text *to)
{
	const struct source *source = job->route->source;
	if (source->ops != NULL && source->ops->describe != NULL)
		source->ops->describe(source, job, to);
}

void roster_retire_route(struct roster *roster, struct route *route)
{
	must(!route->retired);
	route->retired = true;
	list_append(&roster->retired, &route->in_retired);
}

void roster_remove_route(struct roster *roster, struct route *route)
{
	must(route->in_ledger == 0 && route->assigned == 0);
	disinherit(roster, route);
	list_remove(&route->in_retired);
	list_remove(&route->in_ready);
	list_remove(&route->in_roster);
	memory_free(route);
}

void roster_add_source(struct roster *roster, struct source *source)
{
	list_append(&roster->sources, &source->in_roster);
}
