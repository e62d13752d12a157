#include "observe/metrics_table.h"

#include "core.h"
#include "drain/forecast.h"
#include "observe/view.h"

#include <math.h>

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/* --- jobs --- */

static double jobs_left(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return (double)of->route->fates[of->which];
}

/* Of its queue: those of a route that was retired before it are there as well. */
static size_t of_queue(const struct view *view, const struct route *route,
		       size_t (*count)(const struct route *route))
{
	size_t n = count(route);
	list_each (it, &view->core->roster.retired) {
		struct route *retired = list_entry(it, struct route, in_retired);
		if (retired != route && route_of_counts(retired) == route)
			n += count(retired);
	}
	return n;
}

static size_t running_of(const struct route *route)
{
	return route->assigned;
}

static size_t held_of(const struct route *route)
{
	return route->held;
}

static double jobs_running(const struct view *view, const struct metric_subject *of)
{
	return (double)of_queue(view, of->route, running_of);
}

static double jobs_held(const struct view *view, const struct metric_subject *of)
{
	return (double)of_queue(view, of->route, held_of);
}

static double jobs_settling(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	return (double)drain_blockers(&view->core->drain).settling;
}

static double concurrency(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	return view->core->dispatch.budget.limit;
}

static const struct histogram *runs(const struct route *route)
{
	return &route->runs;
}

static const struct histogram *waits(const struct route *route)
{
	return &route->waits;
}

/* --- the drain --- */

static double drain_state(const struct view *view, const struct metric_subject *of)
{
	return (int)view->core->drain.phase == of->which;
}

static double drain_seconds_left(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	uint64_t end_ns = view->core->drain.times.end_ns;
	if (end_ns == UINT64_MAX)
		return NAN;
	return end_ns > view->now_ns ? seconds(end_ns - view->now_ns) : 0;
}

static double drain_eta(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	struct forecast forecast = forecast_drain(&view->core->ledger, view->now_ns);
	return forecast.unknown == 0 ? seconds(forecast.left_ns) : NAN;
}

/* --- sources and handlers --- */

static double source_up(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return of->source->link == LINK_UP;
}

static double source_consuming(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return of->source->link == LINK_UP && of->source->intake == INTAKE_OPEN;
}

static double source_blocked(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return source_is_blocked(of->source);
}

static double source_reconnects(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return (double)of->source->reconnects;
}

static double handler_width(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return lane_width(of->lane);
}

static double handler_widest(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return lane_widest(of->lane);
}

static double handler_paused(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return lane_paused_because(of->lane) != NULL;
}

static double handler_running(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	return of->lane->assigned;
}

/* --- the process --- */

static double build_info(const struct view *view, const struct metric_subject *of)
{
	(void)view;
	(void)of;
	return 1;
}

static double uptime(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	return seconds(view->now_ns - view->started_ns);
}

static double loop_lag(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	return seconds(view->lag_ns);
}

static double cpu_seconds(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	return seconds(view->cpu_ns);
}

static double resident_memory(const struct view *view, const struct metric_subject *of)
{
	(void)of;
	return (double)view->resident_bytes;
}

/* clang-format off */
const struct metric_row metrics_table[] = {
    {.name = "outfall_jobs_total", .unit = "jobs", .kind = METRIC_COUNTER, .scope = PER_FATE, .value = jobs_left,
     .help = "Jobs that left this worker, by what became of them."},
    {.name = "outfall_jobs_running", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_QUEUE, .value = jobs_running,
     .help = "Jobs that are with their handler now."},
    {.name = "outfall_jobs_held", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_QUEUE, .value = jobs_held,
     .help = "Jobs that were taken and have not begun."},
    {.name = "outfall_jobs_settling", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_WORKER, .value = jobs_settling,
     .help = "Jobs that have ended and that a broker has not been proved to know about."},
    {.name = "outfall_concurrency", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_WORKER, .value = concurrency,
     .help = "How many jobs may run at once in this process."},
    {.name = "outfall_job_duration_seconds", .unit = "seconds", .kind = METRIC_HISTOGRAM, .scope = PER_QUEUE,
     .histogram = runs, .help = "How long each run took, whatever came of it."},
    {.name = "outfall_job_wait_seconds", .unit = "seconds", .kind = METRIC_HISTOGRAM, .scope = PER_QUEUE,
     .histogram = waits, .help = "How long each run's job had been in this worker before it began."},

    {.name = "outfall_drain_state", .unit = "0 or 1", .kind = METRIC_GAUGE, .scope = PER_STATE, .value = drain_state,
     .help = "1 for the state the worker is in."},
    {.name = "outfall_drain_seconds_left", .unit = "seconds", .kind = METRIC_GAUGE, .scope = PER_WORKER,
     .value = drain_seconds_left,
     .help = "Until the exit, whatever is in the way then. Missing while no drain runs, or without a limit."},
    {.name = "outfall_drain_eta_seconds", .unit = "seconds", .kind = METRIC_GAUGE, .scope = PER_WORKER, .value = drain_eta,
     .help = "What the running jobs still need, from how long jobs of their queues took. Missing where a job has no past."},

    {.name = "outfall_source_up", .unit = "0 or 1", .kind = METRIC_GAUGE, .scope = PER_SOURCE, .value = source_up,
     .help = "1 while logged in to the broker."},
    {.name = "outfall_source_consuming", .unit = "0 or 1", .kind = METRIC_GAUGE, .scope = PER_SOURCE, .value = source_consuming,
     .help = "1 while jobs are really being taken from each of its queues."},
    {.name = "outfall_source_blocked", .unit = "0 or 1", .kind = METRIC_GAUGE, .scope = PER_SOURCE, .value = source_blocked,
     .help = "1 while the broker takes no publications (a resource alarm): retries, dead letters and checkpoints wait."},
    {.name = "outfall_source_reconnects_total", .unit = "times", .kind = METRIC_COUNTER, .scope = PER_SOURCE,
     .value = source_reconnects, .help = "How often the connection was lost and sought again."},
    {.name = "outfall_handler_width", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_HANDLER, .value = handler_width,
     .help = "How many jobs the handler can run at once now; 0 while it is paused."},
    {.name = "outfall_handler_widest", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_HANDLER, .value = handler_widest,
     .help = "How many it can run at once with all of its processes."},
    {.name = "outfall_handler_running", .unit = "jobs", .kind = METRIC_GAUGE, .scope = PER_HANDLER, .value = handler_running,
     .help = "Jobs that are with it now."},
    {.name = "outfall_handler_paused", .unit = "0 or 1", .kind = METRIC_GAUGE, .scope = PER_HANDLER, .value = handler_paused,
     .help = "1 while it is given no jobs, because it cannot begin any."},

    {.name = "outfall_build_info", .unit = "1", .kind = METRIC_GAUGE, .scope = PER_BUILD, .value = build_info,
     .help = "Always 1; the label has the version."},
    {.name = "outfall_uptime_seconds", .unit = "seconds", .kind = METRIC_GAUGE, .scope = PER_WORKER, .value = uptime,
     .help = "Since the worker started."},
    {.name = "outfall_loop_lag_seconds", .unit = "seconds", .kind = METRIC_GAUGE, .scope = PER_WORKER, .value = loop_lag,
     .help = "The longest that the event loop was too busy to listen, in the last half to whole minute."},
    {.name = "outfall_cpu_seconds_total", .unit = "seconds", .kind = METRIC_COUNTER, .scope = PER_WORKER, .value = cpu_seconds,
     .help = "Processor time of this process, its handlers' processes not included."},
    {.name = "outfall_resident_memory_bytes", .unit = "bytes", .kind = METRIC_GAUGE, .scope = PER_WORKER,
     .value = resident_memory, .help = "Resident memory of this process."},
};
/* clang-format on */

const size_t metrics_n_rows = sizeof metrics_table / sizeof *metrics_table;

const char *metric_kind_name(enum metric_kind kind)
{
	static const char *const names[METRIC_KINDS] = {
	    [METRIC_COUNTER] = "counter",
	    [METRIC_GAUGE] = "gauge",
	    [METRIC_HISTOGRAM] = "histogram",
	};
	return names[kind];
}

const char *metric_scope_labels(enum metric_scope scope)
{
	static const char *const labels[METRIC_SCOPES] = {
	    [PER_WORKER] = "",       [PER_BUILD] = "version",   [PER_QUEUE] = "source, queue",
	    [PER_SOURCE] = "source", [PER_HANDLER] = "handler", [PER_FATE] = "source, queue, fate",
	    [PER_STATE] = "state",
	};
	return labels[scope];
}
