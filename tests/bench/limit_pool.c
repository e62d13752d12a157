/* limit_pool - how fast jobs go to processes and answers come back, when nothing else is done.
 *
 *     limit_pool PROCESSES DEPTH JOBS CHILD [ARGUMENT...]
 *
 * So many children, each with DEPTH jobs outstanding: lines as the worker writes them, bodies of 256
 * bytes, answers counted by their newlines and not looked at. What comes back in one read is followed
 * by as many new jobs in one write. */
#include "measure.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BODY = 256, MOST = 64, ROOM = 1 << 20 };

static unsigned long last_id;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

struct process {
	pid_t pid;
	int to, from;
};

static struct process start(char **argv)
{
	int in[2], out[2];
	posix_spawn_file_actions_t actions;
	struct process process;
	char *const envp[] = {NULL};
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		fail("limit_pool: pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	if (posix_spawnp(&process.pid, argv[0], &actions, NULL, argv, envp) != 0)
		fail("limit_pool: spawn");
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	process.to = in[1];
	process.from = out[0];
	return process;
}

static unsigned long read_lines(const struct process *process)
{
	static char bytes[65536];
	unsigned long lines = 0;
	ssize_t n = read(process->from, bytes, sizeof bytes);
	if (n <= 0)
		fail("limit_pool: read");
	for (const char *at = bytes; (at = memchr(at, '\n', (size_t)(bytes + n - at))) != NULL;
	     at++)
		lines++;
	return lines;
}

static void write_jobs(const struct process *process, unsigned long jobs)
{
	static char bytes[ROOM];
	size_t len = 0;
	for (; jobs > 0; jobs--) {
		len += (size_t)sprintf(
		    bytes + len,
		    "{\"type\":\"job\",\"id\":\"%lu\",\"source\":\"cache\",\"queue\":\"bench\","
		    "\"attempt\":1,\"interruptions\":0,\"crashes\":0,\"redelivered\":false,"
		    "\"timeout_ms\":0,\"bytes\":%d}\n",
		    ++last_id, BODY);
		memset(bytes + len, 'x', BODY);
		len += BODY;
	}
	for (size_t at = 0; at < len;) {
		ssize_t n = write(process->to, bytes + at, len - at);
		if (n <= 0)
			fail("limit_pool: write");
		at += (size_t)n;
	}
}

int main(int argc, char **argv)
{
	struct process processes[MOST];
	struct pollfd polled[MOST];
	if (argc < 5) {
		fprintf(stderr, "usage: limit_pool PROCESSES DEPTH JOBS CHILD [ARGUMENT...]\n");
		return 64;
	}
	nfds_t n = strtoul(argv[1], NULL, 10);
	unsigned long depth = strtoul(argv[2], NULL, 10), jobs = strtoul(argv[3], NULL, 10);
	unsigned long begun = 0, ended = 0;
	for (nfds_t i = 0; i < n && i < MOST; i++) {
		processes[i] = start(argv + 4);
		polled[i] = (struct pollfd){.fd = processes[i].from, .events = POLLIN};
		(void)read_lines(&processes[i]); /* ready */
	}
	struct measure since = measure_now();
	for (nfds_t i = 0; i < n; i++) {
		write_jobs(&processes[i], depth);
		begun += depth;
	}
	while (ended < jobs) {
		if (n > 1 && poll(polled, n, -1) < 0)
			fail("limit_pool: poll");
		for (nfds_t i = 0; i < n; i++) {
			if (n > 1 && polled[i].revents == 0)
				continue;
			unsigned long more = read_lines(&processes[i]);
			ended += more;
			if (begun < jobs)
				write_jobs(&processes[i], more);
			begun += more;
		}
	}
	measure_print(stdout, &since, ended);
	for (nfds_t i = 0; i < n; i++) {
		close(processes[i].to);
		waitpid(processes[i].pid, NULL, 0);
	}
	return 0;
}
