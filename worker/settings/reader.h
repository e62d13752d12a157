/* reader - a configuration file and everything it includes, as tokens.
 *
 * Thread: the one that loads.
 * Owns:   nothing: texts live in the regions it is given.
 * Units:  bytes, lines from 1.
 * Fails:  by reporting; reader_next() then goes on behind what was wrong, and the token says so where
 *         it matters. No report holds a word of a value, because any word may be a secret that lost its quotes. */
#ifndef OUTFALL_SETTINGS_READER_H
#define OUTFALL_SETTINGS_READER_H

#include "settings/files.h"
#include "settings/settings.h"

/* All files together; 500 queues take 40 kB. */
enum { READER_MOST_BYTES = 1 << 20, READER_MOST_FILES = 500, READER_MOST_DEPTH = 10 };
enum { READER_MOST_VALUE_BYTES = 64 << 10 };

/* A variable in a value, and which bytes of the value came from it. */
struct expansion {
	struct expansion *next;
	const char *name;
	size_t begin, end;
};

enum token_kind {
	TOKEN_TEXT, /* a word or a string: the name of something, or a value */
	TOKEN_MARK, /* one of {}=, and + for += */
	TOKEN_END,
};

struct token {
	enum token_kind kind;
	char mark;
	bool quoted;
	bool leads; /* the first of its line */
	struct place place;
	const char *text;
	const char *unset; /* the first variable in it that is not set, which has been reported */
	struct expansion *expansions;
};

struct reader;

/* Where reports go. What keeps the rest of the text from being understood is `syntax`; what spoils one
 * value is `values`. They may be the same. */
struct reader_parts {
	struct region *region;  /* of tokens */
	struct region *scratch; /* of files; may go when the reader has */
	struct files *files;
	struct problems *syntax, *values;
};

struct reader *reader_open(const char *path, const struct reader_parts *parts);
void reader_next(struct reader *reader, struct token *ret_token);

/* A rule of the text was broken, by then. */
bool reader_is_broken(const struct reader *reader);

/* Reports it as one more; later ones in the same line are most likely its echoes and are left out. */
void reader_complain(struct reader *reader, struct place place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* `name` is a variable that is not set; it is named if it looks like one. */
void reader_report_unset(struct problems *problems, struct place place, const char *name);

/* Nothing more will be read: what follows cannot be understood. */
void reader_stop(struct reader *reader);
bool reader_was_stopped(const struct reader *reader);

#endif
