/* children - each is reaped, also one that is not ours, whatever we were started with. */
#include "fake_host.h"

#include "executors/children.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct fixture {
	struct fake_host fake;
	struct children *children;
};

struct one {
	struct child child;
	struct fixture *fixture;
	int status;
	bool ended;
};

static void open_fixture(struct fixture *f)
{
	fake_host_open(&f->fake);
	log_set_level(f->fake.log, LOG_DEBUG);
	assert_int_equal(children_create(f->fake.loop, f->fake.log, &f->children, NULL), ST_OK);
}

static void close_fixture(struct fixture *f)
{
	children_destroy(f->children);
	fake_host_close(&f->fake);
}

static void note_end(struct child *child, int status, const struct rusage *usage)
{
	struct one *one = list_entry(child, struct one, child);
	assert_true(usage->ru_maxrss > 0);
	one->status = status;
	one->ended = true;
}

static bool has_ended(void *arg)
{
	return ((struct one *)arg)->ended;
}

static enum status run_script(struct fixture *f, struct one *one, const char *program,
			      const char *script, struct error *why)
{
	const char *argv[] = {program, "-c", script, NULL};
	struct spawn how = {
	    .path = program,
	    .argv = (char *const *)argv,
	    .envp = environ,
	    .stdio = {0, 1, 2},
	};
	*one = (struct one){.child = {.ended = note_end}, .fixture = f};
	return children_spawn(f->children, &how, &one->child, why);
}

static void each_end_finds_its_child(void **state)
{
	(void)state;
	enum { MANY = 300 }; /* more than there are buckets */
	static struct one all[MANY];
	struct fixture f;
	open_fixture(&f);
	for (int i = 0; i < MANY; i++) {
		char script[16];
		(void)snprintf(script, sizeof script, "exit %d", i % 100);
		assert_int_equal(run_script(&f, &all[i], "/bin/sh", script, NULL), ST_OK);
	}
	for (int i = 0; i < MANY; i++) {
		if (!all[i].ended)
			fake_run_while_not(&f.fake, has_ended, &all[i]);
		assert_true(WIFEXITED(all[i].status));
		assert_int_equal(WEXITSTATUS(all[i].status), i % 100);
	}
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	close_fixture(&f);
}

static void a_failed_exec_says_why_and_leaves_no_zombie(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	struct error why;
	open_fixture(&f);
	assert_int_equal(run_script(&f, &one, "/no/such", "", &why), ST_SYSTEM);
	assert_string_equal(why.text, "/no/such: No such file or directory");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	close_fixture(&f);
}

static bool is_buried(void *arg)
{
	char *text = fake_log_text(arg);
	bool buried = strstr(text, "orphan reaped") != NULL;
	free(text);
	return buried;
}

/* What PID 1 of a container lives with. */
static void orphans_are_reaped_too(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	open_fixture(&f);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	/* Its child outlives it and becomes ours. */
	assert_int_equal(run_script(&f, &one, "/bin/sh", "sleep 0.1 & exit 7", NULL), ST_OK);
	fake_run_while_not(&f.fake, has_ended, &one);
	assert_int_equal(WEXITSTATUS(one.status), 7);
	fake_run_while_not(&f.fake, is_buried, &f.fake);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	close_fixture(&f);
}

static void a_forgotten_child_is_reaped_in_silence(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	open_fixture(&f);
	assert_int_equal(run_script(&f, &one, "/bin/sh", "exit 0", NULL), ST_OK);
	children_forget(&one.child);
	fake_run_while_not(&f.fake, is_buried, &f.fake);
	assert_false(one.ended);
	close_fixture(&f);
}

static void a_blocked_or_ignored_sigchld_is_no_obstacle(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	sigset_t chld, before;
	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	(void)signal(SIGCHLD, SIG_IGN); /* as whoever starts us may leave it */
	(void)sigprocmask(SIG_BLOCK, &chld, &before);
	open_fixture(&f);
	assert_int_equal(run_script(&f, &one, "/bin/sh", "exit 3", NULL), ST_OK);
	fake_run_while_not(&f.fake, has_ended, &one);
	assert_int_equal(WEXITSTATUS(one.status), 3);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	close_fixture(&f);
}

static void closed_standard_descriptors_are_filled(void **state)
{
	(void)state;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) { /* a worker started with nothing open */
		for (int fd = 0; fd <= 2; fd++)
			(void)close(fd);
		struct loop *loop;
		struct children *children;
		if (loop_create(&loop, NULL) != ST_OK ||
		    children_create(loop, NULL, &children, NULL) != ST_OK)
			_exit(1);
		for (int fd = 0; fd <= 2; fd++)
			if (fcntl(fd, F_GETFD) < 0)
				_exit(2);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_end_finds_its_child),
	    cmocka_unit_test(a_failed_exec_says_why_and_leaves_no_zombie),
	    cmocka_unit_test(orphans_are_reaped_too),
	    cmocka_unit_test(a_forgotten_child_is_reaped_in_silence),
	    cmocka_unit_test(a_blocked_or_ignored_sigchld_is_no_obstacle),
	    cmocka_unit_test(closed_standard_descriptors_are_filled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
