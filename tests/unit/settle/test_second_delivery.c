/* A connection goes under jobs, and they come a second time: the real core, from deliver() to settled(). */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct plant {
	struct small_core s;
	struct source_ops ops;
};

static void lose(struct source *source, struct job *job)
{
	source->host->settled(source->host, job, SETTLED_LOST);
}

static void keep_open(struct source *source, struct job *job)
{
	(void)source;
	(void)job;
}

static void open_plant(struct plant *p)
{
	small_core_init(&p->s, 0, "emails");
	p->ops = small_source_ops;
	p->s.source.ops = &p->ops;
}

enum id { ID_GIVEN, ID_MADE_UP };

static struct job *deliver(struct plant *p, const char *id, enum id whose, bool redelivered)
{
	struct source_host *host = &p->s.core.source_host;
	struct job_facts facts = {.route = p->s.route,
				  .serial = host->next_serial(host),
				  .id = span_text(id),
				  .id_made_up = whose == ID_MADE_UP,
				  .attempt = 1,
				  .redelivered = redelivered};
	struct job *job = job_create(&facts), *given = job;
	p->s.core.source_host.deliver(&p->s.core.source_host, &given);
	core_begin_jobs(&p->s.core);
	return job;
}

static void cut(struct plant *p)
{
	p->s.core.source_host.took_back(&p->s.core.source_host, p->s.route);
	p->ops.settle = lose;
}

static void end(struct plant *p, struct job *job, enum outcome_kind kind)
{
	struct outcome outcome = {.kind = kind};
	p->s.core.executor_host.finished(&p->s.core.executor_host, job, &outcome);
}

static void connect(struct plant *p)
{
	p->ops.settle = small_settle;
}

static uint64_t fate(const struct plant *p, enum fate which)
{
	return p->s.route->fates[which];
}

/* "charge" ends while the connection is away, "cleanup" runs on; both bodies are empty. */
static void jobs_without_ids_are_not_taken_for_each_other(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *charge = deliver(&p, "made-up-1", ID_MADE_UP, false);
	struct job *cleanup = deliver(&p, "made-up-2", ID_MADE_UP, false);
	cut(&p);
	end(&p, charge, OUTCOME_DONE);
	connect(&p);
	struct job *again = deliver(&p, "made-up-3", ID_MADE_UP, true);
	assert_int_equal(again->state, JOB_RUNNING);
	p.ops.settle = lose;
	end(&p, cleanup, OUTCOME_RETRY);
	connect(&p);
	end(&p, again, OUTCOME_DONE);
	assert_int_equal(fate(&p, FATE_UNSETTLED), 2); /* both may run again, and are said to */
	assert_int_equal(fate(&p, FATE_DONE), 1);
	small_core_fini(&p.s);
}

static void what_ended_is_settled_without_a_run(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	cut(&p);
	end(&p, first, OUTCOME_DONE);
	connect(&p);
	(void)deliver(&p, "1", ID_GIVEN, true);
	assert_int_equal(fate(&p, FATE_DONE), 1);
	assert_int_equal(p.s.core.recall.n_kept, 0);
	assert_int_equal(ledger_total(&p.s.core.ledger), 0);
	small_core_fini(&p.s);
}

/* The second delivery waits, is lost as well, comes a third time, and has the end then. */
static void what_runs_is_awaited_through_two_cuts(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	cut(&p);
	connect(&p);
	struct job *second = deliver(&p, "1", ID_GIVEN, true);
	assert_int_equal(second->recall.state, RECALL_WAITING);
	assert_false(list_empty(&p.s.route->parked));
	cut(&p);
	assert_true(list_empty(&p.s.route->parked));
	assert_int_equal(fate(&p, FATE_RETURNED), 1);
	connect(&p);
	struct job *third = deliver(&p, "1", ID_GIVEN, true);
	assert_int_equal(third->recall.state, RECALL_WAITING);
	end(&p, first, OUTCOME_DONE);
	assert_int_equal(fate(&p, FATE_DONE), 1);
	assert_int_equal(ledger_total(&p.s.core.ledger), 0);
	small_core_fini(&p.s);
}

/* Everything that was lost has been given out again: the id is another job's from now on. */
static void a_later_job_with_the_id_runs(void **state)
{
	(void)state;
	for (int running = 0; running < 2; running++) {
		struct plant p;
		open_plant(&p);
		struct source_host *host = &p.s.core.source_host;
		struct job *first = deliver(&p, "1", ID_GIVEN, false);
		cut(&p);
		if (!running)
			end(&p, first, OUTCOME_DONE);
		host->redelivered_all(host, p.s.route);
		connect(&p);
		struct job *later = deliver(&p, "1", ID_GIVEN, true);
		assert_int_equal(later->state, JOB_RUNNING);
		end(&p, later, OUTCOME_DONE);
		assert_int_equal(fate(&p, FATE_DONE), 1);
		p.ops.settle = lose;
		if (running)
			end(&p, first, OUTCOME_DONE);
		assert_int_equal(fate(&p, FATE_UNSETTLED), 1);
		assert_int_equal(p.s.core.recall.n_kept, 0);
		small_core_fini(&p.s);
	}
}

/* At the deadline: the run is ended, and what waited for it goes back, once and interrupted. */
static void a_stop_returns_what_waits(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	cut(&p);
	connect(&p);
	(void)deliver(&p, "1", ID_GIVEN, true);
	core_event(&p.s.core, EVENT_STOP, "SIGTERM");
	core_drain_turn(&p.s.core);
	assert_int_equal(ledger_count(&p.s.core.ledger, JOB_HELD), 1);
	core_event(&p.s.core, EVENT_STOP_NOW, "SIGQUIT");
	end(&p, first, OUTCOME_RETRY);
	core_drain_turn(&p.s.core);
	assert_true(core_is_closed(&p.s.core));
	assert_int_equal(fate(&p, FATE_RETURNED), 1);
	assert_int_equal(p.s.core.drain.report.interrupted, 1);
	small_core_fini(&p.s);
}

/* The run does not end, whatever is done to it: it counts, and what waits for it does not count beside. */
static void a_run_without_an_end(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	cut(&p);
	connect(&p);
	(void)deliver(&p, "1", ID_GIVEN, true);
	core_event(&p.s.core, EVENT_STOP_NOW, "SIGQUIT");
	core_abandon_rest(&p.s.core);
	assert_int_equal(p.s.core.drain.report.fates[FATE_RETURNED], 1);
	assert_int_equal(p.s.core.drain.report.interrupted, 1);
	job_destroy(first);
	core_fini(&p.s.core);
}

/* Its own route is lost while its second delivery waits on the route that its queue has now. */
static void an_older_route_is_lost_alone(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct route *old = p.s.route;
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	cut(&p);
	p.s.route =
	    roster_add_route(&p.s.core.roster, "emails", &p.s.source, p.s.lane, &p.s.retry, 0);
	connect(&p);
	struct job *second = deliver(&p, "1", ID_GIVEN, true);
	p.s.core.source_host.took_back(&p.s.core.source_host, old);
	assert_int_equal(second->recall.state, RECALL_WAITING);
	end(&p, first, OUTCOME_DONE);
	assert_int_equal(fate(&p, FATE_DONE), 1);
	small_core_fini(&p.s);
}

static void hand_back(struct plant *p, struct job *job)
{
	p->s.core.executor_host.retracted(&p->s.core.executor_host, job);
}

/* Its process died with it unread: the broker has it back, so it is not begun on a delivery that is lost. */
static void unseen_and_lost_it_leaves(void **state)
{
	(void)state;
	static const enum id whose[] = {ID_GIVEN, ID_MADE_UP};
	for (size_t i = 0; i < sizeof whose / sizeof *whose; i++) {
		struct plant p;
		open_plant(&p);
		struct job *first = deliver(&p, "1", whose[i], false);
		cut(&p);
		hand_back(&p, first);
		assert_int_equal(fate(&p, FATE_RETURNED), 1);
		assert_int_equal(ledger_total(&p.s.core.ledger), 0);
		connect(&p);
		struct job *again = deliver(&p, "1", whose[i], true);
		assert_int_equal(again->state, JOB_RUNNING);
		small_core_fini(&p.s);
	}
}

/* In the order in which it was taken, like any other. */
static void what_waited_for_the_unseen_is_held(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	struct job *other = deliver(&p, "2", ID_GIVEN, false);
	cut(&p);
	connect(&p);
	struct job *again = deliver(&p, "1", ID_GIVEN, true);
	struct job *later = deliver(&p, "3", ID_GIVEN, false);
	assert_int_equal(again->recall.state, RECALL_WAITING);
	assert_int_equal(later->state, JOB_HELD);
	p.s.executor.width = p.s.executor.depth = 1; /* of two */
	hand_back(&p, first);
	assert_true(list_empty(&p.s.route->parked));
	assert_ptr_equal(dispatch_first_held(p.s.route), again);
	end(&p, other, OUTCOME_DONE);
	core_begin_jobs(&p.s.core);
	assert_int_equal(again->state, JOB_RUNNING);
	assert_int_equal(later->state, JOB_HELD);
	small_core_fini(&p.s);
}

static void how_long_it_ran_is_not_how_long_it_was_untold(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *first = deliver(&p, "1", ID_GIVEN, false);
	p.s.now_ns += SMALL_S;
	p.ops.settle = keep_open;
	end(&p, first, OUTCOME_DONE);
	p.s.now_ns += 5 * SMALL_S;
	p.s.source.host->settled(p.s.source.host, first, SETTLED_LOST);
	core_event(&p.s.core, EVENT_STOP, "SIGTERM");
	p.ops.settle = lose;
	p.s.source.intake = INTAKE_SHUTTING;
	(void)deliver(&p, "1", ID_GIVEN, true);
	assert_int_equal(p.s.core.drain.report.n_entries, 1);
	assert_int_equal(p.s.core.drain.report.entries[0].ran_ns, SMALL_S);
	small_core_fini(&p.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(jobs_without_ids_are_not_taken_for_each_other),
	    cmocka_unit_test(what_ended_is_settled_without_a_run),
	    cmocka_unit_test(what_runs_is_awaited_through_two_cuts),
	    cmocka_unit_test(a_later_job_with_the_id_runs),
	    cmocka_unit_test(a_stop_returns_what_waits),
	    cmocka_unit_test(a_run_without_an_end),
	    cmocka_unit_test(an_older_route_is_lost_alone),
	    cmocka_unit_test(unseen_and_lost_it_leaves),
	    cmocka_unit_test(what_waited_for_the_unseen_is_held),
	    cmocka_unit_test(how_long_it_ran_is_not_how_long_it_was_untold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
