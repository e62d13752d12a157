/* exit_codes - what the end of a process says of the job it ran. A pure decision.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  never; each end has an outcome. */
#ifndef OUTFALL_EXECUTORS_EXIT_CODES_H
#define OUTFALL_EXECUTORS_EXIT_CODES_H

#include "job/outcome.h"
#include "settings/settings.h"

/* How far we went to end it; what a child does of itself counts all the same. */
enum child_stop { CHILD_LEFT_ALONE, CHILD_ASKED, CHILD_KILLED };

/* `status` as wait(2) gives it; `codes`: whose meaning an exit status has. */
struct outcome outcome_of_exit(enum exit_codes codes, int status, enum child_stop stop);

#endif
