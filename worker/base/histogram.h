/* histogram - how long things took: so many within each of a few fixed bounds.
 *
 * Thread: the owner's. Counting is a few comparisons and two additions: no allocation, no lock, and
 *         the shortest times, of which there may be a hundred thousand a second, leave first.
 * Owns:   nothing; a zeroed struct is empty.
 * Units:  nanoseconds.
 * Fails:  never. */
#ifndef OUTFALL_BASE_HISTOGRAM_H
#define OUTFALL_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 16 };

/* Ascending. A time that is equal to a bound is within it. */
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS];

struct histogram {
	uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* within the bound, not within the one before; the
	                                        * last: beyond all of them */
	uint64_t sum_ns;
};

static inline void histogram_count(struct histogram *histogram, uint64_t ns)
{
	size_t i = 0;
	while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds_ns[i])
		i++;
	histogram->counts[i]++;
	histogram->sum_ns += ns;
}

#endif
