/* events - the live feed: WebSocket clients that get the worker's status each second while it changes.
 *
 * Thread: the loop's. While nobody listens there is no timer.
 * Owns:   a listener from feed_join() on; its socket stays the caller's, who gets it back with
 *         `left`, never from within feed_join().
 * Units:  bytes; seconds for people.
 * Fails:  feed_join() with false for lack of memory; then the socket was not taken. A client that
 *         reads more slowly than there is news gets less of it, and is cut when it reads nothing, when
 *         it does not answer a ping, or when it says more than some kB a second. */
#ifndef OUTFALL_ADMIN_EVENTS_H
#define OUTFALL_ADMIN_EVENTS_H

#include "base/span.h"
#include "base/text.h"
#include "observe/status.h"

#include <stdbool.h>
#include <stddef.h>

struct feed;
struct log;
struct loop;
struct pollfd;

/* Appends what there is to say now; returns how many bytes of it stay as they are when nothing
 * happens. `last`: it is the last that will be said. */
typedef size_t feed_writer(void *arg, enum status_control control, bool last, struct text *to);

/* NULL: no memory. */
struct feed *feed_create(struct loop *loop, struct log *log, feed_writer *write, void *arg);
/* Cuts whoever still listens. NULL is fine, for both. */
void feed_cut(struct feed *feed);
void feed_destroy(struct feed *feed); /* and frees */

struct newcomer {
	int fd;            /* non-blocking; the upgrade was answered */
	struct span early; /* what came behind the request already */
	enum status_control control;
	void (*left)(void *arg);
	void *arg;
};
bool feed_join(struct feed *feed, const struct newcomer *newcomer);

/* Something worth telling at once has happened. */
void feed_news(struct feed *feed);

/* The last message, and close 1001 with this reason (borrowed; at most 123 bytes). Listeners leave when they
 * have confirmed it. */
void feed_goodbye(struct feed *feed, const char *reason);
size_t feed_count(const struct feed *feed);

/* For the end, when the loop does not turn any more: what to poll(2) for (at most `most`), and
 * whoever is ready is served. */
size_t feed_poll(const struct feed *feed, struct pollfd *fds, size_t most);
void feed_serve(struct feed *feed);

#endif
