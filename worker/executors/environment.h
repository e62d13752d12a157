/* environment - what a child finds in its environment: what we were started with, and its job.
 *
 * Thread: the loop's.
 * Owns:   a copy of the inherited environment, and the texts of the job asked for last.
 * Units:  milliseconds.
 * Fails:  with NULL for lack of memory. */
#ifndef OUTFALL_EXECUTORS_ENVIRONMENT_H
#define OUTFALL_EXECUTORS_ENVIRONMENT_H

#include <stdint.h>

struct environment;
struct job;

struct environment *environment_create(char *const *inherited);
void environment_destroy(struct environment *env); /* NULL is fine */

/* Valid until the next call: an exec has copied it by then. `timeout_ms` 0 says that there is no
 * limit. */
char *const *environment_for(struct environment *env, const struct job *job, uint64_t timeout_ms);

#endif
