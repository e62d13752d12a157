/* table - every section and key of the configuration: one row each.
 *
 * The parser, the defaults, the checks of range, the suggestions for misspelt keys, the reference in
 * config/outfall.conf.md and the test of the sample in config/ all come from these rows.
 *
 * Thread: any; the table is constant.
 * Owns:   nothing.
 * Fails:  never. */
#ifndef OUTFALL_SETTINGS_TABLE_H
#define OUTFALL_SETTINGS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum section {
	SECTION_WORKER,
	SECTION_DRAIN,
	SECTION_RABBITMQ,
	SECTION_QUEUE,
	SECTION_REDIS,
	SECTION_LIST,
	SECTION_HANDLER,
	SECTION_RETRY,
	SECTION_ADMIN,
	SECTION_LOG,
	SECTIONS,
};

struct section_row {
	const char *name;
	int inside; /* enum section, or SECTION_ROOT */
	bool titled;
	size_t bytes;        /* of its struct in settings.h */
	size_t name_offset;  /* of its title there, TABLE_NO_FIELD without */
	size_t place_offset; /* where it stands in the file */
	const char *help;
};

enum { SECTION_ROOT = -1 };
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
	enum section section;
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

extern const struct section_row table_sections[SECTIONS];
extern const struct key_row table_keys[];
extern const size_t table_n_keys;

/* NULL: no such thing. */
const struct key_row *table_find_key(enum section section, const char *name);
const struct section_row *table_find_section(int inside, const char *name);

/* The rows of one section, which stand together. */
const struct key_row *table_keys_of(enum section section, size_t *ret_n);

const char *table_type_name(enum value_type type);

/* The key or section allowed inside `inside` that is most like `name`; NULL when none is close. */
const char *table_nearest(int inside, const char *name);

#endif
