/* acceptor - takes connections from a listening socket, some in each turn.
 *
 * Thread: the loop's.
 * Owns:   the listening socket from acceptor_create() on, if that succeeds; a connection is the caller's from
 *         `came` on.
 * Fails:  creation with NULL: no memory. Without descriptors it pauses for a second, because a listening
 *         socket with somebody in it stays readable, and trying again at once would be a busy loop. */
#ifndef OUTFALL_ADMIN_ACCEPTOR_H
#define OUTFALL_ADMIN_ACCEPTOR_H

#include <sys/socket.h>

struct acceptor;
struct log;
struct loop;

/* `fd` is non-blocking and close-on-exec. */
typedef void acceptor_came(void *arg, int fd, const struct sockaddr *from, socklen_t len);

struct acceptor *acceptor_create(struct loop *loop, struct log *log, int listener,
				 acceptor_came *came, void *arg);

/* For the end, when the loop does not turn any more: takes what is there, some of it at least. */
void acceptor_run(struct acceptor *acceptor);
int acceptor_fd(const struct acceptor *acceptor); /* to poll(2) for; -1 in a pause */

void acceptor_destroy(struct acceptor *acceptor); /* closes the listening socket; NULL is fine */

#endif
