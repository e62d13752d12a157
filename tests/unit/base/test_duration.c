/* duration: what is a time, a size, a count, and what is not, as rows. */
#include "base/duration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { WRONG = -1 };
static const uint64_t untouched = 0xdead;

struct row {
	const char *text;
	int64_t want; /* or WRONG */
};

/* clang-format off */
static const struct row times[] = {
	{"0", 0}, {"0s", 0}, {"1ms", 1}, {"500ms", 500}, {"30s", 30000}, {"10m", 600000},
	{"2h", 7200000}, {"007s", 7000}, {"9223372036854775807ms", INT64_MAX},
	{"", WRONG}, {"s", WRONG}, {"30", WRONG}, {"-1s", WRONG}, {"+1s", WRONG}, {" 1s", WRONG},
	{"1s ", WRONG}, {"1 s", WRONG}, {"1.5s", WRONG}, {"1S", WRONG}, {"1M", WRONG},
	{"1d", WRONG}, {"1h30m", WRONG}, {"0x10s", WRONG}, {"1e3s", WRONG}, {"soon", WRONG},
	{"18446744073709551616ms", WRONG}, {"18446744073709551615s", WRONG},
	{"5124095576030432h", WRONG},
};
static const struct row sizes[] = {
	{"0", 0}, {"1", 1}, {"4096", 4096}, {"64k", 65536}, {"10M", 10485760},
	{"1G", 1073741824},
	{"", WRONG}, {"k", WRONG}, {"64K", WRONG}, {"64kB", WRONG}, {"1m", WRONG}, {"1T", WRONG},
	{"-1", WRONG}, {"1.5M", WRONG}, {"17179869184G", WRONG}, {"18446744073709551616", WRONG},
};
static const struct row counts[] = {
	{"0", 0}, {"16", 16}, {"9223372036854775807", INT64_MAX},
	{"", WRONG}, {"-1", WRONG}, {"1k", WRONG}, {"0x10", WRONG}, {"many", WRONG},
	{"99999999999999999999", WRONG},
};
/* clang-format on */

static void walk(const struct row *rows, size_t n, bool (*parse)(const char *, uint64_t *))
{
	for (size_t i = 0; i < n; i++) {
		uint64_t got = untouched;
		bool right = parse(rows[i].text, &got);
		bool wanted = rows[i].want != WRONG;
		if (right != wanted || got != (wanted ? (uint64_t)rows[i].want : untouched))
			fail_msg("\"%s\": %s, %llu", rows[i].text, right ? "right" : "wrong",
				 (unsigned long long)got);
	}
}

static void test_times(void **state)
{
	(void)state;
	walk(times, sizeof times / sizeof *times, duration_parse);
}

static void test_sizes(void **state)
{
	(void)state;
	walk(sizes, sizeof sizes / sizeof *sizes, size_parse);
}

static void test_counts(void **state)
{
	(void)state;
	walk(counts, sizeof counts / sizeof *counts, count_parse);
}

/* What is printed can be read again, in the largest unit that fits. */
static void test_printing(void **state)
{
	(void)state;
	static const struct {
		uint64_t number;
		const char *time, *size;
	} rows[] = {
	    {0,       "0",         "0"      },
	    {1,       "1ms",       "1"      },
	    {1500,    "1500ms",    "1500"   },
	    {2048,    "2048ms",    "2k"     },
	    {60000,   "1m",        "60000"  },
	    {90000,   "90s",       "90000"  },
	    {7200000, "2h",        "7200000"},
	    {1 << 20, "1048576ms", "1M"     },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[32];
		uint64_t again;
		duration_print(rows[i].number, text, sizeof text);
		assert_string_equal(text, rows[i].time);
		assert_true(duration_parse(text, &again) && again == rows[i].number);
		size_print(rows[i].number, text, sizeof text);
		assert_string_equal(text, rows[i].size);
		assert_true(size_parse(text, &again) && again == rows[i].number);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_counts),
	    cmocka_unit_test(test_printing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
