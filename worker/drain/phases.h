/* phases - the states of a stop, and what may follow what. Pure: (state, event, facts) in, next
 * state and actions out. The picture is the contract that operators read in reports and on the page:
 *
 *     open --stop--> closing --intake shut--> finishing --nothing running--> flushing --> closed
 *      | ^                \                       \                            ^
 *  quiet resume            \--time is up, or asked twice--> hurrying ----------/
 *      v |
 *     quiet --stop--> closing
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  monotonic nanoseconds; UINT64_MAX = never.
 * Fails:  never; every state answers every event, if only by staying as it is. */
#ifndef OUTFALL_DRAIN_PHASES_H
#define OUTFALL_DRAIN_PHASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum phase {
	PHASE_OPEN,      /* taking and running jobs */
	PHASE_QUIET,     /* intake shut, held jobs given back, running jobs go on; stays alive */
	PHASE_CLOSING,   /* stopping: intake is being shut */
	PHASE_FINISHING, /* intake is shut; running jobs end by themselves */
	PHASE_HURRYING,  /* running jobs are asked to stop, then killed */
	PHASE_FLUSHING,  /* nothing runs; the brokers are told, connections close */
	PHASE_CLOSED,    /* exit */
	PHASES,
};

enum drain_event {
	EVENT_TURN,  /* time passed, or some fact changed */
	EVENT_STOP,  /* SIGTERM, SIGINT */
	EVENT_DRAIN, /* somebody else wants the same: an operator's tool, a broker that refused */
	EVENT_STOP_NOW, /* SIGQUIT: straight to returning */
	EVENT_QUIET,    /* SIGTSTP */
	EVENT_RESUME,   /* SIGCONT */
};

enum drain_action {                           /* in the order they are carried out */
		    ACT_SHUT_INTAKE = 1 << 0, /* take back staged jobs, pause each source */
		    ACT_OPEN_INTAKE = 1 << 1,
		    ACT_NOTICE = 1 << 2, /* tell running handlers how long they have */
		    ACT_ASK = 1 << 3,    /* ask running jobs to stop */
		    ACT_KILL = 1 << 4,   /* kill those that have not */
		    ACT_FLUSH = 1 << 5,  /* tell the brokers everything now */
		    ACT_CLOSE = 1 << 6,  /* close channels and connections in order */
};

/* What is still in the way: the one truth that the exit, the log and the report go by. */
struct blockers {
	size_t intakes;  /* sources whose intake is not shut */
	size_t held;     /* jobs taken and not begun */
	size_t running;  /* jobs with an executor */
	size_t settling; /* jobs the broker has not been proved to know about */
	size_t links_up; /* connections nobody has asked to close */
	size_t links;    /* connections not closed */
};

struct drain_clock { /* absolute; all UINT64_MAX while open */
	uint64_t began_ns;
	uint64_t ask_ns;  /* running jobs are asked to stop */
	uint64_t kill_ns; /* and killed */
	uint64_t end_ns;  /* exit, whatever is in the way */
};

struct drain_facts {
	uint64_t now_ns;
	struct blockers blockers;
	bool killed; /* ACT_KILL was carried out in this hurry */
	struct drain_clock clock;
};

struct drain_step {
	enum phase next;
	unsigned actions; /* enum drain_action bits */
	const char *why; /* of a move that time or facts made, for the log; NULL: the event's own */
};

struct drain_step phase_step(enum phase phase, enum drain_event event,
			     const struct drain_facts *facts);

bool phase_may_follow(enum phase phase, enum phase next);
const char *phase_name(enum phase phase);

/* May a held job begin? Only while open. */
static inline bool phase_begins_jobs(enum phase phase)
{
	return phase == PHASE_OPEN;
}
/* Are we on the way out? */
static inline bool phase_is_stopping(enum phase phase)
{
	return phase >= PHASE_CLOSING;
}

#endif
