/* sender, against a producer of our own on a real loop: the window, the order of things, and every way
 * it can end. */
#include "sources/sender.h"

#include "loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../cmocka_names.h"

/* What the fake broker does; it looks every millisecond. */
struct script {
	bool never_ready;
	uint64_t confirm_at_once; /* at most so many each time it looks */
	uint64_t fail_after;      /* confirmations; 0 = never */
	uint64_t refuse_send;     /* the number of the message that send() refuses; 0 = none */
	uint64_t stop_after;      /* the test stops the sender after so many were sent */
	bool never_closed;
};

struct fake {
	struct producer producer;
	struct script script;
	struct loop *loop;
	struct timer *tick;
	struct sender *sender;
	uint64_t sent, confirmed, most_on_the_way;
	bool ready, closing, destroyed, stopped;
	char last_body[32];
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void look(void *arg)
{
	struct fake *f = arg;
	timer_start(f->tick, 1);
	if (!f->ready && !f->script.never_ready) {
		f->ready = true;
		f->producer.events->ready(f->producer.arg);
	}
	if (f->script.stop_after != 0 && f->sent >= f->script.stop_after && !f->stopped) {
		f->stopped = true;
		sender_stop(f->sender);
		return;
	}
	uint64_t n = least(f->sent - f->confirmed, f->script.confirm_at_once);
	f->confirmed += n;
	if (n > 0)
		f->producer.events->confirmed(f->producer.arg, n);
	if (f->script.fail_after != 0 && f->confirmed >= f->script.fail_after) {
		struct error why;
		error_set(&why, ST_CLOSED, "the broker went away");
		f->script.fail_after = 0;
		f->producer.events->failed(f->producer.arg, &why);
	} else if (f->closing && !f->script.never_closed) {
		f->closing = false;
		f->producer.events->closed(f->producer.arg);
	}
}

static enum status fake_send(struct producer *producer, const struct producer_message *message,
			     struct error *why)
{
	struct fake *f = (struct fake *)producer;
	assert_true(f->ready);
	assert_false(f->closing);
	if (f->sent + 1 == f->script.refuse_send)
		return error_set(why, ST_INVALID, "no such message");
	f->sent++;
	if (f->sent - f->confirmed > f->most_on_the_way)
		f->most_on_the_way = f->sent - f->confirmed;
	(void)snprintf(f->last_body, sizeof f->last_body, "%.*s", (int)least(message->body.len, 31),
		       message->body.ptr);
	return ST_OK;
}

static void fake_close(struct producer *producer)
{
	struct fake *f = (struct fake *)producer;
	assert_int_equal(f->confirmed, f->sent); /* not before everything is safe */
	f->closing = true;
}

static void fake_destroy(struct producer *producer)
{
	struct fake *f = (struct fake *)producer;
	assert_false(f->destroyed);
	f->destroyed = true;
	timer_stop(f->tick);
}

static const struct producer_ops fake_ops = {
    .kind = "fake", .send = fake_send, .close = fake_close, .destroy = fake_destroy};

/* --- one run --- */

struct run {
	struct loop *loop;
	struct fake fake;
	struct sender_result result;
	unsigned ended;
	char body[32];
};

static void on_ended(void *arg)
{
	struct run *run = arg;
	run->ended++;
	loop_stop(run->loop);
}

static struct span compose(void *arg, uint64_t number)
{
	struct run *run = arg;
	int len = snprintf(run->body, sizeof run->body, "job %llu", (unsigned long long)number);
	return span_of(run->body, (size_t)len);
}

static void run_plan(struct run *run, struct script script, struct sender_plan plan)
{
	struct fake *f = &run->fake;
	memset(run, 0, sizeof *run);
	assert_int_equal(loop_create(&run->loop, NULL), ST_OK);
	plan.ended = on_ended;
	plan.arg = run;
	f->script = script;
	f->tick = timer_create_on(run->loop, look, f);
	f->sender = sender_create(run->loop, &plan);
	assert_non_null(f->tick);
	assert_non_null(f->sender);
	f->producer =
	    (struct producer){.ops = &fake_ops, .events = &sender_events, .arg = f->sender};
	timer_start(f->tick, 1);
	sender_start(f->sender, &f->producer);
	loop_run(run->loop);
	run->result = *sender_result(f->sender);
	sender_destroy(f->sender);
	assert_true(f->destroyed);
	assert_int_equal(run->ended, 1);
	timer_destroy(f->tick);
	loop_destroy(run->loop);
}

static struct sender_plan plan_of(uint64_t count, struct span body)
{
	return (struct sender_plan){
	    .count = count, .message = {.body = body}, .connect_ms = 5000, .quiet_ms = 5000};
}

static void assert_result(const struct run *run, enum status st, uint64_t sent, uint64_t confirmed)
{
	assert_int_equal(run->result.status, st);
	assert_int_equal(run->result.sent, sent);
	assert_int_equal(run->result.confirmed, confirmed);
	assert_int_equal(run->fake.sent, sent);
}

/* --- the ways to go --- */

static void test_all_confirmed(void **state)
{
	(void)state;
	struct run run;
	run_plan(&run, (struct script){.confirm_at_once = UINT64_MAX},
		 plan_of(1, span_text("hello")));
	assert_result(&run, ST_OK, 1, 1);
	assert_string_equal(run.fake.last_body, "hello");
	run_plan(&run, (struct script){.confirm_at_once = 777}, plan_of(20000, span_text("")));
	assert_result(&run, ST_OK, 20000, 20000);
	assert_int_equal(run.fake.most_on_the_way, 1000);
}

static void test_composed_bodies(void **state)
{
	(void)state;
	struct run run;
	struct sender_plan plan = plan_of(1234, span_text(""));
	plan.compose = compose;
	run_plan(&run, (struct script){.confirm_at_once = 100}, plan);
	assert_result(&run, ST_OK, 1234, 1234);
	assert_string_equal(run.fake.last_body, "job 1234");
}

/* Large bodies: eight megabytes on the way, or one body where even that is more. */
static void test_large_bodies(void **state)
{
	(void)state;
	struct run run;
	static char body[9 << 20];
	run_plan(&run, (struct script){.confirm_at_once = 1}, plan_of(30, span_of(body, 1 << 20)));
	assert_result(&run, ST_OK, 30, 30);
	assert_int_equal(run.fake.most_on_the_way, 8);
	run_plan(&run, (struct script){.confirm_at_once = 9},
		 plan_of(5, span_of(body, sizeof body)));
	assert_result(&run, ST_OK, 5, 5);
	assert_int_equal(run.fake.most_on_the_way, 1);
}

/* --- the ways to fail --- */

static void test_never_ready(void **state)
{
	(void)state;
	struct run run;
	struct sender_plan plan = plan_of(10, span_text("x"));
	plan.connect_ms = 30;
	run_plan(&run, (struct script){.never_ready = true}, plan);
	assert_result(&run, ST_TIMEOUT, 0, 0);
}

static void test_never_confirmed(void **state)
{
	(void)state;
	struct run run;
	struct sender_plan plan = plan_of(10, span_text("x"));
	plan.quiet_ms = 30;
	run_plan(&run, (struct script){.confirm_at_once = 0}, plan);
	assert_result(&run, ST_TIMEOUT, 10, 0);
}

static void test_gone(void **state)
{
	(void)state;
	struct run run;
	run_plan(&run, (struct script){.confirm_at_once = 300, .fail_after = 1500},
		 plan_of(50000, span_text("x")));
	assert_int_equal(run.result.status, ST_CLOSED);
	assert_string_equal(run.result.why.text, "the broker went away");
	assert_int_equal(run.result.confirmed, 1500);
	assert_int_in_range(run.result.sent, 1500, 2500);
}

static void test_refused_message(void **state)
{
	(void)state;
	struct run run;
	run_plan(&run, (struct script){.confirm_at_once = 1, .refuse_send = 3},
		 plan_of(5, span_text("x")));
	assert_int_equal(run.result.status, ST_INVALID);
	assert_string_equal(run.result.why.text, "no such message");
	assert_int_equal(run.result.sent, 2);
}

/* Everything is safe: a farewell that fails, or never ends, changes nothing. */
static void test_trouble_at_the_close(void **state)
{
	(void)state;
	struct run run;
	struct sender_plan plan = plan_of(10, span_text("x"));
	run_plan(&run,
		 (struct script){.confirm_at_once = 10, .fail_after = 10, .never_closed = true},
		 plan);
	assert_int_equal(run.result.confirmed, 10);
	plan.quiet_ms = 30;
	run_plan(&run, (struct script){.confirm_at_once = 10, .never_closed = true}, plan);
	assert_result(&run, ST_OK, 10, 10);
}

/* --- stopped --- */

static void test_stopped(void **state)
{
	(void)state;
	struct run run;
	run_plan(&run, (struct script){.confirm_at_once = 100, .stop_after = 3000},
		 plan_of(UINT64_MAX, span_text("x")));
	assert_int_equal(run.result.status, ST_OK);
	assert_true(run.result.sent >= 3000 && run.result.sent < 5000);
	assert_int_equal(run.result.confirmed,
			 run.result.sent); /* what was on the way is awaited */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_confirmed),   cmocka_unit_test(test_composed_bodies),
	    cmocka_unit_test(test_large_bodies),    cmocka_unit_test(test_never_ready),
	    cmocka_unit_test(test_never_confirmed), cmocka_unit_test(test_gone),
	    cmocka_unit_test(test_refused_message), cmocka_unit_test(test_trouble_at_the_close),
	    cmocka_unit_test(test_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
