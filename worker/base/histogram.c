/* Three bounds to each power of ten where most jobs live, fewer where they are rare. */
#include "base/histogram.h"

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
    1 * MS, 5 * MS,    10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS,
    1 * S,  2500 * MS, 5 * S,   10 * S,  30 * S,  60 * S,   300 * S,  1800 * S,
};
