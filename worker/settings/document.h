/* document - what a configuration says: its sections as blocks, and what each key was given.
 *
 * Thread: the one that loads; read-only afterwards, but for queues that come and go with a reload (the
 *         loop's).
 * Owns:   everything lives in regions of the caller.
 * Fails:  never. */
#ifndef OUTFALL_SETTINGS_DOCUMENT_H
#define OUTFALL_SETTINGS_DOCUMENT_H

#include "settings/reader.h"
#include "settings/table.h"

/* What a key was given; n = 0: nothing was said about it. */
struct said {
	struct place place;
	const char **texts;            /* NULL-terminated */
	struct expansion **expansions; /* of each text */
	size_t n;
	bool expanded;     /* some of it came from a variable */
	const char *unset; /* a variable in it that is not set, which has been reported; or NULL */
};

struct block {
	struct block *next;   /* in the order of the text */
	struct block *parent; /* NULL at the top */
	struct block *same_hash;
	const struct section_row *section;
	const char *title; /* NULL where there is none */
	struct place place;
	struct said *said; /* one for each of its section's keys */
	void *fields;      /* load.c: its struct in settings.h */
	size_t n_children; /* queues of a source */
	bool is_named;     /* by a queue that runs by it */
};

struct document {
	source_schemas kinds; /* which sources it may name */
	struct block *first, *last;
	size_t count;
	struct block **hashed;
	size_t n_hashed;
	struct region *region; /* of `hashed` */
	struct place whole;    /* for what is wrong with no line of it */
};

void document_append(struct document *document, struct block *block);
void document_remove(struct document *document, struct block *block);

/* The first one that is called so: below a parent of that title, in one step for any number of blocks. NULL:
 * there is none. */
struct block *document_find(const struct document *document, const struct section_row *section,
			    const char *parent_title, const char *title);

/* The same block of another document. */
struct block *document_counterpart(const struct document *document, const struct block *block);

struct block *block_create(struct region *region, const struct section_row *section,
			   const char *title, struct place place);
struct said *block_said_of(const struct block *block, const struct key_row *row);
const struct said *block_said(const struct block *block, const char *key);

/* Where the key was given, or else where the block begins. */
struct place block_place(const struct block *block, const char *key);

/* --- what of a value may stand in a message: nothing that could be a secret --- */

enum { SAID_SHOWN_BYTES = 80 };

/* "\"many\"", where it is a plain short word or number of the file; else "this". */
const char *said_word(const struct said *said, char buf[SAID_SHOWN_BYTES]);

/* `path`, as it was given or as it was completed, where what was given looks like nothing but a path; else
 * `instead`. */
const char *said_path(const struct said *said, const char *path, const char *instead);

#endif
