/* Three comparisons. Queues that came or went, against what the worker runs by: those are taken in or
 * dropped at once. Then with what was read last: what is live there and differs has changed now. Then again
 * with what the worker runs by: what is not live and differs is still waiting for a new worker.
 *
 * A section of retry policies is never waiting: a queue that is new brings its own along, and of
 * another it is said that its key `retry` takes a new worker. */
#include "commands/reload.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "loop/errand.h"
#include "settings/changes.h"
#include "settings/settings.h"
#include "sources/kind.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 400 };

struct names { /* as a JSON array holds them */
	struct text text;
	unsigned count;
};

struct telling {
	struct reload *reload;
	struct names changed, needs_restart;
};

static void list_name(struct names *names, const char *name)
{
	if (names->count++ > 0)
		text_put_literal(&names->text, ",");
	text_put_json(&names->text, span_text(name));
}

static void say(struct telling *t, enum log_level level, const char *event, const char *name,
		const char *why, struct place place)
{
	log_say(t->reload->log, level, event, kv_text("what", name), kv_text("why", why),
		kv_text("file", place.file), kv_int("line", place.line));
}

static void tell_changed(struct telling *t, const char *name, struct place place)
{
	list_name(&t->changed, name);
	say(t, LOG_INFO, "setting changed", name, NULL, place);
}

static void tell_restart(struct telling *t, const char *name, const char *why, struct place place)
{
	list_name(&t->needs_restart, name);
	say(t, LOG_WARN, "setting needs a restart", name, why, place);
}

/* --- queues --- */

static void name_queue(char *name, size_t size, const struct block *block, const char *what)
{
	char plain[NAME_BYTES - 16];
	struct change change = change_of_section(CHANGE_SECTION_CAME, block);
	change_name(&change, plain, sizeof plain);
	(void)snprintf(name, size, "%s%s", plain, what);
}

static void queue_went(void *arg, struct block *block)
{
	struct telling *t = arg;
	char name[NAME_BYTES];
	name_queue(name, sizeof name, block, " (removed)");
	tell_changed(t, name, block->place);
	t->reload->queues.drop(t->reload->queues.arg, block);
}

static void queue_came(void *arg, const struct block *block)
{
	struct telling *t = arg;
	char name[NAME_BYTES];
	struct error why;
	if (t->reload->queues.take(t->reload->queues.arg, block, &why) == ST_OK) {
		name_queue(name, sizeof name, block, " (added)");
		tell_changed(t, name, block->place);
	} else {
		name_queue(name, sizeof name, block, "");
		tell_restart(t, name, why.text, block->place);
	}
}

/* --- keys, and other sections --- */

static void change_seen_live(void *arg, const struct change *change)
{
	char name[NAME_BYTES];
	if (!change->live)
		return;
	change_name(change, name, sizeof name);
	tell_changed(arg, name, change->place);
}

static bool is_told_elsewhere(const struct change *change)
{
	return change->kind != CHANGE_KEY &&
	       (section_is_queue(change->section) || change->section == &section_retry);
}

static const char *why_restart(const struct change *change)
{
	switch (change->kind) {
	case CHANGE_SECTION_CAME:
		return "a section that is new takes a new worker";
	case CHANGE_SECTION_WENT:
		return "a section that is gone stays until there is a new worker";
	case CHANGE_KEY:
		break;
	}
	return "this takes a new worker";
}

static void change_seen_waiting(void *arg, const struct change *change)
{
	char name[NAME_BYTES];
	if (is_told_elsewhere(change) || change->live)
		return;
	change_name(change, name, sizeof name);
	tell_restart(arg, name, why_restart(change), change->place);
}

/* --- the whole --- */

static void answer(struct text *says, const struct telling *t)
{
	text_put_literal(says, "{\"status\":\"reloaded\",\"changed\":[");
	text_put(says, text_span(&t->changed.text));
	text_put_literal(says, "],\"needs_restart\":[");
	text_put(says, text_span(&t->needs_restart.text));
	text_put_literal(says, "]}\n");
}

/* What a file holds is no text of the configuration, so it is looked at by itself. */
static void tell_token(struct telling *t, const struct settings *last, const struct settings *now)
{
	const char *before = last->admin.token, *after = now->admin.token;
	if (before != NULL && after != NULL && strcmp(before, after) != 0)
		tell_changed(t, "the token in admin token_file", now->admin.place);
}

static void take_over(struct reload *reload, const struct settings *now, struct text *says)
{
	const struct settings *last = reload->latest != NULL ? reload->latest : reload->settings;
	struct telling t = {.reload = reload};
	const struct queue_changes queues = {queue_went, queue_came, &t};
	settings_compare_queues(reload->settings, now, &queues);
	settings_compare(last, now, change_seen_live, &t);
	tell_token(&t, last, now);
	settings_compare(reload->settings, now, change_seen_waiting, &t);
	settings_adopt(reload->settings, now);
	answer(says, &t);
	log_say(reload->log, LOG_INFO, "configuration reloaded", kv_text("file", reload->path),
		kv_int("changed", t.changed.count), kv_int("needs_restart", t.needs_restart.count));
	text_fini(&t.changed.text);
	text_fini(&t.needs_restart.text);
}

static void log_problems(struct log *log, const struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++) {
		const struct problem *p = &problems->list[i];
		log_say(log, p->warning ? LOG_WARN : LOG_ERROR, "configuration problem",
			kv_text("file", p->place.file), kv_int("line", p->place.line),
			kv_text("why", p->text));
	}
}

static enum status refuse(const struct problems *problems, struct error *why)
{
	for (size_t i = 0; i < problems->count; i++) {
		const struct problem *p = &problems->list[i];
		char line[16] = ""; /* of a file that cannot be read it has none */
		if (p->warning)
			continue;
		if (p->place.line != 0)
			(void)snprintf(line, sizeof line, ":%u", p->place.line);
		return error_set(why, ST_INVALID,
				 "nothing is changed: %zu error%s, the first at %s%s: %s",
				 problems->errors, problems->errors == 1 ? "" : "s", p->place.file,
				 line, p->text);
	}
	return error_set(why, ST_NOMEM, "nothing is changed: out of memory");
}

/* --- reading, on a thread ------------------------------------------------------------------------- */

/* All that the thread has: nothing of it is shared. */
struct reading {
	struct reload *reload; /* not the thread's to look at */
	struct errand *errand;
	char *path;
	struct settings_kept *before;
	enum status status;
	struct settings *now;
	struct problems problems;
};

static void reading_free(struct reading *reading)
{
	settings_destroy(reading->now);
	problems_free(&reading->problems);
	settings_kept_destroy(reading->before);
	memory_free(reading->path);
	memory_free(reading);
}

static void reading_run(void *arg)
{
	struct reading *r = arg;
	r->status = settings_load_again(source_kinds, r->path, r->before, &r->now, &r->problems);
}

static void reading_done(void *arg);

static void reading_drop(void *arg)
{
	reading_free(arg);
}

static struct reading *reading_start(struct reload *reload)
{
	static const struct errand_calls calls = {reading_run, reading_done, reading_drop};
	struct reading *r = memory_clear(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->reload = reload;
	r->path = memory_text(reload->path);
	r->before = settings_keep(reload->latest != NULL ? reload->latest : reload->settings);
	if (r->path != NULL && r->before != NULL)
		r->errand = errand_start(reload->loop, &calls, r);
	if (r->errand != NULL)
		return r;
	reading_free(r);
	return NULL;
}

/* --- one after the other -------------------------------------------------------------------------- */

static void end(struct reload *reload, enum status st)
{
	reload->status = st;
	reload->over = reload->begun;
	reload->calls.ended(reload->calls.arg, st, &reload->why, reload->state == RELOAD_IDLE);
}

static void begin(struct reload *reload)
{
	reload->begun++;
	reload->reading = reading_start(reload);
	reload->state = reload->reading != NULL ? RELOAD_READING : RELOAD_IDLE;
	if (reload->reading == NULL)
		end(reload, error_set(&reload->why, ST_NOMEM,
				      "nothing is changed: out of memory, or of threads"));
}

/* What was read becomes the latest, or its problems are told. */
static enum status use(struct reload *reload, struct reading *reading)
{
	text_fini(&reload->says);
	if (!reload->calls.may(reload->calls.arg, &reload->why))
		return reload->why.status;
	log_problems(reload->log, &reading->problems);
	if (reading->status != ST_OK)
		return refuse(&reading->problems, &reload->why);
	take_over(reload, reading->now, &reload->says);
	struct settings *before = reload->latest;
	reload->latest = reading->now;
	reading->now = before; /* freed with the reading */
	return ST_OK;
}

static void reading_done(void *arg)
{
	struct reading *reading = arg;
	struct reload *reload = reading->reload;
	bool again = reload->state == RELOAD_READING_AND_AGAIN;
	enum status st = use(reload, reading);
	reload->reading = NULL;
	reload->state = again ? RELOAD_READING : RELOAD_IDLE;
	end(reload, st); /* before what it replaced goes: somebody may still hold a text of that */
	reading_free(reading);
	if (again)
		begin(reload);
}

uint64_t reload_ask(struct reload *reload)
{
	if (reload->state == RELOAD_IDLE) {
		begin(reload);
		return reload->begun;
	}
	reload->state = RELOAD_READING_AND_AGAIN;
	return reload->begun + 1;
}

bool reload_answer(const struct reload *reload, uint64_t number, struct text *says,
		   enum status *ret_status, struct error *why)
{
	if (number > reload->over)
		return false;
	*ret_status = reload->status;
	if (reload->status == ST_OK)
		text_put(says, text_span(&reload->says));
	else
		*why = reload->why;
	return true;
}

bool reload_is_reading(const struct reload *reload)
{
	return reload->reading != NULL;
}

void reload_fini(struct reload *reload)
{
	if (reload->reading != NULL)
		errand_give_up(reload->reading->errand);
	reload->reading = NULL;
	reload->state = RELOAD_IDLE;
	text_fini(&reload->says);
	settings_destroy(reload->latest);
}
