/* Thousands of random schedules of the whole core.
 *
 *     sim                 seeds 1 to 20000; where one breaks, what happened last in it
 *     sim FIRST LAST      so many others
 *     sim SEED            one, and all that happens in it
 *     sim --brief ...     only which one broke, and how */
#include "world.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HANGS_AFTER_S = 10 }; /* one schedule takes a millisecond */

static struct world world; /* megabytes: not for the stack */
static enum mode { MODE_MANY, MODE_BRIEF, MODE_ONE, MODE_LAST } mode;

/* The same seed once more, which breaks in the same way, to see what led to it. */
static void run_again(const char *seed)
{
	sigset_t all;
	sigfillset(&all);
	(void)sigprocmask(SIG_UNBLOCK, &all, NULL);
	(void)execl("/proc/self/exe", "sim", "--last", seed, (char *)NULL);
}

/* Also what is not a promise of ours: an assertion of the core's own, a crash, a loop without an end. */
static void broke(int number)
{
	char seed[32];
	(void)snprintf(seed, sizeof seed, "%" PRIu64, world.seed);
	trace_last();
	if (!world.said)
		fprintf(stderr, "seed %s at %.3f ms: %s\n", seed, (double)world.now_ns / 1e6,
			strsignal(number));
	if (mode == MODE_MANY)
		run_again(seed);
	_exit(1);
}

static uint64_t codes[256], jobs, retired, gone, reloads, recognised, others, fates[FATE_COUNT];

static void run(uint64_t seed)
{
	static const enum trace traces[] = {
	    [MODE_MANY] = TRACE_NOTHING,
	    [MODE_BRIEF] = TRACE_NOTHING,
	    [MODE_ONE] = TRACE_ALL,
	    [MODE_LAST] = TRACE_LAST,
	};
	(void)alarm(HANGS_AFTER_S);
	world_build(&world, seed, traces[mode]);
	world_run(&world);
	jobs += world.books.delivered;
	retired += world.retired;
	gone += world.gone;
	reloads += world.reloads;
	recognised += world.recognised;
	others += world.others;
	codes[report_exit_code(&world.core.drain.report)]++;
	world_end(&world);
	for (int fate = 0; fate < FATE_COUNT; fate++)
		fates[fate] += world.core.drain.report.since_start[fate];
}

static void tell(uint64_t schedules)
{
	printf("%" PRIu64 " schedules, %" PRIu64 " jobs, %" PRIu64 " elsewhere;", schedules, jobs,
	       others);
	for (int fate = 0; fate < FATE_COUNT; fate++)
		printf(" %s %" PRIu64, fate_name((enum fate)fate), fates[fate]);
	printf("; recognised %" PRIu64 "; queues removed %" PRIu64 ", drained %" PRIu64
	       "; reloads %" PRIu64,
	       recognised, retired, gone, reloads);
	printf("; exit 0: %" PRIu64 ", 10: %" PRIu64 ", 11: %" PRIu64 ", 12: %" PRIu64
	       ", 69: %" PRIu64 "\n",
	       codes[0], codes[10], codes[11], codes[12], codes[69]);
}

static enum mode mode_of(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--brief") == 0)
		return MODE_BRIEF;
	if (argc > 1 && strcmp(argv[1], "--last") == 0)
		return MODE_LAST;
	return argc == 2 ? MODE_ONE : MODE_MANY;
}

int main(int argc, char **argv)
{
	static const int ways[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE};
	uint64_t first = 1, last = 20000;
	mode = mode_of(argc, argv);
	int skip = mode == MODE_BRIEF || mode == MODE_LAST;
	if (argc > 1 + skip)
		first = last = strtoull(argv[1 + skip], NULL, 10);
	if (argc > 2 + skip)
		last = strtoull(argv[2 + skip], NULL, 10);
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		(void)signal(ways[i], broke);
	for (uint64_t seed = first; seed <= last; seed++)
		run(seed);
	tell(last - first + 1);
	return 0;
}
