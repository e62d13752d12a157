/* rabbitmq_pace - when reading may wait two milliseconds, so that one read brings more. Pure.
 *
 * A broker under load sends a few messages at a time, and each wakes the loop, which wakes the
 * threads: at 45,000 jobs a second the waking costs three times what the jobs do. So, while many
 * messages come, the next read waits for two milliseconds' worth of them. It must not slow anything:
 * not when few come (each would be late), and not when the prefetch would be used up meanwhile.
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  nanoseconds; jobs.
 * Fails:  never. */
#ifndef OUTFALL_SOURCES_RABBITMQ_PACE_H
#define OUTFALL_SOURCES_RABBITMQ_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	PACE_WAIT_MS = 2,
	PACE_WINDOW_NS = 1000000,
	PACE_FEWEST = 16, /* per millisecond: fewer are not worth a timer */
};

struct pace {
	uint64_t window_ns; /* when the present window began */
	uint64_t before;    /* jobs that had come by then */
	uint64_t seen;      /* jobs that had come by the last turn */
	bool many;
};

/* At the end of a turn, with the number of jobs that have ever come. True: let reading wait. */
static inline bool pace_turn(struct pace *pace, uint64_t delivered, unsigned prefetch,
			     uint64_t now_ns)
{
	uint64_t since_ns = now_ns - pace->window_ns;
	bool some = delivered != pace->seen;
	pace->seen = delivered;
	if (since_ns >= PACE_WINDOW_NS) {
		uint64_t per_ms = (delivered - pace->before) * 1000000 / since_ns;
		pace->many = per_ms >= PACE_FEWEST && per_ms * PACE_WAIT_MS <= prefetch / 4;
		pace->window_ns = now_ns;
		pace->before = delivered;
	}
	return some && pace->many;
}

#endif
