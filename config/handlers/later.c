/* later - an asynchronous plugin to start from: each job waits as many milliseconds as its body says,
 * a thousand of them at once, and no thread is kept waiting for it.
 *
 *     cc $(pkg-config --cflags outfall) -shared -fPIC -O2 -o liblater.so later.c -lpthread
 *     handler "later" { type = "plugin"  path = "/usr/lib/outfall/liblater.so"  threads = 1 }
 *
 * Where this one looks at the clock, yours has an event loop with requests under way. run() puts the
 * job there and returns OUTFALL_PENDING; job and context stay valid until outfall_complete(), which
 * is called once for each. A job that is asked to stop leaves what it has still to wait, and its
 * next run waits for no longer than that. */
#include <outfall/outfall.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	AT_ONCE = 1000,
	LOOK_MS = 20, /* how often a waiting job asks whether it should stop */
};

struct waiting {
	struct outfall_context *ctx;
	long long due_ms;
};

struct later {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	int closing;
	unsigned n;
	struct waiting jobs[AT_ONCE]; /* the worker gives us no more than we say in .concurrency */
};

static long long now_ms(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Ends it, if it is time. Returns whether it is gone. */
static int look_after(const struct waiting *job)
{
	long long left_ms = job->due_ms - now_ms();
	char text[32];
	if (left_ms <= 0) {
		outfall_complete(job->ctx, OUTFALL_DONE);
		return 1;
	}
	if (!outfall_should_stop(job->ctx))
		return 0;
	int len = snprintf(text, sizeof text, "%lld", left_ms);
	(void)outfall_checkpoint(job->ctx, text, (size_t)len);
	outfall_complete(job->ctx, OUTFALL_RETURN);
	return 1;
}

/* Locked. */
static void look_after_all(struct later *later)
{
	for (unsigned i = 0; i < later->n;) {
		if (look_after(&later->jobs[i]))
			later->jobs[i] = later->jobs[--later->n];
		else
			i++;
	}
}

/* Locked, but not while it sleeps: until a job comes, or it is time to look at those we have. */
static void sleep_a_little(struct later *later)
{
	struct timespec until;
	if (later->n == 0) {
		(void)pthread_cond_wait(&later->changed, &later->lock);
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	(void)pthread_cond_timedwait(&later->changed, &later->lock, &until);
}

static void *wait_for_all(void *arg)
{
	struct later *later = arg;
	(void)pthread_mutex_lock(&later->lock);
	while (!later->closing) {
		sleep_a_little(later);
		look_after_all(later);
	}
	(void)pthread_mutex_unlock(&later->lock);
	return NULL;
}

/* Milliseconds in a text that is not NUL-terminated; -1: it says something else. */
static long long milliseconds(const void *text, size_t bytes)
{
	char copy[32], *end;
	if (bytes == 0 || bytes >= sizeof copy)
		return -1;
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	long long ms = strtoll(copy, &end, 10);
	return *end == '\0' && ms >= 0 ? ms : -1;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	struct later *later = outfall_state(ctx);
	long long ms = milliseconds(job->body, job->body_bytes);
	long long left_ms = milliseconds(job->checkpoint, job->checkpoint_bytes);
	if (ms < 0) {
		outfall_set_reason(ctx, "the body is no number of milliseconds");
		return OUTFALL_REJECT; /* what ends at once need not be pending */
	}
	if (left_ms >= 0 && left_ms < ms)
		ms = left_ms;
	(void)pthread_mutex_lock(&later->lock);
	later->jobs[later->n++] = (struct waiting){ctx, now_ms() + ms};
	(void)pthread_cond_signal(&later->changed);
	(void)pthread_mutex_unlock(&later->lock);
	return OUTFALL_PENDING; /* it may have been completed by now: touch it no more */
}

static int init(struct outfall_context *ctx)
{
	struct later *later = calloc(1, sizeof *later);
	if (later == NULL)
		return -1;
	(void)pthread_mutex_init(&later->lock, NULL);
	(void)pthread_cond_init(&later->changed, NULL);
	int err = pthread_create(&later->thread, NULL, wait_for_all, later);
	if (err != 0) {
		outfall_set_reason(ctx, strerror(err));
		free(later);
		return -1;
	}
	outfall_set_state(ctx, later);
	return 0;
}

/* No job is pending any more, or the worker would not call it. */
static void end(struct outfall_context *ctx)
{
	struct later *later = outfall_state(ctx);
	(void)pthread_mutex_lock(&later->lock);
	later->closing = 1;
	(void)pthread_cond_signal(&later->changed);
	(void)pthread_mutex_unlock(&later->lock);
	(void)pthread_join(later->thread, NULL);
	(void)pthread_cond_destroy(&later->changed);
	(void)pthread_mutex_destroy(&later->lock);
	free(later);
}

const struct outfall_plugin outfall_plugin = {
    .abi = OUTFALL_ABI,
    .run = run,
    .concurrency = AT_ONCE,
    .init = init,
    .exit = end,
};
