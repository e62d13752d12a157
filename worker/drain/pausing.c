/* One line in the log for a pause, one when its queues go, one at its end: not one for each job or each
 * trial. A pool whose only process is replaced is unmanned for a moment, so that is told of when it lasts.
 *
 * While a pause is young its consumers stay, and so do the jobs: most trouble is a restart. */
#include "drain/pausing.h"

#include "base/clock.h"
#include "base/log.h"
#include "dispatch/dispatch.h"
#include "dispatch/routes.h"
#include "drain/drain.h"
#include "executors/executor.h"
#include "sources/source.h"

#include <stdio.h>
#include <string.h>

static uint64_t now_of(const struct drain *drain)
{
	return clock_now_ns(drain->clock);
}

/* --- words --- */

static void tell_paused(struct drain *drain, struct lane *lane, const char *why)
{
	if (strncmp(lane->why_paused, why, sizeof lane->why_paused - 1) == 0)
		return;
	(void)snprintf(lane->why_paused, sizeof lane->why_paused, "%s", why);
	log_say(drain->log, LOG_WARN, "handler paused, it cannot begin jobs; none is counted",
		kv_text("handler", lane->executor->name), kv_text("why", why));
}

static void tell_serving(struct drain *drain, struct lane *lane)
{
	if (lane->why_paused[0] == '\0')
		return;
	log_say(drain->log, LOG_INFO, "handler begins jobs again, pause over",
		kv_text("handler", lane->executor->name), kv_text("was", lane->why_paused),
		kv_ns("paused_ms", now_of(drain) - lane->pause.since_ns));
	lane->why_paused[0] = '\0';
}

/* --- its queues --- */

static bool is_suspended(const struct lane *lane, const struct roster *roster)
{
	list_each (it, &roster->routes) {
		const struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane == lane && route->suspended)
			return true;
	}
	return false;
}

/* One that takes nothing yet is left alone: it begins when its handlers are ready. */
static bool may_be_suspended(const struct route *route)
{
	return !route->retired && !route->suspended && route->source->ops->suspend != NULL &&
	       route->source->intake != INTAKE_SHUT;
}

static void suspend(struct drain *drain, struct route *route)
{
	struct source *source = route->source;
	route->suspended = true;
	log_say(drain->log, LOG_WARN, "queue left to other workers, its handler is paused",
		kv_text("source", route->source_name), kv_text("queue", route->name),
		kv_text("handler", route->lane->executor->name),
		kv_int("given_back", (int64_t)route->held));
	source->ops->suspend(source, route);
}

static void let_others(struct drain *drain, const struct lane *lane)
{
	list_each (it, &drain->roster->routes) {
		struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane != lane || route->retired)
			continue;
		if (may_be_suspended(route))
			suspend(drain, route);
		if (route->suspended && route->source->ops->is_suspended(route->source, route))
			drain_give_back_route(drain, route);
	}
}

static void take_up(struct drain *drain, const struct lane *lane)
{
	list_each (it, &drain->roster->routes) {
		struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane != lane || !route->suspended)
			continue;
		route->suspended = false;
		route->source->ops->take_up(route->source, route);
	}
}

static void tell_room(struct drain *drain, const struct lane *lane)
{
	list_each (it, &drain->roster->routes) {
		struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane == lane && route->source->ops->room_came != NULL)
			route->source->ops->room_came(route->source, route);
	}
}

/* What they may take ahead is more again: for a trial it was one. */
static void tell_limits(struct drain *drain)
{
	list_each (it, &drain->roster->sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		if (source->ops->take_up != NULL && source->ops->limits_changed != NULL)
			source->ops->limits_changed(source);
	}
}

/* --- moves --- */

/* The state has just become another one. What follows for its sources is done in the next turn: an
 * executor may have said so while one of them was just asking it for what is unbegun. */
static void moved(struct drain *drain, struct lane *lane)
{
	if (!list_linked(&lane->in_paused))
		list_append(&drain->roster->paused, &lane->in_paused);
	if (lane->pause.state == PAUSE_SERVING)
		tell_serving(drain, lane);
	if (pause_is_idle(&lane->pause))
		return;
	dispatch_resized(drain->dispatch, lane->executor);
	tell_room(drain, lane);
}

void pausing_could_not_begin(struct drain *drain, struct lane *lane, const char *why)
{
	if (!pause_could_not_begin(&lane->pause, now_of(drain)))
		return;
	moved(drain, lane);
	tell_paused(drain, lane, why);
}

void pausing_probed(struct drain *drain, struct lane *lane, const char *why)
{
	if (!pause_answer(&lane->pause, why == NULL, now_of(drain)))
		return;
	if (why != NULL) {
		tell_paused(drain, lane, why);
		log_say(drain->log, LOG_DEBUG, "handler still cannot begin jobs",
			kv_text("handler", lane->executor->name), kv_text("why", why));
	}
	moved(drain, lane);
}

void pausing_resized(struct drain *drain, struct lane *lane)
{
	bool another = lane->executor->width == 0
			   ? pause_unmanned(&lane->pause, now_of(drain))
			   : pause_manned(&lane->pause, is_suspended(lane, drain->roster));
	if (another)
		moved(drain, lane);
}

static bool has_begun(const struct lane *lane)
{
	const struct executor *executor = lane->executor;
	return lane->pause.state == PAUSE_ON_TRIAL && lane->trial != NULL &&
	       executor->ops->begun_ns(executor, lane->trial) != 0;
}

void pausing_left(struct drain *drain, const struct job *job)
{
	struct lane *lane = job->route->lane;
	if (lane->trial != job)
		return;
	bool begun = has_begun(lane);
	lane->trial = NULL;
	if (begun ? pause_began(&lane->pause) : pause_untried(&lane->pause))
		moved(drain, lane);
}

/* --- turns --- */

static void ask(struct drain *drain, struct lane *lane)
{
	const struct executor_ops *ops = lane->executor->ops;
	if (ops->probe != NULL)
		ops->probe(lane->executor);
	else
		pausing_probed(drain, lane, NULL);
}

static void turn_of(struct drain *drain, struct lane *lane, uint64_t now_ns)
{
	if (has_begun(lane) && pause_began(&lane->pause)) {
		lane->trial = NULL;
		moved(drain, lane);
	}
	if (pause_ask(&lane->pause, now_ns))
		ask(drain, lane);
	if (!pause_is_idle(&lane->pause))
		take_up(drain, lane);
	if (lane->pause.state == PAUSE_SERVING) {
		list_remove(&lane->in_paused);
		tell_limits(drain);
	}
	if (!pause_gives_back(&lane->pause, now_ns))
		return;
	if (lane->pause.state == PAUSE_UNMANNED)
		tell_paused(drain, lane, lane_paused_because(lane));
	let_others(drain, lane);
}

void pausing_turn(struct drain *drain)
{
	if (list_empty(&drain->roster->paused) || !phase_begins_jobs(drain->phase))
		return;
	uint64_t now_ns = now_of(drain);
	list_each_safe (it, &drain->roster->paused) {
		turn_of(drain, list_entry(it, struct lane, in_paused), now_ns);
	}
}

/* Its trial could not begin either, after this turn's pausing. */
static bool takes_for_others(const struct lane *lane, const struct roster *roster)
{
	list_each (it, &roster->routes) {
		const struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane == lane && may_be_suspended(route))
			return true;
	}
	return false;
}

static uint64_t next_of(const struct lane *lane, const struct roster *roster, uint64_t now_ns)
{
	const struct pause *pause = &lane->pause;
	uint64_t keeps_until_ns = pause->since_ns + PAUSE_KEEPS_NS;
	if (!pause_is_idle(pause)) {
		bool due =
		    pause->state == PAUSE_SERVING || has_begun(lane) || is_suspended(lane, roster);
		return due ? now_ns : UINT64_MAX;
	}
	if (now_ns >= keeps_until_ns && takes_for_others(lane, roster))
		return now_ns;
	if (now_ns >= keeps_until_ns || pause->next_ns < keeps_until_ns)
		return pause->next_ns;
	return keeps_until_ns;
}

uint64_t pausing_next_ns(const struct drain *drain)
{
	uint64_t earliest_ns = UINT64_MAX;
	if (list_empty(&drain->roster->paused) || !phase_begins_jobs(drain->phase))
		return earliest_ns;
	uint64_t now_ns = now_of(drain);
	list_each (it, &drain->roster->paused) {
		const struct lane *lane = list_entry(it, struct lane, in_paused);
		uint64_t next_ns = next_of(lane, drain->roster, now_ns);
		if (next_ns < earliest_ns)
			earliest_ns = next_ns;
	}
	return earliest_ns;
}
