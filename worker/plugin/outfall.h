/* outfall.h - what a plugin is compiled against: version 3 of the C ABI.
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
 * Build: cc $(pkg-config --cflags outfall) -shared -fPIC -o libcount.so count.c
 *
 * Threads: run() is called from several threads at once, never twice for one job at a time. What
 *          takes a context may be called by any thread, as long as the job has not ended.
 * Owns:    job and ctx are borrowed and end with the job: when run() returns its outcome or, if it
 *          returned OUTFALL_PENDING, with the call of outfall_complete(). Nothing here needs
 *          freeing, and what the worker keeps it copies.
 * Stopping: a thread cannot be killed. A job that may take long asks outfall_should_stop() now
 *          and then, and ends with OUTFALL_RETURN when it cannot finish: it goes back to its
 *          queue and no attempt is counted.
 *
 * Versions. The ABI grows only at the ends of its structs and by new functions, and each growth is a
 * new OUTFALL_ABI. A worker runs plugins of its own ABI and of every one before, and refuses a newer
 * one: it could not keep what that expects. */
#ifndef OUTFALL_OUTFALL_H
#define OUTFALL_OUTFALL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OUTFALL_ABI 3u

enum outfall_outcome {
	OUTFALL_DONE = 0,   /* it succeeded: acknowledge it */
	OUTFALL_RETRY = 1,  /* it failed; try again later, counted as an attempt */
	OUTFALL_REJECT = 2, /* it can never succeed: dead-letter it */
	OUTFALL_RETURN = 3, /* give it back untried: not counted */
	OUTFALL_PENDING =
	    4, /* from run() only: it goes on; outfall_complete() tells how it ended */
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
	/* since ABI 2 */
	uint32_t crashes;        /* earlier runs in which the handler died */
	const void *checkpoint;  /* what an earlier run left with outfall_checkpoint() */
	size_t checkpoint_bytes; /* 0: nothing */
	uint64_t timeout_ms;     /* of the handler; 0: none */
};

struct outfall_context; /* opaque */

enum outfall_log_level { OUTFALL_LOG_ERROR, OUTFALL_LOG_WARN, OUTFALL_LOG_INFO, OUTFALL_LOG_DEBUG };

/* A line in the worker's log, marked with the job's id; from a hook, with the handler's name. */
void outfall_log(struct outfall_context *ctx, enum outfall_log_level level, const char *text);

/* Non-zero once the job should come to an end: its timeout passed, or the worker is stopping and
 * the time for running jobs is up. Cheap enough for an inner loop. */
int outfall_should_stop(const struct outfall_context *ctx);

/* Milliseconds this job still has; -1 when nothing limits it. Shrinks at once when a drain begins. */
int64_t outfall_time_left_ms(const struct outfall_context *ctx);

/* Why it failed, in a sentence, for the log and the dead letter. What a message of
 * outfall_set_error() says goes before it there; alone it is cut at 2 kB, from a hook at 95 bytes. */
void outfall_set_reason(struct outfall_context *ctx, const char *text);

/* --- since ABI 2 --- */

/* How far it is, from 0 to 1; less than 0 leaves that open. `note` is for people, may be NULL, and is
 * cut at 200 bytes. Of several in quick succession only the last may be seen. */
void outfall_progress(struct outfall_context *ctx, double fraction, const char *note);

/* Leaves bytes for the next run of this job, should there be one: it finds them as job->checkpoint.
 * The last one counts; no bytes at all forget it. 0; or -1 when they are more than the worker
 * allows (worker.max_checkpoint), and then the one before stands. */
int outfall_checkpoint(struct outfall_context *ctx, const void *bytes, size_t len);

/* The job wants so much time from now on: its timeout does not come before. The deadline of a drain
 * stands all the same. */
void outfall_extend_ms(struct outfall_context *ctx, uint64_t more_ms);

/* With OUTFALL_RETRY: not before so many milliseconds, instead of what the retry policy says. */
void outfall_set_retry_after_ms(struct outfall_context *ctx, uint64_t after_ms);

/* --- since ABI 3 --- */

/* Why it failed, as a language with exceptions would tell: the class of the error ("timeout",
 * "std::out_of_range"), its message, and `lines` lines of a backtrace, the place of the failure first.
 * Each may be left out, as NULL or 0. All of it is copied, cut at 200 bytes, 2 kB and 4 kB, and travels
 * with the job into the log, its retries and the dead letter. The last one counts, and only if the job
 * ends with OUTFALL_RETRY or OUTFALL_REJECT. */
void outfall_set_error(struct outfall_context *ctx, const char *class_name, const char *message,
		       const char *const *backtrace, size_t lines);

/* Ends a job whose run() returned, or is about to return, OUTFALL_PENDING. Exactly once, from any
 * thread: job and ctx are gone with the call. A second call is an error in the log and nothing
 * else; one for a job that the worker has given up meanwhile (see "Stopping") is no error. */
void outfall_complete(struct outfall_context *ctx, enum outfall_outcome outcome);

/* One pointer of the plugin's for each handler that uses it; set it in init(). */
void outfall_set_state(struct outfall_context *ctx, void *state);
void *outfall_state(const struct outfall_context *ctx);

struct outfall_plugin {
	uint32_t abi; /* OUTFALL_ABI */
	enum outfall_outcome (*run)(const struct outfall_job *job, struct outfall_context *ctx);

	/* --- since ABI 2; each may be left out --- */

	/* More than 0: the plugin is asynchronous, run() may return OUTFALL_PENDING, and this is how
	 * many of its jobs may be running or pending at once (the configuration may allow fewer).
	 * Else each job takes a thread from its begin to its end. At most 65536. */
	uint32_t concurrency;

	/* Once for each handler, by the worker's main thread: init() before everything else, exit()
	 * after it. A non-zero return keeps the worker from starting, with the text of
	 * outfall_set_reason(). Their context knows no job. Keep them short: the worker hears no
	 * signal meanwhile, and takes no job before.
	 *
	 * exit() ends what threads the plugin itself has started. It is left out when a job is still
	 * at work, because that would pull the ground from under it: the process just ends. */
	int (*init)(struct outfall_context *ctx);
	void (*exit)(struct outfall_context *ctx);

	/* The same in each thread that calls run(), for what belongs to a thread, such as a database
	 * connection in a _Thread_local variable. */
	int (*thread_init)(struct outfall_context *ctx);
	void (*thread_exit)(struct outfall_context *ctx);
};

/* What the plugin exports. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const struct outfall_plugin outfall_plugin;

#ifdef __cplusplus
}
#endif

#endif
