/* redis_list_known - the jobs that we believe to have claimed from a list, held against what the server
 * says. No I/O.
 *
 * Thread: the loop's.
 * Owns:   nothing: it looks through the route's lists, which are the core's, and those finished.
 * Fails:  never. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_KNOWN_H
#define OUTFALL_SOURCES_REDIS_LIST_KNOWN_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;
struct reply;
struct route;

struct redis_known {
	const struct route *route; /* its jobs held, parked, and running */
	uint64_t epoch;           /* struct job.source_epoch of those claimed in our present name */
	struct list *finished[2]; /* struct job.in_source: being settled */
};

/* Calls `each` for every one of them. */
void redis_known_walk(const struct redis_known *known,
		      void (*each)(void *arg, const struct job *job), void *arg);

struct redis_unknown { /* fields that the server does not have */
	const struct reply *fields;
	size_t n_fields;
	uint64_t last_id; /* that it has given out */
};

bool redis_is_unknown(const struct redis_unknown *unknown, const struct job *job);
uint64_t redis_unknown_newest(const struct redis_unknown *unknown); /* their highest id; 0: none */

bool redis_known_holds_any(const struct redis_known *known, const struct redis_unknown *unknown);
/* Running ones: their claims are gone. They go on, and belong to no name any more. Returns how many. */
size_t redis_known_disown_running(const struct redis_known *known,
				  const struct redis_unknown *unknown);
/* Moves the finished ones among them to the end of `to`; the others keep their order. */
void redis_known_take_finished(const struct redis_known *known, const struct redis_unknown *unknown,
			       struct list *to);

#endif
