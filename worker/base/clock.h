/* clock - the time, as the core sees it: monotonic nanoseconds, real or made up by a test. */
#ifndef OUTFALL_BASE_CLOCK_H
#define OUTFALL_BASE_CLOCK_H

#include <stdint.h>

/* The longest wait that anybody may ask for, a job, an operator or a service: what is longer counts as this.
 * 30 days: beyond any that is meant, and far from where sums of nanoseconds would wrap. */
#define LONGEST_WAIT_MS (UINT64_C(30) * 24 * 3600 * 1000)

struct clock {
	uint64_t (*now_ns)(const struct clock *clock);
};

static inline uint64_t clock_now_ns(const struct clock *clock)
{
	return clock->now_ns(clock);
}

#endif
