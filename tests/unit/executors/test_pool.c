/* pool, with real processes: what they say is believed, what they should not do harms nobody, and no job
 * is lost however a process ends. */
#include "fake_host.h"

#include "base/log.h"
#include "executors/child/children.h"
#include "executors/pool/pool.h"
#include "executors/pool/pool_child.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static const struct worker_settings worker = {.concurrency = 64, .max_checkpoint_bytes = 1024};

struct fixture {
	struct fake_host fake;
	struct children *children;
	struct handler_settings handler;
	const char *command[8];
	unsigned descriptors;
};

static unsigned open_descriptors(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void kill_all_processes(void)
{
	char path[64];
	int pid;
	(void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fscanf(file, "%d", &pid) == 1)
		(void)kill(pid, SIGKILL);
	fclose(file);
}

/* Nobody is left running, or is about to end. */
static void bury_all(void)
{
	int tries = 20000;
	pid_t pid;
	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && tries > 0)
		if (pid == 0) {
			usleep(1000);
			tries--;
		}
	assert_int_equal(pid, -1);
	assert_int_equal(errno, ECHILD);
}

/* `words` are separated by blanks and stay the caller's. */
static void prepare(struct fixture *f, char *words)
{
	kill_all_processes(); /* of a test that has failed */
	bury_all();
	*f = (struct fixture){.descriptors = open_descriptors()};
	unsigned n = 0;
	f->command[n++] = SCRIPTED;
	for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
		f->command[n++] = word;
	f->handler = (struct handler_settings){
	    .name = "thumbs",
	    .type = HANDLER_POOL,
	    .command = f->command,
	    .output_line_bytes = 256,
	    .processes = 1,
	    .ready_timeout_ms = 20000,
	    .stall_timeout_ms = 20000,
	};
	fake_host_open(&f->fake);
	log_set_level(f->fake.log, LOG_DEBUG);
	assert_int_equal(children_create(f->fake.loop, f->fake.log, &f->children, NULL), ST_OK);
}

static void begin(struct fixture *f)
{
	assert_int_equal(pool_executor_create(f->fake.loop, f->fake.log, f->children, &f->handler,
					      &worker, &f->fake.host, &f->fake.executor, NULL),
			 ST_OK);
}

struct width_wait {
	const struct executor *executor;
	unsigned width;
};

static bool has_width(void *arg)
{
	const struct width_wait *wait = arg;
	return wait->executor->width == wait->width;
}

static void await_width(struct fixture *f, unsigned width)
{
	struct width_wait wait = {f->fake.executor, width};
	fake_run_while_not(&f->fake, has_width, &wait);
	assert_int_equal(f->fake.executor->depth, width);
}

static void open_fixture(struct fixture *f, char *words, unsigned width)
{
	prepare(f, words);
	begin(f);
	assert_int_equal(f->fake.executor->width, 0);
	await_width(f, width);
}

/* Jobs are the host's, here the test's: those that still run must end to be freed. */
static void end_all_jobs(struct fixture *f)
{
	f->fake.executor->ops->retract(f->fake.executor);
	if (f->fake.finished + f->fake.retracted == f->fake.serial)
		return;
	kill_all_processes();
	fake_run_until(&f->fake, (unsigned)f->fake.serial);
}

static void close_fixture(struct fixture *f)
{
	end_all_jobs(f);
	f->fake.executor->ops->destroy(f->fake.executor);
	children_destroy(f->children);
	bury_all();
	fake_host_close(&f->fake);
	assert_int_equal(open_descriptors(), f->descriptors);
}

static struct job *start(struct fixture *f, const char *body)
{
	struct job *job = fake_job(&f->fake, body, strlen(body));
	fake_start(&f->fake, job);
	return job;
}

static void run_one(struct fixture *f, const char *body)
{
	unsigned ends = f->fake.finished + f->fake.retracted + 1;
	start(f, body);
	fake_run_until(&f->fake, ends);
}

struct words_wait {
	struct fake_host *fake;
	const char *words;
};

static bool is_logged(void *arg)
{
	struct words_wait *wait = arg;
	char *text = fake_log_text(wait->fake);
	bool found = strstr(text, wait->words) != NULL;
	free(text);
	return found;
}

static void await_logged(struct fixture *f, const char *words)
{
	struct words_wait wait = {&f->fake, words};
	fake_run_while_not(&f->fake, is_logged, &wait);
}

static unsigned count_logged(struct fixture *f, const char *words)
{
	char *text = fake_log_text(&f->fake);
	unsigned n = 0;
	for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
		n++;
	free(text);
	return n;
}

struct count_wait {
	struct fixture *f;
	const char *words;
	unsigned more_than;
};

static bool is_counted(void *arg)
{
	const struct count_wait *wait = arg;
	return count_logged(wait->f, wait->words) > wait->more_than;
}

static bool has_begun(void *arg)
{
	return ((const struct job *)arg)->begun_ns != 0;
}

static struct job *hold(struct fixture *f)
{
	struct job *job = start(f, "hold");
	fake_run_while_not(&f->fake, has_begun, job);
	return job;
}

/* As dispatch does it. */
static void stop(struct fixture *f, struct job *job, enum stop_how how)
{
	job->stop = JOB_STOPPED_BY_DRAIN;
	job->killed = how == STOP_KILL;
	f->fake.executor->ops->stop(f->fake.executor, job, how);
}

/* --- outcomes ------------------------------------------------------------------------------------- */

static void each_answer_has_its_outcome(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		enum outcome_kind kind;
		uint64_t after_ms;
		const char *reason;
	} rows[] = {
	    {"done",   OUTCOME_DONE,   0,    ""       },
	    {"retry",  OUTCOME_RETRY,  1500, "as told"},
	    {"reject", OUTCOME_REJECT, 1500, "as told"},
	    {"return", OUTCOME_RETURN, 1500, "as told"},
	    {"",       OUTCOME_DONE,   0,    ""       },
	};
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		run_one(&f, rows[i].body);
		assert_int_equal(f.fake.last.kind, rows[i].kind);
		assert_int_equal(f.fake.last.after_ms, rows[i].after_ms);
		assert_string_equal(f.fake.last.reason, rows[i].reason);
		assert_false(f.fake.last.crashed);
	}
	close_fixture(&f);
}

static char left[64];

static void remember_left(struct fake_host *fake, struct job *job)
{
	(void)fake;
	(void)snprintf(left, sizeof left, "%.*s", (int)job->left.len,
		       job->left.set ? job->left.bytes : "");
}

static void facts_reach_the_host(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	f.fake.on_finished = remember_left;
	run_one(&f, "facts");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	assert_int_equal(f.fake.progressed, 1);
	assert_int_equal(f.fake.extended_ms, 60000);
	assert_string_equal(left, "page 8"); /* of the result itself: told before the end */
	fake_assert_logged(&f.fake, "line=hm");
	await_logged(&f, "line=\"on stderr\"");
	run_one(&f, "big-checkpoint:1025");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

static void stderr_names_the_job_when_there_is_one(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=2 deaf-to-cancel"}, 2);
	struct job *first = hold(&f);
	f.fake.executor->ops->stop(f.fake.executor, first, STOP_ASK);
	await_logged(&f, "job=job-1 source=main queue=emails handler=thumbs attempt=1 "
			 "stream=stderr line=\"cancel job-1\"");
	hold(&f);
	f.fake.executor->ops->drain_notice(f.fake.executor, 1000);
	await_logged(&f, "stream=stderr line=drain");
	assert_int_equal(count_logged(&f, "job=job-1 source=main queue=emails handler=thumbs "
					  "attempt=1 stream=stderr line=drain"),
			 0);
	close_fixture(&f);
}

/* --- width ---------------------------------------------------------------------------------------- */

static void width_is_what_processes_say_and_settings_allow(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=8"});
	f.handler.processes = 3;
	begin(&f);
	assert_int_equal(f.fake.executor->widest, 3); /* nothing said, nothing set: one each */
	await_width(&f, 24);
	assert_int_equal(f.fake.executor->widest, 24);
	assert_int_equal(f.fake.resized, 3);
	close_fixture(&f);

	prepare(&f, (char[]){"concurrency=8"});
	f.handler.processes = 2;
	f.handler.per_process = 5;
	begin(&f);
	assert_int_equal(f.fake.executor->widest, 10);
	await_width(&f, 10);
	close_fixture(&f);

	prepare(&f, (char[]){"concurrency=2"});
	f.handler.per_process = 5;
	begin(&f);
	await_width(&f, 2);
	assert_int_equal(f.fake.executor->widest, 2);
	close_fixture(&f);
}

static void a_second_ready_changes_the_width(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	run_one(&f, "says:5");
	assert_int_equal(f.fake.executor->width, 5);
	assert_int_equal(f.fake.executor->widest, 5);
	for (int i = 0; i < 5; i++)
		hold(&f);
	f.fake.executor->ops->drain_notice(f.fake.executor, UINT64_MAX);
	close_fixture(&f);
}

static void jobs_spread_over_processes(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=2"});
	f.handler.processes = 2;
	begin(&f);
	await_width(&f, 4);
	struct job *first = hold(&f);
	hold(&f);
	stop(&f, first, STOP_KILL);
	fake_run_until(&f.fake, 1);
	await_width(&f, 4);                   /* replaced by then */
	assert_int_equal(f.fake.finished, 1); /* the other one was elsewhere */
	close_fixture(&f);
}

static void a_full_pool_with_all_depth_works_through(void **state)
{
	(void)state;
	enum { JOBS = 20000 };
	struct fixture f;
	prepare(&f, (char[]){"concurrency=100"});
	f.handler.processes = 2;
	log_set_level(f.fake.log, LOG_WARN);
	begin(&f);
	await_width(&f, 200);
	for (unsigned begun = 0; begun < JOBS; begun += 200) {
		for (int i = 0; i < 200; i++)
			start(&f, "done");
		fake_run_until(&f.fake, begun + 200);
	}
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], JOBS);
	close_fixture(&f);
}

/* --- bodies ---------------------------------------------------------------------------------------- */

static void bodies_of_all_sizes_arrive(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 1u << 20, 50u << 20, 3};
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=16"}, 16);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *body = calloc(1, sizes[i] + 1);
		memset(body, 'x', sizes[i]);
		fake_start(&f.fake, fake_job(&f.fake, body, sizes[i]));
		free(body);
	}
	fake_run_until(&f.fake, sizeof sizes / sizeof *sizes);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], sizeof sizes / sizeof *sizes);
	close_fixture(&f);
}

/* The job must not be gone while its body is still being written. */
static void an_answer_before_the_body_is_read(void **state)
{
	(void)state;
	enum { BYTES = 8 << 20 };
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	char *body = calloc(1, BYTES);
	f.fake.route.name = "early";
	fake_start(&f.fake, fake_job(&f.fake, body, BYTES));
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	f.fake.route.name = "emails";
	run_one(&f, "retry"); /* still in step */
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	free(body);
	close_fixture(&f);
}

/* --- ids ------------------------------------------------------------------------------------------- */

static struct job *job_with_id(struct fixture *f, const char *id, const char *body)
{
	struct job_facts facts = {
	    .route = &f->fake.route,
	    .serial = ++f->fake.serial,
	    .attempt = 1,
	    .id = span_text(id),
	    .body_bytes = strlen(body),
	};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	memcpy(job_body(job), body, strlen(body));
	return job;
}

static void one_id_twice_is_never_in_one_process(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=4"}, 4);
	struct job *first = job_with_id(&f, "same", "hold");
	struct job *second = job_with_id(&f, "same", "reject");
	fake_start(&f.fake, first);
	fake_start(&f.fake, second);
	fake_run_while_not(&f.fake, has_begun, first);
	assert_int_equal(f.fake.executor->ops->begun_ns(f.fake.executor, second), 0);
	start(&f, "release");
	fake_run_until(&f.fake, 3);
	assert_int_equal(f.fake.last.kind, OUTCOME_REJECT);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 2);
	close_fixture(&f);
}

static void the_second_of_one_id_goes_to_another_process(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=4"});
	f.handler.processes = 2;
	begin(&f);
	await_width(&f, 8);
	for (int i = 0; i < 2; i++) {
		struct job *job = job_with_id(&f, "same", "hold");
		fake_start(&f.fake, job);
		fake_run_while_not(&f.fake, has_begun, job);
	}
	struct job *third = job_with_id(&f, "same", "done");
	fake_start(&f.fake, third);
	f.fake.executor->ops->retract(f.fake.executor); /* it waits, and so it comes back */
	assert_int_equal(f.fake.retracted, 1);
	close_fixture(&f);
}

static void strange_ids_find_their_jobs(void **state)
{
	(void)state;
	static const char *const ids[] = {"\"quoted\\\" \t\n",
					  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
					  "\xff\xfe bad \xc3", "</script>\x7f\x01"};
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=8"}, 8);
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		fake_start(&f.fake, job_with_id(&f, ids[i], "done"));
	fake_run_until(&f.fake, sizeof ids / sizeof *ids);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], sizeof ids / sizeof *ids);
	close_fixture(&f);
}

/* --- ends of processes ------------------------------------------------------------------------------ */

static void a_death_takes_its_own_jobs_only(void **state)
{
	(void)state;
	static const struct {
		const char *body, *reason;
	} rows[] = {
	    {"signal:11", "its process ended by SIGSEGV"                 },
	    {"signal:9",  "its process ended by SIGKILL"                 },
	    {"exit:3",    "its process ended with status 3 and no answer"},
	    {"exit:0",    "its process ended with status 0 and no answer"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct fixture f;
		prepare(&f, (char[]){"concurrency=2"});
		f.handler.processes = 2;
		begin(&f);
		await_width(&f, 4);
		hold(&f);
		hold(&f);
		run_one(&f, rows[i].body);
		fake_run_until(&f.fake, 2); /* one held beside it */
		assert_int_equal(f.fake.finished, 2);
		assert_int_equal(f.fake.kinds[OUTCOME_RETRY], 2);
		assert_true(f.fake.last.crashed);
		assert_string_equal(f.fake.last.reason, rows[i].reason);
		await_width(&f, 4); /* replaced */
		close_fixture(&f);
	}
}

static void an_answer_in_the_pipe_counts_after_death(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	run_one(&f, "answer-exit:3");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	await_logged(&f, "by=\"status 3\" jobs=0 jobs_done=1");
	await_width(&f, 1);
	close_fixture(&f);
}

/* More than a pipe takes. */
static void start_large(struct fixture *f)
{
	static const char body[200000];
	fake_start(&f->fake, fake_job(&f->fake, body, sizeof body));
}

/* Sent is not read: who has not read a job has not begun it, and a crash says nothing of it. */
static void a_death_does_not_take_what_was_not_read(void **state)
{
	(void)state;
	static const struct {
		const char *body, *logged;
		unsigned retried;
	} rows[] = {
	    {"unread-exit:3",        "by=\"status 3\" jobs=1 jobs_done=0", 1},
	    {"unread-mute:3",        "by=\"status 3\" jobs=1 jobs_done=0", 1},
	    {"unread-answer-exit:3", "by=\"status 3\" jobs=0 jobs_done=1", 0},
	    {"unread-answer-exit:0", "by=\"status 0\" jobs=0 jobs_done=1", 0},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct fixture f;
		open_fixture(&f, (char[]){"concurrency=3 reads-by-byte"}, 3);
		start(&f, rows[i].body);
		start(&f, "done"); /* all in one write: it may end as soon as it has the first */
		start_large(&f);
		fake_run_until(&f.fake, 3);
		assert_int_equal(f.fake.retracted, 2);
		assert_int_equal(f.fake.kinds[OUTCOME_RETRY], rows[i].retried);
		assert_int_equal(f.fake.kinds[OUTCOME_DONE], 1 - rows[i].retried);
		await_logged(&f, rows[i].logged);
		await_width(&f, 3);
		close_fixture(&f);
	}
}

/* Of those that were sent to it, only the one that it had begun to read. */
static void what_a_stalled_process_has_not_read_is_not_lost_with_it(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=3 reads-by-byte"});
	f.handler.stall_timeout_ms = 100;
	begin(&f);
	await_width(&f, 3);
	fake_run_while_not(&f.fake, has_begun, start(&f, "deaf"));
	start(&f, "done");
	start_large(&f);
	fake_run_until(&f.fake, 3);
	assert_int_equal(f.fake.retracted, 2);
	assert_int_equal(f.fake.kinds[OUTCOME_RETRY], 1);
	assert_string_equal(f.fake.last.reason, "its process was killed: it stopped reading");
	await_width(&f, 3);
	close_fixture(&f);
}

static bool unbegun_too(void *arg)
{
	const struct fixture *f = arg;
	return f->fake.finished + f->fake.retracted == f->fake.serial;
}

/* More than its pipe takes: those in the pipe were begun, the others were not. */
static void the_unbegun_jobs_of_the_dead_come_back(void **state)
{
	(void)state;
	struct fixture f;
	char body[4000];
	memset(body, 'x', sizeof body);
	prepare(&f, (char[]){"concurrency=200"});
	f.handler.stall_timeout_ms = 300;
	begin(&f);
	await_width(&f, 200);
	hold(&f);
	struct job *deaf = start(&f, "deaf");
	for (int i = 0; i < 100; i++)
		fake_start(&f.fake, fake_job(&f.fake, body, sizeof body));
	fake_run_while_not(&f.fake, has_begun, deaf);
	fake_run_while_not(&f.fake, unbegun_too, &f);
	assert_int_in_range(f.fake.retracted, 98, 100); /* stdio has read the beginning of some */
	assert_int_equal(f.fake.kinds[OUTCOME_RETRY], f.fake.finished);
	assert_string_equal(f.fake.last.reason, "its process was killed: it stopped reading");
	assert_int_equal(f.fake.finished + f.fake.retracted, 102);
	fake_assert_logged(&f.fake, "process killed handler=thumbs");
	close_fixture(&f);
}

static void retract_takes_back_what_is_not_begun(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=4"}, 4);
	hold(&f);
	for (int i = 0; i < 3; i++)
		start(&f, "done");
	f.fake.executor->ops->retract(f.fake.executor); /* before the turn ended */
	assert_int_equal(f.fake.retracted, 3);
	assert_int_equal(f.fake.last_serial, 2);
	run_one(&f, "retry"); /* and what was written stays in step */
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	run_one(&f, "release");
	close_fixture(&f);
}

/* --- being stopped --------------------------------------------------------------------------------- */

static void asked_to_stop_is_a_notice(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=4"}, 4);
	hold(&f);
	struct job *job = hold(&f);
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETURN);
	assert_int_equal(f.fake.last_serial, 2);
	assert_string_equal(f.fake.last.reason, "asked to stop");
	run_one(&f, "release");
	assert_int_equal(f.fake.executor->width, 4);
	close_fixture(&f);
}

static struct {
	unsigned serial;
	char reason[96];
} told[4];
static unsigned n_told;

static void note_reason(struct fake_host *fake, struct job *job)
{
	told[n_told].serial = (unsigned)job->serial;
	(void)snprintf(told[n_told++].reason, sizeof told[0].reason, "%s", fake->last.reason);
}

static void a_kill_abandons_and_tells_the_innocent_why(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=4 deaf-to-cancel"}, 4);
	f.fake.on_finished = note_reason;
	n_told = 0;
	hold(&f);
	struct job *job = hold(&f);
	hold(&f);
	stop(&f, job, STOP_ASK);
	await_logged(&f, "line=\"cancel job-2\"");
	stop(&f, job, STOP_KILL);
	assert_int_equal(f.fake.finished, 0); /* not before it is dead */
	stop(&f, job, STOP_KILL);             /* once is enough */
	fake_run_until(&f.fake, 3);
	assert_int_equal(f.fake.kinds[OUTCOME_ABANDONED], 3);
	assert_string_equal(told[0].reason, "its process was killed because of job job-2");
	assert_string_equal(told[1].reason, "its process was killed");
	assert_string_equal(told[2].reason, "its process was killed because of job job-2");
	assert_int_equal(count_logged(&f, "process killed"), 1);
	await_width(&f, 4);
	close_fixture(&f);
}

/* A zombie is not: somebody else inherited it. */
static bool is_alive(pid_t pid)
{
	char path[64], is = 'Z';
	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *stat = fopen(path, "r");
	if (stat == NULL)
		return false;
	(void)!fscanf(stat, "%*d (%*[^)]) %c", &is);
	fclose(stat);
	return is != 'Z';
}

static void the_group_dies_with_it(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	f.command[0] = "/bin/sh";
	f.command[1] = "-c";
	f.command[2] = "echo '{\"type\":\"ready\"}'; sleep 1000 & echo grandchild $! >&2; wait";
	begin(&f);
	await_width(&f, 1);
	await_logged(&f, "grandchild ");
	char *text = fake_log_text(&f.fake);
	pid_t grandchild = atoi(strstr(text, "grandchild ") + strlen("grandchild "));
	free(text);
	stop(&f, hold(&f), STOP_KILL);
	fake_run_until(&f.fake, 1);
	for (int i = 0; i < 5000 && is_alive(grandchild); i++)
		usleep(1000);
	assert_false(is_alive(grandchild));
	f.fake.executor->ops->destroy(f.fake.executor);
	children_destroy(f.children);
	bury_all();
	fake_host_close(&f.fake);
}

/* --- getting ready --------------------------------------------------------------------------------- */

static void a_banner_before_ready_is_logged_and_forgiven(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"banner"}, 1); /* thirty lines of it */
	fake_assert_logged(&f.fake, "stream=stdout line=\"Scripted 1.0 - not JSON\"");
	assert_int_equal(count_logged(&f, "Scripted 1.0"), 20);
	run_one(&f, "done");
	close_fixture(&f);
}

static void not_ready_in_time_is_killed_and_tried_again(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"never-ready"});
	f.handler.ready_timeout_ms = 50;
	begin(&f);
	struct words_wait wait = {&f.fake, "process killed handler=thumbs"};
	fake_run_while_not(&f.fake, is_logged, &wait);
	fake_assert_logged(&f.fake, "why=\"it was not ready in time\"");
	await_logged(&f, "process will be started again handler=thumbs");
	assert_int_equal(f.fake.executor->width, 0);
	assert_int_equal(f.fake.resized, 0);
	close_fixture(&f);
}

static void one_that_dies_at_once_is_tried_ever_more_rarely(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"dies-starting"});
	begin(&f);
	for (unsigned n = 0; n < 4; n++) {
		struct count_wait wait = {&f, "wait_ms=", n};
		fake_run_while_not(&f.fake, is_counted, &wait);
		char *text = fake_log_text(&f.fake);
		const char *at = text;
		for (unsigned i = 0; i <= n; i++)
			at = strstr(at, "wait_ms=") + strlen("wait_ms=");
		assert_int_in_range(atoi(at), 50 << n, 100 << n);
		free(text);
	}
	close_fixture(&f);
}

static void a_missing_program_is_tried_again(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	f.command[0] = "/no/such/program";
	begin(&f);
	await_logged(&f, "process not started handler=thumbs "
			 "why=\"/no/such/program: No such file or directory\"");
	close_fixture(&f);
}

/* --- misbehaviour ----------------------------------------------------------------------------------- */

static void rubbish_is_ignored_up_to_a_point(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=2"}, 2);
	run_one(&f, "rubbish:20");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	run_one(&f, "rubbish:20"); /* a good one was between */
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	assert_int_equal(count_logged(&f, "line of a process ignored"), 40);
	hold(&f);
	start(&f, "rubbish:21");
	fake_run_until(&f.fake, 4);
	assert_int_equal(f.fake.kinds[OUTCOME_RETRY], 2);
	assert_true(f.fake.last.crashed);
	assert_string_equal(f.fake.last.reason,
			    "its process was killed: what it writes to stdout makes no sense");
	await_width(&f, 2);
	close_fixture(&f);
}

static void what_it_should_not_say_is_logged_and_ignored(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	run_one(&f, "twice");
	run_one(&f, "wrong-id");
	run_one(&f, "long:100000"); /* the limit is six checkpoints and errors, and a bit */
	run_one(&f, "done");
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 4);
	assert_int_equal(count_logged(&f, "it does not have that job"), 2);
	assert_int_equal(count_logged(&f, "the line is too long"), 1);
	assert_int_equal(count_logged(&f, "process ended"), 0);
	close_fixture(&f);
}

static void a_wrong_result_is_a_retry_and_percents_are_no_crime(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	for (int i = 0; i < 30; i++) {
		run_one(&f, "wrong-reason");
		assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
		assert_false(f.fake.last.crashed);
		assert_string_equal(f.fake.last.reason, "its result is wrong: reason is no string");
		run_one(&f, "percent:90");
		assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	}
	assert_int_equal(f.fake.progressed, 0);
	assert_int_equal(count_logged(&f, "process started"), 1);
	assert_int_equal(count_logged(&f, "level=warn") + count_logged(&f, "warn  "), 20);
	close_fixture(&f);
}

static void a_closed_stdout_is_the_end(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	run_one(&f, "mute");
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	assert_string_equal(f.fake.last.reason, "its process was killed: it closed its stdout");
	await_width(&f, 1);
	close_fixture(&f);
}

/* Whatever is noticed first, its pipe or its death: who was not asked to end is in the log for it. */
static void a_death_noticed_while_writing_is_logged_as_one(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	log_set_level(f.fake.log, LOG_INFO);
	kill_all_processes();
	usleep(50000); /* the loop has not turned: it does not know yet */
	start(&f, "done");
	fake_run_until(&f.fake, 1);
	await_logged(&f, "process ended handler=thumbs");
	fake_assert_logged(&f.fake, "warn  process ended handler=thumbs");
	close_fixture(&f);
}

static void a_closed_stdin_retires_it(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	run_one(&f, "close-stdin");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	start(&f, "done"); /* finds it closed: not begun, so it comes back */
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.retracted + f.fake.kinds[OUTCOME_DONE], 2);
	await_logged(&f, "process ready");
	await_width(&f, 1);
	close_fixture(&f);
}

static void a_flood_does_not_keep_the_loop(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=2"});
	f.handler.processes = 2;
	log_set_level(f.fake.log, LOG_WARN);
	begin(&f);
	await_width(&f, 4);
	struct job *flood = start(&f, "flood");
	fake_run_while_not(&f.fake, has_begun, flood);
	for (unsigned i = 0; i < 100; i++) /* the other one goes on */
		run_one(&f, "done");
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 100);
	stop(&f, flood, STOP_KILL);
	fake_run_until(&f.fake, 101);
	close_fixture(&f);
}

/* --- recycling -------------------------------------------------------------------------------------- */

static struct {
	int pid;
	unsigned jobs;
} served[64];

static void note_server(struct fake_host *fake, struct job *job)
{
	int pid = atoi(fake->last.reason);
	unsigned i = 0;
	(void)job;
	while (i < 63 && served[i].pid != 0 && served[i].pid != pid)
		i++;
	served[i].pid = pid;
	served[i].jobs++;
}

/* However many jobs there are at once, and whatever they find. */
static void max_jobs_is_a_limit(void **state)
{
	(void)state;
	static const unsigned limits[] = {1, 3};
	for (unsigned i = 0; i < 2; i++) {
		struct fixture f;
		prepare(&f, (char[]){"concurrency=2"});
		f.handler.processes = 2;
		f.handler.max_jobs = limits[i];
		begin(&f);
		memset(served, 0, sizeof served);
		f.fake.on_finished = note_server;
		for (int n = 0; n < 24; n++)
			start(&f, "pid");
		fake_run_until(&f.fake, 24);
		for (unsigned k = 0; k < 64; k++)
			assert_true(served[k].jobs <= limits[i]);
		assert_int_equal(f.fake.kinds[OUTCOME_DONE], 24);
		unsigned again = count_logged(&f, "process will be started again");
		assert_true(again > 0);
		assert_int_equal(count_logged(&f, "wait_ms=0"), again);
		close_fixture(&f);
	}
}

static void a_job_that_is_taken_back_is_none_of_max_jobs(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	f.handler.max_jobs = 2;
	begin(&f);
	await_width(&f, 1);
	start(&f, "done");
	f.fake.executor->ops->retract(f.fake.executor);
	assert_int_equal(f.fake.retracted, 1);
	run_one(&f, "done");
	assert_int_equal(count_logged(&f, "process will be replaced"), 0);
	run_one(&f, "done");
	assert_int_equal(count_logged(&f, "process will be replaced"), 1);
	close_fixture(&f);
}

static void the_next_one_gets_ready_while_the_last_job_runs(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=2"});
	f.handler.max_jobs = 3;
	begin(&f);
	await_width(&f, 2);
	for (int i = 0; i < 2; i++)
		run_one(&f, "done");
	assert_int_equal(f.fake.executor->width, 1);
	struct job *last = hold(&f); /* of the old one: it keeps it */
	await_width(&f, 3);          /* the new one's two, and this */
	for (int i = 0; i < 2; i++)
		hold(&f);
	stop(&f, last, STOP_ASK);
	fake_run_until(&f.fake, 3);
	assert_int_equal(f.fake.last_serial, 3);
	assert_int_equal(f.fake.executor->width, 2);
	await_logged(&f, "by=\"status 0\""); /* the end of its stdin was enough */
	assert_int_equal(count_logged(&f, "process ready"), 2);
	close_fixture(&f);
}

/* Its stdout is closed, it is not reaped yet, and the one that is to replace it is ready. */
static void one_that_breaks_down_meanwhile_is_replaced(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"concurrency=2 late=20"});
	f.handler.max_jobs = 1;
	begin(&f);
	await_width(&f, 1); /* of two, there is one job left for it */
	run_one(&f, "done");
	run_one(&f, "mute");
	assert_string_equal(f.fake.last.reason, "its process was killed: it closed its stdout");
	await_width(&f, 1);
	close_fixture(&f);
}

static void max_memory_replaces_too(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	f.handler.max_memory_bytes = 64u << 20;
	begin(&f);
	await_width(&f, 1);
	run_one(&f, "done");
	assert_int_equal(count_logged(&f, "process will be replaced"), 0);
	run_one(&f, "grow:80");
	while (count_logged(&f, "why=max_memory") == 0)
		run_one(&f, "done"); /* it is not looked at after each */
	await_logged(&f, "by=\"status 0\"");
	close_fixture(&f);
}

/* One after the other, four that take their time to get ready would take it four times. */
static void all_that_have_had_their_share_are_replaced_at_once(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"late=200"});
	f.handler.processes = 4;
	f.handler.max_jobs = 1;
	begin(&f);
	await_width(&f, 4);
	for (int i = 0; i < 4; i++)
		start(&f, "done");
	fake_run_until(&f.fake, 4);
	struct count_wait wait = {&f, "process ready", 4};
	fake_run_while_not(&f.fake, is_counted, &wait);
	assert_int_equal(count_logged(&f, "process started"), 8);
	await_width(&f, 4);
	close_fixture(&f);
}

static void one_that_renews_itself_is_not_made_to_wait(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"leaves=2"}, 1);
	run_one(&f, "done");
	run_one(&f, "done");
	await_logged(&f, "handler=thumbs wait_ms=0");
	await_width(&f, 1);
	close_fixture(&f);
}

/* --- the drain -------------------------------------------------------------------------------------- */

static void a_drain_tells_each_and_lets_the_idle_go(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	f.handler.processes = 2;
	begin(&f);
	await_width(&f, 2);
	struct job *job = hold(&f);
	f.fake.executor->ops->drain_notice(f.fake.executor, 25000);
	await_logged(&f, "by=\"status 0\"");
	f.fake.executor->ops->drain_notice(f.fake.executor, 85000); /* ctl extend: told again */
	await_logged(&f, "line=drain-85000");
	assert_int_equal(f.fake.executor->width, 1);
	await_width(&f, 1);
	assert_int_equal(f.fake.finished, 0);
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	await_width(&f, 0); /* and nobody comes after it */
	await_logged(&f, "line=\"cancel job-1\"");
	assert_int_equal(count_logged(&f, "line=drain-25000"), 2);
	assert_int_equal(count_logged(&f, "line=drain-85000"), 1);
	assert_int_equal(count_logged(&f, "process started"), 2);
	close_fixture(&f);
}

/* It reads nothing more, so the second job lies unread in its pipe. The core walks over its running jobs
 * while it asks them to stop: the neighbour may end later, and not from within that. */
static void asking_one_does_nothing_to_its_neighbour(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){"concurrency=2 reads-by-byte"}, 2);
	struct job *first = start(&f, "shut-stdin");
	fake_run_while_not(&f.fake, has_begun, first);
	struct job *second = start(&f, "never-read");
	fake_run_while_not(&f.fake, has_begun, second);
	await_logged(&f, "line=shut");
	stop(&f, first, STOP_ASK);
	assert_int_equal(f.fake.finished + f.fake.retracted, 0);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.retracted, 1);
	assert_int_equal(f.fake.last_serial, 2);
	f.fake.executor->ops->drain_notice(f.fake.executor, 25000);
	stop(&f, first, STOP_KILL);
	fake_run_until(&f.fake, 2);
	close_fixture(&f);
}

static void a_drain_ends_those_that_are_starting(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"late=60000"});
	f.handler.leave_timeout_ms = 60000; /* is for those that have served */
	begin(&f);
	uint64_t begun_ns = loop_now_ns(f.fake.loop);
	f.fake.executor->ops->drain_notice(f.fake.executor, 25000);
	f.fake.executor->ops->destroy(f.fake.executor);
	assert_int_equal(f.fake.finished, 0);
	assert_true(loop_now_ns(f.fake.loop) - begun_ns <
		    UINT64_C(30) * 1000000000); /* in no time */
	children_destroy(f.children);
	bury_all();
	fake_host_close(&f.fake);
}

/* All at the same time, and not for one moment longer than the last one takes. */
static void destroying_lets_the_idle_end(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"lingers=100"});
	f.handler.processes = 4;
	f.handler.leave_timeout_ms = 20000;
	begin(&f);
	await_width(&f, 4);
	uint64_t begun_ns = loop_now_ns(f.fake.loop);
	f.fake.executor->ops->destroy(f.fake.executor);
	uint64_t took_ns = loop_now_ns(f.fake.loop) - begun_ns;
	assert_true(took_ns >= 100 * 1000000 && took_ns < UINT64_C(10) * 1000000000);
	children_destroy(f.children);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none was left behind */
	fake_host_close(&f.fake);
}

static void the_drains_end_is_waited_for_by_nobody(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"stubborn"});
	f.handler.leave_timeout_ms = 60000;
	begin(&f);
	await_width(&f, 1);
	children_set_end(f.children, loop_now_ns(f.fake.loop) + 50 * 1000000);
	close_fixture(&f);
}

static void a_complaining_process_has_its_share_of_the_log(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	f.handler.output_lines = 5;
	begin(&f);
	await_width(&f, 1);
	run_one(&f, "complain:100000");
	run_one(&f, "complain:3"); /* an answer was between */
	run_one(&f, "done");
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 3);
	await_logged(&f, "handler wrote more than output_lines");
	assert_int_in_range(count_logged(&f, "line=complaint"), 5, 15);
	close_fixture(&f);
}

static bool left_lives;

static void look_for_left(struct fake_host *fake, struct job *job)
{
	char path[32], state = 'X';
	char *text = fake_log_text(fake);
	const char *found = strstr(text, "line=\"left ");
	(void)job;
	assert_non_null(found);
	(void)snprintf(path, sizeof path, "/proc/%d/stat", atoi(found + 11));
	free(text);
	FILE *file = fopen(path, "re");
	if (file != NULL) {
		(void)!fscanf(file, "%*d (%*[^)]) %c", &state);
		(void)fclose(file);
	}
	left_lives = state != 'Z' && state != 'X';
}

/* The job will run again; who was at it with the process may not be any more. */
static void what_a_dead_process_left_ends_before_its_jobs_are_told(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	children_set_grace(f.children, 50);
	begin(&f);
	await_width(&f, 1);
	f.fake.on_finished = look_for_left;
	run_one(&f, "leave-exit:3");
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	assert_true(f.fake.last.crashed);
	assert_string_equal(f.fake.last.reason, "its process ended with status 3 and no answer");
	assert_false(left_lives);
	await_width(&f, 1);
	close_fixture(&f);
}

/* The kernel keeps another of its group, whatever we do: whoever runs the job again may not be alone at it. */
static void a_job_is_no_failure_while_the_kernel_keeps_one_of_its_process(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	children_set_grace(f.children, 60000);
	begin(&f);
	await_width(&f, 1);
	const struct job *job = start(&f, "leave-exit:3");
	await_logged(&f, "process ended"); /* only its leader */
	assert_int_equal(f.fake.finished, 0);
	const struct pool_task *task = job->executor_ref;
	struct process *process = &task->child->process;
	children_signal(&process->child, SIGKILL); /* this kernel does not keep it */
	process->ops->gone(process, PROCESS_IS_KEPT);
	assert_int_equal(f.fake.finished, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_ABANDONED);
	assert_false(f.fake.last.crashed);
	fake_assert_logged(&f.fake, "the kernel keeps");
	await_width(&f, 1);
	close_fixture(&f);
}

static void its_last_words_are_with_its_end(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, (char[]){""}, 1);
	run_one(&f, "complain-exit:3");
	fake_assert_logged(&f.fake, "warn  process ended");
	fake_assert_logged(&f.fake, "last_words=\"KeyError: 'x'\"");
	await_width(&f, 1);
	close_fixture(&f);
}

static void destroying_waits_for_nobody(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){"stubborn deaf-to-cancel"});
	f.handler.processes = 4;
	begin(&f);
	await_width(&f, 4);
	struct job *job = hold(&f);
	f.fake.executor->ops->drain_notice(f.fake.executor, 25000);
	uint64_t begun_ns = loop_now_ns(f.fake.loop);
	f.fake.executor->ops->destroy(f.fake.executor);
	uint64_t took_ns = loop_now_ns(f.fake.loop) - begun_ns;
	print_message("four that do not leave: %u us\n", (unsigned)(took_ns / 1000));
	assert_int_equal(f.fake.finished, 0); /* nobody listens any more */
	job_destroy(job);
	children_destroy(f.children);
	bury_all();
	fake_host_close(&f.fake);
}

/* --- memory ------------------------------------------------------------------------------------------ */

static void stop_when_resized(struct executor_host *host, struct executor *executor)
{
	(void)executor;
	loop_stop(fake_of(host)->loop);
}

/* Through creation, getting ready, and a job. Whatever fails, the job ends: another process is tried, or
 * the job is. The loop turns without help of fake_host here, which allocates. */
static bool run_with_failure(unsigned long n, bool *ret_done)
{
	struct fixture f;
	prepare(&f, (char[]){""});
	struct job *job = fake_job(&f.fake, "facts", 5);
	f.fake.host.resized = stop_when_resized;
	(void)memory_fail_at(n);
	enum status st = pool_executor_create(f.fake.loop, f.fake.log, f.children, &f.handler,
					      &worker, &f.fake.host, &f.fake.executor, NULL);
	if (st == ST_OK) {
		while (f.fake.executor->width == 0)
			loop_run(f.fake.loop);
		f.fake.host.resized = fake_resized;
		fake_start(&f.fake, job);
		fake_run_until(&f.fake, 1);
	}
	bool reached = memory_fail_at(0) >= n;
	*ret_done = f.fake.kinds[OUTCOME_DONE] == 1;
	if (st == ST_OK) {
		close_fixture(&f);
		return reached;
	}
	assert_int_equal(st, ST_NOMEM);
	job_destroy(job);
	children_destroy(f.children);
	fake_host_close(&f.fake);
	assert_int_equal(open_descriptors(), f.descriptors);
	return reached;
}

static void every_failed_allocation_is_survived(void **state)
{
	(void)state;
	unsigned long n = 1;
	unsigned not_done = 0;
	bool done;
	for (; run_with_failure(n, &done); n++)
		not_done += !done;
	assert_true(done);
	print_message("%lu allocations, %u of them needed at the first try\n", n, not_done);
	assert_true(n > 15 && not_done > 2);
}

/* libuv opens what all loops share with the first one. */
static int open_what_stays(void **state)
{
	(void)state;
	struct fixture f;
	prepare(&f, (char[]){""});
	children_destroy(f.children);
	fake_host_close(&f.fake);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_answer_has_its_outcome),
	    cmocka_unit_test(facts_reach_the_host),
	    cmocka_unit_test(stderr_names_the_job_when_there_is_one),
	    cmocka_unit_test(width_is_what_processes_say_and_settings_allow),
	    cmocka_unit_test(a_second_ready_changes_the_width),
	    cmocka_unit_test(jobs_spread_over_processes),
	    cmocka_unit_test(a_full_pool_with_all_depth_works_through),
	    cmocka_unit_test(bodies_of_all_sizes_arrive),
	    cmocka_unit_test(an_answer_before_the_body_is_read),
	    cmocka_unit_test(one_id_twice_is_never_in_one_process),
	    cmocka_unit_test(the_second_of_one_id_goes_to_another_process),
	    cmocka_unit_test(strange_ids_find_their_jobs),
	    cmocka_unit_test(a_death_takes_its_own_jobs_only),
	    cmocka_unit_test(an_answer_in_the_pipe_counts_after_death),
	    cmocka_unit_test(a_death_does_not_take_what_was_not_read),
	    cmocka_unit_test(what_a_stalled_process_has_not_read_is_not_lost_with_it),
	    cmocka_unit_test(the_unbegun_jobs_of_the_dead_come_back),
	    cmocka_unit_test(retract_takes_back_what_is_not_begun),
	    cmocka_unit_test(asked_to_stop_is_a_notice),
	    cmocka_unit_test(asking_one_does_nothing_to_its_neighbour),
	    cmocka_unit_test(a_kill_abandons_and_tells_the_innocent_why),
	    cmocka_unit_test(the_group_dies_with_it),
	    cmocka_unit_test(a_banner_before_ready_is_logged_and_forgiven),
	    cmocka_unit_test(not_ready_in_time_is_killed_and_tried_again),
	    cmocka_unit_test(one_that_dies_at_once_is_tried_ever_more_rarely),
	    cmocka_unit_test(a_missing_program_is_tried_again),
	    cmocka_unit_test(rubbish_is_ignored_up_to_a_point),
	    cmocka_unit_test(what_it_should_not_say_is_logged_and_ignored),
	    cmocka_unit_test(a_wrong_result_is_a_retry_and_percents_are_no_crime),
	    cmocka_unit_test(a_closed_stdout_is_the_end),
	    cmocka_unit_test(a_death_noticed_while_writing_is_logged_as_one),
	    cmocka_unit_test(a_closed_stdin_retires_it),
	    cmocka_unit_test(a_flood_does_not_keep_the_loop),
	    cmocka_unit_test(max_jobs_is_a_limit),
	    cmocka_unit_test(a_job_that_is_taken_back_is_none_of_max_jobs),
	    cmocka_unit_test(the_next_one_gets_ready_while_the_last_job_runs),
	    cmocka_unit_test(one_that_breaks_down_meanwhile_is_replaced),
	    cmocka_unit_test(max_memory_replaces_too),
	    cmocka_unit_test(all_that_have_had_their_share_are_replaced_at_once),
	    cmocka_unit_test(one_that_renews_itself_is_not_made_to_wait),
	    cmocka_unit_test(a_drain_tells_each_and_lets_the_idle_go),
	    cmocka_unit_test(a_drain_ends_those_that_are_starting),
	    cmocka_unit_test(destroying_waits_for_nobody),
	    cmocka_unit_test(destroying_lets_the_idle_end),
	    cmocka_unit_test(the_drains_end_is_waited_for_by_nobody),
	    cmocka_unit_test(a_complaining_process_has_its_share_of_the_log),
	    cmocka_unit_test(its_last_words_are_with_its_end),
	    cmocka_unit_test(what_a_dead_process_left_ends_before_its_jobs_are_told),
	    cmocka_unit_test(a_job_is_no_failure_while_the_kernel_keeps_one_of_its_process),
	    cmocka_unit_test(every_failed_allocation_is_survived),
	};
	return cmocka_run_group_tests(tests, open_what_stays, NULL);
}
