/* The hosts: what sources and executors may say, and who hears it. Each is a few lines, because
 * the work is done by the four parts; reading these functions from deliver() to settled() is the
 * whole way of a job. */
#include "core.h"

#include "base/clock.h"
#include "base/duration.h"
#include "base/log.h"
#include "base/must.h"
#include "drain/pausing.h"
#include "drain/retire.h"
#include "settings/settings.h"

#include <stdio.h>

static struct core *of_source_host(struct source_host *host)
{
	return list_entry(host, struct core, source_host);
}

static struct core *of_executor_host(struct executor_host *host)
{
	return list_entry(host, struct core, executor_host);
}

/* --- a job arrives --------------------------------------------------------------------------- */

/* A second delivery of a job that has begun here is not run again: see settle/recall.h. */

static void log_recognised(struct core *core, const struct job *job, const char *how)
{
	log_say(core->log, LOG_INFO, "job recognised, not run again", KV_JOB(job),
		kv_text("source", job->route->source_name), kv_text("queue", job->route->name),
		kv_text("first_run", how));
}

static void park(struct core *core, struct job *first, struct job *again)
{
	log_recognised(core, again, "still running");
	recall_meet(&core->recall, first, again);
	list_append(&again->route->parked, &again->in_route);
}

/* How `from` ended is how `to` has ended. */
static void take_over_end(struct job *to, struct job *from)
{
	to->outcome = from->outcome;
	to->given_ns = from->given_ns;
	to->begun_ns = from->begun_ns;
	to->finished_ns = from->finished_ns;
	to->stop = from->stop;
	to->killed = from->killed;
	to->in_drain = from->in_drain;
	to->copied = from->copied;
	to->left = from->left;
	from->left = (struct left_checkpoint){0};
	failure_destroy(to->failure);
	to->failure = from->failure;
	from->failure = NULL;
}

static void settle_again(struct core *core, struct job *job, struct job *kept)
{
	log_recognised(core, job, fate_name(kept->verdict.fate));
	recall_release(&core->recall, kept);
	take_over_end(job, kept);
	job->verdict = kept->verdict;
	job_destroy(kept);
	ledger_tell(&core->ledger, job);
	job->route->source->ops->settle(job->route->source, job);
}

/* Whether this is the second delivery of a job that has begun here; it is taken care of then. */
static bool recognise(struct core *core, struct job *job)
{
	struct job *first = recall_find(&core->recall, job, job->taken_ns);
	if (first == NULL)
		return false;
	if (first->recall.state == RECALL_KEPT)
		settle_again(core, job, first);
	else
		park(core, first, job);
	return true;
}

/* Workers died with all that they held, but what comes first began first: it alone is dead of that. What comes
 * behind it is only suspect, and has its chance alone (dispatch.c). Redis finds them by itself. */
static bool is_lost_for_good(const struct job *job)
{
	unsigned most = job->route->retry->lost;
	return most != 0 && job->lost >= most && job->route->suspects == 0;
}

/* It only lay beside one that kills its workers, which would be dead after so many: it begins anew. */
static void acquit(struct job *job)
{
	unsigned most = job->route->retry->lost;
	if (most != 0 && job->lost >= most)
		job->lost = 0;
}

static void bury_unrun(struct core *core, struct job *job)
{
	job->given_ns = job->begun_ns = job->finished_ns = job->taken_ns;
	job->outcome.kind = OUTCOME_REJECT;
	ledger_begin(&core->ledger, job);
	ledger_finish(&core->ledger, job);
	settle_job(&core->settle, job);
}

static void bury_expired(struct core *core, struct job *job)
{
	job->outcome = (struct outcome){.reason = "expired"};
	bury_unrun(core, job);
}

static void bury_lost(struct core *core, struct job *job)
{
	job->outcome = (struct outcome){0};
	(void)snprintf(job->outcome.reason, sizeof job->outcome.reason, "its worker died %u times",
		       (unsigned)job->lost);
	bury_unrun(core, job);
}

static void take(struct core *core, struct job *job)
{
	bool dead = is_lost_for_good(job);
	if (job->near_limit && !dead)
		acquit(job);
	job->route->in_ledger++;
	job->route->suspects += job->lost > 0;
	ledger_admit(&core->ledger, job);
	if (recognise(core, job))
		return;
	if (job->expired)
		bury_expired(core, job);
	else if (dead)
		bury_lost(core, job);
	else if (job->near_limit)
		settle_job(&core->settle, job);
	else
		dispatch_hold(&core->dispatch, job);
}

static void deliver(struct source_host *host, struct job **delivered)
{
	struct core *core = of_source_host(host);
	struct job *job = *delivered;
	*delivered = NULL;
	must(job->route->source->intake != INTAKE_SHUT);
	job->taken_ns = clock_now_ns(core->clock);
	take(core, job);
}

void core_begin_jobs(struct core *core)
{
	pausing_turn(&core->drain);
	if (phase_begins_jobs(core->drain.phase))
		dispatch_pump(&core->dispatch);
	else if (core->held_again)
		drain_give_back_all(&core->drain);
	core->held_again = false;
	dispatch_check_timeouts(&core->dispatch, core->timeout_grace_ns);
}

/* --- its handler ends ------------------------------------------------------------------------ */

/* As the configuration has it: whoever reads it may want to change that. How long the job ran, the
 * time that it took to stop included, is told beside it. */
static void say_timeout(const struct job *job, char *reason, size_t size)
{
	uint64_t timeout_ns = job->route->lane->timeout_ns;
	uint64_t allowed_ns =
	    job->extended_ns > job->begun_ns ? job->extended_ns - job->begun_ns : 0;
	char timeout[32], extended[48] = "";
	duration_print(timeout_ns / 1000000, timeout, sizeof timeout);
	if (allowed_ns > timeout_ns)
		(void)snprintf(extended, sizeof extended, ", extended to %.1f s",
			       (double)allowed_ns / 1e9);
	(void)snprintf(reason, size, "timed out: timeout = %s%s", timeout, extended);
}

/* A job that we asked to stop because its time was up has failed, however it then ended; only if
 * it said "done" or "never" does its own word count. */
static void blame_timeout(struct job *job)
{
	struct outcome *outcome = &job->outcome;
	if (job->stop != JOB_STOPPED_BY_TIMEOUT || outcome->kind == OUTCOME_DONE ||
	    outcome->kind == OUTCOME_REJECT)
		return;
	outcome->kind = OUTCOME_RETRY;
	outcome->crashed = false;
	say_timeout(job, outcome->reason, sizeof outcome->reason);
	failure_destroy(job->failure); /* what it said then is not why */
	job->failure = NULL;
}

static void leave_ledger(struct core *core, struct job *job)
{
	struct route *route = job->route;
	must(route->in_ledger > 0 && route->suspects >= (job->lost > 0));
	route->in_ledger--;
	route->suspects -= job->lost > 0;
	ledger_drop(&core->ledger, job);
	dispatch_left(&core->dispatch, route);
}

/* Out of the ledger; freed, unless a thread still reads it. */
static void drop(struct core *core, struct job *job)
{
	recall_leave(&core->recall, job);
	list_remove(&job->in_route);
	leave_ledger(core, job);
	if (job->stuck)
		core->stuck++;
	else
		job_destroy(job);
}

/* The first one leaves without a word: its second delivery has ended in its place. */
static struct job *succeed(struct core *core, struct job *first)
{
	struct job *again = recall_end_waiting(&core->recall, first);
	list_remove(&again->in_route);
	take_over_end(again, first);
	ledger_begin(&core->ledger, again);
	ledger_finish(&core->ledger, again);
	drop(core, first);
	return again;
}

static void finished(struct executor_host *host, struct job *job, const struct outcome *outcome)
{
	struct core *core = of_executor_host(host);
	struct executor *executor = job->route->lane->executor;
	struct route *counts = route_of_counts(job->route);
	uint64_t begun_ns = executor->ops->begun_ns(executor, job);
	job->finished_ns = clock_now_ns(core->clock);
	job->begun_ns = begun_ns != 0 ? begun_ns : job->given_ns;
	job->outcome = *outcome;
	histogram_count(&counts->waits, job->begun_ns - job->taken_ns);
	histogram_count(&counts->runs, job->finished_ns - job->begun_ns);
	blame_timeout(job);
	pausing_left(&core->drain, job);
	ledger_finish(&core->ledger, job);
	dispatch_release(&core->dispatch, job);
	settle_job(&core->settle, job->recall.state == RECALL_MET ? succeed(core, job) : job);
}

static struct lane *lane_of(struct core *core, const struct executor *executor)
{
	list_each (it, &core->roster.lanes) {
		struct lane *lane = list_entry(it, struct lane, in_roster);
		if (lane->executor == executor)
			return lane;
	}
	return NULL; /* it is still being built */
}

static void probed(struct executor_host *host, struct executor *executor, const char *why)
{
	struct core *core = of_executor_host(host);
	pausing_probed(&core->drain, lane_of(core, executor), why);
}

/* --- what it says of itself while it runs ----------------------------------------------------- */

static void progress(struct executor_host *host, struct job *job, double done, struct span note)
{
	struct core *core = of_executor_host(host);
	must(job->state == JOB_RUNNING);
	job_note(job, done, note);
	log_say(core->log, LOG_DEBUG, "job progressed", KV_JOB(job),
		kv_text("queue", job->route->name), kv_fraction("done", job->progress),
		kv_text("note", job->note));
}

static void extend(struct executor_host *host, struct job *job, uint64_t more_ms)
{
	struct core *core = of_executor_host(host);
	must(job->state == JOB_RUNNING);
	bool cut = more_ms > LONGEST_WAIT_MS;
	uint64_t given_ms = cut ? LONGEST_WAIT_MS : more_ms;
	uint64_t until_ns = clock_now_ns(core->clock) + given_ms * UINT64_C(1000000);
	if (until_ns > job->extended_ns)
		job->extended_ns = until_ns;
	log_say(core->log, cut ? LOG_WARN : LOG_DEBUG, "job extended its time", KV_JOB(job),
		kv_text("queue", job->route->name), kv_int("more_ms", (int64_t)given_ms),
		kv_text("cut", cut ? "it asked for more than 30 days" : NULL));
}

static bool checkpoint(struct executor_host *host, struct job *job, struct span bytes)
{
	struct core *core = of_executor_host(host);
	must(job->state == JOB_RUNNING);
	if (bytes.len > core->max_checkpoint_bytes)
		return false;
	job_leave_checkpoint(job, bytes);
	return true;
}

static void explain(struct executor_host *host, struct job *job, const struct failure *said)
{
	(void)host;
	must(job->state == JOB_RUNNING);
	job_explain(job, said);
}

static void tell_room(struct route *route)
{
	if (route->source->ops->room_came != NULL)
		route->source->ops->room_came(route->source, route);
}

static void resized(struct executor_host *host, struct executor *executor)
{
	struct core *core = of_executor_host(host);
	struct lane *lane = lane_of(core, executor);
	if (lane == NULL)
		return;
	pausing_resized(&core->drain, lane);
	dispatch_resized(&core->dispatch, executor);
	list_each (it, &core->roster.routes) {
		struct route *route = list_entry(it, struct route, in_roster);
		if (route->lane == lane)
			tell_room(route);
	}
}

void core_limits_changed(struct core *core, unsigned concurrency)
{
	dispatch_limits_changed(&core->dispatch, concurrency);
	list_each (it, &core->roster.routes)
		tell_room(list_entry(it, struct route, in_roster));
	list_each (it, &core->roster.sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		if (source->ops->limits_changed != NULL)
			source->ops->limits_changed(source);
	}
}

/* --- and it leaves --------------------------------------------------------------------------- */

static void log_fate(struct core *core, const struct job *job, enum fate fate)
{
	enum log_level level = fate == FATE_DEAD || fate == FATE_UNSETTLED ? LOG_WARN : LOG_DEBUG;
	if (fate == FATE_RETRIED)
		level = LOG_INFO;
	if (!log_wants(core->log, level))
		return;
	const struct route *route = job->route;
	const struct usage *cost = &job->outcome.usage;
	const struct span none = {0}, why = job_reason(job);
	uint64_t ran_ns = job->begun_ns != 0 ? job->finished_ns - job->begun_ns : 0;
	log_say(
	    core->log, level, "job settled", KV_JOB(job), kv_text("source", route->source_name),
	    kv_text("queue", route->name), kv_text("fate", fate_name(fate)),
	    kv_text("dead_to", fate == FATE_DEAD ? route->dead_to : NULL),
	    kv_int("attempt", job->attempt), kv_ns("ran_ms", ran_ns),
	    kv_known(kv_int("after_ms", (int64_t)job->verdict.delay_ms)),
	    kv_known(kv_ns("cpu_ms", cost->cpu_ns)),
	    kv_known(kv_int("peak_kb", (int64_t)(cost->peak_bytes / 1024))),
	    kv_span(
		"error",
		job->failure != NULL && job->failure->class.len > 0 ? job->failure->class : none),
	    kv_span("reason", why.len > 0 ? why : none));
}

static void count_fate(struct core *core, const struct job *job, enum fate fate)
{
	bool draining = phase_is_stopping(core->drain.phase);
	uint64_t now_ns = clock_now_ns(core->clock);
	struct route *counts = route_of_counts(job->route);
	counts->fates[fate]++;
	last_failure_note(&counts->last_failure, job, fate, now_ns);
	log_fate(core, job, fate);
	report_count(&core->drain.report, job, fate, draining, now_ns);
}

static void leave(struct core *core, struct job *job, enum fate fate)
{
	count_fate(core, job, fate);
	drop(core, job);
}

/* Nobody has seen it, and the broker has it back: it leaves, and what would have waited for its end is like any
 * other that was delivered. */
static void leave_unseen(struct core *core, struct job *job)
{
	struct route *route = job->route;
	if (job->recall.state == RECALL_MET) {
		struct job *again = recall_end_waiting(&core->recall, job);
		list_remove(&again->in_route);
		dispatch_hold(&core->dispatch, again);
	}
	dispatch_forget(&core->dispatch, job);
	leave(core, job, FATE_RETURNED);
	tell_room(route);
}

static void retracted(struct executor_host *host, struct job *job)
{
	struct core *core = of_executor_host(host);
	ledger_hold_again(&core->ledger, job);
	pausing_left(&core->drain, job);
	dispatch_hold_again(&core->dispatch, job);
	core->held_again = true;
	if (job->recall.state != RECALL_NONE)
		leave_unseen(core, job);
}

static void could_not_begin(struct executor_host *host, struct job *job, const char *why)
{
	struct core *core = of_executor_host(host);
	struct lane *lane = job->route->lane;
	log_say(core->log, LOG_DEBUG, "job not begun, held again", KV_JOB(job),
		kv_text("queue", job->route->name), kv_text("why", why));
	pausing_could_not_begin(&core->drain, lane, why);
	retracted(host, job);
}

/* Its end is worth keeping, should the broker give it out again, to us. */
static bool may_come_back(const struct core *core, const struct job *job, enum settled how)
{
	return how != SETTLED && !phase_is_stopping(core->drain.phase) &&
	       job->verdict.fate != FATE_RETURNED && !job->stuck && recall_may_keep(job);
}

static void keep(struct core *core, struct job *job)
{
	count_fate(core, job, FATE_UNSETTLED);
	leave_ledger(core, job);
	recall_keep(&core->recall, &job, clock_now_ns(core->clock));
}

/* What could not be told: a job that goes back does so by itself (the broker redelivers it); for
 * any other the effect is there and the broker does not know. */
static enum fate fate_when_lost(const struct job *job)
{
	return job->verdict.fate == FATE_RETURNED ? FATE_RETURNED : FATE_UNSETTLED;
}

static void settled(struct source_host *host, struct job *job, enum settled how)
{
	struct core *core = of_source_host(host);
	must(job->state == JOB_SETTLING);
	struct route *route = job->route;
	if (may_come_back(core, job, how))
		keep(core, job);
	else
		leave(core, job, how == SETTLED ? job->verdict.fate : fate_when_lost(job));
	tell_room(route);
}

static void buried(struct source_host *host, struct route *route, uint64_t count)
{
	struct core *core = of_source_host(host);
	route_of_counts(route)->fates[FATE_DEAD] += count;
	report_count_buried(&core->drain.report, count, phase_is_stopping(core->drain.phase));
}

static void lose_running(struct core *core, const struct route *route)
{
	list_each (it, &core->ledger.lists[JOB_RUNNING]) {
		struct job *job = list_entry(it, struct job, in_ledger);
		if (job->route == route)
			recall_lose(&core->recall, job);
	}
}

static void took_back(struct source_host *host, struct route *route)
{
	struct core *core = of_source_host(host);
	if (route->in_ledger == 0)
		return; /* nothing to take from, and others share its lane */
	dispatch_retract_lane(route->lane);
	struct job *job;
	while ((job = dispatch_first_held(route)) != NULL) {
		dispatch_forget(&core->dispatch, job);
		leave(core, job, FATE_RETURNED);
	}
	while (!list_empty(&route->parked))
		leave(core, list_entry(route->parked.next, struct job, in_route), FATE_RETURNED);
	lose_running(core, route);
}

static void redelivered_all(struct source_host *host, struct route *route)
{
	recall_over(&of_source_host(host)->recall, route);
}

/* --- a queue leaves ---------------------------------------------------------------------------- */

void core_retire(struct core *core, struct route *route)
{
	retire_begin(&core->drain, route);
}

static void route_gone(void *arg, struct route *route)
{
	struct core *core = arg;
	recall_part(&core->recall, route, route->heir);
	core->route_gone(core->route_gone_arg, route);
	roster_remove_route(&core->roster, route);
}

/* --- sources speak of themselves ------------------------------------------------------------- */

static void changed(struct source_host *host, struct source *source)
{
	drain_give_back(&of_source_host(host)->drain, source);
}

static void refused(struct source_host *host, struct source *source, const struct error *why)
{
	struct core *core = of_source_host(host);
	log_say(core->log, LOG_ERROR, "broker refused for good, stopping",
		kv_text("source", source->name), kv_why(why));
	core->drain.report.refused = true;
	if (!phase_is_stopping(core->drain.phase))
		core_event(core, EVENT_DRAIN, "broker refused");
}

static size_t room(struct source_host *host, const struct route *route)
{
	(void)host;
	if (route->hold_limit == 0)
		return SIZE_MAX;
	return route->hold_limit > route->in_ledger ? route->hold_limit - route->in_ledger : 0;
}

static uint64_t next_serial(struct source_host *host)
{
	return ++of_source_host(host)->last_serial;
}

/* --- life ------------------------------------------------------------------------------------ */

static void ignore_route(void *arg, struct route *route)
{
	(void)arg;
	(void)route;
}

void core_init(struct core *core, const struct clock *clock, struct log *log, unsigned concurrency,
	       const struct drain_settings *drain, uint32_t seed)
{
	core->source_host = (struct source_host){
	    .deliver = deliver,
	    .settled = settled,
	    .buried = buried,
	    .took_back = took_back,
	    .redelivered_all = redelivered_all,
	    .changed = changed,
	    .refused = refused,
	    .room = room,
	    .next_serial = next_serial,
	    .run = seed,
	};
	core->executor_host = (struct executor_host){
	    .finished = finished,
	    .retracted = retracted,
	    .could_not_begin = could_not_begin,
	    .probed = probed,
	    .progress = progress,
	    .extend = extend,
	    .checkpoint = checkpoint,
	    .explain = explain,
	    .resized = resized,
	};
	core->clock = clock;
	core->log = log;
	core->last_serial = 0;
	core->stuck = 0;
	core->held_again = false;
	core->max_checkpoint_bytes = SIZE_MAX;
	core->route_gone = ignore_route;
	core->timeout_grace_ns = drain->grace_ms * UINT64_C(1000000);
	ledger_init(&core->ledger);
	recall_init(&core->recall);
	roster_init(&core->roster);
	dispatch_init(&core->dispatch, clock, &core->ledger, &core->roster, concurrency);
	settle_init(&core->settle, &core->ledger, seed);
	core->drain.clock = clock;
	core->drain.log = log;
	core->drain.settings = drain;
	core->drain.ledger = &core->ledger;
	core->drain.roster = &core->roster;
	core->drain.dispatch = &core->dispatch;
	core->drain.settle = &core->settle;
	drain_init(&core->drain);
}

void core_drain_turn(struct core *core)
{
	drain_turn(&core->drain);
	retire_turn(&core->drain, route_gone, core);
}

uint64_t core_next_ns(const struct core *core)
{
	if (core->held_again)
		return 0; /* since this turn's jobs were begun, or given back */
	uint64_t drain_ns = drain_next_ns(&core->drain);
	uint64_t dispatch_ns =
	    dispatch_next_ns(&core->dispatch, phase_begins_jobs(core->drain.phase));
	uint64_t pausing_ns = pausing_next_ns(&core->drain);
	if (pausing_ns < drain_ns)
		drain_ns = pausing_ns;
	return drain_ns < dispatch_ns ? drain_ns : dispatch_ns;
}

/* A job that still runs (even SIGKILL did not end it, or a thread that cannot be killed) goes back
 * to its queue with the connection: interrupted, and never freed. */
static void abandon(struct core *core, struct job *job)
{
	enum fate fate = FATE_RETURNED;
	if (job->recall.state == RECALL_WAITING) { /* counted as the one it waits for */
		drop(core, job);
		return;
	}
	if (job->state == JOB_HELD)
		dispatch_forget(&core->dispatch, job);
	if (job->state == JOB_RUNNING) {
		job->begun_ns = job->given_ns;
		job->finished_ns = clock_now_ns(core->clock);
		job->verdict.interrupted = true;
		job->stuck = true;
	}
	if (job->state == JOB_SETTLING)
		fate = fate_when_lost(job);
	leave(core, job, fate);
}

void core_abandon_rest(struct core *core)
{
	for (int state = 0; state < JOB_STATES; state++) {
		list_each_safe (it, &core->ledger.lists[state]) {
			abandon(core, list_entry(it, struct job, in_ledger));
		}
	}
}

void core_fini(struct core *core)
{
	must(ledger_total(&core->ledger) == 0);
	recall_fini(&core->recall); /* before the routes its jobs came from */
	roster_fini(&core->roster);
	drain_fini(&core->drain);
}
