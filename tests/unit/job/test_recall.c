/* Which deliveries are taken for the same job, and what is forgotten. */
#include "dispatch/routes.h"
#include "job/job.h"
#include "job/recall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct route emails = {.name = "emails"}, invoices = {.name = "invoices"};

static struct job *a_job(struct route *route, const char *id, const char *body)
{
	struct job_facts facts = {
	    .route = route,
	    .id = span_text(id != NULL ? id : "made-up"),
	    .id_made_up = id == NULL,
	    .body_bytes = strlen(body),
	};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	memcpy(job_body(job), body, strlen(body));
	return job;
}

static void what_is_the_same(void **state)
{
	(void)state;
	static const struct {
		struct route *routes[2];
		const char *ids[2], *bodies[2];
		bool same;
	} rows[] = {
	    {{&emails, &emails},   {"1", "1"},        {"a", "a"},  true },
	    {{&emails, &emails},   {"1", "2"},        {"a", "a"},  false},
	    {{&emails, &emails},   {"1", "1"},        {"a", "b"},  false}, /* an id used twice */
	    {{&emails, &invoices}, {"1", "1"},        {"a", "a"},  false},
	    {{&emails, &emails},   {NULL, NULL},      {"a", "a"},  true },
	    {{&emails, &emails},   {NULL, NULL},      {"a", "aa"}, false},
	    {{&emails, &emails},   {NULL, "made-up"}, {"a", "a"},  false},
	    {{&emails, &emails},   {NULL, NULL},      {"", ""},    true },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct recall recall;
		recall_init(&recall);
		struct job *kept = a_job(rows[i].routes[0], rows[i].ids[0], rows[i].bodies[0]);
		struct job *again = a_job(rows[i].routes[1], rows[i].ids[1], rows[i].bodies[1]);
		recall_keep(&recall, &kept, 1);
		assert_null(kept);
		struct job *found = recall_take(&recall, again, 2);
		if ((found != NULL) != rows[i].same)
			fail_msg("row %zu", i);
		assert_null(recall_take(&recall, again, 2)); /* once only */
		job_destroy(found);
		job_destroy(again);
		recall_fini(&recall);
		assert_int_equal(recall.count, 0);
		assert_int_equal(recall.bytes, 0);
	}
}

/* The broker may have had our answer, and the copy for the next attempt be all that is left. */
static void the_next_attempt_is_not_the_last_one(void **state)
{
	(void)state;
	struct recall recall;
	recall_init(&recall);
	struct job *kept = a_job(&emails, "1", "a");
	recall_keep(&recall, &kept, 1);
	struct job *copy = a_job(&emails, "1", "a");
	copy->attempt = 2;
	assert_null(recall_take(&recall, copy, 2));
	job_destroy(copy);
	recall_fini(&recall);
}

/* Equal bodies stand for each other, one for one. */
static void as_many_as_were_kept(void **state)
{
	(void)state;
	struct recall recall;
	recall_init(&recall);
	for (int i = 0; i < 2; i++) {
		struct job *kept = a_job(&emails, NULL, "tick");
		recall_keep(&recall, &kept, 1);
	}
	struct job *again = a_job(&emails, NULL, "tick");
	for (int i = 0; i < 3; i++) {
		struct job *found = recall_take(&recall, again, 1);
		assert_int_equal(found != NULL, i < 2);
		job_destroy(found);
	}
	job_destroy(again);
	recall_fini(&recall);
}

static void the_oldest_are_forgotten(void **state)
{
	(void)state;
	struct recall recall;
	char id[16];
	recall_init(&recall);
	for (int i = 0; i < 10001; i++) {
		(void)snprintf(id, sizeof id, "%d", i);
		struct job *kept = a_job(&emails, id, "x");
		recall_keep(&recall, &kept, (uint64_t)i);
	}
	assert_int_equal(recall.count, 10000);
	assert_int_equal(recall.bytes, 10000);
	struct job *first = a_job(&emails, "0", "x"), *second = a_job(&emails, "1", "x");
	assert_null(recall_take(&recall, first, 10001));
	struct job *found = recall_take(&recall, second, 10001);
	assert_non_null(found);
	job_destroy(found);
	job_destroy(first);
	/* Ten minutes later nobody will give them out again. */
	assert_null(recall_take(&recall, second, UINT64_C(601) * 1000 * 1000 * 1000));
	assert_int_equal(recall.count, 0);
	job_destroy(second);
	recall_fini(&recall);
}

static void large_bodies_are_bounded(void **state)
{
	(void)state;
	struct recall recall;
	recall_init(&recall);
	for (int i = 0; i < 5; i++) {
		struct job_facts facts = {
		    .route = &emails, .id = span_text("i"), .body_bytes = 10 << 20};
		struct job *kept = job_create(&facts);
		memset(job_body(kept), i, 10 << 20);
		recall_keep(&recall, &kept, 1);
		assert_true(recall.bytes <= 32 << 20);
	}
	assert_int_equal(recall.count, 3);
	recall_fini(&recall);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_the_same),
	    cmocka_unit_test(the_next_attempt_is_not_the_last_one),
	    cmocka_unit_test(as_many_as_were_kept),
	    cmocka_unit_test(the_oldest_are_forgotten),
	    cmocka_unit_test(large_bodies_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
