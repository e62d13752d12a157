/* reply_piece - where the first reply in RESP ends, for a fuzz target that hands them out one by one.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  never: what is no reply goes up to the end of its line, or to the end. */
#ifndef OUTFALL_TESTS_REPLY_PIECE_H
#define OUTFALL_TESTS_REPLY_PIECE_H

#include "base/span.h"

#include <string.h>

static inline size_t reply_piece(struct span left)
{
	size_t at = 0;
	for (unsigned long due = 1; due > 0 && at < left.len; due--) {
		const char *line = left.ptr + at;
		const char *end = memchr(line, '\n', left.len - at);
		if (end == NULL)
			return left.len;
		at += (size_t)(end - line) + 1;
		long n = 0;
		for (const char *c = line + 1; c < end && *c >= '0' && *c <= '9' && n < 1000000;
		     c++)
			n = n * 10 + (*c - '0');
		if (line[0] == '*')
			due += (unsigned long)n;
		else if (line[0] == '$' && line[1] != '-')
			at += (size_t)n + 2;
	}
	return at < left.len ? at : left.len;
}

#endif
