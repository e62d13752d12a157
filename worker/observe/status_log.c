#include "observe/status_log.h"

#include "base/log.h"
#include "core.h"
#include "drain/forecast.h"
#include "observe/status.h"

enum { RUNNING_LOGGED = 100 }; /* a log may be slow, and drops what it cannot take */

static void log_source(struct log *log, const struct source *source)
{
	char waiting_for[256] = "";
	if (source->ops->waiting_for != NULL)
		(void)source->ops->waiting_for(source, waiting_for, sizeof waiting_for);
	log_say(log, LOG_WARN, "status of source", kv_text("source", source->name),
		kv_text("kind", source->ops->kind), kv_text("link", status_link_name(source->link)),
		kv_text("intake", status_intake_name(source->intake)),
		kv_flag("blocked", source_is_blocked(source)),
		kv_int("reconnects", (int64_t)source->reconnects),
		kv_text("waiting_for", waiting_for[0] != '\0' ? waiting_for : NULL));
}

static void log_queue(struct log *log, const struct route *route)
{
	log_say(log, LOG_WARN, "status of queue", kv_text("source", route->source_name),
		kv_text("queue", route->name), kv_text("handler", route->lane->executor->name),
		kv_text("removed", route->retired ? "draining" : NULL),
		kv_text("suspended", route->suspended ? "its handler is paused" : NULL),
		kv_int("held", (int64_t)route->held), kv_int("running", route->assigned),
		kv_int("in_worker", (int64_t)route->in_ledger));
}

static void log_handler(struct log *log, const struct lane *lane)
{
	log_say(log, LOG_WARN, "status of handler", kv_text("handler", lane->executor->name),
		kv_text("kind", lane->executor->ops->kind), kv_int("width", lane_width(lane)),
		kv_int("widest", lane_widest(lane)), kv_int("running", lane->assigned),
		kv_text("paused_because", lane_paused_because(lane)));
}

static void log_job(struct log *log, const struct job *job, uint64_t now_ns)
{
	log_say(log, LOG_WARN, "status of job", KV_JOB(job),
		kv_text("source", job->route->source_name), kv_text("queue", job->route->name),
		kv_int("attempt", job->attempt), kv_ns("ran_ms", forecast_age_ns(job, now_ns)),
		kv_fraction("progress", job->progress), kv_text("note", job->note),
		kv_flag("asked_to_stop", job->stop != JOB_NOT_STOPPED));
}

void status_log(struct log *log, const struct core *core, uint64_t now_ns)
{
	struct blockers b = drain_blockers(&core->drain);
	size_t left = RUNNING_LOGGED;
	log_say(log, LOG_WARN, "status", kv_text("state", phase_name(core->drain.phase)),
		kv_int("running", (int64_t)b.running), kv_int("held", (int64_t)b.held),
		kv_int("settling", (int64_t)b.settling));
	list_each (it, &core->roster.sources) {
		log_source(log, list_entry(it, struct source, in_roster));
	}
	list_each (it, &core->roster.routes) {
		log_queue(log, list_entry(it, struct route, in_roster));
	}
	list_each (it, &core->roster.lanes) {
		log_handler(log, list_entry(it, struct lane, in_roster));
	}
	list_each (it, &core->ledger.lists[JOB_RUNNING]) {
		if (left-- == 0)
			return;
		log_job(log, list_entry(it, struct job, in_ledger), now_ns);
	}
}
