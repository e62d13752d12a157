/* pausing - carries out what pause.c decides: looks whether a paused handler could begin a job again,
 * and lets other workers have what its queues hold meanwhile.
 *
 *     could not begin --> its jobs are held, 5 s long --> its queues are suspended, and what they
 *     held goes back, once --> the handler could begin again --> the queues are taken up for one
 *     job, the trial --> it has begun --> as before
 *
 * Whether it could is looked at without a job, where the executor can do that: a queue counts how often
 * a message was given out, and one that came and went with each trial would be dead of it.
 *
 * Thread: the loop's.
 * Owns:   the pauses of the roster's lanes, which nobody else moves but for giving the trial.
 * Units:  monotonic nanoseconds.
 * Fails:  never. It rests while the worker is quiet or stops: nothing begins then. */
#ifndef OUTFALL_DRAIN_PAUSING_H
#define OUTFALL_DRAIN_PAUSING_H

#include <stdint.h>

struct drain;
struct executor;
struct job;
struct lane;

void pausing_could_not_begin(struct drain *drain, struct lane *lane, const char *why);
void pausing_probed(struct drain *drain, struct lane *lane, const char *why);
void pausing_resized(struct drain *drain, struct lane *lane);
/* The job leaves its lane: it has ended, or came back. */
void pausing_left(struct drain *drain, const struct job *job);

/* The beginning of a turn's dispatch. */
void pausing_turn(struct drain *drain);
uint64_t pausing_next_ns(const struct drain *drain); /* when that is due at the latest */

#endif
