/* Who is given jobs, and when, after a handler could not begin one: each state against each call, and
 * the waits in between, in virtual time. */
#include "dispatch/pause.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

enum { START = 100 }; /* seconds on the clock */

static struct pause paused(void)
{
	struct pause pause = {.next_ns = UINT64_MAX};
	assert_true(pause_could_not_begin(&pause, START * S));
	return pause;
}

/* Asked as soon as it may be; seconds that this took. */
static unsigned wait_for(struct pause *pause, uint64_t *now_ns)
{
	uint64_t began_ns = *now_ns;
	assert_int_equal(pause->state, PAUSE_WAITING);
	assert_false(pause_ask(pause, pause->next_ns - 1));
	*now_ns = pause->next_ns;
	assert_true(pause_ask(pause, *now_ns));
	return (unsigned)((*now_ns - began_ns) / S);
}

static void each_wait_is_twice_as_long_up_to_half_a_minute(void **state)
{
	(void)state;
	static const unsigned waits[] = {1, 2, 4, 8, 16, 30, 30, 30};
	struct pause pause = paused();
	uint64_t now_ns = START * S;
	for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
		assert_int_equal(wait_for(&pause, &now_ns), waits[i]);
		assert_true(pause_answer(&pause, false, now_ns));
	}
	assert_int_equal(pause.since_ns, START * S);
}

static void a_trial_that_cannot_begin_waits_on(void **state)
{
	(void)state;
	struct pause pause = paused();
	uint64_t now_ns = START * S;
	assert_int_equal(wait_for(&pause, &now_ns), 1);
	assert_true(pause_answer(&pause, true, now_ns));
	assert_true(pause_give(&pause));
	assert_true(pause_could_not_begin(&pause, now_ns));
	assert_int_equal(wait_for(&pause, &now_ns), 2);
	assert_true(pause_answer(&pause, true, now_ns));
	assert_true(pause_give(&pause));
	assert_true(pause_began(&pause));
	assert_int_equal(pause.state, PAUSE_SERVING);
	/* the next trouble is another one */
	assert_true(pause_could_not_begin(&pause, now_ns));
	assert_int_equal(wait_for(&pause, &now_ns), 1);
}

/* Many were given before the first of them could not begin: that is one failure, not many. */
static void jobs_under_way_do_not_lengthen_the_wait(void **state)
{
	(void)state;
	struct pause pause = paused();
	uint64_t next_ns = pause.next_ns;
	for (unsigned i = 0; i < 20; i++)
		assert_false(pause_could_not_begin(&pause, START * S + i));
	assert_int_equal(pause.next_ns, next_ns);
	assert_true(pause_ask(&pause, next_ns));
	assert_false(pause_could_not_begin(&pause, next_ns));
	assert_int_equal(pause.state, PAUSE_ASKING);
}

static void one_job_at_a_time_beside_those_of_before(void **state)
{
	(void)state;
	static const struct {
		enum pause_state state;
		unsigned width, assigned, expected;
	} rows[] = {
	    {PAUSE_SERVING,  8, 3, 8},
            {PAUSE_WAITING,  8, 3, 0},
            {PAUSE_ASKING,   8, 3, 0},
	    {PAUSE_UNMANNED, 8, 3, 0},
            {PAUSE_TRYING,   8, 0, 1},
            {PAUSE_TRYING,   8, 3, 4},
	    {PAUSE_TRYING,   3, 3, 3},
            {PAUSE_ON_TRIAL, 8, 1, 1},
            {PAUSE_ON_TRIAL, 8, 4, 4},
	    {PAUSE_ON_TRIAL, 3, 4, 3},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct pause pause = {.state = rows[i].state};
		assert_int_equal(pause_width(&pause, rows[i].width, rows[i].assigned),
				 rows[i].expected);
	}
}

static void its_queues_are_kept_for_five_seconds(void **state)
{
	(void)state;
	struct pause pause = paused();
	uint64_t now_ns = START * S;
	assert_false(pause_gives_back(&pause, now_ns));
	assert_false(pause_gives_back(&pause, now_ns + 5 * S - 1));
	assert_true(pause_gives_back(&pause, now_ns + 5 * S));
	/* a trial in the middle does not begin the five seconds anew */
	assert_true(pause_ask(&pause, now_ns + 6 * S));
	assert_true(pause_gives_back(&pause, now_ns + 6 * S));
	assert_true(pause_answer(&pause, true, now_ns + 6 * S));
	assert_false(pause_gives_back(&pause, now_ns + 6 * S));
	assert_true(pause_give(&pause));
	assert_false(pause_gives_back(&pause, now_ns + 6 * S));
	assert_true(pause_could_not_begin(&pause, now_ns + 7 * S));
	assert_true(pause_gives_back(&pause, now_ns + 7 * S));
}

static void processes_decide_for_themselves(void **state)
{
	(void)state;
	struct pause pause = {.next_ns = UINT64_MAX};
	assert_true(pause_unmanned(&pause, START * S));
	assert_false(pause_unmanned(&pause, (START + 1) * S));
	assert_false(pause_could_not_begin(&pause, START * S));
	assert_false(pause_ask(&pause, UINT64_MAX));
	assert_true(pause_gives_back(&pause, (START + 5) * S));
	assert_true(pause_manned(&pause, false));
	assert_int_equal(pause.state, PAUSE_SERVING);
	assert_false(pause_manned(&pause, false));
	/* queues that were given back are taken up for one job */
	assert_true(pause_unmanned(&pause, START * S));
	assert_true(pause_manned(&pause, true));
	assert_true(pause_takes_one(&pause));
	assert_true(pause_give(&pause));
	/* the only process dies with the trial unread: the pause is one, and as old */
	assert_true(pause_unmanned(&pause, (START + 9) * S));
	assert_true(pause_gives_back(&pause, (START + 9) * S));
}

static void what_says_nothing_changes_nothing(void **state)
{
	(void)state;
	struct pause pause = paused();
	assert_false(pause_answer(&pause, true, START * S)); /* nobody asked */
	assert_false(pause_began(&pause));
	assert_false(pause_untried(&pause));
	uint64_t now_ns = START * S;
	(void)wait_for(&pause, &now_ns);
	(void)pause_answer(&pause, true, now_ns);
	assert_true(pause_give(&pause));
	assert_true(pause_untried(&pause)); /* retracted, or stopped */
	assert_true(pause_takes_one(&pause));
	assert_true(pause_give(&pause));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_wait_is_twice_as_long_up_to_half_a_minute),
	    cmocka_unit_test(a_trial_that_cannot_begin_waits_on),
	    cmocka_unit_test(jobs_under_way_do_not_lengthen_the_wait),
	    cmocka_unit_test(one_job_at_a_time_beside_those_of_before),
	    cmocka_unit_test(its_queues_are_kept_for_five_seconds),
	    cmocka_unit_test(processes_decide_for_themselves),
	    cmocka_unit_test(what_says_nothing_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
