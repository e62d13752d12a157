/* parse - the text of a configuration as blocks: which sections there are and what they say.
 *
 * Thread: one at a time in the whole process: libconfuse's lexer is global.
 * Owns:   everything lives in the region.
 * Fails:  with PARSE_BROKEN after a syntax error: what follows it is not known. Unknown keys and
 *         sections are reported and left out, and the rest is read to the end. */
#ifndef OUTFALL_SETTINGS_PARSE_H
#define OUTFALL_SETTINGS_PARSE_H

#include "settings/reader.h"
#include "settings/table.h"

/* What a key was given; n = 0: nothing was said about it. */
struct said {
	struct place place;
	const char **texts; /* NULL-terminated */
	size_t n;
	bool unset; /* a variable in it is not set, which has been reported */
};

struct block {
	struct block *next;   /* in the order of the text */
	struct block *parent; /* NULL at the top */
	int section;          /* enum section */
	const char *title;    /* NULL where there is none */
	struct place place;
	struct said *said; /* one for each row of table_keys */
	void *fields;      /* load.c: its struct in settings.h */
};

struct document {
	struct block *first, *last;
	struct place whole; /* for what is wrong with no line of it */
};

enum parse_result { PARSE_WHOLE, PARSE_BROKEN };

enum parse_result parse_text(const struct reader_text *text, struct region *region,
			     struct problems *problems, struct document *ret_document);

void document_append(struct document *document, struct block *block);

const struct said *block_said(const struct block *block, const char *key);

/* Where the key was given, or else where the block begins. */
struct place block_place(const struct block *block, const char *key);

#endif
