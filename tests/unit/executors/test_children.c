/* children - each is reaped, also one that is not ours, whatever we were started with. */
#include "fake_host.h"

#include "executors/child/children.h"
#include "executors/child/spawn_profile.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
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

static enum status run_as(struct fixture *f, struct one *one, struct spawn how, const char *script,
			  struct error *why)
{
	const char *argv[] = {how.path, "-c", script, NULL};
	how.argv = (char *const *)argv;
	how.envp = environ;
	if (how.n_fds == 0) {
		how.n_fds = 3;
		how.fds[1] = 1;
		how.fds[2] = 2;
	}
	*one = (struct one){.child = {.ended = note_end}, .fixture = f};
	return children_spawn(f->children, &how, &one->child, why);
}

static enum status run_script(struct fixture *f, struct one *one, const char *program,
			      const char *script, struct error *why)
{
	return run_as(f, one, (struct spawn){.path = program}, script, why);
}

static void assert_exits(struct fixture *f, struct spawn how, const char *script, int status)
{
	struct one one;
	how.path = "/bin/sh";
	assert_int_equal(run_as(f, &one, how, script, NULL), ST_OK);
	fake_run_while_not(&f->fake, has_ended, &one);
	assert_true(WIFEXITED(one.status));
	assert_int_equal(WEXITSTATUS(one.status), status);
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
	close_fixture(&f);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
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
	close_fixture(&f);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
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

static bool has_no_child(void *arg)
{
	return kill(*(const pid_t *)arg, 0) != 0;
}

/* 0: there is none. */
static pid_t first_child(void)
{
	char path[64];
	int pid = 0;
	(void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(file);
	return pid;
}

static void a_forgotten_child_is_reaped_in_silence(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	open_fixture(&f);
	assert_int_equal(run_script(&f, &one, "/bin/sh", "exit 0", NULL), ST_OK);
	children_forget(f.children, &one.child);
	fake_run_while_not(&f.fake, has_no_child, &one.child.pid);
	close_fixture(&f);
}

/* What a plugin has from system() and popen(). It stands in front of ours, and is not taken. */
static void who_starts_a_process_himself_reaps_it(void **state)
{
	(void)state;
	struct fixture f;
	pid_t own;
	int status;
	char *argv[] = {"sh", "-c", "exit 3", NULL};
	siginfo_t info;
	open_fixture(&f);
	for (int subreaper = 0; subreaper < 2; subreaper++) {
		assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, subreaper), 0);
		assert_int_equal(posix_spawn(&own, "/bin/sh", NULL, NULL, argv, environ), 0);
		assert_int_equal(waitid(P_PID, (id_t)own, &info, WEXITED | WNOWAIT), 0);
		assert_exits(&f, (struct spawn){0}, "exit 7", 7);
		assert_int_equal(waitpid(own, &status, 0), own);
		assert_int_equal(WEXITSTATUS(status), 3);
	}
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	close_fixture(&f);
}

static void a_guardian_that_ends_is_replaced(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f);
	children_guard(f.children);
	pid_t guard = first_child();
	assert_true(guard > 1);
	(void)kill(guard, SIGTERM); /* means nothing to it */
	assert_exits(&f, (struct spawn){0}, "exit 7", 7);
	assert_int_equal(first_child(), guard);
	(void)kill(guard, SIGKILL);
	fake_run_while_not(&f.fake, has_no_child, &guard);
	fake_assert_logged(&f.fake, "guardian ended");
	while (first_child() == 0) /* not more than one a second */
		assert_exits(&f, (struct spawn){0}, "exit 7", 7);
	close_fixture(&f);
	assert_int_equal(first_child(), 0);
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

/* --- profiles ------------------------------------------------------------------------------------- */

/* 3 and 4 are a pipe of the test's, before libuv takes them for its own. */
static int take_low_numbers(void **state)
{
	(void)state;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	int from = fcntl(ends[0], F_DUPFD_CLOEXEC, 50), to = fcntl(ends[1], F_DUPFD_CLOEXEC, 50);
	return dup3(from, 3, O_CLOEXEC) == 3 && dup3(to, 4, O_CLOEXEC) == 4 ? 0 : -1;
}

/* Wherever ours are: also under the numbers that the child's are to have. */
static void descriptors_come_under_their_numbers(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f);
	struct spawn crosswise = {
	    .fds = {0, 1, 2, 4, 3},
              .n_fds = 5
        };
	assert_exits(&f, crosswise, "echo first >&3; read what <&4; test $what = first", 0);
	struct spawn same = {
	    .fds = {0, 1, 2, 3, 4},
              .n_fds = 5
        };
	assert_exits(&f, same, "echo first >&4; read what <&3; test $what = first", 0);
	/* ls has the folder open */
	assert_exits(&f, same, "test \"$(echo $(ls /proc/self/fd))\" = '0 1 2 3 4 5'", 0);
	close_fixture(&f);
}

static void resolve(struct spawn_profile *profile, const struct handler_settings *settings)
{
	struct error why;
	if (spawn_profile_init(profile, settings, &why) != ST_OK)
		fail_msg("%s", why.text);
}

static void a_child_starts_in_its_directory(void **state)
{
	(void)state;
	struct fixture f;
	struct spawn_profile profile;
	struct handler_settings settings = {.directory = "/usr"};
	char before[PATH_MAX], after[PATH_MAX];
	assert_non_null(getcwd(before, sizeof before));
	open_fixture(&f);
	resolve(&profile, &settings);
	assert_exits(&f, (struct spawn){.profile = &profile}, "test \"$(pwd)\" = /usr", 0);
	spawn_profile_fini(&profile);
	assert_non_null(getcwd(after, sizeof after));
	assert_string_equal(after, before);
	close_fixture(&f);
}

static void limits_are_the_childs_alone(void **state)
{
	(void)state;
	struct fixture f;
	struct spawn_profile profile;
	struct rlimit before, after;
	struct handler_settings settings = {
	    .limits = {
		       .memory_bytes = 1 << 30, .cpu_ms = 1500, .files = 17, .file_bytes = 1 << 20}
        };
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	open_fixture(&f);
	resolve(&profile, &settings);
	assert_exits(&f, (struct spawn){.profile = &profile},
		     "test $(ulimit -S -n),$(ulimit -H -n),$(ulimit -S -t),$(ulimit -H -t),"
		     "$(ulimit -v),$(ulimit -f) = 17,17,2,3,1048576,2048",
		     0);
	spawn_profile_fini(&profile);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
	assert_memory_equal(&before, &after, sizeof before);
	close_fixture(&f);
}

static void no_child_gains_privileges_unless_it_may(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f);
	assert_exits(&f, (struct spawn){0}, "grep -q '^NoNewPrivs:.*1' /proc/self/status", 0);
	for (int may = 0; may < 2; may++) {
		struct handler_settings settings = {.privileges =
							may ? PRIVILEGES_MAY_GROW : PRIVILEGES_KEPT,
						    .user = geteuid() == 0 ? "nobody" : NULL};
		struct spawn_profile profile;
		resolve(&profile, &settings);
		assert_exits(&f, (struct spawn){.profile = &profile},
			     may ? "grep -q '^NoNewPrivs:.*0' /proc/self/status"
				 : "grep -q '^NoNewPrivs:.*1' /proc/self/status",
			     0);
		spawn_profile_fini(&profile);
	}
	close_fixture(&f);
}

static void a_child_is_somebody_else(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("LOUD SKIP: only root can run a child as another user\n");
		skip();
	}
	struct fixture f;
	struct spawn_profile profile;
	struct handler_settings settings = {.user = "nobody", .group = "daemon"};
	open_fixture(&f);
	resolve(&profile, &settings);
	struct spawn how = {.profile = &profile};
	/* Real, effective, saved, of the file system. */
	assert_exits(&f, how,
		     "u=$(id -u nobody) g=$(getent group daemon | cut -d: -f3);"
		     "test \"$(grep ^Uid: /proc/self/status | tr -d '\\t ')\" = Uid:$u$u$u$u &&"
		     "test \"$(id -g),$(id -G)\" = \"$g,$g\" && exit 9",
		     9);
	spawn_profile_fini(&profile);
	assert_int_equal(geteuid(), 0);
	close_fixture(&f);
}

static void a_birth_that_fails_says_where(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	struct error why;
	struct spawn_profile nowhere = {.directory = "/no/such"};
	open_fixture(&f);
	struct spawn how = {.path = "/bin/sh", .profile = &nowhere};
	assert_int_equal(run_as(&f, &one, how, "", &why), ST_SYSTEM);
	assert_string_equal(why.text, "directory /no/such: No such file or directory");
	how.profile = NULL;
	how.n_fds = 3;
	how.fds[2] = 9999;
	assert_int_equal(run_as(&f, &one, how, "", &why), ST_SYSTEM);
	assert_string_equal(why.text, "descriptors: Bad file descriptor");
	close_fixture(&f);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* Our own program runs by then, so it is known when that ends. */
static void one_that_cannot_become_another_says_why(void **state)
{
	(void)state;
	struct fixture f;
	struct one one;
	struct error why;
	struct spawn_profile other = {
	    .user = "nobody", .as = {.changes = true, .uid = 65534, .gid = 65534}
        };
	struct spawn how = {.path = "/no/such", .profile = &other};
	other.becomes = become_words_create(&other);
	open_fixture(&f);
	assert_int_equal(run_as(&f, &one, how, "", &why), ST_OK);
	fake_run_while_not(&f.fake, has_ended, &one);
	assert_true(children_never_ran(&one.child, &how, &why));
	assert_string_equal(why.text, geteuid() == 0 ? "/no/such: No such file or directory"
						     : "user nobody: Operation not permitted");
	if (geteuid() == 0) {
		how.path = "/bin/sh";
		assert_exits(&f, how, "exit 71", 71); /* as ours does when it fails */
	}
	become_words_destroy(other.becomes);
	close_fixture(&f);
}

enum { NOBODY_ELSE = 54321, STOPPED = 200 };

static void stop_all_of_the_user(void)
{
	if (setresgid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE) == 0 &&
	    setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE) == 0)
		for (;;)
			(void)kill(-1, SIGSTOP);
	_exit(1);
}

/* A job may do so to those of its own user, and we wait for a child that is being born. */
static void who_stops_a_users_processes_does_not_stop_us(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("LOUD SKIP: only root can run a child as another user\n");
		skip();
	}
	static struct one all[STOPPED];
	struct fixture f;
	struct spawn_profile profile;
	struct handler_settings settings = {.user = "54321", .group = "54321"};
	open_fixture(&f);
	resolve(&profile, &settings);
	pid_t stopper = fork();
	assert_true(stopper >= 0);
	if (stopper == 0)
		stop_all_of_the_user();
	(void)alarm(60); /* else it would be for ever */
	struct spawn how = {.path = "/bin/sh", .profile = &profile};
	for (int i = 0; i < STOPPED; i++)
		assert_int_equal(run_as(&f, &all[i], how, "exit 0", NULL), ST_OK);
	(void)alarm(0);
	(void)kill(stopper, SIGKILL);
	(void)waitpid(stopper, NULL, 0);
	for (int i = 0; i < STOPPED; i++) {
		children_signal(&all[i].child, SIGKILL);
		if (!all[i].ended)
			fake_run_while_not(&f.fake, has_ended, &all[i]);
	}
	spawn_profile_fini(&profile);
	close_fixture(&f);
}

static void what_does_not_fit_this_machine_is_said_at_once(void **state)
{
	(void)state;
	static const struct {
		struct handler_settings settings;
		const char *text;
	} rows[] = {
	    {{.directory = "/no/such"},    "directory: /no/such: No such file or directory"       },
	    {{.directory = "/etc/passwd"}, "directory: /etc/passwd: not a directory"              },
	    {{.user = "no-such-user"},     "there is no user \"no-such-user\""                    },
	    {{.group = "no-such-group"},   "there is no group \"no-such-group\""                  },
	    {{.user = "4123456789"},       "user 4123456789 is not known here: say its group, too"},
	    {{.user = "4294967295"},       "there is no user \"4294967295\""                      },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct spawn_profile profile;
		struct error why;
		assert_int_not_equal(spawn_profile_init(&profile, &rows[i].settings, &why), ST_OK);
		assert_string_equal(why.text, rows[i].text);
	}
}

/* A signal to the worker's group is not for a child that has not left it yet. */
static void a_signal_to_our_group_spares_the_unborn(void **state)
{
	(void)state;
	enum { MANY = 300 };
	struct fixture f;
	open_fixture(&f);
	assert_true(setpgid(0, 0) == 0 || getpgrp() == getpid());
	(void)signal(SIGTERM, SIG_IGN); /* the worker would catch it: to a birth it is the same */
	pid_t group = getpgrp(), shooter = fork();
	assert_true(shooter >= 0);
	if (shooter == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)kill(-group, SIGTERM);
	}
	for (int i = 0; i < MANY; i++)
		assert_exits(&f, (struct spawn){0}, "exit 7", 7);
	(void)kill(shooter, SIGKILL);
	assert_int_equal(waitpid(shooter, NULL, 0), shooter); /* its last shot is on its way else */
	(void)signal(SIGTERM, SIG_DFL);
	close_fixture(&f);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], BECOME_COMMAND) == 0)
		return become_run(argc - 1, argv + 1);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_end_finds_its_child),
	    cmocka_unit_test(a_failed_exec_says_why_and_leaves_no_zombie),
	    cmocka_unit_test(orphans_are_reaped_too),
	    cmocka_unit_test(a_forgotten_child_is_reaped_in_silence),
	    cmocka_unit_test(who_starts_a_process_himself_reaps_it),
	    cmocka_unit_test(a_guardian_that_ends_is_replaced),
	    cmocka_unit_test(a_blocked_or_ignored_sigchld_is_no_obstacle),
	    cmocka_unit_test(closed_standard_descriptors_are_filled),
	    cmocka_unit_test(descriptors_come_under_their_numbers),
	    cmocka_unit_test(a_child_starts_in_its_directory),
	    cmocka_unit_test(limits_are_the_childs_alone),
	    cmocka_unit_test(a_child_is_somebody_else),
	    cmocka_unit_test(no_child_gains_privileges_unless_it_may),
	    cmocka_unit_test(a_birth_that_fails_says_where),
	    cmocka_unit_test(one_that_cannot_become_another_says_why),
	    cmocka_unit_test(who_stops_a_users_processes_does_not_stop_us),
	    cmocka_unit_test(what_does_not_fit_this_machine_is_said_at_once),
	    cmocka_unit_test(a_signal_to_our_group_spares_the_unborn),
	};
	return cmocka_run_group_tests(tests, take_low_numbers, NULL);
}
