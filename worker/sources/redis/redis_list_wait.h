/* redis_list_wait - waits for a job on an empty list, without polling.
 *
 * A connection of its own that blocks in BLMOVE list wake:<worker>: the server moves the next job
 * to a place where it is ours to claim, or where the lease's end will have it brought back. The
 * connection is made when there is first something to wait for, and kept.
 *
 * Thread: the loop's.
 * Owns:   its connection and timer; login and keys are borrowed and read anew for each BLMOVE.
 * Units:  milliseconds.
 * Fails:  creation with NULL. A connection that cannot be had is tried again with backoff; each
 *         failure counts as an end of waiting, so that the list is looked at now and then. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_WAIT_H
#define OUTFALL_SOURCES_REDIS_LIST_WAIT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;
struct loop;
struct redis_keys;
struct redis_wait;
struct resp_login;

struct redis_wait_events {
	/* Waiting has ended, whatever the reason: a job may be there, or in the wake list. */
	void (*ended)(void *arg);
	/* The connection on which it blocks is there; others may unblock it. */
	void (*connected)(void *arg);
	/* Why it cannot wait, as the server says; once for each reason until it can again. */
	void (*troubled)(void *arg, const char *why);
	/* Ask the server, on another connection, to unblock this client. */
	void (*unblock)(void *arg, int64_t client_id);
};

/* No BLMOVE outlives `longest_ms`, a third of a lease; see the .c for why. */
struct redis_wait *redis_wait_create(struct loop *loop, const struct resp_login *login,
				     const struct redis_keys *keys, uint64_t longest_ms,
				     const struct redis_wait_events *events, void *arg);
/* At once; a BLMOVE may be left behind on the server. NULL is fine. */
void redis_wait_destroy(struct redis_wait *wait);

void redis_wait_begin(struct redis_wait *wait); /* until `ended`; nothing happens if it waits */
/* Asks for the end. `ended` tells when no BLMOVE is outstanding any more; at once if none was. */
void redis_wait_end(struct redis_wait *wait);
bool redis_wait_is_elsewhere(const struct redis_wait *wait); /* on a server that is left behind */
void redis_wait_drop(struct redis_wait *wait);               /* closes the connection, no `ended` */
bool redis_wait_blocks(const struct redis_wait *wait);       /* a BLMOVE is outstanding */
int64_t redis_wait_client_id(const struct redis_wait *wait); /* 0: not connected */

#endif
