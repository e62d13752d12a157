/* outfall.h - what a plugin is compiled against: version 1 of the C ABI.
 *
 * A plugin is a shared object that exports one symbol:
 *
 *     #include <outfall/outfall.h>
 *
 *     static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
 *     {
 *             ...
 *             return OUTFALL_DONE;
 *     }
 *     const struct outfall_plugin outfall_plugin = { .abi = OUTFALL_ABI, .run = run };
 *
 * Build: cc -shared -fPIC -o libcount.so count.c
 *
 * Threads: run() is called from several threads at once, never twice for one job at a time.
 * Owns:    job and ctx are borrowed and end with the call. Nothing here needs freeing.
 * Stopping: a thread cannot be killed. A run() that may take long asks outfall_should_stop() now
 *          and then, and returns OUTFALL_RETURN when it cannot finish: the job goes back to its
 *          queue and no attempt is counted.
 *
 * The ABI grows only at the end of its structs; `size` and `abi` tell both sides what is there. */
#ifndef OUTFALL_OUTFALL_H
#define OUTFALL_OUTFALL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OUTFALL_ABI 1u

enum outfall_outcome {
	OUTFALL_DONE = 0,   /* it succeeded: acknowledge it */
	OUTFALL_RETRY = 1,  /* it failed; try again later, counted as an attempt */
	OUTFALL_REJECT = 2, /* it can never succeed: dead-letter it */
	OUTFALL_RETURN = 3, /* give it back untried: not counted */
};

struct outfall_job {
	size_t size; /* sizeof (struct outfall_job) of the worker that calls */
	const char *id;
	const char *source; /* name of the rabbitmq or redis section */
	const char *queue;
	const char *content_type; /* "" when unknown */
	const char *traceparent;  /* "" when there is none */
	const void *body;         /* not NUL-terminated; may hold any bytes */
	size_t body_bytes;
	uint32_t attempt; /* from 1 */
	uint32_t interruptions;
	int redelivered;
};

struct outfall_context; /* opaque */

enum outfall_log_level { OUTFALL_LOG_ERROR, OUTFALL_LOG_WARN, OUTFALL_LOG_INFO, OUTFALL_LOG_DEBUG };

/* A line in the worker's log, marked with the job's id. */
void outfall_log(struct outfall_context *ctx, enum outfall_log_level level, const char *text);

/* Non-zero once the job should come to an end: its timeout passed, or the worker is stopping and
 * the time for running jobs is up. Cheap enough for an inner loop. */
int outfall_should_stop(const struct outfall_context *ctx);

/* Milliseconds this job still has; -1 when nothing limits it. Shrinks at once when a drain begins. */
int64_t outfall_time_left_ms(const struct outfall_context *ctx);

/* Why it failed, for the log and the dead letter; cut at 95 bytes. */
void outfall_set_reason(struct outfall_context *ctx, const char *text);

struct outfall_plugin {
	uint32_t abi; /* OUTFALL_ABI */
	enum outfall_outcome (*run)(const struct outfall_job *job, struct outfall_context *ctx);
};

/* What the plugin exports. */
extern const struct outfall_plugin outfall_plugin;

#ifdef __cplusplus
}
#endif

#endif
