/* reader - a configuration file and everything it includes as one text for libconfuse.
 *
 * Thread: the caller's.
 * Owns:   the text and the names of the files live in the region.
 * Units:  bytes, lines from 1.
 * Fails:  with READ_BROKEN after reporting why: unreadable, too large, not text, a string or comment
 *         that never ends. What can be read past (a variable that is not set) is reported, too. */
#ifndef OUTFALL_SETTINGS_READER_H
#define OUTFALL_SETTINGS_READER_H

#include "settings/region.h"
#include "settings/settings.h"

/* All files together. 500 queues take 40 kB; libconfuse is quadratic in the number of sections. */
enum { READER_MOST_BYTES = 1 << 20, READER_MOST_FILES = 500, READER_MOST_DEPTH = 10 };

/* One value; libconfuse copies it over and over while it grows. */
enum { READER_MOST_VALUE_BYTES = 64 << 10 };

/* Braces in braces. Three are all that the grammar has. */
enum { READER_MOST_BRACES = 16 };

/* Stands in the text for a variable that is not set, which has been reported: what is made of such
 * a value would only be noise. No control character but this one is in the text. */
#define READER_UNSET "\001"

struct reader_stretch {     /* lines of one file that follow each other in the text */
	unsigned text_line; /* the first of them, in the text */
	struct place place; /* the same line, where it came from */
};

struct reader_text {
	char *text; /* NUL-terminated, ends with a newline */
	size_t len;
	struct reader_stretch *stretches;
	size_t n_stretches;
};

enum read_result { READ_WHOLE, READ_BROKEN };

enum read_result reader_read(const char *path, struct region *region, struct problems *problems,
			     struct reader_text *ret_text);

/* Where line `text_line` of the text came from. */
struct place reader_place(const struct reader_text *text, unsigned text_line);

#endif
