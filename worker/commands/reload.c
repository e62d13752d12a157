/* Three comparisons. Queues that came or went, against what the worker runs by: those are taken in or
 * dropped at once. Then with what was read last: what is live there and differs has changed now. Then again
 * with what the worker runs by: what is not live and differs is still waiting for a new worker.
 *
 * A section of retry policies is never waiting: a queue that is new brings its own along, and of
 * another it is said that its key `retry` takes a new worker. */
#include "commands/reload.h"

#include "base/text.h"
#include "observe/log.h"
#include "settings/changes.h"
#include "settings/settings.h"

#include <stdio.h>

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
	       (change->section == SECTION_QUEUE || change->section == SECTION_LIST ||
		change->section == SECTION_RETRY);
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

static void take_over(struct reload *reload, const struct settings *now, struct text *says)
{
	const struct settings *last = reload->latest != NULL ? reload->latest : reload->settings;
	struct telling t = {.reload = reload};
	const struct queue_changes queues = {queue_went, queue_came, &t};
	settings_compare_queues(reload->settings, now, &queues);
	settings_compare(last, now, change_seen_live, &t);
	settings_compare(reload->settings, now, change_seen_waiting, &t);
	settings_adopt(reload->settings, now);
	if (says != NULL)
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

enum status reload_now(struct reload *reload, struct text *says, struct error *why)
{
	struct settings *now = NULL;
	struct problems problems = {0};
	const struct settings *before = reload->latest != NULL ? reload->latest : reload->settings;
	enum status st = settings_load_again(reload->path, before, &now, &problems);
	log_problems(reload->log, &problems);
	if (st != ST_OK) {
		st = refuse(&problems, why);
		problems_free(&problems);
		return st;
	}
	problems_free(&problems);
	take_over(reload, now, says);
	settings_destroy(reload->latest);
	reload->latest = now;
	return ST_OK;
}

void reload_fini(struct reload *reload)
{
	settings_destroy(reload->latest);
}
