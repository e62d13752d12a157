/* Asked at the end of each turn rather than told by callbacks: few routes retire at a time, and in
 * most turns none does; and a route must not be freed under the source that is just working for it. */
#include "drain/retire.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "dispatch/dispatch.h"
#include "dispatch/routes.h"
#include "drain/drain.h"
#include "sources/source.h"

void retire_begin(struct drain *drain, struct route *route)
{
	struct source *source = route->source;
	must(source->ops->retire != NULL && source->ops->leave != NULL);
	route->retired_ns = clock_now_ns(drain->clock);
	dispatch_retire(drain->dispatch, route);
	log_say(drain->log, LOG_INFO, "queue removed, draining",
		kv_text("source", route->source_name), kv_text("queue", route->name),
		kv_int("running", route->assigned), kv_int("held", (int64_t)route->held));
	source->ops->retire(source, route);
}

static void tell_gone(struct drain *drain, const struct route *route)
{
	uint64_t took_ns = clock_now_ns(drain->clock) - route->retired_ns;
	log_say(drain->log, LOG_INFO, "queue drained", kv_text("source", route->source_name),
		kv_text("queue", route->name), kv_ns("after_ms", took_ns));
}

/* A job that is held now may have been staged before, so there may be some again and again. */
static bool is_gone(struct drain *drain, struct route *route)
{
	struct source *source = route->source;
	enum leaving leaving = source->ops->leave(source, route);
	if (leaving == LEAVING_JOBS)
		drain_give_back_route(drain, route);
	return leaving == LEAVING_GONE;
}

void retire_turn(struct drain *drain, void (*gone)(void *arg, struct route *route), void *arg)
{
	if (phase_is_stopping(drain->phase))
		return;
	list_each_safe (it, &drain->roster->retired) {
		struct route *route = list_entry(it, struct route, in_retired);
		if (!is_gone(drain, route))
			continue;
		tell_gone(drain, route);
		gone(arg, route);
	}
}
