/* rate - so many jobs in so much time, and no more. Pure arithmetic.
 *
 * Thread: the loop's; the struct belongs to its route or lane.
 * Units:  monotonic nanoseconds.
 * Fails:  never.
 *
 * The generic cell rate algorithm: one number, the time at which the next job would be due if all
 * came evenly. A job may come BURST_NS earlier than that, because timers have milliseconds and a
 * thousand jobs a second must not need a thousand timers; over any longer time the rate holds. */
#ifndef OUTFALL_DISPATCH_RATE_H
#define OUTFALL_DISPATCH_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_BURST_NS UINT64_C(50000000)

struct rate {
	uint64_t interval_ns; /* between two jobs; 0 = no limit */
	uint64_t due_ns;      /* when the next one would be, if all came evenly */
};

/* When the next job may begin: `now_ns`, or later. */
static inline uint64_t rate_next_ns(const struct rate *rate, uint64_t now_ns)
{
	uint64_t earliest_ns = rate->due_ns > RATE_BURST_NS ? rate->due_ns - RATE_BURST_NS : 0;
	if (rate->interval_ns > RATE_BURST_NS)
		earliest_ns = rate->due_ns; /* slow rates have no bursts */
	return earliest_ns > now_ns ? earliest_ns : now_ns;
}

/* How many may begin from now until then. */
static inline uint64_t rate_allows(const struct rate *rate, uint64_t now_ns, uint64_t until_ns)
{
	if (rate->interval_ns == 0)
		return UINT64_MAX;
	uint64_t due_ns = rate->due_ns > now_ns ? rate->due_ns : now_ns;
	if (rate->interval_ns <= RATE_BURST_NS)
		until_ns += RATE_BURST_NS;
	return due_ns > until_ns ? 0 : (until_ns - due_ns) / rate->interval_ns + 1;
}

/* What was owed under another rate is forgotten. */
static inline void rate_set(struct rate *rate, uint64_t interval_ns)
{
	if (rate->interval_ns != interval_ns)
		*rate = (struct rate){.interval_ns = interval_ns};
}

static inline void rate_count(struct rate *rate, uint64_t now_ns)
{
	if (rate->interval_ns != 0)
		rate->due_ns = (rate->due_ns > now_ns ? rate->due_ns : now_ns) + rate->interval_ns;
}

#endif
