/* base64 - bytes and their letters, both ways; and what is none. */
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BYTES(literal)                                                                             \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

static const struct {
	struct span bytes;
	const char *letters;
} rows[] = {
    {BYTES(""),		 ""        },
    {BYTES("f"),                "Zg=="    },
    {BYTES("fo"),               "Zm8="    },
    {BYTES("foo"),              "Zm9v"    },
    {BYTES("foob"),             "Zm9vYg=="},
    {BYTES("\0\xff\xfe\n"),     "AP/+Cg=="},
    {BYTES("\xff\xff\xff\xff"), "/////w=="},
};

static void both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct text letters = {0}, bytes = {0};
		text_put_literal(&letters, "x");
		base64_put(&letters, rows[i].bytes);
		struct span written = span_of(letters.bytes + 1, letters.len - 1);
		assert_true(span_equal(written, span_text(rows[i].letters)));
		assert_true(base64_read(&bytes, written));
		assert_true(span_equal(text_span(&bytes), rows[i].bytes));
		text_fini(&letters);
		text_fini(&bytes);
	}
}

static void no_base64(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "Z", "Zg", "Zg=", "Zg=x", "====", "Z===", "Zm9v\n", "Zm 9", "Zm-_", "Zg==Zg=="};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct text bytes = {0};
		assert_false(base64_read(&bytes, span_text(bad[i])));
		text_fini(&bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_ways),
	    cmocka_unit_test(no_base64),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
