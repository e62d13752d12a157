/* Which request gets which answer, and what it does to the drain. */
#include "admin/pages.h"

#include "../small_core.h"
#include "loop/loop.h"
#include "observe/view.h"
#include "sources/census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct desk {
	struct small_core s;
	struct pages pages;
};

static void look(const struct pages *pages, struct view *ret_view)
{
	const struct desk *d = list_entry(pages, const struct desk, pages);
	*ret_view = (struct view){
	    .core = &d->s.core, .name = "w", .now_ns = d->s.now_ns, .started_ns = 990 * SMALL_S};
}

static const struct gate unix_gate = {.is_unix = true};
static const struct gate tcp_gate = {0};

static void set_up(struct desk *d)
{
	small_core_init(&d->s, 0, "emails");
	d->pages = (struct pages){.core = &d->s.core, .look = look};
}

static void ask(struct desk *d, const struct gate *gate, const struct request *request,
		struct answer *ret_answer)
{
	pages_answer(&d->pages, gate, request, ret_answer);
	assert_false(ret_answer->made.failed);
}

static bool says(const struct answer *answer, const char *what)
{
	struct span body = answer_body(answer);
	return memmem(body.ptr, body.len, what, strlen(what)) != NULL;
}

static void expect(struct desk *d, const struct gate *gate, struct request request, unsigned status,
		   const char *what)
{
	struct answer answer;
	ask(d, gate, &request, &answer);
	struct span body = answer_body(&answer);
	if (answer.how != ANSWER_NOW || answer.status != status || !says(&answer, what))
		fail_msg("%s %s: %u %.*s", request.method, request.path, answer.status,
			 (int)body.len, body.ptr);
	assert_non_null(answer.type);
	answer_fini(&answer);
}

#define GET(where)  ((struct request){.method = "GET", .path = (where)})
#define POST(where) ((struct request){.method = "POST", .path = (where)})

static void test_reading(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		unsigned status;
		const char *what;
	} rows[] = {
	    {"/livez",       200, "{\"status\":\"alive\"}\n"  },
	    {"/readyz",      200, "{\"status\":\"ready\"}\n"  },
	    {"/health",      200, "{\"status\":\"healthy\"}\n"},
	    {"/metrics",     200, "\noutfall_concurrency 4\n" },
	    {"/status",      200, "\"state\":\"open\""        },
	    {"/",            200, "<!doctype html>"           },
	    {"/page.css",    200, "prefers-color-scheme"      },
	    {"/page.js",     200, "WebSocket"                 },
	    {"/favicon.svg", 200, "<svg"                      },
	    {"/events",      426, "WebSocket"                 },
	    {"/nothing",     404, "no such page"              },
	    {"/status/",     404, "no such page"              },
	    {"/drain",       405, "method"                    },
	    {"",             404, "no such page"              },
	};
	struct desk d;
	set_up(&d);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		expect(&d, &unix_gate, GET(rows[i].path), rows[i].status, rows[i].what);
		expect(&d, &tcp_gate, GET(rows[i].path), rows[i].status, rows[i].what);
	}
	expect(&d, &tcp_gate, (struct request){.method = "HEAD", .path = "/health"}, 200,
	       "healthy");
	expect(&d, &unix_gate, POST("/status"), 405, "method");
	expect(&d, &tcp_gate, POST("/nothing"), 403, "only reading");
	expect(&d, &unix_gate, GET("/status"), 200, "\"control\":\"all\"");
	expect(&d, &tcp_gate, GET("/status"), 200, "\"control\":\"none\"");
	expect(&d, &(struct gate){.token = "t"}, GET("/status"), 200, "\"control\":\"token\"");
	small_core_fini(&d.s);
}

static void test_quiet_and_back(void **state)
{
	(void)state;
	struct desk d;
	set_up(&d);
	expect(&d, &tcp_gate, POST("/quiet"), 403, "only reading");
	assert_int_equal(d.s.core.drain.phase, PHASE_OPEN);
	expect(&d, &unix_gate, POST("/quiet"), 200, "{\"status\":\"quiet\"}");
	assert_int_equal(d.s.core.drain.phase, PHASE_QUIET);
	assert_int_equal(d.s.source.intake, INTAKE_SHUT);
	expect(&d, &unix_gate, POST("/quiet"), 200, "quiet");
	expect(&d, &tcp_gate, GET("/health"), 200, "healthy"); /* it still works what it has */
	expect(&d, &tcp_gate, GET("/readyz"), 503, "\"why\":\"it is quiet\"");
	expect(&d, &unix_gate, POST("/resume"), 200, "open");
	assert_int_equal(d.s.core.drain.phase, PHASE_OPEN);
	small_core_fini(&d.s);
}

struct fake_reload {
	bool draining, over, good;
	unsigned asked;
};

static uint64_t ask_for_reload(void *arg, struct error *why)
{
	struct fake_reload *r = arg;
	if (r->draining)
		(void)error_set(why, ST_REFUSED, "draining");
	return r->draining ? 0 : ++r->asked;
}

static bool answer_reload(void *arg, uint64_t number, struct text *says, enum status *ret_status,
			  struct error *why)
{
	const struct fake_reload *r = arg;
	assert_int_equal(number, r->asked);
	*ret_status = r->good ? ST_OK : error_set(why, ST_INVALID, "nothing is changed: 1 error");
	if (r->over && r->good)
		text_put_literal(says, "{\"status\":\"reloaded\"}\n");
	return r->over;
}

static void test_reload(void **state)
{
	(void)state;
	struct desk d;
	struct fake_reload r = {.over = true};
	set_up(&d);
	d.pages.reloading = (struct reloading){ask_for_reload, answer_reload, &r};
	expect(&d, &unix_gate, POST("/reload"), 409, "{\"error\":\"nothing is changed: 1 error\"}");
	r.good = true;
	expect(&d, &unix_gate, POST("/reload"), 200, "{\"status\":\"reloaded\"}");
	expect(&d, &tcp_gate, POST("/reload"), 403, "only reading");
	r.draining = true;
	expect(&d, &unix_gate, POST("/reload"), 409, "draining");
	small_core_fini(&d.s);
}

static void test_drain(void **state)
{
	(void)state;
	struct desk d;
	set_up(&d);
	struct job *a = small_deliver(&d.s, "a");
	core_begin_jobs(&d.s.core);
	struct request by = {.method = "POST", .path = "/extend", .by = "1m"};
	expect(&d, &unix_gate, by, 409, "no drain is under way");
	expect(&d, &unix_gate, POST("/drain"), 202, "draining");
	core_drain_turn(&d.s.core);
	assert_int_equal(d.s.core.drain.phase, PHASE_FINISHING);
	assert_string_equal(d.s.core.drain.report.why, PAGES_DRAIN_WHY);
	expect(&d, &tcp_gate, GET("/health"), 503, "{\"status\":\"draining\"}\n");
	expect(&d, &tcp_gate, GET("/readyz"), 503, "\"status\":\"draining\"");
	expect(&d, &tcp_gate, GET("/livez"), 200, "alive");
	expect(&d, &tcp_gate, GET("/status"), 200, "\"waiting_for\":\"1 running");
	expect(&d, &unix_gate, POST("/quiet"), 409, "cannot be taken back");
	expect(&d, &unix_gate, POST("/resume"), 409, "cannot be taken back");
	/* Asked again, long after: it does not hurry. */
	d.s.now_ns += 5 * SMALL_S;
	expect(&d, &unix_gate, POST("/drain"), 202, "draining");
	core_drain_turn(&d.s.core);
	assert_int_equal(d.s.core.drain.phase, PHASE_FINISHING);
	uint64_t before_ns = d.s.core.drain.times.end_ns;
	expect(&d, &unix_gate, by, 200, "extended");
	assert_int_equal(d.s.core.drain.times.end_ns - before_ns, 60 * SMALL_S);
	expect(&d, &unix_gate, POST("/extend"), 400, "by is needed");
	by.by = "soon";
	expect(&d, &unix_gate, by, 400, "by is needed");
	small_finish(&d.s, a);
	core_drain_turn(&d.s.core);
	assert_true(core_is_closed(&d.s.core));
	small_core_fini(&d.s);
}

static void nobody_counts(void *arg)
{
	(void)arg;
}

static void test_waits(void **state)
{
	(void)state;
	static const struct {
		const char *wait;
		unsigned status; /* 0: it waits */
		uint64_t wait_ms;
	} rows[] = {
	    {"60s",  0,   60000     },
            {"none", 0,   UINT64_MAX},
            {"",     0,   UINT64_MAX},
            {"60",   400, 0         },
	    {"soon", 400, 0         },
            {"true", 0,   UINT64_MAX},
            {"no",   202, 0         },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct desk d;
		struct answer answer;
		set_up(&d);
		struct request r = {.method = "POST", .path = "/drain", .wait = rows[i].wait};
		ask(&d, &unix_gate, &r, &answer);
		assert_int_equal(answer.status, rows[i].status);
		assert_int_equal(answer.how == ANSWER_AT_THE_END, rows[i].status == 0);
		/* What is not understood does nothing. */
		assert_int_equal(phase_is_stopping(d.s.core.drain.phase), rows[i].status != 400);
		if (rows[i].status == 0)
			assert_true(answer.wait_ms == rows[i].wait_ms);
		answer_fini(&answer);
		small_core_fini(&d.s);
	}
}

/* Nobody else takes: with "refuse" a quiet that is not forced waits for the count. */
static void test_force(void **state)
{
	(void)state;
	static const struct {
		const char *force;
		unsigned status; /* 0: it waits for the count */
	} rows[] = {
	    {NULL,    0  },
            {"",      200},
            {"1",     200},
            {"TRUE",  200},
            {"yes",   200},
	    {"false", 0  },
            {"0",     0  },
            {"no",    0  },
            {"x",     400},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct desk d;
		struct answer answer;
		struct loop *loop;
		set_up(&d);
		assert_int_equal(loop_create(&loop, NULL), ST_OK);
		d.pages.last_consumer = LAST_CONSUMER_REFUSE;
		d.pages.census = census_create(loop, &d.s.core.roster, nobody_counts, NULL);
		struct request r = {.method = "POST", .path = "/quiet", .force = rows[i].force};
		ask(&d, &unix_gate, &r, &answer);
		assert_int_equal(answer.status, rows[i].status);
		assert_int_equal(answer.how == ANSWER_WHEN_COUNTED, rows[i].status == 0);
		answer_fini(&answer);
		census_destroy(d.pages.census);
		loop_destroy(loop);
		small_core_fini(&d.s);
	}
}

static void test_the_end(void **state)
{
	(void)state;
	struct desk d;
	struct answer answer;
	set_up(&d);
	struct job *a = small_deliver(&d.s, "a");
	core_begin_jobs(&d.s.core);
	core_event(&d.s.core, EVENT_STOP, PAGES_DRAIN_WHY);
	core_drain_turn(&d.s.core);
	pages_wait_over(&d.pages, &answer);
	assert_int_equal(answer.status, 202);
	assert_true(says(&answer, "\"state\":\"finishing\""));
	answer_fini(&answer);
	small_finish(&d.s, a);
	core_drain_turn(&d.s.core);
	pages_wait_over(&d.pages, &answer);
	assert_int_equal(answer.status, 200);
	assert_true(says(&answer, "\"goodbye\":{\"why\":\"POST /drain\",\"exit_code\":0}"));
	answer_fini(&answer);
	struct request feed = {.method = "GET",
			       .path = "/events",
			       .upgrade = "websocket",
			       .websocket_key = "dGhlIHNhbXBsZSBub25jZQ==",
			       .websocket_version = "13"};
	expect(&d, &unix_gate, feed, 503, "drained");
	small_core_fini(&d.s);
}

static void test_feed(void **state)
{
	(void)state;
	struct desk d;
	struct answer answer;
	set_up(&d);
	struct request feed = {.method = "GET",
			       .path = "/events",
			       .upgrade = "WebSocket",
			       .websocket_key = "dGhlIHNhbXBsZSBub25jZQ==",
			       .websocket_version = "13"};
	ask(&d, &tcp_gate, &feed, &answer);
	assert_int_equal(answer.how, ANSWER_FEED);
	assert_string_equal(answer.websocket_accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	answer_fini(&answer);
	feed.websocket_version = "8";
	expect(&d, &tcp_gate, feed, 426, "version 13");
	feed.websocket_version = "13";
	feed.websocket_key = "short";
	expect(&d, &tcp_gate, feed, 400, "no key");
	feed.websocket_key = NULL;
	expect(&d, &tcp_gate, feed, 426, "WebSocket");
	feed.upgrade = "h2c";
	expect(&d, &tcp_gate, feed, 426, "WebSocket");
	small_core_fini(&d.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reading), cmocka_unit_test(test_quiet_and_back),
	    cmocka_unit_test(test_reload),  cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_waits),   cmocka_unit_test(test_the_end),
	    cmocka_unit_test(test_feed),    cmocka_unit_test(test_force),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
