/* clock - the time, as the core sees it: monotonic nanoseconds, real or made up by a test. */
#ifndef OUTFALL_BASE_CLOCK_H
#define OUTFALL_BASE_CLOCK_H

#include <stdint.h>

struct clock {
	uint64_t (*now_ns)(const struct clock *clock);
};

static inline uint64_t clock_now_ns(const struct clock *clock)
{
	return clock->now_ns(clock);
}

#endif
