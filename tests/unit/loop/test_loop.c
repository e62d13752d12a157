/* The turn: whatever asks the loop to stop, the hooks at the turn's end still run, for they carry out what the
 * callbacks only noted. libuv's own order of timers, polling and stopping is another one from 1.45 on. */
#include "loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct loop *loop;
	struct turn_hook hook;
	struct timer *timer;
	struct doorbell *bell;
	unsigned noted, carried_out, turns;
};

static void stop_with_a_note(void *arg)
{
	struct fixture *f = arg;
	f->noted++;
	loop_stop(f->loop);
}

static void end_turn(void *arg)
{
	struct fixture *f = arg;
	f->turns++;
	f->carried_out = f->noted;
}

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){0};
	assert_int_equal(loop_create(&f.loop, NULL), ST_OK);
	f.hook.run = end_turn;
	f.hook.arg = &f;
	loop_add_hook(f.loop, TURN_WRITE, &f.hook);
	f.timer = timer_create_on(f.loop, stop_with_a_note, &f);
	f.bell = doorbell_create(f.loop, stop_with_a_note, &f);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	timer_destroy(f->timer);
	doorbell_destroy(f->bell);
	loop_remove_hook(&f->hook);
	loop_destroy(f->loop);
	return 0;
}

static void run_and_check(struct fixture *f, unsigned notes)
{
	loop_run(f->loop);
	assert_int_equal(f->noted, notes);
	assert_int_equal(f->carried_out, notes);
}

static void a_timer_that_is_due_stops_after_the_turn(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 1; i <= 3; i++) {
		timer_start(f->timer, 0);
		run_and_check(f, i);
	}
}

static void a_timer_that_was_waited_for_stops_after_the_turn(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 1; i <= 3; i++) {
		timer_start(f->timer, 5);
		run_and_check(f, i);
	}
}

static void a_descriptor_stops_after_the_turn(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 1; i <= 3; i++) {
		doorbell_ring(f->bell);
		run_and_check(f, i);
	}
}

static void stopped_before_it_runs_is_one_turn(void **state)
{
	struct fixture *f = *state;
	stop_with_a_note(f);
	run_and_check(f, 1);
	assert_int_equal(f->turns, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    CASE(a_timer_that_is_due_stops_after_the_turn),
	    CASE(a_timer_that_was_waited_for_stops_after_the_turn),
	    CASE(a_descriptor_stops_after_the_turn),
	    CASE(stopped_before_it_runs_is_one_turn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
