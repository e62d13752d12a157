/* plugin_noop - the handler that does nothing: what is left is the worker's own cost.
 *
 * It only looks at the clock twice: at the first job, and at the one whose number is in
 * OUTFALL_BENCH_JOBS. Wall time and CPU of the whole process between the two go to the file
 * OUTFALL_BENCH_RESULT. That way neither starting nor stopping is measured, as in the limit loops.
 *
 * Built twice: with ASYNCHRONOUS, as plugin_noop_pending, run() hands each job to a thread of the
 * plugin's own, which completes it. */
#include "measure.h"
#include "plugin/outfall.h"

#include <pthread.h>
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

static void count(void)
{
	unsigned long number = atomic_fetch_add_explicit(&bench.begun, 1, memory_order_relaxed) + 1;
	if (number == 1)
		bench.start = measure_now();
	if (number == bench.jobs)
		write_result();
}

#ifdef ASYNCHRONOUS

enum { AT_ONCE = 256 };

static struct desk {
	pthread_mutex_t lock;
	pthread_cond_t came;
	pthread_t clerk;
	unsigned n;
	int closing;
	struct outfall_context *waiting[AT_ONCE];
} desk = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};

static unsigned take_all(struct outfall_context *taken[AT_ONCE])
{
	pthread_mutex_lock(&desk.lock);
	while (desk.n == 0 && !desk.closing)
		pthread_cond_wait(&desk.came, &desk.lock);
	unsigned n = desk.n;
	for (unsigned i = 0; i < n; i++)
		taken[i] = desk.waiting[i];
	desk.n = 0;
	pthread_mutex_unlock(&desk.lock);
	return n;
}

static void *complete_all(void *arg)
{
	struct outfall_context *taken[AT_ONCE];
	unsigned n;
	(void)arg;
	while ((n = take_all(taken)) > 0) {
		for (unsigned i = 0; i < n; i++) {
			count();
			outfall_complete(taken[i], OUTFALL_DONE);
		}
	}
	return NULL;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	pthread_mutex_lock(&desk.lock);
	desk.waiting[desk.n++] = ctx;
	if (desk.n == 1)
		pthread_cond_signal(&desk.came);
	pthread_mutex_unlock(&desk.lock);
	return OUTFALL_PENDING;
}

static int init(struct outfall_context *ctx)
{
	(void)ctx;
	return pthread_create(&desk.clerk, NULL, complete_all, NULL);
}

static void end(struct outfall_context *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&desk.lock);
	desk.closing = 1;
	pthread_cond_signal(&desk.came);
	pthread_mutex_unlock(&desk.lock);
	pthread_join(desk.clerk, NULL);
}

const struct outfall_plugin outfall_plugin = {
    .abi = OUTFALL_ABI, .run = run, .concurrency = AT_ONCE, .init = init, .exit = end};

#else

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	(void)ctx;
	count();
	return OUTFALL_DONE;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};

#endif
