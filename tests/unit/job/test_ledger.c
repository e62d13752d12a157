/* Every move the ledger permits, and that it aborts on every other. */
#include "job/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef void move_fn(struct ledger *, struct job *);

static struct job *make_job(void)
{
	struct job_facts facts = {.id = span_text("1")};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	return job;
}

/* Brings a fresh job into `state` by permitted moves. */
static void bring(struct ledger *ledger, struct job *job, enum job_state state)
{
	ledger_admit(ledger, job);
	if (state == JOB_RUNNING || state == JOB_FINISHED)
		ledger_begin(ledger, job);
	if (state == JOB_FINISHED)
		ledger_finish(ledger, job);
	if (state == JOB_SETTLING)
		ledger_tell(ledger, job);
	assert_int_equal(job->state, state);
}

static bool aborts(move_fn *move, struct ledger *ledger, struct job *job)
{
	pid_t pid = fork();
	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stderr); /* the abort's message is not news */
		move(ledger, job);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void moves(void **state)
{
	(void)state;
	static move_fn *const fns[] = {ledger_begin, ledger_hold_again, ledger_finish, ledger_tell};
	static const enum job_state leads_to[] = {JOB_RUNNING, JOB_HELD, JOB_FINISHED,
						  JOB_SETTLING};
	static const bool permitted[JOB_STATES][4] = {
	    [JOB_HELD] = {true,  false, false, true },
	    [JOB_RUNNING] = {false, true,  true,  false},
	    [JOB_FINISHED] = {false, false, false, true },
	    [JOB_SETTLING] = {false, false, false, false},
	};
	for (int from = 0; from < JOB_STATES; from++) {
		for (size_t i = 0; i < 4; i++) {
			struct ledger ledger;
			ledger_init(&ledger);
			struct job *job = make_job();
			bring(&ledger, job, (enum job_state)from);
			if (permitted[from][i]) {
				fns[i](&ledger, job);
				assert_int_equal(job->state, leads_to[i]);
			} else {
				assert_true(aborts(fns[i], &ledger, job));
			}
			assert_int_equal(ledger_count(&ledger, job->state), 1);
			assert_int_equal(ledger_total(&ledger), 1);
			ledger_drop(&ledger, job);
			assert_int_equal(ledger_total(&ledger), 0);
			assert_true(aborts(ledger_drop, &ledger, job)); /* a job leaves once */
			job_destroy(job);
		}
	}
}

static void lists_keep_the_order(void **state)
{
	(void)state;
	struct ledger ledger;
	struct job *jobs[3];
	ledger_init(&ledger);
	for (int i = 0; i < 3; i++) {
		jobs[i] = make_job();
		ledger_admit(&ledger, jobs[i]);
	}
	int i = 0;
	list_each (it, &ledger.lists[JOB_HELD]) {
		assert_ptr_equal(list_entry(it, struct job, in_ledger), jobs[i++]);
	}
	for (i = 0; i < 3; i++) {
		ledger_drop(&ledger, jobs[i]);
		job_destroy(jobs[i]);
	}
}

static void a_job_keeps_what_it_was_given(void **state)
{
	(void)state;
	struct job_facts facts = {
	    .id = span_of("id-and-more", 2),
	    .content_type = span_text("text/plain"),
	    .origin = span_of("\0\1", 2),
	    .body_bytes = 3,
	    .attempt = 4,
	};
	struct job *job = job_create(&facts);
	memcpy(job_body(job), "a\0b", 3);
	assert_string_equal(job->id, "id");
	assert_string_equal(job->content_type, "text/plain");
	assert_string_equal(job->traceparent, "");
	assert_int_equal(job->origin.len, 2);
	assert_memory_equal(job->origin.ptr, "\0\1", 2);
	assert_int_equal(job->body.len, 3);
	assert_memory_equal(job->body.ptr, "a\0b", 4); /* a NUL stands behind it */
	assert_int_equal(job->attempt, 4);
	job_destroy(job);
	facts.body_bytes = SIZE_MAX - 8;
	assert_null(job_create(&facts));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(moves),
	    cmocka_unit_test(lists_keep_the_order),
	    cmocka_unit_test(a_job_keeps_what_it_was_given),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
