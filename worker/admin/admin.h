/* admin - how operators look in and steer: HTTP on a Unix socket and on TCP, metrics, a live page.
 *
 * Thread: the loop's.
 * Owns:   its sockets, and the file of the Unix socket, until admin_destroy().
 * Units:  monotonic nanoseconds.
 * Fails:  admin_create(), with a sentence. After that nothing that happens here can hold a job, or the
 *         drain, whose clock knows nothing of us.
 *
 * It listens to the very end, so that a load balancer sees "draining" and not a refused connection.
 * After the last turn of the loop admin_part() gives those who wait their answer and says goodbye to
 * those who listen; it serves its own sockets only, for as long as it is given, which is nothing
 * where nobody is connected. */
#ifndef OUTFALL_ADMIN_ADMIN_H
#define OUTFALL_ADMIN_ADMIN_H

#include "admin/reloading.h"
#include "base/error.h"

#include <stdint.h>

struct admin;
struct admin_settings;
struct core;
struct log;
struct loop;
struct text;

struct admin_worker { /* whom it shows; borrowed, and outlives it */
	struct core *core;
	struct loop *loop;
	struct log *log;
	const char *name;
	struct reloading reloading; /* POST /reload */
};

/* *ret_admin is NULL where the settings want none. */
enum status admin_create(const struct admin_settings *settings, const struct admin_worker *worker,
			 struct admin **ret_admin, struct error *why);

/* A queue is about to be removed while the worker goes on: asks the brokers who else takes from it, where
 * the settings care. If nobody does the log will say so; the queue goes all the same. */
void admin_queue_goes(struct admin *admin); /* NULL is fine */

/* A reload is over: those who wait for it are answered, and `token` is what a request has to bring from now on
 * that comes over http and steers; borrowed, NULL: nothing will do. */
void admin_reloaded(struct admin *admin, const char *token); /* NULL is fine */

/* The drain is closed and its report complete; sources are gone. At the latest at `until_ns`, and a
 * second from now, whoever has not heard the last word is left without it. */
void admin_part(struct admin *admin, uint64_t until_ns);

void admin_destroy(struct admin *admin); /* NULL is fine */

#endif
