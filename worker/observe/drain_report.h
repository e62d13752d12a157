/* drain_report - the report of a drain for people (a log line) and for tools (a JSON file).
 *
 * Thread: the loop's, at the very end.
 * Owns:   nothing.
 * Fails:  drain_report_write() with ST_SYSTEM or ST_NOMEM; the exit code does not depend on it.
 *
 * The JSON, one object:
 *     worker, version, pid     who
 *     why                      "SIGTERM", "SIGQUIT", "broker refused", ...
 *     hurry                    "no", "deadline", "asked"
 *     exit_code
 *     began_at, ended_at       wall clock, RFC 3339 UTC
 *     took_ms                  from the signal to this line
 *     phases                   {closing, finishing, hurrying, flushing}: milliseconds in each
 *     fates                    {done, retried, dead, returned, unsettled}: jobs that left in the drain
 *     since_start              the same since the worker started
 *     interrupted              how many of the returned had begun
 *     jobs                     [{id, source, queue, attempt, ran_ms, fate, interrupted,
 *                                duplicate_possible}]: those that ran when the drain began, and
 *                              every unsettled one
 *     jobs_omitted             how many there was no room for in `jobs` */
#ifndef OUTFALL_OBSERVE_DRAIN_REPORT_H
#define OUTFALL_OBSERVE_DRAIN_REPORT_H

#include "base/error.h"

struct log;
struct report;

void drain_report_log(struct log *log, const struct report *report);

/* Written beside `path` and renamed over it: a reader sees the old report or the new one. */
enum status drain_report_write(const struct report *report, const char *path, const char *worker,
			       struct error *why);

#endif
