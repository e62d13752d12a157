/* supervisord's answers: as Python's library writes them, and as nobody should. Every answer is also cut
 * off at each byte: it is understood when it is whole, and never before. */
#include "managers/supervisord_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMBER(name, type, value)                                                                  \
	"<member>\n<name>" name "</name>\n<value><" type ">" value "</" type                       \
	"></value>\n</member>\n"
#define PROGRAM(group, name, secs, sig, more)                                                      \
	"<value><struct>\n" MEMBER("autostart", "boolean", "1")                                    \
	    MEMBER("command", "string", "x &lt;name&gt;stopwaitsecs&lt;/name&gt;")                 \
		MEMBER("group", "string", group) more MEMBER("name", "string", name)               \
		    MEMBER("stopsignal", "int", sig)                                               \
			MEMBER("stopwaitsecs", "int", secs) "</struct></value>\n"
#define ANSWER(programs)                                                                           \
	"<?xml "                                                                                   \
	"version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n" programs    \
	"</data></array></value>\n</param>\n</params>\n</methodResponse>\n"
#define KILL(value) MEMBER("killasgroup", "boolean", value)
#define STOP(value) MEMBER("stopasgroup", "boolean", value)

static const char two[] =
    ANSWER(PROGRAM("mail", "mail_00", "10", "15", KILL("0"))
	       PROGRAM("mail", "mail_01", "600", "3", KILL("1"))
		   PROGRAM("R&amp;D", "a &lt;b&gt;", "7", "2", STOP("1") KILL("1")));

static char *http(const char *status, const char *body, bool with_length)
{
	char *answer, length[64] = "";
	if (with_length)
		(void)snprintf(length, sizeof length, "content-length:  %zu\r\n", strlen(body));
	assert_true(asprintf(&answer, "HTTP/1.0 %s\r\nServer: Medusa\r\n%sDate: today\r\n\r\n%s",
			     status, length, body) > 0);
	return answer;
}

static void test_who_we_are(void **state)
{
	static const struct {
		const char *group, *process;
		uint64_t stopwaitsecs; /* 0: it is not known there */
		int stopsignal;
		enum supervisord_group stop;
	} rows[] = {
	    {"mail",    "mail_00",  10,  15, GROUP_SPARED },
            {"mail",    "mail_01",  600, 3,  GROUP_UNKNOWN},
	    {NULL,      "mail_01",  600, 3,  GROUP_UNKNOWN},
            {"R&D",     "a <b>",    7,   2,  GROUP_TOO    },
	    {"mail",    "mail_0",   0,   0,  GROUP_UNKNOWN},
            {"mail",    "mail_000", 0,   0,  GROUP_UNKNOWN},
	    {"web",     "mail_00",  0,   0,  GROUP_UNKNOWN},
            {"R&amp;D", "a <b>",    0,   0,  GROUP_UNKNOWN},
	};
	char *answer = http("200 OK", two, true);
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct supervisord_program program = {0};
		struct error why;
		enum status st = supervisord_answer_read(span_text(answer), rows[i].group,
							 rows[i].process, &program, &why);
		assert_int_equal(st, rows[i].stopwaitsecs != 0 ? ST_OK : ST_MISSING);
		assert_int_equal(program.stopwaitsecs, rows[i].stopwaitsecs);
		assert_int_equal(program.stopsignal, rows[i].stopsignal);
		assert_int_equal(program.stop, rows[i].stop);
	}
	free(answer);
}

static const char shutting_down[] =
    "<methodResponse><fault><value><struct>" MEMBER("faultCode", "int", "6")
	MEMBER("faultString", "string", "SHUTDOWN_STATE") "</struct></value></fault>";
static const char nobody[] = ANSWER("");
static const char no_time[] = ANSWER(PROGRAM("g", "p", "", "15", ""));
static const char less_than_none[] = ANSWER(PROGRAM("g", "p", "-1", "15", ""));
static const char no_signal[] = ANSWER(PROGRAM("g", "p", "10", "65", ""));
static const char too_long[] = ANSWER(PROGRAM("g", "p", "99999999999999999999999", "15", ""));

static void test_what_is_not_an_answer(void **state)
{
	static const struct {
		const char *status, *body;
		enum status st;
		const char *why;
	} rows[] = {
	    {"401 Unauthorized",          "",                        ST_AUTH,    "SUPERVISOR_PASSWORD"   },
	    {"500 Internal Server Error", "",                        ST_REFUSED, "status 500"            },
	    {"x00 OK",                    "",                        ST_PROTO,   "not HTTP"              },
	    {"200 OK",                    "<html>",                  ST_PROTO,   "not XML-RPC"           },
	    {"200 OK",                    "",                        ST_PROTO,   "not XML-RPC"           },
	    {"200 OK",                    shutting_down,             ST_REFUSED, "it says SHUTDOWN_STATE"},
	    {"200 OK",                    "<methodResponse><fault>", ST_REFUSED, "it says "              },
	    {"200 OK",                    nobody,                    ST_MISSING, "g:p"                   },
	    {"200 OK",                    no_time,                   ST_PROTO,   "no stopwaitsecs"       },
	    {"200 OK",                    less_than_none,            ST_PROTO,   "no stopwaitsecs"       },
	    {"200 OK",                    no_signal,                 ST_PROTO,   "no stopwaitsecs"       },
	    {"200 OK",                    too_long,                  ST_PROTO,   "no stopwaitsecs"       },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct supervisord_program program = {.stopsignal = -1};
		struct error why;
		char *answer = http(rows[i].status, rows[i].body, true);
		assert_true(supervisord_answer_is_whole(span_text(answer)));
		assert_int_equal(
		    supervisord_answer_read(span_text(answer), "g", "p", &program, &why),
		    rows[i].st);
		if (strstr(why.text, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, why.text);
		assert_int_equal(program.stopsignal, -1);
		free(answer);
	}
}

/* In memory of its own, so that a sanitizer sees a read behind its end. */
static void read_cut(const char *whole, size_t len, bool with_length)
{
	struct supervisord_program program;
	struct error why;
	char *cut = malloc(len > 0 ? len : 1);
	memcpy(cut, whole, len);
	struct span answer = span_of(cut, len);
	bool is_whole = len == strlen(whole);
	assert_int_equal(supervisord_answer_is_whole(answer), with_length && is_whole);
	enum status st = supervisord_answer_read(answer, "R&D", "a <b>", &program, &why);
	if (with_length)
		assert_int_equal(st == ST_OK, is_whole);
	free(cut);
}

static void test_cut_off_anywhere(void **state)
{
	(void)state;
	for (int with_length = 0; with_length < 2; with_length++) {
		char *answer = http("200 OK", two, with_length != 0);
		for (size_t len = 0; len <= strlen(answer); len++)
			read_cut(answer, len, with_length != 0);
		free(answer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_who_we_are),
	    cmocka_unit_test(test_what_is_not_an_answer),
	    cmocka_unit_test(test_cut_off_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
