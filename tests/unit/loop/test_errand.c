/* A call on a thread of its own: who is called when it ends, and who when nobody waits for it any more. */
#include "loop/errand.h"
#include "loop/loop.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "../cmocka_names.h"

struct told {
	struct loop *loop;
	pthread_mutex_t gate; /* the thread runs through it */
	pthread_t loop_thread;
	atomic_bool began, ran_elsewhere, dropped;
	bool done_here;
};

static void run(void *arg)
{
	struct told *t = arg;
	atomic_store(&t->began, true);
	(void)pthread_mutex_lock(&t->gate);
	atomic_store(&t->ran_elsewhere, !pthread_equal(pthread_self(), t->loop_thread));
	(void)pthread_mutex_unlock(&t->gate);
}

static void done(void *arg)
{
	struct told *t = arg;
	t->done_here = pthread_equal(pthread_self(), t->loop_thread) != 0;
	loop_stop(t->loop);
}

static void drop(void *arg)
{
	struct told *t = arg;
	atomic_store(&t->dropped, true);
}

static const struct errand_calls calls = {run, done, drop};

static void set_up(struct told *t)
{
	*t = (struct told){.gate = PTHREAD_MUTEX_INITIALIZER, .loop_thread = pthread_self()};
	assert_int_equal(loop_create(&t->loop, NULL), ST_OK);
}

static void await(atomic_bool *what)
{
	while (!atomic_load(what)) /* the test's own time limit ends it */
		(void)sched_yield();
}

static void it_ends_on_the_loop(void **state)
{
	(void)state;
	struct told t;
	set_up(&t);
	assert_non_null(errand_start(t.loop, &calls, &t));
	loop_run(t.loop);
	assert_true(t.done_here);
	assert_true(atomic_load(&t.ran_elsewhere));
	assert_false(atomic_load(&t.dropped));
	loop_destroy(t.loop);
}

static void given_up_while_it_runs(void **state)
{
	(void)state;
	struct told t;
	set_up(&t);
	(void)pthread_mutex_lock(&t.gate);
	struct errand *errand = errand_start(t.loop, &calls, &t);
	assert_non_null(errand);
	await(&t.began);
	errand_give_up(errand);
	loop_destroy(t.loop); /* it has no need of a loop any more */
	assert_false(atomic_load(&t.dropped));
	(void)pthread_mutex_unlock(&t.gate);
	await(&t.dropped);
	assert_false(t.done_here);
}

static void given_up_when_it_has_run(void **state)
{
	(void)state;
	struct told t;
	set_up(&t);
	struct errand *errand = errand_start(t.loop, &calls, &t);
	assert_non_null(errand);
	await(&t.ran_elsewhere);
	errand_give_up(errand); /* the bell may ring, and nobody comes */
	await(&t.dropped);
	assert_false(t.done_here);
	loop_destroy(t.loop);
	errand_give_up(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_ends_on_the_loop),
	    cmocka_unit_test(given_up_while_it_runs),
	    cmocka_unit_test(given_up_when_it_has_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
