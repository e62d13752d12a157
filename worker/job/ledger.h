/* ledger - every job that this process has taken and not yet seen off, and its state.
 *
 * Thread: the loop's.
 * Owns:   a job from ledger_admit() until ledger_drop() returns it to the caller.
 * Units:  counts of jobs.
 * Fails:  never; a move that the table does not permit aborts (must), because counting a job twice
 *         or losing sight of one is how work is lost.
 *
 *      admit          begin           finish             tell
 *     -------> held <=======> running -------> finished -------> settling --drop-->
 *                \    again                                         ^
 *                 \------------------- tell ------------------------/
 *
 * "Running" begins when the job is given to its executor. A job that is staged there, not begun,
 * is still taken back when a drain begins (again), before anyone asks what is running. */
#ifndef OUTFALL_JOB_LEDGER_H
#define OUTFALL_JOB_LEDGER_H

#include "job/job.h"

struct ledger {
	struct list lists[JOB_STATES]; /* struct job.in_ledger, in the order they came there */
	size_t counts[JOB_STATES];
};

void ledger_init(struct ledger *ledger);
void ledger_admit(struct ledger *ledger, struct job *job);
void ledger_begin(struct ledger *ledger, struct job *job);
void ledger_hold_again(struct ledger *ledger, struct job *job);
void ledger_finish(struct ledger *ledger, struct job *job);
void ledger_tell(struct ledger *ledger, struct job *job);
/* From any state: the caller owns the job again. */
void ledger_drop(struct ledger *ledger, struct job *job);

static inline size_t ledger_count(const struct ledger *ledger, enum job_state state)
{
	return ledger->counts[state];
}

size_t ledger_total(const struct ledger *ledger);

#endif
