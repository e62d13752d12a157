/* exit_guard - nothing that comes behind the drain holds the exit past its deadline: a plugin's exit hook, a
 * report on a dead file system, a join of threads, a library's destructor. Nor does a loop that hangs.
 *
 * A thread of its own waits for the deadline and then ends the process, with the code that was told last.
 *
 * Thread: the loop's; what the guard's own thread reads is under its lock.
 * Owns:   itself, for good: it is there until the process is not.
 * Units:  nanoseconds of CLOCK_MONOTONIC; UINT64_MAX = never.
 * Fails:  exit_guard_start() with NULL when there can be no thread; the other calls take NULL then. */
#ifndef OUTFALL_COMMANDS_EXIT_GUARD_H
#define OUTFALL_COMMANDS_EXIT_GUARD_H

#include <stdint.h>

struct exit_guard;
struct log;

struct exit_guard *exit_guard_start(struct log *log);

/* From now on the process ends at `at_ns` with `code`. */
void exit_guard_set(struct exit_guard *guard, uint64_t at_ns, int code);

/* Nobody else reads signals any more, at the second call as at the first: a stop signal ends the process at once, but for those that come within a
 * second, which are echoes of one that did its work. */
void exit_guard_take_signals(struct exit_guard *guard);

/* Its log is about to go. */
void exit_guard_mute(struct exit_guard *guard);

#endif
