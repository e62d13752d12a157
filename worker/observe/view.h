/* view - what there is to see of a worker at one moment, for those who write it down.
 *
 * Thread: the loop's.
 * Owns:   nothing: everything is borrowed for one call.
 * Units:  nanoseconds; monotonic where a field does not say otherwise.
 *
 * What cannot be asked of the core (memory, processor time) is put in by whoever looks, so that the
 * makers of text are pure. */
#ifndef OUTFALL_OBSERVE_VIEW_H
#define OUTFALL_OBSERVE_VIEW_H

#include <stddef.h>
#include <stdint.h>

struct core;

struct view {
	const struct core *core;
	const char *name; /* what the worker calls itself */
	uint64_t now_ns, started_ns;
	uint64_t epoch_ns; /* to be added to a monotonic time: then it counts from 1970 */
	uint64_t lag_ns;
	uint64_t cpu_ns;
	size_t resident_bytes;
};

#endif
