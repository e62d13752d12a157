/* census, asked of a source that answers when the test says so. */
#include "sources/census.h"

#include "dispatch/routes.h"
#include "executors/executor.h"
#include "loop/loop.h"
#include "sources/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct source source;
	struct executor executor;
	struct roster roster;
	struct route *routes[3];
	struct loop *loop;
	struct census *census;
	unsigned asked; /* in which round */
	unsigned rounds_done;
};

static struct fixture *of(struct source *source)
{
	return list_entry(source, struct fixture, source);
}

static void count_others(struct source *source, struct census *census, unsigned round)
{
	(void)census;
	of(source)->asked = round;
}

static void done(void *arg)
{
	struct fixture *f = arg;
	f->rounds_done++;
	loop_stop(f->loop);
}

static int set_up(void **state)
{
	static const struct source_ops ops = {.kind = "fake", .count_others = count_others};
	static const char *const names[] = {"a", "b", "c"};
	static struct fixture f;
	struct error why;
	memset(&f, 0, sizeof f);
	f.source = (struct source){.ops = &ops, .name = "mq"};
	f.executor = (struct executor){.width = 1, .widest = 1};
	list_init(&f.source.in_roster);
	roster_init(&f.roster);
	roster_add_source(&f.roster, &f.source);
	struct lane *lane = roster_add_lane(&f.roster, &f.executor, 0);
	for (int i = 0; i < 3; i++)
		f.routes[i] = roster_add_route(&f.roster, names[i], &f.source, lane, NULL, 0);
	assert_int_equal(loop_create(&f.loop, &why), ST_OK);
	f.census = census_create(f.loop, &f.roster, done, &f);
	assert_non_null(f.census);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	census_destroy(f->census);
	loop_destroy(f->loop);
	roster_fini(&f->roster);
	return 0;
}

static void tell(struct fixture *f, long a, long b, long c)
{
	const long others[] = {a, b, c};
	for (int i = 0; i < 3; i++)
		census_tell(f->census, f->asked, f->routes[i], others[i]);
}

static void assert_alone(const struct fixture *f, const char *queues)
{
	assert_true(span_equal(census_alone(f->census), span_text(queues)));
}

static void names_those_without_another(void **state)
{
	struct fixture *f = *state;
	census_begin(f->census);
	tell(f, 0, 2, 0);
	assert_int_equal(f->rounds_done, 0); /* from a clean stack only */
	loop_run(f->loop);
	assert_alone(f, "mq/a, mq/c");
	assert_int_equal(census_not_known(f->census), 0);
}

/* It was asked about before that, and is counted among what is left already. */
static void what_is_removed_meanwhile_is_named_apart(void **state)
{
	struct fixture *f = *state;
	census_begin(f->census);
	roster_retire_route(&f->roster, f->routes[0]);
	roster_retire_route(&f->roster, f->routes[1]);
	tell(f, 0, 1, 0);
	loop_run(f->loop);
	assert_alone(f, "mq/c");
	assert_true(span_equal(census_left(f->census), span_text("mq/a")));
	census_begin(f->census);
	assert_int_equal(census_left(f->census).len, 0);
}

static void what_is_not_known_is_counted(void **state)
{
	struct fixture *f = *state;
	census_begin(f->census);
	tell(f, CENSUS_NOT_KNOWN, 1, CENSUS_NOT_KNOWN);
	loop_run(f->loop);
	assert_alone(f, "");
	assert_int_equal(census_not_known(f->census), 2);
}

static void silence_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	census_begin(f->census);
	census_tell(f->census, f->asked, f->routes[1], 0);
	uint64_t begun_ns = loop_now_ns(f->loop);
	loop_run(f->loop);
	assert_true(loop_now_ns(f->loop) - begun_ns >= UINT64_C(1900000000));
	assert_alone(f, "mq/b");
	assert_int_equal(census_not_known(f->census), 2);
}

static void one_at_a_time(void **state)
{
	struct fixture *f = *state;
	census_begin(f->census);
	unsigned first = f->asked;
	census_begin(f->census);
	assert_int_equal(f->asked, first);
	tell(f, 1, 1, 1);
	loop_run(f->loop);
	assert_int_equal(f->rounds_done, 1);
}

static void late_answers_are_of_no_interest(void **state)
{
	struct fixture *f = *state;
	census_begin(f->census);
	tell(f, 1, 1, 1);
	loop_run(f->loop);
	unsigned first = f->asked;
	tell(f, 0, 0, 0);
	census_begin(f->census);
	census_tell(f->census, first, f->routes[0], 0);
	tell(f, 1, 1, 1);
	loop_run(f->loop);
	assert_alone(f, "");
	assert_int_equal(f->rounds_done, 2);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(names_those_without_another),     CASE(what_is_not_known_is_counted),
	    CASE(silence_is_not_waited_for),       CASE(one_at_a_time),
	    CASE(late_answers_are_of_no_interest), CASE(what_is_removed_meanwhile_is_named_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
