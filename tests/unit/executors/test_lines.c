/* lines - however the bytes arrive, the same lines leave; and no line is longer than the limit. */
#include "executors/child/lines.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LIMIT = 8 };

/* Each line found, followed by '|' where it is whole and '~' where it goes on. */
struct heard {
	char text[256];
	size_t len;
};

static void hear(void *arg, struct span line, enum line_part part)
{
	struct heard *heard = arg;
	bool went_on = heard->len > 0 && heard->text[heard->len - 1] == '~';
	assert_true(line.len <= LIMIT);
	assert_int_equal(part == LINE_MIDDLE || part == LINE_TAIL, went_on);
	assert_true(line.len > 0 || went_on);
	assert_true(heard->len + line.len + 1 < sizeof heard->text);
	memcpy(heard->text + heard->len, line.ptr, line.len);
	heard->len += line.len;
	heard->text[heard->len++] = line_goes_on(part) ? '~' : '|';
}

static const struct {
	const char *written, *heard;
} rows[] = {
    {"",		      ""		    },
    {"one\n",		 "one|"                },
    {"one\ntwo\n",            "one|two|"            },
    {"one\ntwo",              "one|two|"            },
    {"\n\n\none\n\n",         "one|"                },
    {"one\r\ntwo\r\n\r\n",    "one|two|"            },
    {"12345678\nrest\n",      "12345678|rest|"      },
    {"123456789\nrest\n",     "12345678~9|rest|"    },
    {"1234567812345678\nx\n", "12345678~12345678|x|"},
    {"12345678123456781\n",   "12345678~12345678~1|"},
    {"12345678123456781",     "12345678~12345678~1|"},
    {"12345678\r\nrest\n",    "12345678~|rest|"     },
    {"1234567\r\nrest\n",     "1234567|rest|"       },
};

static void feed_in_pieces(const char *written, size_t piece, struct heard *heard)
{
	struct lines lines;
	size_t len = strlen(written);
	lines_init(&lines, LIMIT);
	for (size_t at = 0; at < len; at += piece) {
		/* A copy of its own size, so that a sanitizer sees a read beyond the piece. */
		size_t now = len - at < piece ? len - at : piece;
		char *copy = malloc(now);
		assert_non_null(copy);
		memcpy(copy, written + at, now);
		lines_feed(&lines, span_of(copy, now), hear, heard);
		free(copy);
	}
	lines_flush(&lines, hear, heard);
	lines_flush(&lines, hear, heard); /* nothing more */
	lines_fini(&lines);
}

static void lines_do_not_depend_on_the_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		for (size_t piece = 1; piece <= 20; piece++) {
			struct heard heard = {.len = 0};
			feed_in_pieces(rows[i].written, piece, &heard);
			assert_string_equal(heard.text, rows[i].heard);
		}
	}
}

static void without_memory_pieces_are_passed_on(void **state)
{
	(void)state;
	struct heard heard = {.len = 0};
	struct lines lines;
	lines_init(&lines, LIMIT);
	(void)memory_fail_at(1);
	lines_feed(&lines, span_text("one"), hear, &heard);
	(void)memory_fail_at(0);
	lines_feed(&lines, span_text("two\n"), hear, &heard);
	lines_fini(&lines);
	assert_string_equal(heard.text, "one~two|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_do_not_depend_on_the_pieces),
	    cmocka_unit_test(without_memory_pieces_are_passed_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
