/* fake_edges - loop.h and stream.h once more, without an operating system: time is a number that moves
 * on when nothing else happens, and the other end of each stream is a script of bytes. A target that
 * links this file gets these instead of the real ones; everything else in it is the real thing.
 *
 * A script has a section for each stream, in the order in which they are opened; between them stands
 * FAKE_NEXT. A stream without a section, or at the end of its own, falls silent or is closed.
 *
 * Thread: one.
 * Owns:   timers and streams as the real ones do; a stream that nobody closed is a leak, and found.
 * Fails:  by abort; never for memory. */
#ifndef OUTFALL_TESTS_FAKE_EDGES_H
#define OUTFALL_TESTS_FAKE_EDGES_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct loop;

#define FAKE_NEXT "\xff<next>\xff"

struct fake_peer {
	struct span script;
	/* How many of `left` arrive together: usually one message of the protocol. */
	size_t (*piece)(struct span left);
	bool answers;  /* says something only when it was asked (RESP); else whenever it likes */
	bool hangs_up; /* at the end of its script; else it falls silent */
	unsigned torn; /* not 0: pieces are torn further, differently for each number */
	/* What was written, as it was committed, on the n-th stream, from 0. NULL: nobody listens. */
	void (*heard)(void *arg, unsigned stream, struct span bytes);
	void *arg;
};

void fake_edges_set_peer(struct loop *loop, const struct fake_peer *peer);

/* One turn, of which time is a part only when nothing else happens. False: nothing ever will. */
bool fake_edges_turn(struct loop *loop);
/* Every section has a stream, and no stream has more to say as things are. */
bool fake_edges_all_said(const struct loop *loop);

#endif
