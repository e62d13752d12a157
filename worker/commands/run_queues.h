/* run_queues - which queue of the configuration is which route, from the start on and as they come and go.
 *
 * Thread: the loop's.
 * Owns:   what it notes of each route; routes are the core's, settings the caller's, but for those of
 *         a queue that came later, which go with its route.
 * Fails:  adding, with a sentence; then nothing has changed. */
#ifndef OUTFALL_COMMANDS_RUN_QUEUES_H
#define OUTFALL_COMMANDS_RUN_QUEUES_H

#include "base/error.h"
#include "base/list.h"

#include <stddef.h>

struct block;
struct core;
struct lane;
struct settings;
struct source;
struct source_kind;
struct source_settings;

struct run_queues {
	struct core *core;
	struct settings *settings;
	struct lane *const *lanes; /* as many as settings->handlers */
	struct list all;           /* struct run_queue.in_all */
};

/* The four above but `all` are borrowed. */
void run_queues_init(struct run_queues *queues, struct core *core, struct settings *settings,
		     struct lane *const *lanes);
/* After the core's end. */
void run_queues_fini(struct run_queues *queues);

/* The routes of one source, before it starts. */
enum status run_queues_build(struct run_queues *queues, const struct source_kind *kind,
			     const struct source_settings *s, struct source *source,
			     struct error *why);

/* A queue of another configuration: consumed from now on, and part of the settings. */
enum status run_queues_take(struct run_queues *queues, const struct block *block,
			    struct error *why);
/* One of the settings' own: it drains, and is no part of them any more. */
void run_queues_drop(struct run_queues *queues, struct block *block);

/* Limits that are live, after they have changed. */
void run_queues_limit(struct run_queues *queues);

#endif
