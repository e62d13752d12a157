/* A worker that runs a process for each job spends its time here, so the way of being born matters.
 * fork() copies page tables: 188 spawns a second from a parent of 256 MB. vfork() copies nothing,
 * so its price does not depend on the worker's size. posix_spawn() would be vfork() with manners,
 * but cannot ask for a death signal, and libuv's uv_spawn() forks.
 *
 * The price of vfork() is that parent and child share memory, stack included, until the exec. So
 * the child (be_born) makes system calls and nothing else, and no signal handler of ours may run
 * in it: every signal is blocked around the vfork, and unblocked in the child only when each has
 * its default action. In return the child can tell why its exec failed by writing to a variable.
 *
 * Reaping asks for any child, not for those we know: as PID 1 of a container the worker inherits
 * the orphans of its jobs, and nobody else would bury them. */
#include "executors/children.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "observe/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUCKETS = 256 }; /* process ids come in sequence, so they spread by themselves */

struct children {
	struct log *log;
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

void children_forget(struct child *child)
{
	list_remove(&child->in_bucket);
}

/* --- being born --------------------------------------------------------------------------------
 * ThreadSanitizer turns vfork() into fork(), where memory is not shared and the parent does not
 * wait. There a close-on-exec pipe says what `failure` says elsewhere: bytes are an errno, the end
 * is a successful exec. */

#if defined(__SANITIZE_THREAD__)
#define VFORK_FORKS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VFORK_FORKS 1
#endif
#endif

struct birth {
	const struct spawn *spawn;
	pid_t parent;
	volatile int failure; /* errno of the child; volatile because another process writes it */
#ifdef VFORK_FORKS
	int tell[2];
#endif
};

static void default_signals(void)
{
	struct sigaction act;
	memset(&act, 0, sizeof act);
	act.sa_handler = SIG_DFL;
	for (int signum = 1; signum < NSIG; signum++)
		(void)sigaction(signum, &act, NULL); /* refused for a few, which have no other */
	(void)sigemptyset(&act.sa_mask);
	(void)sigprocmask(SIG_SETMASK, &act.sa_mask, NULL);
}

static _Noreturn void fail_birth(struct birth *birth, int errnum)
{
	birth->failure = errnum;
#ifdef VFORK_FORKS
	(void)!write(birth->tell[1], &errnum, sizeof errnum); /* the parent is gone: so be it */
#endif
	_exit(127);
}

/* In the child, in the parent's memory: system calls only. */
static _Noreturn void be_born(struct birth *birth)
{
	const struct spawn *spawn = birth->spawn;
	(void)setpgid(0, 0); /* cannot fail for a process that is new and leads nothing */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != birth->parent) /* it died before the prctl, and no signal will come */
		_exit(127);
	for (int i = 0; i < 3; i++)
		if (dup2(spawn->stdio[i], i) < 0)
			fail_birth(birth, errno);
	/* Ours are close-on-exec from birth; a plugin or an inherited one may not be. Kernels before
	 * 5.11 refuse, and then there is only the former. */
	(void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	default_signals();
	(void)execve(spawn->path, spawn->argv, spawn->envp);
	fail_birth(birth, errno);
}

/* Nothing may live across the vfork but what is in memory: keep this function bare. */
static __attribute__((noinline)) pid_t give_birth(struct birth *birth)
{
	pid_t pid = vfork();
	if (pid == 0)
		be_born(birth);
	return pid;
}

static pid_t give_birth_and_hear(struct birth *birth)
{
#ifdef VFORK_FORKS
	if (pipe2(birth->tell, O_CLOEXEC) != 0)
		return -1;
	pid_t pid = give_birth(birth);
	int errnum = 0;
	(void)close(birth->tell[1]);
	if (pid > 0 && read(birth->tell[0], &errnum, sizeof errnum) == sizeof errnum)
		birth->failure = errnum;
	(void)close(birth->tell[0]);
	return pid;
#else
	return give_birth(birth);
#endif
}

enum status children_spawn(struct children *children, const struct spawn *spawn,
			   struct child *child, struct error *why)
{
	struct birth birth = {.spawn = spawn, .parent = getpid()};
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = give_birth_and_hear(&birth);
	int errnum = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return error_system(why, errnum, "new process");
	if (birth.failure != 0) {
		(void)waitpid(pid, NULL, 0); /* it is on its way out already */
		return error_system(why, birth.failure, "%s", spawn->path);
	}
	child->pid = pid;
	list_init(&child->in_bucket);
	list_append(bucket_of(children, pid), &child->in_bucket);
	return ST_OK;
}
