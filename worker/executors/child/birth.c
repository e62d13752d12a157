/* A worker that runs a process for each job spends its time here, so the way of being born matters.
 * fork() copies page tables: 188 spawns a second from a parent of 256 MB. vfork() copies nothing,
 * so its price does not depend on the worker's size. posix_spawn() would be vfork() with manners,
 * but cannot ask for a death signal, and libuv's uv_spawn() forks.
 *
 * The price of vfork() is that parent and child share memory, stack included, until the exec. So
 * the child (be_born) makes system calls and nothing else, and no signal handler of ours may run
 * in it: every signal is blocked around the vfork, and unblocked in the child only when each has
 * its default action. In return the child can tell why it failed by writing to a variable.
 *
 * A signal to the worker's whole group may come in the moment before the child has a session of its own.
 * It was not meant for the child, which would die of it: what is pending then is thrown away.
 *
 *
 * So it does not become another user either: become.h says who does that, and why. */
#include "executors/child/birth.h"

#include "executors/child/children.h"
#include "executors/child/guardian.h"
#include "executors/child/spawn_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ThreadSanitizer turns vfork() into fork(), where memory is not shared and the parent does not
 * wait. There a close-on-exec pipe says what `failure` says elsewhere: bytes are a failure, the end
 * is a successful exec. */
#if defined(__SANITIZE_THREAD__)
#define VFORK_FORKS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VFORK_FORKS 1
#endif
#endif

enum birth_step { STEP_DESCRIPTORS, STEP_DIRECTORY, STEP_LIMITS, STEP_EXEC };

struct failure {
	int step;
	int errnum; /* 0: none */
};

struct birth {
	const struct spawn *spawn;
	const struct birth_place *place;
	const struct guarded_place *guarded;
	volatile struct failure failure; /* volatile because another process writes it */
#ifdef VFORK_FORKS
	int tell[2];
#endif
};

void birth_prepare(struct birth_place *place)
{
	place->parent = getpid();
	place->n_signals = 0;
	for (int signum = 1; signum < NSIG; signum++) {
		struct sigaction act;
		if (sigaction(signum, NULL, &act) == 0 && act.sa_handler != SIG_DFL)
			place->signals[place->n_signals++] = signum;
	}
}

/* --- in the child, in the parent's memory: system calls only -------------------------------------- */

static _Noreturn void fail_birth(struct birth *birth, enum birth_step step)
{
	birth->failure.step = (int)step;
	birth->failure.errnum = errno;
#ifdef VFORK_FORKS
	struct failure failure = {(int)step, errno};
	(void)!write(birth->tell[1], &failure, sizeof failure); /* the parent is gone: so be it */
#endif
	_exit(127);
}

static void default_signals(const struct birth_place *place)
{
	struct sigaction act;
	sigset_t pending;
	memset(&act, 0, sizeof act);
	(void)sigemptyset(&act.sa_mask);
	(void)sigpending(&pending);
	for (int i = 0; i < place->n_signals; i++) {
		int signum = place->signals[i];
		act.sa_handler = SIG_IGN;
		if (sigismember(&pending, signum))
			(void)sigaction(signum, &act, NULL);
		act.sa_handler = SIG_DFL;
		(void)sigaction(signum, &act, NULL);
	}
	(void)sigprocmask(SIG_SETMASK, &act.sa_mask, NULL);
}

/* A descriptor of ours may bear a number that one of the child's is to have: it moves out of the way
 * first. That is rare. */
static void take_descriptors(struct birth *birth)
{
	const struct spawn *spawn = birth->spawn;
	int from[SPAWN_FDS + 1];
	for (unsigned i = 0; i < spawn->n_fds; i++) {
		from[i] = spawn->fds[i];
		if (from[i] < (int)spawn->n_fds)
			from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, (int)spawn->n_fds);
		if (from[i] < 0)
			fail_birth(birth, STEP_DESCRIPTORS);
	}
	for (unsigned i = 0; i < spawn->n_fds; i++)
		if (dup2(from[i], (int)i) < 0)
			fail_birth(birth, STEP_DESCRIPTORS);
	/* Ours are close-on-exec from birth; a plugin's or an inherited one may not be. Kernels before
	 * 5.11 refuse, and then there is only the former. */
	(void)close_range(spawn->n_fds, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void take_profile(struct birth *birth, const struct spawn_profile *profile)
{
	if (profile->directory != NULL && chdir(profile->directory) != 0)
		fail_birth(birth, STEP_DIRECTORY);
	for (unsigned i = 0; i < profile->n_limits; i++)
		if (setrlimit((__rlimit_resource_t)profile->limits[i].resource,
			      &profile->limits[i].most) != 0)
			fail_birth(birth, STEP_LIMITS);
}

static _Noreturn void be_born(struct birth *birth)
{
	const struct spawn *spawn = birth->spawn;
	(void)setsid(); /* cannot fail for a process that is new and leads nothing */
	guardian_enter(birth->guarded->guardian, birth->guarded->place, getpid());
	take_descriptors(birth);
	if (spawn->profile != NULL)
		take_profile(birth, spawn->profile);
	if (!spawn->may_gain_privileges)
		(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != birth->place->parent) /* it died before that, and no signal will come */
		_exit(127);
	default_signals(birth->place);
	(void)execve(spawn->path, spawn->argv, spawn->envp);
	fail_birth(birth, STEP_EXEC);
}

/* --- in the parent ---------------------------------------------------------------------------------- */

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
	struct failure failure;
	if (pipe2(birth->tell, O_CLOEXEC) != 0)
		return -1;
	pid_t pid = give_birth(birth);
	(void)close(birth->tell[1]);
	if (pid > 0 && read(birth->tell[0], &failure, sizeof failure) == sizeof failure) {
		birth->failure.step = failure.step;
		birth->failure.errnum = failure.errnum;
	}
	(void)close(birth->tell[0]);
	return pid;
#else
	return give_birth(birth);
#endif
}

static enum status explain(const struct birth *birth, struct error *why)
{
	const struct spawn *spawn = birth->spawn;
	int errnum = birth->failure.errnum;
	switch ((enum birth_step)birth->failure.step) {
	case STEP_DESCRIPTORS:
		return error_system(why, errnum, "descriptors");
	case STEP_DIRECTORY:
		return error_system(why, errnum, "directory %s", spawn->profile->directory);
	case STEP_LIMITS:
		return error_system(why, errnum, "limits");
	case STEP_EXEC:
		break;
	}
	if (errnum == E2BIG) /* of what this one is handed: another would have fared better */
		return error_set(why, ST_INVALID, "%s: %s", spawn->path, strerror(errnum));
	return error_system(why, errnum, "%s", spawn->path);
}

enum status birth_give(const struct birth_place *place, const struct spawn *spawn,
		       const struct guarded_place *guarded, pid_t *ret_pid, struct error *why)
{
	struct birth birth = {.spawn = spawn, .place = place, .guarded = guarded};
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = give_birth_and_hear(&birth);
	int errnum = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return error_system(why, errnum, "new process");
	if (birth.failure.errnum != 0) {
		(void)waitpid(pid, NULL, 0); /* it is on its way out already */
		return explain(&birth, why);
	}
	*ret_pid = pid;
	return ST_OK;
}
