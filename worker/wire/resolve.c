/* Why not uv_getaddrinfo()? getaddrinfo(3) cannot be interrupted, and a DNS server that does not
 * answer holds it for half a minute. libuv joins its pool threads when the process exits, so such
 * a lookup would hold the exit past the drain's deadline. A detached thread is left behind instead:
 * its end is nobody's business any more.
 *
 * The lookup has two owners, the loop and the thread, and the second one to let go frees it. The
 * lock makes "is the loop still interested" and "ring the bell" one step, so a bell is never rung
 * after it was destroyed. */
#include "wire/resolve.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct resolve {
	pthread_mutex_t lock;
	bool answered;  /* the thread is through and touches nothing here any more */
	bool cancelled; /* the loop has lost interest */
	struct doorbell *bell;
	void (*done)(void *arg, int error, struct addrinfo *found);
	void *arg;
	int error;
	struct addrinfo *found;
	char port[12];
	char host[];
};

static void lookup_free(struct resolve *lookup)
{
	if (lookup->found != NULL)
		freeaddrinfo(lookup->found);
	(void)pthread_mutex_destroy(&lookup->lock); /* unlocked: cannot fail */
	memory_free(lookup);
}

static void *lookup_thread(void *arg)
{
	struct resolve *lookup = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	int error = getaddrinfo(lookup->host, lookup->port, &hints, &found);

	must(pthread_mutex_lock(&lookup->lock) == 0);
	lookup->answered = true;
	lookup->error = error;
	lookup->found = error == 0 ? found : NULL;
	bool mine = lookup->cancelled;
	if (!mine)
		doorbell_ring(lookup->bell);
	must(pthread_mutex_unlock(&lookup->lock) == 0);
	if (mine)
		lookup_free(lookup);
	return NULL;
}

/* The thread must not be the one to get the process's signals. */
static int start_thread(struct resolve *lookup)
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
	err = pthread_create(&thread, &detached, lookup_thread, lookup);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&detached);
	return err;
}

static void lookup_answered(void *arg)
{
	struct resolve *lookup = arg;
	must(pthread_mutex_lock(&lookup->lock) == 0); /* the thread lets go of it before we free */
	must(lookup->answered && !lookup->cancelled);
	must(pthread_mutex_unlock(&lookup->lock) == 0);

	void (*done)(void *, int, struct addrinfo *) = lookup->done;
	void *done_arg = lookup->arg;
	int error = lookup->error;
	struct addrinfo *found = lookup->found;
	lookup->found = NULL;
	doorbell_destroy(lookup->bell);
	lookup_free(lookup);
	done(done_arg, error, found);
}

struct resolve *resolve_start(struct loop *loop, const char *host, unsigned port,
			      void (*done)(void *arg, int error, struct addrinfo *found), void *arg)
{
	size_t host_bytes = strlen(host) + 1;
	struct resolve *lookup = memory_clear(1, sizeof *lookup + host_bytes);
	if (lookup == NULL)
		return NULL;
	memcpy(lookup->host, host, host_bytes);
	(void)snprintf(lookup->port, sizeof lookup->port, "%u", port);
	lookup->done = done;
	lookup->arg = arg;
	must(pthread_mutex_init(&lookup->lock, NULL) == 0);
	lookup->bell = doorbell_create(loop, lookup_answered, lookup);
	if (lookup->bell == NULL || start_thread(lookup) != 0) {
		doorbell_destroy(lookup->bell);
		lookup_free(lookup);
		return NULL;
	}
	return lookup;
}

void resolve_cancel(struct resolve *lookup)
{
	if (lookup == NULL)
		return;
	must(pthread_mutex_lock(&lookup->lock) == 0);
	lookup->cancelled = true;
	bool mine = lookup->answered;
	doorbell_destroy(lookup->bell);
	must(pthread_mutex_unlock(&lookup->lock) == 0);
	if (mine)
		lookup_free(lookup);
}
