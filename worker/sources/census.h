/* census - would anybody be left to take from our queues if this worker took no more?
 *
 * Every source is asked how many others take from each of its queues; the brokers know: a passive
 * declare tells a queue's consumers, and a Redis list has a registry of its workers.
 *
 * Thread: the loop's.
 * Owns:   its timer and texts. Sources keep only the number of the round that they were asked in, so one
 *         that answers late, or never, does no harm.
 * Units:  counts of workers (Redis) or consumers (RabbitMQ).
 * Fails:  census_create() with NULL. A queue that nobody could tell about in two seconds is one that is
 *         not known, and so is one that is not reached: this worker takes nothing from it either. */
#ifndef OUTFALL_SOURCES_CENSUS_H
#define OUTFALL_SOURCES_CENSUS_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct census;
struct loop;
struct roster;
struct route;

enum { CENSUS_NOT_KNOWN = -1 };

/* `roster` and `arg` are borrowed. `done` comes once for each round, from a clean stack. */
struct census *census_create(struct loop *loop, const struct roster *roster,
			     void (*done)(void *arg), void *arg);
void census_destroy(struct census *census); /* NULL is fine */

/* One that is under way will do. */
void census_begin(struct census *census);

/* What a source answers for each queue that it was asked about: how many others, CENSUS_NOT_KNOWN. */
void census_tell(struct census *census, unsigned round, const struct route *route, long others);

/* What the last round found: the queues that nobody else takes from, "mq/emails, cache/thumbnails"; "" none. */
struct span census_alone(const struct census *census);
/* The same of those that were removed while it was asked: nobody takes from them any more. */
struct span census_left(const struct census *census);
size_t census_not_known(const struct census *census);

#endif
