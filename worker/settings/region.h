/* region - memory that is given back all at once: everything below one struct settings.
 *
 * Thread: the caller's.
 * Owns:   each block it hands out, until region_free().
 * Units:  bytes.
 * Fails:  never: a configuration is bounded (reader.h), it is read before anything is taken from a
 *         broker, and libconfuse itself asserts when memory is short. Pretending to survive here
 *         would only be code that nobody can reach. */
#ifndef OUTFALL_SETTINGS_REGION_H
#define OUTFALL_SETTINGS_REGION_H

#include <stddef.h>

struct region_block;

struct region { /* all zero is an empty region */
	struct region_block *blocks;
};

void *region_take(struct region *region, size_t bytes); /* cleared */
char *region_text(struct region *region, const char *text, size_t len);
char *region_print(struct region *region, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void region_free(struct region *region);

#endif
