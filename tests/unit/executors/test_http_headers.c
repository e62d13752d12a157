/* http_headers - what a request says of its job; and that no id, name or checkpoint can say anything
 * else. */
#include "executors/http/http_headers.h"

#include "dispatch/routes.h"
#include "job/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../cmocka_names.h"

static const char *line_of(const struct http_headers *headers, const char *name)
{
	size_t len = strlen(name);
	for (unsigned i = 0; i < headers->count; i++) {
		const char *line = http_headers_line(headers, i);
		if (strncmp(line, name, len) == 0 && strncmp(line + len, ": ", 2) == 0)
			return line + len + 2;
	}
	return NULL;
}

static struct job *job_of(struct route *route, struct job_facts facts)
{
	facts.route = route;
	facts.attempt = facts.attempt != 0 ? facts.attempt : 1;
	struct job *job = job_create(&facts);
	assert_non_null(job);
	return job;
}

static void all_facts(void **state)
{
	(void)state;
	struct route route = {.name = "emails", .source_name = "main"};
	struct job *job = job_of(&route, (struct job_facts){
					     .attempt = 3,
					     .interruptions = 4,
					     .crashes = 5,
					     .redelivered = true,
					     .id = span_text("8f2"),
					     .content_type = span_text("application/json"),
					     .traceparent = span_text("00-ab-cd-01"),
					     .checkpoint = span_text("page 7"),
					 });
	static const struct {
		const char *name, *value;
	} rows[] = {
	    {"Content-Type",          "application/json"},
            {"Outfall-Job-Id",        "8f2"             },
	    {"Idempotency-Key",       "8f2"             },
            {"Outfall-Source",        "main"            },
	    {"Outfall-Queue",         "emails"          },
            {"Outfall-Attempt",       "3"               },
	    {"Outfall-Interruptions", "4"               },
            {"Outfall-Crashes",       "5"               },
	    {"Outfall-Redelivered",   "1"               },
            {"Outfall-Timeout-Ms",    "30000"           },
	    {"traceparent",           "00-ab-cd-01"     },
            {"Outfall-Checkpoint",    "page 7"          },
	};
	struct http_headers headers = {0};
	for (int again = 0; again < 2; again++) { /* the room is used again */
		assert_true(http_headers_write(&headers, job, 30000, "x/y"));
		assert_int_equal(headers.count, HTTP_HEADERS_MOST);
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			assert_string_equal(line_of(&headers, rows[i].name), rows[i].value);
	}
	http_headers_fini(&headers);
	job_destroy(job);
}

static void what_there_is_none_of(void **state)
{
	(void)state;
	struct route route = {.name = "emails", .source_name = "main"};
	struct job *job = job_of(&route, (struct job_facts){.id = span_text("8f2")});
	struct http_headers headers = {0};
	assert_true(http_headers_write(&headers, job, 0, "application/octet-stream"));
	assert_string_equal(line_of(&headers, "Content-Type"), "application/octet-stream");
	assert_string_equal(line_of(&headers, "Outfall-Timeout-Ms"), "0");
	assert_string_equal(line_of(&headers, "Outfall-Redelivered"), "0");
	assert_null(line_of(&headers, "traceparent"));
	assert_null(line_of(&headers, "Outfall-Checkpoint"));
	assert_null(line_of(&headers, "Outfall-Checkpoint-Base64"));
	http_headers_fini(&headers);
	job_destroy(job);
}

static void strange_ids_are_encoded(void **state)
{
	(void)state;
	static const struct {
		const char *id, *value;
	} rows[] = {
	    {"8f2",		       "8f2"			  },
	    {"a b/c?d=e&f#g;h,i\"j\\k",   "a b/c?d=e&f#g;h,i\"j\\k"      },
	    {"50%",		       "50%25"                        },
	    {" a ",		       "%20a%20"                      },
	    {" ",			 "%20"			  },
	    {"a\r\nOutfall-Attempt: 9",   "a%0D%0AOutfall-Attempt: 9"    },
	    {"a\r\n\r\nPOST /x HTTP/1.1", "a%0D%0A%0D%0APOST /x HTTP/1.1"},
	    {"\n",			"%0A"			  },
	    {"a\tb\x01\x1f\x7f",          "a%09b%01%1F%7F"               },
	    {"gr\xc3\xbc\xdf",            "gr%C3%BC%DF"                  },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* Whatever comes from outside may be as strange. */
		struct route route = {.name = rows[i].id, .source_name = rows[i].id};
		struct span id = span_text(rows[i].id);
		struct job *job = job_of(
		    &route, (struct job_facts){.id = id, .content_type = id, .traceparent = id});
		struct http_headers headers = {0};
		assert_true(http_headers_write(&headers, job, 0, "x/y"));
		static const char *const names[] = {"Outfall-Job-Id", "Idempotency-Key",
						    "Outfall-Source", "Outfall-Queue",
						    "Content-Type",   "traceparent"};
		for (size_t n = 0; n < sizeof names / sizeof *names; n++)
			assert_string_equal(line_of(&headers, names[n]), rows[i].value);
		http_headers_fini(&headers);
		job_destroy(job);
	}
}

/* Whatever the bytes: as many lines as there are headers, and nothing in them that could end one. */
static void no_byte_breaks_out(void **state)
{
	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		char id[] = {'a', (char)byte, 'b', '\0'};
		struct route route = {.name = id, .source_name = id};
		struct job *job = job_of(&route, (struct job_facts){.id = span_text(id),
								    .content_type = span_text(id),
								    .traceparent = span_text(id),
								    .checkpoint = span_text(id)});
		struct http_headers headers = {0};
		assert_true(http_headers_write(&headers, job, 0, "x/y"));
		for (unsigned i = 0; i < headers.count; i++)
			for (const char *c = http_headers_line(&headers, i); *c != '\0'; c++)
				assert_int_in_range(*c, ' ', '~');
		http_headers_fini(&headers);
		job_destroy(job);
	}
}

static void checkpoints(void **state)
{
	(void)state;
	static char most[HTTP_CHECKPOINT_MOST_BYTES + 1];
	memset(most, 'x', sizeof most);
	/* clang-format off */
#define BYTES(literal) {(literal), sizeof(literal) - 1}
	const struct {
		struct span left;
		const char *plain, *encoded;
	} rows[] = {
		{BYTES("page 7"), "page 7", NULL},
		{BYTES("50%"), "50%", NULL},
		{BYTES(" x"), NULL, "IHg="},
		{BYTES("x "), NULL, "eCA="},
		{BYTES("a\nb"), NULL, "YQpi"},
		{BYTES("\0\xff"), NULL, "AP8="},
		{BYTES("\xc3\xbc"), NULL, "w7w="},
		{{most, sizeof most}, NULL, NULL},
	};
	/* clang-format on */
	struct route route = {.name = "emails", .source_name = "main"};
	struct http_headers headers = {0};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct job *job = job_of(
		    &route, (struct job_facts){.id = span_text("a"), .checkpoint = rows[i].left});
		assert_true(http_headers_write(&headers, job, 0, "x/y"));
		const char *plain = line_of(&headers, "Outfall-Checkpoint");
		const char *encoded = line_of(&headers, "Outfall-Checkpoint-Base64");
		assert_int_equal(plain != NULL, rows[i].plain != NULL);
		assert_int_equal(encoded != NULL, rows[i].encoded != NULL);
		if (plain != NULL)
			assert_string_equal(plain, rows[i].plain);
		if (encoded != NULL)
			assert_string_equal(encoded, rows[i].encoded);
		job_destroy(job);
	}
	http_headers_fini(&headers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_facts),
	    cmocka_unit_test(what_there_is_none_of),
	    cmocka_unit_test(strange_ids_are_encoded),
	    cmocka_unit_test(no_byte_breaks_out),
	    cmocka_unit_test(checkpoints),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
