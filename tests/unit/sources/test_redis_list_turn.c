/* Replies of redis_turn.lua, as it makes them and as it never should, and the jobs in them. */
#include "sources/redis/redis_list_turn.h"

#include "dispatch/routes.h"
#include "job/job.h"
#include "sources/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LEN(array) (sizeof(array) / sizeof *(array))

static uint64_t next_serial(struct source_host *host)
{
	(void)host;
	return 1;
}

static struct source_host host = {.next_serial = next_serial};

static struct reply number(int64_t n)
{
	return (struct reply){.kind = REPLY_NUMBER, .number = n};
}

static struct reply text(const char *text)
{
	return (struct reply){.kind = REPLY_TEXT, .text = span_text(text)};
}

static struct reply array(const struct reply *items, size_t n)
{
	return (struct reply){.kind = REPLY_ARRAY, .items = items, .n_items = n};
}

static enum status take(const struct reply *left, size_t n_left, const struct reply *claimed,
			size_t n_claimed, uint64_t *last_id, struct list *jobs)
{
	struct reply items[] = {number(1),
				number(-1),
				number(0),
				number(0),
				text(""),
				number(0),
				array(NULL, 0),
				array(left, n_left),
				array(claimed, n_claimed)};
	struct reply reply = array(items, LEN(items));
	static struct route route = {.name = "q"};
	struct redis_claimer claimer = {
	    .route = &route, .host = &host, .epoch = 3, .last_id = last_id};
	list_init(jobs);
	return redis_turn_take_claimed(&reply, &claimer, jobs);
}

static struct job *first(struct list *jobs)
{
	struct list *it = list_take_first(jobs);
	assert_non_null(it);
	return list_entry(it, struct job, in_source);
}

static void test_without_a_lease_nothing_else_counts(void **state)
{
	(void)state;
	struct reply items[] = {number(0), number(17)};
	struct reply reply = array(items, 2);
	assert_false(redis_turn_news(&reply).member);
	assert_int_equal(redis_turn_news(&reply).last_id, 17);
}

static void test_news(void **state)
{
	(void)state;
	struct reply missing[] = {text("5:1:0"), text("6:1:0")};
	struct reply jobs[] = {text("7:1:0"), text("body")};
	struct reply items[] = {number(1),         number(250),       number(1),
				number(2),         text("WRONGTYPE"), number(4),
				array(missing, 2), array(NULL, 0),    array(jobs, 2)};
	struct reply reply = array(items, LEN(items));
	struct redis_turn_news news = redis_turn_news(&reply);
	assert_true(news.member && news.dry);
	assert_int_equal(news.due_ms, 250);
	assert_int_equal(news.buried, 2);
	assert_true(span_equal(news.trouble, span_text("WRONGTYPE")));
	assert_int_equal(news.passed_by, 4);
	assert_int_equal(news.missing.n, 2);
	assert_int_equal(news.n_claimed, 1);
}

static void test_claimed_jobs_in_their_order(void **state)
{
	(void)state;
	struct reply left[] = {text("8:2:1.1.3"), text("half way")};
	struct reply claimed[] = {text("7:1:0"), text("one"), text("8:2:1.1.3"), text("two")};
	uint64_t last_id = 0;
	struct list jobs;
	assert_int_equal(take(left, 2, claimed, 4, &last_id, &jobs), ST_OK);
	struct job *job = first(&jobs);
	assert_string_equal(job->id, "q-7");
	assert_int_equal(job->attempt, 1);
	assert_int_equal(job->checkpoint.len, 0);
	assert_false(job->redelivered);
	assert_int_equal(job->source_epoch, 3);
	assert_true(span_equal(job->body, span_text("one")));
	assert_true(span_equal(job->origin, span_text("7:1:0")));
	job_destroy(job);
	job = first(&jobs);
	assert_string_equal(job->id, "q-8");
	assert_int_equal(job->attempt, 2);
	assert_int_equal(job->interruptions, 1);
	assert_int_equal(job->crashes, 1);
	assert_int_equal(job->lost, 3);
	assert_true(job->redelivered);
	assert_true(span_equal(job->checkpoint, span_text("half way")));
	job_destroy(job);
	assert_true(list_empty(&jobs));
	assert_int_equal(last_id, 8); /* an interrupted job's counts as well */
}

/* All or none. */
static void test_what_makes_no_sense_makes_no_job(void **state)
{
	(void)state;
	static const char *const fields[] = {
	    "",
	    "7",
	    "7:",
	    "7:1",
	    "7:1:",
	    ":1:0",
	    "123456789012345678901:1:0",
	    "7:x:0",
	    "7:1:0.",
	    "7:1:0.1x",
	    "7:1:0.1.",
	    "7:1:0.1.1.1",
	    "7:1:0 ",
	    "7:4294967296:0",
	    "7:1:-1",
	};
	for (size_t i = 0; i < LEN(fields); i++) {
		struct reply claimed[] = {text("6:1:0"), text("a"), text(fields[i]), text("b")};
		uint64_t last_id = 0;
		struct list jobs;
		assert_int_equal(take(NULL, 0, claimed, 4, &last_id, &jobs), ST_PROTO);
		assert_true(list_empty(&jobs));
	}
	for (size_t n = 1; n <= 2; n++) { /* half of a checkpoint, half of a job */
		struct reply claimed[] = {text("7:1:0"), text("a"), text("8:1:0")};
		uint64_t last_id = 0;
		struct list jobs;
		assert_int_equal(take(claimed, 2 - n % 2, claimed, 1 + n, &last_id, &jobs),
				 ST_PROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_a_lease_nothing_else_counts),
	    cmocka_unit_test(test_news),
	    cmocka_unit_test(test_claimed_jobs_in_their_order),
	    cmocka_unit_test(test_what_makes_no_sense_makes_no_job),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
