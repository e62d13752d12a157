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

static enum status take(const struct reply *items, size_t n, struct redis_ids *ids,
			struct list *jobs)
{
	struct reply reply = array(items, n);
	static struct route route = {.name = "q"};
	struct redis_claimer claimer = {.route = &route, .host = &host, .epoch = 3, .ids = ids};
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
	struct reply items[] = {number(0)};
	struct reply reply = array(items, 1);
	assert_false(redis_turn_news(&reply).member);
}

static void test_news(void **state)
{
	(void)state;
	struct reply items[] = {number(1),         number(250), number(1),     number(2),
				text("WRONGTYPE"), number(0),   text("7:1:0"), text("body")};
	struct reply reply = array(items, LEN(items));
	struct redis_turn_news news = redis_turn_news(&reply);
	assert_true(news.member && news.dry);
	assert_int_equal(news.due_ms, 250);
	assert_int_equal(news.buried, 2);
	assert_true(span_equal(news.trouble, span_text("WRONGTYPE")));
	assert_int_equal(news.n_claimed, 1);
}

static void test_claimed_jobs_in_their_order(void **state)
{
	(void)state;
	struct reply items[] = {number(1),     number(-1),  number(0),       number(0),
				text(""),      number(1),   text("8:2:1.1"), text("half way"),
				text("7:1:0"), text("one"), text("8:2:1.1"), text("two")};
	struct redis_ids ids = {0};
	struct list jobs;
	assert_int_equal(take(items, LEN(items), &ids, &jobs), ST_OK);
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
	assert_true(job->redelivered);
	assert_true(span_equal(job->checkpoint, span_text("half way")));
	job_destroy(job);
	assert_true(list_empty(&jobs));
	assert_int_equal(ids.last, 8); /* an interrupted job's counts as well */
}

/* After a failover: an id that may have been given out before. */
static void test_a_used_id_is_a_redelivery(void **state)
{
	(void)state;
	struct redis_ids ids = {.last = 9, .used = 7};
	struct reply items[] = {number(1), number(-1),    number(0), number(0),     text(""),
				number(0), text("7:1:0"), text("a"), text("8:1:0"), text("b")};
	struct list jobs;
	assert_int_equal(take(items, LEN(items), &ids, &jobs), ST_OK);
	struct job *used = first(&jobs), *fresh = first(&jobs);
	assert_true(used->redelivered);
	assert_false(fresh->redelivered);
	job_destroy(used);
	job_destroy(fresh);
	assert_int_equal(ids.last, 9);
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
	    "7:1:0 ",
	    "7:4294967296:0",
	    "7:1:-1",
	};
	for (size_t i = 0; i < LEN(fields); i++) {
		struct reply items[] = {number(1),       number(-1), number(0),     number(0),
					text(""),        number(0),  text("6:1:0"), text("a"),
					text(fields[i]), text("b")};
		struct redis_ids ids = {0};
		struct list jobs;
		assert_int_equal(take(items, LEN(items), &ids, &jobs), ST_PROTO);
		assert_true(list_empty(&jobs));
	}
	for (int64_t n = -1; n <= 2; n += 3) { /* more checkpoints than pairs, or fewer than none */
		struct reply items[] = {number(1), number(-1), number(0),     number(0),
					text(""),  number(n),  text("7:1:0"), text("a")};
		struct redis_ids ids = {0};
		struct list jobs;
		assert_int_equal(take(items, LEN(items), &ids, &jobs), ST_PROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_a_lease_nothing_else_counts),
	    cmocka_unit_test(test_news),
	    cmocka_unit_test(test_claimed_jobs_in_their_order),
	    cmocka_unit_test(test_a_used_id_is_a_redelivery),
	    cmocka_unit_test(test_what_makes_no_sense_makes_no_job),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
