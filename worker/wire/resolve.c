/* getaddrinfo(3) cannot be interrupted, and a DNS server that does not answer holds it for half a
 * minute; so it is an errand. */
#include "wire/resolve.h"

#include "base/memory.h"
#include "loop/errand.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

struct resolve {
	struct errand *errand;
	void (*done)(void *arg, int error, struct addrinfo *found);
	void *arg;
	int error;
	struct addrinfo *found;
	char port[12];
	char host[];
};

static void lookup_run(void *arg)
{
	struct resolve *lookup = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	lookup->error = getaddrinfo(lookup->host, lookup->port, &hints, &found);
	lookup->found = lookup->error == 0 ? found : NULL;
}

static void lookup_done(void *arg)
{
	struct resolve *lookup = arg;
	void (*done)(void *, int, struct addrinfo *) = lookup->done;
	void *done_arg = lookup->arg;
	int error = lookup->error;
	struct addrinfo *found = lookup->found;
	memory_free(lookup);
	done(done_arg, error, found);
}

static void lookup_drop(void *arg)
{
	struct resolve *lookup = arg;
	if (lookup->found != NULL)
		freeaddrinfo(lookup->found);
	memory_free(lookup);
}

struct resolve *resolve_start(struct loop *loop, const char *host, unsigned port,
			      void (*done)(void *arg, int error, struct addrinfo *found), void *arg)
{
	static const struct errand_calls calls = {lookup_run, lookup_done, lookup_drop};
	size_t host_bytes = strlen(host) + 1;
	struct resolve *lookup = memory_clear(1, sizeof *lookup + host_bytes);
	if (lookup == NULL)
		return NULL;
	memcpy(lookup->host, host, host_bytes);
	(void)snprintf(lookup->port, sizeof lookup->port, "%u", port);
	lookup->done = done;
	lookup->arg = arg;
	lookup->errand = errand_start(loop, &calls, lookup);
	if (lookup->errand == NULL) {
		memory_free(lookup);
		return NULL;
	}
	return lookup;
}

void resolve_cancel(struct resolve *lookup)
{
	if (lookup != NULL)
		errand_give_up(lookup->errand);
}
