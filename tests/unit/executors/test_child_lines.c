/* What is said between us and a handler's process, both ways. */
#include "dispatch/routes.h"
#include "executors/child/child_says.h"
#include "executors/child/child_told.h"
#include "job/job.h"
#include "sources/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* --- what it says --- */

static struct child_says parsed(const char *line)
{
	struct child_says says;
	struct error why;
	if (!child_says_parse(span_text(line), &says, &why))
		fail_msg("%s: %s", line, why.text);
	return says;
}

static void assert_span(struct span got, const char *want)
{
	assert_int_equal(got.len, strlen(want));
	assert_memory_equal(got.len > 0 ? got.ptr : "", want, got.len);
}

static void numbers_of_one_kind(void **state)
{
	(void)state;
	struct child_says s =
	    parsed("{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"retry\",\"after_ms\":100.5}");
	assert_int_equal(s.outcome.after_ms, 100);
	child_says_fini(&s);
}

static void results(void **state)
{
	(void)state;
	struct child_says s =
	    parsed("{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"retry\",\"after_ms\":1500,"
		   "\"reason\":\"busy\",\"checkpoint\":\"half\",\"unknown\":[1]}");
	assert_int_equal(s.type, SAYS_RESULT);
	assert_span(s.id, "7");
	assert_int_equal(s.outcome.kind, OUTCOME_RETRY);
	assert_int_equal(s.outcome.after_ms, 1500);
	assert_string_equal(s.outcome.reason, "busy");
	assert_true(s.has_checkpoint);
	assert_span(s.checkpoint, "half");
	assert_true(s.progress < 0);
	child_says_fini(&s);
}

/* A line of the usual form is read without the library; it must mean the same, and nothing that is wrong
 * may pass. */
static void the_usual_result(void **state)
{
	(void)state;
	static const struct {
		const char *line, *id; /* NULL: no line */
	} rows[] = {
	    {"{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"done\"}",         "7"       },
	    {"{\"type\": \"result\", \"id\": \"7\", \"outcome\": \"done\"}",    "7"       },
	    {"{\"type\":\"result\",\"id\":\"\xc3\xa4\",\"outcome\":\"done\"}",  "\xc3\xa4"},
	    {"{\"type\":\"result\",\"id\":\"\\u00e4\",\"outcome\":\"done\"}",   "\xc3\xa4"},
	    {"{\"type\":\"result\",\"id\":\"a\\\"b\",\"outcome\":\"done\"}",    "a\"b"    },
	    {"{\"type\":\"result\",\"outcome\":\"done\",\"id\":\"7\"}",         "7"       },
	    {"{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"done\",\"x\":1}", "7"       },
	    {" { \"type\" : \"result\",  \"id\":\"7\",\"outcome\":\"done\" } ", "7"       },
	    {"{\"type\":\"result\",\"id\":\"\xff\",\"outcome\":\"done\"}",      NULL      },
	    {"{\"type\":\"result\",\"id\":\"\x01\",\"outcome\":\"done\"}",      NULL      },
	    {"{\"type\":\"result\",\"id\":\"\",\"outcome\":\"done\"}",          NULL      },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct child_says s;
		struct error why;
		bool is = child_says_parse(span_text(rows[i].line), &s, &why);
		if (is != (rows[i].id != NULL))
			fail_msg("%s: %s", rows[i].line, is ? "passes" : why.text);
		if (!is)
			continue;
		assert_int_equal(s.type, SAYS_RESULT);
		assert_int_equal(s.outcome.kind, OUTCOME_DONE);
		assert_string_equal(s.outcome.reason, "");
		assert_int_equal(s.outcome.after_ms, 0);
		assert_span(s.id, rows[i].id);
		assert_true(s.progress < 0);
		assert_false(s.has_checkpoint || s.has_extend);
		child_says_fini(&s);
	}
}

static void facts(void **state)
{
	(void)state;
	struct child_says s =
	    parsed("{\"progress\":0.4,\"note\":\"resizing\",\"extend_ms\":60000}");
	assert_int_equal(s.type, SAYS_FACTS);
	assert_true(s.progress > 0.39 && s.progress < 0.41);
	assert_span(s.note, "resizing");
	assert_true(s.has_extend);
	assert_int_equal(s.extend_ms, 60000);
	assert_false(s.has_checkpoint);
	assert_int_equal(s.id.len, 0);
	child_says_fini(&s);
	s = parsed("{\"checkpoint\":\"\"}"); /* forgets the one before */
	assert_true(s.has_checkpoint);
	assert_int_equal(s.checkpoint.len, 0);
	child_says_fini(&s);
}

static void others(void **state)
{
	(void)state;
	struct child_says s = parsed("{\"type\":\"ready\"}");
	assert_int_equal(s.type, SAYS_READY);
	assert_int_equal(s.concurrency, 1);
	child_says_fini(&s);
	s = parsed(" {\"type\":\"ready\",\"concurrency\":16} ");
	assert_int_equal(s.concurrency, 16);
	child_says_fini(&s);
	s = parsed("{\"type\":\"log\",\"id\":\"7\",\"level\":\"warning\",\"text\":\"slow disk\"}");
	assert_int_equal(s.type, SAYS_LOG);
	assert_int_equal(s.level, LOG_WARN);
	assert_span(s.text, "slow disk");
	child_says_fini(&s);
	s = parsed("{\"type\":\"extend\",\"id\":\"7\",\"extend_ms\":5}");
	assert_int_equal(s.type, SAYS_FACTS);
	assert_true(s.has_extend);
	child_says_fini(&s);
}

static void base64(void **state)
{
	(void)state;
	static const struct {
		const char *text, *bytes;
		size_t len;
	} rows[] = {
	    {"",         "",           0},
	    {"/w==",     "\xff",       1},
	    {"/wA=",     "\xff\0",     2},
	    {"/wAB",     "\xff\0\1",   3},
	    {"/wABAg==", "\xff\0\1\2", 4},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char line[80];
		(void)snprintf(line, sizeof line, "{\"checkpoint_base64\":\"%s\"}", rows[i].text);
		struct child_says s = parsed(line);
		assert_true(s.has_checkpoint);
		assert_int_equal(s.checkpoint.len, rows[i].len);
		assert_memory_equal(s.checkpoint.ptr, rows[i].bytes, rows[i].len);
		child_says_fini(&s);
	}
}

static void rubbish(void **state)
{
	(void)state;
	static const char *const lines[] = {
	    "",
	    "hello",
	    "{",
	    "[]",
	    "null",
	    "{\"type\":\"result\"}",
	    "{\"type\":\"result\",\"outcome\":\"done\"}",
	    "{\"type\":\"job\",\"id\":\"1\"}",
	    "{\"type\":7}",
	    "{\"type\":\"ready\",\"concurrency\":0}",
	    "{\"type\":\"ready\",\"concurrency\":1000000}",
	    "{\"extend_ms\":99999999999999999999}",
	    "{\"note\":7}",
	    "{\"note\":\"\\u0000\"}",
	    "{\"note\":\"\xff\"}",
	    "{\"checkpoint_base64\":\"/w=\"}",
	    "{\"checkpoint_base64\":\"/w=x\"}",
	    "{\"checkpoint_base64\":\"====\"}",
	    "{} {}",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		struct child_says says;
		struct error why = {0};
		if (child_says_parse(span_text(lines[i]), &says, &why))
			fail_msg("taken for good: %s", lines[i]);
		assert_true(why.text[0] != '\0');
	}
}

/* The process has done with the job, whatever it meant to say. */
static void results_that_are_wrong(void **state)
{
	(void)state;
	static const char *const rests[] = {
	    "}",
	    ",\"outcome\":\"abandoned\"}",
	    ",\"outcome\":null}",
	    ",\"outcome\":7}",
	    ",\"outcome\":\"retry\",\"after_ms\":-1}",
	    ",\"outcome\":\"retry\",\"after_ms\":\"1\"}",
	    ",\"outcome\":\"retry\",\"after_ms\":9223372036854775808.0}",
	    ",\"outcome\":\"retry\",\"after_ms\":99999999999999999999}",
	    ",\"outcome\":\"retry\",\"reason\":{}}",
	    ",\"outcome\":\"retry\",\"reason\":\"\\u0000\"}",
	    ",\"outcome\":\"retry\",\"reason\":\"\xff\"}",
	    ",\"outcome\":\"done\",\"outcome\":\"retry\"}",
	    ",\"outcome\":\"done\",\"checkpoint\":5,\"extend_ms\":5}",
	    ",\"id\":\"8\",\"outcome\":\"done\"}",
	    ",\"outcome\":\"done\"}}",
	    ",\"outcome\":\"done\"",
	    ",\"outcome\":\"do",
	    ",\"outcome\":done}",
	};
	for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
		char line[200];
		struct error why = {0};
		struct child_says says;
		(void)snprintf(line, sizeof line, "{\"type\": \"result\", \"id\": \"a\\/7\"%s",
			       rests[i]);
		if (!child_says_parse(span_text(line), &says, &why))
			fail_msg("%s: %s", line, why.text);
		assert_int_equal(says.type, SAYS_RESULT);
		assert_true(says.wrong);
		assert_span(says.id, "a/7");
		assert_int_equal(says.outcome.kind, OUTCOME_RETRY);
		assert_int_equal(says.outcome.after_ms, 0);
		assert_memory_equal(says.outcome.reason, "its result is wrong: ", 21);
		assert_false(says.has_extend || says.has_checkpoint);
		child_says_fini(&says);
	}
}

static void results_that_are_odd(void **state)
{
	(void)state;
	static const struct {
		const char *line, *id;
		bool wrong, odd_progress;
	} rows[] = {
	    {"{\"type\":\"result\",\"id\":17,\"outcome\":\"done\"}",                     "17", false, false},
	    {"{\"id\":\"7\",\"outcome\":\"done\"}",                                      "7",  false, false},
	    {"{\"type\":\"resul\",\"id\":\"7\",\"outcome\":\"done\"}",                   "7",  true,  false},
	    {"{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"done\",\"progress\":100}", "7",  false,
	     true											  },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct error why = {0};
		struct child_says says;
		if (!child_says_parse(span_text(rows[i].line), &says, &why))
			fail_msg("%s: %s", rows[i].line, why.text);
		assert_int_equal(says.type, SAYS_RESULT);
		assert_span(says.id, rows[i].id);
		assert_int_equal(says.wrong, rows[i].wrong);
		assert_int_equal(says.odd_progress, rows[i].odd_progress);
		assert_int_equal(says.outcome.kind, rows[i].wrong ? OUTCOME_RETRY : OUTCOME_DONE);
		child_says_fini(&says);
	}
}

static void progress_is_never_refused(void **state)
{
	(void)state;
	static const char *const values[] = {"1.5", "-1", "84", "\"half\"", "[]"};
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		char line[80];
		(void)snprintf(line, sizeof line, "{\"progress\":%s,\"note\":\"n\"}", values[i]);
		struct child_says s = parsed(line);
		assert_true(s.progress < 0 && s.odd_progress);
		assert_span(s.note, "n");
		child_says_fini(&s);
	}
}

/* --- what it is told --- */

static void describe(const struct source *source, const struct job *job, struct text *to)
{
	(void)source;
	(void)job;
	text_put_literal(to, ",\"headers\":{\"k\":1}");
}

static void job_lines(void **state)
{
	(void)state;
	static const struct source_ops ops = {.describe = describe};
	struct source source = {.ops = &ops, .name = "main"};
	struct route route = {.name = "e\"mails", .source = &source, .source_name = "main"};
	struct job_facts f = {.route = &route,
			      .attempt = 2,
			      .interruptions = 1,
			      .crashes = 3,
			      .redelivered = true,
			      .id = span_text("j1"),
			      .content_type = span_text("text/plain"),
			      .checkpoint = span_text("page 7"),
			      .body_bytes = 5};
	struct job *job = job_create(&f);
	struct text text = {0};
	child_told_job(&text, job, 7000);
	assert_span(text_span(&text),
		    "{\"type\":\"job\",\"id\":\"j1\",\"source\":\"main\",\"queue\":\"e\\\"mails\","
		    "\"attempt\":2,\"interruptions\":1,\"crashes\":3,\"redelivered\":true,"
		    "\"timeout_ms\":7000,\"content_type\":\"text/plain\",\"bytes\":5,"
		    "\"checkpoint\":\"page 7\",\"headers\":{\"k\":1}}\n");
	text_clear(&text);
	job_destroy(job);
	f.checkpoint = span_of("\xff\0\1\2", 4);
	job = job_create(&f);
	child_told_job(&text, job, 0);
	text_put(&text, span_of("", 1));
	assert_non_null(strstr(text.bytes, ",\"checkpoint_base64\":\"/wABAg==\","));
	job_destroy(job);
	text_fini(&text);
}

static void notices(void **state)
{
	(void)state;
	struct route route = {.name = "emails", .source_name = "main"};
	struct job_facts f = {.route = &route, .attempt = 1, .id = span_text("j1")};
	struct job *job = job_create(&f);
	struct text text = {0};
	child_told_drain(&text, 25000);
	child_told_drain(&text, UINT64_MAX);
	job->stop = JOB_STOPPED_BY_TIMEOUT;
	child_told_cancel(&text, job);
	assert_span(
	    text_span(&text),
	    "{\"type\":\"drain\",\"notice\":\"drain\",\"remaining_ms\":25000}\n"
	    "{\"type\":\"drain\",\"notice\":\"drain\"}\n"
	    "{\"type\":\"cancel\",\"notice\":\"cancel\",\"id\":\"j1\",\"reason\":\"timeout\"}\n");
	job_destroy(job);
	text_fini(&text);
}

/* It is for people: nothing in it makes a line wrong. */
static void errors(void **state)
{
	(void)state;
	static const struct {
		const char *error, *class, *message, *backtrace, *reason;
	} rows[] = {
	    {"{\"class\":\"ValueError\",\"message\":\"402\",\"backtrace\":[\"a.py:1\",\"b.py:2\"]}",
	     "ValueError",									       "402", "a.py:1\nb.py:2", "402"},
	    {"{\"message\":\"402\",\"backtrace\":\"all in one\"}",                                   "", "402", "all in one",     "402"},
	    {"{\"class\":7,\"message\":[],\"backtrace\":[1,\"x\",null]}",                            "", "",    "x",              ""   },
	    {"\"402\"",									      "", "402", "",               "402"},
	    {"{}",										   "", "",    "",               ""   },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char line[300];
		(void)snprintf(
		    line, sizeof line,
		    "{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"retry\",\"error\":%s}",
		    rows[i].error);
		struct child_says s = parsed(line);
		assert_false(s.wrong);
		assert_true(s.has_failure);
		assert_span(s.failure.class, rows[i].class);
		assert_span(s.failure.message, rows[i].message);
		assert_span(s.failure.backtrace, rows[i].backtrace);
		assert_string_equal(s.outcome.reason, rows[i].reason);
		child_says_fini(&s);
	}
	struct child_says s = parsed("{\"error\":{\"class\":\"E\"},\"progress\":0.5}");
	assert_int_equal(s.type, SAYS_FACTS);
	assert_span(s.failure.class, "E");
	child_says_fini(&s);
}

/* The outcome has room for its beginning; people get all of it. */
static void a_long_reason_is_kept(void **state)
{
	(void)state;
	char line[600], reason[301];
	memset(reason, 'x', sizeof reason - 1);
	reason[sizeof reason - 1] = '\0';
	(void)snprintf(line, sizeof line,
		       "{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"retry\",\"reason\":\"%s\"}",
		       reason);
	struct child_says s = parsed(line);
	assert_true(s.has_failure);
	assert_span(s.failure.message, reason);
	assert_int_equal(strlen(s.outcome.reason), sizeof s.outcome.reason - 1);
	child_says_fini(&s);
	s = parsed("{\"type\":\"result\",\"id\":\"7\",\"outcome\":\"retry\",\"reason\":\"x\"}");
	assert_false(s.has_failure);
	child_says_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(results),
	    cmocka_unit_test(numbers_of_one_kind),
	    cmocka_unit_test(the_usual_result),
	    cmocka_unit_test(facts),
	    cmocka_unit_test(others),
	    cmocka_unit_test(base64),
	    cmocka_unit_test(rubbish),
	    cmocka_unit_test(errors),
	    cmocka_unit_test(a_long_reason_is_kept),
	    cmocka_unit_test(results_that_are_wrong),
	    cmocka_unit_test(results_that_are_odd),
	    cmocka_unit_test(progress_is_never_refused),
	    cmocka_unit_test(job_lines),
	    cmocka_unit_test(notices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
