/* Names are short and few, so each is printed on its own into a part of one allocation that is large
 * enough for the longest of them. */
#include "sources/redis/redis_list_keys.h"

#include "base/memory.h"
#include "base/must.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { KEYS = 15, LONGEST_PART = sizeof "{}:checkpoints" };

/* Redis' rule: the first "{", and at least one byte before the next "}". */
static bool has_tag(const char *name)
{
	const char *open = strchr(name, '{');
	const char *close = open != NULL ? strchr(open, '}') : NULL;
	return close != NULL && close > open + 1;
}

struct printer {
	char *at, *end;
};

static const char *print(struct printer *p, const char *begin, const char *end)
{
	const char *text = p->at;
	int len = snprintf(p->at, (size_t)(p->end - p->at), "%s%s", begin, end);
	must(len >= 0 && len < p->end - p->at);
	p->at += len + 1;
	return text;
}

/* What all derived keys of a list begin with. */
static const char *print_stem(struct printer *p, const char *list)
{
	const char *stem = p->at;
	if (has_tag(list))
		return print(p, list, "::");
	*p->at++ = '{';
	(void)print(p, list, "}:");
	return stem;
}

static void print_all(struct printer *p, struct redis_keys *keys, const char *list,
		      const char *dead)
{
	const char *stem = print_stem(p, list);
	keys->list = print(p, list, "");
	keys->seq = print(p, stem, "seq");
	keys->delayed = print(p, stem, "delayed");
	keys->returned = print(p, stem, "returned");
	keys->checkpoints = print(p, stem, "checkpoints");
	keys->workers = print(p, stem, "workers");
	keys->clients = print(p, stem, "clients");
	keys->held_of = print(p, stem, "held:");
	keys->wake_of = print(p, stem, "wake:");
	keys->spare = print(p, stem, "dead");
	keys->dead = dead != NULL ? print(p, dead, "") : keys->spare;
	keys->notes = print(p, keys->dead, ":notes");
}

enum status redis_keys_init(struct redis_keys *keys, const char *list, const char *dead,
			    const char *worker)
{
	size_t longest = strlen(list) + LONGEST_PART + (worker != NULL ? strlen(worker) : 0) +
			 (dead != NULL ? strlen(dead) : 0);
	char *text = memory_take(longest * KEYS);
	if (text == NULL)
		return ST_NOMEM;
	struct printer p = {.at = text, .end = text + longest * KEYS};
	*keys = (struct redis_keys){.text = text};
	print_all(&p, keys, list, dead);
	if (worker != NULL) {
		keys->held = print(&p, keys->held_of, worker);
		keys->wake = print(&p, keys->wake_of, worker);
	}
	return ST_OK;
}

void redis_keys_fini(struct redis_keys *keys)
{
	memory_free(keys->text);
	*keys = (struct redis_keys){0};
}
