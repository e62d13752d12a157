/* spawn_profile - what all processes of one handler have in common: where they start, whom they run as,
 * what they may use. Resolved once, so that being born takes system calls only.
 *
 * Thread: the loop's.
 * Owns:   what it resolved, until spawn_profile_fini(); texts are borrowed from the settings.
 * Units:  as setrlimit(2) has them.
 * Fails:  with ST_INVALID where the settings do not fit this machine, ST_NOMEM. */
#ifndef OUTFALL_EXECUTORS_SPAWN_PROFILE_H
#define OUTFALL_EXECUTORS_SPAWN_PROFILE_H

#include "base/error.h"
#include "settings/identity.h"

#include <sys/resource.h>

struct become_words;
struct handler_settings;

enum { SPAWN_LIMITS = 4 };

struct spawn_profile {
	const char *directory; /* NULL: the worker's */
	const char *user;      /* for messages: what the settings call it; NULL: nobody else */
	struct identity as;
	bool may_gain_privileges;
	struct become_words *becomes; /* NULL: nobody else */
	struct {
		int resource;
		struct rlimit most;
	} limits[SPAWN_LIMITS];
	unsigned n_limits;
};

enum status spawn_profile_init(struct spawn_profile *profile,
			       const struct handler_settings *settings, struct error *why);
void spawn_profile_fini(struct spawn_profile *profile); /* a zeroed one is fine */

#endif
