/* region - memory that is given back all at once: everything below one struct settings.
 *
 * Thread: the caller's.
 * Owns:   each block it hands out, until region_free(), which clears it.
 * Units:  bytes.
 * Fails:  never: a configuration is bounded (reader.h), and some hundred kB that are not there when it is
 *         read leave no worker worth surviving. */
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
