/* The transitions. Deadlines are absolute and come in with the facts, so that no state here depends
 * on how often it is asked, and a broker that never answers cannot hold a phase past its time.
 *
 * FLUSHING does two things one after the other, and which of them is due follows from the blockers:
 * first the brokers are told and have proved it (nothing held, nothing settling), then connections
 * close. A flag for that would be a second truth. */
#include "drain/phases.h"

#include "base/moves.h"

static const struct moves_row phases[PHASES] = {
    [PHASE_OPEN] = {"open",      MAY(PHASE_QUIET) | MAY(PHASE_CLOSING) | MAY(PHASE_HURRYING)},
    [PHASE_QUIET] = {"quiet",     MAY(PHASE_OPEN) | MAY(PHASE_CLOSING) | MAY(PHASE_HURRYING) },
    [PHASE_CLOSING] = {"closing",   MAY(PHASE_FINISHING) | MAY(PHASE_HURRYING)                 },
    [PHASE_FINISHING] = {"finishing", MAY(PHASE_FLUSHING) | MAY(PHASE_HURRYING)                  },
    [PHASE_HURRYING] = {"hurrying",  MAY(PHASE_FLUSHING) | MAY(PHASE_CLOSED)                    },
    [PHASE_FLUSHING] = {"flushing",  MAY(PHASE_CLOSED)                                          },
    [PHASE_CLOSED] = {"closed",    0							  },
};

bool phase_may_follow(enum phase phase, enum phase next)
{
	return moves_may(phases, phase, next);
}

const char *phase_name(enum phase phase)
{
	return phases[phase].name;
}

static struct drain_step stay(enum phase phase)
{
	return (struct drain_step){.next = phase};
}

static struct drain_step go(enum phase next, unsigned actions)
{
	return (struct drain_step){.next = next, .actions = actions};
}

static struct drain_step go_because(const char *why, enum phase next, unsigned actions)
{
	return (struct drain_step){.next = next, .actions = actions, .why = why};
}

static struct drain_step step_open(enum drain_event event)
{
	switch (event) {
	case EVENT_STOP:
	case EVENT_DRAIN:
		return go(PHASE_CLOSING, ACT_SHUT_INTAKE | ACT_NOTICE);
	case EVENT_STOP_NOW:
		return go(PHASE_HURRYING, ACT_SHUT_INTAKE | ACT_ASK | ACT_KILL);
	case EVENT_QUIET:
		return go(PHASE_QUIET, ACT_SHUT_INTAKE);
	case EVENT_RESUME:
	case EVENT_TURN:
		break;
	}
	return stay(PHASE_OPEN);
}

static struct drain_step step_quiet(enum drain_event event)
{
	switch (event) {
	case EVENT_STOP:
	case EVENT_DRAIN:
		return go(PHASE_CLOSING, ACT_NOTICE);
	case EVENT_STOP_NOW:
		return go(PHASE_HURRYING, ACT_ASK | ACT_KILL);
	case EVENT_RESUME:
		return go(PHASE_OPEN, ACT_OPEN_INTAKE);
	case EVENT_QUIET:
	case EVENT_TURN:
		break;
	}
	return stay(PHASE_QUIET);
}

/* Closing and finishing: jobs end by themselves, until a signal or the clock loses patience. */
static struct drain_step step_patient(enum phase phase, enum drain_event event,
				      const struct drain_facts *facts)
{
	if (event == EVENT_STOP_NOW)
		return go(PHASE_HURRYING, ACT_ASK | ACT_KILL);
	if (event == EVENT_STOP)
		return go(PHASE_HURRYING, ACT_ASK);
	if (facts->now_ns >= facts->clock.ask_ns)
		return go_because("time for running jobs is up", PHASE_HURRYING, ACT_ASK);
	if (phase == PHASE_CLOSING && facts->blockers.intakes == 0)
		return go_because("intake shut", PHASE_FINISHING, 0);
	if (phase == PHASE_FINISHING && facts->blockers.running == 0)
		return go_because("nothing running", PHASE_FLUSHING, ACT_FLUSH);
	return stay(phase);
}

static struct drain_step step_hurrying(enum drain_event event, const struct drain_facts *facts)
{
	if (facts->blockers.running == 0)
		return go_because("nothing running", PHASE_FLUSHING, ACT_FLUSH);
	if (facts->now_ns >= facts->clock.end_ns)
		return go_because("deadline", PHASE_CLOSED,
				  0); /* a process that even SIGKILL does not end */
	bool insisted = event == EVENT_STOP || event == EVENT_STOP_NOW;
	if (!facts->killed && (insisted || facts->now_ns >= facts->clock.kill_ns))
		return go(PHASE_HURRYING, ACT_KILL);
	return stay(PHASE_HURRYING);
}

static struct drain_step step_flushing(enum drain_event event, const struct drain_facts *facts)
{
	const struct blockers *b = &facts->blockers;
	bool insisted = event == EVENT_STOP || event == EVENT_STOP_NOW;
	if (insisted)
		return go(PHASE_CLOSED, 0);
	if (b->links == 0)
		return go_because("all told, all closed", PHASE_CLOSED, 0);
	if (facts->now_ns >= facts->clock.end_ns)
		return go_because("deadline", PHASE_CLOSED, 0);
	if (b->intakes == 0 && b->held == 0 && b->settling == 0 && b->links_up > 0)
		return go(PHASE_FLUSHING, ACT_CLOSE);
	return stay(PHASE_FLUSHING);
}

struct drain_step phase_step(enum phase phase, enum drain_event event,
			     const struct drain_facts *facts)
{
	switch (phase) {
	case PHASE_OPEN:
		return step_open(event);
	case PHASE_QUIET:
		return step_quiet(event);
	case PHASE_CLOSING:
	case PHASE_FINISHING:
		return step_patient(phase, event, facts);
	case PHASE_HURRYING:
		return step_hurrying(event, facts);
	case PHASE_FLUSHING:
		return step_flushing(event, facts);
	case PHASE_CLOSED:
	case PHASES:
		break;
	}
	return stay(PHASE_CLOSED);
}
