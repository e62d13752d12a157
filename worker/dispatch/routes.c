#include "dispatch/routes.h"

#include "base/memory.h"
#include "executors/executor.h"
#include "sources/source.h"

void roster_init(struct roster *roster)
{
	list_init(&roster->sources);
	list_init(&roster->lanes);
	list_init(&roster->routes);
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
	list_append(&roster->lanes, &lane->in_roster);
	return lane;
}

static unsigned limited(const struct lane *lane, unsigned width)
{
	return lane->limit != 0 && lane->limit < width ? lane->limit : width;
}

unsigned lane_width(const struct lane *lane)
{
	return limited(lane, lane->executor->width);
}

unsigned lane_widest(const struct lane *lane)
{
	return limited(lane, lane->executor->widest);
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
	list_append(&roster->routes, &route->in_roster);
	return route;
}

void roster_add_source(struct roster *roster, struct source *source)
{
	list_append(&roster->sources, &source->in_roster);
}
