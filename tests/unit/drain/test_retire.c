/* One queue leaves a worker that stays: when what it holds goes back, when it is gone, and that a queue
 * which comes back meanwhile is one queue to whoever looks from outside. */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct plant {
	struct small_core s;
	struct source_ops ops;
	enum leaving leaving; /* what the source says of a route whose jobs have gone */
	unsigned retired, gone;
	struct route *gone_route;
};

static struct plant *plant; /* of the test that runs: a source's calls bring no argument of ours */

static void retire(struct source *source, struct route *route)
{
	(void)source;
	(void)route;
	plant->retired++;
}

static enum leaving leave(struct source *source, struct route *route)
{
	(void)source;
	return plant->leaving == LEAVING_GONE && route->in_ledger > 0 ? LEAVING_JOBS
								      : plant->leaving;
}

static void route_gone(void *arg, struct route *route)
{
	struct plant *p = arg;
	p->gone++;
	p->gone_route = route;
}

static void open_plant(struct plant *p)
{
	*p = (struct plant){0};
	small_core_init(&p->s, 0, "emails");
	p->ops = small_source_ops;
	p->ops.retire = retire;
	p->ops.leave = leave;
	p->s.source.ops = &p->ops;
	p->s.core.route_gone = route_gone;
	p->s.core.route_gone_arg = p;
	plant = p;
}

static void turn(struct plant *p)
{
	core_begin_jobs(&p->s.core);
	core_drain_turn(&p->s.core);
}

static struct route *add_again(struct plant *p)
{
	p->s.route =
	    roster_add_route(&p->s.core.roster, "emails", &p->s.source, p->s.lane, &p->s.retry, 0);
	assert_non_null(p->s.route);
	return p->s.route;
}

static void what_is_unbegun_goes_back_when_no_more_comes(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct route *route = p.s.route;
	struct job *first = small_deliver(&p.s, "1");
	struct job *second = small_deliver(&p.s, "2");
	(void)small_deliver(&p.s, "3");
	turn(&p);
	assert_int_equal(route->assigned, 2);
	core_retire(&p.s.core, route);
	assert_int_equal(p.retired, 1);
	(void)small_deliver(&p.s, "4"); /* before the broker had read of it */
	turn(&p);
	assert_int_equal(route->held, 2);
	small_finish(&p.s, first);
	turn(&p);
	assert_int_equal(route->assigned, 1); /* none began in its place */
	p.leaving = LEAVING_JOBS;
	turn(&p);
	assert_int_equal(route->held, 0);
	assert_int_equal(route->fates[FATE_RETURNED], 2);
	assert_int_equal(route->fates[FATE_DONE], 1);
	p.leaving = LEAVING_GONE;
	turn(&p);
	assert_int_equal(p.gone, 0);
	small_finish(&p.s, second);
	turn(&p);
	assert_int_equal(p.gone, 1);
	assert_ptr_equal(p.gone_route, route);
	assert_true(list_empty(&p.s.core.roster.routes));
	small_core_fini(&p.s);
}

static void a_worker_that_stops_drains_it_with_the_rest(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *running = small_deliver(&p.s, "1");
	turn(&p);
	core_retire(&p.s.core, p.s.route);
	p.leaving = LEAVING_GONE;
	core_event(&p.s.core, EVENT_STOP, "SIGTERM");
	turn(&p);
	small_finish(&p.s, running);
	turn(&p);
	assert_true(core_is_closed(&p.s.core));
	assert_int_equal(p.gone, 0);
	assert_int_equal(p.s.core.drain.report.fates[FATE_DONE], 1);
	small_core_fini(&p.s);
}

static void a_queue_that_is_back_has_the_counts(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct route *old = p.s.route;
	struct job *running = small_deliver(&p.s, "1");
	small_run(&p.s, SMALL_S);
	core_retire(&p.s.core, old);
	struct route *heir = add_again(&p);
	assert_ptr_equal(route_of_counts(old), heir);
	assert_int_equal(heir->fates[FATE_DONE], 1);
	assert_int_equal(old->fates[FATE_DONE], 0);
	small_run(&p.s, SMALL_S);
	small_finish(&p.s, running);
	assert_int_equal(heir->fates[FATE_DONE], 3);
	assert_ptr_equal(route_runs(old), &heir->runs);
	p.leaving = LEAVING_GONE;
	turn(&p);
	assert_ptr_equal(p.gone_route, old);
	assert_int_equal(heir->fates[FATE_DONE], 3);
	small_core_fini(&p.s);
}

static void the_last_that_is_left_has_the_counts(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct route *old = p.s.route;
	struct job *running = small_deliver(&p.s, "1");
	turn(&p);
	core_retire(&p.s.core, old);
	struct route *second = add_again(&p);
	small_run(&p.s, SMALL_S);
	core_retire(&p.s.core, second);
	struct route *third = add_again(&p);
	assert_int_equal(third->fates[FATE_DONE], 1);
	core_retire(&p.s.core, third);
	p.leaving = LEAVING_GONE;
	turn(&p); /* the second and the third have nothing that would keep them */
	assert_int_equal(p.gone, 2);
	assert_null(old->heir);
	assert_int_equal(old->fates[FATE_DONE], 1);
	small_finish(&p.s, running);
	assert_int_equal(old->fates[FATE_DONE], 2);
	turn(&p);
	assert_int_equal(p.gone, 3);
	small_core_fini(&p.s);
}

static struct job *deliver_again(struct plant *p, const char *id)
{
	struct job_facts facts = {
	    .route = p->s.route, .id = span_text(id), .attempt = 1, .redelivered = true};
	struct job *job = job_create(&facts), *given = job;
	p->s.core.source_host.deliver(&p->s.core.source_host, &given);
	return job;
}

/* The connection is lost while the job of the route before runs, and comes back on the route of now. */
static void its_jobs_are_recognised_on_another_route(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct source_host *host = &p.s.core.source_host;
	struct route *old = p.s.route;
	struct job *running = small_deliver(&p.s, "1");
	turn(&p);
	core_retire(&p.s.core, old);
	struct route *heir = add_again(&p);
	host->took_back(host, old);
	struct job *again = deliver_again(&p, "1");
	assert_ptr_equal(running->recall.other, again);
	turn(&p);
	assert_int_equal(heir->assigned, 0);
	small_finish(&p.s, running);
	assert_int_equal(heir->fates[FATE_DONE], 1);
	assert_int_equal(p.s.core.recall.n_expected, 0);
	p.leaving = LEAVING_GONE;
	turn(&p);
	assert_ptr_equal(p.gone_route, old);
	small_core_fini(&p.s);
}

static void lose(struct source *source, struct job *job)
{
	source->host->settled(source->host, job, SETTLED_LOST);
}

/* It ends first, nobody can be told, and its route goes. */
static void what_ended_is_remembered_for_the_heir(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct route *old = p.s.route;
	struct job *running = small_deliver(&p.s, "1");
	turn(&p);
	core_retire(&p.s.core, old);
	struct route *heir = add_again(&p);
	p.ops.settle = lose;
	small_finish(&p.s, running);
	p.ops.settle = small_settle;
	p.leaving = LEAVING_GONE;
	turn(&p);
	assert_ptr_equal(p.gone_route, old);
	assert_int_equal(p.s.core.recall.n_kept, 1);
	(void)deliver_again(&p, "1");
	assert_int_equal(heir->fates[FATE_DONE], 1);
	assert_int_equal(p.s.core.recall.n_kept, 0);
	small_core_fini(&p.s);
}

static void without_an_heir_it_is_forgotten(void **state)
{
	(void)state;
	struct plant p;
	open_plant(&p);
	struct job *running = small_deliver(&p.s, "1");
	turn(&p);
	core_retire(&p.s.core, p.s.route);
	p.ops.settle = lose;
	small_finish(&p.s, running);
	assert_int_equal(p.s.core.recall.n_kept, 1);
	p.leaving = LEAVING_GONE;
	turn(&p);
	assert_int_equal(p.s.core.recall.n_kept, 0);
	small_core_fini(&p.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_unbegun_goes_back_when_no_more_comes),
	    cmocka_unit_test(a_worker_that_stops_drains_it_with_the_rest),
	    cmocka_unit_test(a_queue_that_is_back_has_the_counts),
	    cmocka_unit_test(the_last_that_is_left_has_the_counts),
	    cmocka_unit_test(its_jobs_are_recognised_on_another_route),
	    cmocka_unit_test(what_ended_is_remembered_for_the_heir),
	    cmocka_unit_test(without_an_heir_it_is_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
