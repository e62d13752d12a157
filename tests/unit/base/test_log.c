/* log: whatever is put in, what comes out is one whole line that a parser reads back and a terminal
 * survives; and a reader that does not read costs lines, not time. */
#include "base/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../cmocka_names.h"

enum { LINE_MOST = 4096 };

struct pipe_log {
	int fds[2];
	struct log *log;
};

static struct pipe_log open_log(enum log_level level, enum log_format format)
{
	struct pipe_log p;
	assert_int_equal(pipe2(p.fds, O_CLOEXEC), 0);
	assert_int_equal(fcntl(p.fds[0], F_SETFL, O_NONBLOCK), 0);
	p.log = log_create(p.fds[1], level, format);
	assert_non_null(p.log);
	return p;
}

static void close_log(struct pipe_log *p)
{
	log_destroy(p->log);
	assert_int_equal(close(p->fds[0]), 0);
	assert_int_equal(close(p->fds[1]), 0);
}

/* What is in the pipe now, NUL-terminated. */
static size_t take(struct pipe_log *p, char *buf, size_t size)
{
	ssize_t n = read(p->fds[0], buf, size - 1);
	size_t len = n > 0 ? (size_t)n : 0;
	buf[len] = '\0';
	return len;
}

/* The one line that is in the pipe, without its newline. */
static size_t take_line(struct pipe_log *p, char *buf, size_t size)
{
	size_t len = take(p, buf, size);
	assert_int_in_range(len, 1, LINE_MOST);
	assert_int_equal(buf[len - 1], '\n');
	buf[--len] = '\0';
	assert_null(strchr(buf, '\n'));
	assert_int_equal(strlen(buf), len); /* no NUL inside */
	return len;
}

static json_t *parse(const char *line)
{
	json_error_t error;
	json_t *json = json_loads(line, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (json == NULL)
		fail_msg("%s at %d in: %s", error.text, error.column, line);
	return json;
}

static void assert_harmless(const char *line)
{
	for (const char *c = line; *c != '\0'; c++) {
		assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
		/* C1 controls: as bytes alone, or as U+0080..U+009F in UTF-8 */
		assert_false((unsigned char)c[0] == 0xc2 && (unsigned char)c[1] < 0xa0);
	}
}

/* --- what a line is made of --- */

static void test_text_line(void **state)
{
	(void)state;
	char line[LINE_MOST + 1];
	struct pipe_log p = open_log(LOG_DEBUG, LOG_TEXT);
	static const struct {
		enum log_level level;
		const char *want;
	} rows[] = {
	    {LOG_ERROR, " error job settled job=8f2 attempt=3 share=0.250 wait_ms=41 late=no"},
	    {LOG_WARN,  " warn  job settled job=8f2 attempt=3 share=0.250 wait_ms=41 late=no"},
	    {LOG_INFO,  " info  job settled job=8f2 attempt=3 share=0.250 wait_ms=41 late=no"},
	    {LOG_DEBUG, " debug job settled job=8f2 attempt=3 share=0.250 wait_ms=41 late=no"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		log_say(p.log, rows[i].level, "job settled", kv_text("job", "8f2"),
			kv_text("nothing", NULL), kv_int("attempt", 3), kv_fraction("share", 0.25),
			kv_ns("wait_ms", 41999999), kv_flag("late", false));
		take_line(&p, line, sizeof line);
		assert_int_equal(strspn(line, "0123456789-T:.Z"), 24);
		assert_int_equal(line[23], 'Z');
		assert_string_equal(line + 24, rows[i].want);
	}
	log_say(p.log, LOG_INFO, "bare");
	take_line(&p, line, sizeof line);
	assert_string_equal(line + 24, " info  bare");
	close_log(&p);
}

static void test_json_line(void **state)
{
	(void)state;
	char line[LINE_MOST + 1];
	struct pipe_log p = open_log(LOG_INFO, LOG_JSON);
	log_set_worker(p.log, "w \"1\"");
	log_say(p.log, LOG_WARN, "job \"x\" settled", kv_text("job", "8f2"),
		kv_text("nothing", NULL), kv_text("empty", ""), kv_int("least", INT64_MIN),
		kv_flag("yes", true), kv_flag("no", false), kv_fraction("share", 0.25),
		kv_fraction("none", NAN), kv_fraction("huge", 1e300));
	take_line(&p, line, sizeof line);
	json_t *json = parse(line);
	assert_int_equal(strlen(json_string_value(json_object_get(json, "time"))), 24);
	assert_string_equal(json_string_value(json_object_get(json, "level")), "warn");
	assert_string_equal(json_string_value(json_object_get(json, "event")), "job \"x\" settled");
	assert_string_equal(json_string_value(json_object_get(json, "job")), "8f2");
	assert_string_equal(json_string_value(json_object_get(json, "worker")), "w \"1\"");
	assert_true(json_is_true(json_object_get(json, "yes")));
	assert_true(json_is_false(json_object_get(json, "no")));
	assert_null(json_object_get(json, "nothing"));
	assert_string_equal(json_string_value(json_object_get(json, "empty")), "");
	assert_true(json_integer_value(json_object_get(json, "least")) == INT64_MIN);
	assert_float_equal(json_real_value(json_object_get(json, "share")), 0.25, 1e-9);
	assert_true(json_is_null(json_object_get(json, "none")));
	assert_true(json_is_null(json_object_get(json, "huge")));
	json_decref(json);
	close_log(&p);
}

static void test_levels(void **state)
{
	(void)state;
	char buf[LINE_MOST + 1];
	struct pipe_log p = open_log(LOG_WARN, LOG_TEXT);
	assert_true(log_wants(p.log, LOG_WARN));
	assert_false(log_wants(p.log, LOG_INFO));
	log_say(p.log, LOG_INFO, "unwanted");
	assert_int_equal(take(&p, buf, sizeof buf), 0);
	log_set_level(p.log, LOG_INFO);
	log_say(p.log, LOG_INFO, "wanted");
	assert_true(take(&p, buf, sizeof buf) > 0);
	log_say((struct log *)NULL, LOG_ERROR, "nobody listens");
	close_log(&p);
}

/* --- values --- */

#define REPLACED "\xef\xbf\xbd"

static const struct {
	const char *given;
	size_t len;
	const char *text; /* how it reads in a text line */
	const char *back; /* what a JSON parser makes of it; NULL: what was given */
} values[] = {
#define GIVEN(s) s, sizeof s - 1
    {GIVEN("plain-8f2/x:y"),				    "plain-8f2/x:y",                    NULL                      },
    {GIVEN(""),						 "\"\"",			     NULL                      },
    {GIVEN("two words"),					"\"two words\"",                    NULL                      },
    {GIVEN("a=b"),					      "\"a=b\"",                          NULL                      },
    {GIVEN("say \"hi\""),				       "\"say \\\"hi\\\"\"",               NULL                      },
    {GIVEN("C:\\x"),					    "\"C:\\\\x\"",                      NULL                      },
    {GIVEN("a\nb\tc\rd"),				       "\"a\\nb\\u0009c\\u000dd\"",        NULL                      },
    {GIVEN("\033[31mred\a"),				    "\"\\u001b[31mred\\u0007\"",        NULL                      },
    {GIVEN("\x7f"),					     "\"\\u007f\"",                      NULL                      },
    {GIVEN("\xc2\x9b"
	   "31m"),
				    "\"\\u009b31m\"",									      NULL                      }, /* CSI as one character */
    {GIVEN("a\xe2\x80\xae"
	   "txt.exe"),
				    "\"a\\u202etxt.exe\"",									 NULL                      }, /* right-to-left override */
    {GIVEN("\xe2\x81\xa6\xd8\x9c"),                             "\"\\u2066\\u061c\"",               NULL                      },
    {GIVEN("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa2"),
				    "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa2\"",                                        NULL                      },
    {GIVEN("\xc2\xa0"),					 "\"\xc2\xa0\"",                     NULL                      },
    {GIVEN("a\xff\xfe"),					"\"a\\ufffd\\ufffd\"",              "a" REPLACED REPLACED     },
    {GIVEN("a\x9b"
	   "31m"),
				    "\"a\\ufffd31m\"",									     "a" REPLACED "31m"        },
    {GIVEN("\xc3"),					     "\"\\ufffd\"",                      REPLACED                  }, /* cut off */
    {GIVEN("\xc0\xaf"),					 "\"\\ufffd\\ufffd\"",               REPLACED REPLACED         }, /* overlong */
    {GIVEN("\xe0\x80\xaf"),				     "\"\\ufffd\\ufffd\\ufffd\"",        REPLACED REPLACED REPLACED},
    {GIVEN("\xed\xa0\x80"),				     "\"\\ufffd\\ufffd\\ufffd\"",        REPLACED REPLACED REPLACED},
    {GIVEN("\xf4\x90\x80\x80"),				 "\"\\ufffd\\ufffd\\ufffd\\ufffd\"",
				    REPLACED REPLACED REPLACED REPLACED										      },
#undef GIVEN
};

static void test_values(void **state)
{
	(void)state;
	char line[LINE_MOST + 1];
	struct pipe_log text = open_log(LOG_INFO, LOG_TEXT), json = open_log(LOG_INFO, LOG_JSON);
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct span given = span_of(values[i].given, values[i].len);
		log_say(text.log, LOG_INFO, "e", kv_span("v", given), kv_int("n", 1));
		take_line(&text, line, sizeof line);
		assert_harmless(line);
		char want[100];
		(void)snprintf(want, sizeof want, " info  e v=%s n=1", values[i].text);
		assert_string_equal(line + 24, want);

		log_say(json.log, LOG_INFO, "e", kv_span("v", given), kv_int("n", 1));
		take_line(&json, line, sizeof line);
		assert_harmless(line);
		json_t *parsed = parse(line);
		assert_string_equal(json_string_value(json_object_get(parsed, "v")),
				    values[i].back != NULL ? values[i].back : values[i].given);
		assert_int_equal(json_integer_value(json_object_get(parsed, "n")), 1);
		json_decref(parsed);
	}
	close_log(&text);
	close_log(&json);
}

/* Any bytes at all: a line, harmless, and good JSON. */
static void test_random_values(void **state)
{
	(void)state;
	char line[LINE_MOST + 1], value[300];
	uint32_t random = 1;
	struct pipe_log text = open_log(LOG_INFO, LOG_TEXT), json = open_log(LOG_INFO, LOG_JSON);
	for (int round = 0; round < 5000; round++) {
		size_t len = (size_t)round % sizeof value;
		for (size_t i = 0; i < len; i++) {
			random = random * 1664525 + 1013904223;
			value[i] = (char)(random >> 24);
		}
		log_say(text.log, LOG_INFO, "e", kv_span("v", span_of(value, len)));
		take_line(&text, line, sizeof line);
		assert_harmless(line);
		log_say(json.log, LOG_INFO, "e", kv_span("v", span_of(value, len)));
		take_line(&json, line, sizeof line);
		assert_harmless(line);
		json_decref(parse(line));
	}
	close_log(&text);
	close_log(&json);
}

/* --- too long --- */

/* Around the limit by every length, with letters of one byte, of three, and of six once escaped. */
static void test_too_long(void **state)
{
	(void)state;
	static const char *const letters[] = {"x", "\xe2\x82\xac", "\033", "\""};
	static char value[3 * 5000];
	char line[LINE_MOST + 1];
	struct pipe_log p = open_log(LOG_INFO, LOG_JSON);
	for (size_t l = 0; l < sizeof letters / sizeof *letters; l++) {
		size_t step = strlen(letters[l]);
		for (size_t i = 0; i + step <= sizeof value; i += step)
			memcpy(value + i, letters[l], step);
		for (size_t n = 600; n < 4200; n++) {
			log_say(p.log, LOG_INFO, "e", kv_int("before", 1),
				kv_span("v", span_of(value, n * step)), kv_int("after", 1));
			size_t len = take_line(&p, line, sizeof line);
			json_t *json = parse(line);
			const char *v = json_string_value(json_object_get(json, "v"));
			assert_non_null(v);
			bool whole = strlen(v) == n * step && strcmp(v + strlen(v) - 1, ".") != 0;
			assert_true(whole || (len > LINE_MOST - 100 &&
					      strcmp(v + strlen(v) - 3, "...") == 0));
			json_decref(json);
		}
	}
	close_log(&p);
}

static void test_too_many_facts(void **state)
{
	(void)state;
	char line[LINE_MOST + 1];
	struct log_fact facts[1001] = {{0}};
	for (int i = 0; i < 1000; i++)
		facts[i] = i % 2 ? kv_text("fact", "\"quoted\"") : kv_int("number", i);
	struct pipe_log p = open_log(LOG_INFO, LOG_TEXT);
	log_write(p.log, LOG_INFO, "e", facts);
	size_t len = take_line(&p, line, sizeof line);
	assert_int_in_range(len, LINE_MOST - 100, LINE_MOST);
	/* The last fact is whole. */
	const char *last = strrchr(line, ' ') + 1;
	assert_true(strcmp(last, "fact=\"\\\"quoted\\\"\"") == 0 ||
		    (strncmp(last, "number=", 7) == 0 && last[7] >= '0' && last[7] <= '9'));
	close_log(&p);
}

/* --- a reader that does not read --- */

/* Fills the pipe: how many lines were said until one was dropped for sure. */
static size_t say_until_full(struct pipe_log *p)
{
	size_t said = 0;
	struct pollfd full = {.fd = p->fds[1], .events = POLLOUT};
	while (poll(&full, 1, 0) == 1) {
		log_say(p->log, LOG_INFO, "line", kv_int("n", (int64_t)said));
		said++;
	}
	return said;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;
	for (; (text = strchr(text, '\n')) != NULL; text++)
		n++;
	return n;
}

static void test_slow_reader(void **state)
{
	(void)state;
	static char buf[1 << 20];
	struct pipe_log p = open_log(LOG_INFO, LOG_TEXT);
	size_t said = say_until_full(&p);
	for (int i = 0; i < 7; i++)
		log_say(p.log, LOG_INFO, "lost"); /* returns: that is the point */
	take(&p, buf, sizeof buf);
	assert_int_equal(count_lines(buf), said);
	assert_null(strstr(buf, "lost"));
	log_say(p.log, LOG_INFO, "heard again");
	take(&p, buf, sizeof buf);
	assert_int_equal(count_lines(buf), 2);
	const char *told =
	    strstr(buf, " warn  log lines dropped, the reader was too slow lines=7\n");
	assert_non_null(told);
	assert_non_null(strstr(told, " info  heard again\n"));
	log_say(p.log, LOG_INFO, "and only once");
	take(&p, buf, sizeof buf);
	assert_int_equal(count_lines(buf), 1);
	close_log(&p);
}

static void test_reader_gone(void **state)
{
	(void)state;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(full >= 0);
	struct log *log = log_create(full, LOG_INFO, LOG_TEXT);
	log_say(log, LOG_INFO, "into nothing");
	log_say(log, LOG_INFO, "into nothing");
	log_destroy(log);
	assert_int_equal(close(full), 0);
}

/* --- threads --- */

enum { THREADS = 4, LINES_EACH = 3000 };

static void *say_lines(void *arg)
{
	for (int i = 0; i < LINES_EACH; i++)
		log_say(arg, LOG_INFO, "line", kv_text("pad", "                                "));
	return NULL;
}

/* Reads until everybody is done and the pipe is empty; counts lines, and those told as dropped. */
struct reading {
	struct pipe_log *p;
	atomic_bool over;
	size_t lines, dropped;
	bool torn;
};

static void count_line(struct reading *r, const char *line)
{
	const char *told = strstr(line, "the reader was too slow lines=");
	if (told != NULL)
		r->dropped += strtoul(told + 30, NULL, 10);
	else if (strstr(line, " info  line pad=\"                                \"") == NULL)
		r->torn = true;
	else
		r->lines++;
}

static void *read_lines(void *arg)
{
	struct reading *r = arg;
	static char buf[1 << 17];
	size_t have = 0;
	for (;;) {
		bool last = atomic_load(&r->over);
		ssize_t n = read(r->p->fds[0], buf + have, sizeof buf - have - 1);
		if (n <= 0) {
			if (last)
				return NULL;
			struct pollfd some = {.fd = r->p->fds[0], .events = POLLIN};
			(void)poll(&some, 1, 10);
			continue;
		}
		have += (size_t)n;
		buf[have] = '\0';
		char *line = buf, *end;
		for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			*end = '\0';
			count_line(r, line);
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
	}
}

static void test_threads(void **state)
{
	(void)state;
	struct pipe_log p = open_log(LOG_INFO, LOG_TEXT);
	struct reading reading = {.p = &p};
	pthread_t reader, writers[THREADS];
	assert_int_equal(pthread_create(&reader, NULL, read_lines, &reading), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, say_lines, p.log), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(writers[i], NULL), 0);
	atomic_store(&reading.over, true);
	assert_int_equal(pthread_join(reader, NULL), 0);
	/* One more, now that there is room: it tells what was dropped last. */
	log_say(p.log, LOG_INFO, "line", kv_text("pad", "                                "));
	atomic_store(&reading.over, true);
	(void)read_lines(&reading);
	assert_false(reading.torn);
	assert_int_equal(reading.lines + reading.dropped, THREADS * LINES_EACH + 1);
	close_log(&p);
}

/* Only where stderr is what systemd says it is. */
static void the_journal_gets_priorities(void **state)
{
	(void)state;
	char buf[LINE_MOST + 1], stream[64];
	struct pipe_log p = open_log(LOG_DEBUG, LOG_TEXT);
	struct stat st;
	assert_int_equal(fstat(p.fds[1], &st), 0);
	(void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev,
		       (uintmax_t)st.st_ino + 1);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	struct log *elsewhere = log_create(p.fds[1], LOG_DEBUG, LOG_TEXT);
	log_say(elsewhere, LOG_INFO, "plain");
	(void)take_line(&p, buf, sizeof buf);
	assert_int_equal(buf[0], '2');
	log_destroy(elsewhere);

	(void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev,
		       (uintmax_t)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	for (int json = 0; json < 2; json++) {
		static const char *const begins[] = {"<3>", "<4>", "<6>", "<7>"};
		struct log *log = log_create(p.fds[1], LOG_DEBUG, json != 0 ? LOG_JSON : LOG_TEXT);
		for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
			log_say(log, (enum log_level)level, "said");
			(void)take_line(&p, buf, sizeof buf);
			assert_memory_equal(buf, begins[level], 3);
			assert_int_equal(buf[3], json != 0 ? '{' : '2');
		}
		log_destroy(log);
	}
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	close_log(&p);
}

static void a_traceparent_becomes_its_trace(void **state)
{
	(void)state;
	static const struct {
		const char *traceparent, *line;
	} rows[] = {
	    {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	     " said trace=0af7651916cd43dd8448eb211c80319c"                      },
	    {"",							  " said"},
	    {"00-0af7651916cd43dd8448eb211c80319c",                       " said"},
	    {"00-0af7651916cd43dd8448eb211c80319cff-b7ad6b7169203331-01", " said"},
	};
	struct pipe_log p = open_log(LOG_INFO, LOG_TEXT);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char buf[LINE_MOST + 1];
		log_say(p.log, LOG_INFO, "said", kv_trace(rows[i].traceparent));
		(void)take_line(&p, buf, sizeof buf);
		assert_string_equal(strstr(buf, " said"), rows[i].line);
	}
	close_log(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_journal_gets_priorities),
	    cmocka_unit_test(a_traceparent_becomes_its_trace),
	    cmocka_unit_test(test_text_line),
	    cmocka_unit_test(test_json_line),
	    cmocka_unit_test(test_levels),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_random_values),
	    cmocka_unit_test(test_too_long),
	    cmocka_unit_test(test_too_many_facts),
	    cmocka_unit_test(test_slow_reader),
	    cmocka_unit_test(test_reader_gone),
	    cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
