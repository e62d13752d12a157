#include "settings/problems.h"

#include "base/memory.h"
#include "base/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where the next one goes. An error takes the place of a warning when there are too many; NULL: too many
 * errors. */
static struct problem *make_room(struct problems *problems, bool warning)
{
	if (problems->count < PROBLEMS_MOST) {
		size_t bytes = (problems->count + 1) * sizeof *problems->list;
		struct problem *list = memory_grow(problems->list, bytes);
		must(list != NULL); /* region.h says why */
		problems->list = list;
		return &list[problems->count++];
	}
	for (size_t i = problems->count; i-- > 0 && !warning;) {
		if (!problems->list[i].warning)
			continue;
		memory_free((char *)(uintptr_t)problems->list[i].place.file);
		return &problems->list[i];
	}
	return NULL;
}

/* An error counts also past the last that is told: what has one must not be run. */
static void add(struct problems *problems, struct place place, bool warning, const char *fmt,
		va_list ap)
{
	problems->errors += !warning;
	struct problem *problem = make_room(problems, warning);
	if (problem == NULL)
		return;
	problem->place.file = memory_text(place.file);
	must(problem->place.file != NULL);
	problem->place.line = place.line;
	problem->warning = warning;
	(void)vsnprintf(problem->text, sizeof problem->text, fmt, ap); /* cut is fine */
}

void problems_error(struct problems *problems, struct place place, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	add(problems, place, false, fmt, ap);
	va_end(ap);
}

void problems_warn(struct problems *problems, struct place place, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	add(problems, place, true, fmt, ap);
	va_end(ap);
}

static bool belongs_after(const struct problem *a, const struct problem *b, const char *first_file)
{
	int by_file = strcmp(a->place.file, b->place.file);
	if (by_file == 0)
		return a->place.line > b->place.line;
	if (strcmp(a->place.file, first_file) == 0)
		return false;
	return strcmp(b->place.file, first_file) == 0 || by_file > 0;
}

/* Insertion: stable, and the list is short. */
void problems_sort(struct problems *problems, const char *first_file)
{
	for (size_t i = 1; i < problems->count; i++) {
		struct problem moving = problems->list[i];
		size_t at = i;
		for (; at > 0 && belongs_after(&problems->list[at - 1], &moving, first_file); at--)
			problems->list[at] = problems->list[at - 1];
		problems->list[at] = moving;
	}
}

void problems_free(struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		memory_free((char *)(uintptr_t)problems->list[i].place.file); /* ours, see add() */
	memory_free(problems->list);
	*problems = (struct problems){0};
}
