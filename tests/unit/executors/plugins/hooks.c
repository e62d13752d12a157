#include "hooks.h"

#include "plugin/outfall.h"

#include <stdio.h>
#include <stdlib.h>

static _Thread_local int entered;

static void note(struct hook_record *record, char call, int must_have_entered)
{
	pthread_mutex_lock(&record->lock);
	if (record->n_calls < sizeof record->calls - 1)
		record->calls[record->n_calls++] = call;
	if (entered != must_have_entered)
		record->wrong_threads++;
	pthread_mutex_unlock(&record->lock);
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	note(outfall_state(ctx), 'r', 1);
	return OUTFALL_DONE;
}

static int init(struct outfall_context *ctx)
{
	void *address = NULL;
	(void)sscanf(getenv("OUTFALL_TEST_HOOKS"), "%p", &address);
	struct hook_record *record = address;
	outfall_set_state(ctx, record);
	note(record, 'i', 0);
	/* A context without a job is good for nothing else, and does no harm. */
	outfall_log(ctx, OUTFALL_LOG_INFO, "hello");
	outfall_progress(ctx, 0.5, "nobody hears it");
	outfall_extend_ms(ctx, 1000);
	outfall_set_retry_after_ms(ctx, 1000);
	outfall_complete(ctx, OUTFALL_DONE);
	if (outfall_checkpoint(ctx, "x", 1) != -1 || outfall_should_stop(ctx) ||
	    outfall_time_left_ms(ctx) != -1)
		abort();
	if (record->init_fails && record->reason != NULL)
		outfall_set_reason(ctx, record->reason);
	return record->init_fails;
}

static void end(struct outfall_context *ctx)
{
	note(outfall_state(ctx), 'e', 0);
}

static int thread_init(struct outfall_context *ctx)
{
	struct hook_record *record = outfall_state(ctx);
	note(record, 'I', 0);
	entered = 1;
	pthread_mutex_lock(&record->lock);
	int fails = ++record->threads_entered == (unsigned)record->thread_init_fails_at;
	pthread_mutex_unlock(&record->lock);
	if (fails && record->reason != NULL)
		outfall_set_reason(ctx, record->reason);
	return fails;
}

static void thread_exit(struct outfall_context *ctx)
{
	note(outfall_state(ctx), 'E', 1);
}

const struct outfall_plugin outfall_plugin = {
    .abi = OUTFALL_ABI,
    .run = run,
    .init = init,
    .exit = end,
    .thread_init = thread_init,
    .thread_exit = thread_exit,
};
