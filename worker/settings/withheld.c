/* Only what can be a secret counts, so that ${REDIS_HOST} in an address is still every handler's: of a URL
 * its password and its query, of an http handler's headers everything. */
#include "settings/withheld.h"

#include "base/memory.h"
#include "base/must.h"

#include <stdlib.h>
#include <string.h>

/* Nobody keeps a secret in these, and a program without them may be lost. */
static const char *const harmless[] = {"HOSTNAME", "HOME",   "LANG", "LOGNAME", "PATH",
				       "PWD",      "TMPDIR", "TZ",   "USER"};

static bool is_harmless(const char *name)
{
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (strcmp(harmless[i], name) == 0)
			return true;
	return false;
}

struct names {
	struct region *region;
	const char **list;
	size_t n, room;
};

static bool is_listed(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->list[i], name) == 0)
			return true;
	return false;
}

static void add(struct names *names, const char *name)
{
	if (is_harmless(name) || is_listed(names, name))
		return;
	if (names->n + 1 >= names->room) {
		size_t room = 2 * names->room + 8;
		const char **list = region_take(names->region, room * sizeof *list);
		if (names->n > 0)
			memcpy(list, names->list, names->n * sizeof *list);
		names->list = list;
		names->room = room;
	}
	names->list[names->n++] = name;
}

/* Which bytes of a text are secret. */
struct stretch {
	size_t begin, end;
};

static bool touches(const struct expansion *expansion, struct stretch stretch)
{
	return expansion->begin < stretch.end && stretch.begin < expansion->end;
}

/* Nothing, where there is none; all of it, where it is no address. */
static struct stretch password_of(const char *url)
{
	const char *login = strstr(url, "://");
	if (login == NULL)
		return (struct stretch){0, strlen(url)};
	login += 3;
	const char *at = memrchr(login, '@', strcspn(login, "/?"));
	const char *colon = at != NULL ? memchr(login, ':', (size_t)(at - login)) : NULL;
	if (colon == NULL)
		return (struct stretch){0, 0};
	return (struct stretch){(size_t)(colon - url), (size_t)(at - url)};
}

static struct stretch query_of(const char *url)
{
	const char *query = strchr(url, '?');
	if (query == NULL)
		return (struct stretch){0, 0};
	return (struct stretch){(size_t)(query - url), strlen(url)};
}

static bool is_secret(const struct key_row *row, const char *text,
		      const struct expansion *expansion)
{
	if (row->secret == SECRET_WHOLE)
		return true;
	return touches(expansion, password_of(text)) || touches(expansion, query_of(text));
}

static void look_at(struct names *names, const struct key_row *row, const struct said *said)
{
	if (row->secret != SECRET_URL && row->secret != SECRET_WHOLE)
		return;
	for (size_t i = 0; i < said->n; i++)
		for (const struct expansion *e = said->expansions[i]; e != NULL; e = e->next)
			if (is_secret(row, said->texts[i], e))
				add(names, e->name);
}

const char **withheld_find(const struct document *document, struct region *region)
{
	struct names names = {.region = region};
	for (const struct block *b = document->first; b != NULL; b = b->next)
		for (size_t i = 0; i < section_n_keys(b->section); i++)
			look_at(&names, section_key(b->section, i), &b->said[i]);
	if (names.list == NULL)
		names.list = region_take(region, sizeof *names.list);
	return names.list; /* NULL stands behind the last: regions are cleared */
}

void withheld_hide(const char *const *names)
{
	for (; *names != NULL; names++) {
		char *value = getenv(*names);
		char *copy = value != NULL ? memory_text(value) : NULL;
		if (copy == NULL)
			continue;
		/* A failure leaves it where it was, and then it must stay as it was. */
		if (setenv(*names, copy, 1) == 0 && getenv(*names) != value)
			explicit_bzero(value, strlen(value));
		explicit_bzero(copy, strlen(copy));
		memory_free(copy);
	}
}
