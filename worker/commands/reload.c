/* Two comparisons. With what was read last: what is live there and differs has changed now. With what the
 * worker was started with: what is not live and differs is still waiting for a new worker, and a
 * limit that is higher than it was then cannot be reached. */
#include "commands/reload.h"

#include "base/text.h"
#include "observe/log.h"
#include "settings/changes.h"
#include "settings/settings.h"

#include <stdio.h>

enum { NAME_BYTES = 400 };

struct telling {
	struct log *log;
	struct text *says;
	unsigned count;
};

static void list_name(struct telling *t, const char *name)
{
	if (t->says != NULL && t->count > 0)
		text_put_literal(t->says, ",");
	if (t->says != NULL)
		text_put_json(t->says, span_text(name));
	t->count++;
}

static void tell_changed(void *arg, const struct change *change)
{
	struct telling *t = arg;
	char name[NAME_BYTES];
	if (!change->live)
		return;
	change_name(change, name, sizeof name);
	list_name(t, name);
	log_say(t->log, LOG_INFO, "setting changed", kv_text("what", name),
		kv_text("file", change->place.file), kv_int("line", change->place.line));
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
	return change->live ? "more at once than at the start takes a new worker"
			    : "this takes a new worker";
}

static void tell_restart(void *arg, const struct change *change)
{
	struct telling *t = arg;
	char name[NAME_BYTES];
	if (change->live && !change->grows)
		return;
	change_name(change, name, sizeof name);
	list_name(t, name);
	log_say(t->log, LOG_WARN, "setting needs a restart", kv_text("what", name),
		kv_text("why", why_restart(change)), kv_text("file", change->place.file),
		kv_int("line", change->place.line));
}

static void put(struct text *says, const char *text)
{
	if (says != NULL)
		text_put(says, span_text(text));
}

static void tell(struct reload *reload, const struct settings *now, struct text *says)
{
	const struct settings *last = reload->latest != NULL ? reload->latest : reload->settings;
	struct telling changed = {reload->log, says, 0}, restart = {reload->log, says, 0};
	put(says, "{\"status\":\"reloaded\",\"changed\":[");
	settings_compare(last, now, tell_changed, &changed);
	put(says, "],\"needs_restart\":[");
	settings_compare(reload->settings, now, tell_restart, &restart);
	put(says, "]}\n");
	log_say(reload->log, LOG_INFO, "configuration reloaded", kv_text("file", reload->path),
		kv_int("changed", changed.count), kv_int("needs_restart", restart.count));
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
	enum status st = settings_load(reload->path, &now, &problems);
	log_problems(reload->log, &problems);
	if (st != ST_OK) {
		st = refuse(&problems, why);
		problems_free(&problems);
		return st;
	}
	problems_free(&problems);
	tell(reload, now, says);
	settings_adopt(reload->settings, now);
	settings_destroy(reload->latest);
	reload->latest = now;
	return ST_OK;
}

void reload_fini(struct reload *reload)
{
	settings_destroy(reload->latest);
}
