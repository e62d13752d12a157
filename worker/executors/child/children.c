/* Reaping asks for any child, not for those we know: as PID 1 of a container the worker inherits
 * the orphans of its jobs, and nobody else would bury them. */
#include "executors/child/children.h"

#include "base/memory.h"
#include "base/must.h"
#include "executors/child/birth.h"
#include "loop/loop.h"
#include "observe/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS = 256 }; /* process ids come in sequence, so they spread by themselves */

struct children {
	struct log *log;
	bool gave_birth; /* `place` is valid */
	struct birth_place place;
	struct signal_watch *sigchld;
	struct list buckets[BUCKETS];
};

static struct list *bucket_of(struct children *children, pid_t pid)
{
	return &children->buckets[(size_t)pid % BUCKETS];
}

static struct child *find(struct children *children, pid_t pid)
{
	list_each (it, bucket_of(children, pid)) {
		struct child *child = list_entry(it, struct child, in_bucket);
		if (child->pid == pid)
			return child;
	}
	return NULL;
}

static void bury(struct children *children, pid_t pid, int status, const struct rusage *usage)
{
	struct child *child = find(children, pid);
	if (child == NULL) {
		log_say(children->log, LOG_DEBUG, "orphan reaped", kv_int("pid", pid));
		return;
	}
	list_remove(&child->in_bucket);
	child->ended(child, status, usage);
}

static void reap(void *arg, int signum)
{
	(void)signum;
	int status;
	struct rusage usage;
	pid_t pid;
	/* One SIGCHLD may stand for many. */
	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
		bury(arg, pid, status, &usage);
}

/* The mask is inherited: whoever started us may have blocked what we wait for. */
static void prepare_signals(void)
{
	sigset_t chld;
	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	(void)pthread_sigmask(SIG_UNBLOCK, &chld, NULL);
	(void)signal(SIGPIPE, SIG_IGN); /* a child that closes its stdin unread is no emergency */
}

enum status children_create(struct loop *loop, struct log *log, struct children **ret_children,
			    struct error *why)
{
	struct children *children = memory_clear(1, sizeof *children);
	if (children == NULL)
		return error_set(why, ST_NOMEM, "children: out of memory");
	children->log = log;
	for (int i = 0; i < BUCKETS; i++)
		list_init(&children->buckets[i]);
	prepare_signals();
	children->sigchld = signal_watch_create(loop, SIGCHLD, reap, children);
	if (children->sigchld == NULL) {
		memory_free(children);
		return error_set(why, ST_SYSTEM, "children: cannot watch SIGCHLD");
	}
	*ret_children = children;
	return ST_OK;
}

void children_destroy(struct children *children)
{
	if (children == NULL)
		return;
	for (int i = 0; i < BUCKETS; i++)
		must(list_empty(&children->buckets[i]));
	signal_watch_destroy(children->sigchld);
	memory_free(children);
}

void children_kill_all(const struct children *children)
{
	for (size_t i = 0; i < BUCKETS; i++)
		list_each (it, &children->buckets[i]) {
			const struct child *child = list_entry(it, const struct child, in_bucket);
			(void)kill(-child->pid, SIGKILL); /* it may have just ended */
		}
}

void children_forget(struct child *child)
{
	list_remove(&child->in_bucket);
}

static uint64_t now_ns(void) /* the loop's clock */
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Without pidfd_open() (before Linux 5.3) there is no waiting with a limit, and so none. */
static void await_end(pid_t pid, uint64_t until_ns)
{
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t at_ns = now_ns();
	if (ended.fd < 0)
		return;
	if (at_ns < until_ns)
		(void)poll(&ended, 1, (int)((until_ns - at_ns + 999999) / 1000000));
	(void)close(ended.fd);
}

bool children_reap(struct child *child, uint64_t until_ns)
{
	int status;
	await_end(child->pid, until_ns);
	if (waitpid(child->pid, &status, WNOHANG) == 0)
		return false;
	list_remove(&child->in_bucket);
	return true;
}

enum status children_spawn(struct children *children, const struct spawn *spawn,
			   struct child *child, struct error *why)
{
	must(spawn->n_fds >= 3 && spawn->n_fds <= SPAWN_FDS);
	if (!children->gave_birth) /* by now everybody has set what signals he wants */
		birth_prepare(&children->place);
	children->gave_birth = true;
	enum status st = birth_give(&children->place, spawn, &child->pid, why);
	if (st != ST_OK)
		return st;
	list_init(&child->in_bucket);
	list_append(bucket_of(children, child->pid), &child->in_bucket);
	return ST_OK;
}
