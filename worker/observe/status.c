/* Written piece by piece: it is made each second for each page that is open, and a worker may run
 * thousands of jobs. Commas come from one rule: a member that does not follow a bracket has one. */
#include "observe/status.h"

#include "core.h"
#include "drain/forecast.h"
#include "observe/health.h"
#include "observe/view.h"
#include "settings/settings.h"

#include <inttypes.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

enum { RUNNING_NAMED = 500 }; /* a page shows fewer, a person reads fewer */

/* --- members --- */

static void put_comma(struct text *text)
{
	char last = text->len > 0 ? text->bytes[text->len - 1] : '{';
	if (last != '{' && last != '[')
		text_put_literal(text, ",");
}

static void put_key(struct text *text, const char *key)
{
	put_comma(text);
	text_print(text, "\"%s\":", key);
}

static void open_object(struct text *text, const char *key) /* NULL: in an array */
{
	if (key != NULL)
		put_key(text, key);
	else
		put_comma(text);
	text_put_literal(text, "{");
}

static void close_object(struct text *text)
{
	text_put_literal(text, "}");
}

static void open_array(struct text *text, const char *key)
{
	put_key(text, key);
	text_put_literal(text, "[");
}

static void close_array(struct text *text)
{
	text_put_literal(text, "]");
}

static void put_text(struct text *text, const char *key, const char *value)
{
	put_key(text, key);
	if (value == NULL)
		text_put_literal(text, "null");
	else
		text_put_json(text, span_text(value));
}

static void put_number(struct text *text, const char *key, uint64_t value)
{
	put_key(text, key);
	text_put_number(text, value);
}

static void put_bool(struct text *text, const char *key, bool value)
{
	put_key(text, key);
	text_put(text, span_text(value ? "true" : "false"));
}

/* UINT64_MAX: null. */
static void put_ms(struct text *text, const char *key, uint64_t ns)
{
	if (ns == UINT64_MAX)
		put_text(text, key, NULL);
	else
		put_number(text, key, ns / MS_NS);
}

static uint64_t until(uint64_t at_ns, uint64_t now_ns)
{
	if (at_ns == UINT64_MAX)
		return UINT64_MAX;
	return at_ns > now_ns ? at_ns - now_ns : 0;
}

static void put_fates(struct text *text, const uint64_t fates[FATE_COUNT])
{
	open_object(text, "fates");
	for (int fate = 0; fate < FATE_COUNT; fate++)
		put_number(text, fate_name((enum fate)fate), fates[fate]);
	close_object(text);
}

/* --- the worker and its drain --- */

static void put_worker(struct text *text, const struct view *view)
{
	open_object(text, "worker");
	put_text(text, "name", view->name);
	put_text(text, "version", OUTFALL_VERSION);
	put_number(text, "pid", (uint64_t)getpid());
	put_number(text, "concurrency", view->core->dispatch.budget.limit);
	put_number(text, "started_unix_ms", (view->started_ns + view->epoch_ns) / MS_NS);
	close_object(text);
}

static void put_state(struct text *text, const struct view *view)
{
	const struct drain *drain = &view->core->drain;
	struct text why = {0};
	bool ready = health_is_ready(view, &why);
	put_text(text, "state", phase_name(drain->phase));
	put_number(text, "since_unix_ms", (drain->entered_ns + view->epoch_ns) / MS_NS);
	put_bool(text, "ready", ready);
	put_key(text, "not_ready_because");
	if (ready)
		text_put_literal(text, "null");
	else
		text_put_json(text, text_span(&why));
	text_fini(&why);
}

static void put_drain(struct text *text, const struct view *view)
{
	const struct drain *drain = &view->core->drain;
	struct forecast forecast = forecast_drain(drain->ledger, view->now_ns);
	char waiting_for[1024];
	drain_blockers_text(drain, waiting_for, sizeof waiting_for);
	bool stopping = phase_is_stopping(drain->phase);
	open_object(text, "drain");
	put_text(text, "why", stopping ? drain->report.why : NULL);
	put_text(text, "waiting_for", stopping ? waiting_for : NULL);
	put_ms(text, "time_for_jobs_ms", drain_time_for_jobs_ns(drain));
	put_ms(text, "jobs_have_ms", until(drain->times.ask_ns, view->now_ns));
	put_ms(text, "left_ms", until(drain->times.end_ns, view->now_ns));
	put_ms(text, "eta_ms", forecast.left_ns);
	put_number(text, "unknown", forecast.unknown);
	close_object(text);
}

static void put_counts(struct text *text, const struct view *view)
{
	struct blockers b = drain_blockers(&view->core->drain);
	open_object(text, "jobs");
	put_number(text, "held", b.held);
	put_number(text, "running", b.running);
	put_number(text, "settling", b.settling);
	close_object(text);
	put_fates(text, view->core->drain.report.since_start);
}

/* --- parts --- */

const char *status_link_name(enum link_state link)
{
	switch (link) {
	case LINK_DOWN:
		return "down";
	case LINK_CONNECTING:
		return "connecting";
	case LINK_UP:
		return "up";
	case LINK_CLOSING:
		return "closing";
	case LINK_CLOSED:
		break;
	}
	return "closed";
}

const char *status_intake_name(enum intake intake)
{
	switch (intake) {
	case INTAKE_OPENING:
		return "opening";
	case INTAKE_OPEN:
		return "open";
	case INTAKE_SHUTTING:
		return "shutting";
	case INTAKE_SHUT:
		break;
	}
	return "shut";
}

static void put_source(struct text *text, const struct source *source)
{
	char waiting_for[256] = "";
	if (source->ops->waiting_for != NULL)
		(void)source->ops->waiting_for(source, waiting_for, sizeof waiting_for);
	open_object(text, NULL);
	put_text(text, "name", source->name);
	put_text(text, "kind", source->ops->kind);
	put_text(text, "link", status_link_name(source->link));
	put_text(text, "intake", status_intake_name(source->intake));
	put_bool(text, "blocked", source_is_blocked(source));
	put_number(text, "reconnects", source->reconnects);
	put_text(text, "waiting_for", waiting_for[0] != '\0' ? waiting_for : NULL);
	close_object(text);
}

/* Its moment, not its age: what lasts is the same a second later. */
static void put_last_failure(struct text *text, const struct last_failure *last,
			     const struct view *view)
{
	if (last->at_ns == 0) {
		put_text(text, "last_failure", NULL);
		return;
	}
	open_object(text, "last_failure");
	put_number(text, "unix_ms", (last->at_ns + view->epoch_ns) / MS_NS);
	put_text(text, "job", last->job);
	put_number(text, "attempt", last->attempt);
	put_text(text, "fate", fate_name(last->fate));
	put_text(text, "class", last->class[0] != '\0' ? last->class : NULL);
	put_text(text, "message", last->message);
	close_object(text);
}

static void put_queue(struct text *text, const struct route *route, const struct view *view)
{
	open_object(text, NULL);
	put_text(text, "source", route->source_name);
	put_text(text, "name", route->name);
	put_text(text, "handler", route->lane->executor->name);
	put_bool(text, "removed", route->retired);
	put_bool(text, "suspended", route->suspended);
	put_number(text, "held", route->held);
	put_number(text, "running", route->assigned);
	put_number(text, "in_worker", route->in_ledger);
	if (route->limit != 0)
		put_number(text, "limit", route->limit);
	else
		put_text(text, "limit", NULL);
	put_fates(text, route->fates);
	put_last_failure(text, &route->last_failure, view);
	close_object(text);
}

static void put_handler(struct text *text, const struct lane *lane, uint64_t now_ns)
{
	const struct pause *pause = &lane->pause;
	open_object(text, NULL);
	put_text(text, "name", lane->executor->name);
	put_text(text, "kind", lane->executor->ops->kind);
	put_number(text, "width", lane_width(lane));
	put_number(text, "widest", lane_widest(lane));
	put_number(text, "assigned", lane->assigned);
	put_number(text, "permits", lane->permits);
	put_ms(text, "timeout_ms", lane->timeout_ns != 0 ? lane->timeout_ns : UINT64_MAX);
	put_text(text, "pause", pause_state_name(pause->state));
	put_text(text, "paused_because", lane_paused_because(lane));
	put_ms(text, "next_try_ms", until(pause->next_ns, now_ns));
	close_object(text);
}

static void put_parts(struct text *text, const struct view *view)
{
	const struct roster *roster = &view->core->roster;
	open_array(text, "sources");
	list_each (it, &roster->sources) {
		put_source(text, list_entry(it, struct source, in_roster));
	}
	close_array(text);
	open_array(text, "queues");
	list_each (it, &roster->routes) {
		put_queue(text, list_entry(it, struct route, in_roster), view);
	}
	close_array(text);
	open_array(text, "handlers");
	list_each (it, &roster->lanes) {
		put_handler(text, list_entry(it, struct lane, in_roster), view->now_ns);
	}
	close_array(text);
}

/* --- running jobs --- */

static uint64_t timeout_left_ns(const struct job *job, uint64_t age_ns, uint64_t now_ns)
{
	uint64_t timeout_ns = job->route->lane->timeout_ns;
	if (timeout_ns == 0)
		return UINT64_MAX;
	uint64_t end_ns = now_ns - age_ns + timeout_ns;
	return until(job->extended_ns > end_ns ? job->extended_ns : end_ns, now_ns);
}

static void put_running(struct text *text, const struct job *job, uint64_t now_ns)
{
	uint64_t age_ns = forecast_age_ns(job, now_ns);
	open_object(text, NULL);
	put_text(text, "id", job->id);
	put_text(text, "source", job->route->source_name);
	put_text(text, "queue", job->route->name);
	put_text(text, "handler", job->route->lane->executor->name);
	put_number(text, "attempt", job->attempt);
	put_number(text, "interruptions", job->interruptions);
	put_ms(text, "age_ms", age_ns);
	put_key(text, "progress");
	text_print(text, "%.4g", job->progress);
	put_text(text, "note", job->note);
	put_ms(text, "timeout_left_ms", timeout_left_ns(job, age_ns, now_ns));
	put_ms(text, "eta_ms", forecast_left_ns(job->route, age_ns));
	put_bool(text, "asked_to_stop", job->stop != JOB_NOT_STOPPED);
	close_object(text);
}

static void put_all_running(struct text *text, const struct view *view)
{
	size_t named = 0, omitted = 0;
	open_array(text, "running");
	list_each (it, &view->core->ledger.lists[JOB_RUNNING]) {
		if (named == RUNNING_NAMED) {
			omitted = ledger_count(&view->core->ledger, JOB_RUNNING) - named;
			break;
		}
		put_running(text, list_entry(it, struct job, in_ledger), view->now_ns);
		named++;
	}
	close_array(text);
	put_number(text, "running_omitted", omitted);
}

/* --- the whole --- */

static void put_process(struct text *text, const struct view *view)
{
	open_object(text, "process");
	put_ms(text, "uptime_ms", view->now_ns - view->started_ns);
	put_ms(text, "cpu_ms", view->cpu_ns);
	put_number(text, "resident_bytes", view->resident_bytes);
	put_number(text, "loop_lag_us", view->lag_ns / 1000);
	close_object(text);
}

static size_t put_all(struct text *text, const struct view *view, enum status_control control)
{
	static const char *const controls[] = {
	    [CONTROL_NONE] = "none", [CONTROL_TOKEN] = "token", [CONTROL_ALL] = "all"};
	size_t before = text->len;
	open_object(text, NULL);
	put_worker(text, view);
	put_text(text, "control", controls[control]);
	put_state(text, view);
	put_drain(text, view);
	put_counts(text, view);
	put_parts(text, view);
	put_all_running(text, view);
	size_t lasting = text->len - before;
	put_process(text, view);
	return lasting;
}

size_t status_put(struct text *text, const struct view *view, enum status_control control)
{
	size_t lasting = put_all(text, view, control);
	close_object(text);
	return lasting;
}

void status_put_goodbye(struct text *text, const struct view *view, enum status_control control)
{
	const struct report *report = &view->core->drain.report;
	(void)put_all(text, view, control);
	open_object(text, "goodbye");
	put_text(text, "why", report->why);
	put_number(text, "exit_code", (uint64_t)report_exit_code(report));
	close_object(text);
	close_object(text);
}
