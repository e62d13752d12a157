/* A handler that cannot begin: what the core does with its jobs and its queue, in virtual time. */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct scene {
	struct small_core small; /* first */
	bool cannot;             /* the handler begin a job */
	bool slow;               /* ... says so of a job only later */
	bool silent;             /* probe() is not answered */
	unsigned probes, starts;
	bool suspended, shut; /* the queue: asked for, and reached */
	unsigned suspensions, limits;
	char returned[256]; /* ids, in the order in which they went back */
	struct executor_ops executor_ops;
	struct source_ops source_ops;
};

static struct scene *of_executor(struct executor *executor)
{
	return (struct scene *)list_entry(executor, struct small_core, executor);
}

static struct scene *of_source(const struct source *source)
{
	return (struct scene *)list_entry(source, struct small_core, source);
}

static void start(struct executor *executor, struct job *job)
{
	struct scene *s = of_executor(executor);
	s->starts++;
	if (s->slow)
		return;
	if (s->cannot)
		executor->host->could_not_begin(executor->host, job, "no such program");
	else
		job->begun_ns = s->small.now_ns;
}

static void probe(struct executor *executor)
{
	struct scene *s = of_executor(executor);
	s->probes++;
	if (!s->silent)
		executor->host->probed(executor->host, executor,
				       s->cannot ? "no such program" : NULL);
}

/* What has not begun, the last one first. */
static void retract(struct executor *executor)
{
	struct scene *s = of_executor(executor);
	struct list *running = &s->small.lane->running;
	for (struct list *it = running->prev, *before = it->prev; it != running;
	     it = before, before = it->prev) {
		struct job *job = list_entry(it, struct job, in_lane);
		if (job->begun_ns == 0)
			executor->host->retracted(executor->host, job);
	}
}

static void suspend(struct source *source, struct route *route)
{
	(void)route;
	of_source(source)->suspended = true;
	of_source(source)->suspensions++;
}

static void take_up(struct source *source, struct route *route)
{
	(void)route;
	of_source(source)->suspended = of_source(source)->shut = false;
}

static bool is_suspended(const struct source *source, const struct route *route)
{
	(void)route;
	return of_source(source)->shut;
}

static void limits_changed(struct source *source)
{
	of_source(source)->limits++;
}

static void settle(struct source *source, struct job *job)
{
	struct scene *s = of_source(source);
	if (job->verdict.fate == FATE_RETURNED) {
		assert_int_equal(job->verdict.attempt, job->attempt);
		assert_int_equal(job->verdict.interruptions, 0);
		assert_true(s->shut || source->intake == INTAKE_SHUT);
		strncat(s->returned, job->id, sizeof s->returned - strlen(s->returned) - 1);
	}
	source->host->settled(source->host, job, SETTLED);
}

static void open_scene(struct scene *s)
{
	memset(s, 0, sizeof *s);
	small_core_init(&s->small, 0, "emails");
	s->executor_ops = small_executor_ops;
	s->executor_ops.start = start;
	s->executor_ops.probe = probe;
	s->executor_ops.retract = retract;
	s->small.executor.ops = &s->executor_ops;
	s->source_ops = small_source_ops;
	s->source_ops.suspend = suspend;
	s->source_ops.take_up = take_up;
	s->source_ops.is_suspended = is_suspended;
	s->source_ops.limits_changed = limits_changed;
	s->source_ops.settle = settle;
	s->small.source.ops = &s->source_ops;
}

static void close_scene(struct scene *s)
{
	s->shut = true;
	small_core_fini(&s->small);
}

static void turn(struct scene *s)
{
	core_begin_jobs(&s->small.core);
	core_drain_turn(&s->small.core);
}

/* Turns whenever the core wants to, for so long. */
static void pass(struct scene *s, uint64_t ns)
{
	uint64_t until_ns = s->small.now_ns + ns, next_ns;
	unsigned turns = 0;
	for (turn(s); (next_ns = core_next_ns(&s->small.core)) <= until_ns; turn(s)) {
		assert_true(++turns < 1000); /* it spins */
		if (next_ns > s->small.now_ns)
			s->small.now_ns = next_ns;
	}
	s->small.now_ns = until_ns;
	turn(s);
}

static struct job *deliver(struct scene *s, const char *id)
{
	struct small_core *small = &s->small;
	struct job_facts facts = {
	    .route = small->route,
	    .id = span_text(id),
	    .attempt = 1,
	    .serial = small->core.source_host.next_serial(&small->core.source_host)};
	struct job *job = job_create(&facts), *given = job;
	small->core.source_host.deliver(&small->core.source_host, &given);
	return job;
}

static void deliver_each(struct scene *s, const char *ids)
{
	for (; *ids != '\0'; ids++)
		deliver(s, (char[]){*ids, '\0'});
}

static size_t running(const struct scene *s)
{
	return ledger_count(&s->small.core.ledger, JOB_RUNNING);
}

static void one_failure_pauses_and_counts_nothing(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	s.cannot = true;
	deliver_each(&s, "abcdefgh");
	turn(&s);
	assert_int_equal(s.starts, 1);
	assert_int_equal(s.small.route->held, 8);
	assert_string_equal(dispatch_first_held(s.small.route)->id, "a");
	assert_int_equal(s.small.core.dispatch.budget.taken, 0);
	pass(&s, 4 * SMALL_S);
	assert_int_equal(s.starts,
			 1); /* it was looked at, after 1 and 2 s, and no job was needed */
	assert_int_equal(s.probes, 2);
	s.cannot = false;
	pass(&s, 3 * SMALL_S + 100); /* 4 s more */
	assert_int_equal(running(&s), 2);
	assert_int_equal(s.small.lane->pause.state, PAUSE_SERVING);
	assert_int_equal(s.suspensions, 1); /* after 5 s; but it was not shut yet, so all stayed */
	assert_string_equal(s.returned, "");
	close_scene(&s);
}

static void after_five_seconds_others_get_them(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	s.cannot = true;
	deliver_each(&s, "abc");
	pass(&s, 5 * SMALL_S - 1);
	assert_int_equal(s.suspensions, 0);
	pass(&s, 1);
	assert_true(s.suspended);
	assert_string_equal(s.returned, ""); /* cancel-ok is not there yet */
	deliver_each(&s, "d");               /* came after it was asked for */
	s.shut = true;
	turn(&s);
	assert_string_equal(s.returned, "abcd");
	unsigned starts = s.starts;
	pass(&s, 300 * SMALL_S);
	assert_int_equal(s.suspensions, 1); /* once */
	assert_int_equal(s.starts, starts);
	s.cannot = false;
	pass(&s, 30 * SMALL_S);
	assert_false(s.suspended);
	/* the trial, and not one more beside it */
	s.slow = true;
	deliver_each(&s, "ef");
	pass(&s, 1);
	assert_int_equal(running(&s), 1);
	struct job *trial = list_entry(s.small.lane->running.next, struct job, in_lane);
	assert_string_equal(trial->id, "e");
	trial->begun_ns = s.small.now_ns;
	s.slow = false;
	pass(&s, 1);
	assert_int_equal(running(&s), 2);
	assert_int_equal(s.limits, 1); /* the source may take more again */
	close_scene(&s);
}

static void a_trial_that_fails_goes_back_at_once(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	s.cannot = true;
	deliver_each(&s, "a");
	s.shut = true;
	pass(&s, 6 * SMALL_S);
	assert_string_equal(s.returned, "a");
	s.cannot = false; /* as far as can be seen without a job */
	pass(&s, 4 * SMALL_S);
	assert_false(s.suspended);
	s.cannot = true;
	deliver_each(&s, "b");
	turn(&s);
	assert_true(core_next_ns(&s.small.core) <= s.small.now_ns); /* nothing else need happen */
	turn(&s);
	assert_true(s.suspended);
	s.shut = true;
	turn(&s);
	assert_string_equal(s.returned, "ab");
	close_scene(&s);
}

static void jobs_that_had_begun_run_on(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	struct job *before = deliver(&s, "a");
	turn(&s);
	s.cannot = true;
	deliver_each(&s, "bc");
	turn(&s);
	assert_int_equal(running(&s), 1);
	s.cannot = false;
	pass(&s, SMALL_S);
	assert_int_equal(running(&s), 2); /* beside the one of before */
	assert_int_equal(s.small.core.dispatch.budget.taken, 2);
	small_finish(&s.small, before);
	turn(&s);
	assert_int_equal(running(&s), 2);
	close_scene(&s);
}

/* All of them had been given when it turned out, in whatever order. */
static void they_are_held_in_their_old_order(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	s.slow = true;
	struct job *a = deliver(&s, "a"), *b = deliver(&s, "b");
	deliver_each(&s, "cd");
	turn(&s);
	assert_int_equal(running(&s), 2);
	struct executor_host *host = &s.small.core.executor_host;
	host->could_not_begin(host, a, "refused");
	host->could_not_begin(host, b, "refused");
	s.shut = true;
	s.silent = true;
	pass(&s, 5 * SMALL_S);
	assert_string_equal(s.returned, "abcd");
	close_scene(&s);
}

static void a_drain_of_a_paused_worker_ends_at_once(void **state)
{
	(void)state;
	static const unsigned at_s[] = {0, 3, 60};
	for (size_t i = 0; i < sizeof at_s / sizeof *at_s; i++) {
		struct scene s;
		open_scene(&s);
		s.cannot = true;
		deliver_each(&s, "ab");
		pass(&s, at_s[i] * SMALL_S);
		core_event(&s.small.core, EVENT_STOP, "SIGTERM");
		turn(&s);
		turn(&s);
		assert_true(core_is_closed(&s.small.core));
		assert_int_equal(report_exit_code(&s.small.core.drain.report), 0);
		assert_int_equal(s.small.core.drain.report.since_start[FATE_RETURNED], 2);
		close_scene(&s);
	}
}

/* A connection that is still being made is not waited for. */
static void a_drain_takes_back_an_unbegun_trial(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	s.cannot = true;
	deliver_each(&s, "ab");
	turn(&s);
	s.cannot = false;
	s.slow = true;
	pass(&s, SMALL_S);
	assert_int_equal(s.small.lane->pause.state, PAUSE_ON_TRIAL);
	core_event(&s.small.core, EVENT_STOP, "SIGTERM");
	turn(&s);
	turn(&s);
	assert_true(core_is_closed(&s.small.core));
	assert_string_equal(s.returned, "ab");
	assert_int_equal(report_exit_code(&s.small.core.drain.report), 0);
	close_scene(&s);
}

/* The handler could begin again, and has been given one job. */
static struct job *give_trial(struct scene *s, const char *ids)
{
	s->cannot = true;
	deliver_each(s, ids);
	turn(s);
	s->cannot = false;
	s->slow = true;
	pass(s, SMALL_S);
	assert_int_equal(s->small.lane->pause.state, PAUSE_ON_TRIAL);
	assert_int_equal(running(s), 1);
	return list_entry(s->small.lane->running.next, struct job, in_lane);
}

/* Before anybody has looked whether it began. */
static void a_trial_that_has_ended_was_one_that_began(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	struct job *trial = give_trial(&s, "ab");
	trial->begun_ns = s.small.now_ns;
	small_finish(&s.small, trial);
	assert_null(s.small.lane->trial);
	assert_int_equal(s.small.lane->pause.state, PAUSE_SERVING);
	turn(&s);
	assert_int_equal(running(&s), 1); /* b */
	close_scene(&s);
}

/* Its connection is gone, say. That says nothing of the handler: the next one is the trial. */
static void a_trial_that_comes_back_untried_makes_room_for_another(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	struct job *first = give_trial(&s, "a");
	assert_ptr_equal(s.small.lane->trial, first);
	s.small.core.source_host.took_back(&s.small.core.source_host, s.small.route);
	assert_null(s.small.lane->trial);
	assert_int_equal(s.small.lane->pause.state, PAUSE_TRYING);
	deliver_each(&s, "bc");
	turn(&s);
	assert_int_equal(running(&s), 1);
	assert_int_equal(s.small.lane->pause.state, PAUSE_ON_TRIAL);
	assert_string_equal(s.small.lane->trial->id, "b");
	close_scene(&s);
}

static void it_rests_while_the_worker_is_quiet(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	s.cannot = true;
	deliver_each(&s, "ab");
	turn(&s);
	core_event(&s.small.core, EVENT_QUIET, "SIGTSTP");
	pass(&s, 60 * SMALL_S);
	assert_int_equal(s.probes, 0);
	assert_int_equal(s.suspensions, 0);
	assert_string_equal(s.returned, "ab"); /* as for any quiet worker */
	core_event(&s.small.core, EVENT_RESUME, "SIGCONT");
	turn(&s);
	assert_int_equal(s.suspensions, 1); /* before anything comes */
	assert_int_equal(s.probes, 1);
	close_scene(&s);
}

/* A pool: its processes say themselves when there is one. */
static void without_a_process_nothing_is_kept(void **state)
{
	(void)state;
	struct scene s;
	open_scene(&s);
	struct executor *executor = &s.small.executor;
	executor->width = executor->depth = 0;
	executor->host->resized(executor->host, executor);
	deliver_each(&s, "ab");
	pass(&s, 2 * SMALL_S);
	executor->width = executor->depth = 2; /* in time: as if nothing had been */
	executor->host->resized(executor->host, executor);
	turn(&s);
	assert_int_equal(running(&s), 2);
	executor->width = executor->depth = 0;
	executor->host->resized(executor->host, executor);
	deliver_each(&s, "cd");
	s.shut = true;
	pass(&s, 5 * SMALL_S);
	assert_string_equal(s.returned, "cd");
	assert_int_equal(s.probes, 0);
	executor->width = executor->depth = 2;
	executor->host->resized(executor->host, executor);
	assert_int_equal(s.small.lane->pause.state, PAUSE_TRYING);
	assert_true(core_next_ns(&s.small.core) <= s.small.now_ns);
	turn(&s);
	assert_false(s.suspended);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_failure_pauses_and_counts_nothing),
	    cmocka_unit_test(after_five_seconds_others_get_them),
	    cmocka_unit_test(a_trial_that_fails_goes_back_at_once),
	    cmocka_unit_test(jobs_that_had_begun_run_on),
	    cmocka_unit_test(they_are_held_in_their_old_order),
	    cmocka_unit_test(a_drain_of_a_paused_worker_ends_at_once),
	    cmocka_unit_test(a_drain_takes_back_an_unbegun_trial),
	    cmocka_unit_test(a_trial_that_has_ended_was_one_that_began),
	    cmocka_unit_test(a_trial_that_comes_back_untried_makes_room_for_another),
	    cmocka_unit_test(it_rests_while_the_worker_is_quiet),
	    cmocka_unit_test(without_a_process_nothing_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
