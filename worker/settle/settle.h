/* settle - carries out verdicts: from "finished" to "the source has been told". What the broker
 * answers comes back to the core, not here.
 *
 * Thread: the loop's.
 * Owns:   nothing but the state of its random numbers.
 * Fails:  never; a source that cannot tell says so later (SETTLED_LOST). */
#ifndef OUTFALL_SETTLE_SETTLE_H
#define OUTFALL_SETTLE_SETTLE_H

#include <stdint.h>

struct job;
struct ledger;

struct settle {
	struct ledger *ledger;
	uint32_t random; /* xorshift32 state; never 0 */
};

void settle_init(struct settle *settle, struct ledger *ledger, uint32_t seed);

/* A job whose handler has ended (finished), or one that was never begun (held and forgotten by its
 * route). Afterwards it is settling, or already gone. */
void settle_job(struct settle *settle, struct job *job);

#endif
