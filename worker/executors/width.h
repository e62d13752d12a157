/* width - how many jobs at once an executor is built for that needs descriptors for each.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Units:  jobs; descriptors.
 * Fails:  never. */
#ifndef OUTFALL_EXECUTORS_WIDTH_H
#define OUTFALL_EXECUTORS_WIDTH_H

struct handler_settings;
struct worker_settings;

/* What the configuration asks for. */
unsigned width_wanted(const struct handler_settings *handler, const struct worker_settings *worker);

/* `wanted`, or what the limit on open files leaves with so many descriptors for each job; at least 1. More
 * would fail jobs that did nothing wrong. */
unsigned width_affordable(unsigned wanted, unsigned descriptors_each);

#endif
