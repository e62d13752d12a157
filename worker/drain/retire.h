/* retire - a worker that stays lets go of one queue: a drain of that queue alone.
 *
 *     retire_begin() --> intake --nothing more comes--> jobs --the last one has left--> gone
 *
 * What is unbegun goes back as soon as nothing more comes, in order; what runs goes on to its end, for
 * as long as that takes, and is settled as ever. There is no deadline: nobody waits for it.
 *
 * Thread: the loop's.
 * Owns:   nothing; the route is the roster's.
 * Fails:  never. A source whose broker is away takes until it is back. */
#ifndef OUTFALL_DRAIN_RETIRE_H
#define OUTFALL_DRAIN_RETIRE_H

struct drain;
struct route;

void retire_begin(struct drain *drain, struct route *route);

/* The end of a turn: moves each retired route on. `gone` is told of those that nobody names any more;
 * they leave the roster there. Does nothing while the worker stops: then all of it drains. */
void retire_turn(struct drain *drain, void (*gone)(void *arg, struct route *route), void *arg);

#endif
