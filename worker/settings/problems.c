#include "settings/problems.h"

#include "base/memory.h"
#include "base/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void add(struct problems *problems, struct place place, bool warning, const char *fmt,
		va_list ap)
{
	if (problems->count == PROBLEMS_MOST)
		return;
	struct problem *list =
	    memory_grow(problems->list, (problems->count + 1) * sizeof *problems->list);
	must(list != NULL);
	problems->list = list;
	struct problem *problem = &list[problems->count++];
	problem->place.file = memory_text(place.file);
	must(problem->place.file != NULL);
	problem->place.line = place.line;
	problem->warning = warning;
	(void)vsnprintf(problem->text, sizeof problem->text, fmt, ap); /* cut is fine */
	problems->errors += !warning;
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

void problems_forget(struct problems *problems, size_t keep)
{
	while (problems->count > keep) {
		struct problem *last = &problems->list[--problems->count];
		problems->errors -= !last->warning;
		memory_free((char *)(uintptr_t)last->place.file); /* ours, see add() */
	}
}

void problems_free(struct problems *problems)
{
	problems_forget(problems, 0);
	memory_free(problems->list);
	*problems = (struct problems){0};
}
