/* recall - jobs of ours that the broker may give out a second time, and what became of them.
 *
 * A connection dies under jobs that run, and under jobs that have ended and could not be told. The broker
 * gives both out again, to us or to another worker. What comes back to us need not run a second time: a
 * job that still runs is awaited by its second delivery, which takes over its end; one that has ended is
 * kept, and its second delivery is settled at once.
 *
 *                    its delivery is lost            a second one comes        it ends
 *     (none), runs ----------------------> expected -------------------> met ---------> (none)
 *        |                                  |   ^---- that is lost, too ---/   the second, which was
 *        |                          nobody  |   \                              waiting, has its end
 *        |                         will come|    \--ends, untold--> kept --a second one comes--> (gone)
 *        |                                  v                        |
 *        |                                over --ends--> (gone)      \--nobody will come, or too old--> (gone)
 *        \--has ended; told without a proof, or not at all--> kept
 *
 * A second delivery is one of the same queue with the same id, body and attempt, marked as redelivered by its
 * broker, and whose source finds nothing else in it that differs. The id must be the producer's or the
 * broker's: one that we made up ourselves is another with each delivery, so these jobs are never recognised,
 * and run again.
 *
 * Thread: the loop's.
 * Owns:   the jobs that are kept; those that run or wait are the ledger's. Only recall assigns job->recall.
 * Units:  monotonic nanoseconds, bytes.
 * Fails:  never: what cannot be kept is forgotten, which costs a second run. */
#ifndef OUTFALL_SETTLE_RECALL_H
#define OUTFALL_SETTLE_RECALL_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;
struct route;

enum { RECALL_BUCKETS = 1024 };

struct recall {
	struct list buckets[RECALL_BUCKETS]; /* struct job.recall.in_table: expected and kept */
	struct list kept;                    /* struct job.in_ledger, the oldest first */
	size_t n_kept, kept_bytes;
	size_t n_expected;
};

void recall_init(struct recall *recall);
void recall_fini(struct recall *recall);

/* The delivery of this job, which runs, is lost. */
void recall_lose(struct recall *recall, struct job *job);

/* The job that `again`, just delivered, is a second delivery of: expected or kept. NULL: none. */
struct job *recall_find(struct recall *recall, const struct job *again, uint64_t now_ns);

/* `again` waits until `expected` has ended. */
void recall_meet(struct recall *recall, struct job *expected, struct job *again);
/* `met` has ended: the one that waited, which is no longer of our concern, nor is `met`. */
struct job *recall_end_waiting(struct recall *recall, struct job *met);

/* Whether the end of this job may be kept: the broker may give it out again, and we would know it. */
bool recall_may_keep(const struct job *job);
/* Keeps the job, which the caller's pointer lets go of. It is on no list. */
void recall_keep(struct recall *recall, struct job **job, uint64_t now_ns);
/* A kept one is the caller's again. */
void recall_release(struct recall *recall, struct job *kept);

/* The job leaves, whatever it was: what it had met is expected again. */
void recall_leave(struct recall *recall, struct job *job);

/* Of this queue no second delivery will come any more. */
void recall_over(struct recall *recall, const struct route *route);
/* The route is about to go: what is kept of it is its heir's, or is forgotten. */
void recall_part(struct recall *recall, const struct route *route, struct route *heir);

#endif
