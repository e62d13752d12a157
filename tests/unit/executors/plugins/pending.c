#include "pending.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Contexts that wait for the plugin's own thread. */
struct desk {
	pthread_mutex_t lock;
	pthread_cond_t came;
	pthread_t clerk;
	struct outfall_context *waiting[PENDING_AT_ONCE];
	unsigned n;
	int closing;
};

static void *work_off(void *arg)
{
	struct desk *desk = arg;
	pthread_mutex_lock(&desk->lock);
	while (!desk->closing || desk->n > 0) {
		if (desk->n == 0) {
			pthread_cond_wait(&desk->came, &desk->lock);
			continue;
		}
		struct outfall_context *ctx = desk->waiting[--desk->n];
		pthread_mutex_unlock(&desk->lock);
		outfall_complete(ctx, OUTFALL_DONE);
		pthread_mutex_lock(&desk->lock);
	}
	pthread_mutex_unlock(&desk->lock);
	return NULL;
}

static enum outfall_outcome hand_in(struct outfall_context *ctx)
{
	struct desk *desk = outfall_state(ctx);
	pthread_mutex_lock(&desk->lock);
	if (desk->n == PENDING_AT_ONCE)
		abort(); /* more than we said we take */
	desk->waiting[desk->n++] = ctx;
	pthread_cond_signal(&desk->came);
	pthread_mutex_unlock(&desk->lock);
	return OUTFALL_PENDING;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	struct pending *pending;
	if (job->body_bytes != sizeof pending)
		return hand_in(ctx);
	memcpy(&pending, job->body, sizeof pending);
	pending->job = job;
	if (pending->completes_in_run)
		outfall_complete(ctx, OUTFALL_REJECT);
	atomic_store(&pending->ctx, ctx);
	while (pending->waits_for_gate && !atomic_load(&pending->gate))
		(void)usleep(200);
	enum outfall_outcome outcome = (enum outfall_outcome)pending->returns;
	atomic_store(&pending->returned, 1);
	return outcome;
}

static int init(struct outfall_context *ctx)
{
	struct desk *desk = calloc(1, sizeof *desk);
	if (desk == NULL)
		return -1;
	pthread_mutex_init(&desk->lock, NULL);
	pthread_cond_init(&desk->came, NULL);
	outfall_set_state(ctx, desk);
	return pthread_create(&desk->clerk, NULL, work_off, desk);
}

static void end(struct outfall_context *ctx)
{
	struct desk *desk = outfall_state(ctx);
	pthread_mutex_lock(&desk->lock);
	desk->closing = 1;
	pthread_cond_signal(&desk->came);
	pthread_mutex_unlock(&desk->lock);
	pthread_join(desk->clerk, NULL);
	pthread_mutex_destroy(&desk->lock);
	pthread_cond_destroy(&desk->came);
	free(desk);
}

const struct outfall_plugin outfall_plugin = {
    .abi = OUTFALL_ABI,
    .run = run,
    .concurrency = PENDING_AT_ONCE,
    .init = init,
    .exit = end,
};
