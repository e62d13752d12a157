/* A drain that has begun keeps the times it began with: what is found out later comes too late for it.
 * That is a matter of the first milliseconds of a worker's life.
 *
 * What is warned of is what only shows with jobs in hand: a drain.timeout that the manager will not wait
 * for, a signal that is no drain, handlers whose jobs may run longer than a drain leaves them. That the
 * signal goes to the whole group is no reason to warn: children have groups of their own.
 *
 * How long jobs usually run nobody knows at the start. So this is looked at again now and then, in turns
 * that happen anyway, and said once for each queue where more than one job of ten did not fit. */
#include "managers/kill_time.h"

#include "base/duration.h"
#include "base/log.h"
#include "base/memory.h"
#include "core.h"
#include "drain/forecast.h"
#include "loop/loop.h"
#include "managers/supervisord.h"
#include "settings/settings.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KILL_MOST_MS  (UINT64_C(720) * 3600 * 1000) /* longer than that is for ever */
#define LOOK_EVERY_NS UINT64_C(5000000000)

enum { RUNS_LEAST = 10 }; /* fewer say nothing about what is usual */

struct kill_time {
	struct kill_time_parts parts;
	struct supervisord *supervisord; /* NULL: not asked */
	uint64_t known_ms;               /* 0: nothing is known */
	const char *from;
	struct turn_hook hook;
	uint64_t look_again_ns;
};

/* --- values ---------------------------------------------------------------------------------------- */

uint64_t kill_time_for_drain_ms(uint64_t kill_ms, uint64_t reserve_ms)
{
	uint64_t half_ms = (kill_ms + 1) / 2;
	return kill_ms > reserve_ms + half_ms ? kill_ms - reserve_ms : half_ms;
}

bool kill_time_parse(const char *text, uint64_t *ret_ms)
{
	char word[32];
	uint64_t seconds;
	size_t len = strcspn(text, " \t\r\n");
	if (len == 0 || len >= sizeof word)
		return false;
	memcpy(word, text, len);
	word[len] = '\0';
	if (!count_parse(word, &seconds))
		return duration_parse(word, ret_ms);
	*ret_ms = seconds < KILL_MOST_MS / 1000 ? seconds * 1000 : KILL_MOST_MS;
	return true;
}

static enum status read_file(const char *path, uint64_t *ret_ms, struct error *why)
{
	char line[64] = "";
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return error_system(why, errno, "%s", path);
	bool read = fgets(line, sizeof line, f) != NULL;
	(void)fclose(f); /* only read from */
	if (!read || !kill_time_parse(line, ret_ms))
		return error_set(why, ST_INVALID, "%s: its first line is no time like 60s", path);
	return ST_OK;
}

/* --- what follows ---------------------------------------------------------------------------------- */

static struct log_fact jobs_have(const struct kill_time *k)
{
	uint64_t ns = drain_time_for_jobs_ns(&k->parts.core->drain);
	return ns == UINT64_MAX ? kv_text("jobs_have_ms", NULL) : kv_ns("jobs_have_ms", ns);
}

static struct log_fact drain_timeout(const struct kill_time *k)
{
	const struct drain_settings *drain = k->parts.drain;
	return drain->limit == DRAIN_LIMIT_NONE
		   ? kv_text("drain_timeout_ms", "none")
		   : kv_int("drain_timeout_ms", (int64_t)drain->timeout_ms);
}

static void warn_of_timeout(const struct kill_time *k)
{
	const struct drain_settings *drain = k->parts.drain;
	if (drain->limit == DRAIN_LIMIT_SET && drain->timeout_ms <= k->known_ms)
		return;
	log_say(k->parts.log, LOG_WARN,
		"drain.timeout is longer than the process manager waits, it will kill the worker "
		"before: make it shorter, or \"auto\"",
		drain_timeout(k), kv_int("kill_after_ms", (int64_t)k->known_ms),
		kv_text("from", k->from));
}

static void warn_of_handlers(const struct kill_time *k)
{
	const struct settings *s = k->parts.settings;
	uint64_t jobs_ns = drain_time_for_jobs_ns(&k->parts.core->drain);
	for (size_t i = 0; i < s->n_handlers; i++) {
		const struct handler_settings *h = &s->handlers[i];
		if (h->deadline == POLICY_RETURN || h->timeout_ms <= jobs_ns / 1000000)
			continue;
		log_say(k->parts.log, LOG_WARN,
			"jobs of a handler may run longer than a stop leaves them, they would be "
			"interrupted and returned",
			kv_text("handler", h->name), kv_int("timeout_ms", (int64_t)h->timeout_ms),
			jobs_have(k));
	}
}

static void look_at_usual(const struct kill_time *k, struct route *route, uint64_t jobs_ns)
{
	struct forecast_runs runs = forecast_longer(route, jobs_ns);
	if (route->told_too_long || runs.all < RUNS_LEAST || runs.longer * 10 <= runs.all ||
	    route->lane->policy == POLICY_RETURN)
		return;
	route->told_too_long = true;
	log_say(k->parts.log, LOG_WARN,
		"jobs of a queue usually run longer than a stop leaves them, they would be "
		"interrupted and returned",
		kv_text("source", route->source_name), kv_text("queue", route->name),
		kv_int("longer", (int64_t)runs.longer), kv_int("of", (int64_t)runs.all),
		jobs_have(k));
}

static void turned(void *arg)
{
	struct kill_time *k = arg;
	const struct core *core = k->parts.core;
	uint64_t now_ns = loop_now_ns(k->parts.loop);
	if (now_ns < k->look_again_ns || phase_is_stopping(core->drain.phase))
		return;
	k->look_again_ns = now_ns + LOOK_EVERY_NS;
	uint64_t jobs_ns = drain_time_for_jobs_ns(&core->drain);
	list_each (it, &core->roster.routes)
		look_at_usual(k, list_entry(it, struct route, in_roster), jobs_ns);
}

static void look_anew(const struct kill_time *k)
{
	list_each (it, &k->parts.core->roster.routes)
		list_entry(it, struct route, in_roster)->told_too_long = false;
}

static void put_in(const struct kill_time *k)
{
	struct drain_settings *drain = k->parts.drain;
	if (drain->limit == DRAIN_LIMIT_AUTO)
		drain->timeout_ms = kill_time_for_drain_ms(k->known_ms, drain->reserve_ms);
}

void kill_time_apply(const struct kill_time *k)
{
	if (k == NULL)
		return;
	look_anew(k);
	if (k->known_ms == 0) {
		warn_of_handlers(k);
		return;
	}
	put_in(k);
	if (k->parts.drain->limit != DRAIN_LIMIT_AUTO)
		warn_of_timeout(k);
	warn_of_handlers(k);
}

/* Returns whether it is the shortest so far. */
static bool found(struct kill_time *k, uint64_t ms, const char *from)
{
	ms = ms > KILL_MOST_MS ? KILL_MOST_MS : ms;
	ms = ms == 0 ? 1 : ms; /* killed at once: known, and hardly a time */
	if (k->known_ms != 0 && k->known_ms <= ms)
		return false;
	k->known_ms = ms;
	k->from = from;
	put_in(k);
	return true;
}

/* --- supervisord ----------------------------------------------------------------------------------- */

static void warn_of_signal(const struct kill_time *k, int signum)
{
	const char *name = sigabbrev_np(signum);
	if (signum == SIGTERM || signum == SIGINT)
		return;
	log_say(k->parts.log, LOG_WARN,
		signum == SIGQUIT ? "stopsignal=QUIT is no drain, running jobs would be killed and "
				    "returned: use stopsignal=TERM"
				  : "stopsignal is none that drains: use stopsignal=TERM",
		kv_text("stopsignal", name != NULL ? name : "?"));
}

static const char *group_text(enum supervisord_group group)
{
	switch (group) {
	case GROUP_SPARED:
		return "no";
	case GROUP_TOO:
		return "yes";
	case GROUP_UNKNOWN:
		break;
	}
	return NULL;
}

/* Its socket is usually root's alone: then somebody else must say it, and often has. */
static void refused(const struct kill_time *k, const struct error *why)
{
	if (k->known_ms != 0)
		log_say(k->parts.log, LOG_INFO, "supervisord did not say how long it waits",
			kv_text("from", k->from), drain_timeout(k), kv_why(why));
	else
		log_say(k->parts.log, LOG_WARN,
			"supervisord did not say how long it waits, set OUTFALL_STOP_TIMEOUT to "
			"its stopwaitsecs",
			drain_timeout(k), kv_why(why));
	if (k->known_ms == 0)
		warn_of_handlers(k);
}

static void answered(void *arg, const struct supervisord_program *program, const struct error *why)
{
	struct kill_time *k = arg;
	if (phase_is_stopping(k->parts.core->drain.phase))
		return;
	if (program == NULL) {
		refused(k, why);
		return;
	}
	uint64_t ms = program->stopwaitsecs < KILL_MOST_MS / 1000 ? program->stopwaitsecs * 1000
								  : KILL_MOST_MS;
	bool shortest = found(k, ms, "supervisord");
	log_say(k->parts.log, LOG_INFO, "kill time found", kv_text("from", "supervisord"),
		kv_int("kill_after_ms", (int64_t)ms),
		kv_text("stopsignal", sigabbrev_np(program->stopsignal)),
		kv_text("stopasgroup", group_text(program->stop)), drain_timeout(k), jobs_have(k));
	warn_of_signal(k, program->stopsignal);
	if (shortest)
		kill_time_apply(k);
}

static bool is_under_supervisord(void)
{
	return getenv("SUPERVISOR_PROCESS_NAME") != NULL && getenv("SUPERVISOR_SERVER_URL") != NULL;
}

static enum status ask_supervisord(struct kill_time *k, struct error *why)
{
	const struct supervisord_question question = {
	    .url = getenv("SUPERVISOR_SERVER_URL"),
	    .group = getenv("SUPERVISOR_GROUP_NAME"),
	    .process = getenv("SUPERVISOR_PROCESS_NAME"),
	    .user = getenv("SUPERVISOR_USERNAME"),
	    .password = getenv("SUPERVISOR_PASSWORD"),
	    .answered = answered,
	    .arg = k,
	};
	enum status st = supervisord_ask(k->parts.loop, &question, &k->supervisord, why);
	if (st == ST_NOMEM)
		return st;
	if (st != ST_OK) {
		(void)error_add(why, st, "SUPERVISOR_SERVER_URL");
		answered(k, NULL, why);
	}
	return ST_OK;
}

/* --- what is told without asking ------------------------------------------------------------------- */

static void ignore(const struct kill_time *k, const char *what, const struct error *why)
{
	log_say(k->parts.log, LOG_WARN, "kill time not readable, ignoring it",
		kv_text("from", what), kv_why(why));
}

static void look_in_file(struct kill_time *k)
{
	struct error why;
	uint64_t ms;
	const char *path = k->parts.drain->deadline_file;
	if (path == NULL)
		return;
	if (read_file(path, &ms, &why) == ST_OK)
		(void)found(k, ms, "deadline_file");
	else
		ignore(k, "deadline_file", &why);
}

static void look_in_environment(struct kill_time *k)
{
	struct error why;
	uint64_t ms;
	const char *text = getenv("OUTFALL_STOP_TIMEOUT");
	if (text == NULL)
		return;
	if (kill_time_parse(text, &ms)) {
		(void)found(k, ms, "OUTFALL_STOP_TIMEOUT");
	} else {
		(void)error_set(&why, ST_INVALID, "\"%.40s\" is no time like 60s", text);
		ignore(k, "OUTFALL_STOP_TIMEOUT", &why);
	}
}

static void log_unknown(const struct kill_time *k)
{
	const char *why = "no process manager has said";
	if (k->parts.extends)
		why = "systemd is asked for more time as the drain needs it";
	else if (getenv("KUBERNETES_SERVICE_HOST") != NULL)
		why = "Kubernetes does not tell terminationGracePeriodSeconds: set "
		      "OUTFALL_STOP_TIMEOUT to it";
	else if (getenv("INVOCATION_ID") != NULL)
		why = "systemd tells TimeoutStopSec to nobody: use Type=notify, or set "
		      "OUTFALL_STOP_TIMEOUT to it";
	log_say(k->parts.log, LOG_INFO, "kill time not known", drain_timeout(k), jobs_have(k),
		kv_text("why", why));
}

static void look_around(struct kill_time *k)
{
	look_in_file(k);
	look_in_environment(k);
	if (k->known_ms != 0) {
		log_say(k->parts.log, LOG_INFO, "kill time found", kv_text("from", k->from),
			kv_int("kill_after_ms", (int64_t)k->known_ms), drain_timeout(k),
			jobs_have(k));
		kill_time_apply(k);
	} else if (!is_under_supervisord()) {
		log_unknown(k);
		warn_of_handlers(k);
	}
}

enum status kill_time_create(const struct kill_time_parts *parts, struct kill_time **ret_kill_time,
			     struct error *why)
{
	struct kill_time *k = memory_clear(1, sizeof *k);
	if (k == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	k->parts = *parts;
	k->hook = (struct turn_hook){.run = turned, .arg = k};
	loop_add_hook(k->parts.loop, TURN_DRAIN, &k->hook);
	look_around(k);
	enum status st = is_under_supervisord() ? ask_supervisord(k, why) : ST_OK;
	if (st != ST_OK)
		kill_time_destroy(k);
	else
		*ret_kill_time = k;
	return st;
}

void kill_time_destroy(struct kill_time *k)
{
	if (k == NULL)
		return;
	loop_remove_hook(&k->hook);
	supervisord_destroy(k->supervisord);
	memory_free(k);
}
