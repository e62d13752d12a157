/* What "auto" makes of the time before the kill, and how that time is written. */
#include "managers/kill_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_drain_is_shorter(void **state)
{
	/* From 4000 down the reserve would take more than half. */
	static const struct {
		uint64_t kill_ms, reserve_ms, drain_ms;
	} rows[] = {
	    {10000, 2000, 8000 },
            {60000, 2000, 58000},
            {4001,  2000, 2001 },
            {4000,  2000, 2000 },
	    {3000,  2000, 1500 },
            {1000,  2000, 500  },
            {1,     2000, 1    },
            {10000, 0,    10000},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(kill_time_for_drain_ms(rows[i].kill_ms, rows[i].reserve_ms),
				 rows[i].drain_ms);
}

static void test_how_it_is_written(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms; /* 0: it is none */
	} rows[] = {
	    {"60s",              60000     },
            {"60",               60000     },
            {"1500ms\n",         1500      },
            {"2h # two hours\n", 7200000   },
	    {"",		 0         },
            {" 60s",             0         },
            {"soon",             0         },
            {"-1",               0         },
	    {"6 0s",             6000      },
            {"60.5",             0         },
            {"1e3",              0         },
            {"99999999999999",   2592000000},
	    {"\n",               0         },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t ms = 0;
		assert_int_equal(kill_time_parse(rows[i].text, &ms), rows[i].ms != 0);
		assert_int_equal(ms, rows[i].ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_drain_is_shorter),
	    cmocka_unit_test(test_how_it_is_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
