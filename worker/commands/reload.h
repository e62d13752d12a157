/* reload - reads the configuration again and takes over what a worker that runs can.
 *
 * All or nothing: a configuration with an error changes nothing. What takes a new worker is named, each time,
 * and left as it is.
 *
 * Thread: the loop's. Reading takes some milliseconds, in which nothing else happens.
 * Owns:   what it has read, until reload_fini(); `settings` borrows texts of it.
 * Fails:  with a sentence that names the first problem; all of them are in the log. */
#ifndef OUTFALL_COMMANDS_RELOAD_H
#define OUTFALL_COMMANDS_RELOAD_H

#include "base/error.h"

struct block;
struct log;
struct settings;
struct text;

/* Who takes in queues that came, and lets go of those that went (settings/late.h). */
struct reload_queues {
	/* Makes it part of `settings`. ST_* with the reason why it takes a new worker. */
	enum status (*take)(void *arg, const struct block *block, struct error *why);
	void (*drop)(void *arg, struct block *block);
	void *arg;
};

struct reload {
	const char *path;
	struct settings *settings; /* what the worker runs by; changed in place */
	struct settings *latest;   /* what was read last; NULL: nothing yet */
	struct log *log;
	struct reload_queues queues;
};

/* Appends {"status":"reloaded","changed":[...],"needs_restart":[...]} to `says`, which may be NULL. */
enum status reload_now(struct reload *reload, struct text *says, struct error *why);
void reload_fini(struct reload *reload);

#endif
