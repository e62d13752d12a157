/* lines - bytes of a child's output in, lines of bounded length out.
 *
 * Thread: the loop's.
 * Owns:   room for one unfinished line, taken with the first one and kept until lines_fini().
 * Units:  bytes.
 * Fails:  never: without memory an unfinished line is passed on in the pieces it came in. */
#ifndef OUTFALL_EXECUTORS_LINES_H
#define OUTFALL_EXECUTORS_LINES_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct lines {
	size_t limit; /* longest line passed on whole */
	char *part;   /* the line begun and not ended */
	size_t part_bytes;
	bool goes_on; /* what comes next belongs to a line that was split */
};

/* A line longer than the limit comes in pieces: a head, a tail, and what is between. */
enum line_part { LINE_WHOLE, LINE_HEAD, LINE_MIDDLE, LINE_TAIL };

static inline bool line_goes_on(enum line_part part) /* in the next one */
{
	return part == LINE_HEAD || part == LINE_MIDDLE;
}

typedef void line_found(void *arg, struct span line, enum line_part part);

void lines_init(struct lines *lines, size_t limit);
void lines_fini(struct lines *lines);

/* Empty lines are dropped: they say nothing when each line stands for itself. The end of a line that was
 * split is always passed on, so that one knows where the next begins. */
void lines_feed(struct lines *lines, struct span bytes, line_found *found, void *arg);

/* For what nobody wants to hear: how many lines end in there. One that was begun is dropped. */
unsigned lines_skip(struct lines *lines, struct span bytes);

/* The output ended: an unfinished line is as good as a whole one. */
void lines_flush(struct lines *lines, line_found *found, void *arg);

#endif
