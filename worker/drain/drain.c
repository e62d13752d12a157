/* The drain carries out what phases.c decides, at the end of each turn and at each event.
 *
 * The awkward part is time. drain.timeout is the whole time from the signal to the exit, and three
 * things must fit in: what running jobs get, the grace between asking and killing them, and the
 * reserve for returning jobs and closing. All three become absolute times once, at the signal;
 * afterwards a second signal moves them nearer, and only an operator who asks for it (drain_extend)
 * moves all three away, by the same time, as long as no job has been asked to stop. Where the configured grace and reserve
 * do not fit into the timeout, each gets a quarter of it, and the jobs get the other half.
 *
 * Giving back begins as soon as a source's intake is shut, source by source and not at the end: a
 * hung broker on one source must not keep another's messages from other workers. */
#include "drain/drain.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "dispatch/dispatch.h"
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "job/ledger.h"
#include "settings/settings.h"
#include "settle/settle.h"
#include "sources/source.h"

#define MS_NS       UINT64_C(1000000)
#define SECOND_NS   (1000 * MS_NS)
#define DEBOUNCE_NS SECOND_NS /* managers and shells often send one SIGTERM twice */

void drain_init(struct drain *drain)
{
	drain->phase = PHASE_OPEN;
	drain->entered_ns = clock_now_ns(drain->clock);
	drain->times = (struct drain_clock){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	drain->signalled_ns = 0;
	drain->next_progress_ns = UINT64_MAX;
	drain->killed = false;
	report_init(&drain->report);
}

void drain_fini(struct drain *drain)
{
	report_fini(&drain->report);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

struct shares { /* of the drain's time, nanoseconds */
	uint64_t grace, reserve;
};

static struct shares shares_of(const struct drain_settings *settings)
{
	struct shares s = {settings->grace_ms * MS_NS, settings->reserve_ms * MS_NS};
	uint64_t timeout_ns = settings->timeout_ms * MS_NS;
	if (settings->limit != DRAIN_LIMIT_NONE && s.grace + s.reserve >= timeout_ns) {
		s.grace = earlier(s.grace, timeout_ns / 4);
		s.reserve = earlier(s.reserve, timeout_ns / 4);
	}
	return s;
}

uint64_t drain_exit_ns(const struct drain *drain)
{
	return earlier(shares_of(drain->settings).reserve / 10, 100 * MS_NS);
}

uint64_t drain_deadline_ns(const struct drain *drain)
{
	uint64_t end_ns = drain->times.end_ns;
	return end_ns == UINT64_MAX ? UINT64_MAX : end_ns + drain_exit_ns(drain);
}

int drain_exit_code_now(const struct drain *drain)
{
	struct blockers b = drain_blockers(drain);
	struct report report = drain->report;
	report.fates[FATE_UNSETTLED] += b.settling;
	report.interrupted += b.running;
	return report_exit_code(&report);
}

static void set_times(struct drain *drain, uint64_t now_ns)
{
	struct shares share = shares_of(drain->settings);
	drain->times.began_ns = now_ns;
	drain->next_progress_ns = now_ns + SECOND_NS;
	if (drain->settings->limit == DRAIN_LIMIT_NONE)
		return;
	uint64_t deadline_ns = now_ns + drain->settings->timeout_ms * MS_NS;
	drain->times.end_ns = deadline_ns - drain_exit_ns(drain);
	drain->times.kill_ns = deadline_ns - share.reserve;
	drain->times.ask_ns = drain->times.kill_ns - share.grace;
}

/* Somebody will not wait: from now on at most grace and reserve, or the reserve alone. */
static void hurry_times(struct drain *drain, uint64_t now_ns, bool kill)
{
	struct shares share = shares_of(drain->settings);
	struct drain_clock *times = &drain->times;
	times->kill_ns = earlier(times->kill_ns, kill ? now_ns : now_ns + share.grace);
	times->end_ns = earlier(times->end_ns, times->kill_ns + share.reserve);
}

/* --- actions --------------------------------------------------------------------------------- */

static void shut_intake(struct drain *drain)
{
	dispatch_retract(drain->dispatch);
	list_each (it, &drain->roster->sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		source->ops->pause(source);
	}
}

static void open_intake(struct drain *drain)
{
	list_each (it, &drain->roster->sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		source->ops->resume(source);
	}
}

static void send_notice(struct drain *drain)
{
	uint64_t now_ns = clock_now_ns(drain->clock), left_ms = UINT64_MAX;
	if (drain->times.ask_ns != UINT64_MAX)
		left_ms = (drain->times.ask_ns - earlier(now_ns, drain->times.ask_ns)) / MS_NS;
	list_each (it, &drain->roster->lanes) {
		struct executor *executor = list_entry(it, struct lane, in_roster)->executor;
		executor->ops->drain_notice(executor, left_ms);
	}
}

/* Handlers that would rather run again than be waited for. */
static void return_at_once(struct drain *drain)
{
	uint64_t grace_ns = shares_of(drain->settings).grace;
	dispatch_stop_running(drain->dispatch, 1u << POLICY_RETURN,
			      clock_now_ns(drain->clock) + grace_ns);
}

/* At the deadline, handlers that finish are left alone until the kill; a second signal is for
 * everybody. */
static void ask_running(struct drain *drain)
{
	unsigned policies = 1u << POLICY_INTERRUPT | 1u << POLICY_RETURN;
	if (drain->report.hurry == HURRY_ASKED)
		policies |= 1u << POLICY_FINISH;
	dispatch_stop_running(drain->dispatch, policies, drain->times.kill_ns);
}

static void flush_sources(struct drain *drain)
{
	list_each (it, &drain->roster->sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		source->ops->flush(source);
	}
}

static void close_sources(struct drain *drain)
{
	list_each (it, &drain->roster->sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		if (source->link != LINK_CLOSING && source->link != LINK_CLOSED)
			source->ops->close(source);
	}
}

static void carry_out(struct drain *drain, unsigned actions)
{
	if (actions & ACT_SHUT_INTAKE)
		shut_intake(drain);
	if (actions & ACT_OPEN_INTAKE)
		open_intake(drain);
	if (actions & ACT_NOTICE)
		send_notice(drain);
	if (actions & ACT_NOTICE)
		return_at_once(drain);
	if (actions & ACT_ASK)
		ask_running(drain);
	if (actions & ACT_KILL) {
		drain->killed = true;
		dispatch_kill_running(drain->dispatch);
	}
	if (actions & ACT_FLUSH)
		flush_sources(drain);
	if (actions & ACT_CLOSE)
		close_sources(drain);
}

void drain_give_back_route(struct drain *drain, struct route *route)
{
	struct job *job;
	while ((job = dispatch_first_held(route)) != NULL) {
		dispatch_forget(drain->dispatch, job);
		settle_job(drain->settle, job);
	}
}

void drain_give_back(struct drain *drain, struct source *source)
{
	if (phase_begins_jobs(drain->phase) || source->intake != INTAKE_SHUT)
		return;
	list_each (it, &drain->roster->routes) {
		struct route *route = list_entry(it, struct route, in_roster);
		if (route->source == source)
			drain_give_back_route(drain, route);
	}
}

void drain_give_back_all(struct drain *drain)
{
	list_each (it, &drain->roster->sources) {
		drain_give_back(drain, list_entry(it, struct source, in_roster));
	}
}

/* --- moves ----------------------------------------------------------------------------------- */

/* What is running now is what the report names, also what ends while the intake is being shut; what comes back
 * unseen is unmarked again. */
static void mark_running(struct drain *drain)
{
	list_each (it, &drain->ledger->lists[JOB_RUNNING]) {
		list_entry(it, struct job, in_ledger)->in_drain = true;
	}
}

static void log_move(struct drain *drain, enum phase next, const char *why, uint64_t now_ns)
{
	struct blockers b = drain_blockers(drain);
	log_say(drain->log, LOG_INFO, "drain moved", kv_text("from", phase_name(drain->phase)),
		kv_text("to", phase_name(next)), kv_text("why", why),
		kv_ns("after_ms", now_ns - drain->entered_ns),
		kv_int("running", (int64_t)b.running), kv_int("held", (int64_t)b.held),
		kv_int("settling", (int64_t)b.settling));
}

/* The only place that assigns the phase. */
static void move(struct drain *drain, enum phase next, const char *why, uint64_t now_ns)
{
	must(phase_may_follow(drain->phase, next));
	log_move(drain, next, why, now_ns);
	if (phase_is_stopping(drain->phase))
		drain->report.spent_ns[drain->phase] += now_ns - drain->entered_ns;
	bool begins = !phase_is_stopping(drain->phase) && phase_is_stopping(next);
	drain->phase = next;
	drain->entered_ns = now_ns;
	if (begins)
		drain->report.began_ns = now_ns;
	if (next == PHASE_CLOSED)
		drain->report.ended_ns = now_ns;
}

static struct drain_facts facts_now(const struct drain *drain, uint64_t now_ns)
{
	return (struct drain_facts){
	    .now_ns = now_ns,
	    .blockers = drain_blockers(drain),
	    .killed = drain->killed,
	    .clock = drain->times,
	};
}

static bool is_signal(enum drain_event event)
{
	return event == EVENT_STOP || event == EVENT_STOP_NOW;
}

static bool step(struct drain *drain, enum drain_event event, const char *why)
{
	uint64_t now_ns = clock_now_ns(drain->clock);
	struct drain_facts facts = facts_now(drain, now_ns);
	enum phase before = drain->phase;
	struct drain_step step = phase_step(before, event, &facts);
	if (step.next != before)
		move(drain, step.next, step.why != NULL ? step.why : why, now_ns);
	if (step.next == PHASE_HURRYING && before != PHASE_HURRYING)
		drain->report.hurry = is_signal(event) ? HURRY_ASKED : HURRY_DEADLINE;
	if (phase_is_stopping(drain->phase) && !phase_is_stopping(before))
		mark_running(drain);
	carry_out(drain, step.actions);
	return step.next != before || step.actions != 0;
}

static void begin_stop(struct drain *drain, enum drain_event event, const char *why,
		       uint64_t now_ns)
{
	drain->report.why = why;
	set_times(drain, now_ns);
	if (event == EVENT_STOP_NOW)
		hurry_times(drain, now_ns, true);
}

/* Why a stop that comes while one is under way changes nothing; NULL: it hurries. */
static const char *why_no_hurry(const struct drain *drain, enum drain_event event, uint64_t now_ns)
{
	if (event == EVENT_DRAIN)
		return "stop ignored, already draining";
	if (event == EVENT_STOP_NOW)
		return NULL;
	if (drain->signalled_ns == 0)
		return "already draining, as was asked for; another signal hurries";
	if (now_ns - drain->signalled_ns < DEBOUNCE_NS)
		return "stop ignored, it came within a second of the last";
	return NULL;
}

/* Whether it is the drain's business: the first of all, or one that hurries. */
static bool accept_stop(struct drain *drain, enum drain_event event, const char *why,
			uint64_t now_ns)
{
	bool first = drain->times.began_ns == UINT64_MAX;
	const char *no_hurry = first ? NULL : why_no_hurry(drain, event, now_ns);
	bool counts =
	    no_hurry == NULL || drain->signalled_ns == 0; /* the manager's first signal does */
	if (is_signal(event) && counts)
		drain->signalled_ns = now_ns;
	if (no_hurry != NULL) {
		log_say(drain->log, LOG_INFO, no_hurry, kv_text("why", why));
		return false;
	}
	if (first) {
		begin_stop(drain, event, why, now_ns);
	} else {
		hurry_times(drain, now_ns, event == EVENT_STOP_NOW);
		drain->report.hurry = HURRY_ASKED;
	}
	return true;
}

void drain_event(struct drain *drain, enum drain_event event, const char *why)
{
	uint64_t now_ns = clock_now_ns(drain->clock);
	bool stops = is_signal(event) || event == EVENT_DRAIN;
	if (stops && !accept_stop(drain, event, why, now_ns))
		return;
	(void)step(drain, event, why);
	drain_give_back_all(drain);
}

/* --- more time ------------------------------------------------------------------------------- */

uint64_t drain_time_for_jobs_ns(const struct drain *drain)
{
	struct shares share = shares_of(drain->settings);
	if (drain->settings->limit == DRAIN_LIMIT_NONE)
		return UINT64_MAX;
	return drain->settings->timeout_ms * MS_NS - share.grace - share.reserve;
}

static const char *why_not_extend(const struct drain *drain)
{
	if (!phase_is_stopping(drain->phase))
		return "no drain is under way";
	if (drain->phase != PHASE_CLOSING && drain->phase != PHASE_FINISHING)
		return "running jobs have been asked to stop, or none is left";
	if (drain->times.ask_ns == UINT64_MAX)
		return "this drain has no deadline";
	return NULL;
}

enum status drain_extend(struct drain *drain, uint64_t more_ms, struct error *why)
{
	const char *why_not = why_not_extend(drain);
	struct drain_clock *times = &drain->times;
	if (why_not != NULL)
		return error_set(why, ST_REFUSED, "%s", why_not);
	if (more_ms > LONGEST_WAIT_MS)
		more_ms = LONGEST_WAIT_MS;
	if (times->end_ns > UINT64_MAX - more_ms * MS_NS - 1)
		return error_set(why, ST_REFUSED, "that is longer than time can be counted");
	times->ask_ns += more_ms * MS_NS;
	times->kill_ns += more_ms * MS_NS;
	times->end_ns += more_ms * MS_NS;
	log_say(drain->log, LOG_INFO, "drain extended", kv_int("by_ms", (int64_t)more_ms),
		kv_ns("jobs_have_ms", times->ask_ns - clock_now_ns(drain->clock)));
	send_notice(drain);
	return ST_OK;
}

static void log_progress(struct drain *drain, uint64_t now_ns)
{
	if (now_ns < drain->next_progress_ns || !phase_is_stopping(drain->phase))
		return;
	char text[1024];
	drain_blockers_text(drain, text, sizeof text);
	struct log_fact left = {.kind = FACT_INT, .key = "left_ms"};
	if (drain->times.end_ns == UINT64_MAX)
		left = (struct log_fact){.kind = FACT_TEXT, .key = "left_ms"}; /* left out */
	else
		left.number = now_ns < drain->times.end_ns
				  ? (int64_t)((drain->times.end_ns - now_ns) / MS_NS)
				  : 0;
	log_say(drain->log, LOG_INFO, "draining", kv_text("phase", phase_name(drain->phase)),
		kv_text("waiting_for", text), left);
	drain->next_progress_ns = now_ns + SECOND_NS;
}

void drain_turn(struct drain *drain)
{
	if (drain->phase == PHASE_OPEN || drain->phase == PHASE_CLOSED)
		return;
	while (step(drain, EVENT_TURN, NULL)) {
		if (drain->phase == PHASE_CLOSED)
			return;
	}
	log_progress(drain, clock_now_ns(drain->clock));
}

uint64_t drain_next_ns(const struct drain *drain)
{
	switch (drain->phase) {
	case PHASE_CLOSING:
	case PHASE_FINISHING:
		return earlier(drain->times.ask_ns, drain->next_progress_ns);
	case PHASE_HURRYING:
		return earlier(drain->killed ? drain->times.end_ns : drain->times.kill_ns,
			       drain->next_progress_ns);
	case PHASE_FLUSHING:
		return earlier(drain->times.end_ns, drain->next_progress_ns);
	case PHASE_OPEN:
	case PHASE_QUIET:
	case PHASE_CLOSED:
	case PHASES:
		break;
	}
	return UINT64_MAX;
}
