/* resolve - a host name to addresses, without holding the loop or the exit.
 *
 * Thread: the loop's; each lookup has a thread of its own behind it.
 * Owns:   a lookup belongs to whoever started it, until `done` ran or resolve_cancel(). The
 *         addresses go to `done`, who releases them with freeaddrinfo().
 * Units:  none.
 * Fails:  resolve_start() with NULL for lack of memory or of a thread; otherwise through `done`. */
#ifndef OUTFALL_WIRE_RESOLVE_H
#define OUTFALL_WIRE_RESOLVE_H

struct addrinfo;
struct loop;
struct resolve;

/* `error` is 0 or one of getaddrinfo's; `found` is NULL unless it is 0. */
struct resolve *resolve_start(struct loop *loop, const char *host, unsigned port,
			      void (*done)(void *arg, int error, struct addrinfo *found),
			      void *arg);
/* `done` will not be called. NULL is fine. */
void resolve_cancel(struct resolve *lookup);

#endif
