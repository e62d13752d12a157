/* Texts grow, fail as a whole, and say in JSON whatever bytes they are given. */
#include "base/memory.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_text(const struct text *text, const char *want)
{
	assert_false(text->failed);
	assert_int_equal(text->len, strlen(want));
	assert_memory_equal(text->bytes, want, text->len);
}

static void json_strings(void **state)
{
	(void)state;
	static const struct {
		struct span in;
		const char *want;
	} rows[] = {
	    {{"", 0},                   "\"\""				     },
	    {{"plain", 5},              "\"plain\""                                },
	    {{"a\"b\\c", 5},            "\"a\\\"b\\\\c\""                          },
	    {{"\n\t\r\b\f", 5},         "\"\\n\\t\\r\\b\\f\""                      },
	    {{"\0\x1f\x7f", 3},         "\"\\u0000\\u001f\\u007f\""                },
	    {{"gr\xc3\xbc\xc3\x9f", 6}, "\"gr\xc3\xbc\xc3\x9f\""                   },
	    {{"\xf0\x9f\x98\x80", 4},   "\"\xf0\x9f\x98\x80\""                     },
	    {{"\xff", 1},               "\"\xef\xbf\xbd\""                         },
	    {{"\xc3", 1},               "\"\xef\xbf\xbd\""                         }, /* cut off */
	    {{"\xc0\xaf", 2},           "\"\xef\xbf\xbd\xef\xbf\xbd\""             }, /* overlong */
	    {{"\xed\xa0\x80x", 4},      "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx\""}, /* surrogate */
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct text text = {0};
		text_put_json(&text, rows[i].in);
		assert_text(&text, rows[i].want);
		text_fini(&text);
	}
}

static void for_a_terminal(void **state)
{
	(void)state;
	static const struct {
		const char *in, *want;
	} rows[] = {
	    {"plain \"words\" C:\\x",    "plain \"words\" C:\\x"        },
	    {"a\nforged\r\tb",           "a\\u000aforged\\u000d\\u0009b"},
	    {"\033]0;t\a\033[31m",       "\\u001b]0;t\\u0007\\u001b[31m"},
	    {"\xc2\x9b\x7f",             "\\u009b\\u007f"               },
	    {"gr\xc3\xbc\xc3\x9f",       "gr\xc3\xbc\xc3\x9f"           },
	    {"\xe2\x80\xae\xe2\x80\xa8", "\\u202e\\u2028"               },
	    {"\xe2\x81\xa9\xe2\x80\x8f", "\\u2069\\u200f"               },
	    {"\xd8\x9c\xd8\x9d",         "\\u061c\xd8\x9d"              },
	    {"a\x9b"
	     "31m\xff",     "a\xef\xbf\xbd"
	     "31m\xef\xbf\xbd"      },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct text text = {0}, json = {0};
		text_put_tame(&text, span_text(rows[i].in));
		assert_text(&text, rows[i].want);
		text_put_json(&json, span_text(rows[i].in));
		for (size_t at = 0; at < json.len; at++) /* nor in JSON */
			assert_true((unsigned char)json.bytes[at] >= ' ');
		assert_null(memmem(json.bytes, json.len, "\xe2\x80\xae", 3));
		text_fini(&text);
		text_fini(&json);
	}
}

static void numbers(void **state)
{
	(void)state;
	struct text text = {0};
	text_put_number(&text, 0);
	text_put_literal(&text, ",");
	text_put_number(&text, UINT64_MAX);
	assert_text(&text, "0,18446744073709551615");
	text_fini(&text);
}

static void grows_and_drops(void **state)
{
	(void)state;
	struct text text = {0};
	for (unsigned i = 0; i < 1000; i++)
		text_put_literal(&text, "0123456789");
	assert_int_equal(text.len, 10000);
	text_drop(&text, 9995);
	assert_text(&text, "56789");
	text_drop(&text, 5);
	assert_int_equal(text.len, 0);
	text_fini(&text);
}

static void fails_as_a_whole(void **state)
{
	(void)state;
	struct text text = {0};
	(void)memory_fail_at(1);
	text_put_literal(&text, "lost");
	text_put_literal(&text, "also lost");
	assert_true(text.failed);
	assert_int_equal(text.len, 0);
	text_clear(&text);
	text_put_literal(&text, "kept");
	assert_text(&text, "kept");
	text_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_strings),     cmocka_unit_test(for_a_terminal),
	    cmocka_unit_test(numbers),          cmocka_unit_test(grows_and_drops),
	    cmocka_unit_test(fails_as_a_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
