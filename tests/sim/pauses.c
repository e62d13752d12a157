/* When a handler that could not begin a job may be given one again, and who else has its queues meanwhile: it is
 * looked at after 1, 2, 4 ... 30 s, gets one job for trial, and is as before once that has begun. After 5 s its queues are
 * left to others. A handler without a process is the same, but that it says itself when it has one. */
#include "world.h"

static bool is_idle(const struct fake_executor *e)
{
	return e->base.width == 0 || (e->pause.is && !e->pause.tries);
}

static void wait_more(struct fake_executor *e)
{
	struct pause_book *p = &e->pause;
	uint64_t wait_ms = p->failures < 5 ? UINT64_C(1000) << p->failures : 30000;
	p->failures++;
	p->wait_ns = e->world->now_ns + wait_ms * MS;
	p->tries = p->asked = false;
	p->trial = NULL;
	p->begun = false;
}

static void begin_pause(struct fake_executor *e)
{
	if (!e->pause.is)
		e->pause = (struct pause_book){.is = true, .since_ns = e->world->now_ns};
}

void pauses_could_not_begin(struct fake_executor *e)
{
	if (e->base.width == 0 || (e->pause.is && !e->pause.tries))
		return; /* given before the first one that could not */
	begin_pause(e);
	wait_more(e);
}

/* Who cannot tell without a job is given one. */
static void try_unasked(struct fake_executor *e)
{
	struct pause_book *p = &e->pause;
	if (!e->probes && p->is && e->base.width > 0 && e->world->now_ns >= p->wait_ns)
		p->tries = true;
}

/* In its next turn the core sees that the trial has begun, unless it was handed back before. */
static void end_pause(struct fake_executor *e)
{
	if (e->pause.begun)
		e->pause = (struct pause_book){0};
}

void pauses_started(struct fake_executor *e, struct delivery *d)
{
	struct pause_book *p = &e->pause;
	end_pause(e);
	try_unasked(e);
	promise(e->world, !p->is || (p->tries && p->trial == NULL),
		"delivery %u is given to a handler that is paused", d->number);
	if (p->is)
		p->trial = d;
}

void pauses_begun(struct fake_executor *e, const struct delivery *d)
{
	if (e->pause.is && e->pause.trial == d)
		e->pause.begun = true;
}

void pauses_ended(struct fake_executor *e, const struct delivery *d)
{
	if (e->pause.trial == d)
		end_pause(e);
}

/* It came back, and nobody knows more. */
void pauses_left(struct fake_executor *e, const struct delivery *d)
{
	if (e->pause.trial != d)
		return;
	e->pause.trial = NULL;
	e->pause.begun = false;
}

void pauses_probe(struct fake_executor *e)
{
	struct pause_book *p = &e->pause;
	promise(e->world, p->is && e->base.width > 0 && !p->tries && !p->asked,
		"a handler is asked whether it can begin jobs, and can");
	promise(e->world, e->world->now_ns >= p->wait_ns, "a handler is asked too early");
	promise(e->world, e->world->core.drain.phase == PHASE_OPEN,
		"a handler is asked whether it can begin jobs, and may not");
	p->asked = true;
}

void pauses_answer(struct fake_executor *e, bool could)
{
	struct pause_book *p = &e->pause;
	if (!p->asked)
		return; /* its processes have gone, or come, meanwhile */
	p->asked = false;
	if (could)
		p->tries = true;
	else
		wait_more(e);
}

static bool is_suspended(const struct fake_executor *e)
{
	const struct world *w = e->world;
	for (unsigned i = 0; i < w->n_routes; i++)
		if (w->routes[i] != NULL && w->routes[i]->lane == e->lane &&
		    w->suspended[i] != TAKES)
			return true;
	return false;
}

void pauses_resized(struct fake_executor *e, unsigned before)
{
	struct pause_book *p = &e->pause;
	if (e->base.width == 0 && before > 0) {
		begin_pause(e);
		p->asked = p->tries = p->begun = false;
		p->trial = NULL;
	} else if (e->base.width > 0 && before == 0) {
		p->is = p->tries = is_suspended(e);
	}
}

/* How many it may have now. */
unsigned pauses_room(const struct fake_executor *e)
{
	unsigned width = e->base.width;
	if (e->lane->limit != 0 && e->lane->limit < width)
		width = e->lane->limit;
	if (is_idle(e) || e->lane->assigned >= width || (e->pause.is && e->pause.trial != NULL))
		return 0;
	return e->pause.is ? 1 : width - e->lane->assigned;
}

static void check_queue(struct world *w, const struct fake_executor *e, unsigned route)
{
	const struct route *r = w->routes[route];
	bool for_others = is_idle(e) && w->now_ns - e->pause.since_ns >= 5000 * MS;
	if (r->retired)
		return;
	promise(w, w->suspended[route] == TAKES || is_idle(e),
		"queue %u is left to others, and its handler could have jobs", route);
	promise(w, w->suspended[route] != TAKES || !for_others || r->source->intake == INTAKE_SHUT,
		"queue %u is not left to others, and its handler is paused", route);
	promise(w, w->suspended[route] != SUSPENDED || list_empty(&w->held[route]),
		"queue %u is left to others, and jobs of it are held", route);
}

void pauses_check_turn(struct world *w)
{
	if (w->core.drain.phase != PHASE_OPEN || core_next_ns(&w->core) <= w->now_ns)
		return;
	for (unsigned i = 0; i < w->n_executors; i++) {
		struct fake_executor *e = &w->executors[i];
		const struct pause_book *p = &e->pause;
		end_pause(e);
		try_unasked(e);
		bool looks = p->is && e->base.width > 0 && w->now_ns >= p->wait_ns;
		promise(w, !looks || p->asked || p->tries, "handler %u waits for nobody", i);
		for (unsigned r = 0; r < w->n_routes; r++)
			if (w->routes[r] != NULL && w->routes[r]->lane == e->lane)
				check_queue(w, e, r);
	}
}
