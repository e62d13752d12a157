/* files - what a configuration is read from: its own files, and those that hold its secrets.
 *
 * A pipe or a descriptor that somebody passed to us (/dev/fd/3) gives what it has once. It is kept, and
 * whoever loads the configuration again is given the same; it is not even opened then, because that
 * might wait for ever.
 *
 * Thread: the one that loads.
 * Owns:   what was read lives in the region, what is kept as long as the loaded configuration.
 * Units:  bytes.
 * Fails:  files_read(), with a sentence that quotes nothing. */
#ifndef OUTFALL_SETTINGS_FILES_H
#define OUTFALL_SETTINGS_FILES_H

#include "base/error.h"
#include "base/span.h"
#include "settings/region.h"

struct kept_file {
	struct kept_file *next;
	const char *path;
	struct span bytes;
};

struct files {
	struct region *region;          /* of what is kept */
	const struct kept_file *before; /* by the configuration that is in force */
	bool again;                     /* there is one: nothing is waited for */
	struct kept_file *kept;
};

/* A copy, for whoever cannot be sure that the configuration stays. */
struct kept_file *files_kept_copy(const struct kept_file *kept, struct region *region);

/* All of it, in `region`; a NUL stands behind it. ST_FULL: it is longer than `most`. */
enum status files_read(struct files *files, const char *path, size_t most, struct region *region,
		       struct span *ret_bytes, struct error *why);

/* `name`, seen from the folder that `file` is in. */
const char *files_beside(struct region *region, const char *file, const char *name);

#endif
