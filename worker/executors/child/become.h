/* become - a program of our own that turns into somebody else's: the step between the worker and a
 * handler's process that runs as another user.
 *
 * Whoever has the user may stop his processes. One that is still being born shares the worker's memory,
 * and the worker waits for it; so it must not have the user yet. It runs this program first (the worker's
 * own file, with BECOME_COMMAND), which takes the user and then runs the handler's.
 *
 * Thread: the loop's; become_run() is main's.
 * Owns:   the words, from become_words_create() to become_words_destroy().
 * Fails:  creation with NULL, for lack of memory. What fails in the process is written to the descriptor
 *         that it is given for that, which the handler's program does not get. */
#ifndef OUTFALL_EXECUTORS_BECOME_H
#define OUTFALL_EXECUTORS_BECOME_H

#include <stdbool.h>

#define BECOME_COMMAND "become"
#define BECOME_PROGRAM "/proc/self/exe"

struct become_words;
struct spawn;
struct spawn_profile;

/* What comes behind our program's name, up to the handler's own words. */
struct become_words *become_words_create(const struct spawn_profile *profile);
void become_words_destroy(struct become_words *words); /* NULL is fine */
/* The whole argv; freed with memory_free(). NULL: no memory. `report`: the descriptor's number there. */
char **become_argv(struct become_words *words, const struct spawn *spawn, int report);

enum become_step { BECOME_USER, BECOME_DIRECTORY, BECOME_LIMITS, BECOME_EXEC };

struct become_failure {
	int step;
	int errnum;
};

/* As a command: its name, then those words. Does not return if it succeeds. */
int become_run(int argc, char **argv);

#endif
