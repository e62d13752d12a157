/* loaded - what stands around a struct settings: the blocks it was made of, and their memory.
 *
 * Thread: any; read-only once settings_load() has returned, but for what a reload takes over.
 * Owns:   the region owns all of it but what came later, until settings_destroy().
 * Fails:  never. */
#ifndef OUTFALL_SETTINGS_LOADED_H
#define OUTFALL_SETTINGS_LOADED_H

#include "base/list.h"
#include "settings/document.h"
#include "settings/region.h"
#include "settings/settings.h"

/* What settings_load() returns is the first member of this. */
struct loaded {
	struct settings settings;
	struct region region;
	struct document document;
	const struct kept_file *kept; /* what could be read only once */
	struct list added; /* queues that came later, also those that have left the document */
};

static inline const struct loaded *loaded_of(const struct settings *settings)
{
	return (const struct loaded *)(const void *)settings;
}

#endif
