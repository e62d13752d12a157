/* Thousands of random schedules of the whole core. `sim` runs many seeds; `sim SEED` runs one and
 * says what happens. */
#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct world world; /* half a megabyte: not for the stack */

int main(int argc, char **argv)
{
	uint64_t first = 1, last = 20000;
	uint64_t codes[256] = {0}, jobs = 0, retired = 0, gone = 0, reloads = 0,
		 fates[FATE_COUNT] = {0};
	if (argc == 2)
		first = last = strtoull(argv[1], NULL, 10);
	if (argc == 3) {
		first = strtoull(argv[1], NULL, 10);
		last = strtoull(argv[2], NULL, 10);
	}
	for (uint64_t seed = first; seed <= last; seed++) {
		world_build(&world, seed, argc == 2);
		world_run(&world);
		jobs += world.delivered;
		retired += world.retired;
		gone += world.gone;
		reloads += world.reloads;
		world_end(&world);
		codes[report_exit_code(&world.core.drain.report)]++;
		for (int fate = 0; fate < FATE_COUNT; fate++)
			fates[fate] += world.core.drain.report.since_start[fate];
	}
	printf("%" PRIu64 " schedules, %" PRIu64 " jobs;", last - first + 1, jobs);
	for (int fate = 0; fate < FATE_COUNT; fate++)
		printf(" %s %" PRIu64, fate_name((enum fate)fate), fates[fate]);
	printf("; queues removed %" PRIu64 ", drained %" PRIu64 "; reloads %" PRIu64, retired, gone,
	       reloads);
	printf("; exit 0: %" PRIu64 ", 10: %" PRIu64 ", 11: %" PRIu64 ", 12: %" PRIu64 "\n",
	       codes[0], codes[10], codes[11], codes[12]);
	return 0;
}
