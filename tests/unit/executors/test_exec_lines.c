/* exec's descriptors 3 and 4, and its limits on output, with real children. */
#include "exec_fixture.h"

#include <signal.h>

/* What a job had said of itself when it ended. */
struct said {
	double progress;
	char note[64];
	char checkpoint[64]; /* its beginning */
	size_t checkpoint_bytes;
};
static struct said said; /* a callback has no room for more */

static void note_said(struct fake_host *fake, struct job *job)
{
	(void)fake;
	said = (struct said){.progress = job->progress, .checkpoint_bytes = job->left.len};
	if (job->note != NULL)
		(void)snprintf(said.note, sizeof said.note, "%s", job->note);
	if (job->left.set)
		(void)snprintf(said.checkpoint, sizeof said.checkpoint, "%.*s", (int)job->left.len,
			       job->left.bytes);
}

static void open_said(struct fixture *f, const char *script)
{
	open_shell(f, script);
	f->fake.on_finished = note_said;
}

static void run_well(struct fixture *f)
{
	run_one(f, "");
	if (f->fake.last.kind != OUTCOME_DONE)
		fail_msg("%s: %s", f->command[2], f->fake.last.reason);
}

static size_t count_logged(struct fixture *f, const char *words)
{
	char *text = fake_log_text(&f->fake);
	size_t count = 0;
	for (char *at = text; (at = strstr(at, words)) != NULL; at++)
		count++;
	free(text);
	return count;
}

/* --- descriptor 3 ----------------------------------------------------------------------------------- */

static void the_jobs_line_is_there(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f,
		   "read -r line <&3; case $line in "
		   "'{\"type\":\"job\",\"id\":\"job-1\",\"source\":\"main\",\"queue\":\"emails\","
		   "\"attempt\":1,'*'\"timeout_ms\":30000,'*'\"bytes\":4}') exit 0;; esac; exit 1");
	run_one(&f, "body");
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

static void it_can_be_opened_by_name(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "head -n 1 /dev/fd/3 | grep -q '^{\"type\":\"job\"' && "
		       "echo '{\"progress\":1}' >/dev/fd/4");
	run_well(&f);
	assert_int_equal(f.fake.progressed, 1);
	close_fixture(&f);
}

/* More than a pipe holds, and a notice behind it while the child is not reading yet. */
static void a_long_line_arrives_whole(void **state)
{
	(void)state;
	enum { BYTES = 300000 };
	struct fixture f;
	char *checkpoint = malloc(BYTES);
	assert_non_null(checkpoint);
	memset(checkpoint, 'x', BYTES);
	open_shell(&f, "sleep 0.05; test $(head -n 1 <&3 | wc -c) -gt 300000");
	struct job *job = fake_job(&f.fake, "", 0);
	job->checkpoint = span_of(checkpoint, BYTES);
	fake_start(&f.fake, job);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);

	f.command[2] = "sleep 0.05; head -n 2 <&3 | tail -n 1 | grep -qxF "
		       "'{\"type\":\"drain\",\"notice\":\"drain\",\"remaining_ms\":5000}'";
	job = fake_job(&f.fake, "", 0);
	job->checkpoint = span_of(checkpoint, BYTES);
	fake_start(&f.fake, job);
	f.fake.executor->ops->drain_notice(f.fake.executor, 5000);
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	free(checkpoint);
	close_fixture(&f);
}

static void it_may_stay_unread(void **state)
{
	(void)state;
	static const char *const scripts[] = {"exec 3<&-; echo ready; sleep 0.05",
					      "echo ready; sleep 0.05"};
	enum { BYTES = 300000, NOTICES = 2000 };
	char *checkpoint = malloc(BYTES);
	assert_non_null(checkpoint);
	memset(checkpoint, 'x', BYTES);
	for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
		for (size_t bytes = 0; bytes <= BYTES; bytes += BYTES) {
			struct fixture f;
			open_shell(&f, scripts[i]);
			struct job *job = fake_job(&f.fake, "", 0);
			job->checkpoint = span_of(checkpoint, bytes);
			fake_start(&f.fake, job);
			fake_run_while_not(&f.fake, has_logged, &f.fake);
			for (unsigned n = 0; n < NOTICES; n++) /* 120 kB */
				f.fake.executor->ops->drain_notice(f.fake.executor, UINT64_MAX);
			fake_run_until(&f.fake, 1);
			assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
			close_fixture(&f);
		}
	}
	free(checkpoint);
}

static void a_running_child_hears_of_the_drain(void **state)
{
	(void)state;
	struct fixture f;
	struct job *job;
	open_shell(&f, "read -r line <&3; echo ready; read -r notice <&3; test \"$notice\" = "
		       "'{\"type\":\"drain\",\"notice\":\"drain\",\"remaining_ms\":5000}'");
	start_and_hear(&f, &job);
	f.fake.executor->ops->drain_notice(f.fake.executor, 5000);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

static void a_cancel_comes_before_the_signal(void **state)
{
	(void)state;
	struct fixture f;
	struct job *job;
	open_shell(&f, "read -r line <&3; trap 'read -r n <&3; test \"$n\" = "
		       "\"{\\\"type\\\":\\\"cancel\\\",\\\"notice\\\":\\\"cancel\\\","
		       "\\\"id\\\":\\\"job-1\\\",\\\"reason\\\":\\\"timeout\\\"}\"; exit $?' TERM;"
		       "echo ready; while :; do sleep 0.01; done");
	start_and_hear(&f, &job);
	job->stop = JOB_STOPPED_BY_TIMEOUT;
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	close_fixture(&f);
}

/* --- descriptor 4 ----------------------------------------------------------------------------------- */

static void a_short_jobs_words_count(void **state)
{
	(void)state;
	struct fixture f;
	open_said(&f, "echo '{\"progress\":0.25,\"note\":\"half of half\"}' >&4;"
		      "echo '{\"type\":\"extend\",\"extend_ms\":1500}' >&4;"
		      "printf '{\"id\":\"job-1\",\"checkpoint\":\"page 7\"}' >&4"); /* no newline */
	run_well(&f);
	assert_true(said.progress > 0.24 && said.progress < 0.26);
	assert_string_equal(said.note, "half of half");
	assert_string_equal(said.checkpoint, "page 7");
	assert_int_equal(f.fake.extended_ms, 1500);
	assert_int_equal(count_logged(&f, "rubbish"), 0);
	close_fixture(&f);
}

static bool has_progressed(void *arg)
{
	return ((struct fake_host *)arg)->progressed > 0;
}

static void a_long_jobs_words_are_heard_at_once(void **state)
{
	(void)state;
	struct fixture f;
	open_said(&f, "echo '{\"progress\":0.5}' >&4; sleep 60");
	struct job *job = fake_job(&f.fake, "", 0);
	fake_start(&f.fake, job);
	fake_run_while_not(&f.fake, has_progressed, &f.fake);
	assert_int_equal(f.fake.finished, 0);
	stop(&f, job, STOP_KILL);
	fake_run_until(&f.fake, 1);
	close_fixture(&f);
}

static void rubbish_is_said_once_and_harms_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *script, *why;
	} rows[] = {
	    {"echo hello >&4",							   "why=\""                         },
	    {"echo '[]' >&4",							    "why=\"no object\""              },
	    {"echo '{\"progress\":2}' >&4",					      "why=\"progress is no number"    },
	    {"echo '{\"type\":\"ready\"}' >&4",                                          "why=\"that is a pool's word"    },
	    {"echo '{\"type\":\"result\",\"id\":\"job-1\",\"outcome\":\"reject\"}' >&4",
	     "why=\"that is a pool's word"										},
	    {"echo '{\"id\":\"job-2\",\"progress\":1}' >&4",                             "why=\"it is about another job\""},
	    {"head -c 500000 /dev/zero | tr '\\0' x >&4; echo >&4",                      "why=\"too long\""               },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct fixture f;
		char script[512];
		(void)snprintf(script, sizeof script, "%s; echo '{\"note\":\"good\"}' >&4; %s; %s",
			       rows[i].script, rows[i].script, rows[i].script);
		open_said(&f, script);
		run_well(&f);
		assert_string_equal(said.note, "good");
		assert_int_equal(count_logged(&f, "job wrote rubbish to descriptor 4"), 1);
		fake_assert_logged(&f.fake, rows[i].why);
		fake_assert_logged(&f.fake, "job wrote more rubbish to descriptor 4 job=job-1 "
					    "queue=emails lines=2\n");
		close_fixture(&f);
	}
}

static void a_checkpoint_has_a_limit(void **state)
{
	(void)state;
	struct fixture f;
	char script[1200];
	static const char *const format =
	    "awk 'BEGIN { printf \"{\\\"checkpoint\\\":\\\"\"; for (i = 0; i < %u; i++)"
	    " printf \"\\\\u0001\"; print \"\\\"}\" }' >&4";
	(void)snprintf(script, sizeof script, format, 1u << 16); /* as long as a line can be */
	open_said(&f, script);
	run_well(&f);
	assert_int_equal(said.checkpoint_bytes, 1u << 16);
	assert_int_equal(count_logged(&f, "warn"), 0);
	close_fixture(&f);

	char one_more[512];
	(void)snprintf(one_more, sizeof one_more, format, (1u << 16) + 1);
	(void)snprintf(script, sizeof script, "echo '{\"checkpoint\":\"small\"}' >&4; %s; %s",
		       one_more, one_more);
	open_said(&f, script);
	run_well(&f);
	assert_string_equal(said.checkpoint, "small");
	assert_int_equal(count_logged(&f,
				      "checkpoint refused, it is larger than max_checkpoint; the "
				      "one before stands job=job-1 queue=emails bytes=65537"),
			 1);
	close_fixture(&f);
}

/* --- limits on output ------------------------------------------------------------------------------- */

static void log_lines_are_logged(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "echo '{\"type\":\"log\",\"level\":\"warn\",\"text\":\"slow disk\"}' >&4");
	run_well(&f);
	fake_assert_logged(&f.fake, "warn  job wrote job=job-1 source=main queue=emails "
				    "handler=mailer attempt=1 stream=log line=\"slow disk\"");
	close_fixture(&f);
}

static void lines_beyond_the_limit_are_counted(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "seq 7; seq 3 >&2; echo '{\"type\":\"log\",\"text\":\"x\"}' >&4");
	f.handler.output_lines = 4;
	run_well(&f);
	assert_int_equal(count_logged(&f, "job wrote job="), 4);
	fake_assert_logged(&f.fake, "job wrote more than output_lines, not logged job=job-1 "
				    "queue=emails lines=7\n");
	f.command[2] = "seq 4"; /* the next job begins anew */
	run_well(&f);
	assert_int_equal(count_logged(&f, "job wrote job="), 8);
	assert_int_equal(count_logged(&f, "not logged"), 1);
	close_fixture(&f);
}

/* --- the rest of an end ----------------------------------------------------------------------------- */

static void an_end_tells_what_the_run_cost(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "dd if=/dev/zero of=/dev/null bs=400M count=1 2>/dev/null");
	run_well(&f);
	assert_true(f.fake.last.usage.cpu_ns > 0);
	assert_true(f.fake.last.usage.peak_bytes >= 400u << 20);
	assert_true(f.fake.last.usage.peak_bytes < 800u << 20);
	f.command[2] = "exit 0"; /* less than we have ourselves: nobody can tell */
	run_well(&f);
	assert_true(f.fake.last.usage.cpu_ns > 0);
	assert_int_equal(f.fake.last.usage.peak_bytes, 0);
	close_fixture(&f);
}

static void the_other_table_of_exit_codes(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "exit $(cat)");
	f.handler.exit_codes = EXIT_CODES_CLI_CONSUMER;
	run_one(&f, "3");
	assert_int_equal(f.fake.last.kind, OUTCOME_REJECT);
	run_one(&f, "4");
	assert_int_equal(f.fake.last.kind, OUTCOME_RETURN);
	run_one(&f, "65");
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	close_fixture(&f);
}

static bool in_group_is_alive(pid_t group)
{
	return kill(-group, 0) == 0;
}

static bool group_has_gone(void *arg)
{
	return !in_group_is_alive(*(const pid_t *)arg);
}

/* A done job is not kept waiting for what it left running, which has the grace. */
static void what_it_leaves_running_has_the_grace(void **state)
{
	(void)state;
	struct fixture f;
	open_shell(&f, "sleep 60 & echo $$");
	children_set_grace(f.children, 300);
	run_well(&f);
	char *text = fake_log_text(&f.fake);
	pid_t group = (pid_t)atoi(strstr(text, "line=") + 5);
	free(text);
	assert_true(group > 1 && in_group_is_alive(group));
	fake_run_while_not(&f.fake, group_has_gone, &group);
	fake_assert_logged(&f.fake, "killed what a job left running");
	close_fixture(&f);
}

static void the_handlers_concurrency_caps_the_width(void **state)
{
	(void)state;
	static const unsigned rows[][2] = {
	    {0, 4},
            {3, 3},
            {4, 4},
            {9, 4}
        };
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct fixture f;
		open_shell(&f, "exit 0");
		f.fake.executor->ops->destroy(f.fake.executor);
		f.handler.concurrency = rows[i][0];
		assert_int_equal(exec_executor_create(f.fake.loop, f.fake.log, f.children,
						      &f.handler, &worker, &f.fake.host,
						      &f.fake.executor, NULL),
				 ST_OK);
		assert_int_equal(f.fake.executor->width, rows[i][1]);
		assert_int_equal(f.fake.executor->depth, rows[i][1]);
		close_fixture(&f);
	}
}

static void a_folder_that_vanished_fails_no_job(void **state)
{
	(void)state;
	char folder[] = "/tmp/outfall-test-XXXXXX";
	assert_non_null(mkdtemp(folder));
	struct fixture f;
	open_shell(&f, "exit 0");
	f.fake.executor->ops->destroy(f.fake.executor);
	f.handler.directory = folder;
	assert_int_equal(exec_executor_create(f.fake.loop, f.fake.log, f.children, &f.handler,
					      &worker, &f.fake.host, &f.fake.executor, NULL),
			 ST_OK);
	run_well(&f);
	assert_int_equal(rmdir(folder), 0);
	run_one(&f, "");
	assert_int_equal(f.fake.not_begun, 1);
	assert_non_null(strstr(f.fake.why_not, "directory /tmp/outfall-test-"));
	f.fake.executor->ops->probe(f.fake.executor);
	assert_int_equal(f.fake.could_not, 1);
	assert_non_null(strstr(f.fake.why_not, "directory /tmp/outfall-test-"));
	assert_int_equal(exec_executor_create(f.fake.loop, f.fake.log, f.children, &f.handler,
					      &worker, &f.fake.host, &f.fake.executor, NULL),
			 ST_SYSTEM);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_jobs_line_is_there),
	    cmocka_unit_test(it_can_be_opened_by_name),
	    cmocka_unit_test(a_long_line_arrives_whole),
	    cmocka_unit_test(it_may_stay_unread),
	    cmocka_unit_test(a_running_child_hears_of_the_drain),
	    cmocka_unit_test(a_cancel_comes_before_the_signal),
	    cmocka_unit_test(a_short_jobs_words_count),
	    cmocka_unit_test(a_long_jobs_words_are_heard_at_once),
	    cmocka_unit_test(rubbish_is_said_once_and_harms_nothing),
	    cmocka_unit_test(a_checkpoint_has_a_limit),
	    cmocka_unit_test(log_lines_are_logged),
	    cmocka_unit_test(lines_beyond_the_limit_are_counted),
	    cmocka_unit_test(an_end_tells_what_the_run_cost),
	    cmocka_unit_test(the_other_table_of_exit_codes),
	    cmocka_unit_test(what_it_leaves_running_has_the_grace),
	    cmocka_unit_test(the_handlers_concurrency_caps_the_width),
	    cmocka_unit_test(a_folder_that_vanished_fails_no_job),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
