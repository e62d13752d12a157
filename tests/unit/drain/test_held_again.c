/* Jobs that an executor hands back unbegun, because the process that was to run them is gone: while the worker
 * is open they begin again, in a drain they are given back, in order and before the deadline. */
#include "base/clock.h"
#include "core.h"
#include "job/job.h"
#include "settings/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { JOBS = 3 };

struct plant {
	struct core core;
	struct clock clock;
	uint64_t now_ns;
	struct source source;
	struct executor executor;
	struct route *route;
	struct job *started[16];
	unsigned n_started, looked;
	uint64_t settled[16]; /* serials */
	unsigned n_settled;
};

static uint64_t clock_now(const struct clock *clock)
{
	return list_entry(clock, struct plant, clock)->now_ns;
}

static void settle(struct source *source, struct job *job)
{
	struct plant *p = list_entry(source, struct plant, source);
	p->settled[p->n_settled++] = job->serial;
	assert_int_equal(job->verdict.fate, FATE_RETURNED);
	assert_false(job->verdict.interrupted);
	source->host->settled(source->host, job, SETTLED);
}

static void pause_intake(struct source *source)
{
	source->intake = INTAKE_SHUT;
}

static void close_source(struct source *source)
{
	source->link = LINK_CLOSED;
}

static void flush(struct source *source)
{
	(void)source;
}

static void room_came(struct source *source, struct route *route)
{
	(void)route;
	list_entry(source, struct plant, source)->looked++;
}

static void start(struct executor *executor, struct job *job)
{
	struct plant *p = list_entry(executor, struct plant, executor);
	p->started[p->n_started++] = job;
}

static void nothing(struct executor *executor)
{
	(void)executor;
}

static void notice(struct executor *executor, uint64_t remaining_ms)
{
	(void)executor;
	(void)remaining_ms;
}

static uint64_t begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static const struct source_ops source_ops = {.pause = pause_intake,
					     .settle = settle,
					     .close = close_source,
					     .flush = flush,
					     .room_came = room_came};
static const struct executor_ops executor_ops = {
    .start = start, .retract = nothing, .drain_notice = notice, .begun_ns = begun_ns};
static const struct drain_settings drain = {.limit = DRAIN_LIMIT_SET, .timeout_ms = 30000};
static const struct retry_settings retry = {.attempts = 5};

static void open_plant(struct plant *p)
{
	*p = (struct plant){.clock.now_ns = clock_now, .now_ns = 1000};
	core_init(&p->core, &p->clock, NULL, 8, &drain, 1);
	p->source = (struct source){.ops = &source_ops,
				    .host = &p->core.source_host,
				    .name = "main",
				    .link = LINK_UP,
				    .intake = INTAKE_OPEN};
	p->executor = (struct executor){.ops = &executor_ops,
					.host = &p->core.executor_host,
					.name = "h",
					.width = JOBS,
					.widest = JOBS,
					.depth = JOBS};
	struct lane *lane = roster_add_lane(&p->core.roster, &p->executor, 0);
	p->route = roster_add_route(&p->core.roster, "emails", &p->source, lane, &retry, 0);
	roster_add_source(&p->core.roster, &p->source);
	for (uint64_t serial = 1; serial <= JOBS; serial++) {
		struct job_facts facts = {
		    .route = p->route, .serial = serial, .attempt = 1, .id = span_text("x")};
		struct job *job = job_create(&facts);
		assert_non_null(job);
		p->source.host->deliver(p->source.host, &job);
	}
	core_begin_jobs(&p->core);
	assert_int_equal(p->n_started, JOBS);
}

static void hand_back_all(struct plant *p)
{
	for (unsigned i = JOBS; i > 0; i--) /* last given first, as the contract has it */
		p->executor.host->retracted(p->executor.host, p->started[i - 1]);
}

static void while_open_they_begin_again(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	hand_back_all(&p);
	core_begin_jobs(&p.core);
	assert_int_equal(p.n_started, 2 * JOBS);
	for (unsigned i = 0; i < JOBS; i++)
		assert_int_equal(p.started[JOBS + i]->serial, i + 1);
	assert_int_equal(p.n_settled, 0);
	core_abandon_rest(&p.core);
	for (unsigned i = 0; i < JOBS; i++)
		job_destroy(p.started[i]); /* running jobs are left to the exit */
	core_fini(&p.core);
}

static void in_a_drain_they_are_given_back(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	core_event(&p.core, EVENT_STOP, "test");
	core_drain_turn(&p.core);
	assert_int_equal(p.core.drain.phase, PHASE_FINISHING);
	hand_back_all(&p);
	assert_int_equal(p.n_settled, 0);
	assert_int_equal(core_next_ns(&p.core), 0);
	core_begin_jobs(&p.core);
	assert_int_equal(p.n_settled, JOBS);
	assert_true(core_next_ns(&p.core) > p.now_ns);
	for (unsigned i = 0; i < JOBS; i++)
		assert_int_equal(p.settled[i], i + 1);
	core_drain_turn(&p.core);
	assert_true(core_is_closed(&p.core)); /* and nothing is waited for */
	assert_int_equal(p.n_started, JOBS);
	core_fini(&p.core);
}

static void sources_hear_of_a_new_width(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	unsigned looked = p.looked;
	p.executor.width = p.executor.depth = JOBS + 1;
	p.executor.host->resized(p.executor.host, &p.executor);
	assert_int_equal(p.looked, looked + 1);
	core_abandon_rest(&p.core);
	for (unsigned i = 0; i < JOBS; i++)
		job_destroy(p.started[i]);
	core_fini(&p.core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(while_open_they_begin_again),
	    cmocka_unit_test(in_a_drain_they_are_given_back),
	    cmocka_unit_test(sources_hear_of_a_new_width),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
