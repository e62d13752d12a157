/* measure - wall clock and our own CPU over a stretch of work, printed as one line for run.py.
 *
 * Thread: the caller's; the CPU is the whole process's, its children excluded.
 * Owns:   nothing.
 * Units:  seconds.
 * Fails:  never. */
#ifndef OUTFALL_BENCH_MEASURE_H
#define OUTFALL_BENCH_MEASURE_H

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

struct measure {
	double wall, cpu;
};

static inline double measure_seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static inline struct measure measure_now(void)
{
	struct timespec wall;
	struct rusage used;
	clock_gettime(CLOCK_MONOTONIC, &wall);
	getrusage(RUSAGE_SELF, &used);
	return (struct measure){
	    .wall = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9,
	    .cpu = measure_seconds(used.ru_utime) + measure_seconds(used.ru_stime),
	};
}

static inline void measure_print(FILE *to, const struct measure *since, unsigned long jobs)
{
	struct measure now = measure_now();
	fprintf(to, "{\"jobs\": %lu, \"seconds\": %.6f, \"cpu\": %.6f}\n", jobs,
		now.wall - since->wall, now.cpu - since->cpu);
}

#endif
