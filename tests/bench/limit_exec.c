/* limit_exec - how fast this machine starts and reaps /bin/true, so many side by side.
 *
 *     limit_exec PARALLEL JOBS
 *
 * posix_spawn (glibc: clone with CLONE_VFORK, so the parent's size does not matter) and waitpid,
 * with nothing between them: no pipes, no group, no timeout. What an exec handler costs beyond
 * this is what the worker adds to it. */
#include "measure.h"

#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

static void spawn_one(void)
{
	char *const argv[] = {"/bin/true", NULL};
	char *const envp[] = {NULL};
	pid_t pid;
	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, envp) != 0) {
		perror("limit_exec: posix_spawn");
		exit(1);
	}
}

static void reap_one(void)
{
	int status;
	if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "limit_exec: /bin/true failed\n");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: limit_exec PARALLEL JOBS\n");
		return 64;
	}
	unsigned long parallel = strtoul(argv[1], NULL, 10);
	unsigned long jobs = strtoul(argv[2], NULL, 10);
	unsigned long begun = 0, ended = 0;

	struct measure start = measure_now();
	while (ended < jobs) {
		for (; begun < jobs && begun - ended < parallel; begun++)
			spawn_one();
		reap_one();
		ended++;
	}
	measure_print(stdout, &start, jobs);
	return 0;
}
