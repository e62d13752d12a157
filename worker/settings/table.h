/* table - every section and key of the configuration: one row each. Those of brokers are in the records of their
 * kinds (source_schema.h), by which every look-up here goes.
 *
 * The parser, the defaults, the checks of range, the suggestions for misspelt keys, what a reload may change, the
 * reference in config/outfall.conf.md and the test of the sample in config/ all come from these rows.
 *
 * Thread: any; the table is constant.
 * Owns:   nothing.
 * Fails:  never. */
#ifndef OUTFALL_SETTINGS_TABLE_H
#define OUTFALL_SETTINGS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_schema;

#define TABLE_NO_FIELD SIZE_MAX

/* Each with the field that it fills. */
enum value_type {
	VALUE_TEXT,     /* const char * */
	VALUE_LIST,     /* const char **, NULL-terminated */
	VALUE_COUNT,    /* unsigned */
	VALUE_NUMBER,   /* int */
	VALUE_DURATION, /* uint64_t, milliseconds */
	VALUE_RATE,     /* uint64_t, nanoseconds between two jobs */
	VALUE_SIZE,     /* size_t, bytes */
	VALUE_FRACTION, /* double; `least` and `most` in thousandths */
	VALUE_CHOICE,   /* an enum */
};

struct choice {
	const char *name;
	int value; /* CHOICE_LATER: a word this version knows and cannot do */
};

enum { CHOICE_LATER = -1 };

enum secret_kind {
	SECRET_NONE,
	SECRET_URL,   /* in its login or its query */
	SECRET_WHOLE, /* all of it */
	SECRET_FILE,  /* in the file that it names, or, by mistake, in here */
};

struct key_row {
	const char *name;
	enum value_type type;
	size_t offset;      /* of the field; TABLE_NO_FIELD: load.c makes more of it than a field */
	const char *preset; /* the default as it would be written; NULL: none */
	const char *zero;   /* a word that stands for 0, beside least..most; NULL: none */
	int64_t least, most;
	const struct choice *choices;
	const char *help;
	unsigned types; /* bits 1 << enum handler_type: the handlers that know it; 0 = all */
	bool live;      /* a reload changes it under a running worker; else it takes a new one */
	enum secret_kind secret; /* a password may be in it */
};

struct key_rows {
	const struct key_row *rows;
	size_t n;
};

#define KEY_ROWS(array)                                                                            \
	{                                                                                          \
		(array), sizeof(array) / sizeof *(array)                                           \
	}

struct section_row {
	const char *name;
	const struct section_row *inside; /* NULL: at the top */
	bool titled;
	size_t bytes;        /* of its struct */
	size_t name_offset;  /* of its title there, TABLE_NO_FIELD without */
	size_t place_offset; /* where it stands in the file */
	const char *help;
	struct key_rows keys[2];            /* its own, and those that it shares with others */
	const struct source_schema *schema; /* the kind whose section it is; NULL: nobody's */
};

/* The sections that every configuration may have. */
extern const struct section_row section_worker, section_drain, section_handler, section_retry,
    section_admin, section_log;

/* What all kinds of sources have: keys of their sections and of their queues. */
extern const struct key_row table_source_keys[], table_queue_keys[];
#define TABLE_SOURCE_KEYS                                                                          \
	{                                                                                          \
		table_source_keys, 8                                                               \
	}
#define TABLE_QUEUE_KEYS                                                                           \
	{                                                                                          \
		table_queue_keys, 4                                                                \
	}

/* All sections, in the order of the reference, from 0 on. NULL: there are no more. `kinds` is a list that ends
 * in NULL, here and below. */
const struct section_row *table_section(const struct source_schema *const *kinds, size_t i);

/* NULL: no such thing. */
const struct section_row *table_find_section(const struct source_schema *const *kinds,
					     const struct section_row *inside, const char *name);
const struct key_row *section_find_key(const struct section_row *section, const char *name);

size_t section_n_keys(const struct section_row *section);
const struct key_row *section_key(const struct section_row *section, size_t i);
size_t section_key_index(const struct section_row *section, const struct key_row *row);

/* A queue's is the one that stands in another; only sources have such. */
static inline bool section_is_queue(const struct section_row *section)
{
	return section->inside != NULL;
}

static inline bool section_is_source(const struct section_row *section)
{
	return section->schema != NULL && section->inside == NULL;
}

const char *table_type_name(enum value_type type);

/* The key or section allowed inside `inside` (NULL: at the top) that is most like `name`; NULL when none is
 * close. */
const char *table_nearest(const struct source_schema *const *kinds,
			  const struct section_row *inside, const char *name);

#endif
