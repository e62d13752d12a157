/* identity - whom a handler's processes run as: names from the configuration, resolved to numbers once,
 * because a process that is being born cannot ask name services.
 *
 * Thread: any; the system's name look-ups may block for as long as a server does not answer.
 * Owns:   its texts and groups, until identity_fini().
 * Fails:  with ST_INVALID and a sentence: a name nobody knows, or a change that only root may make. */
#ifndef OUTFALL_SETTINGS_IDENTITY_H
#define OUTFALL_SETTINGS_IDENTITY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct identity {
	bool changes; /* false: as the worker itself, and the rest says nothing */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary; NULL: the worker's stay */
	size_t n_groups;
	char *name, *home; /* NULL: the same user, or one without an entry */
};

/* Names, or numbers as text. Both may be NULL; without a group it is the user's own. */
enum status identity_find(const char *user, const char *group, struct identity *ret_identity,
			  struct error *why);
void identity_fini(struct identity *identity); /* a zeroed one is fine */

#endif
