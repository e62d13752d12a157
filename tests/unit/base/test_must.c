/* A failed assertion ends the process at once, whoever does not read what it says. */
#include "base/must.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void fail_with_stderr(int fd)
{
	struct rlimit none = {0, 0};
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)signal(SIGABRT, SIG_DFL);
	(void)dup2(fd, STDERR_FILENO);
	(void)alarm(10); /* another signal than the one that is expected */
	must(fd < 0);
	_exit(0);
}

static int status_of_child(int fd)
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		fail_with_stderr(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void fill(int fd)
{
	char bytes[4096] = {0};
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, bytes, sizeof bytes) > 0)
		continue;
	(void)fcntl(fd, F_SETFL, 0);
}

static void test_a_full_pipe_does_not_hold_it(void **state)
{
	(void)state;
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	fill(ends[1]);
	int status = status_of_child(ends[1]);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void test_it_says_where(void **state)
{
	(void)state;
	int ends[2];
	char text[512] = "";
	assert_int_equal(pipe(ends), 0);
	int status = status_of_child(ends[1]);
	assert_true(WIFSIGNALED(status));
	assert_true(read(ends[0], text, sizeof text - 1) > 0);
	assert_non_null(strstr(text, "test_must.c"));
	assert_non_null(strstr(text, "must(fd < 0)"));
	(void)close(ends[0]);
	(void)close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_full_pipe_does_not_hold_it),
	    cmocka_unit_test(test_it_says_where),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
