/* redis_list_turn - the two sides of redis_turn.lua: what it is told, and what its reply says. Which
 * argument lies where is known here and there, and nowhere else.
 *
 * Thread: the loop's.
 * Owns:   nothing; what a reply says is borrowed from it.
 * Units:  milliseconds, bytes, counts of jobs.
 * Fails:  redis_turn_take_claimed() with ST_NOMEM or ST_PROTO, no job made. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_TURN_H
#define OUTFALL_SOURCES_REDIS_LIST_TURN_H

#include "base/error.h"
#include "base/list.h"
#include "base/span.h"
#include "wire/resp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_keys;
struct redis_shared;
struct route;
struct source_host;

struct redis_turn {
	const struct redis_keys *keys;
	const char *name; /* ours, among the list's workers */
	uint64_t lease_ms;
	size_t claim;         /* jobs at most; 0: none */
	struct list *settles; /* struct job.in_source: as their verdicts say */
};

void redis_turn_send(struct redis_shared *shared, const struct redis_turn *turn,
		     resp_answered *answered, void *arg);

/* False: the link has failed. */
bool redis_turn_is_answer(struct redis_shared *shared, const char *list, const struct reply *reply);

struct redis_turn_news {
	bool member;    /* false: our lease has run out, and nothing else of this is valid */
	int64_t due_ms; /* when the next delayed job is; < 0: there is none */
	/* If it was to claim: */
	bool dry;            /* there were fewer jobs than asked for */
	int64_t buried;      /* jobs too large, now in the dead list */
	struct span trouble; /* why the list could not be read; empty: it could */
	size_t n_claimed;
};

struct redis_turn_news redis_turn_news(const struct reply *reply);

/* Ids count up, but for a failover: the counter may then be set back. */
struct redis_ids {
	uint64_t last; /* the highest claimed so far */
	uint64_t used; /* ids up to this one may be given out a second time; 0: none */
};

struct redis_claimer {
	struct route *route;
	struct source_host *host; /* for serial numbers */
	uint64_t epoch;           /* of our present name */
	struct redis_ids *ids;
};

/* Appends the claimed jobs to `jobs` (struct job.in_source), in their order: all or none. */
enum status redis_turn_take_claimed(const struct reply *reply, const struct redis_claimer *claimer,
				    struct list *jobs);

#endif
