/* What became of each delivery, from what the core asked its sources and executors to do; and from that, what its
 * report must say, and with which code we must exit. Nothing here is read from the core but to be compared. */
#include "world.h"

#include <stdio.h>
#include <string.h>

unsigned checkpoint_number(struct span text)
{
	unsigned number = 0;
	for (size_t i = 0; i < text.len; i++)
		number = number * 10 + (unsigned)(text.ptr[i] - '0');
	return number;
}

struct delivery *delivery_of(struct world *w, const struct job *job)
{
	struct delivery *d = &w->deliveries[job->source_tag];
	promise(w, d->job == job, "delivery %u has left, and is spoken of", d->number);
	return d;
}

struct delivery *books_new_delivery(struct world *w, struct message *m, unsigned route)
{
	promise(w, w->n_deliveries < MAX_DELIVERIES, "too many deliveries for the simulation");
	unsigned number = (unsigned)w->n_deliveries++;
	struct delivery *d = &w->deliveries[number];
	*d = (struct delivery){
	    .message = m,
	    .number = number,
	    .source = source_of_queue(w, m->queue),
	    .route = route,
	    .epoch = w->epochs[route],
	    .content = m->content,
	    .attempt = m->attempt,
	    .interruptions = m->interruptions,
	    .crashes = m->crashes,
	    .redelivered = m->redelivered,
	    .due = m->due,
	    .taken_ns = w->now_ns,
	};
	list_init(&d->in_held);
	w->books.delivered++;
	w->books.here++;
	return d;
}

void books_hold(struct world *w, struct delivery *d)
{
	struct list *at = &w->held[d->route];
	while (at->prev != &w->held[d->route] &&
	       list_entry(at->prev, struct delivery, in_held)->number > d->number)
		at = at->prev;
	list_insert_before(at, &d->in_held);
	d->where = HELD;
}

struct delivery *books_oldest_held(struct world *w, unsigned route)
{
	struct list *held = &w->held[route];
	return list_empty(held) ? NULL : list_entry(held->next, struct delivery, in_held);
}

/* --- how it must be told ---------------------------------------------------------------------- */

static struct verdict failed(const struct world *w, struct verdict v, bool crashed)
{
	v.crashes += crashed;
	v.poisonous = crashed && w->retry.crashes != 0 && v.crashes >= w->retry.crashes;
	v.fate = FATE_DEAD;
	if (v.poisonous || v.attempt >= w->retry.attempts)
		return v;
	v.fate = FATE_RETRIED;
	v.attempt++;
	return v;
}

static struct verdict returned(struct verdict v, bool interrupted)
{
	v.fate = FATE_RETURNED;
	v.interrupted = interrupted;
	v.interruptions += interrupted;
	return v;
}

/* Whose time was up has failed, whatever it made of it, unless it was done or says that it never will be; whom the
 * drain asked to stop has been interrupted. */
struct verdict books_verdict(const struct world *w, const struct delivery *d)
{
	struct verdict v = {
	    .attempt = d->attempt, .interruptions = d->interruptions, .crashes = d->crashes};
	if (d->run == NULL)
		return returned(v, false);
	bool drains = d->run->asked == ASKED_FOR_DRAIN;
	bool overdue = d->run->asked == ASKED_FOR_TIMEOUT;
	switch (d->run->outcome.kind) {
	case OUTCOME_DONE:
		v.fate = FATE_DONE;
		return v;
	case OUTCOME_REJECT:
		v.fate = FATE_DEAD;
		return v;
	case OUTCOME_RETRY:
		if (!drains)
			return failed(w, v, d->run->outcome.crashed && !overdue);
		break;
	case OUTCOME_RETURN:
	case OUTCOME_ABANDONED:
		if (overdue)
			return failed(w, v, false);
		break;
	}
	return returned(v, drains || d->run->outcome.kind == OUTCOME_ABANDONED);
}

/* --- and how it leaves ------------------------------------------------------------------------ */

static void leave(struct world *w, struct delivery *d)
{
	list_remove(&d->in_held);
	d->where = LEFT;
	d->job = NULL;
	w->books.here--;
	while (w->first_here < w->n_deliveries && w->deliveries[w->first_here].where == LEFT)
		w->first_here++;
}

static void count(struct world *w, const struct delivery *d, enum fate fate, bool interrupted,
		  bool dropped)
{
	struct books *b = &w->books;
	b->since_start[fate]++;
	w->queues[d->message->queue].fates[fate]++;
	if (!w->stop.stopping)
		return;
	b->in_drain[fate]++;
	b->interrupted += interrupted;
	if (!d->in_drain && fate != FATE_UNSETTLED)
		return;
	b->entries[b->n_entries].number = d->number;
	b->entries[b->n_entries].fate = fate;
	b->entries[b->n_entries].interrupted = interrupted;
	b->entries[b->n_entries++].dropped = dropped;
}

void books_leaves(struct world *w, struct delivery *d, enum fate fate)
{
	bool interrupted =
	    fate == FATE_RETURNED && d->where == TOLD && books_verdict(w, d).interrupted;
	if (d->where == AWAITS)
		d->run->again = NULL;
	count(w, d, fate, interrupted, false);
	leave(w, d);
}

/* The first delivery leaves without a word: the second has its end now. */
void books_merge(struct world *w, struct delivery *first)
{
	first->again->in_drain = first->in_drain;
	w->books.merged++;
	leave(w, first);
}

/* Messages that were too large to become jobs. */
void books_bury(struct world *w, unsigned queue, uint64_t count)
{
	w->books.since_start[FATE_DEAD] += count;
	w->queues[queue].fates[FATE_DEAD] += count;
	if (w->stop.stopping)
		w->books.in_drain[FATE_DEAD] += count;
}

void books_ran(struct world *w, const struct delivery *d)
{
	w->queues[d->message->queue].waited_ns += d->begun_ns - d->taken_ns;
	w->queues[d->message->queue].ran_ns += d->ended_ns - d->begun_ns;
}

/* What is counted of a queue is gone with the last of its routes. */
void books_route_gone(struct world *w, unsigned route)
{
	struct queue *q = &w->queues[w->queue_of[route]];
	for (unsigned i = 0; i < w->n_routes; i++)
		if (i != route && w->routes[i] != NULL && w->queue_of[i] == w->queue_of[route])
			return;
	memset(q->fates, 0, sizeof q->fates);
	q->waited_ns = q->ran_ns = 0;
}

/* Nobody waits any longer: who runs has been interrupted, who awaits one of those is counted as it. */
static void drop(struct world *w, struct delivery *d)
{
	bool runs = d->where == RUNS || d->where == STAGED;
	if (d->where == AWAITS)
		w->books.merged++;
	else if (d->where == HELD || runs)
		count(w, d, FATE_RETURNED, runs, true);
	if (d->where != LEFT)
		leave(w, d);
}

/* --- comparing -------------------------------------------------------------------------------- */

static void check_counts(struct world *w)
{
	const struct books *b = &w->books;
	const struct report *r = &w->core.drain.report;
	for (enum fate fate = 0; fate < FATE_COUNT; fate++) {
		promise(w, r->since_start[fate] == b->since_start[fate],
			"%" PRIu64 " %s, says the core, and there were %" PRIu64,
			r->since_start[fate], fate_name(fate), b->since_start[fate]);
		promise(w, r->fates[fate] == b->in_drain[fate],
			"%" PRIu64 " %s in the drain, says the report, and there were %" PRIu64,
			r->fates[fate], fate_name(fate), b->in_drain[fate]);
	}
	promise(w, r->interrupted == b->interrupted,
		"%zu interrupted, says the report, and there were %" PRIu64, r->interrupted,
		b->interrupted);
	promise(w, ledger_total(&w->core.ledger) == b->here,
		"%zu jobs in the ledger, and %" PRIu64 " are here", ledger_total(&w->core.ledger),
		b->here);
}

/* Who looks from outside sees one queue, however many routes it has. */
static void check_queues(struct world *w)
{
	for (unsigned i = 0; i < w->n_routes; i++) {
		if (w->routes[i] == NULL)
			continue;
		const struct route *counts = route_of_counts(w->routes[i]);
		const struct queue *q = &w->queues[w->queue_of[i]];
		promise(w, memcmp(counts->fates, q->fates, sizeof q->fates) == 0,
			"queue %u has other fates than it counts", w->queue_of[i]);
		promise(w, counts->runs.sum_ns == q->ran_ns && counts->waits.sum_ns == q->waited_ns,
			"queue %u has run or waited for longer or less long than it counts",
			w->queue_of[i]);
	}
}

/* How long each phase of the stop took; one that ended within a turn took nothing. */
static void count_phase(struct world *w)
{
	struct books *b = &w->books;
	if (phase_is_stopping(b->phase))
		b->spent_ns[b->phase] += w->now_ns - b->turn_ns;
	b->phase = w->core.drain.phase;
	b->turn_ns = w->now_ns;
}

void books_check_turn(struct world *w)
{
	count_phase(w);
	check_counts(w);
	check_queues(w);
}

static bool is_entry_of(struct world *w, size_t i, const struct report_entry *e)
{
	const struct delivery *d = &w->deliveries[w->books.entries[i].number];
	const struct delivery *run = d->run;
	enum fate fate = w->books.entries[i].fate;
	bool interrupted = w->books.entries[i].interrupted;
	uint64_t ran_ns = run != NULL ? run->ended_ns - run->begun_ns : 0;
	return strcmp(e->id, d->id) == 0 && e->queue == w->queues[d->message->queue].name &&
	       e->attempt == d->attempt && e->fate == fate && e->interrupted == interrupted &&
	       e->duplicate_possible == (fate == FATE_UNSETTLED || interrupted) &&
	       (w->books.entries[i].dropped || e->ran_ns == ran_ns);
}

/* Of a job that was dropped it is not known exactly for how long it ran, so these are looked at last. */
static size_t find_entry(struct world *w, const struct report_entry *e, bool dropped)
{
	size_t i = 0;
	while (i < w->books.n_entries &&
	       !(w->books.entries[i].dropped == dropped && is_entry_of(w, i, e)))
		i++;
	return i;
}

/* What ran when the drain began is there by name, and what stayed unsettled, and nothing else. */
static void check_entries(struct world *w)
{
	const struct report *r = &w->core.drain.report;
	struct books *b = &w->books;
	promise(w, r->n_entries == b->n_entries && r->omitted == 0,
		"the report has %zu entries, and should have %zu", r->n_entries, b->n_entries);
	for (size_t e = 0; e < r->n_entries; e++) {
		size_t found = find_entry(w, &r->entries[e], false);
		if (found == b->n_entries)
			found = find_entry(w, &r->entries[e], true);
		promise(w, found < b->n_entries,
			"the report has %s of \"%s\", attempt %u, %s%s, %" PRIu64
			" ns: no such job",
			r->entries[e].id, r->entries[e].queue, r->entries[e].attempt,
			fate_name(r->entries[e].fate),
			r->entries[e].interrupted ? ", interrupted" : "", r->entries[e].ran_ns);
		b->entries[found] = b->entries[--b->n_entries];
	}
}

static int exit_code(const struct world *w)
{
	const struct books *b = &w->books;
	if (b->refused)
		return 69;
	if (b->in_drain[FATE_UNSETTLED] > 0)
		return 11;
	if (w->stop.hurried)
		return 12;
	return b->interrupted > 0 ? 10 : 0;
}

void books_check_end(struct world *w)
{
	const struct report *r = &w->core.drain.report;
	for (size_t i = w->first_here; i < w->n_deliveries; i++)
		drop(w, &w->deliveries[i]);
	check_counts(w);
	check_entries(w);
	promise(w, report_exit_code(r) == exit_code(w), "exit code %d, and it should be %d",
		report_exit_code(r), exit_code(w));
	promise(w, (r->hurry == HURRY_ASKED) == w->stop.hurried, "who was in a hurry?");
	promise(w, r->hurry != HURRY_DEADLINE || w->now_ns >= w->stop.ask_ns,
		"the deadline was in a hurry");
	promise(w, r->began_ns == w->stop.began_ns && r->ended_ns == w->now_ns,
		"the report has another time");
	for (enum phase phase = PHASE_CLOSING; phase < PHASES; phase++)
		promise(w, r->spent_ns[phase] == w->books.spent_ns[phase],
			"%s took %" PRIu64 " ns, and not %" PRIu64, phase_name(phase),
			w->books.spent_ns[phase], r->spent_ns[phase]);
}
