/* The socket is level-triggered: what is not taken in this turn is there in the next. */
#include "admin/acceptor.h"

#include "base/log.h"
#include "base/memory.h"
#include "loop/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum {
	AT_ONCE = 16, /* connections in one turn: a flood of them shares the loop with the jobs */
	PAUSE_MS = 1000,
};

struct acceptor {
	int fd;
	struct log *log;
	struct watch *watch;
	struct timer *pause; /* armed: nothing is taken until then */
	acceptor_came *came;
	void *arg;
	bool refused; /* the last try found no descriptor: it is said once, not each second */
};

/* One that went away while it waited, or the network's own trouble with it: the next may be fine. */
static bool is_about_one(int errnum)
{
	switch (errnum) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case ENETUNREACH:
	case ENONET:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case EPERM: /* a firewall's */
		return true;
	default:
		return false;
	}
}

static void pause_for_a_while(struct acceptor *a, int errnum)
{
	if (!a->refused)
		log_say(a->log, LOG_WARN,
			"admin cannot accept connections, trying again each second",
			kv_text("why", strerror(errnum)));
	a->refused = true;
	watch_set(a->watch, 0);
	timer_start(a->pause, PAUSE_MS);
}

/* False: there is none any more, or none can be taken now. */
static bool accept_one(struct acceptor *a)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof from;
	int fd = accept4(a->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		a->refused = false;
		a->came(a->arg, fd, (const struct sockaddr *)&from, len);
		return true;
	}
	if (errno == EAGAIN)
		return false;
	if (is_about_one(errno))
		return true;
	pause_for_a_while(a, errno);
	return false;
}

void acceptor_run(struct acceptor *a)
{
	for (int i = 0; i < AT_ONCE && accept_one(a); i++)
		;
}

static void acceptor_ready(void *arg, unsigned events)
{
	(void)events;
	acceptor_run(arg);
}

static void acceptor_resume(void *arg)
{
	struct acceptor *a = arg;
	watch_set(a->watch, WATCH_READ);
}

struct acceptor *acceptor_create(struct loop *loop, struct log *log, int listener,
				 acceptor_came *came, void *arg)
{
	struct acceptor *a = memory_clear(1, sizeof *a);
	if (a == NULL)
		return NULL;
	*a = (struct acceptor){.fd = listener, .log = log, .came = came, .arg = arg};
	a->watch = watch_create(loop, listener, acceptor_ready, a);
	a->pause = timer_create_on(loop, acceptor_resume, a);
	if (a->watch == NULL || a->pause == NULL) {
		watch_destroy(a->watch);
		timer_destroy(a->pause);
		memory_free(a);
		return NULL;
	}
	watch_set(a->watch, WATCH_READ);
	return a;
}

int acceptor_fd(const struct acceptor *a)
{
	return timer_armed(a->pause) ? -1 : a->fd;
}

void acceptor_destroy(struct acceptor *a)
{
	if (a == NULL)
		return;
	watch_destroy(a->watch);
	timer_destroy(a->pause);
	(void)close(a->fd); /* a listener has nothing to lose */
	memory_free(a);
}
