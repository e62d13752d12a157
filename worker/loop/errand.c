/* Why not uv_queue_work()? What runs here (a look-up of names, a file on a dead server) may hold its thread for
 * half a minute or for ever. libuv joins its pool threads when the process exits, so that would hold the exit
 * past the drain's deadline. A detached thread is left behind instead: its end is nobody's business any
 * more.
 *
 * An errand has two owners, the loop and the thread, and the second one to let go frees it. The lock makes
 * "is the loop still interested" and "ring the bell" one step, so a bell is never rung after it was
 * destroyed. */
#include "loop/errand.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"

#include <pthread.h>
#include <signal.h>

struct errand {
	pthread_mutex_t lock;
	bool finished; /* the thread is through and touches nothing here any more */
	bool given_up; /* the loop has lost interest */
	struct doorbell *bell;
	struct errand_calls calls;
	void *arg;
};

static void errand_free(struct errand *errand)
{
	(void)pthread_mutex_destroy(&errand->lock); /* unlocked: cannot fail */
	memory_free(errand);
}

static void errand_drop(struct errand *errand)
{
	errand->calls.drop(errand->arg);
	errand_free(errand);
}

static void *errand_thread(void *arg)
{
	struct errand *errand = arg;
	errand->calls.run(errand->arg);
	must(pthread_mutex_lock(&errand->lock) == 0);
	errand->finished = true;
	bool mine = errand->given_up;
	if (!mine)
		doorbell_ring(errand->bell);
	must(pthread_mutex_unlock(&errand->lock) == 0);
	if (mine)
		errand_drop(errand);
	return NULL;
}

/* The thread must not be the one to get the process's signals. */
static int start_thread(struct errand *errand)
{
	pthread_t thread;
	pthread_attr_t detached;
	sigset_t all, before;
	int err = pthread_attr_init(&detached);
	if (err != 0)
		return err;
	(void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &detached, errand_thread, errand);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&detached);
	return err;
}

static void errand_finished(void *arg)
{
	struct errand *errand = arg;
	must(pthread_mutex_lock(&errand->lock) == 0); /* the thread lets go of it before we free */
	must(errand->finished && !errand->given_up);
	must(pthread_mutex_unlock(&errand->lock) == 0);

	void (*done)(void *) = errand->calls.done;
	void *done_arg = errand->arg;
	doorbell_destroy(errand->bell);
	errand_free(errand);
	done(done_arg);
}

struct errand *errand_start(struct loop *loop, const struct errand_calls *calls, void *arg)
{
	struct errand *errand = memory_clear(1, sizeof *errand);
	if (errand == NULL)
		return NULL;
	errand->calls = *calls;
	errand->arg = arg;
	must(pthread_mutex_init(&errand->lock, NULL) == 0);
	errand->bell = doorbell_create(loop, errand_finished, errand);
	if (errand->bell == NULL || start_thread(errand) != 0) {
		doorbell_destroy(errand->bell);
		errand_free(errand);
		return NULL;
	}
	return errand;
}

void errand_give_up(struct errand *errand)
{
	if (errand == NULL)
		return;
	must(pthread_mutex_lock(&errand->lock) == 0);
	errand->given_up = true;
	bool mine = errand->finished;
	doorbell_destroy(errand->bell);
	must(pthread_mutex_unlock(&errand->lock) == 0);
	if (mine)
		errand_drop(errand);
}
