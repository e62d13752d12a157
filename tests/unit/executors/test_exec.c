/* exec, with real children: what each end of a process means, and that no child, however it behaves,
 * harms the worker. */
#include "exec_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* --- ends ----------------------------------------------------------------------------------------- */

static void each_end_has_its_outcome(void **state)
{
	(void)state;
	static const struct {
		const char *script;
		enum outcome_kind kind;
		bool crashed;
		const char *reason;
	} rows[] = {
	    {"exit 0",        OUTCOME_DONE,   false, ""                },
	    {"exit 65",       OUTCOME_REJECT, false, "exit status 65"  },
	    {"exit 75",       OUTCOME_RETRY,  false, "exit status 75"  },
	    {"exit 1",        OUTCOME_RETRY,  false, "exit status 1"   },
	    {"exit 255",      OUTCOME_RETRY,  false, "exit status 255" },
	    {"kill -SEGV $$", OUTCOME_RETRY,  true,  "ended by SIGSEGV"},
	    {"kill -KILL $$", OUTCOME_RETRY,  true,  "ended by SIGKILL"},
	    {"kill -TERM $$", OUTCOME_RETRY,  true,  "ended by SIGTERM"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct fixture f;
		open_shell(&f, rows[i].script);
		run_one(&f, "");
		assert_int_equal(f.fake.last.kind, rows[i].kind);
		assert_int_equal(f.fake.last.crashed, rows[i].crashed);
		assert_string_equal(f.fake.last.reason, rows[i].reason);
		close_fixture(&f);
	}
}

static char last_message[400];

static void remember_message(struct fake_host *fake, struct job *job)
{
	(void)fake;
	struct span said = job->failure != NULL ? job->failure->message : span_text("");
	(void)snprintf(last_message, sizeof last_message, "%.*s", (int)said.len, said.ptr);
}

static void its_last_words_say_why(void **state)
{
	(void)state;
	static const struct {
		const char *script, *message;
	} rows[] = {
	    {"echo Traceback >&2; echo 'ValueError: 402' >&2; echo ' ' >&2; exit 1",
	     "exit status 1: ValueError: 402"									 },
	    {"echo 'no such address' >&2; exit 65",                                  "exit status 65: no such address"},
	    {"echo warning >&2; exit 0",					     ""                               },
	    {"echo on stdout; exit 1",					       ""                               },
	    {"echo x >&2; echo '{\"error\":{\"message\":\"402\"}}' >&4; exit 1",     "402"                            },
	};
	struct fixture f;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		open_shell(&f, rows[i].script);
		f.fake.on_finished = remember_message;
		run_one(&f, "");
		assert_string_equal(last_message, rows[i].message);
		close_fixture(&f);
	}
}

/* Nothing of the job has begun, so it is no outcome; and it can be looked at without a job whether one
 * could begin now. */
static void assert_not_begun(struct fixture *f, const char *why)
{
	unsigned not_begun = f->fake.not_begun, could_not = f->fake.could_not;
	run_one(f, "body");
	assert_int_equal(f->fake.not_begun, not_begun + 1);
	assert_non_null(strstr(f->fake.why_not, why));
	f->fake.executor->ops->probe(f->fake.executor);
	assert_int_equal(f->fake.could_not, could_not + 1);
	assert_non_null(strstr(f->fake.why_not, why));
}

static void a_missing_program_fails_no_job(void **state)
{
	(void)state;
	static const struct {
		const char *program, *reason;
	} rows[] = {
	    {"/no/such/program", "/no/such/program: No such file or directory"},
	    {"no-such-program",  "no-such-program: not found in PATH"         },
	    {"/etc/passwd",      "/etc/passwd: Permission denied"             },
	    {"/etc",             "/etc: Permission denied"                    },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct fixture f;
		open_fixture(&f, rows[i].program, NULL);
		assert_not_begun(&f, rows[i].reason);
		assert_int_equal(f.fake.finished, 0);
		close_fixture(&f);
	}
}

static void a_program_that_appears_later_is_found(void **state)
{
	(void)state;
	char path[] = "/tmp/outfall-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "#!/bin/sh\nexit 0\n", 17), 17);
	close(fd);
	struct fixture f;
	open_fixture(&f, path, NULL);
	assert_not_begun(&f, "Permission denied"); /* not executable yet */
	assert_int_equal(chmod(path, 0700), 0);
	f.fake.executor->ops->probe(f.fake.executor);
	assert_int_equal(f.fake.could, 1);
	run_one(&f, "");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	unlink(path);
	close_fixture(&f);
}

/* --- what the child gets -------------------------------------------------------------------------- */

static void the_whole_body_arrives(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 4096, 65536, 65537, 50u << 20};
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct fixture f;
		char script[64], *body = calloc(1, sizes[i] + 1);
		assert_non_null(body);
		(void)snprintf(script, sizeof script, "test $(wc -c) -eq %zu", sizes[i]);
		open_shell(&f, script);
		fake_start(&f.fake, fake_job(&f.fake, body, sizes[i]));
		fake_run_until(&f.fake, 1);
		assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
		free(body);
		close_fixture(&f);
	}
}

static void the_body_arrives_unchanged(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "cat; echo; exit 65");
	run_one(&f, "na\xc3\xafve =\"quoted\"");
	assert_int_equal(f.fake.last.kind, OUTCOME_REJECT);
	fake_assert_logged(&f.fake, "line=\"na\xc3\xafve =\\\"quoted\\\"\"");
	close_fixture(&f);
}

static void the_environment_tells_of_the_job(void **state)
{
	(void)state;
	struct fixture f;
	setenv("OUTFALL_TEST_INHERITED", "yes", 1);
	setenv("TRACEPARENT", "somebody else's", 1);
	open_shell(&f, "echo $OUTFALL_JOB_ID,$OUTFALL_SOURCE,$OUTFALL_QUEUE,$OUTFALL_ATTEMPT;"
		       "echo $OUTFALL_INTERRUPTIONS,$OUTFALL_REDELIVERED,$OUTFALL_TIMEOUT_MS;"
		       "echo $OUTFALL_CONTENT_TYPE,$OUTFALL_TEST_INHERITED,${TRACEPARENT-none}");
	struct job *job = fake_job(&f.fake, "", 0);
	job->attempt = 3;
	job->interruptions = 2;
	job->redelivered = true;
	fake_start(&f.fake, job);
	fake_run_until(&f.fake, 1);
	fake_assert_logged(&f.fake, "line=job-1,main,emails,3\n");
	fake_assert_logged(&f.fake, "line=2,1,30000\n");
	fake_assert_logged(&f.fake, "line=text/plain,yes,none\n");

	job = fake_job(&f.fake, "", 0);
	job->traceparent = "00-aa-bb-01";
	fake_start(&f.fake, job);
	fake_run_until(&f.fake, 2);
	fake_assert_logged(&f.fake, "line=text/plain,yes,00-aa-bb-01\n");
	close_fixture(&f);
}

static void the_child_inherits_nothing_else(void **state)
{
	(void)state;
	struct fixture f;
	int leaky = open("/dev/null", O_RDONLY); /* not close-on-exec: somebody else's mistake */
	assert_true(leaky > 2);
	assert_true(fcntl(leaky, F_DUPFD, 100) >= 100);
	/* ls itself opens one, for the folder. */
	open_shell(&f, "echo fds $(ls /proc/self/fd | tr '\\n' ' ');"
		       "grep -E 'SigBlk|SigIgn' /proc/self/status | tr '\\n\\t' '  '; echo;"
		       "echo group $(($(cut -d' ' -f5 /proc/self/stat) == $$))");
	run_one(&f, "");
	fake_assert_logged(&f.fake, "line=\"fds 0 1 2 3 4 5\"");
	fake_assert_logged(&f.fake, "SigBlk: 0000000000000000 SigIgn: 0000000000000000");
	fake_assert_logged(&f.fake, "line=\"group 1\"");
	close(leaky);
	close_fixture(&f);
}

/* --- children that misbehave ---------------------------------------------------------------------- */

static void stdin_may_stay_unread(void **state)
{
	(void)state;
	static const char *const scripts[] = {"exec <&-; sleep 0.05", "exit 0", "sleep 0.05"};
	size_t bytes = 1u << 20;
	char *body = calloc(1, bytes);
	assert_non_null(body);
	for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
		struct fixture f;
		open_shell(&f, scripts[i]);
		for (unsigned n = 0; n < 4; n++)
			fake_start(&f.fake, fake_job(&f.fake, body, bytes));
		fake_run_until(&f.fake, 4);
		assert_int_equal(f.fake.kinds[OUTCOME_DONE], 4);
		close_fixture(&f);
	}
	free(body);
}

static size_t count_lines(const char *text, const char *words)
{
	size_t count = 0;
	for (; (text = strstr(text, words)) != NULL; text++)
		count++;
	return count;
}

static void output_is_logged_by_line_and_name(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "echo one; echo two >&2; printf 'last, unfinished'; printf '\\r\\n\\n' >&2");
	run_one(&f, "");
	fake_assert_logged(&f.fake, "job wrote job=job-1 source=main queue=emails handler=mailer "
				    "attempt=1 stream=stdout line=one\n");
	fake_assert_logged(&f.fake, "stream=stderr line=two\n");
	fake_assert_logged(&f.fake, "stream=stdout line=\"last, unfinished\"\n");
	char *text = fake_log_text(&f.fake);
	assert_int_equal(count_lines(text, "job wrote"), 3);
	free(text);
	close_fixture(&f);
}

static void all_output_of_a_short_life_is_logged(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "seq 10000 13999"); /* 24 kB, in the pipe when the process is gone */
	run_one(&f, "");
	char *text = fake_log_text(&f.fake);
	assert_int_equal(count_lines(text, "job wrote"), 4000);
	assert_non_null(strstr(text, "line=13999\n"));
	free(text);
	close_fixture(&f);
}

static void writing_without_end_holds_up_nobody(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "read what; case $what in yes) exec yes;; zeros) exec cat /dev/zero;;"
		       "*) exit 0;; esac");
	struct job *yes = fake_job(&f.fake, "yes\n", 4);
	struct job *zeros = fake_job(&f.fake, "zeros\n", 6);
	fake_start(&f.fake, yes);
	fake_start(&f.fake, zeros);
	for (unsigned n = 1; n <= 20; n++) {
		fake_start(&f.fake, fake_job(&f.fake, "quick\n", 6));
		fake_run_until(&f.fake, n);
	}
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 20);
	f.fake.executor->ops->stop(f.fake.executor, yes, STOP_KILL);
	f.fake.executor->ops->stop(f.fake.executor, zeros, STOP_KILL);
	fake_run_until(&f.fake, 22);
	assert_int_equal(f.fake.kinds[OUTCOME_ABANDONED], 2);
	fake_assert_logged(&f.fake, "cut=\"goes on in the next line\"");
	close_fixture(&f);
}

static void a_grandchild_with_the_pipes_is_not_waited_for(void **state)
{
	(void)state;
	struct fixture f;
	/* The shell ends at once; the sleeper keeps its stdout and stderr for a minute. */
	open_shell(&f, "setsid sleep 60 & echo $!");
	run_one(&f, "");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	char *text = fake_log_text(&f.fake);
	pid_t sleeper = (pid_t)atoi(strstr(text, "line=") + 5);
	free(text);
	assert_true(sleeper > 1);
	assert_int_equal(kill(sleeper, SIGKILL), 0); /* was still alive */
	close_fixture(&f);
}

/* --- stopping ------------------------------------------------------------------------------------- */

static void a_child_may_finish_when_asked(void **state)
{
	(void)state;
	struct fixture f;
	struct job *job;
	open_shell(&f, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
	start_and_hear(&f, &job);
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

static void death_by_our_signal_is_no_crash(void **state)
{
	(void)state;
	struct fixture f;
	struct job *job;
	open_shell(&f, "echo ready; kill -STOP $$; sleep 60"); /* stopped: CONT must follow TERM */
	start_and_hear(&f, &job);
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	assert_false(f.fake.last.crashed);
	assert_string_equal(f.fake.last.reason, "ended by SIGTERM");
	close_fixture(&f);
}

static bool is_gone(void *arg)
{
	return kill(*(pid_t *)arg, 0) != 0;
}

static void killing_takes_the_whole_group(void **state)
{
	(void)state;
	struct fixture f;
	struct job *job;
	open_shell(&f, "trap '' TERM; sleep 60 & echo $!; wait; sleep 60");
	start_and_hear(&f, &job);
	char *text = fake_log_text(&f.fake);
	pid_t grandchild = (pid_t)atoi(strstr(text, "line=") + 5);
	free(text);
	stop(&f, job, STOP_ASK);
	stop(&f, job, STOP_KILL);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_ABANDONED);
	fake_run_while_not(&f.fake, is_gone, &grandchild);
	close_fixture(&f);
}

static pid_t pid_in_log(struct fixture *f)
{
	char *text = fake_log_text(&f->fake);
	pid_t pid = (pid_t)atoi(strstr(text, "line=") + 5);
	free(text);
	assert_true(pid > 1);
	return pid;
}

/* The shell of the one job there is: the guardian was first. */
static pid_t job_leader(struct fixture *f)
{
	(void)f;
	char path[64];
	int guard, leader = 0;
	(void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	(void)!fscanf(file, "%d %d", &guard, &leader);
	(void)fclose(file);
	return leader != 0 ? leader : INT_MAX; /* it has gone already */
}

/* A zombie does not: who buries it when is not our affair. */
static bool runs(pid_t pid)
{
	char path[32], state = 'X';
	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	(void)!fscanf(file, "%*d (%*[^)]) %c", &state);
	(void)fclose(file);
	return state != 'Z' && state != 'X';
}

static pid_t seen;
static bool seen_lives;

static void look_for_seen(struct fake_host *fake, struct job *job)
{
	(void)fake, (void)job;
	seen_lives = runs(seen);
}

/* A shell that obeys, whatever it says at its end, and under it a program that takes its time. */
static void a_stopped_jobs_end_is_its_groups_end(void **state)
{
	(void)state;
	static const struct {
		const char *script;
		enum outcome_kind kind;
		const char *reason;
	} rows[] = {
	    {"(trap 'sleep 0.2; exit 0' TERM; sh -c 'echo $PPID'; while :; do sleep 0.01; done) &"
	     " wait",				 OUTCOME_RETRY, "ended by SIGTERM"},
	    {"trap 'exit 0' TERM; (trap 'sleep 0.2; exit 0' TERM; sh -c 'echo $PPID';"
	     " while :; do sleep 0.01; done) & wait", OUTCOME_DONE,  ""                },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct fixture f;
		struct job *job;
		open_shell(&f, rows[i].script);
		start_and_hear(&f, &job);
		seen = pid_in_log(&f);
		f.fake.on_finished = look_for_seen;
		stop(&f, job, STOP_ASK);
		fake_run_until(&f.fake, 1);
		assert_false(seen_lives);
		assert_int_equal(f.fake.last.kind, rows[i].kind);
		assert_string_equal(f.fake.last.reason, rows[i].reason);
		close_fixture(&f);
	}
}

static void what_does_not_obey_is_killed_with_its_job(void **state)
{
	(void)state;
	struct fixture f;
	for (int by_us = 0; by_us < 2; by_us++) { /* else it is the process's own clock */
		struct job *job;
		open_shell(&f, "(trap '' TERM; sh -c 'echo $PPID'; while :; do sleep 0.01; done) &"
			       " wait");
		children_set_grace(f.children, by_us ? 60000 : 50);
		start_and_hear(&f, &job);
		seen = pid_in_log(&f);
		f.fake.on_finished = look_for_seen;
		stop(&f, job, STOP_ASK);
		pid_t leader = job_leader(&f);
		fake_run_while_not(&f.fake, is_gone, &leader);
		if (by_us) {
			assert_int_equal(f.fake.finished, 0);
			stop(&f, job, STOP_KILL);
		}
		fake_run_until(&f.fake, 1);
		assert_false(seen_lives);
		close_fixture(&f);
	}
}

/* It will run again, so nobody may be at it any more. */
static void what_a_failed_job_left_ends_before_it_is_told(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "(sh -c 'echo $PPID'; exec sleep 60) & sleep 0.1; exit 1");
	children_set_grace(f.children, 1000000); /* it is asked, and obeys */
	f.fake.on_finished = look_for_seen;
	struct job *job;
	start_and_hear(&f, &job);
	seen = pid_in_log(&f);
	fake_run_until(&f.fake, 1);
	assert_false(seen_lives);
	assert_string_equal(f.fake.last.reason, "exit status 1");
	close_fixture(&f);
}

static bool is_a_stray_killed(void *arg)
{
	char *text = fake_log_text(arg);
	bool found = strstr(text, "killed what a job left running") != NULL;
	free(text);
	return found;
}

/* It is told at once, and nobody waits for them. */
static void what_a_done_job_left_has_the_grace(void **state)
{
	(void)state;
	struct fixture f;
	struct job *job;
	open_shell(&f, "(trap '' TERM; sh -c 'echo $PPID'; while :; do sleep 0.01; done) &"
		       " sleep 0.1; exit 0");
	children_set_grace(f.children, 1000000);
	start_and_hear(&f, &job);
	pid_t left = pid_in_log(&f);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	children_set_grace(f.children, 50);
	fake_start(&f.fake, job = fake_job(&f.fake, "x", 1));
	fake_run_until(&f.fake, 2);
	fake_run_while_not(&f.fake, is_a_stray_killed, &f.fake);
	assert_false(is_gone(&left)); /* it has a grace of its own */
	close_fixture(&f);
	for (int tries = 0; tries < 20000 && runs(left); tries++)
		usleep(1000);
	assert_false(runs(left)); /* but nothing outlives the worker */
}

/* Then there is nothing to read where there was something a moment ago. */
static void a_job_may_read_its_own_output(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f,
		   "echo first; exec 5</dev/stdout; dd bs=1 count=100000 <&5 >/dev/null 2>&1 &"
		   " i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; kill $!; exit 0");
	run_one(&f, "");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

static void assert_dies_with_the_worker(const char *user)
{
	int pids[2];
	assert_int_equal(pipe(pids), 0);
	pid_t worker_pid = fork();
	assert_true(worker_pid >= 0);
	if (worker_pid == 0) { /* a worker of its own, killed in the middle of a job */
		struct fixture f;
		char script[64];
		(void)snprintf(script, sizeof script, "sleep 60 & echo $! $$; wait");
		struct job *job;
		open_shell(&f, script);
		f.fake.executor->ops->destroy(f.fake.executor);
		f.handler.user = user;
		if (exec_executor_create(f.fake.loop, f.fake.log, f.children, &f.handler, &worker,
					 &f.fake.host, &f.fake.executor, NULL) != ST_OK)
			_exit(2);
		start_and_hear(&f, &job);
		char *text = fake_log_text(&f.fake);
		char *line = strstr(text, "line=\"");
		if (line == NULL)
			_exit(1);
		(void)!write(pids[1], line + 6, strlen(line + 6));
		(void)raise(SIGKILL);
	}
	close(pids[1]);
	char text[64] = "";
	assert_true(read(pids[0], text, sizeof text - 1) > 0);
	pid_t child[2];
	assert_int_equal(sscanf(text, "%d %d", &child[0], &child[1]), 2);
	assert_true(child[0] > 1 && child[1] > 1);
	int status;
	assert_int_equal(waitpid(worker_pid, &status, 0), worker_pid);
	assert_true(WIFSIGNALED(status));
	struct fake_host fake;
	fake_host_open(&fake);
	fake_run_while_not(&fake, is_gone, &child[0]);
	fake_run_while_not(&fake, is_gone, &child[1]);
	fake_host_close(&fake);
	close(pids[0]);
}

static void children_die_with_the_worker(void **state)
{
	(void)state;
	assert_dies_with_the_worker(NULL);
	if (geteuid() == 0) /* a change of user makes the kernel forget it */
		assert_dies_with_the_worker("nobody");
	else
		print_message("LOUD SKIP: only root can run a child as another user\n");
}

/* --- many ----------------------------------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* ThreadSanitizer turns vfork() into fork(), and that in a process of its size: a tenth of a second each on
 * a busy machine. */
#if defined(__SANITIZE_THREAD__)
enum { MANY = 200 };
#else
enum { MANY = 1000 };
#endif

/* Keeps all slots busy from the end of each turn, as dispatch does. */
struct refill {
	struct turn_hook hook;
	struct fake_host *fake;
};

static void refill(void *arg)
{
	struct refill *r = arg;
	while (r->fake->serial < MANY && r->fake->serial - r->fake->finished < worker.concurrency)
		fake_start(r->fake, fake_job(r->fake, "x", r->fake->serial % 2));
}

static void many_jobs_leave_no_trace(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "true", NULL); /* found in PATH */
	run_one(&f, "x");
	f.fake.finished = 0;
	f.fake.serial = 0;
	unsigned before = open_descriptors();
	struct refill r = {
	    .fake = &f.fake, .hook = {.run = refill, .arg = &r}
        };
	loop_add_hook(f.fake.loop, TURN_DISPATCH, &r.hook);
	fake_run_until(&f.fake, MANY);
	loop_remove_hook(&r.hook);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], MANY + 1);
	assert_int_equal(open_descriptors(), before);
	close_fixture(&f);
}

/* What the job brings along does not fit into any process: that is its own affair, and would be the same
 * for ever. */
static void an_environment_too_large_is_the_jobs_outcome(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "/bin/true", NULL);
	size_t long_enough = 200000;
	char *id = calloc(1, long_enough + 1);
	assert_non_null(id);
	memset(id, 'x', long_enough);
	struct job_facts facts = {
	    .route = &f.fake.route, .attempt = 1, .id = span_text(id), .serial = 1};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	fake_start(&f.fake, job);
	assert_int_equal(f.fake.finished, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	assert_non_null(strstr(f.fake.last.reason, "Argument list too long"));
	free(id);
	close_fixture(&f);
}

static void descriptors_running_out_fails_no_job(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "/bin/true", NULL);
	struct rlimit files, none = {0};
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	none.rlim_max = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	fake_start(&f.fake, fake_job(&f.fake, "x", 1));
	f.fake.executor->ops->probe(f.fake.executor);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(f.fake.not_begun, 1);
	assert_int_equal(f.fake.could_not, 1);
	f.fake.executor->ops->probe(f.fake.executor);
	assert_int_equal(f.fake.could, 1);
	run_one(&f, "x");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

static void resize(struct fixture *f, unsigned concurrency)
{
	struct worker_settings wider = worker;
	wider.concurrency = concurrency;
	f->fake.executor->ops->resize(f->fake.executor, &wider);
}

static void assert_width(const struct fixture *f, unsigned width)
{
	assert_int_equal(f->fake.executor->width, width);
	assert_int_equal(f->fake.executor->widest, width);
	assert_int_equal(f->fake.executor->depth, width);
}

static void it_grows_while_jobs_run(void **state)
{
	(void)state;
	struct fixture f;
	struct job *jobs[9];
	open_shell(&f, "kill -STOP $$");
	for (int i = 0; i < 4; i++)
		fake_start(&f.fake, jobs[i] = fake_job(&f.fake, "x", 1));
	resize(&f, 9);
	assert_width(&f, 9);
	assert_int_equal(f.fake.resized, 1);
	for (int i = 4; i < 9; i++)
		fake_start(&f.fake, jobs[i] = fake_job(&f.fake, "x", 1));
	f.fake.executor->ops->drain_notice(f.fake.executor, 1000);
	for (int i = 0; i < 9; i++)
		stop(&f, jobs[i], STOP_KILL);
	fake_run_until(&f.fake, 9);
	assert_int_equal(f.fake.kinds[OUTCOME_ABANDONED], 9);
	close_fixture(&f);
}

static void it_shrinks_while_jobs_run(void **state)
{
	(void)state;
	struct fixture f;
	struct job *jobs[4];
	open_shell(&f, "kill -STOP $$");
	for (int i = 0; i < 4; i++)
		fake_start(&f.fake, jobs[i] = fake_job(&f.fake, "x", 1));
	resize(&f, 2);
	assert_width(&f, 2);
	resize(&f, 2);
	assert_int_equal(f.fake.resized, 1);
	for (int i = 0; i < 4; i++)
		stop(&f, jobs[i], STOP_KILL);
	fake_run_until(&f.fake, 4);
	(void)memory_fail_at(1);
	resize(&f, 4); /* it has them still */
	(void)memory_fail_at(0);
	assert_width(&f, 4);
	close_fixture(&f);
}

static void it_grows_as_far_as_its_handler_may(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "/bin/true", NULL);
	f.handler.concurrency = 6;
	resize(&f, 9);
	assert_width(&f, 6);
	f.handler.concurrency = 0;
	resize(&f, 9);
	assert_width(&f, 9);
	close_fixture(&f);
}

static void it_grows_as_far_as_descriptors_allow(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "/bin/true", NULL);
	struct rlimit files, few;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = files;
	few.rlim_cur = 64 + 6 * 5;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	resize(&f, 100);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_width(&f, 6);
	fake_assert_logged(&f.fake, "fewer processes than wanted");
	close_fixture(&f);
}

static void without_memory_it_does_not_grow(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, "/bin/true", NULL);
	for (unsigned long n = 1; f.fake.executor->width == 4; n++) {
		assert_true(n <= 8); /* the list, three slots with a timer, and then it has all */
		(void)memory_fail_at(n);
		resize(&f, 7);
		(void)memory_fail_at(0);
		if (f.fake.executor->width == 4)
			fake_assert_logged(&f.fake, "no more processes than before");
		run_one(&f, "x");
		assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	}
	assert_width(&f, 7);
	assert_int_equal(f.fake.resized, 1);
	close_fixture(&f);
}

static void creating_survives_every_failed_allocation(void **state)
{
	(void)state;
	static const char *command[] = {"/bin/true", NULL};
	struct handler_settings handler = {
	    .name = "mailer", .command = command, .output_line_bytes = 64};
	unsigned before = open_descriptors();
	enum status st = ST_NOMEM;
	for (unsigned long n = 1; st != ST_OK; n++) {
		struct executor *executor = NULL;
		struct fake_host fake;
		struct children *children;
		fake_host_open(&fake);
		assert_int_equal(children_create(fake.loop, fake.log, &children, NULL), ST_OK);
		(void)memory_fail_at(n);
		st = exec_executor_create(fake.loop, fake.log, children, &handler, &worker,
					  &fake.host, &executor, NULL);
		(void)memory_fail_at(0);
		assert_int_equal(st, executor != NULL ? ST_OK : ST_NOMEM);
		if (executor != NULL)
			executor->ops->destroy(executor);
		children_destroy(children);
		fake_host_close(&fake);
		assert_true(n < 50);
	}
	assert_int_equal(open_descriptors(), before);
}

static void starting_survives_every_failed_allocation(void **state)
{
	(void)state;
	struct fixture f;
	unsigned long n = 1;
	open_fixture(&f, "true", NULL);
	do {
		struct job *job = fake_job(&f.fake, "x", 1);
		unsigned ends = f.fake.finished + f.fake.not_begun + 1;
		(void)memory_fail_at(n++);
		fake_start(&f.fake, job);
		(void)memory_fail_at(0);
		fake_run_until(&f.fake, ends);
		assert_true(n < 50);
	} while (f.fake.finished == 0);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	assert_true(n > 2); /* some did fail */
	close_fixture(&f);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], BECOME_COMMAND) == 0) /* to run a child as another user */
		return become_run(argc - 1, argv + 1);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_end_has_its_outcome),
	    cmocka_unit_test(its_last_words_say_why),
	    cmocka_unit_test(a_missing_program_fails_no_job),
	    cmocka_unit_test(a_program_that_appears_later_is_found),
	    cmocka_unit_test(the_whole_body_arrives),
	    cmocka_unit_test(the_body_arrives_unchanged),
	    cmocka_unit_test(the_environment_tells_of_the_job),
	    cmocka_unit_test(the_child_inherits_nothing_else),
	    cmocka_unit_test(stdin_may_stay_unread),
	    cmocka_unit_test(output_is_logged_by_line_and_name),
	    cmocka_unit_test(all_output_of_a_short_life_is_logged),
	    cmocka_unit_test(writing_without_end_holds_up_nobody),
	    cmocka_unit_test(a_grandchild_with_the_pipes_is_not_waited_for),
	    cmocka_unit_test(a_child_may_finish_when_asked),
	    cmocka_unit_test(death_by_our_signal_is_no_crash),
	    cmocka_unit_test(killing_takes_the_whole_group),
	    cmocka_unit_test(a_stopped_jobs_end_is_its_groups_end),
	    cmocka_unit_test(what_does_not_obey_is_killed_with_its_job),
	    cmocka_unit_test(what_a_failed_job_left_ends_before_it_is_told),
	    cmocka_unit_test(what_a_done_job_left_has_the_grace),
	    cmocka_unit_test(a_job_may_read_its_own_output),
	    cmocka_unit_test(children_die_with_the_worker),
	    cmocka_unit_test(many_jobs_leave_no_trace),
	    cmocka_unit_test(an_environment_too_large_is_the_jobs_outcome),
	    cmocka_unit_test(descriptors_running_out_fails_no_job),
	    cmocka_unit_test(it_grows_while_jobs_run),
	    cmocka_unit_test(it_shrinks_while_jobs_run),
	    cmocka_unit_test(it_grows_as_far_as_its_handler_may),
	    cmocka_unit_test(it_grows_as_far_as_descriptors_allow),
	    cmocka_unit_test(without_memory_it_does_not_grow),
	    cmocka_unit_test(creating_survives_every_failed_allocation),
	    cmocka_unit_test(starting_survives_every_failed_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
