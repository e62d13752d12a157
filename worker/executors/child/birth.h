/* birth - how a process comes into the world: the part of children.c where parent and child share their
 * memory.
 *
 * Thread: the one that calls birth_prepare(); the child dies with that thread.
 * Owns:   nothing; the child is the caller's to reap.
 * Fails:  birth_give() with ST_SYSTEM and what could not be done; there is no child then. */
#ifndef OUTFALL_EXECUTORS_BIRTH_H
#define OUTFALL_EXECUTORS_BIRTH_H

#include "base/error.h"

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

struct guardian;
struct spawn;

struct birth_place {
	pid_t parent;
	int n_signals, signals[NSIG]; /* those that are caught or ignored in here */
};

/* Where the guardian is to know it. */
struct guarded_place {
	struct guardian *guardian;
	uint32_t place;
};

/* Signal handlers that are set later on are not known to a birth. */
void birth_prepare(struct birth_place *place);

/* Returns when the child runs its program. */
enum status birth_give(const struct birth_place *place, const struct spawn *spawn,
		       const struct guarded_place *guarded, pid_t *ret_pid, struct error *why);

#endif
