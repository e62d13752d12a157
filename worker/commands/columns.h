/* columns - a table for people: cells in the order they are put, each column as wide as its widest.
 *
 * Thread: main's.
 * Owns:   copies of the cells, until columns_fini().
 * Units:  letters.
 * Fails:  never: cells for which there is no memory are empty.
 *
 * What cells hold may come from strangers (a job's id, its note): what a terminal would obey is
 * replaced. */
#ifndef OUTFALL_COMMANDS_COLUMNS_H
#define OUTFALL_COMMANDS_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { COLUMNS_MOST = 12 };

struct columns {
	size_t n;       /* columns */
	unsigned right; /* bits 1 << column: numbers, aligned at their end */
	char **cells;   /* row by row */
	size_t count, room;
};

/* Names the columns, as the first row. */
void columns_init(struct columns *columns, unsigned right, const char *const *names);
void columns_fini(struct columns *columns);

void columns_put(struct columns *columns, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Nothing when there is no row but the names. */
void columns_print(const struct columns *columns, FILE *out);

#endif
