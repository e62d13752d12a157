/* Which deliveries are taken for the same job, what becomes of them, and what is forgotten. */
#include "dispatch/routes.h"
#include "job/job.h"
#include "settle/recall.h"
#include "sources/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEPT_NS (UINT64_C(600) * 1000 * 1000 * 1000)

/* What came beside the body has to be the same text. */
static bool is_again(const struct source *source, const struct job *first, const struct job *again)
{
	(void)source;
	return span_equal(first->origin, again->origin);
}

static const struct source_ops ops = {.is_again = is_again};
static struct source main_source = {.ops = &ops}, other_source = {.ops = &ops};
static struct route emails = {.name = "emails", .source = &main_source};
static struct route invoices = {.name = "invoices", .source = &main_source};
static struct route elsewhere = {.name = "emails", .source = &other_source};

struct what {
	struct route *route;
	const char *id; /* NULL: made up by us, the same each time to make it hard */
	const char *body, *origin;
	uint32_t attempt;
	bool redelivered;
};

static struct job *make(const struct what *what)
{
	struct job_facts facts = {
	    .route = what->route,
	    .attempt = what->attempt,
	    .id = span_text(what->id != NULL ? what->id : "made-up"),
	    .id_made_up = what->id == NULL,
	    .redelivered = what->redelivered,
	    .origin = span_text(what->origin),
	    .body_bytes = strlen(what->body),
	};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	memcpy(job_body(job), what->body, strlen(what->body));
	return job;
}

static struct job *a_job(const char *id, const char *body)
{
	return make(&(struct what){&emails, id, body, "p", 1, true});
}

static void keep(struct recall *recall, struct job *job, uint64_t now_ns)
{
	recall_keep(recall, &job, now_ns);
	assert_null(job);
}

/* The first one, against each of the others: ended as well as running. */
static void what_is_the_same(void **state)
{
	(void)state;
	static const struct what first = {&emails, "1", "a", "p", 1, false};
	static const struct {
		struct what again;
		bool same;
	} rows[] = {
	    {{&emails, "1", "a", "p", 1, true},    true },
	    {{&emails, "1", "a", "p", 1, false},   false}, /* published anew */
	    {{&emails, "2", "a", "p", 1, true},    false},
	    {{&emails, "1", "b", "p", 1, true},    false}, /* an id used for two jobs */
	    {{&emails, "1", "a", "q", 1, true},    false},
	    {{&emails, "1", "a", "p", 2, true},    false}, /* its copy for later */
	    {{&invoices, "1", "a", "p", 1, true},  false},
	    {{&elsewhere, "1", "a", "p", 1, true}, false},
	    {{&emails, NULL, "a", "p", 1, true},   false},
	};
	for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
		bool kept = i % 2 == 0;
		struct recall recall;
		recall_init(&recall);
		struct job *one = make(&first), *again = make(&rows[i / 2].again);
		if (kept)
			keep(&recall, one, 1);
		else
			recall_lose(&recall, one);
		struct job *found = recall_find(&recall, again, 2);
		if (found != (rows[i / 2].same ? one : NULL))
			fail_msg("row %zu", i / 2);
		if (!kept) {
			recall_leave(&recall, one);
			job_destroy(one);
		}
		recall_fini(&recall);
		job_destroy(again);
		assert_int_equal(recall.n_kept + recall.kept_bytes + recall.n_expected, 0);
	}
}

/* An id that we made up is no name that anybody else gave: the body alone says nothing. */
static void made_up_ids_are_never_matched(void **state)
{
	(void)state;
	struct recall recall;
	recall_init(&recall);
	struct job *running = a_job(NULL, "a"), *again = a_job(NULL, "a");
	assert_false(recall_may_keep(running));
	recall_lose(&recall, running);
	assert_int_equal(running->recall.state, RECALL_OVER);
	assert_null(recall_find(&recall, again, 1));
	recall_lose(&recall, running); /* and once more */
	recall_leave(&recall, running);
	keep(&recall, a_job("made-up", "a"), 1); /* some producer's own */
	assert_null(recall_find(&recall, again, 2));
	recall_fini(&recall);
	job_destroy(running);
	job_destroy(again);
}

/* An end that was given out once is not given out for a third delivery; each run has one second. */
static void each_stands_for_one(void **state)
{
	(void)state;
	struct recall recall;
	recall_init(&recall);
	struct job *ended = a_job("1", "a"), *running = a_job("1", "a");
	struct job *second = a_job("1", "a"), *third = a_job("1", "a"), *fourth = a_job("1", "a");
	recall_lose(&recall, running);
	keep(&recall, ended, 1);
	assert_ptr_equal(recall_find(&recall, second, 2), running);
	recall_meet(&recall, running, second);
	assert_ptr_equal(recall_find(&recall, third, 2), ended);
	recall_release(&recall, ended);
	assert_null(recall_find(&recall, fourth, 2));
	recall_leave(&recall, second); /* its delivery is lost as well */
	assert_ptr_equal(recall_find(&recall, fourth, 2), running);
	recall_meet(&recall, running, fourth);
	assert_ptr_equal(recall_end_waiting(&recall, running), fourth);
	assert_int_equal(running->recall.state, RECALL_NONE);
	assert_int_equal(fourth->recall.state, RECALL_NONE);
	recall_fini(&recall);
	job_destroy(ended);
	job_destroy(running);
	job_destroy(second);
	job_destroy(third);
	job_destroy(fourth);
}

/* What the broker had it has given out again: nothing is kept any longer, nor will be. */
static void it_ends_with_its_purpose(void **state)
{
	(void)state;
	struct recall recall;
	recall_init(&recall);
	struct job *running = a_job("1", "a"), *met = a_job("2", "a"), *waits = a_job("2", "a");
	struct job *other = make(&(struct what){&invoices, "1", "a", "p", 1, false});
	struct job *again = a_job("1", "a");
	recall_lose(&recall, running);
	recall_lose(&recall, met);
	recall_meet(&recall, met, waits);
	keep(&recall, a_job("1", "a"), 1);
	keep(&recall, other, 1);
	recall_over(&recall, &emails);
	assert_null(recall_find(&recall, again, 2));
	assert_int_equal(recall.n_kept, 1); /* another queue's */
	assert_int_equal(running->recall.state, RECALL_OVER);
	assert_false(recall_may_keep(running));
	assert_int_equal(met->recall.state, RECALL_MET);
	recall_lose(&recall, running); /* the next connection goes: it never had it */
	recall_lose(&recall, met);     /* that connection did not have what waits for it */
	assert_int_equal(met->recall.state, RECALL_MET);
	assert_null(recall_find(&recall, again, 2));
	assert_ptr_equal(recall_end_waiting(&recall, met), waits);
	recall_leave(&recall, running);
	recall_fini(&recall);
	job_destroy(running);
	job_destroy(met);
	job_destroy(waits);
	job_destroy(again);
}

static void the_oldest_is_forgotten(void **state)
{
	(void)state;
	struct recall recall;
	char id[16];
	recall_init(&recall);
	for (int i = 0; i < 10001; i++) {
		(void)snprintf(id, sizeof id, "%d", i);
		keep(&recall, a_job(id, "a"), (uint64_t)i);
	}
	assert_int_equal(recall.n_kept, 10000);
	struct job *first = a_job("0", "a"), *second = a_job("1", "a");
	assert_null(recall_find(&recall, first, 10001));
	assert_non_null(recall_find(&recall, second, 10001));
	assert_null(recall_find(&recall, second, KEPT_NS + 10002));
	assert_int_equal(recall.n_kept + recall.kept_bytes, 0);
	job_destroy(first);
	job_destroy(second);
	recall_fini(&recall);
}

/* Bodies, headers, checkpoints, notes: all that a kept job holds counts. */
static void memory_is_bounded(void **state)
{
	(void)state;
	static char megabytes[10 << 20];
	memset(megabytes, 'x', sizeof megabytes - 1);
	for (int where = 0; where < 4; where++) {
		struct recall recall;
		recall_init(&recall);
		for (int i = 0; i < 5; i++) {
			struct job *job =
			    make(&(struct what){&emails, "1", where == 0 ? megabytes : "a",
						where == 1 ? megabytes : "p", 1, true});
			if (where == 2)
				job_leave_checkpoint(job, span_text(megabytes));
			if (where == 3)
				job_note(job, 0.5, span_text(megabytes));
			keep(&recall, job, 1);
			assert_true(recall.kept_bytes <= 32 << 20);
		}
		assert_int_equal(recall.n_kept, 3);
		recall_fini(&recall);
		assert_int_equal(recall.kept_bytes, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_the_same),
	    cmocka_unit_test(made_up_ids_are_never_matched),
	    cmocka_unit_test(each_stands_for_one),
	    cmocka_unit_test(it_ends_with_its_purpose),
	    cmocka_unit_test(the_oldest_is_forgotten),
	    cmocka_unit_test(memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
