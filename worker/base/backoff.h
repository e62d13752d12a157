/* backoff - when to try again: exponential backoff with full jitter. Pure arithmetic.
 *
 * Thread: any; the struct belongs to its caller.
 * Units:  milliseconds.
 * Fails:  never.
 *
 * The first wait after a success is short (100 ms and below), because most trouble is a restart;
 * then it doubles to 10 s. Full jitter (anything between half and the whole) keeps a fleet that
 * lost its broker from coming back in one wave. */
#ifndef OUTFALL_BASE_BACKOFF_H
#define OUTFALL_BASE_BACKOFF_H

#include <stdint.h>

struct reconnect {
	unsigned failures; /* in a row */
};

static inline void reconnect_worked(struct reconnect *r)
{
	r->failures = 0;
}

/* Counts a failure; returns how long to wait. `random`: any 32 random bits. */
static inline uint64_t reconnect_failed(struct reconnect *r, uint32_t random)
{
	uint64_t wait_ms = 10000;
	if (r->failures < 7)
		wait_ms = UINT64_C(100) << r->failures;
	r->failures++;
	if (wait_ms > 10000)
		wait_ms = 10000;
	return wait_ms / 2 + random % (wait_ms / 2 + 1);
}

#endif
