#include "observe/health.h"

#include "core.h"
#include "observe/view.h"

#define PATIENCE_NS UINT64_C(5000000000) /* what the kernel may take to end a killed process */

static bool sources_are_ready(const struct core *core, struct text *why)
{
	list_each (it, &core->roster.sources) {
		const struct source *source = list_entry(it, struct source, in_roster);
		if (source->link == LINK_UP && source->intake == INTAKE_OPEN)
			continue;
		text_print(why, "%s \"%s\" %s", source->ops->kind, source->name,
			   source->link == LINK_UP ? "is not consuming yet" : "is not connected");
		return false;
	}
	return true;
}

static bool handlers_are_ready(const struct core *core, struct text *why)
{
	list_each (it, &core->roster.lanes) {
		const struct lane *lane = list_entry(it, struct lane, in_roster);
		if (lane_paused_because(lane) == NULL)
			continue;
		text_print(why, "handler \"%s\" is paused: %s", lane->executor->name,
			   lane_paused_because(lane));
		return false;
	}
	return true;
}

bool health_is_ready(const struct view *view, struct text *why)
{
	const struct core *core = view->core;
	if (core->drain.phase != PHASE_OPEN) {
		text_print(why, "it is %s", phase_name(core->drain.phase));
		return false;
	}
	return handlers_are_ready(core, why) && sources_are_ready(core, why);
}

/* Has it had its time, and all that is done to a job that does not end? */
static bool is_lost(const struct view *view, const struct lane *lane, const struct job *job)
{
	uint64_t begun_ns = lane->executor->ops->begun_ns(lane->executor, job);
	uint64_t end_ns = begun_ns + lane->timeout_ns;
	if (begun_ns == 0)
		return false;
	if (job->extended_ns > end_ns)
		end_ns = job->extended_ns;
	uint64_t allowed_ns = view->core->timeout_grace_ns + PATIENCE_NS;
	return view->now_ns > end_ns && view->now_ns - end_ns > allowed_ns;
}

static bool is_stuck(const struct view *view, const struct lane *lane)
{
	unsigned lost = 0, width = lane_width(lane);
	if (lane->timeout_ns == 0 || width == 0)
		return false;
	list_each (it, &lane->running) {
		lost += is_lost(view, lane, list_entry(it, struct job, in_lane));
	}
	return lost >= width;
}

bool health_is_alive(const struct view *view, struct text *why)
{
	if (phase_is_stopping(view->core->drain.phase))
		return true;
	list_each (it, &view->core->roster.lanes) {
		const struct lane *lane = list_entry(it, struct lane, in_roster);
		if (!is_stuck(view, lane))
			continue;
		text_print(why,
			   "handler \"%s\" is stuck: each of its %u places is taken by a job that "
			   "does not end",
			   lane->executor->name, lane_width(lane));
		return false;
	}
	return true;
}
