/* What holds at the end of each turn: limits, turns, that nothing waits that could begin, and that nothing which
 * cannot begin is kept; and at the end of all, that no work is lost. */
#include "world.h"

#include <string.h>

/* Beyond a limit there is only what was there when it was lowered. */
static unsigned most_now(unsigned limit, unsigned most, unsigned there)
{
	unsigned left = there < most ? there : most;
	return left > limit ? left : limit;
}

static void check_budgets(struct world *w)
{
	unsigned running = 0, per_route[MAX_ROUTES] = {0};
	for (unsigned i = 0; i < w->n_executors; i++) {
		struct fake_executor *e = &w->executors[i];
		running += e->begun;
		e->most = most_now(lane_widest(e->lane), e->most, e->lane->assigned);
		promise(w, e->begun <= e->base.widest || e->as_wide,
			"a handler runs more than its width");
		promise(w, e->begun <= e->most, "a handler runs more than its limit");
	}
	for (size_t i = w->first_here; i < w->n_deliveries; i++)
		per_route[w->deliveries[i].route] += w->deliveries[i].where == RUNS;
	w->most = most_now(w->concurrency, w->most, w->core.dispatch.budget.taken);
	promise(w, running <= w->most, "%u run, %u may", running, w->most);
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL || r->limit == 0)
			continue;
		w->most_of[i] = most_now(r->limit, w->most_of[i], r->assigned);
		promise(w, per_route[i] <= w->most_of[i], "queue %u runs %u, limit %u", i,
			per_route[i], w->most_of[i]);
	}
}

/* Nothing that could begin may wait: a permit, a place and a held job at once is a lost wake-up. */
static void check_no_idle_room(struct world *w)
{
	if (w->core.drain.phase != PHASE_OPEN || budget_left(&w->core.dispatch.budget) == 0 ||
	    core_next_ns(&w->core) <= w->now_ns)
		return;
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL || r->retired)
			continue;
		const struct fake_executor *e =
		    list_entry(r->lane->executor, struct fake_executor, base);
		bool room = pauses_room(e) > 0 && (r->limit == 0 || r->assigned < r->limit) &&
			    rate_next_ns(&r->rate, w->now_ns) <= w->now_ns &&
			    rate_next_ns(&r->lane->rate, w->now_ns) <= w->now_ns;
		promise(w, list_empty(&w->held[i]) || !room, "queue %u holds jobs with room to run",
			i);
	}
}

/* Not even until the end of the turn is kept what cannot begin here, once nothing more comes. */
static void check_given_back(struct world *w)
{
	bool open = w->core.drain.phase == PHASE_OPEN;
	if (core_next_ns(&w->core) <= w->now_ns)
		return;
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL)
			continue;
		bool cancelled = w->consumers[i] >= CANCELLED;
		bool shut = r->source->intake == INTAKE_SHUT && !open;
		cancelled &= !phase_is_stopping(w->core.drain.phase);
		promise(w, list_empty(&w->held[i]) || !(cancelled || shut),
			"queue %u is shut and jobs are held", w->queue_of[i]);
	}
}

/* What the exit, the page and the log go by. */
static void check_blockers(struct world *w)
{
	struct blockers is = drain_blockers(&w->core.drain);
	size_t at[LEFT + 1] = {0}, up = 0, open = 0, intakes = 0;
	for (size_t i = w->first_here; i < w->n_deliveries; i++)
		at[w->deliveries[i].where]++;
	for (unsigned i = 0; i < w->n_sources; i++) {
		enum link_state link = w->sources[i].base.link;
		intakes += w->sources[i].base.intake != INTAKE_SHUT;
		open += link != LINK_CLOSED;
		up += link != LINK_CLOSED && link != LINK_CLOSING;
	}
	promise(w, is.held == at[HELD] + at[AWAITS], "%zu held are in the way, and %zu are held",
		is.held, at[HELD] + at[AWAITS]);
	promise(w, is.running == at[STAGED] + at[RUNS], "%zu run and are in the way, and %zu run",
		is.running, at[STAGED] + at[RUNS]);
	promise(w, w->core.dispatch.budget.taken <= at[STAGED] + at[RUNS],
		"%u may run because %zu do", w->core.dispatch.budget.taken, at[STAGED] + at[RUNS]);
	promise(w, is.settling == at[TOLD], "%zu to settle are in the way, and %zu are told",
		is.settling, at[TOLD]);
	promise(w, is.intakes == intakes && is.links == open && is.links_up == up,
		"other intakes or connections are in the way than are open");
}

static void check_intakes(struct world *w)
{
	bool open = w->core.drain.phase == PHASE_OPEN;
	for (unsigned i = 0; i < w->n_sources; i++)
		promise(w, w->sources[i].wanted == open, "source %u is %s", i,
			open ? "paused" : "not paused");
}

/* --- turns ------------------------------------------------------------------------------------ */

/* Whoever could not have begun a job anyway was not kept waiting by the others. */
static void forget_turns(struct world *w)
{
	for (unsigned a = 0; a < w->n_routes; a++)
		if (!route_may_begin(w, w->routes[a], NULL))
			memset(w->overtaken[a], 0, sizeof w->overtaken[a]);
}

static unsigned routes_of(const struct world *w, const struct lane *lane)
{
	unsigned n = 0;
	for (unsigned i = 0; i < w->n_routes; i++)
		n += w->routes[i] != NULL && w->routes[i]->lane == lane;
	return n;
}

/* So many in so much time, and a burst of 50 ms where that is more than one. */
static void check_rate(struct world *w, uint64_t *due_ns, const struct rate *rate)
{
	uint64_t early_ns = rate->interval_ns <= 50 * MS ? 50 * MS : 0;
	if (rate->interval_ns == 0)
		return;
	promise(w, w->now_ns + early_ns >= *due_ns, "begun faster than its rate allows");
	*due_ns = (w->now_ns > *due_ns ? w->now_ns : *due_ns) + rate->interval_ns;
}

/* Handlers take turns, and so do the queues of each: while one could begin a job, another one of its
 * handler gets at most two in, and one of another handler at most that for each that its own handler
 * has to serve. A job that is only staged takes nothing away from other handlers. */
void promises_check_start(struct world *w, const struct route *begins)
{
	const struct lane *lane = begins->lane;
	unsigned b = route_index(w, begins);
	bool staged = lane->assigned > lane_width(lane);
	check_rate(w, &w->due_ns[b], &begins->rate);
	check_rate(w, &list_entry(lane->executor, struct fake_executor, base)->due_ns, &lane->rate);
	memset(w->overtaken[b], 0, sizeof w->overtaken[b]);
	for (unsigned a = 0; a < w->n_routes; a++) {
		const struct route *waits = w->routes[a];
		if (a == b || !route_may_begin(w, waits, lane) || (staged && waits->lane != lane))
			continue;
		unsigned most = waits->lane == lane ? 2 : 1 + routes_of(w, waits->lane);
		promise(w, ++w->overtaken[a][b] <= most,
			"queue %u waits while queue %u is served %u times", a, b, most + 1);
	}
}

/* --- lists ------------------------------------------------------------------------------------ */

/* The queue's own jobs will make room for the next of them, or what it waits for is none of ours. */
static bool waits_for_nobody(const struct world *w, unsigned route)
{
	const struct route *r = w->routes[route];
	if (w->consumers[route] != CONSUMES || w->suspended[route] != TAKES)
		return true;
	const struct fake_source *source = list_entry(r->source, struct fake_source, base);
	const struct budget *budget = &w->core.dispatch.budget;
	if (!source->asks || source->base.intake != INTAKE_OPEN || source->hung ||
	    source->base.link != LINK_UP || w->core.drain.phase != PHASE_OPEN ||
	    broker_waiting(w, route) == 0 || lane_width(r->lane) == 0)
		return true;
	bool is_full = r->limit != 0 && r->assigned >= r->limit; /* more: it was lowered */
	is_full |= r->hold_limit != 0 && r->in_ledger >= r->hold_limit;
	return (r->assigned > 0 || r->in_ledger > 0) &&
	       (r->assigned == r->lane->assigned || is_full || r->assigned == budget->taken);
}

/* Dispatch takes turns between those that hold a job, so who has more in his queue must. Where jobs are
 * staged, some of which may be its own, it is enough that it has any. */
static void check_lists_are_in_line(struct world *w)
{
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL)
			continue;
		const struct executor *executor = r->lane->executor;
		bool in_line =
		    r->held > 0 || (executor->depth > executor->width && r->assigned > 0);
		struct fake_list *list = &w->lists[i];
		bool before = list->out_of_line;
		list->out_of_line = !in_line && !waits_for_nobody(w, i);
		if (!before)
			list->since_ns = w->now_ns;
		promise(w,
			!list->out_of_line || w->lateness > 0 ||
			    w->now_ns - list->since_ns <= 20 * MS,
			"queue %u has %u jobs, and none in line", i, broker_waiting(w, i));
	}
}

void promises_check_turn(struct world *w)
{
	books_check_turn(w);
	deadlines_check_turn(w);
	pauses_check_turn(w);
	check_blockers(w);
	check_budgets(w);
	check_no_idle_room(w);
	check_given_back(w);
	check_intakes(w);
	forget_turns(w);
	check_lists_are_in_line(w);
}

/* Nothing lost: what is nowhere any more was done, or is dead. */
void promises_check_end(struct world *w)
{
	bool here[MAX_WORKS] = {false};
	for (size_t i = 0; i < w->n_messages; i++)
		here[w->messages[i].work] |= w->messages[i].place != GONE;
	for (size_t i = 0; i < w->n_works; i++)
		promise(w,
			here[i] || w->works[i].good > 0 || w->works[i].dead > 0 ||
			    w->works[i].credited,
			"work %zu is lost", i);
}
