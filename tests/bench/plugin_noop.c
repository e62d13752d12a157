/* plugin_noop - the handler that does nothing: what is left is the worker's own cost.
 *
 * It only looks at the clock twice: at the first job, and at the one whose number is in
 * OUTFALL_BENCH_JOBS. Wall time and CPU of the whole process between the two go to the file
 * OUTFALL_BENCH_RESULT. That way neither starting nor stopping is measured, as in the limit loops. */
#include "measure.h"
#include "plugin/outfall.h"

#include <stdatomic.h>
#include <stdlib.h>

struct bench { /* a plugin has no place to keep things but its own file scope */
	atomic_ulong begun;
	unsigned long jobs;
	struct measure start;
};
static struct bench bench;

__attribute__((constructor)) static void read_environment(void)
{
	const char *jobs = getenv("OUTFALL_BENCH_JOBS");
	bench.jobs = jobs != NULL ? strtoul(jobs, NULL, 10) : 0;
}

static void write_result(void)
{
	FILE *result = fopen(getenv("OUTFALL_BENCH_RESULT"), "w");
	if (result == NULL)
		abort();
	measure_print(result, &bench.start, bench.jobs);
	fclose(result);
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	(void)ctx;
	unsigned long number = atomic_fetch_add_explicit(&bench.begun, 1, memory_order_relaxed) + 1;
	if (number == 1)
		bench.start = measure_now();
	if (number == bench.jobs)
		write_result();
	return OUTFALL_DONE;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};
