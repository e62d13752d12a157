/* Time, and what happens in it. world_run() jumps to the next event, or to the core's own next deadline, or, as a
 * busy machine does, somewhat beyond, when more than one thing is due at once; lets the core take its turn; and
 * then has every promise checked that holds at all times. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_KEPT = 60 };

static char kept[LINES_KEPT][160];
static size_t n_said;

void trace_last(void)
{
	for (size_t i = n_said > LINES_KEPT ? n_said - LINES_KEPT : 0; i < n_said; i++)
		fprintf(stderr, "%s\n", kept[i % LINES_KEPT]);
	n_said = 0;
}

_Noreturn void world_broken(struct world *w, const char *fmt, ...)
{
	va_list ap;
	trace_last();
	w->said = true;
	va_start(ap, fmt);
	fprintf(stderr, "seed %" PRIu64 " at %.3f ms, %s: ", w->seed, (double)w->now_ns / 1e6,
		phase_name(w->core.drain.phase));
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	abort();
}

void world_say(const struct world *w, const char *fmt, ...)
{
	char *line = kept[n_said++ % LINES_KEPT];
	va_list ap;
	int n = snprintf(line, sizeof kept[0], "%10.3f ms  %-9s ", (double)w->now_ns / 1e6,
			 phase_name(w->core.drain.phase));
	va_start(ap, fmt);
	(void)vsnprintf(line + n, sizeof kept[0] - (size_t)n, fmt, ap);
	va_end(ap);
	if (w->trace != TRACE_ALL)
		return;
	n_said = 0;
	fprintf(stderr, "%s\n", line);
}

uint64_t roll(struct world *w, uint64_t sides)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return sides == 0 ? 0 : w->random % sides;
}

bool chance(struct world *w, unsigned percent)
{
	return roll(w, 100) < percent;
}

void schedule(struct world *w, struct event event, uint64_t after_ns)
{
	promise(w, w->n_events < MAX_EVENTS, "too many events for the simulation");
	event.at_ns = w->now_ns + after_ns;
	event.order = w->next_order++;
	w->events[w->n_events++] = event;
}

void unschedule_job(struct world *w, const struct job *job)
{
	for (size_t i = 0; i < w->n_events; i++)
		if (w->events[i].job == job)
			w->events[i].kind = EV_NONE;
}

/* --- what happens ---------------------------------------------------------------------------- */

static const char *event_name(enum event_kind kind)
{
	static const char *const names[] = {
	    [EV_NONE] = "nothing",
	    [EV_DELIVER] = "deliver",
	    [EV_CLAIMED] = "claimed",
	    [EV_CANCEL_OK] = "cancel-ok",
	    [EV_CONSUME_OK] = "consume-ok",
	    [EV_COPIED] = "copied",
	    [EV_PROVED] = "proved",
	    [EV_DISCONNECT] = "disconnect",
	    [EV_RECONNECT] = "reconnect",
	    [EV_CHANNEL] = "channel closed",
	    [EV_HANG] = "broker hangs",
	    [EV_CLOSED] = "closed",
	    [EV_REFUSE] = "broker refuses",
	    [EV_BURY] = "buried",
	    [EV_RETIRE] = "queue removed",
	    [EV_ADD] = "queue added",
	    [EV_CANCELLED] = "queue cancelled",
	    [EV_LEFT] = "queue left",
	    [EV_SUSPENDED] = "queue suspended",
	    [EV_OTHER] = "the other worker takes some",
	    [EV_OTHER_ENDS] = "the other worker ends one",
	    [EV_END_OF_RUN] = "run ends",
	    [EV_SAY] = "handler says something",
	    [EV_BEGIN] = "connected, or not",
	    [EV_BREAK] = "handler breaks",
	    [EV_PROBED] = "handler is looked at",
	    [EV_RETRACT] = "process dies with unread jobs",
	    [EV_SHRINK] = "handler shrinks",
	    [EV_GROW] = "handler grows",
	    [EV_REQUEUE] = "retry is due",
	    [EV_RELOAD] = "reload",
	    [EV_EXTEND] = "drain extended",
	    [EV_SIGNAL] = "signal",
	};
	return names[kind];
}

static void happen(struct world *w, const struct event *ev)
{
	if (ev->kind != EV_NONE && ev->kind != EV_DELIVER)
		trace(w, "%s%s%s (source %d, handler %d, number %" PRIu64 ")", event_name(ev->kind),
		      ev->job != NULL ? " of " : "", ev->job != NULL ? ev->job->id : "",
		      ev->source != NULL ? (int)ev->source->index : -1,
		      ev->executor != NULL ? (int)ev->executor->index : -1, ev->number);
	if (ev->kind == EV_SIGNAL)
		deadlines_event(w, (enum drain_event)ev->number);
	else if (ev->kind == EV_EXTEND)
		deadlines_extend(w, ev->number);
	else if (ev->kind == EV_RELOAD)
		handlers_reload(w);
	else if (ev->executor != NULL)
		handlers_happen(w, ev);
	else if (!broker_happens(w, ev))
		sources_happen(w, ev);
}

/* --- time ------------------------------------------------------------------------------------ */

static size_t next_event(const struct world *w)
{
	size_t best = SIZE_MAX;
	for (size_t i = 0; i < w->n_events; i++) {
		const struct event *e = &w->events[i];
		if (best == SIZE_MAX || e->at_ns < w->events[best].at_ns ||
		    (e->at_ns == w->events[best].at_ns && e->order < w->events[best].order))
			best = i;
	}
	return best;
}

static void happen_next(struct world *w, size_t i)
{
	struct event ev = w->events[i];
	w->events[i] = w->events[--w->n_events];
	happen(w, &ev);
}

/* A turn of the loop: all that is due by now, and then the core's hooks. */
static void turn(struct world *w, bool late)
{
	size_t i = next_event(w);
	while (i != SIZE_MAX && w->events[i].at_ns <= w->now_ns && !core_is_closed(&w->core)) {
		happen_next(w, i);
		if (!late)
			break;
		i = next_event(w);
	}
	core_begin_jobs(&w->core);
	core_drain_turn(&w->core);
	for (unsigned e = 0; e < w->n_executors; e++)
		handlers_begin_staged(w, &w->executors[e]);
	intake_attend(w);
	promises_check_turn(w);
}

static uint64_t how_late(struct world *w)
{
	return chance(w, 90) ? roll(w, 30) * MS : roll(w, 3000) * MS; /* somebody stopped us */
}

void world_run(struct world *w)
{
	unsigned idle_turns = 0;
	while (!core_is_closed(&w->core)) {
		size_t i = next_event(w);
		uint64_t core_ns = core_next_ns(&w->core), before_ns = w->now_ns;
		uint64_t next_ns = i != SIZE_MAX ? w->events[i].at_ns : UINT64_MAX;
		promise(w, next_ns != UINT64_MAX || core_ns != UINT64_MAX,
			"nothing will ever happen again");
		bool event = next_ns <= core_ns, late = chance(w, w->lateness);
		if (!event)
			next_ns = core_ns;
		if (late)
			next_ns += how_late(w);
		w->now_ns = next_ns > w->now_ns ? next_ns : w->now_ns;
		idle_turns = event || w->now_ns > before_ns ? 0 : idle_turns + 1;
		promise(w, idle_turns < 100, "turns without an end, and nothing to do");
		turn(w, late);
	}
}

/* --- the end --------------------------------------------------------------------------------- */

void world_end(struct world *w)
{
	for (unsigned i = 0; i < w->n_sources; i++)
		source_destroy(&w->sources[i]);
	for (size_t i = 0; i < w->n_deliveries; i++) {
		struct delivery *d = &w->deliveries[i];
		if (d->where == RUNS || d->where == STAGED)
			w->stuck[w->n_stuck++] = d->job;
	}
	core_abandon_rest(&w->core);
	books_check_end(w);
	promises_check_end(w);
	for (unsigned i = 0; i < w->n_stuck; i++)
		job_destroy(w->stuck[i]);
	core_fini(&w->core);
}
