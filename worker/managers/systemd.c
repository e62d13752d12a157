/* What there is to say follows from the core alone, so there is nothing to be called about: at the end
 * of a turn we look, compare with what was told, and tell the difference. A busy worker has thousands of
 * turns a second, so we look ten times a second at most, and at once when the phase has changed; an idle
 * one has no turns, and then nothing has changed. What was not taken counts as not told, and is told a
 * second later.
 *
 * The watchdog is a timer on the loop: a loop that hangs does not feed it. One that turns while a handler
 * will never run another job does not feed it either (health.h), for only a new process helps then.
 *
 * A drain has a deadline of its own, and systemd's must not come first. Each second it is asked for
 * EXTEND_S more, never past the drain's deadline: a worker that hangs is killed that much later. */
#include "managers/systemd.h"

#include "base/duration.h"
#include "base/log.h"
#include "base/memory.h"
#include "core.h"
#include "loop/loop.h"
#include "managers/notify.h"
#include "observe/health.h"
#include "observe/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS_NS     UINT64_C(1000000)
#define SECOND_NS (1000 * MS_NS)
#define LOOK_NS   (100 * MS_NS)

enum { EXTEND_S = 10, SENTENCE = 600 };

struct systemd {
	struct loop *loop;
	struct log *log;
	const struct core *core;
	struct notify notify;
	struct turn_hook hook;
	bool hooked;
	struct timer *again; /* only brings about a turn */
	uint64_t next_look_ns;
	enum phase looked_at; /* the phase, at the last look */
	struct timer *watchdog;
	uint64_t watchdog_ms; /* 0: none */
	bool stuck;           /* the watchdog is not told any more */

	/* what was told */
	bool ready, stopping;
	enum phase phase;
	char sentence[SENTENCE];
	uint64_t sentence_ns, extended_ns; /* when */
};

static struct view view_of(const struct systemd *s, uint64_t now_ns)
{
	return (struct view){.core = s->core, .now_ns = now_ns};
}

/* --- sentences ------------------------------------------------------------------------------------- */

static void describe_drain(const struct systemd *s, char *sentence)
{
	const struct drain *drain = &s->core->drain;
	char waiting_for[SENTENCE - 80];
	drain_blockers_text(drain, waiting_for, sizeof waiting_for);
	(void)snprintf(sentence, SENTENCE, "Draining, %s: waiting for %s", phase_name(drain->phase),
		       waiting_for);
}

/* `why`: it is not ready. */
static void describe(const struct systemd *s, bool ready, const struct text *why, char *sentence)
{
	enum phase phase = s->core->drain.phase;
	if (phase_is_stopping(phase))
		describe_drain(s, sentence);
	else if (s->stuck)
		(void)snprintf(sentence, SENTENCE, "Stuck: a handler will run no other job");
	else if (phase == PHASE_QUIET)
		(void)snprintf(sentence, SENTENCE, "Quiet: takes no jobs until it is resumed");
	else if (ready)
		(void)snprintf(sentence, SENTENCE, "Taking jobs");
	else
		(void)snprintf(sentence, SENTENCE, "Not ready: %.*s", (int)why->len, why->bytes);
}

/* The time that jobs have run is in there, so in a drain it is another one each time. */
static bool is_worth_telling(const struct systemd *s, const char *sentence, uint64_t now_ns)
{
	if (strcmp(sentence, s->sentence) == 0)
		return false;
	return s->core->drain.phase != s->phase || !phase_is_stopping(s->phase) ||
	       now_ns - s->sentence_ns >= SECOND_NS;
}

/* --- telling --------------------------------------------------------------------------------------- */

/* A second over the deadline is for the exit itself. 0: its time is up. */
static uint64_t extension_us(const struct systemd *s, uint64_t now_ns)
{
	uint64_t end_ns = s->core->drain.times.end_ns;
	uint64_t most_us = EXTEND_S * UINT64_C(1000000);
	if (end_ns == UINT64_MAX)
		return most_us;
	if (now_ns >= end_ns)
		return 0;
	uint64_t left_us = (end_ns - now_ns + SECOND_NS) / 1000;
	return left_us < most_us ? left_us : most_us;
}

static bool put_extension(const struct systemd *s, uint64_t now_ns, struct text *lines)
{
	bool due = phase_is_stopping(s->core->drain.phase) &&
		   (s->extended_ns == 0 || now_ns - s->extended_ns >= SECOND_NS - LOOK_NS);
	uint64_t more_us = due ? extension_us(s, now_ns) : 0;
	if (more_us > 0)
		text_print(lines, "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n", more_us);
	return more_us > 0;
}

static bool say(const struct systemd *s, const struct text *lines)
{
	return lines->len == 0 || (!lines->failed && notify_send(&s->notify, text_span(lines)));
}

/* Returns whether all was told. */
static bool tell(struct systemd *s, bool ready, const char *sentence, uint64_t now_ns)
{
	enum phase phase = s->core->drain.phase;
	struct text lines = {0};
	bool stopping = phase_is_stopping(phase);
	bool news = is_worth_telling(s, sentence, now_ns);
	if (ready && !s->ready)
		text_put_literal(&lines, "READY=1\n");
	if (stopping && !s->stopping)
		text_put_literal(&lines, "STOPPING=1\n");
	bool extended = put_extension(s, now_ns, &lines);
	if (news)
		notify_put_status(&lines, span_text(sentence));
	bool told = say(s, &lines);
	text_fini(&lines);
	if (!told)
		return false;
	s->ready |= ready;
	s->stopping |= stopping;
	s->phase = phase;
	if (extended)
		s->extended_ns = now_ns;
	if (news) {
		(void)snprintf(s->sentence, sizeof s->sentence, "%s", sentence);
		s->sentence_ns = now_ns;
	}
	return true;
}

static bool look(struct systemd *s, uint64_t now_ns)
{
	struct view view = view_of(s, now_ns);
	struct text why = {0};
	char sentence[SENTENCE];
	bool ready = health_is_ready(&view, &why);
	describe(s, ready, &why, sentence);
	text_fini(&why);
	return tell(s, ready, sentence, now_ns);
}

static void turned(void *arg)
{
	struct systemd *s = arg;
	uint64_t now_ns = loop_now_ns(s->loop);
	if (now_ns >= s->next_look_ns || s->core->drain.phase != s->looked_at) {
		s->looked_at = s->core->drain.phase;
		bool told = look(s, now_ns);
		s->next_look_ns = now_ns + (told ? LOOK_NS : SECOND_NS);
		if (told)
			return;
	}
	if (!timer_armed(s->again))
		timer_start(s->again, (s->next_look_ns - now_ns) / MS_NS + 1);
}

static void bring_about_a_turn(void *arg)
{
	(void)arg; /* turned() is called at its end */
}

/* --- watchdog -------------------------------------------------------------------------------------- */

static void feed_watchdog(void *arg)
{
	struct systemd *s = arg;
	struct view view = view_of(s, loop_now_ns(s->loop));
	struct text why = {0};
	bool alive = health_is_alive(&view, &why);
	if (alive)
		(void)notify_send(&s->notify, span_text("WATCHDOG=1\n")); /* the next is near */
	else if (!s->stuck)
		log_say(s->log, LOG_ERROR, "watchdog not told, the worker is to be started anew",
			kv_span("why", text_span(&why)));
	s->stuck = !alive;
	text_fini(&why);
	timer_start(s->watchdog, s->watchdog_ms);
}

/* Meant for us, if it says for whom: a shell in front may have passed it on. 0: none. */
static uint64_t watchdog_wish_ms(void)
{
	const char *wish = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t us, whose;
	if (wish == NULL || !count_parse(wish, &us) || us == 0)
		return 0;
	if (pid != NULL && (!count_parse(pid, &whose) || whose != (uint64_t)getpid()))
		return 0;
	return us / 2000 > 0 ? us / 2000 : 1;
}

/* --- reloading ------------------------------------------------------------------------------------- */

/* A worker that is still starting is not called reloading: READY=1 would end that, too. */
void systemd_reloading(const struct systemd *s)
{
	struct text lines = {0};
	if (s == NULL || !s->ready)
		return;
	text_print(&lines, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
		   loop_now_ns(s->loop) / 1000);
	(void)say(s, &lines); /* not taken: then it is only not seen */
	text_fini(&lines);
}

void systemd_reloaded(struct systemd *s)
{
	if (s != NULL && s->ready) /* not taken: then at the next look */
		s->ready = notify_send(&s->notify, span_text("READY=1\n"));
}

/* --- life ------------------------------------------------------------------------------------------ */

static void forget_environment(void)
{
	static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)unsetenv(names[i]); /* fails for a name with '=' only */
}

static enum status begin(struct systemd *s, struct error *why)
{
	s->again = timer_create_on(s->loop, bring_about_a_turn, s);
	s->watchdog = timer_create_on(s->loop, feed_watchdog, s);
	if (s->again == NULL || s->watchdog == NULL)
		return error_set(why, ST_NOMEM, "service manager: out of memory");
	s->phase = s->looked_at = s->core->drain.phase;
	s->hook = (struct turn_hook){.run = turned, .arg = s};
	loop_add_hook(s->loop, TURN_DRAIN, &s->hook);
	s->hooked = true;
	if (s->watchdog_ms > 0)
		timer_start(s->watchdog, 0);
	return ST_OK;
}

/* A worker that cannot speak of itself works all the same. */
static enum status create(struct systemd *s, const char *where, struct systemd **ret_systemd,
			  struct error *why)
{
	if (notify_open(&s->notify, where, why) != ST_OK) {
		log_say(s->log, LOG_WARN, "service manager cannot be told, ignoring NOTIFY_SOCKET",
			kv_why(why));
		memory_free(s);
		return ST_OK;
	}
	enum status st = begin(s, why);
	if (st != ST_OK)
		systemd_destroy(s);
	else
		*ret_systemd = s;
	return st;
}

enum status systemd_create(struct loop *loop, struct log *log, const struct core *core,
			   struct systemd **ret_systemd, struct error *why)
{
	const char *where = getenv("NOTIFY_SOCKET");
	*ret_systemd = NULL;
	if (where == NULL || where[0] == '\0')
		return ST_OK;
	struct systemd *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return error_set(why, ST_NOMEM, "service manager: out of memory");
	s->loop = loop;
	s->log = log;
	s->core = core;
	s->watchdog_ms = watchdog_wish_ms();
	enum status st = create(s, where, ret_systemd, why);
	forget_environment();
	return st;
}

void systemd_destroy(struct systemd *s)
{
	if (s == NULL)
		return;
	if (s->hooked)
		loop_remove_hook(&s->hook);
	timer_destroy(s->again);
	timer_destroy(s->watchdog);
	notify_close(&s->notify);
	memory_free(s);
}

void systemd_part(struct systemd *s, int exit_code)
{
	char sentence[SENTENCE];
	struct text lines = {0};
	if (s == NULL)
		return;
	(void)snprintf(sentence, sizeof sentence, "Drained: %s, exit code %d",
		       s->core->drain.report.why, exit_code);
	if (!s->stopping)
		text_put_literal(&lines, "STOPPING=1\n");
	notify_put_status(&lines, span_text(sentence));
	(void)say(s, &lines); /* there is no later */
	text_fini(&lines);
}
