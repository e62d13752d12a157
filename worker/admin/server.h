/* server - one listening socket that speaks HTTP, on our loop.
 *
 * Thread: the loop's.
 * Owns:   the listening socket from server_open() on, if that succeeds, and every connection.
 * Units:  named where they are.
 * Fails:  opening, with a sentence. After that trouble is a connection that ends.
 *
 * A connection has a time for each thing it does, so that one that dribbles a byte now and then, or
 * reads a byte now and then, is cut: 10 s to its first request, 30 s from a request's headers to the
 * end of its answer, 75 s between requests. There are at most 64 of them, each with 16 kB for its
 * headers; a request's body may have 4 kB, and is not read. One more takes the place of the one that
 * has asked nothing for the longest time, so a probe always finds a place. Those who listen to the
 * feed are counted apart. Each listening socket counts its own, so that a full one does not keep
 * anybody from the other. */
#ifndef OUTFALL_ADMIN_SERVER_H
#define OUTFALL_ADMIN_SERVER_H

#include "admin/guard.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct feed;
struct log;
struct loop;
struct pages;
struct pollfd;
struct server;

enum {
	SERVER_CONNECTIONS = 64,
	SERVER_LISTENERS = 32, /* to the feed, beside those */
	SERVER_POLLED = 2,
};

struct server_parts { /* borrowed, and outlive the server */
	struct loop *loop;
	struct log *log;
	const struct pages *pages;
	struct feed *feed;
};

enum status server_open(const struct server_parts *parts, const struct gate *gate, int listener,
			struct server **ret_server, struct error *why);

/* Those who wait for a census are answered. */
void server_answer_counted(struct server *server);

/* Those who wait for a reload, if it is that one or an earlier one that is over. */
void server_answer_reloaded(struct server *server);

/* Who brings this one may steer from now on, also on a connection that is there already; borrowed. NULL: nobody. */
void server_set_token(struct server *server, const char *token);

/* Those who wait for the end of the drain are told. */
void server_answer_waiting(struct server *server);

/* Does a request still want its answer, or some of it? */
bool server_is_busy(const struct server *server);

/* For the end, when the loop does not turn any more. */
void server_poll(const struct server *server, struct pollfd *fds); /* SERVER_POLLED of them */
bool server_run(struct server *server);                            /* true: and again at once */

/* Cuts what is left. Those who listen to the feed must have left. NULL is fine. */
void server_close(struct server *server);

#endif
