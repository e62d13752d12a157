/* environment - what a child finds in its environment: what it is to have of ours, what the settings
 * add, and its job.
 *
 * Thread: the loop's.
 * Owns:   copies of all that, and the texts of the job asked for last.
 * Units:  milliseconds.
 * Fails:  with NULL for lack of memory. */
#ifndef OUTFALL_EXECUTORS_ENVIRONMENT_H
#define OUTFALL_EXECUTORS_ENVIRONMENT_H

#include <stdint.h>

struct environment;
struct identity;
struct job;

/* `wanted` lists what of the inherited is let through ("NAME", "PREFIX_*") and values of its own
 * ("NAME=value"); NULL: all of it. What `withheld` names is let through only where
 * `wanted` has that very name; NULL: nothing is. A user's own name and home come from `as`. */
struct environment *environment_create(char *const *inherited, const char *const *wanted,
				       const char *const *withheld, const struct identity *as);
void environment_destroy(struct environment *env); /* NULL is fine */

/* Valid until the next call: an exec has copied it by then. `timeout_ms` 0 says that there is no
 * limit. */
char *const *environment_for(struct environment *env, const struct job *job, uint64_t timeout_ms);

/* For a process that is there before its jobs are; valid as long. */
char *const *environment_without_job(struct environment *env);

#endif
