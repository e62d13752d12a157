/* kill_time - how long the process manager waits between asking us to stop and killing us, and what
 * follows from it for the drain.
 *
 *     drain.deadline_file          a file with a duration: what a downward API volume can bring
 *     OUTFALL_STOP_TIMEOUT         the same in the environment
 *     supervisord                  asked, where it says that it started us
 *
 * The shortest counts: whoever is first to kill decides. systemd does not say what TimeoutStopSec is, but
 * grants more time as it is asked (systemd.h).
 *
 * Thread: the loop's.
 * Owns:   nothing but the question to supervisord while it is under way.
 * Units:  milliseconds.
 * Fails:  kill_time_create() with ST_NOMEM. What cannot be found out is logged, and then nothing is known. */
#ifndef OUTFALL_MANAGERS_KILL_TIME_H
#define OUTFALL_MANAGERS_KILL_TIME_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct core;
struct drain_settings;
struct kill_time;
struct log;
struct loop;
struct settings;

struct kill_time_parts { /* borrowed */
	struct loop *loop;
	struct log *log;
	const struct settings *settings;
	const struct core *core;
	struct drain_settings *drain; /* the core's own: "auto" becomes a time here */
	bool extends;                 /* there is a manager that grants more time */
};

/* Logs what is found, now or, from supervisord, a moment later; nobody waits for it. */
enum status kill_time_create(const struct kill_time_parts *parts, struct kill_time **ret_kill_time,
			     struct error *why);
/* The drain's settings are others now: "auto" becomes again what is known. NULL is fine. */
void kill_time_apply(const struct kill_time *kill_time);
void kill_time_destroy(struct kill_time *kill_time); /* NULL is fine */

/* What "auto" makes of it: that time less the reserve, and never less than half. */
uint64_t kill_time_for_drain_ms(uint64_t kill_ms, uint64_t reserve_ms);

/* The first line of a file as a duration; "60" is 60 s there, as terminationGracePeriodSeconds counts. */
bool kill_time_parse(const char *text, uint64_t *ret_ms);

#endif
