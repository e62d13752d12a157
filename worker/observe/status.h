/* status - all that an operator wants to see of a worker, as one JSON object.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Units:  `_ms` is milliseconds, `_unix_ms` counts them from 1970; null is "nobody knows" or "none".
 * Fails:  as struct text does, for lack of memory.
 *
 *     worker     {name, version, pid, concurrency, started_unix_ms}
 *     state      "open", "quiet", "closing", "finishing", "hurrying", "flushing", "closed"
 *     since_unix_ms
 *     ready, not_ready_because
 *     drain      {why, waiting_for, time_for_jobs_ms, jobs_have_ms, left_ms, eta_ms, unknown}: what is
 *                in the way in the words of the log; how long jobs get in a drain, and what is left of
 *                that; until the exit; what running jobs still need, and how many nobody knows about
 *     jobs       {held, running, settling}
 *     fates      {done, retried, dead, returned, unsettled}: since the start
 *     sources    [{name, kind, link, intake, blocked, reconnects, waiting_for}]
 *     queues     [{source, name, handler, removed, suspended, held, running, in_worker, limit, fates}]:
 *                suspended while its handler is paused
 *     handlers   [{name, kind, width, widest, assigned, permits, timeout_ms, pause, paused_because,
 *                next_try_ms}]: pause is "serving", or a state of dispatch/pause.h
 *     running    [{id, source, queue, handler, attempt, interruptions, age_ms, progress, note,
 *                timeout_left_ms, eta_ms, asked_to_stop}]: the oldest first
 *     running_omitted   how many there was no room for
 *     process    {uptime_ms, cpu_ms, resident_bytes, loop_lag_us}
 *     control    what the reader may do here: "all", "token" or "none"
 *     goodbye    {why, exit_code}: only in the last message of a feed */
#ifndef OUTFALL_OBSERVE_STATUS_H
#define OUTFALL_OBSERVE_STATUS_H

#include "base/text.h"
#include "sources/source.h"

struct view;

enum status_control { CONTROL_NONE, CONTROL_TOKEN, CONTROL_ALL };

/* Returns how many of the bytes tell of the worker and not of the moment: when nothing happens they
 * stay as they are. */
size_t status_put(struct text *text, const struct view *view, enum status_control control);

/* The same, with the last word. */
void status_put_goodbye(struct text *text, const struct view *view, enum status_control control);

/* The words for a source's states. */
const char *status_link_name(enum link_state link);
const char *status_intake_name(enum intake intake);

#endif
