/* forecast - how long a drain would still take, from how long other jobs of the same queues took.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Units:  nanoseconds.
 * Fails:  never; what nobody can know is FORECAST_UNKNOWN. */
#ifndef OUTFALL_DRAIN_FORECAST_H
#define OUTFALL_DRAIN_FORECAST_H

#include <stddef.h>
#include <stdint.h>

struct job;
struct ledger;
struct route;

#define FORECAST_UNKNOWN UINT64_MAX

/* What is left for a job of this route that has run for so long: nine of ten that ran at least
 * that long have ended by then. Never more than its handler's timeout leaves it. */
uint64_t forecast_left_ns(const struct route *route, uint64_t age_ns);

/* How many of the route's runs took longer than that, and for certain: a run is known to a bound only. */
struct forecast_runs {
	uint64_t longer, all;
};
struct forecast_runs forecast_longer(const struct route *route, uint64_t than_ns);

/* For how long this job has run; 0 while it is staged. */
uint64_t forecast_age_ns(const struct job *job, uint64_t now_ns);

struct forecast {
	uint64_t
	    left_ns;    /* until the last of the jobs that something is known about; 0: none runs */
	size_t unknown; /* jobs about which nothing is */
};

struct forecast forecast_drain(const struct ledger *ledger, uint64_t now_ns);

#endif
