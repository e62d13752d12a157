/* Reaping asks for any child and takes only those we know: a plugin that calls system() waits for its
 * own, and would not find it. So the end of a child is looked at first (WNOWAIT) and taken when it is known
 * to be ours. Where a stranger stands in front of the kernel's line and nobody takes it, each of ours
 * is asked for by name.
 *
 * As PID 1 of a container, or where it is a subreaper, the worker inherits the orphans of its jobs, and
 * nobody else would bury them. They are told from a plugin's own children by their session: each child of
 * ours begins a new one, in which its descendants are; who is in the worker's own was started in here. */
#include "executors/child/children.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "executors/child/birth.h"
#include "executors/child/group.h"
#include "executors/child/guardian.h"
#include "executors/child/spawn_profile.h"
#include "executors/child/strays.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	BUCKETS = 256, /* process ids come in sequence, so they spread by themselves */
	GRACE_MS = 5000,
};
#define GUARDIAN_PAUSE_NS UINT64_C(1000000000) /* between two starts of it */

struct children {
	struct loop *loop;
	struct log *log;
	bool gave_birth; /* `place` is valid */
	struct birth_place place;
	struct signal_watch *sigchld;
	uint64_t grace_ms, end_ns;
	struct strays *strays;
	struct guardian *guardian;
	struct child guard; /* its process; pid 0: there is none */
	uint64_t guard_tried_ns;
	struct list buckets[BUCKETS];
};

/* One whose owner has gone. */
struct forgotten {
	struct child child;
	struct children *children;
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

static void add(struct children *children, struct child *child)
{
	list_init(&child->in_bucket);
	list_append(bucket_of(children, child->pid), &child->in_bucket);
}

/* --- reaping ---------------------------------------------------------------------------------------- */

static void hear_report(struct child *child)
{
	if (child->report_fd < 0)
		return;
	if (read(child->report_fd, &child->failure, sizeof child->failure) != sizeof child->failure)
		child->failure.errnum = 0;
	(void)close(child->report_fd);
	child->report_fd = -1;
}

/* A library that waits for any child may have been faster; then nobody knows how it ended. */
static void bury(struct children *children, struct child *child)
{
	int status = SIGKILL;
	struct rusage usage = {0};
	(void)wait4(child->pid, &status, WNOHANG, &usage);
	hear_report(child);
	list_remove(&child->in_bucket);
	guardian_note_leaderless(children->guardian, child->place);
	child->ended(child, status, &usage);
}

/* The process id of one that has ended and is still to be reaped; 0: there is none. */
static pid_t first_ended(idtype_t among, pid_t pid)
{
	siginfo_t info;
	info.si_pid = 0;
	return waitid(among, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 ? info.si_pid : 0;
}

/* They are set apart first: burying one may begin and end others. */
static void bury_each_that_ended(struct children *children)
{
	struct list ended, *it;
	list_init(&ended);
	for (int i = 0; i < BUCKETS; i++) {
		list_each_safe (known, &children->buckets[i]) {
			struct child *child = list_entry(known, struct child, in_bucket);
			if (first_ended(P_PID, child->pid) == 0)
				continue;
			list_remove(known);
			list_append(&ended, known);
		}
	}
	while ((it = list_take_first(&ended)) != NULL)
		bury(children, list_entry(it, struct child, in_bucket));
}

static bool adopts_orphans(void)
{
	int subreaper = 0;
	return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper != 0);
}

/* False: it is somebody's in this process, who will ask for it. */
static bool bury_orphan(struct children *children, pid_t pid)
{
	if (!adopts_orphans() || getsid(pid) == getsid(0))
		return false;
	log_say(children->log, LOG_DEBUG, "orphan reaped", kv_int("pid", pid));
	return waitpid(pid, NULL, WNOHANG) == pid;
}

static void reap(void *arg, int signum)
{
	struct children *children = arg;
	pid_t pid;
	(void)signum;
	/* One SIGCHLD may stand for many. */
	while ((pid = first_ended(P_ALL, 0)) != 0) {
		struct child *child = find(children, pid);
		if (child != NULL) {
			bury(children, child);
		} else if (!bury_orphan(children, pid)) {
			bury_each_that_ended(children);
			return;
		}
	}
}

/* --- groups ----------------------------------------------------------------------------------------- */

void children_signal(const struct child *child, int signum)
{
	(void)kill(-child->pid, signum);
}

bool children_group_lives(struct children *children, struct child *child)
{
	if (group_lives(child->pid, &child->witness))
		return true;
	guardian_leave(children->guardian, child->place);
	child->place = GUARDIAN_NO_PLACE;
	return false;
}

void children_leave_group(struct children *children, struct child *child)
{
	if (children_group_lives(children, child))
		strays_add(children->strays, child->pid, child->witness, child->place,
			   children->grace_ms);
}

void children_set_grace(struct children *children, uint64_t grace_ms)
{
	children->grace_ms = grace_ms;
}

void children_set_end(struct children *children, uint64_t end_ns)
{
	children->end_ns = end_ns;
}

uint64_t children_grace_ms(const struct children *children)
{
	return children->grace_ms;
}

/* --- the guardian ----------------------------------------------------------------------------------- */

static void guard_ended(struct child *child, int status, const struct rusage *usage)
{
	struct children *children = list_entry(child, struct children, guard);
	(void)status, (void)usage;
	log_say(children->log, LOG_WARN, "guardian ended, another one comes with the next process",
		kv_int("pid", child->pid));
	child->pid = 0;
}

void children_guard(struct children *children)
{
	uint64_t now_ns = loop_now_ns(children->loop);
	if (children->guard.pid > 0 || (children->guard_tried_ns != 0 &&
					now_ns - children->guard_tried_ns < GUARDIAN_PAUSE_NS))
		return;
	children->guard_tried_ns = now_ns;
	children->guard.pid = guardian_start(children->guardian);
	if (children->guard.pid > 0) {
		add(children, &children->guard);
		return;
	}
	children->guard.pid = 0;
	log_say(children->log, LOG_WARN,
		"no guardian: what jobs start themselves outlives a worker that is killed",
		kv_text("why", strerror(errno)));
}

static void dismiss_guard(struct children *children)
{
	if (children->guard.pid <= 0)
		return;
	(void)kill(children->guard.pid, SIGKILL);
	(void)waitpid(children->guard.pid, NULL, 0);
	list_remove(&children->guard.in_bucket);
}

/* --- life ------------------------------------------------------------------------------------------- */

/* The mask is inherited: whoever started us may have blocked what we wait for. */
static void prepare_signals(void)
{
	sigset_t chld;
	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	(void)pthread_sigmask(SIG_UNBLOCK, &chld, NULL);
	(void)signal(SIGPIPE, SIG_IGN); /* a child that closes its stdin unread is no emergency */
}

static enum status build(struct children *children, struct loop *loop, struct error *why)
{
	children->guardian = guardian_create();
	if (children->guardian != NULL)
		children->strays = strays_create(loop, children->log, children->guardian);
	if (children->strays == NULL)
		return error_set(why, ST_NOMEM, "children: out of memory");
	children->sigchld = signal_watch_create(loop, SIGCHLD, reap, children);
	if (children->sigchld == NULL)
		return error_set(why, ST_SYSTEM, "children: cannot watch SIGCHLD");
	return ST_OK;
}

enum status children_create(struct loop *loop, struct log *log, struct children **ret_children,
			    struct error *why)
{
	struct children *children = memory_clear(1, sizeof *children);
	if (children == NULL)
		return error_set(why, ST_NOMEM, "children: out of memory");
	children->loop = loop;
	children->log = log;
	children->grace_ms = GRACE_MS;
	children->end_ns = UINT64_MAX;
	children->guard.ended = guard_ended;
	children->guard.report_fd = -1;
	for (int i = 0; i < BUCKETS; i++)
		list_init(&children->buckets[i]);
	prepare_signals();
	enum status st = build(children, loop, why);
	if (st != ST_OK) {
		children_destroy(children);
		return st;
	}
	*ret_children = children;
	return ST_OK;
}

static void was_forgotten(struct child *child, int status, const struct rusage *usage)
{
	struct forgotten *forgotten = list_entry(child, struct forgotten, child);
	(void)status, (void)usage;
	children_leave_group(forgotten->children, child);
	memory_free(forgotten);
}

static void free_forgotten(struct children *children)
{
	for (int i = 0; i < BUCKETS; i++) {
		struct list *it;
		while ((it = list_take_first(&children->buckets[i])) != NULL) {
			struct child *child = list_entry(it, struct child, in_bucket);
			must(child->ended == was_forgotten);
			hear_report(child);
			memory_free(list_entry(child, struct forgotten, child));
		}
	}
}

void children_destroy(struct children *children)
{
	if (children == NULL)
		return;
	if (children->guardian != NULL)
		guardian_kill_all(children->guardian);
	dismiss_guard(children);
	free_forgotten(children);
	if (children->sigchld != NULL)
		signal_watch_destroy(children->sigchld);
	strays_destroy(children->strays);
	guardian_destroy(children->guardian);
	memory_free(children);
}

void children_kill_all(const struct children *children)
{
	guardian_kill_all(children->guardian);
}

/* Without memory nobody will reap it: it stays a zombie. */
void children_forget(struct children *children, struct child *child)
{
	list_remove(&child->in_bucket);
	struct forgotten *forgotten = memory_clear(1, sizeof *forgotten);
	if (forgotten == NULL) {
		hear_report(child);
		return;
	}
	forgotten->children = children;
	forgotten->child = *child;
	forgotten->child.ended = was_forgotten;
	add(children, &forgotten->child);
}

static uint64_t now_ns(void) /* the loop's clock */
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Without pidfd_open() (before Linux 5.3) there is no waiting with a limit, and so none. The end of another
 * interrupts the poll. */
static void await_end(pid_t pid, uint64_t until_ns)
{
	enum { LONGEST_MS = 1000 * 60 * 60 };
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t at_ns;
	if (ended.fd < 0)
		return;
	while ((at_ns = now_ns()) < until_ns) {
		uint64_t left_ms = (until_ns - at_ns + 999999) / 1000000;
		int n = poll(&ended, 1, (int)(left_ms < LONGEST_MS ? left_ms : LONGEST_MS));
		if (n > 0 || (n < 0 && errno != EINTR))
			break;
	}
	(void)close(ended.fd);
}

bool children_reap(struct children *children, struct child *child, uint64_t until_ns)
{
	int status;
	await_end(child->pid, until_ns < children->end_ns ? until_ns : children->end_ns);
	if (waitpid(child->pid, &status, WNOHANG) == 0)
		return false;
	list_remove(&child->in_bucket);
	hear_report(child);
	guardian_note_leaderless(children->guardian, child->place);
	children_leave_group(children, child);
	return true;
}

bool children_never_ran(const struct child *child, const struct spawn *spawn, struct error *why)
{
	const struct spawn_profile *profile = spawn->profile;
	int errnum = child->failure.errnum;
	if (errnum == 0)
		return false;
	switch ((enum become_step)child->failure.step) {
	case BECOME_USER:
		(void)error_system(why, errnum, "user %s", profile->user);
		return true;
	case BECOME_DIRECTORY:
		(void)error_system(why, errnum, "directory %s", profile->directory);
		return true;
	case BECOME_LIMITS:
		(void)error_system(why, errnum, "limits");
		return true;
	case BECOME_EXEC:
		break;
	}
	(void)error_system(why, errnum, "%s", spawn->path);
	return true;
}

/* See become.h. */
static enum status give_birth_to_another(struct children *children, const struct spawn *spawn,
					 const struct guarded_place *guarded, struct child *child,
					 struct error *why)
{
	int report[2];
	struct spawn step = *spawn;
	if (pipe2(report, O_CLOEXEC | O_NONBLOCK) != 0)
		return error_system(why, errno, "pipe");
	char **argv = become_argv(spawn->profile->becomes, spawn, (int)spawn->n_fds);
	step.path = BECOME_PROGRAM;
	step.argv = argv;
	step.profile = NULL;
	step.fds[step.n_fds++] = report[1];
	enum status st = argv != NULL
			     ? birth_give(&children->place, &step, guarded, &child->pid, why)
			     : error_set(why, ST_NOMEM, "out of memory");
	memory_free(argv);
	(void)close(report[1]);
	if (st == ST_OK)
		child->report_fd = report[0];
	else
		(void)close(report[0]);
	return st;
}

enum status children_spawn(struct children *children, const struct spawn *spawn,
			   struct child *child, struct error *why)
{
	must(spawn->n_fds >= 3 && spawn->n_fds <= SPAWN_FDS);
	if (!children->gave_birth) /* by now everybody has set what signals he wants */
		birth_prepare(&children->place);
	children->gave_birth = true;
	children_guard(children);
	child->witness = 0;
	child->place = guardian_take_place(children->guardian);
	struct guarded_place guarded = {children->guardian, child->place};
	child->report_fd = -1;
	child->failure.errnum = 0;
	struct spawn how = *spawn;
	how.may_gain_privileges = spawn->profile != NULL && spawn->profile->may_gain_privileges;
	bool another = spawn->profile != NULL && spawn->profile->as.changes;
	enum status st = another ? give_birth_to_another(children, &how, &guarded, child, why)
				 : birth_give(&children->place, &how, &guarded, &child->pid, why);
	if (st == ST_OK)
		add(children, child);
	else
		guardian_leave(children->guardian, child->place);
	return st;
}
