/* When a stop may do what, and must: from the settings and the signals alone. The whole time is from the first signal
 * to the exit; running jobs have it but for the reserve, the grace, and a moment for the exit itself. Where grace
 * and reserve do not fit in, each gets a quarter. Who signals again gets at most grace and reserve more. */
#include "world.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t share_ns(const struct world *w, uint64_t configured_ms)
{
	const struct drain_settings *s = &w->drain;
	if (s->limit == DRAIN_LIMIT_NONE || s->grace_ms + s->reserve_ms < s->timeout_ms)
		return configured_ms * MS;
	return least(configured_ms * MS, s->timeout_ms * MS / 4);
}

static void begin(struct world *w)
{
	struct deadlines *s = &w->stop;
	uint64_t grace_ns = share_ns(w, w->drain.grace_ms);
	uint64_t reserve_ns = share_ns(w, w->drain.reserve_ms);
	s->stopping = true;
	s->began_ns = w->now_ns;
	s->ask_ns = s->kill_ns = s->end_ns = UINT64_MAX;
	s->return_kill_ns = w->now_ns + grace_ns;
	for (size_t i = w->first_here; i < w->n_deliveries; i++) {
		struct delivery *d = &w->deliveries[i];
		d->in_drain = d->where == RUNS || d->where == STAGED;
	}
	if (w->drain.limit == DRAIN_LIMIT_NONE)
		return;
	uint64_t deadline_ns = w->now_ns + w->drain.timeout_ms * MS;
	s->end_ns = deadline_ns - least(reserve_ns / 10, 100 * MS);
	s->kill_ns = deadline_ns - reserve_ns;
	s->ask_ns = s->kill_ns - grace_ns;
}

static void expect_notice(struct world *w)
{
	struct deadlines *s = &w->stop;
	uint64_t left_ns = s->ask_ns > w->now_ns ? s->ask_ns - w->now_ns : 0;
	s->notices++;
	s->notice_ms = s->ask_ns == UINT64_MAX ? UINT64_MAX : left_ns / MS;
}

static void hurry(struct world *w, bool at_once)
{
	struct deadlines *s = &w->stop;
	uint64_t grace_ns = share_ns(w, w->drain.grace_ms);
	s->hurried = true;
	s->killing |= at_once || w->core.drain.phase == PHASE_HURRYING;
	s->insisted |= w->core.drain.phase == PHASE_FLUSHING;
	s->kill_ns = least(s->kill_ns, at_once ? w->now_ns : w->now_ns + grace_ns);
	s->end_ns = least(s->end_ns, s->kill_ns + share_ns(w, w->drain.reserve_ms));
}

/* Who else wants a drain than the manager begins one, and hurries nobody; nor does the first signal after that, which
 * means the same stop, nor the echo of a signal. */
static bool does_hurry(const struct world *w, enum drain_event event)
{
	const struct deadlines *s = &w->stop;
	if (event != EVENT_STOP)
		return event == EVENT_STOP_NOW;
	return s->signalled && w->now_ns - s->signal_ns >= 1000 * MS;
}

static void hear_stop(struct world *w, enum drain_event event)
{
	struct deadlines *s = &w->stop;
	bool hurries = does_hurry(w, event), is_signal = event != EVENT_DRAIN;
	if (is_signal && (hurries || !s->signalled)) {
		s->signalled = true;
		s->signal_ns = w->now_ns;
	}
	bool begins = !s->stopping;
	if (begins)
		begin(w);
	if (begins ? event == EVENT_STOP_NOW : hurries)
		hurry(w, event == EVENT_STOP_NOW);
	else if (begins)
		expect_notice(w);
}

static void check_notices(struct world *w)
{
	for (unsigned i = 0; i < w->n_executors; i++)
		promise(w, w->executors[i].notices == w->stop.notices,
			"handler %u has had %u notices, and not %u", i, w->executors[i].notices,
			w->stop.notices);
}

void deadlines_event(struct world *w, enum drain_event event)
{
	if (event == EVENT_STOP || event == EVENT_STOP_NOW || event == EVENT_DRAIN)
		hear_stop(w, event);
	core_event(&w->core, event, "simulated signal");
	check_notices(w);
}

void deadlines_stop_begins(struct world *w)
{
	hear_stop(w, EVENT_DRAIN);
}

void deadlines_extend(struct world *w, uint64_t more_ms)
{
	struct deadlines *s = &w->stop;
	struct error why = {0};
	enum phase phase = w->core.drain.phase;
	bool may = (phase == PHASE_CLOSING || phase == PHASE_FINISHING) && s->ask_ns != UINT64_MAX;
	if (may) {
		s->ask_ns += more_ms * MS;
		s->kill_ns += more_ms * MS;
		s->end_ns += more_ms * MS;
		expect_notice(w);
	}
	bool did = drain_extend(&w->core.drain, more_ms, &why) == ST_OK;
	promise(w, did == may, "more time for the drain %s", did ? "that it had not" : "refused");
	check_notices(w);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static enum deadline_policy policy_of(const struct world *w, const struct delivery *d)
{
	return w->routes[d->route]->lane->policy;
}

bool deadlines_may_ask(const struct world *w, const struct delivery *d)
{
	const struct deadlines *s = &w->stop;
	if (!s->stopping)
		return false;
	return s->hurried || policy_of(w, d) == POLICY_RETURN ||
	       (w->now_ns >= s->ask_ns && policy_of(w, d) != POLICY_FINISH);
}

bool deadlines_may_kill(const struct world *w, const struct delivery *d)
{
	const struct deadlines *s = &w->stop;
	if (!s->stopping)
		return false;
	return s->killing || w->now_ns >= s->kill_ns ||
	       (policy_of(w, d) == POLICY_RETURN && w->now_ns >= s->return_kill_ns);
}

uint64_t timeout_due_ns(const struct delivery *d)
{
	uint64_t timeout_ns = d->job->route->lane->timeout_ns;
	if (timeout_ns == 0)
		return UINT64_MAX;
	uint64_t due_ns = d->begun_ns + timeout_ns;
	return due_ns > d->extended_ns ? due_ns : d->extended_ns;
}

/* The grace counts from when it was asked, however late that was. */
uint64_t timeout_kill_ns(const struct world *w, const struct delivery *d)
{
	uint64_t from_ns = timeout_due_ns(d);
	if (from_ns == UINT64_MAX || d->asked == NOT_ASKED ||
	    !w->routes[d->route]->lane->executor->can_kill)
		return UINT64_MAX;
	if (d->asked == ASKED_FOR_TIMEOUT && d->asked_ns > from_ns)
		from_ns = d->asked_ns;
	return from_ns + w->drain.grace_ms * MS;
}

static void check_job(struct world *w, const struct delivery *d)
{
	bool overdue = w->now_ns >= timeout_due_ns(d);
	bool spent = w->now_ns >= timeout_kill_ns(w, d) && d->asked_ns < w->now_ns;
	promise(w, d->asked != NOT_ASKED || !(overdue || deadlines_may_ask(w, d)),
		"delivery %u should have been asked to stop", d->number);
	promise(w, d->killed_ns != 0 || !(spent || deadlines_may_kill(w, d)),
		"delivery %u should have been killed", d->number);
}

/* --- phases ----------------------------------------------------------------------------------- */

static bool intakes_are_shut(const struct world *w)
{
	for (unsigned i = 0; i < w->n_sources; i++)
		if (w->sources[i].base.intake != INTAKE_SHUT)
			return false;
	return true;
}

static bool sources_are_flushed(const struct world *w)
{
	for (unsigned i = 0; i < w->n_sources; i++)
		if (!w->sources[i].flushed)
			return false;
	return true;
}

static bool links_are_closed(const struct world *w, enum link_state least_state)
{
	for (unsigned i = 0; i < w->n_sources; i++)
		if (w->sources[i].base.link < least_state)
			return false;
	return true;
}

/* Nothing is waited for that is not in the way, and nothing in the way is left behind before its time. */
static void check_phase(struct world *w, size_t running)
{
	const struct deadlines *s = &w->stop;
	bool shut = intakes_are_shut(w), in_time = w->now_ns < s->end_ns;
	switch (w->core.drain.phase) {
	case PHASE_OPEN:
	case PHASE_QUIET:
		promise(w, !s->stopping, "does not stop");
		break;
	case PHASE_CLOSING:
		promise(w, !shut, "closing, and the intake is shut");
		promise(w, !s->hurried && w->now_ns < s->ask_ns, "in no hurry");
		break;
	case PHASE_FINISHING:
		promise(w, shut && running > 0, "nothing to finish, or something to take");
		promise(w, !s->hurried && w->now_ns < s->ask_ns, "in no hurry");
		break;
	case PHASE_HURRYING:
		promise(w, s->hurried || w->now_ns >= s->ask_ns, "in a hurry");
		promise(w, running > 0, "nobody to hurry");
		promise(w, in_time, "late");
		break;
	case PHASE_FLUSHING:
		promise(w, running == 0, "flushing while jobs run");
		promise(w, !s->insisted, "flushing, and somebody will not wait for it");
		promise(w, sources_are_flushed(w), "flushing, and a source was not told");
		promise(w, in_time, "late");
		promise(w, !(shut && w->books.here == 0) || links_are_closed(w, LINK_CLOSING),
			"all is told, and connections are open");
		promise(w, !links_are_closed(w, LINK_CLOSED), "all is closed, and we are here");
		break;
	case PHASE_CLOSED:
		promise(w,
			!in_time || s->insisted ||
			    (w->books.here == 0 && running == 0 && shut &&
			     links_are_closed(w, LINK_CLOSED)),
			"closed too early");
		break;
	case PHASES:
		break;
	}
}

void deadlines_check_turn(struct world *w)
{
	size_t running = 0;
	for (size_t i = w->first_here; i < w->n_deliveries; i++) {
		const struct delivery *d = &w->deliveries[i];
		if (d->where == RUNS && w->core.drain.phase != PHASE_CLOSED)
			check_job(w, d);
		running += d->where == RUNS || d->where == STAGED;
	}
	check_phase(w, running);
}
