/* What we hold of a list, held against what a server says that it does not have. */
#include "sources/redis/redis_list_known.h"

#include "dispatch/routes.h"
#include "job/job.h"
#include "wire/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { EPOCH = 4 };

/* One job of each kind, named by a letter: held, running, running in an older name, running for another
 * list, two that are finished, one that waits for an earlier run of itself. */
struct bench {
	struct lane lane;
	struct route route, other;
	struct list telling, pending;
	struct job *jobs[7];
	struct redis_known known;
};

static struct job *add(struct route *route, char letter, uint64_t epoch)
{
	struct job *job = job_create(
	    &(struct job_facts){.route = route, .attempt = 1, .origin = span_of(&letter, 1)});
	assert_non_null(job);
	job->source_epoch = epoch;
	return job;
}

static int set_up(void **state)
{
	static struct bench b;
	b = (struct bench){.route.lane = &b.lane, .other.lane = &b.lane};
	list_init(&b.lane.running);
	list_init(&b.route.held_jobs);
	list_init(&b.route.parked);
	list_init(&b.telling);
	list_init(&b.pending);
	b.known = (struct redis_known){
	    &b.route, EPOCH, {&b.telling, &b.pending}
        };
	b.jobs[0] = add(&b.route, 'h', EPOCH);
	list_append(&b.route.held_jobs, &b.jobs[0]->in_route);
	b.jobs[1] = add(&b.route, 'r', EPOCH);
	b.jobs[2] = add(&b.route, 'o', EPOCH - 1);
	b.jobs[3] = add(&b.other, 'x', EPOCH);
	for (int i = 1; i <= 3; i++)
		list_append(&b.lane.running, &b.jobs[i]->in_lane);
	b.jobs[4] = add(&b.route, 'f', EPOCH);
	b.jobs[5] = add(&b.route, 'g', EPOCH);
	list_append(&b.telling, &b.jobs[4]->in_source);
	list_append(&b.pending, &b.jobs[5]->in_source);
	b.jobs[6] = add(&b.route, 'w', EPOCH);
	list_append(&b.route.parked, &b.jobs[6]->in_route);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;
	for (size_t i = 0; i < sizeof b->jobs / sizeof *b->jobs; i++) {
		list_remove(&b->jobs[i]->in_route);
		list_remove(&b->jobs[i]->in_lane);
		list_remove(&b->jobs[i]->in_source);
		job_destroy(b->jobs[i]);
	}
	return 0;
}

static void append_letter(void *arg, const struct job *job)
{
	strncat(arg, job->origin.ptr, 1);
}

static void test_those_of_this_membership_are_named(void **state)
{
	struct bench *b = *state;
	char named[8] = "";
	redis_known_walk(&b->known, append_letter, named);
	assert_string_equal(named, "hwrfg");
}

static struct reply fields[6];

static struct redis_unknown unknown(const char *letters)
{
	size_t n = strlen(letters);
	for (size_t i = 0; i < n; i++)
		fields[i] = (struct reply){.kind = REPLY_TEXT, .text = span_of(letters + i, 1)};
	return (struct redis_unknown){fields, n, 0};
}

static void test_held_ones(void **state)
{
	struct bench *b = *state;
	struct redis_unknown none = unknown("rfgox");
	assert_false(redis_known_holds_any(&b->known, &none));
	struct redis_unknown one = unknown("rh");
	assert_true(redis_known_holds_any(&b->known, &one));
	struct redis_unknown waiting = unknown("rw");
	assert_true(redis_known_holds_any(&b->known, &waiting));
}

static void test_running_ones_belong_to_no_name_any_more(void **state)
{
	struct bench *b = *state;
	struct redis_unknown all = unknown("hroxfg");
	assert_int_equal(redis_known_disown_running(&b->known, &all), 1);
	assert_int_equal(b->jobs[1]->source_epoch, 0);
	assert_int_equal(b->jobs[2]->source_epoch, EPOCH - 1);
	assert_int_equal(b->jobs[3]->source_epoch, EPOCH);
	assert_int_equal(redis_known_disown_running(&b->known, &all), 0);
}

static void test_finished_ones_are_parted(void **state)
{
	struct bench *b = *state;
	struct redis_unknown one = unknown("f");
	struct list lost;
	list_init(&lost);
	redis_known_take_finished(&b->known, &one, &lost);
	assert_ptr_equal(list_take_first(&lost), &b->jobs[4]->in_source);
	assert_true(list_empty(&lost));
	assert_true(list_empty(&b->telling));
	assert_ptr_equal(list_take_first(&b->pending), &b->jobs[5]->in_source);
	assert_true(list_empty(&b->pending));
}

static void test_the_newest_of_them(void **state)
{
	(void)state;
	struct reply ids[] = {
	    {.kind = REPLY_TEXT,             .text = span_text("7:1:0")},
	    {.kind = REPLY_TEXT,                              .text = span_text("12:1:0.0")},
	    {.kind = REPLY_NIL}
        };
	struct redis_unknown some = {ids, 3, 0}, none = {ids, 0, 0};
	assert_int_equal(redis_unknown_newest(&some), 12);
	assert_int_equal(redis_unknown_newest(&none), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_those_of_this_membership_are_named, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(test_held_ones, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_running_ones_belong_to_no_name_any_more, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(test_finished_ones_are_parted, set_up, tear_down),
	    cmocka_unit_test(test_the_newest_of_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
