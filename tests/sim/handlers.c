/* Handlers: threads that stage jobs and cannot be killed, processes that come and go. An op may end, or hand back
 * unseen, any job its executor has: whoever writes to a process may find that it has gone. Fakes do so at random,
 * as far as executor.h allows. */
#include "world.h"

#include <stdio.h>
#include <string.h>

static struct fake_executor *executor_at(struct executor *base)
{
	return list_entry(base, struct fake_executor, base);
}

/* The host is told by who calls. */
static void resize(struct fake_executor *e, unsigned width)
{
	unsigned before = e->base.width;
	e->base.width = e->base.depth = width;
	pauses_resized(e, before);
}

/* --- a run ------------------------------------------------------------------------------------ */

static void begin_run(struct fake_executor *e, struct delivery *d)
{
	struct world *w = e->world;
	struct job *job = d->job;
	promise(w, w->core.drain.phase == PHASE_OPEN, "delivery %u begins while we stop",
		d->number);
	promise(w, !job->route->retired, "delivery %u begins, and its queue is not wanted",
		d->number);
	unsigned handed = checkpoint_number(job->checkpoint);
	promise(w, handed == d->due, "delivery %u is handed checkpoint %u and not %u", d->number,
		handed, d->due);
	list_append(&e->running, &job->in_executor);
	d->where = RUNS;
	d->run = d;
	d->begun_ns = job->begun_ns = w->now_ns;
	pauses_begun(e, d);
	d->immortal = w->drain.limit != DRAIN_LIMIT_NONE && !e->threads && chance(w, 1);
	e->begun++;
	trace(w, "  delivery %u begins", d->number);
	uint64_t run_ns = chance(w, 50) ? roll(w, 5) * MS : roll(w, 4000) * MS;
	struct event event = {.kind = EV_END_OF_RUN, .executor = e, .job = job};
	if (!d->immortal)
		schedule(w, event, run_ns);
	event.kind = EV_SAY;
	/* Who was handed something has more to say: few are, and of those fewer come again. */
	for (unsigned i = 0; i < 3 && chance(w, handed != 0 ? 80 : 40); i++)
		schedule(w, event, roll(w, run_ns + 1));
}

void handlers_begin_staged(struct world *w, struct fake_executor *e)
{
	while (!e->connects && e->begun < e->base.width && !list_empty(&e->staged))
		begin_run(e, delivery_of(w, list_entry(list_take_first(&e->staged), struct job,
						       in_executor)));
}

static void end_run(struct fake_executor *e, struct delivery *d, struct outcome outcome)
{
	struct world *w = e->world;
	struct job *job = d->job;
	unschedule_job(w, job);
	list_remove(&job->in_executor);
	e->begun--;
	trace(w, "  delivery %u ends: %s%s", d->number, outcome_name(outcome.kind),
	      outcome.crashed ? ", crashed" : "");
	w->works[d->message->work].good += outcome.kind == OUTCOME_DONE;
	d->where = ENDED;
	d->ended_ns = w->now_ns;
	d->outcome = outcome;
	books_ran(w, d);
	pauses_ended(e, d);
	e->base.host->finished(e->base.host, job, &outcome);
	promise(w, d->where == TOLD || d->where == LEFT,
		"delivery %u has ended, and nobody is told", d->number);
}

static struct outcome how_it_ends(struct world *w, const struct delivery *d)
{
	uint64_t r = roll(w, 100);
	if (d->asked != NOT_ASKED && r >= 20) /* SIGTERM is a way to die, too */
		return (struct outcome){.kind = OUTCOME_RETRY, .crashed = r < 60};
	if (r < 80)
		return (struct outcome){.kind = OUTCOME_DONE};
	if (r < 93)
		return (struct outcome){.kind = OUTCOME_RETRY,
					.crashed = r<86, .after_ms = r> 90 ? roll(w, 500) : 0};
	if (r < 95)
		return (struct outcome){.kind = OUTCOME_RETURN};
	if (r < 96)
		return (struct outcome){.kind = OUTCOME_ABANDONED};
	return (struct outcome){.kind = OUTCOME_REJECT};
}

/* What would have waited for its end is like any other. */
static void leaves_unseen(struct world *w, struct delivery *d)
{
	if (d->again != NULL) {
		d->again->run = NULL;
		books_hold(w, d->again);
	}
	books_leaves(w, d, FATE_RETURNED);
}

static void comes_back(struct fake_executor *e, struct delivery *d, const char *why)
{
	struct world *w = e->world;
	struct job *job = d->job;
	unschedule_job(w, job);
	list_remove(&job->in_executor);
	e->begun -= d->where == RUNS;
	job->begun_ns = 0;
	trace(w, "  delivery %u is handed back, unseen", d->number);
	d->run = NULL;
	d->asked = NOT_ASKED;
	d->begun_ns = d->asked_ns = d->killed_ns = 0;
	d->in_drain = false;
	books_hold(w, d);
	if (d->lost) /* the broker has it back already */
		leaves_unseen(w, d);
	pauses_left(e, d);
	if (why != NULL)
		e->base.host->could_not_begin(e->base.host, job, why);
	else
		e->base.host->retracted(e->base.host, job);
}

static void hand_back(struct fake_executor *e, struct delivery *d)
{
	comes_back(e, d, NULL);
}

static void could_not_begin(struct fake_executor *e, struct delivery *d)
{
	pauses_could_not_begin(e);
	comes_back(e, d, "no such program");
}

static bool is_broken(const struct fake_executor *e)
{
	return e->world->now_ns < e->broken_until_ns;
}

/* --- what it says ----------------------------------------------------------------------------- */

static void extend(struct fake_executor *e, struct delivery *d)
{
	struct world *w = e->world;
	uint64_t more_ms = chance(w, 95) ? roll(w, 2000) : UINT64_MAX - roll(w, 5);
	uint64_t most_ms = UINT64_C(30) * 24 * 3600 * 1000;
	uint64_t until_ns = w->now_ns + (more_ms < most_ms ? more_ms : most_ms) * MS;
	e->base.host->extend(e->base.host, d->job, more_ms);
	if (until_ns > d->extended_ns)
		d->extended_ns = until_ns;
}

static void say(struct fake_executor *e, struct delivery *d)
{
	struct world *w = e->world;
	char text[16] = "";
	d->touched = true;
	switch (roll(w, 4)) {
	case 0:
		e->base.host->progress(e->base.host, d->job, 0.5, span_text("half of it"));
		return;
	case 1:
		extend(e, d);
		return;
	default:
		d->has_left = true;
		d->left = chance(w, 40) ? 0 : ++w->last_checkpoint;
		if (d->left != 0)
			(void)snprintf(text, sizeof text, "%u", d->left);
		promise(w, e->base.host->checkpoint(e->base.host, d->job, span_text(text)),
			"a small checkpoint was refused");
	}
}

/* --- what its contract allows besides --------------------------------------------------------- */

static struct delivery *one_of(struct fake_executor *e, struct list *jobs)
{
	struct list *it = jobs->next;
	for (uint64_t n = roll(e->world, 8); n > 0 && it != jobs; n--)
		it = it->next;
	return it == jobs ? NULL : delivery_of(e->world, list_entry(it, struct job, in_executor));
}

/* An op meets a process that has gone, or news that lay in its pipe. */
static void do_mischief(struct fake_executor *e)
{
	struct world *w = e->world;
	if (e->busy || !chance(w, w->mischief))
		return;
	e->busy = true;
	for (uint64_t n = 1 + roll(w, 3); n > 0; n--) {
		struct delivery *d = one_of(e, &e->running);
		if (d == NULL)
			break;
		uint64_t what = roll(w, 3);
		if (what == 0)
			say(e, d);
		else if (what == 1 && !d->touched)
			hand_back(e, d);
		else if (!d->immortal)
			end_run(e, d, how_it_ends(w, d));
	}
	if (e->resizes && chance(w, 20))
		e->base.host->resized(e->base.host, &e->base);
	e->busy = false;
}

/* --- ops -------------------------------------------------------------------------------------- */

/* Its last process has gone: no more is given to it until it has another. */
static void cannot_begin(struct fake_executor *e, struct delivery *d)
{
	struct world *w = e->world;
	schedule(w, (struct event){.kind = EV_GROW, .executor = e, .number = e->base.width},
		 roll(w, 500) * MS);
	resize(e, 0);
	hand_back(e, d);
	e->base.host->resized(e->base.host, &e->base);
}

static void executor_start(struct executor *base, struct job *job)
{
	struct fake_executor *e = executor_at(base);
	struct world *w = e->world;
	struct delivery *d = delivery_of(w, job);
	promise(w, w->core.drain.phase == PHASE_OPEN, "started while stopping");
	promise(w, base->width > 0, "started where nothing can run");
	promise(w, !job->route->retired, "started of a queue that is not wanted");
	promise(w, d->where == HELD && books_oldest_held(w, d->route) == d,
		"delivery %u is started out of turn, before delivery %u", d->number,
		books_oldest_held(w, d->route)->number);
	promises_check_start(w, job->route);
	pauses_started(e, d);
	list_remove(&d->in_held);
	d->where = STAGED;
	list_append(&e->staged, &job->in_executor);
	if (e->connects) {
		schedule(w, (struct event){.kind = EV_BEGIN, .executor = e, .job = job},
			 roll(w, 5) * MS);
		do_mischief(e);
		return;
	}
	if (is_broken(e)) {
		could_not_begin(e, d);
		return;
	}
	if (e->resizes && chance(w, w->mischief / 3)) {
		cannot_begin(e, d);
		return;
	}
	handlers_begin_staged(w, e);
	promise(w, !e->resizes || list_empty(&e->staged), "staged where nothing may be");
	do_mischief(e);
	if (d->where == RUNS && w->mischief > 0 && chance(w, 3))
		end_run(e, d, how_it_ends(w, d)); /* ... this one, too */
}

static void executor_retract(struct executor *base)
{
	struct fake_executor *e = executor_at(base);
	while (!list_empty(&e->staged))
		hand_back(
		    e, delivery_of(e->world, list_entry(e->staged.prev, struct job, in_executor)));
	do_mischief(e);
}

static uint64_t executor_begun_ns(const struct executor *base, const struct job *job)
{
	(void)base;
	return job->begun_ns;
}

/* Why it is asked, and whether it may be yet. Where the drain and its timeout meet, either will do. */
static void note_asked(struct fake_executor *e, struct delivery *d)
{
	struct world *w = e->world;
	bool overdue = d->begun_ns != 0 && w->now_ns >= timeout_due_ns(d);
	bool drains = deadlines_may_ask(w, d) || deadlines_may_kill(w, d);
	promise(w, overdue || drains, "delivery %u is asked to stop before its time", d->number);
	if (d->asked != NOT_ASKED)
		return;
	d->asked_ns = w->now_ns;
	d->asked = overdue ? ASKED_FOR_TIMEOUT : ASKED_FOR_DRAIN;
	if (overdue && drains && d->job->stop == JOB_STOPPED_BY_DRAIN)
		d->asked = ASKED_FOR_DRAIN;
}

static void note_killed(struct fake_executor *e, struct delivery *d)
{
	struct world *w = e->world;
	bool overdue = w->now_ns >= timeout_kill_ns(w, d);
	promise(w, overdue || deadlines_may_kill(w, d), "delivery %u is killed before its time",
		d->number);
	note_asked(e, d);
	d->killed_ns = w->now_ns;
}

/* Nobody is told anything of a job that has only been staged. */
static void executor_stop(struct executor *base, struct job *job, enum stop_how how)
{
	struct fake_executor *e = executor_at(base);
	struct world *w = e->world;
	struct delivery *d = delivery_of(w, job);
	struct event end = {.kind = EV_END_OF_RUN, .executor = e, .job = job};
	trace(w, "  delivery %u is %s", d->number, how == STOP_ASK ? "asked to stop" : "killed");
	promise(w, d->where == RUNS, "delivery %u is asked to stop, and does not run", d->number);
	if (how == STOP_ASK)
		note_asked(e, d);
	else
		note_killed(e, d);
	if (how == STOP_ASK && !d->immortal && chance(w, 50)) { /* it listens */
		unschedule_job(w, job);
		schedule(w, end, roll(w, 100) * MS);
	}
	if (how == STOP_KILL && e->threads) {
		job->stuck = true;
		w->stuck[w->n_stuck++] = job;
		end_run(e, d, (struct outcome){.kind = OUTCOME_ABANDONED});
	} else if (how == STOP_KILL && !d->immortal) {
		unschedule_job(w, job);
		schedule(w, end, roll(w, 3) * MS);
	}
	do_mischief(e);
}

static void executor_notice(struct executor *base, uint64_t remaining_ms)
{
	struct fake_executor *e = executor_at(base);
	struct world *w = e->world;
	e->notices++;
	promise(w, e->notices <= w->stop.notices, "a drain notice for no reason");
	promise(w, remaining_ms == w->stop.notice_ms,
		"a notice of %" PRIu64 " ms, and they have %" PRIu64, remaining_ms,
		w->stop.notice_ms);
	do_mischief(e);
}

static void answer(struct fake_executor *e)
{
	bool broken = is_broken(e);
	pauses_answer(e, !broken);
	e->base.host->probed(e->base.host, &e->base, broken ? "still no such program" : NULL);
}

static void executor_probe(struct executor *base)
{
	struct fake_executor *e = executor_at(base);
	struct world *w = e->world;
	pauses_probe(e);
	if (chance(w, 50))
		answer(e);
	else
		schedule(w, (struct event){.kind = EV_PROBED, .executor = e}, roll(w, 50) * MS);
}

const struct executor_ops fake_executor_ops[] = {
    {
     .kind = "fake",
     .start = executor_start,
     .retract = executor_retract,
     .begun_ns = executor_begun_ns,
     .stop = executor_stop,
     .probe = executor_probe,
     .drain_notice = executor_notice,
     },
    {
     .kind = "fake without a probe",
     .start = executor_start,
     .retract = executor_retract,
     .begun_ns = executor_begun_ns,
     .stop = executor_stop,
     .drain_notice = executor_notice,
     },
};

/* --- its processes come and go ---------------------------------------------------------------- */

/* Some of its children are gone. Those that died take along what they ran; those that retire finish
 * it, and only begin nothing any more. */
static void shrink(struct fake_executor *e)
{
	struct world *w = e->world;
	unsigned lost = 1 + (unsigned)roll(w, e->base.widest);
	if (lost > e->base.width)
		lost = e->base.width;
	resize(e, e->base.width - lost);
	e->base.host->resized(e->base.host, &e->base);
	schedule(w, (struct event){.kind = EV_GROW, .executor = e, .number = lost},
		 roll(w, 500) * MS);
	if (chance(w, 30))
		return;
	for (unsigned i = 0; i < lost && !list_empty(&e->running); i++)
		end_run(e, delivery_of(w, list_entry(e->running.next, struct job, in_executor)),
			(struct outcome){.kind = OUTCOME_RETRY, .crashed = true});
}

static void grow(struct fake_executor *e, unsigned by)
{
	resize(e, e->base.width + by);
	e->base.host->resized(e->base.host, &e->base);
}

/* The last that were given go first, so that they are in order again. */
static void hand_back_unseen(struct fake_executor *e)
{
	struct world *w = e->world;
	struct list *it = e->running.prev;
	for (uint64_t n = 1 + roll(w, 4); n > 0 && it != &e->running; n--) {
		struct delivery *d = delivery_of(w, list_entry(it, struct job, in_executor));
		it = it->prev;
		if (!d->touched)
			hand_back(e, d);
	}
}

static void connected(struct fake_executor *e, struct delivery *d)
{
	if (is_broken(e)) {
		could_not_begin(e, d);
		return;
	}
	list_remove(&d->job->in_executor);
	begin_run(e, d);
}

void handlers_happen(struct world *w, const struct event *ev)
{
	struct fake_executor *e = ev->executor;
	switch (ev->kind) {
	case EV_END_OF_RUN:
		end_run(e, delivery_of(w, ev->job), how_it_ends(w, delivery_of(w, ev->job)));
		break;
	case EV_BEGIN:
		connected(e, delivery_of(w, ev->job));
		break;
	case EV_BREAK:
		e->broken_until_ns = w->now_ns + ev->number * MS;
		break;
	case EV_PROBED:
		answer(e);
		break;
	case EV_SAY:
		say(e, delivery_of(w, ev->job));
		break;
	case EV_SHRINK:
		if (e->base.width > 0)
			shrink(e);
		break;
	case EV_GROW:
		grow(e, (unsigned)ev->number);
		break;
	case EV_RETRACT:
		hand_back_unseen(e);
		break;
	default:
		break;
	}
}

/* --- limits change ---------------------------------------------------------------------------- */

static void widen(struct fake_executor *e)
{
	e->base.width = e->base.widest = e->base.depth = 1 + (unsigned)roll(e->world, 6);
	e->base.host->resized(e->base.host, &e->base);
}

static void change_limits(struct world *w)
{
	w->most = w->core.dispatch.budget.taken;
	w->concurrency = 1 + (unsigned)roll(w, 12);
	for (unsigned i = 0; i < w->n_executors; i++) {
		struct fake_executor *e = &w->executors[i];
		e->most = e->lane->assigned;
		e->lane->limit = chance(w, 30) ? 1 + (unsigned)roll(w, 6) : 0;
	}
	for (unsigned i = 0; i < w->n_routes; i++) {
		if (w->routes[i] == NULL)
			continue;
		w->most_of[i] = w->routes[i]->assigned;
		w->routes[i]->limit = chance(w, 40) ? 1 + (unsigned)roll(w, 4) : 0;
	}
}

/* Also while we stop: it may have been read before. */
void handlers_reload(struct world *w)
{
	unsigned heard[MAX_SOURCES];
	w->reloads++;
	change_limits(w);
	for (unsigned i = 0; i < w->n_executors; i++)
		if (w->executors[i].as_wide)
			widen(&w->executors[i]);
	for (unsigned i = 0; i < w->n_sources; i++)
		heard[i] = w->sources[i].limits_heard;
	core_limits_changed(&w->core, w->concurrency);
	for (unsigned i = 0; i < w->n_sources; i++)
		promise(w, w->sources[i].limits_heard == heard[i] + 1,
			"a source has not heard of new limits");
	memset(w->overtaken, 0, sizeof w->overtaken); /* who could begin is another question now */
}

bool route_may_begin(const struct world *w, const struct route *r, const struct lane *served)
{
	if (r == NULL || r->retired)
		return false;
	const struct lane *lane = r->lane;
	if (r->held == 0 || (r->limit != 0 && r->assigned >= r->limit) ||
	    rate_next_ns(&r->rate, w->now_ns) > w->now_ns)
		return false;
	return lane == served || (lane->assigned < lane_width(lane) &&
				  rate_next_ns(&lane->rate, w->now_ns) <= w->now_ns);
}
