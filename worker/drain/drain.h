/* drain - how this worker stops: keeps the phase and its clock, carries out what phases.c decides,
 * and knows at any moment what is still in the way.
 *
 * Thread: the loop's.
 * Owns:   the phase (nobody else assigns it) and the report.
 * Units:  monotonic nanoseconds; UINT64_MAX = never.
 * Fails:  never. Its clock depends on nothing: no connection, no handler, no timer but the one that
 *         the loop sets from drain_next_ns(). */
#ifndef OUTFALL_DRAIN_DRAIN_H
#define OUTFALL_DRAIN_DRAIN_H

#include "base/error.h"
#include "drain/phases.h"
#include "drain/report.h"

struct clock;
struct dispatch;
struct drain_settings;
struct ledger;
struct log;
struct roster;
struct settle;
struct route;
struct source;

struct drain {
	/* introduced by the core, borrowed */
	const struct clock *clock;
	const struct drain_settings *settings;
	struct log *log;
	struct ledger *ledger;
	struct roster *roster;
	struct dispatch *dispatch;
	struct settle *settle;

	enum phase phase;
	uint64_t entered_ns; /* when this phase began */
	struct drain_clock times;
	uint64_t
	    signalled_ns; /* the last stop signal that counted, for the debounce; 0 = none yet */
	uint64_t next_progress_ns;
	bool killed;
	struct report report;
};

void drain_init(struct drain *drain);
void drain_fini(struct drain *drain);

/* `why` is a constant text for log and report: "SIGTERM". A drain that is under way is hurried by a stop signal
 * alone, and not by its first: whoever asked for the drain before (ctl in a preStop hook, a broker that
 * refused) meant the same stop. Nor by one that comes within a second of the last. */
void drain_event(struct drain *drain, enum drain_event event, const char *why);

/* Gives running jobs so much more time, LONGEST_WAIT_MS at most, and moves the exit by as much. ST_REFUSED with a sentence when
 * there is no such time to move: no drain, no deadline, or jobs have been asked to stop. */
enum status drain_extend(struct drain *drain, uint64_t more_ms, struct error *why);

/* How long running jobs get in a drain, from the signal on; UINT64_MAX: for ever. */
uint64_t drain_time_for_jobs_ns(const struct drain *drain);

/* The exit itself takes a moment: so much time is left when the drain is closed by its deadline. */
uint64_t drain_exit_ns(const struct drain *drain);

/* When the process must be gone, whatever it is that holds it; UINT64_MAX: never, it has all the time. */
uint64_t drain_deadline_ns(const struct drain *drain);
/* The exit code, if the process ended as things are now. */
int drain_exit_code_now(const struct drain *drain);

/* Moves on as far as the facts allow. Call at the end of each turn. */
void drain_turn(struct drain *drain);

/* Gives back what this source's routes hold, if jobs do not begin any more and its intake is
 * shut. */
void drain_give_back(struct drain *drain, struct source *source);
void drain_give_back_all(struct drain *drain);                        /* of each source */
void drain_give_back_route(struct drain *drain, struct route *route); /* in any phase */

/* When drain_turn() must be called again even if nothing happens. */
uint64_t drain_next_ns(const struct drain *drain);

struct blockers drain_blockers(const struct drain *drain);
/* The same for people: `2 running ("emails" job 8f2 for 12.0 s), cancel-ok of "emails"`. */
void drain_blockers_text(const struct drain *drain, char *buf, size_t size);

#endif
