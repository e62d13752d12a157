/* How long running jobs still need, from how long others took. */
#include "drain/forecast.h"

#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static void test_counting(void **state)
{
	(void)state;
	struct histogram h = {0};
	histogram_count(&h, 0);
	histogram_count(&h, 1 * MS);
	histogram_count(&h, 1 * MS + 1);
	histogram_count(&h, 1800 * SMALL_S);
	histogram_count(&h, 1801 * SMALL_S);
	assert_int_equal(h.counts[0], 2);
	assert_int_equal(h.counts[1], 1);
	assert_int_equal(h.counts[HISTOGRAM_BOUNDS - 1], 1);
	assert_int_equal(h.counts[HISTOGRAM_BOUNDS], 1);
	assert_int_equal(h.sum_ns, 2 * MS + 1 + 3601 * SMALL_S);
	for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++)
		assert_true(histogram_bounds_ns[i - 1] < histogram_bounds_ns[i]);
}

static void test_what_is_left(void **state)
{
	(void)state;
	static const struct {
		const char *say;
		unsigned tens_ms, ones_s, hours; /* past jobs that took 10 ms, 1 s, 1 h */
		uint64_t timeout_ms, age_ns, want_ns;
	} rows[] = {
	    {"no past",                      0,  0, 0, 0,     0,            FORECAST_UNKNOWN     },
	    {"no past, but a timeout",       0,  0, 0, 60000, 20 * SMALL_S, 40 * SMALL_S         },
	    {"all alike",                    10, 0, 0, 0,     0,            10 * MS              },
	    {"half way",                     10, 0, 0, 0,     6 * MS,       4 * MS               },
	    {"the one in ten is left out",   9,  1, 0, 0,     0,            10 * MS              },
	    {"two in ten are not",           8,  2, 0, 0,     0,            1 * SMALL_S          },
	    {"the short ones are ruled out", 9,  1, 0, 0,     11 * MS,      1 * SMALL_S - 11 * MS},
	    {"longer than any before",       9,  1, 0, 0,     2 * SMALL_S,  FORECAST_UNKNOWN     },
	    {"beyond what is counted",       0,  0, 5, 0,     0,            FORECAST_UNKNOWN     },
	    {"the timeout comes first",      0,  0, 5, 5000,  SMALL_S,      4 * SMALL_S          },
	    {"overdue",                      0,  0, 5, 5000,  6 * SMALL_S,  0                    },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct small_core s;
		small_core_init(&s, rows[i].timeout_ms, "emails");
		for (unsigned n = 0; n < rows[i].tens_ms; n++)
			small_run(&s, 10 * MS);
		for (unsigned n = 0; n < rows[i].ones_s; n++)
			small_run(&s, SMALL_S);
		for (unsigned n = 0; n < rows[i].hours; n++)
			small_run(&s, 3600 * SMALL_S);
		uint64_t left_ns = forecast_left_ns(s.route, rows[i].age_ns);
		if (left_ns != rows[i].want_ns)
			fail_msg("%s: %llu ms", rows[i].say, (unsigned long long)(left_ns / MS));
		small_core_fini(&s);
	}
}

static void test_longer_for_certain(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	static const uint64_t took_ms[] = {5, 300, 300, 2000, 3600000};
	for (size_t i = 0; i < sizeof took_ms / sizeof *took_ms; i++)
		histogram_count(&s.route->runs, took_ms[i] * MS);
	static const struct {
		uint64_t than_ms, longer;
	} rows[] = {
	    {1,       5},
            {5,       4},
            {200,     4},
            {250,     4},
            {299,     2},
	    {999,     2},
            {1500,    1},
            {2000,    1},
            {1800000, 1},
            {1800001, 0}
        };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct forecast_runs runs = forecast_longer(s.route, rows[i].than_ms * MS);
		assert_int_equal(runs.all, 5);
		assert_int_equal(runs.longer, rows[i].longer);
	}
	small_core_fini(&s);
}

static void test_the_last_of_them(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	assert_int_equal(forecast_drain(&s.core.ledger, s.now_ns).left_ns, 0);
	for (int n = 0; n < 20; n++)
		small_run(&s, SMALL_S);
	(void)small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	s.now_ns += 400 * MS;
	(void)small_deliver(&s, "b");
	core_begin_jobs(&s.core);
	struct forecast f = forecast_drain(&s.core.ledger, s.now_ns);
	assert_int_equal(f.left_ns, SMALL_S); /* b has just begun */
	assert_int_equal(f.unknown, 0);
	s.now_ns += 700 * MS;
	f = forecast_drain(&s.core.ledger, s.now_ns);
	assert_int_equal(f.left_ns, 300 * MS);
	assert_int_equal(f.unknown, 1); /* no job before a took as long */
	small_core_fini(&s);
}

static void test_waits(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	struct job *a = small_deliver(&s, "a");
	s.now_ns += 20 * MS;
	core_begin_jobs(&s.core);
	s.now_ns += 300 * MS;
	small_finish(&s, a);
	assert_int_equal(s.route->waits.sum_ns, 20 * MS);
	assert_int_equal(s.route->runs.sum_ns, 300 * MS);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counting),
	    cmocka_unit_test(test_what_is_left),
	    cmocka_unit_test(test_longer_for_certain),
	    cmocka_unit_test(test_the_last_of_them),
	    cmocka_unit_test(test_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
