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

#include "../cmocka_names.h"

struct lane_place { /* one handler and what was begun there, in order */
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
	struct lane_place *p = list_entry(executor, struct lane_place, executor);
	job->begun_ns = job->given_ns;
	p->begun[p->n_begun++] = job;
}

static void stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct lane_place *p = list_entry(executor, struct lane_place, executor);
	p->asked[p->n_stopped] = how;
	p->stopped[p->n_stopped++] = job;
}

static uint64_t begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static const struct executor_ops ops = {.start = start, .stop = stop, .begun_ns = begun_ns};

static struct route *told; /* that room has come, last */
static unsigned n_told;

static void room_came(struct source *source, struct route *route)
{
	(void)source;
	told = route;
	n_told++;
}

static const struct source_ops silent_ops, telling_ops = {.room_came = room_came};
static struct source silent = {.name = "mq", .ops = &silent_ops};
static struct source telling = {.name = "cache", .ops = &telling_ops};

static void set_up(struct floor_of_test *f, unsigned concurrency)
{
	f->clock.now_ns = test_now;
	f->now_ns = 1000;
	ledger_init(&f->ledger);
	roster_init(&f->roster);
	dispatch_init(&f->dispatch, &f->clock, &f->ledger, &f->roster, concurrency);
}

static void add_place(struct floor_of_test *f, struct lane_place *p, unsigned width, unsigned depth,
		      uint64_t timeout_ms)
{
	*p = (struct lane_place){
	    .executor = {.ops = &ops, .width = width, .widest = width, .depth = depth}
        };
	p->lane = roster_add_lane(&f->roster, &p->executor, timeout_ms);
}

static struct route *add_route(struct floor_of_test *f, struct lane_place *p, unsigned limit)
{
	return roster_add_route(&f->roster, "queue", &silent, p->lane, NULL, limit);
}

static void hold(struct floor_of_test *f, struct route *route, unsigned jobs)
{
	for (unsigned i = 0; i < jobs; i++) {
		char id[16];
		(void)snprintf(id, sizeof id, "%u", i);
		struct job_facts facts = {.route = route, .id = span_text(id), .serial = i + 1};
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

static struct job *hold_one(struct floor_of_test *f, struct route *route, uint64_t serial,
			    uint32_t lost)
{
	struct job_facts facts = {
	    .route = route, .id = span_text("x"), .serial = serial, .lost = lost};
	struct job *job = job_create(&facts);
	route->in_ledger++;
	route->suspects += lost > 0;
	ledger_admit(&f->ledger, job);
	dispatch_hold(&f->dispatch, job);
	return job;
}

static void leave(struct floor_of_test *f, struct job *job)
{
	struct route *route = job->route;
	ledger_drop(&f->ledger, job);
	route->in_ledger--;
	route->suspects -= job->lost > 0;
	dispatch_left(&f->dispatch, route);
	dispatch_pump(&f->dispatch);
	job_destroy(job);
}

/* Behind whatever runs or is not yet settled, and nothing beside it. */
static void what_workers_died_with_runs_alone(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 16);
	add_place(&f, &p, 8, 8, 0);
	struct route *route = add_route(&f, &p, 0), *other = add_route(&f, &p, 0);
	struct job *jobs[5];
	for (unsigned i = 0; i < 5; i++)
		jobs[i] = hold_one(&f, route, i + 1, i == 1 || i == 2 ? 1 : 0);
	(void)hold_one(&f, other, 9, 0); /* other queues are not concerned */
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 2);
	for (unsigned i = 0; i < 3; i++) {
		bool in_order = i == 0 || p.begun[i + 1] == jobs[i];
		assert_true(in_order);
		ledger_finish(&f.ledger, jobs[i]);
		dispatch_release(&f.dispatch, jobs[i]);
		dispatch_pump(&f.dispatch);
		/* once no suspect is left to wait for its end, the rest may begin */
		assert_int_equal(p.n_begun, i == 2 ? 6 : i + 2);
		leave(&f, jobs[i]);
		assert_int_equal(p.n_begun, i == 2 ? 6 : i + 3);
	}
	tear_down(&f);
}

static void three_limits(void **state)
{
	(void)state;
	static const struct {
		unsigned worker, width, queue, held, begun;
	} rows[] = {
	    {16, 8, 0,  20, 8},
            {4,  8, 0,  20, 4},
            {16, 8, 3,  20, 3},
            {16, 8, 0,  5,  5},
	    {16, 8, 8,  20, 8},
            {1,  1, 1,  1,  1},
            {16, 8, 99, 20, 8},
            {16, 8, 1,  0,  0},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct floor_of_test f;
		struct lane_place p;
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
	struct lane_place p;
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
	struct lane_place a, b;
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

/* A source that asks for jobs has to know when a queue has none in line any more. */
static void a_source_is_told_when_nothing_is_held(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 2);
	add_place(&f, &p, 2, 2, 0);
	struct route *asked = roster_add_route(&f.roster, "list", &telling, p.lane, NULL, 0);
	n_told = 0;
	hold(&f, add_route(&f, &p, 0), 1);
	hold(&f, asked, 2);
	dispatch_pump(&f.dispatch);
	assert_int_equal(n_told, 0); /* it holds one */
	end(&f, p.begun[0]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(n_told, 1);
	assert_ptr_equal(told, asked);
	tear_down(&f);
}

/* A permit that one handler cannot use any more must reach the other. */
/* The first handler could run all that the worker may: each time one of its jobs ends it has room
 * again, and the other has waited for longer. */
static void a_full_handler_lets_the_starved_go_first(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place wide, other;
	set_up(&f, 2);
	add_place(&f, &wide, 2, 2, 0);
	add_place(&f, &other, 2, 2, 0);
	hold(&f, add_route(&f, &wide, 0), 20);
	dispatch_pump(&f.dispatch);
	assert_int_equal(wide.n_begun, 2);
	hold(&f, add_route(&f, &other, 0), 20);
	dispatch_pump(&f.dispatch);
	assert_int_equal(other.n_begun, 0);
	for (size_t i = 0; i < 4; i++) {
		end(&f, wide.begun[i]);
		dispatch_pump(&f.dispatch);
		assert_int_equal(other.n_begun, i + 1);
		end(&f, other.begun[i]);
		dispatch_pump(&f.dispatch);
	}
	tear_down(&f);
}

static void a_permit_is_not_lost(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place running, emptied, waiting;
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
	struct lane_place p;
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
		struct lane_place p;
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

/* A rate makes its own queue wait, and no other. */
/* Processes come up and go away: what is held begins when there is width, and not before. */
static void width_comes_and_goes(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 16);
	add_place(&f, &p, 0, 0, 0);
	p.executor.widest = 4;
	struct route *route = roster_add_route(&f.roster, "q", &silent, p.lane, NULL, 0);
	hold(&f, route, 6);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 0);
	p.executor.width = p.executor.depth = 4;
	assert_true(pause_manned(&p.lane->pause, false));
	dispatch_resized(&f.dispatch, &p.executor);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 4);
	assert_int_equal(f.dispatch.budget.taken, 4);
	p.executor.width = p.executor.depth = 1;
	dispatch_resized(&f.dispatch, &p.executor);
	for (size_t i = 0; i < 3; i++) {
		end(&f, p.begun[i]);
		dispatch_pump(&f.dispatch);
		assert_int_equal(p.n_begun, 4); /* three ended, one is still there: it is full */
	}
	assert_int_equal(f.dispatch.budget.taken, 1);
	end(&f, p.begun[3]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 5);
	end(&f, p.begun[4]);
	dispatch_pump(&f.dispatch);
	end(&f, p.begun[5]);
	assert_int_equal(f.dispatch.budget.taken, 0);
	tear_down(&f);
}

/* While one process is up a queue's limit of one says nothing; it says it again when others come. */
static void a_queue_limit_outlives_a_narrow_handler(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 16);
	add_place(&f, &p, 1, 1, 0);
	p.executor.widest = 4;
	struct route *limited = add_route(&f, &p, 1);
	hold(&f, limited, 6);
	dispatch_pump(&f.dispatch);
	hold(&f, add_route(&f, &p, 0), 1); /* brings the handler back in line */
	p.executor.width = p.executor.depth = 4;
	dispatch_resized(&f.dispatch, &p.executor);
	dispatch_pump(&f.dispatch);
	assert_int_equal(limited->assigned, 1);
	assert_int_equal(p.n_begun, 2);
	end(&f, p.begun[0]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(limited->assigned, 1);
	assert_int_equal(p.n_begun, 3);
	tear_down(&f);
}

/* Limits may change while jobs run and wait: lower ones stop nobody, higher ones are used at once. */
static void limits_change_at_work(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 4);
	add_place(&f, &p, 8, 8, 0);
	struct route *route = add_route(&f, &p, 0);
	hold(&f, route, 10);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 4);
	dispatch_limits_changed(&f.dispatch, 2);
	end(&f, p.begun[0]);
	end(&f, p.begun[1]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 4); /* two of them run still, which is the limit */
	end(&f, p.begun[2]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 5);
	dispatch_limits_changed(&f.dispatch, 8);
	route->limit = 3;
	dispatch_limits_changed(&f.dispatch, 8);
	dispatch_pump(&f.dispatch);
	assert_int_equal(route->assigned, 3);
	route->limit = 0;
	p.lane->limit = 4;
	dispatch_limits_changed(&f.dispatch, 8);
	dispatch_pump(&f.dispatch);
	assert_int_equal(route->assigned, 4);
	p.lane->limit = 0;
	route->rate.interval_ns = 3600 * UINT64_C(1000000000); /* one an hour */
	end(&f, p.begun[3]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 8);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 8);
	rate_set(&route->rate, 0);
	dispatch_limits_changed(&f.dispatch, 8);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 10);
	for (size_t i = 4; i < 10; i++)
		end(&f, p.begun[i]);
	assert_int_equal(f.dispatch.budget.taken, 0);
	tear_down(&f);
}

/* It was in line when its limit was lowered, and the worker's is raised at the same time. */
static void a_queue_in_line_gets_a_limit(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 2);
	add_place(&f, &p, 8, 8, 0);
	struct route *route = add_route(&f, &p, 0);
	hold(&f, route, 10);
	dispatch_pump(&f.dispatch);
	route->limit = 2;
	dispatch_limits_changed(&f.dispatch, 8);
	dispatch_pump(&f.dispatch);
	assert_int_equal(route->assigned, 2);
	end(&f, p.begun[0]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 3);
	route->limit = 0;
	dispatch_limits_changed(&f.dispatch, 8);
	dispatch_pump(&f.dispatch);
	assert_int_equal(route->assigned, 8);
	tear_down(&f);
}

/* A handler's own limit holds for all its queues, and nothing is staged behind it. */
static void a_handlers_limit(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 16);
	add_place(&f, &p, 8, 32, 0);
	p.lane->limit = 3;
	struct route *a = roster_add_route(&f.roster, "a", &silent, p.lane, NULL, 0);
	struct route *b = roster_add_route(&f.roster, "b", &silent, p.lane, NULL, 0);
	hold(&f, a, 3);
	hold(&f, b, 3);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 3);
	assert_int_equal(f.dispatch.budget.taken, 3);
	for (size_t i = 0; i < 6; i++) {
		end(&f, p.begun[i]);
		dispatch_pump(&f.dispatch);
		assert_int_equal(p.n_begun, i + 4 < 6 ? i + 4 : 6);
	}
	assert_int_equal(f.dispatch.budget.taken, 0);
	tear_down(&f);
}

/* A job that asked for more time is overdue when that has passed, not before. */
static void extended_jobs_are_left_alone(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 4);
	add_place(&f, &p, 1, 1, 100);
	struct route *route = roster_add_route(&f.roster, "q", &silent, p.lane, NULL, 0);
	hold(&f, route, 1);
	dispatch_pump(&f.dispatch);
	uint64_t begun = f.now_ns;
	p.begun[0]->extended_ns = begun + 300 * UINT64_C(1000000);
	f.now_ns = begun + 100 * UINT64_C(1000000);
	dispatch_check_timeouts(&f.dispatch, 0);
	assert_int_equal(p.n_stopped, 0);
	assert_int_equal(dispatch_next_ns(&f.dispatch, true), begun + 300 * UINT64_C(1000000));
	f.now_ns = begun + 300 * UINT64_C(1000000);
	dispatch_check_timeouts(&f.dispatch, 0);
	assert_int_equal(p.n_stopped, 1);
	end(&f, p.begun[0]);
	tear_down(&f);
}

static void a_rate_holds_its_queue_back(void **state)
{
	(void)state;
	enum { MS = 1000000 };
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 16);
	add_place(&f, &p, 16, 16, 0);
	struct route *slow = add_route(&f, &p, 0), *free_one = add_route(&f, &p, 0);
	slow->rate.interval_ns = 200 * MS;
	hold(&f, slow, 3);
	hold(&f, free_one, 4);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 5); /* one of the slow, all of the other */
	assert_int_equal(dispatch_next_ns(&f.dispatch, true), f.now_ns + 200 * MS);
	assert_true(dispatch_next_ns(&f.dispatch, false) == UINT64_MAX);
	f.now_ns += 199 * MS;
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 5);
	f.now_ns += 1 * MS;
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 6);
	tear_down(&f);
}

static void rates_hold_over_time(void **state)
{
	(void)state;
	enum { MS = 1000000 };
	static const struct {
		uint64_t interval_ns, step_ns;
		unsigned least, most; /* in two seconds */
	} rows[] = {
	    {10 * MS,  MS,      200,   206  }, /* 100/s, and the burst of 50 ms */
	    {10 * MS,  25 * MS, 200,   206  }, /* however coarse the clock */
	    {MS / 10,  MS,      20000, 20501},
	    {500 * MS, MS,      4,     5    },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rate rate = {.interval_ns = rows[i].interval_ns};
		unsigned begun = 0;
		uint64_t end_ns = UINT64_C(5002) * MS;
		for (uint64_t now_ns = UINT64_C(3002) * MS; now_ns <= end_ns;
		     now_ns += rows[i].step_ns) {
			for (; rate_next_ns(&rate, now_ns) <= now_ns; begun++)
				rate_count(&rate, now_ns);
		}
		assert_int_in_range(begun, rows[i].least, rows[i].most);
	}
}

/* What a rate says of the near future is what then happens. */
static void a_rate_tells_how_many(void **state)
{
	(void)state;
	enum { MS = 1000000 };
	static const struct {
		uint64_t interval_ns, due_in_ns, within_ns, allowed;
	} rows[] = {
	    {0,             0,             0,        UINT64_MAX},
	    {100 * MS,      0,             0,        1         },
	    {100 * MS,      0,             100 * MS, 2         },
	    {100 * MS,      50 * MS,       40 * MS,  0         },
	    {100 * MS,      50 * MS,       50 * MS,  1         },
	    {10 * MS,       0,             0,        6         }, /* the burst */
	    {10 * MS,       0,             100 * MS, 16        },
	    {10 * MS,       160 * MS,      100 * MS, 0         },
	    {3600000000000, 3500000000000, 100 * MS, 0         },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const uint64_t now_ns = UINT64_C(3600) * 1000 * MS;
		struct rate rate = {.interval_ns = rows[i].interval_ns,
				    .due_ns = now_ns + rows[i].due_in_ns};
		uint64_t until_ns = now_ns + rows[i].within_ns, begun = 0;
		assert_true(rate_allows(&rate, now_ns, until_ns) == rows[i].allowed);
		if (rate.interval_ns == 0)
			continue;
		for (uint64_t at_ns; (at_ns = rate_next_ns(&rate, now_ns)) <= until_ns; begun++)
			rate_count(&rate, at_ns);
		assert_int_equal(begun, rows[i].allowed);
	}
}

static void policies_at_the_drain(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place finish, interrupt;
	set_up(&f, 16);
	add_place(&f, &finish, 1, 1, 0);
	add_place(&f, &interrupt, 1, 1, 0);
	finish.lane->policy = POLICY_FINISH;
	hold(&f, add_route(&f, &finish, 0), 1);
	hold(&f, add_route(&f, &interrupt, 0), 1);
	dispatch_pump(&f.dispatch);
	dispatch_stop_running(&f.dispatch, 1u << POLICY_INTERRUPT, f.now_ns + 500);
	assert_int_equal(finish.n_stopped, 0);
	assert_int_equal(interrupt.n_stopped, 1);
	assert_int_equal(interrupt.begun[0]->stop, JOB_STOPPED_BY_DRAIN);
	assert_int_equal(dispatch_next_ns(&f.dispatch, false), f.now_ns + 500);
	f.now_ns += 500;
	dispatch_check_timeouts(&f.dispatch, 0);
	assert_int_equal(interrupt.asked[1], STOP_KILL);
	assert_int_equal(finish.n_stopped, 0);
	dispatch_kill_running(&f.dispatch);
	assert_int_equal(finish.asked[0], STOP_KILL);
	tear_down(&f);
}

/* --- what executor.h allows stop() and start() --- */

static struct reentry { /* of the test that runs */
	struct floor_of_test *f;
	struct lane_place *p;
	enum { NEIGHBOUR_ENDS, NEIGHBOUR_GOES_BACK } does;
	size_t victims[64]; /* numbers of begun jobs that go when the first is asked */
	size_t n_victims;
} reentry;

static bool is_running(const struct job *job)
{
	return list_linked(&job->in_lane);
}

static void stop_and_lose_neighbours(struct executor *executor, struct job *job, enum stop_how how)
{
	struct lane_place *p = list_entry(executor, struct lane_place, executor);
	stop(executor, job, how);
	for (; reentry.n_victims > 0; reentry.n_victims--) {
		struct job *victim = p->begun[reentry.victims[reentry.n_victims - 1]];
		if (reentry.does == NEIGHBOUR_ENDS) {
			end(reentry.f, victim);
			continue;
		}
		ledger_hold_again(&reentry.f->ledger, victim);
		dispatch_hold_again(&reentry.f->dispatch, victim);
	}
}

static const struct executor_ops reentrant = {
    .start = start, .stop = stop_and_lose_neighbours, .begun_ns = begun_ns};

enum walk { WALK_TIMEOUT_ASK, WALK_TIMEOUT_KILL, WALK_ASK, WALK_KILL, WALKS };

static void walk_over(struct floor_of_test *f, struct lane_place *p, enum walk walk)
{
	enum { MS = 1000000 };
	switch (walk) {
	case WALK_TIMEOUT_ASK:
		f->now_ns += 100 * MS;
		dispatch_check_timeouts(&f->dispatch, 50 * MS);
		break;
	case WALK_TIMEOUT_KILL:
		for (size_t i = 0; i < p->n_begun; i++)
			p->begun[i]->stop = JOB_STOPPED_BY_TIMEOUT;
		f->now_ns += 150 * MS;
		dispatch_check_timeouts(&f->dispatch, 50 * MS);
		break;
	case WALK_ASK:
		dispatch_stop_running(&f->dispatch, 1u << p->lane->policy, f->now_ns + 500);
		break;
	case WALK_KILL:
		dispatch_kill_running(&f->dispatch);
		break;
	case WALKS:
		break;
	}
}

/* Each that is still there is asked, once, and none that has gone. */
static void neighbours_go_while_one_is_asked(void **state)
{
	(void)state;
	enum { RUN = 4 };
	for (unsigned seed = 0; seed < WALKS * 2 * (1 << (RUN + 1)); seed++) {
		struct floor_of_test f;
		struct lane_place p;
		unsigned which = seed / (WALKS * 2);
		set_up(&f, RUN);
		add_place(&f, &p, RUN, RUN, 100);
		p.executor.ops = &reentrant;
		p.executor.can_kill = true;
		hold(&f, add_route(&f, &p, 0), RUN);
		dispatch_pump(&f.dispatch);
		reentry = (struct reentry){.f = &f, .p = &p, .does = seed / WALKS % 2};
		for (size_t i = 0; i < RUN;
		     i++) /* from 1 on: each set; from 16 on: the one asked as well */
			if ((which >> i & 1) != 0 && (i > 0 || which >= 1 << RUN))
				reentry.victims[reentry.n_victims++] = i;
		size_t gone = reentry.n_victims;
		bool first_goes = which >= 1 << RUN && (which & 1) != 0;
		walk_over(&f, &p, seed % WALKS);
		assert_int_equal(p.n_stopped, RUN - gone + first_goes);
		for (size_t i = 1; i < p.n_stopped; i++)
			assert_true(is_running(p.stopped[i]) &&
				    p.stopped[i]->stop != JOB_NOT_STOPPED);
		assert_int_equal(p.lane->assigned, RUN - gone);
		assert_int_equal(f.dispatch.budget.taken, RUN - gone);
		tear_down(&f);
	}
}

/* Its next run has nothing to do with it. */
static void what_goes_back_was_not_asked(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 1);
	add_place(&f, &p, 1, 1, 100);
	p.executor.ops = &reentrant;
	p.executor.can_kill = true;
	hold(&f, add_route(&f, &p, 0), 1);
	dispatch_pump(&f.dispatch);
	reentry = (struct reentry){
	    .f = &f, .p = &p, .does = NEIGHBOUR_GOES_BACK, .victims = {0}, .n_victims = 1};
	dispatch_kill_running(&f.dispatch);
	assert_int_equal(p.begun[0]->stop, JOB_NOT_STOPPED);
	assert_false(p.begun[0]->killed);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 2);
	tear_down(&f);
}

static void start_takes_back(struct executor *executor, struct job *job)
{
	struct lane_place *p = list_entry(executor, struct lane_place, executor);
	p->begun[p->n_begun++] = job;
	executor->width = 0;
	ledger_hold_again(&reentry.f->ledger, job);
	dispatch_hold_again(&reentry.f->dispatch, job);
	dispatch_resized(&reentry.f->dispatch, executor);
}

/* A handler that cannot begin now: its jobs wait, in their order, whatever was staged before. */
static void start_takes_its_job_back(void **state)
{
	(void)state;
	static const struct executor_ops cannot = {
	    .start = start_takes_back, .stop = stop, .begun_ns = begun_ns};
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 8);
	add_place(&f, &p, 2, 8, 0);
	p.executor.ops = &cannot;
	struct route *route = add_route(&f, &p, 0);
	hold(&f, route, 3);
	reentry = (struct reentry){.f = &f, .p = &p};
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 1);
	assert_int_equal(route->held, 3);
	assert_ptr_equal(dispatch_first_held(route), p.begun[0]);
	assert_int_equal(f.dispatch.budget.taken, 0);
	p.executor.ops = &ops;
	p.executor.width = 2;
	dispatch_resized(&f.dispatch, &p.executor);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 4);
	tear_down(&f);
}

static void retract_nothing(struct executor *executor)
{
	(void)executor;
}

static void hand_back(struct floor_of_test *f, struct job *job)
{
	ledger_hold_again(&f->ledger, job);
	dispatch_hold_again(&f->dispatch, job);
}

/* A process dies with what it had not read, and what was staged comes back after that. */
static void whoever_comes_back_first_they_keep_their_order(void **state)
{
	(void)state;
	static const size_t orders[][4] = {
	    {3, 2, 1, 0},
            {0, 1, 2, 3},
            {1, 3, 0, 2},
            {2, 0, 3, 1}
        };
	for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
		struct floor_of_test f;
		struct lane_place p;
		set_up(&f, 4);
		add_place(&f, &p, 4, 4, 0);
		struct route *route = add_route(&f, &p, 0);
		hold(&f, route, 6);
		dispatch_pump(&f.dispatch);
		assert_int_equal(p.n_begun, 4);
		for (size_t n = 0; n < 4; n++)
			hand_back(&f, p.begun[orders[i][n]]);
		for (uint64_t serial = 1; serial <= 6; serial++) {
			struct job *job = dispatch_first_held(route);
			assert_int_equal(job->serial, serial);
			dispatch_forget(&f.dispatch, job);
		}
		tear_down(&f);
	}
}

static void a_place_of_a_retired_queue_is_for_others(void **state)
{
	(void)state;
	static const struct executor_ops retracting = {
	    .start = start, .retract = retract_nothing, .stop = stop, .begun_ns = begun_ns};
	struct floor_of_test f;
	struct lane_place p;
	set_up(&f, 4);
	add_place(&f, &p, 1, 1, 0);
	p.executor.ops = &retracting;
	struct route *leaves = add_route(&f, &p, 0), *stays = add_route(&f, &p, 0);
	hold(&f, leaves, 1);
	dispatch_pump(&f.dispatch);
	hold(&f, stays, 1);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 1);
	dispatch_retire(&f.dispatch, leaves);
	hand_back(&f, p.begun[0]);
	dispatch_pump(&f.dispatch);
	assert_int_equal(p.n_begun, 2);
	assert_ptr_equal(p.begun[1]->route, stays);
	tear_down(&f);
}

/* Whatever makes room, or makes jobs come back, when this turn's pump has been: nobody need ask for another. */
static void what_could_begin_is_due_at_once(void **state)
{
	(void)state;
	struct floor_of_test f;
	struct lane_place one, other;
	set_up(&f, 1);
	add_place(&f, &one, 1, 1, 0);
	add_place(&f, &other, 1, 1, 0);
	hold(&f, add_route(&f, &one, 0), 2);
	hold(&f, add_route(&f, &other, 0), 1);
	dispatch_pump(&f.dispatch);
	assert_int_equal(one.n_begun, 1);
	assert_int_equal(dispatch_next_ns(&f.dispatch, true), UINT64_MAX);
	end(&f, one.begun[0]); /* its place is free, and the permit that the other waits for */
	assert_int_equal(dispatch_next_ns(&f.dispatch, true), 0);
	assert_int_equal(dispatch_next_ns(&f.dispatch, false), UINT64_MAX);
	dispatch_pump(&f.dispatch);
	assert_int_equal(other.n_begun, 1);
	assert_int_equal(dispatch_next_ns(&f.dispatch, true), UINT64_MAX);
	hand_back(&f, other.begun[0]);
	assert_int_equal(dispatch_next_ns(&f.dispatch, true), 0);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_could_begin_is_due_at_once),
	    cmocka_unit_test(whoever_comes_back_first_they_keep_their_order),
	    cmocka_unit_test(a_place_of_a_retired_queue_is_for_others),
	    cmocka_unit_test(neighbours_go_while_one_is_asked),
	    cmocka_unit_test(what_goes_back_was_not_asked),
	    cmocka_unit_test(start_takes_its_job_back),
	    cmocka_unit_test(three_limits),
	    cmocka_unit_test(what_workers_died_with_runs_alone),
	    cmocka_unit_test(queues_take_turns),
	    cmocka_unit_test(handlers_take_turns_for_permits),
	    cmocka_unit_test(a_full_handler_lets_the_starved_go_first),
	    cmocka_unit_test(a_source_is_told_when_nothing_is_held),
	    cmocka_unit_test(a_permit_is_not_lost),
	    cmocka_unit_test(the_stage_follows_the_jobs),
	    cmocka_unit_test(overdue_jobs_are_asked_then_killed),
	    cmocka_unit_test(width_comes_and_goes),
	    cmocka_unit_test(a_queue_limit_outlives_a_narrow_handler),
	    cmocka_unit_test(limits_change_at_work),
	    cmocka_unit_test(a_queue_in_line_gets_a_limit),
	    cmocka_unit_test(a_handlers_limit),
	    cmocka_unit_test(extended_jobs_are_left_alone),
	    cmocka_unit_test(a_rate_holds_its_queue_back),
	    cmocka_unit_test(rates_hold_over_time),
	    cmocka_unit_test(a_rate_tells_how_many),
	    cmocka_unit_test(policies_at_the_drain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
