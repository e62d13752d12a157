/* http_answer - every kind of answer, with all that may stand in Retry-After, and what people get to
 * read of it. */
#include "executors/http/http_answer.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../cmocka_names.h"

enum { NOW = 1764547200 }; /* Mon, 01 Dec 2025 00:00:00 GMT */
#define DAYS      86400000
#define NOW_DATE  "Mon, 01 Dec 2025 00:00:00 GMT"
#define LAST_DATE "Sun, 30 Nov 2025 23:00:00 GMT"

static void each_status_has_its_outcome(void **state)
{
	(void)state;
	static const struct {
		long status;
		enum outcome_kind kind;
		const char *reason;
	} rows[] = {
	    {200, OUTCOME_DONE,   ""					     },
	    {201, OUTCOME_DONE,   ""					     },
	    {202, OUTCOME_DONE,   ""					     },
	    {204, OUTCOME_DONE,   ""					     },
	    {299, OUTCOME_DONE,   ""					     },
	    {301, OUTCOME_RETRY,  "answered 301, redirects are not followed: why"},
	    {302, OUTCOME_RETRY,  "answered 302, redirects are not followed: why"},
	    {307, OUTCOME_RETRY,  "answered 307, redirects are not followed: why"},
	    {400, OUTCOME_REJECT, "answered 400: why"                            },
	    {401, OUTCOME_RETRY,  "answered 401: why"                            },
	    {403, OUTCOME_RETRY,  "answered 403: why"                            },
	    {404, OUTCOME_RETRY,  "answered 404: why"                            },
	    {405, OUTCOME_RETRY,  "answered 405: why"                            },
	    {408, OUTCOME_RETRY,  "answered 408: why"                            },
	    {409, OUTCOME_REJECT, "answered 409: why"                            },
	    {410, OUTCOME_RETRY,  "answered 410: why"                            },
	    {413, OUTCOME_RETRY,  "answered 413: why"                            },
	    {422, OUTCOME_REJECT, "answered 422: why"                            },
	    {425, OUTCOME_RETRY,  "answered 425: why"                            },
	    {429, OUTCOME_RETRY,  "answered 429: why"                            },
	    {431, OUTCOME_RETRY,  "answered 431: why"                            },
	    {500, OUTCOME_RETRY,  "answered 500: why"                            },
	    {502, OUTCOME_RETRY,  "answered 502: why"                            },
	    {503, OUTCOME_RETRY,  "answered 503: why"                            },
	    {504, OUTCOME_RETRY,  "answered 504: why"                            },
	    {599, OUTCOME_RETRY,  "answered 599: why"                            },
	    {0,   OUTCOME_RETRY,  "answered 0: why"                              },
	    {999, OUTCOME_RETRY,  "answered 999: why"                            },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct http_answer answer = {.status = rows[i].status, .body = span_text("why\n")};
		struct outcome outcome = outcome_of_answer(&answer, NOW);
		assert_int_equal(outcome.kind, rows[i].kind);
		assert_string_equal(outcome.reason, rows[i].reason);
		assert_int_equal(outcome.after_ms, 0);
		assert_false(outcome.crashed);
	}
}

static void retry_after(void **state)
{
	(void)state;
	static const struct {
		long status;
		const char *retry_after, *date;
		uint64_t after_ms;
	} rows[] = {
	    {503, "120",				     "",        120000     },
	    {429, "1",				       "",        1000       },
	    {500, " 7\t",				    "",        7000       },
	    {301, "7",				       "",        7000       },
	    {400, "7",				       "",        0          }, /* dead is dead */
	    {200, "7",				       "",        0          },
	    {503, "0",				       "",        0          },
	    {503, "000000000000000000000005",                "",        5000       },
	    {503, "31536000",				"",        30UL * DAYS}, /* a year is too long */
	    {503, "99999999999999999999999999",              "",        30UL * DAYS},
 /* No number of seconds. */
	    {503, "-5",				      "",        0          },
	    {503, "+5",				      "",        0          },
	    {503, "1.5",				     "",        0          },
	    {503, "5s",				      "",        0          },
	    {503, "soon",				    "",        0          },
 /* The three forms of a date. */
	    {503, "Mon, 01 Dec 2025 00:01:30 GMT",           "",        90000      },
	    {503, "Monday, 01-Dec-25 00:01:30 GMT",          "",        90000      },
	    {503, "Mon Dec  1 00:01:30 2025",                "",        90000      },
	    {503, " Tue, 02 Dec 2025 00:00:00 GMT ",         "",        DAYS       },
	    {503, "Thu, 01 Jan 2026 00:00:00 GMT",           "",        30UL * DAYS},
	    {503, "Sunday, 06-Nov-94 08:49:37 GMT",          "",        0          }, /* 1994: over */
	    {503, "Sun, 30 Nov 2025 23:59:59 GMT",           "",        0          },
	    {503, "Mon, 01 Dec 2025 00:01:30 UTC",           "",        0          },
	    {503, "Mon, 01 Dec 2025 00:01:30 GMT, or later", "",        0          },
	    {503, "Mon, 01 Foo 2025 00:01:30 GMT",           "",        0          },
	    {503, "Mon, 01 Dec 2025",                        "",        0          },
	    {503,
	     "Mon, 01 Dec 2025 00:01:30 GMT             "
	     "                                        x",    "",        0          },
 /* By the server's own clock. */
	    {503, "Sun, 30 Nov 2025 23:00:10 GMT",           LAST_DATE, 10000      },
	    {503, "Mon, 01 Dec 2025 00:00:10 GMT",           NOW_DATE,  10000      },
	    {503, "Mon, 01 Dec 2025 00:00:10 GMT",           "today",   10000      },
	    {503, "10",				      LAST_DATE, 10000      },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct http_answer answer = {.status = rows[i].status,
					     .retry_after = span_text(rows[i].retry_after),
					     .date = span_text(rows[i].date)};
		struct outcome outcome = outcome_of_answer(&answer, NOW);
		if (outcome.after_ms != rows[i].after_ms)
			print_error("row %zu: %s\n", i, rows[i].retry_after);
		assert_int_equal(outcome.after_ms, rows[i].after_ms);
	}
}

/* clang-format off */
#define BYTES(literal) {(literal), sizeof(literal) - 1}
static const struct {
	struct span body;
	const char *reason;
} reasons[] = {
	{BYTES(""), "answered 500"},
	{BYTES(" \r\n\t\n"), "answered 500"},
	{BYTES("no space left\n"), "answered 500: no space left"},
	{BYTES("\n\n  first \r\nsecond"), "answered 500: first"},
	{BYTES("{\"error\":\"x\"}"), "answered 500: {\"error\":\"x\"}"},
	{BYTES("<!DOCTYPE html>\n<p>Oops"), "answered 500"},
	{BYTES("a\tb\033[31mc\0d\x7f" "e"), "answered 500: a?b?[31mc?d?e"},
	{BYTES("gr\xc3\xbc\xc3\x9f" "e"), "answered 500: gr\xc3\xbc\xc3\x9f" "e"},
	{BYTES("gr\xfc\xdf" "e"), "answered 500: gr??e"},
};
/* clang-format on */

static void the_reason_is_one_printable_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		struct http_answer answer = {.status = 500, .body = reasons[i].body};
		assert_string_equal(outcome_of_answer(&answer, NOW).reason, reasons[i].reason);
	}
}

static void a_long_line_is_cut_between_characters(void **state)
{
	(void)state;
	char line[200];
	for (size_t shift = 0; shift < 3; shift++) {
		memset(line, 'x', sizeof line);
		for (size_t i = shift; i + 3 <= sizeof line; i += 3)
			memcpy(line + i, "\xe2\x82\xac", 3);
		struct http_answer answer = {.status = 503, .body = span_of(line, 198)};
		struct outcome outcome = outcome_of_answer(&answer, NOW);
		size_t len = strlen(outcome.reason);
		assert_int_in_range(len, sizeof outcome.reason - 3, sizeof outcome.reason - 1);
		assert_null(strchr(outcome.reason, '?'));
		assert_memory_equal(outcome.reason + len - 3, "\xe2\x82\xac", 3);
	}
}

static void no_answer_is_a_retry(void **state)
{
	(void)state;
	struct outcome outcome = outcome_without_answer("Couldn't connect to server");
	assert_int_equal(outcome.kind, OUTCOME_RETRY);
	assert_int_equal(outcome.after_ms, 0);
	assert_string_equal(outcome.reason, "no answer: Couldn't connect to server");
}

static void what_it_says_in_full(void **state)
{
	(void)state;
#define LONG                                                                                       \
	"0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789"
	static const struct {
		const char *type, *body;
		bool told;
		const char *class, *message;
	} rows[] = {
	    {"application/problem+json",
	     "{\"type\":\"https://x/402\",\"title\":\"No credit\",\"detail\":\"30 of 50\"}", true,
	     "https://x/402",									   "No credit: 30 of 50"},
	    {"Application/Problem+JSON; charset=utf-8", "{\"title\":\"No credit\"}",         true,  "",
	     "No credit"												     },
	    {"application/problem+json",                "{\"detail\":\"30\"}",               true,  "", "30"                 },
	    {"application/problem+json",                "{\"status\":402}",                  false, "", ""                   },
	    {"application/problem+json",                "{\"title\":\"cut o",                false, "", ""                   },
	    {"application/problem+json",                "[1]",                               false, "", ""                   },
	    {"application/json",                        "{\"title\":\"No credit\"}",         false, "", ""                   },
	    {"text/plain",			      "no",                                false, "", ""                   },
	    {"",					LONG "\nnext",                       true,  "", "answered 500: " LONG},
	    {"",					"<p>" LONG,                          false, "", ""                   },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct http_answer answer = {.status = 500,
					     .content_type = span_text(rows[i].type),
					     .body = span_text(rows[i].body)};
		struct failure said;
		struct text words = {0};
		assert_int_equal(explain_answer(&answer, &words, &said), rows[i].told);
		if (rows[i].told) {
			assert_true(span_equal(said.class, span_text(rows[i].class)));
			assert_true(span_equal(said.message, span_text(rows[i].message)));
		}
		text_fini(&words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_status_has_its_outcome),
	    cmocka_unit_test(retry_after),
	    cmocka_unit_test(the_reason_is_one_printable_line),
	    cmocka_unit_test(a_long_line_is_cut_between_characters),
	    cmocka_unit_test(no_answer_is_a_retry),
	    cmocka_unit_test(what_it_says_in_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
