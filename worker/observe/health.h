/* health - is this worker ready for work, and is it alive? Each answer comes with its reason.
 *
 * Thread: the loop's. That it answers at all is the proof that the loop turns.
 * Owns:   nothing.
 * Fails:  never.
 *
 * Ready: every source is logged in and really consuming on each of its queues, every handler can run
 * something, and no stop or quiet has come.
 *
 * Alive: some handler may be slow, and its timeout will see to that; but one of which every place is
 * taken by a job that is long past its timeout, asked and (where that is possible) killed, will never
 * run another: a thread in a plugin cannot be killed. Only a new process helps then, and that is what
 * "not alive" asks for. While draining a worker is alive: the drain has a deadline of its own, and
 * ending it sooner would only lose what it is about to save. */
#ifndef OUTFALL_OBSERVE_HEALTH_H
#define OUTFALL_OBSERVE_HEALTH_H

#include "base/text.h"

struct view;

/* `why` gets a sentence when it is not. */
bool health_is_ready(const struct view *view, struct text *why);
bool health_is_alive(const struct view *view, struct text *why);

#endif
