/* Who begins next, and when a place is free: the real dispatch on a fake executor. */
#include "dispatch/dispatch.h"

#include "base/clock.h"
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "job/ledger.h"
#include "sources/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct place { /* one handler and what was begun there, in order */
	struct executor executor;
	struct lane *lane;
	struct job *begun[64];
	size_t n_begun;
	enum stop_how asked[64]; /* parallel to `stopped` */
	struct job *stopped[64];
	size_t n_stopped;
};

struct floor_of_test {
	struct clock clock;
	uint64_t now_ns;
	struct ledger ledger;
	struct roster roster;
	struct dispatch dispatch;
};

static uint64_t test_now(const struct clock *clock)
{
	return list_entry(clock, struct floor_of_test, clock)->now_ns;
}

static void start(struct executor *executor, struct job *job)
{
	struct place *p = list_entry(executor, struct place, executor);
	job->begun_ns = job->given_ns;
	p->begun[p->n_begun++] = job;
}

static void stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct place *p = list_entry(executor, struct place, executor);
	p->asked[p->n_stopped] = how;
	p->stopped[p->n_stopped++] = job;
}

static uint64_t begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static const struct executor_ops ops = {.start = start, .stop = stop, .begun_ns = begun_ns};

static void set_up(struct floor_of_test *f, unsigned concurrency)
{
	f->clock.now_ns = test_now;
	f->now_ns = 1000;
	ledger_init(&f->ledger);
	roster_init(&f->roster);
	dispatch_init(&f->dispatch, &f->clock, &f->ledger, &f->roster, concurrency);
}

static void add_place(struct floor_of_test *f, struct place *p, unsigned width, unsigned depth,
		      uint64_t timeout_ms)
{
	*p = (struct place){
	    .executor = {.ops = &ops, .width = width, .depth = depth}
	     };
	p->lane = roster_add_lane(&f->roster, &p->executor, timeout_ms);
}

static struct route *add_route(struct floor_of_test *f, struct place *p, unsigned limit)
{
	static struct source source = {.name = "mq"};
	return roster_add_route(&f->roster, "queue", &source, p->lane, NULL, limit);
}

static void hold(struct floor_of_test *f, struct route *route, unsigned jobs)
{
	for (unsigned i = 0; i < jobs; i++) {
		char id[16];
		(void)snprintf(id, sizeof id, "%u", i);
		struct job_facts facts = {.route = route, .id = span_text(id)};
		struct job *job = job_create(&facts);
		ledger_admit(&f->ledger, job);
		dispatch_hold(&f->dispatch, job);
	}
}

static void end(struct floor_of_test *f, struct job *job)
{
	ledger_finish(&f->ledger, job);
	dispatch_release(&f->dispatch, job);
	ledger_drop(&f->ledger, job);
	job_destroy(job);
}

static void tear_down(struct floor_of_test *f)
{
	for (int state = 0; state < JOB_STATES; state++) {
		list_each_safe (it, &f->ledger.lists[state]) {
			struct job *job = list_entry(it, struct job, in_ledger);
			ledger_drop(&f->ledger, job);
			job_destroy(job);
		}
	}
	roster_fini(&f->roster);
}

static void three_limits(void **state)
{
	(void)state;
	static const struct {
		unsigned worker, width, queue, held, begun;
	} rows[] = {
	    {16, 8, 0,  20, 8},
	       {4,  8, 0,	 20, 4},
		 {16, 8, 3,  20, 3},
	     {16, 8, 0,	5,  5},
	    {16, 8, 8,  20, 8},
	       {1,  1, 1,	 1,  1},
		 {16, 8, 99, 20, 8},
	     {16, 8, 1,	0,  0},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct floor_of_test f;
		struct place p;
		set_up(&f, rows[i].worker);
		add_place(&f, &p, rows[i].width, rows[i].width, 0);
		hold(&f, add_route(&f, &p, rows[i].queue), rows[i].held);
		dispatch_pump(&f.dispatch);
		assert_int_equal(p.n_begun, rows[i].begun);
		/* each end makes room for exactly one more */
		unsigned left = rows[i].held - rows[i].begun;
		for (size_t ended = 0; ended < p.n_begun; ended++) {
			end(&f, p.begun[ended]);
			dispatch_pump(&f.dispatch);
		}
		assert_int_equal(p.n_begun, rows[i].begun + left);
		assert_int_equal(f.dispatch.budget.taken, 0);
		tear_down(&f);
	}
}

static void queues_take_turns(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct place p;
	set_up(&f, 1);
	add_place(&f, &p, 4, 4, 0);
	struct route *full = add_route(&f, &p, 0), *small = add_route(&f, &p, 0);
	hold(&f, full, 20);
	hold(&f, small, 3);
	dispatch_pump(&f.dispatch);
	for (size_t i = 0; i < 6; i++) {
		struct route *expected = i % 2 == 0 ? full : small;
		assert_int_equal(p.n_begun, i + 1);
		assert_ptr_equal(p.begun[i]->route, expected);
		end(&f, p.begun[i]);
		dispatch_pump(&f.dispatch);
	}
	tear_down(&f);
}

static void handlers_take_turns_for_permits(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct place a, b;
	set_up(&f, 1);
	add_place(&f, &a, 4, 4, 0);
	add_place(&f, &b, 4, 4, 0);
	hold(&f, add_route(&f, &a, 0), 5);
	hold(&f, add_route(&f, &b, 0), 5);
	dispatch_pump(&f.dispatch);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(a.n_begun, i + 1);
		assert_int_equal(b.n_begun, i);
		end(&f, a.begun[i]);
		dispatch_pump(&f.dispatch);
		assert_int_equal(b.n_begun, i + 1);
		end(&f, b.begun[i]);
		dispatch_pump(&f.dispatch);
	}
	tear_down(&f);
}

/* A permit that one handler cannot use any more must reach the other. */
static void a_permit_is_not_lost(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct place running, emptied, waiting;
	set_up(&f, 1);
	add_place(&f, &running, 1, 1, 0);
	add_place(&f, &emptied, 1, 1, 0);
	add_place(&f, &waiting, 1, 1, 0);
	hold(&f, add_route(&f, &running, 0), 1);
	dispatch_pump(&f.dispatch);
	struct route *gone = add_route(&f, &emptied, 0);
	hold(&f, gone, 1);
	hold(&f, add_route(&f, &waiting, 0), 1);
	dispatch_pump(&f.dispatch); /* both are starved now */
	struct job *job = dispatch_first_held(gone);
	dispatch_forget(&f.dispatch, job);
	ledger_drop(&f.ledger, job);
	job_destroy(job);
	end(&f, running.begun[0]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(emptied.n_begun, 0);
	assert_int_equal(waiting.n_begun, 1);
	tear_down(&f);
}

/* Short jobs are staged beyond the width, more and more; slow ones not at all. */
static void the_stage_follows_the_jobs(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct place p;
	set_up(&f, 16);
	add_place(&f, &p, 2, 16, 0);
	hold(&f, add_route(&f, &p, 0), 50);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 4);
	assert_int_equal(f.dispatch.budget.taken, 2); /* what is staged needs no permit */
	size_t ended = 0;
	for (int round = 0; round < 2; round++) {
		size_t upto = p.n_begun;
		for (; ended < upto; ended++)
			end(&f, p.begun[ended]);
		dispatch_pump(&f.dispatch);
	}
	assert_int_equal(p.lane->assigned, 16);
	for (int slow = 0; slow < 8; slow++, ended++) {
		p.begun[ended]->begun_ns += 50 * 1000 * 1000; /* it lay there for 50 ms */
		end(&f, p.begun[ended]);
	}
	assert_int_equal(p.lane->ahead, 0);
	size_t before = p.n_begun;
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, before);
	tear_down(&f);
}

static void overdue_jobs_are_asked_then_killed(void **state)
{
	(void)state;
	enum { MS = 1000000 };
	for (int can_kill = 0; can_kill < 2; can_kill++) {
		struct floor_of_test f;
		struct place p;
		set_up(&f, 16);
		add_place(&f, &p, 4, 4, 100);
		p.executor.can_kill = can_kill != 0;
		hold(&f, add_route(&f, &p, 0), 1);
		dispatch_pump(&f.dispatch);
		assert_int_equal(f.dispatch.next_timeout_ns, f.now_ns + 100 * MS);
		f.now_ns += 99 * MS;
		dispatch_check_timeouts(&f.dispatch, 50 * MS);
		assert_int_equal(p.n_stopped, 0);
		f.now_ns += 1 * MS;
		dispatch_check_timeouts(&f.dispatch, 50 * MS);
		assert_int_equal(p.n_stopped, 1);
		assert_int_equal(p.asked[0], STOP_ASK);
		assert_int_equal(p.begun[0]->stop, JOB_STOPPED_BY_TIMEOUT);
		f.now_ns += 50 * MS;
		dispatch_check_timeouts(&f.dispatch, 50 * MS);
		assert_int_equal(p.n_stopped, can_kill ? 2 : 1);
		if (can_kill)
			assert_int_equal(p.asked[1], STOP_KILL);
		assert_true(f.dispatch.next_timeout_ns == UINT64_MAX); /* and then left alone */
		tear_down(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(three_limits),
	    cmocka_unit_test(queues_take_turns),
	    cmocka_unit_test(handlers_take_turns_for_permits),
	    cmocka_unit_test(a_permit_is_not_lost),
	    cmocka_unit_test(the_stage_follows_the_jobs),
	    cmocka_unit_test(overdue_jobs_are_asked_then_killed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
