/* Who gets the socket's file: one of those that try at once, nobody else's place, and what is said to the rest. */
#include "admin/listener.h"

#include "base/must.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 40, AT_ONCE = 6 };

static char folder[] = "/tmp/outfall-listener.XXXXXX";
static char path[64];

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	(void)snprintf(path, sizeof path, "%s/a.sock", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder); /* nothing is left in it, no lock either */
}

static int connected(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	memcpy(un.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(fd >= 0);
	if (connect(fd, (const struct sockaddr *)&un, sizeof un) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* As a worker that was killed leaves it. */
static void leave_behind(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	memcpy(un.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&un, sizeof un), 0);
	assert_int_equal(close(fd), 0);
}

/* Waits for the start, tries, and keeps what it got until the end. */
static void contend(int start, int said, int end)
{
	char byte;
	int fd;
	struct listener_file file;
	struct error why;
	(void)!read(start, &byte, 1);
	enum status st = listener_open_unix(path, 0600, &fd, &file, &why);
	bool clear = strstr(why.text, "somebody answers there already") != NULL;
	byte = st == ST_OK ? 'y' : clear ? 'n' : '?';
	must(write(said, &byte, 1) == 1);
	(void)!read(end, &byte, 1);
	if (st == ST_OK)
		listener_remove_file(&file);
	_exit(0);
}

static size_t race(void)
{
	int start[2], said[2], end[2];
	char answers[AT_ONCE];
	size_t owners = 0, got = 0;
	must(pipe(start) == 0 && pipe(said) == 0 && pipe(end) == 0);
	for (int i = 0; i < AT_ONCE; i++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			(void)close(start[1]);
			(void)close(end[1]);
			contend(start[0], said[1], end[0]);
		}
	}
	(void)close(start[1]); /* all of them, now */
	while (got < AT_ONCE) {
		ssize_t n = read(said[0], answers + got, sizeof answers - got);
		must(n > 0);
		got += (size_t)n;
	}
	for (size_t i = 0; i < AT_ONCE; i++) {
		owners += answers[i] == 'y';
		assert_int_not_equal(answers[i], '?');
	}
	int client = connected();
	assert_true(client >= 0); /* who has it can be reached */
	(void)close(client);
	(void)close(end[1]);
	while (wait(NULL) > 0)
		;
	(void)close(start[0]);
	(void)close(said[0]);
	(void)close(said[1]);
	(void)close(end[0]);
	return owners;
}

static void one_of_many_gets_it(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		leave_behind();
		assert_int_equal(race(), 1);
		assert_int_equal(access(path, F_OK), -1); /* it has gone with its owner */
	}
}

static void its_mode_is_what_was_asked_for(void **state)
{
	(void)state;
	int fd;
	struct listener_file file;
	struct stat st;
	assert_int_equal(listener_open_unix(path, 0640, &fd, &file, NULL), ST_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	listener_remove_file(&file);
	assert_int_equal(close(fd), 0);
}

static void a_file_that_is_no_socket_stays(void **state)
{
	(void)state;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	struct listener_file file;
	struct error why;
	assert_int_equal(close(fd), 0);
	assert_int_equal(listener_open_unix(path, 0600, &fd, &file, &why), ST_REFUSED);
	assert_non_null(strstr(why.text, "there is a file that is no socket"));
	assert_int_equal(unlink(path), 0);
}

/* Only root can be somebody else. */
static void one_of_another_user_is_named(void **state)
{
	(void)state;
	int fd, status;
	struct listener_file file;
	struct error why;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(folder, 01777), 0);
	leave_behind();
	assert_int_equal(chmod(path, 0600), 0);
	pid_t pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(setuid(65534) == 0);
		enum status st = listener_open_unix(path, 0600, &fd, &file, &why);
		_exit(st == ST_REFUSED && strstr(why.text, "a socket of root is there") != NULL
			  ? 0
			  : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(chmod(folder, 0700), 0);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_of_many_gets_it),
	    cmocka_unit_test(its_mode_is_what_was_asked_for),
	    cmocka_unit_test(a_file_that_is_no_socket_stays),
	    cmocka_unit_test(one_of_another_user_is_named),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
