/* When reading may wait: rows of (jobs so far, prefetch, microseconds) one turn after the other. */
#include "sources/rabbitmq/rabbitmq_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static bool after_a_window(uint64_t jobs, uint64_t window_us, unsigned prefetch)
{
	struct pace pace = {.window_ns = 5000000000};
	return pace_turn(&pace, jobs, prefetch, 5000000000 + window_us * 1000);
}

static void test_only_many_and_never_more_than_the_prefetch_can_spare(void **state)
{
	(void)state;
	assert_false(after_a_window(0, 1000, 1000));
	assert_false(after_a_window(15, 1000, 1000));
	assert_true(after_a_window(16, 1000, 1000));
	assert_true(after_a_window(125, 1000, 1000));
	assert_false(after_a_window(126, 1000, 1000)); /* a wait would use the prefetch up */
	assert_true(after_a_window(16, 1000, 128));
	assert_false(after_a_window(16, 1000, 127));
	assert_false(after_a_window(16, 2000, 1000)); /* eight a millisecond */
	assert_false(after_a_window(500, 999, 1000)); /* the window is not over */
}

static void test_a_turn_that_brings_nothing_does_not_wait(void **state)
{
	(void)state;
	struct pace pace = {0};
	assert_true(pace_turn(&pace, 100, 1000, 2000000));
	assert_false(pace_turn(&pace, 100, 1000, 2100000));
	assert_true(pace_turn(&pace, 101, 1000, 2200000));  /* still the same window */
	assert_false(pace_turn(&pace, 102, 1000, 9000000)); /* two jobs in seven ms */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_only_many_and_never_more_than_the_prefetch_can_spare),
	    cmocka_unit_test(test_a_turn_that_brings_nothing_does_not_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
