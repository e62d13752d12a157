/* rules - what the parts of check.c share: each rule looks at one block of the whole document and
 * adds what is wrong with it to the problems.
 *
 * Thread: the one that loads.
 * Owns:   nothing.
 * Fails:  never; what is wrong is reported. */
#ifndef OUTFALL_SETTINGS_RULES_H
#define OUTFALL_SETTINGS_RULES_H

#include "settings/document.h"
#include "settings/settings.h"

struct rules {
	const struct document *document;
	const struct settings *settings;
	struct problems *problems;
	bool again; /* a worker runs, and has what it needs of this host */
};

static inline const char *kind_of(const struct block *block)
{
	return block->section->name;
}

void check_handler(const struct rules *rules, const struct block *block);

/* Certificates and keys. */
void check_tls(const struct rules *rules, const struct block *block,
	       const struct broker_settings *broker);
size_t rules_count_tls(const struct broker_settings *broker); /* addresses */

void check_admin(const struct rules *rules, const struct block *block);

/* Of the whole: what contradicts something elsewhere. */
void check_clashes(const struct rules *rules);

/* A handler or retry section that nobody names. */
void warn_unused(const struct rules *rules, const struct block *block);

#endif
