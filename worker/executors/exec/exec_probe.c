/* A process that ends at once stands for the job's: what keeps the kernel from giving us one (EAGAIN,
 * ENOMEM) keeps it from that. With vfork(), because it is so for jobs, and costs nothing. */
#include "executors/exec/exec_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PIPES = 8 };

/* One that is not absolute is found from the folder it runs in, and with the rights of whom it runs as. */
static enum status probe_program(const char *path, const char *directory, struct error *why)
{
	if (directory != NULL && access(directory, F_OK) != 0)
		return error_system(why, errno, "directory %s", directory);
	if (*path != '/')
		return ST_OK;
	struct stat st;
	if (stat(path, &st) != 0 || access(path, X_OK) != 0)
		return error_system(why, errno, "%s", path);
	return S_ISREG(st.st_mode) ? ST_OK : error_system(why, EACCES, "%s", path);
}

static enum status probe_pipes(unsigned pipes, struct error *why)
{
	int fds[MOST_PIPES][2];
	unsigned n = 0;
	while (n < pipes && n < MOST_PIPES && pipe2(fds[n], O_CLOEXEC) == 0)
		n++;
	enum status st = n < pipes ? error_system(why, errno, "pipe") : ST_OK;
	while (n-- > 0) {
		(void)close(fds[n][0]);
		(void)close(fds[n][1]);
	}
	return st;
}

static __attribute__((noinline)) pid_t born_and_gone(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(0);
	return pid;
}

/* No handler of a signal of ours may run in the child, which has our memory. */
static enum status probe_birth(struct error *why)
{
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = born_and_gone();
	int errnum = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return error_system(why, errnum, "new process");
	(void)waitpid(pid, NULL, 0);
	return ST_OK;
}

enum status probe_process(const char *path, const char *directory, unsigned pipes,
			  struct error *why)
{
	enum status st = probe_program(path, directory, why);
	if (st == ST_OK)
		st = probe_pipes(pipes, why);
	return st == ST_OK ? probe_birth(why) : st;
}
