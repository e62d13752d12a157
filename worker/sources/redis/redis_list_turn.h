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

/* Which of the jobs whose worker died may be claimed (redis_turn.lua). */
enum redis_suspects { SUSPECTS_NONE, SUSPECTS_LOST_ONCE, SUSPECTS_ANY };

struct redis_turn {
	const struct redis_keys *keys;
	const char *name; /* ours, among the list's workers */
	uint64_t lease_ms;
	size_t claim;       /* jobs at most; 0: none */
	unsigned lost_most; /* so many workers may a job take with it; 0: any number */
	enum redis_suspects suspects;
	struct list *settles; /* struct job.in_source: as their verdicts say */
};

void redis_turn_send(struct redis_shared *shared, const struct redis_turn *turn,
		     resp_answered *answered, void *arg);

/* False: the link has failed. */
bool redis_turn_is_answer(struct redis_shared *shared, const char *list, const struct reply *reply);

struct redis_texts { /* an array of a reply */
	const struct reply *items;
	size_t n;
};

struct redis_turn_news {
	bool
	    member; /* false: our lease has run out, and but for `last_id` nothing of this is valid */
	uint64_t last_id;    /* that the server has given out; only for one that is no member */
	int64_t due_ms;      /* when the next delayed job is; < 0: there is none */
	bool dry;            /* it was to claim, and there were fewer jobs than asked for */
	int64_t buried;      /* jobs that are dead without a run */
	struct span trouble; /* why list or dead list could not be used; empty: they could */
	size_t passed_by;    /* suspects that were not for us */
	struct redis_texts missing; /* fields that were to be settled, and are not there */
	size_t n_claimed;
};

struct redis_turn_news redis_turn_news(const struct reply *reply);

struct redis_claimer {
	struct route *route;
	struct source_host *host; /* for serial numbers */
	uint64_t epoch;           /* of our present name */
	uint64_t *last_id;        /* raised to the highest id claimed */
};

/* The number in front of a field, as ids are compared. */
uint64_t redis_id_of(struct span field);

/* Appends the claimed jobs to `jobs` (struct job.in_source), in their order: all or none. */
enum status redis_turn_take_claimed(const struct reply *reply, const struct redis_claimer *claimer,
				    struct list *jobs);

#endif
