/* Which answers leave for which finished jobs, as rows: one letter for each delivery, by tag.
 *     .  not finished    a  to acknowledge    r  to requeue    x  to reject
 * The answers read "a3+" (ack, tag 3, multiple) and so on, in the order they are sent. */
#include "sources/rabbitmq/rabbitmq_tags.h"

#include "base/memory.h"
#include "job/job.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct told {
	char text[256];
	size_t len;
};

static void note(void *arg, enum tag_answer answer, uint64_t tag, enum amqp_reach reach)
{
	struct told *told = arg;
	int n =
	    snprintf(told->text + told->len, sizeof told->text - told->len, "%s%c%" PRIu64 "%s",
		     told->len > 0 ? " " : "", "arfx"[answer], tag, reach == AMQP_UP_TO ? "+" : "");
	told->len += (size_t)n;
}

static struct job *job_with(uint64_t tag, size_t body_bytes)
{
	struct job *job = job_create(&(struct job_facts){.attempt = 1, .body_bytes = body_bytes});
	assert_non_null(job);
	job->source_tag = tag;
	return job;
}

static void finish_as(struct tags *tags, struct job *job, char how)
{
	const char *letters = "arfx";
	if (how != '.')
		tags_finish(tags, job, (enum tag_answer)(strchr(letters, how) - letters));
}

/* Everything that is left, whatever its step. */
static void empty(struct tags *tags)
{
	struct job *job;
	while ((job = tags_take_outstanding(tags)) != NULL)
		job_destroy(job);
	tags_begin_proof(tags);
	while ((job = tags_take_proved(tags)) != NULL)
		job_destroy(job);
	tags_fini(tags);
}

static const struct row {
	const char *jobs, *prefix, *all;
} rows[] = {
    {"",       "",		  ""		 },
    {"a",      "a1",		"a1"               },
    {".",      "",		  ""		 },
    {"aaaa",   "a4+",               "a4+"              },
    {"aa..",   "a2+",               "a2+"              },
    {".aaa",   "",		  "a2 a3 a4"         },
    {"aa.aa",  "a2+",               "a2+ a4 a5"        },
    {"a.a.a",  "a1",                "a1 a3 a5"         },
    {"rrrr",   "r4+",               "r4+"              },
    {"aarra",  "a2+ r4+ a5",        "a2+ r4+ a5"       },
    {"ararar", "a1 r2 a3 r4 a5 r6", "a1 r2 a3 r4 a5 r6"},
    {"xx",     "x1 x2",             "x1 x2"            },
    {"rffr",   "r1 f2 f3 r4",       "r1 f2 f3 r4"      },
    {"aaxaa",  "a2+ x3 a5+",        "a2+ x3 a5+"       },
    {".rrr",   "",		  "r2 r3 r4"         },
    {"rr.ra",  "r2+",               "r2+ r4 a5"        },
};

static void run_row(const struct row *row, enum tags_which which, const char *expected)
{
	struct tags tags;
	struct told told = {.text = ""};
	struct job *jobs[16];
	size_t n = strlen(row->jobs), finished = 0;
	tags_init(&tags);
	for (size_t i = 0; i < n; i++) {
		jobs[i] = job_with(i + 1, 0);
		assert_int_equal(tags_take(&tags, jobs[i]), ST_OK);
	}
	for (size_t i = 0; i < n; i++) {
		finish_as(&tags, jobs[i], row->jobs[i]);
		finished += row->jobs[i] != '.';
	}
	tags_tell(&tags, which, SIZE_MAX, &(struct tag_sink){note, &told});
	assert_string_equal(told.text, expected);
	if (which == TAGS_ALL) {
		assert_int_equal(tags.n_ready, 0);
		assert_int_equal(tags.n_outstanding, n - finished);
	}
	empty(&tags);
}

static void test_answers_are_as_few_as_the_tags_allow(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		run_row(&rows[i], TAGS_PREFIX, rows[i].prefix);
		run_row(&rows[i], TAGS_ALL, rows[i].all);
	}
}

/* A gap that closes turns what stood behind it into a run. Tag 2 has its answer already, and a
 * "multiple" over it says nothing new of it. */
static void test_strays_join_the_prefix_once_the_gap_closes(void **state)
{
	(void)state;
	struct tags tags;
	struct told told = {.text = ""};
	struct tag_sink sink = {note, &told};
	struct job *jobs[4];
	tags_init(&tags);
	for (size_t i = 0; i < 4; i++) {
		jobs[i] = job_with(i + 1, 0);
		assert_int_equal(tags_take(&tags, jobs[i]), ST_OK);
	}
	tags_finish(&tags, jobs[1], ANSWER_ACK);
	tags_tell(&tags, TAGS_ALL, SIZE_MAX, &sink);
	tags_finish(&tags, jobs[3], ANSWER_ACK);
	tags_finish(&tags, jobs[2], ANSWER_ACK);
	tags_tell(&tags, TAGS_PREFIX, SIZE_MAX, &sink);
	assert_int_equal(tags.n_ready, 2);
	tags_finish(&tags, jobs[0], ANSWER_ACK);
	tags_tell(&tags, TAGS_PREFIX, SIZE_MAX, &sink);
	assert_string_equal(told.text, "a2 a4+");
	assert_int_equal(tags.n_ready, 0);
	empty(&tags);
}

/* What has to wait is told with few answers later. */
static void test_no_more_answers_than_allowed(void **state)
{
	(void)state;
	struct tags tags;
	struct told told = {.text = ""};
	struct tag_sink sink = {note, &told};
	struct job *jobs[6];
	tags_init(&tags);
	for (size_t i = 0; i < 6; i++) {
		jobs[i] = job_with(i + 1, 0);
		assert_int_equal(tags_take(&tags, jobs[i]), ST_OK);
	}
	for (size_t i = 1; i < 6; i++)
		tags_finish(&tags, jobs[i], ANSWER_ACK);
	tags_tell(&tags, TAGS_ALL, 2, &sink);
	assert_string_equal(told.text, "a2 a3");
	assert_int_equal(tags.n_ready, 3);
	tags_tell(&tags, TAGS_ALL, 0, &sink);
	assert_int_equal(tags.n_ready, 3);
	tags_finish(&tags, jobs[0], ANSWER_ACK);
	tags_tell(&tags, TAGS_ALL, 1, &sink);
	assert_string_equal(told.text, "a2 a3 a6+");
	assert_int_equal(tags.n_ready, 0);
	empty(&tags);
}

static void test_a_failed_proof_is_begun_again(void **state)
{
	(void)state;
	struct tags tags;
	struct told told = {.text = ""};
	struct tag_sink sink = {note, &told};
	struct job *a = job_with(1, 0), *b = job_with(2, 0);
	tags_init(&tags);
	assert_int_equal(tags_take(&tags, a), ST_OK);
	assert_int_equal(tags_take(&tags, b), ST_OK);
	tags_finish(&tags, a, ANSWER_ACK);
	tags_tell(&tags, TAGS_ALL, SIZE_MAX, &sink);
	tags_begin_proof(&tags);
	tags_finish(&tags, b, ANSWER_ACK);
	tags_tell(&tags, TAGS_ALL, SIZE_MAX, &sink);
	tags_doubt(&tags);
	assert_null(tags_take_proved(&tags));
	tags_begin_proof(&tags);
	assert_ptr_equal(tags_take_proved(&tags), a);
	assert_ptr_equal(tags_take_proved(&tags), b);
	job_destroy(a);
	job_destroy(b);
	tags_fini(&tags);
}

static void test_a_proof_is_about_what_was_told_before_it_began(void **state)
{
	(void)state;
	struct tags tags;
	struct told told = {.text = ""};
	struct tag_sink sink = {note, &told};
	struct job *a = job_with(1, 100), *b = job_with(2, 10);
	tags_init(&tags);
	assert_int_equal(tags_take(&tags, a), ST_OK);
	assert_int_equal(tags_take(&tags, b), ST_OK);
	tags_finish(&tags, a, ANSWER_ACK);
	tags_tell(&tags, TAGS_ALL, SIZE_MAX, &sink);
	assert_int_equal(tags.told_bytes, 100);
	tags_begin_proof(&tags);
	tags_finish(&tags, b, ANSWER_REQUEUE);
	tags_tell(&tags, TAGS_ALL, SIZE_MAX, &sink);
	assert_int_equal(tags.told_bytes, 10);
	assert_ptr_equal(tags_take_proved(&tags), a);
	assert_null(tags_take_proved(&tags));
	tags_begin_proof(&tags);
	assert_ptr_equal(tags_take_proved(&tags), b);
	assert_null(tags_take_proved(&tags));
	job_destroy(a);
	job_destroy(b);
	tags_fini(&tags);
}

static void test_counts_the_ready_by_answer(void **state)
{
	(void)state;
	struct tags tags;
	const char *how = "ra.rxr";
	tags_init(&tags);
	for (size_t i = 0; how[i] != '\0'; i++) {
		struct job *job = job_with(i + 1, 0);
		assert_int_equal(tags_take(&tags, job), ST_OK);
		finish_as(&tags, job, how[i]);
	}
	assert_int_equal(tags_count_ready(&tags, ANSWER_REQUEUE), 3);
	assert_int_equal(tags_count_ready(&tags, ANSWER_ACK), 1);
	assert_int_equal(tags_count_ready(&tags, ANSWER_REJECT), 1);
	empty(&tags);
}

static void test_no_memory_takes_nothing(void **state)
{
	(void)state;
	struct tags tags;
	struct job *job = job_with(1, 0);
	tags_init(&tags);
	(void)memory_fail_at(1);
	assert_int_equal(tags_take(&tags, job), ST_NOMEM);
	(void)memory_fail_at(0);
	assert_int_equal(tags.n_outstanding, 0);
	assert_int_equal(tags_take(&tags, job), ST_OK);
	empty(&tags);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers_are_as_few_as_the_tags_allow),
	    cmocka_unit_test(test_strays_join_the_prefix_once_the_gap_closes),
	    cmocka_unit_test(test_no_more_answers_than_allowed),
	    cmocka_unit_test(test_a_failed_proof_is_begun_again),
	    cmocka_unit_test(test_a_proof_is_about_what_was_told_before_it_began),
	    cmocka_unit_test(test_counts_the_ready_by_answer),
	    cmocka_unit_test(test_no_memory_takes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
