/* Builds the parts, introduces them, turns the loop until the drain is closed, and returns the exit
 * code. The order of building is the order of the tree: loop, core, executors, sources; the order
 * of the end is the reverse, after the report is out.
 *
 * Sources take nothing before somebody can run it: they start when every handler has a process that is
 * ready. A handler that does not get there within its time cannot keep the others from their work.
 *
 * At the very end there may be threads that never came back from a handler, or jobs that even
 * SIGKILL did not end. Nothing they might touch is freed then: the process just ends, once the
 * handlers that have nothing to do with it had their end in order. */
#include "commands/commands.h"

#include "admin/admin.h"
#include "admin/pages.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "commands/exit_guard.h"
#include "commands/reload.h"
#include "commands/run_queues.h"
#include "core.h"
#include "executors/child/children.h"
#include "executors/exec/exec.h"
#include "executors/http/http.h"
#include "executors/plugin/plugin.h"
#include "executors/plugin/plugin_isolated.h"
#include "executors/pool/pool.h"
#include "loop/loop.h"
#include "managers/kill_time.h"
#include "managers/systemd.h"
#include "observe/drain_report.h"
#include "observe/status_log.h"
#include "settings/settings.h"
#include "sources/kind.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

/* EX_UNAVAILABLE, EX_SOFTWARE, EX_CONFIG of sysexits.h */
enum { EXIT_REFUSED = 69, EXIT_INTERNAL = 70, EXIT_SETTINGS = 78 };

struct loop_clock {
	struct clock clock;
	struct loop *loop;
};

struct run {
	struct settings *settings;
	struct reload reload;
	struct run_queues queues;
	struct log *log;
	struct loop *loop;
	struct loop_clock clock;
	struct core core;
	struct children *children;
	struct admin *admin;         /* NULL: none */
	struct systemd *systemd;     /* NULL: nobody listens */
	struct drain_settings drain; /* the core's; what "auto" is may be found out later */
	struct kill_time *kill_time;
	struct executor **executors;       /* as many as settings->handlers */
	struct plugin_isolated **isolated; /* the same; NULL: not one */
	struct lane **lanes;               /* the same */
	struct source **sources;           /* of settings->sources */
	size_t n_sources;
	struct turn_hook begin_jobs, drain_turn;
	bool hooked; /* these two */
	bool sources_started;
	struct timer *patience; /* with handlers that are not ready */
	struct timer *wake;
	uint64_t wake_ns;         /* when it is set for; UINT64_MAX = not */
	struct exit_guard *guard; /* once the drain has begun */
	struct signal_watch *signals[8];
	size_t n_signals;
};

static uint64_t loop_clock_now(const struct clock *clock)
{
	return loop_now_ns(list_entry(clock, const struct loop_clock, clock)->loop);
}

/* --- what operators ask for ------------------------------------------------------------------- */

/* A process for each job takes a few descriptors, and so does one of a pool. The soft limit is raised to what this
 * configuration needs and no further: children inherit it, and some close every descriptor below
 * it one by one. */
static void raise_descriptor_limit(const struct settings *s)
{
	struct rlimit limit;
	rlim_t needed = 256 + (rlim_t)s->worker.concurrency * 8;
	for (size_t i = 0; i < s->n_handlers; i++)
		needed += s->handlers[i].processes * 4;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
		return;
	limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* worst case: as before */
}

static void resize_executors(struct run *run)
{
	raise_descriptor_limit(run->settings);
	for (size_t i = 0; i < run->settings->n_handlers; i++) {
		struct executor *executor = run->executors[i];
		if (executor->ops->resize != NULL)
			executor->ops->resize(executor, &run->settings->worker);
	}
}

/* After the settings have changed. */
static void take_effect(struct run *run)
{
	const struct settings *s = run->settings;
	log_set_level(run->log, s->log.level);
	run->core.timeout_grace_ns = s->drain.grace_ms * UINT64_C(1000000);
	run->drain = s->drain;
	children_set_grace(run->children, s->drain.grace_ms);
	kill_time_apply(run->kill_time);
	for (size_t i = 0; i < s->n_handlers; i++) {
		rate_set(&run->lanes[i]->rate, s->handlers[i].rate_interval_ns);
		run->lanes[i]->policy = s->handlers[i].deadline;
		run->lanes[i]->limit = s->handlers[i].concurrency;
	}
	run_queues_limit(&run->queues);
	resize_executors(run);
	core_limits_changed(&run->core, s->worker.concurrency);
}

static enum status take_queue(void *arg, const struct block *block, struct error *why)
{
	struct run *run = arg;
	return run_queues_take(&run->queues, block, why);
}

static void drop_queue(void *arg, struct block *block)
{
	struct run *run = arg;
	admin_queue_goes(run->admin);
	run_queues_drop(&run->queues, block);
}

static bool may_reload(void *arg, struct error *why)
{
	const struct run *run = arg;
	if (!phase_is_stopping(run->core.drain.phase))
		return true;
	(void)error_set(why, ST_REFUSED, "draining: there is nothing left to reload for");
	return false;
}

/* Nobody waits for one that is not begun. */
static uint64_t ask_for_reload(void *arg, struct error *why)
{
	struct run *run = arg;
	if (!may_reload(run, why)) {
		log_say(run->log, LOG_ERROR, "configuration not reloaded", kv_why(why));
		return 0;
	}
	systemd_reloading(run->systemd);
	return reload_ask(&run->reload);
}

static bool answer_reload(void *arg, uint64_t number, struct text *says, enum status *ret_status,
			  struct error *why)
{
	const struct run *run = arg;
	return reload_answer(&run->reload, number, says, ret_status, why);
}

static void reload_ended(void *arg, enum status st, const struct error *why, bool idle)
{
	struct run *run = arg;
	if (idle)
		systemd_reloaded(run->systemd);
	if (st == ST_OK)
		take_effect(run);
	else
		log_say(run->log, LOG_ERROR, "configuration not reloaded", kv_why(why));
	admin_reloaded(run->admin, run->settings->admin.token);
}

static void reload_or_say_why(struct run *run)
{
	struct error why;
	log_say(run->log, LOG_INFO, "signal caught", kv_text("signal", "SIGHUP"));
	(void)ask_for_reload(run, &why); /* said */
}

static void log_status(struct run *run)
{
	status_log(run->log, &run->core, loop_now_ns(run->loop));
}

/* --- signals --------------------------------------------------------------------------------- */

static const struct {
	int signum;
	enum drain_event event;
	const char *name;
} signal_table[] = {
    {SIGTERM, EVENT_STOP,     "SIGTERM"},
    {SIGINT,  EVENT_STOP,     "SIGINT" },
    {SIGQUIT, EVENT_STOP_NOW, "SIGQUIT"},
    {SIGTSTP, EVENT_QUIET,    "SIGTSTP"},
    {SIGCONT, EVENT_RESUME,   "SIGCONT"},
};

/* Those that say nothing about the drain. */
static const struct {
	int signum;
	void (*obey)(struct run *run);
	const char *name;
} request_table[] = {
    {SIGHUP,  reload_or_say_why, "SIGHUP" },
    {SIGUSR1, log_status,        "SIGUSR1"},
};

static void caught(void *arg, int signum)
{
	struct run *run = arg;
	for (size_t i = 0; i < sizeof signal_table / sizeof *signal_table; i++) {
		if (signal_table[i].signum != signum)
			continue;
		log_say(run->log, LOG_INFO, "signal caught",
			kv_text("signal", signal_table[i].name));
		core_event(&run->core, signal_table[i].event, signal_table[i].name);
		return;
	}
}

static void asked(void *arg, int signum)
{
	struct run *run = arg;
	for (size_t i = 0; i < sizeof request_table / sizeof *request_table; i++)
		if (request_table[i].signum == signum)
			request_table[i].obey(run);
}

static enum status watch_signal(struct run *run, int signum, void (*call)(void *arg, int signum),
				const char *name, struct error *why)
{
	struct signal_watch *watch = signal_watch_create(run->loop, signum, call, run);
	if (watch == NULL)
		return error_set(why, ST_NOMEM, "watch %s", name);
	must(run->n_signals < sizeof run->signals / sizeof *run->signals);
	run->signals[run->n_signals++] = watch;
	return ST_OK;
}

static enum status watch_signals(struct run *run, struct error *why)
{
	(void)signal(SIGPIPE, SIG_IGN); /* a peer that closes is an error to read, not a death */
	(void)signal(SIGXFSZ, SIG_IGN); /* so is a log that has grown to its limit */
	enum status st = ST_OK;
	for (size_t i = 0; i < sizeof signal_table / sizeof *signal_table && st == ST_OK; i++)
		st = watch_signal(run, signal_table[i].signum, caught, signal_table[i].name, why);
	for (size_t i = 0; i < sizeof request_table / sizeof *request_table && st == ST_OK; i++)
		st = watch_signal(run, request_table[i].signum, asked, request_table[i].name, why);
	if (st != ST_OK)
		return st;
	/* main() has held back what came before now; and whoever started us may have blocked what asks
	 * us to stop. */
	sigset_t none;
	(void)sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	return ST_OK;
}

/* --- handlers first --------------------------------------------------------------------------- */

static bool handlers_are_ready(const struct run *run)
{
	for (size_t i = 0; i < run->settings->n_handlers; i++)
		if (run->executors[i]->width == 0)
			return false;
	return true;
}

/* A stop may have come while we waited; then they stay as they are, which is closed. A quiet worker
 * starts them when it is resumed. */
static void start_sources(struct run *run)
{
	if (run->core.drain.phase != PHASE_OPEN)
		return;
	run->sources_started = true;
	timer_stop(run->patience);
	for (size_t i = 0; i < run->n_sources; i++)
		run->sources[i]->ops->start(run->sources[i]);
}

static void patience_ended(void *arg)
{
	struct run *run = arg;
	for (size_t i = 0; i < run->settings->n_handlers; i++)
		if (run->executors[i]->width == 0)
			log_say(run->log, LOG_WARN,
				"handler not ready in time, its jobs will wait for it",
				kv_text("handler", run->executors[i]->name));
	start_sources(run);
	if (!run->sources_started && !phase_is_stopping(run->core.drain.phase))
		timer_start(run->patience, 1000); /* quiet */
}

/* Until the last of them must have said something. */
static void await_handlers(struct run *run)
{
	uint64_t longest_ms = 0;
	for (size_t i = 0; i < run->settings->n_handlers; i++) {
		const struct handler_settings *h = &run->settings->handlers[i];
		if (run->executors[i]->width == 0 && h->ready_timeout_ms > longest_ms)
			longest_ms = h->ready_timeout_ms;
	}
	if (!handlers_are_ready(run))
		timer_start(run->patience, longest_ms);
}

/* --- turns ----------------------------------------------------------------------------------- */

static void begin_jobs(void *arg)
{
	struct run *run = arg;
	if (!run->sources_started && handlers_are_ready(run))
		start_sources(run);
	core_begin_jobs(&run->core);
}

/* The core says when it must be called again; a timer that is already right is left alone. */
static void set_wake(struct run *run)
{
	uint64_t next_ns = core_next_ns(&run->core);
	if (next_ns == run->wake_ns)
		return;
	run->wake_ns = next_ns;
	if (next_ns == UINT64_MAX) {
		timer_stop(run->wake);
		return;
	}
	uint64_t now_ns = loop_now_ns(run->loop);
	uint64_t wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
	timer_start(run->wake, (wait_ns + 999999) / 1000000);
}

/* The drain ends a tenth of a second before its deadline by itself, report and all. On a machine that is busy it
 * may come to that a little late, and is not to be cut off for it. */
static uint64_t when_to_force(const struct run *run)
{
	enum { MAY_BE_LATE_MS = 200 };
	uint64_t deadline_ns = drain_deadline_ns(&run->core.drain);
	return deadline_ns == UINT64_MAX ? UINT64_MAX
					 : deadline_ns + MAY_BE_LATE_MS * UINT64_C(1000000);
}

static void follow_deadline(struct run *run)
{
	const struct drain *drain = &run->core.drain;
	if (!phase_is_stopping(drain->phase))
		return;
	if (run->guard == NULL)
		run->guard = exit_guard_start(run->log);
	exit_guard_set(run->guard, when_to_force(run), drain_exit_code_now(drain));
}

static void drain_turn_hook(void *arg)
{
	struct run *run = arg;
	core_drain_turn(&run->core);
	follow_deadline(run);
	if (core_is_closed(&run->core))
		loop_stop(run->loop);
	set_wake(run);
}

static void woke(void *arg)
{
	struct run *run = arg;
	run->wake_ns = UINT64_MAX; /* the hooks at the end of this turn do the work */
}

static enum status hook_turns(struct run *run, struct error *why)
{
	run->wake = timer_create_on(run->loop, woke, run);
	run->patience = timer_create_on(run->loop, patience_ended, run);
	if (run->wake == NULL || run->patience == NULL)
		return error_set(why, ST_NOMEM, "timer");
	run->wake_ns = UINT64_MAX;
	run->begin_jobs = (struct turn_hook){.run = begin_jobs, .arg = run};
	run->drain_turn = (struct turn_hook){.run = drain_turn_hook, .arg = run};
	loop_add_hook(run->loop, TURN_DISPATCH, &run->begin_jobs);
	loop_add_hook(run->loop, TURN_DRAIN, &run->drain_turn);
	run->hooked = true;
	return ST_OK;
}

/* --- parts ----------------------------------------------------------------------------------- */

static enum status build_plugin(struct run *run, size_t i, struct error *why)
{
	const struct settings *s = run->settings;
	const struct handler_settings *h = &s->handlers[i];
	struct executor_host *host = &run->core.executor_host;
	if (h->isolate == ISOLATE_PROCESS)
		return plugin_isolated_open(run->loop, run->log, s->log.level, run->children, h,
					    &s->worker, host, &run->isolated[i], &run->executors[i],
					    why);
	return plugin_executor_create(run->loop, run->log, h, &s->worker, host, &run->executors[i],
				      why);
}

static enum status build_handler(struct run *run, size_t i, struct error *why)
{
	const struct handler_settings *h = &run->settings->handlers[i];
	struct executor_host *host = &run->core.executor_host;
	enum status st = ST_INVALID;
	switch (h->type) {
	case HANDLER_EXEC:
		st = exec_executor_create(run->loop, run->log, run->children, h,
					  &run->settings->worker, host, &run->executors[i], why);
		break;
	case HANDLER_PLUGIN:
		st = build_plugin(run, i, why);
		break;
	case HANDLER_POOL:
		st = pool_executor_create(run->loop, run->log, run->children, h,
					  &run->settings->worker, host, &run->executors[i], why);
		break;
	case HANDLER_HTTP:
		st = http_executor_create(run->loop, run->log, h, &run->settings->worker, host,
					  &run->executors[i], why);
		break;
	case HANDLER_TYPES:
		must(false); /* no type: how many there are */
	}
	if (st != ST_OK)
		return error_add(why, st, "%s:%u: handler \"%s\"", h->place.file, h->place.line,
				 h->name);
	run->lanes[i] = roster_add_lane(&run->core.roster, run->executors[i], h->timeout_ms);
	if (run->lanes[i] == NULL)
		return error_set(why, ST_NOMEM, "handler \"%s\"", h->name);
	run->lanes[i]->rate.interval_ns = h->rate_interval_ns;
	run->lanes[i]->policy = h->deadline;
	run->lanes[i]->limit = h->concurrency;
	return ST_OK;
}

static enum status build_source(struct run *run, const struct source_settings *s, struct error *why)
{
	const struct source_kind *kind = source_kind_of(s->broker.schema);
	const struct source_parts parts = {run->loop, run->log, &run->settings->worker,
					   &run->core.source_host};
	struct source *source;
	enum status st = kind->create(&parts, s, &source, why);
	if (st == ST_OK) {
		run->sources[run->n_sources++] = source;
		roster_add_source(&run->core.roster, source);
		st = run_queues_build(&run->queues, kind, s, source, why);
	}
	if (st != ST_OK)
		return error_add(why, st, "%s:%u: %s \"%s\"", s->place.file, s->place.line,
				 kind->schema.section.name, s->name);
	return ST_OK;
}

static enum status build_admin(struct run *run, struct error *why)
{
	struct admin_worker worker = {
	    .core = &run->core,
	    .loop = run->loop,
	    .log = run->log,
	    .name = run->settings->worker.name,
	    .reloading = {ask_for_reload, answer_reload, run}
        };
	const struct admin_settings *s = &run->settings->admin;
	enum status st = admin_create(s, &worker, &run->admin, why);
	if (st != ST_OK)
		return error_add(why, st, "%s:%u", s->place.file, s->place.line);
	return ST_OK;
}

static enum status build_parts(struct run *run, struct error *why)
{
	const struct settings *s = run->settings;
	run->executors = memory_clear(s->n_handlers, sizeof *run->executors);
	run->isolated = memory_clear(s->n_handlers, sizeof *run->isolated);
	run->lanes = memory_clear(s->n_handlers, sizeof *run->lanes);
	run->sources = memory_clear(s->n_sources, sizeof *run->sources);
	if (run->executors == NULL || run->isolated == NULL || run->lanes == NULL ||
	    run->sources == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	run_queues_init(&run->queues, &run->core, run->settings, run->lanes);
	enum status st = watch_signals(run, why);
	if (st == ST_OK)
		st = hook_turns(run, why);
	if (st == ST_OK)
		st = systemd_create(run->loop, run->log, &run->core, &run->systemd, why);
	if (st == ST_OK)
		st = build_admin(run, why);
	if (st == ST_OK)
		st = children_create(run->loop, run->log, &run->children, why);
	if (st == ST_OK)
		children_set_grace(run->children, s->drain.grace_ms);
	for (size_t i = 0; i < s->n_handlers && st == ST_OK; i++)
		st = build_handler(run, i, why);
	for (size_t i = 0; i < s->n_sources && st == ST_OK; i++)
		st = build_source(run, s->sources[i], why);
	return st;
}

/* --- start and end --------------------------------------------------------------------------- */

/* A shell in front takes the SIGTERM that is meant for us, and ends without passing it on. */
static void warn_of_shell(struct run *run)
{
	char path[64], command[256] = "";
	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)getppid());
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(command, 1, sizeof command - 1, f) : 0;
	if (f != NULL)
		(void)fclose(f);
	const char *base = strrchr(command, '/') != NULL ? strrchr(command, '/') + 1 : command;
	size_t first = strlen(command) + 1;
	bool shell =
	    strcmp(base, "sh") == 0 || strcmp(base, "bash") == 0 || strcmp(base, "dash") == 0;
	if (shell && first < n && strcmp(command + first, "-c") == 0)
		log_say(run->log, LOG_WARN,
			"started by a shell that may swallow SIGTERM: write \"exec outfall run\"",
			kv_int("parent", getppid()));
}

static void log_start(struct run *run)
{
	const struct settings *s = run->settings;
	const struct drain_settings *d = &s->drain;
	char limit[32] = "none";
	if (d->limit == DRAIN_LIMIT_AUTO)
		(void)snprintf(limit, sizeof limit, "auto"); /* what that is, kill_time tells */
	else if (d->limit == DRAIN_LIMIT_SET)
		(void)snprintf(limit, sizeof limit, "%.1fs", (double)d->timeout_ms / 1000);
	log_say(run->log, LOG_INFO, "worker started", kv_text("name", s->worker.name),
		kv_text("version", OUTFALL_VERSION), kv_int("pid", getpid()),
		kv_int("concurrency", s->worker.concurrency), kv_text("drain_timeout", limit));
}

static void destroy_sources(struct run *run)
{
	for (size_t i = 0; i < run->n_sources; i++) {
		list_remove(&run->sources[i]->in_roster); /* who looks now must not find it */
		run->sources[i]->ops->destroy(run->sources[i]);
	}
	run->n_sources = 0;
}

/* The last word to operators may take half of what was kept back for the exit itself. */
static void part_from_operators(struct run *run)
{
	uint64_t end_ns = run->core.drain.times.end_ns;
	uint64_t until_ns = UINT64_MAX;
	if (end_ns != UINT64_MAX)
		until_ns = end_ns + drain_exit_ns(&run->core.drain) / 2;
	admin_part(run->admin, until_ns);
}

/* From here on nobody listens to the drain's clock but the guard. A drain that had all the time in the world
 * gives what comes behind it as much as it would give jobs to stop, and to be given back. */
static void guard_the_rest(struct run *run, int code)
{
	const struct drain_settings *drain = &run->drain;
	uint64_t at_ns = when_to_force(run);
	if (at_ns == UINT64_MAX)
		at_ns = loop_now_ns(run->loop) +
			(drain->grace_ms + drain->reserve_ms) * UINT64_C(1000000);
	if (run->guard == NULL)
		run->guard = exit_guard_start(run->log);
	exit_guard_set(run->guard, at_ns, code);
	exit_guard_take_signals(run->guard);
}

/* Connections go first, so that what they could not settle is counted; then what is still held or
 * running; then the report is complete. Returns whether a handler is still at work. */
static bool finish(struct run *run)
{
	bool at_work = ledger_count(&run->core.ledger, JOB_RUNNING) > 0;
	core_abandon_rest(&run->core);
	const struct report *report = &run->core.drain.report;
	guard_the_rest(run, report_exit_code(report));
	drain_report_log(run->log, report);
	struct error why;
	const char *path = run->settings->drain.report;
	if (path != NULL &&
	    drain_report_write(report, path, run->settings->worker.name, &why) != ST_OK)
		log_say(run->log, LOG_WARN, "drain report not written", kv_why(&why));
	return at_work || run->core.stuck > 0;
}

static void destroy_executor(struct run *run, size_t i)
{
	if (run->executors[i] != NULL)
		run->executors[i]->ops->destroy(run->executors[i]);
	plugin_isolated_close(run->isolated[i]);
	run->executors[i] = NULL;
	run->isolated[i] = NULL;
}

/* Jobs that were taken off the ledger while they ran are still assigned to their lane. */
static void destroy_idle_executors(struct run *run)
{
	for (size_t i = 0; i < run->settings->n_handlers; i++)
		if (run->lanes[i]->assigned == 0)
			destroy_executor(run, i);
}

static void tear_down(struct run *run)
{
	admin_destroy(run->admin);
	systemd_destroy(run->systemd);
	kill_time_destroy(run->kill_time);
	destroy_sources(run);
	bool built = run->executors != NULL && run->isolated != NULL;
	for (size_t i = 0; built && i < run->settings->n_handlers; i++)
		destroy_executor(run, i);
	children_destroy(run->children);
	for (size_t i = 0; i < run->n_signals; i++)
		signal_watch_destroy(run->signals[i]);
	if (run->hooked) {
		loop_remove_hook(&run->begin_jobs);
		loop_remove_hook(&run->drain_turn);
	}
	timer_destroy(run->wake);
	timer_destroy(run->patience);
	core_fini(&run->core);
	if (run->queues.core != NULL)
		run_queues_fini(&run->queues);
	loop_destroy(run->loop);
	memory_free(run->executors);
	memory_free(run->isolated);
	memory_free(run->lanes);
	memory_free(run->sources);
	reload_fini(&run->reload);
}

static uint32_t random_seed(void)
{
	uint32_t seed = 0;
	if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
		seed = (uint32_t)getpid(); /* it only spreads retries */
	return seed;
}

static enum status find_kill_time(struct run *run, struct error *why)
{
	struct kill_time_parts parts = {
	    .loop = run->loop,
	    .log = run->log,
	    .settings = run->settings,
	    .core = &run->core,
	    .drain = &run->drain,
	    .extends = run->systemd != NULL,
	};
	return kill_time_create(&parts, &run->kill_time, why);
}

static int run_to_the_end(struct run *run)
{
	struct error why;
	log_start(run);
	warn_of_shell(run);
	if (find_kill_time(run, &why) != ST_OK)
		log_say(run->log, LOG_WARN, "kill time not looked for", kv_why(&why));
	await_handlers(run);
	loop_run(run->loop);
	guard_the_rest(run, drain_exit_code_now(&run->core.drain));
	destroy_sources(run);
	bool at_work = finish(run);
	int code = report_exit_code(&run->core.drain.report);
	part_from_operators(run);
	systemd_part(run->systemd, code);
	if (at_work || reload_is_reading(&run->reload)) {
		admin_destroy(run->admin); /* whose socket has a file */
		destroy_idle_executors(run);
		children_kill_all(run->children);
		_exit(code);
	}
	return code;
}

/* What this host refuses now, an address that another process has, it may not refuse the next time. */
static int exit_code_of(enum status st)
{
	switch (st) {
	case ST_INVALID:
		return EXIT_SETTINGS;
	case ST_REFUSED:
		return EXIT_REFUSED;
	default:
		return EXIT_INTERNAL;
	}
}

int run_worker(struct settings *settings, const char *path, struct log *log)
{
	struct run run = {.settings = settings, .log = log};
	run.reload = (struct reload){.path = path, .settings = settings, .log = log};
	run.reload.queues = (struct reload_queues){take_queue, drop_queue, &run};
	run.reload.calls = (struct reload_calls){may_reload, reload_ended, &run};
	struct error why;
	raise_descriptor_limit(settings);
	if (loop_create(&run.loop, &why) != ST_OK) {
		log_say(log, LOG_ERROR, "worker not started", kv_why(&why));
		return EXIT_INTERNAL;
	}
	run.reload.loop = run.loop;
	run.clock = (struct loop_clock){.clock.now_ns = loop_clock_now, .loop = run.loop};
	run.drain = settings->drain;
	core_init(&run.core, &run.clock.clock, log, settings->worker.concurrency, &run.drain,
		  random_seed());
	run.core.max_checkpoint_bytes = settings->worker.max_checkpoint_bytes;
	int code;
	enum status st = build_parts(&run, &why);
	if (st == ST_OK) {
		code = run_to_the_end(&run);
	} else {
		log_say(log, LOG_ERROR, "worker not started", kv_why(&why));
		code = exit_code_of(st);
		guard_the_rest(&run, code);
	}
	tear_down(&run);
	exit_guard_mute(run.guard);
	return code;
}
