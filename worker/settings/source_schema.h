/* source_schema - what the settings know of a kind of source: its two sections, which addresses are its own, and
 * what must hold. The first part of a kind's record (sources/kind.h); whoever loads settings brings a list of them,
 * and nothing in settings/ knows which kinds there are.
 *
 * Thread: the one that loads; wrong_url() any.
 * Owns:   nothing; records are constant.
 * Fails:  checks by reporting. */
#ifndef OUTFALL_SETTINGS_SOURCE_SCHEMA_H
#define OUTFALL_SETTINGS_SOURCE_SCHEMA_H

#include "settings/table.h"

struct block;
struct region;
struct rules;
struct source_queue_settings;
struct url;

struct source_schema {
	struct section_row section; /* its struct begins as struct source_settings */
	struct section_row queue;   /* ... as struct source_queue_settings; stands in the other */
	const char *tls_scheme;     /* "amqps://", for people */
	/* An address with a user, for people, where a password alone is no login; else NULL. */
	const char *needs_user;
	/* Why it is no address of this kind; NULL: it is one. */
	const char *(*wrong_url)(const struct url *url);
	/* Defaults that follow from other keys. May be NULL. */
	void (*complete)(struct source_queue_settings *queue, struct region *region);
	/* What must fit together, beside what must with every kind. May be NULL. */
	void (*check)(const struct rules *rules, const struct block *section);
	void (*check_queue)(const struct rules *rules, const struct block *queue);
};

#endif
