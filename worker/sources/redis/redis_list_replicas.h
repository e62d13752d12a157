/* redis_list_replicas - waits until enough replicas know of a call (wait_replicas).
 *
 *     idle --ask, with the call--> (the call's reply) --await--> waiting --WAIT's reply--> confirmed()
 *
 * Thread: the loop's.
 * Owns:   nothing; the struct belongs to its user.
 * Fails:  never: replicas that do not answer in time are gone on without. Trouble on the connection is
 *         redis_shared.link_failed(). */
#ifndef OUTFALL_SOURCES_REDIS_LIST_REPLICAS_H
#define OUTFALL_SOURCES_REDIS_LIST_REPLICAS_H

#include <stdbool.h>

struct redis_shared;

struct redis_replicas {
	struct redis_shared *shared;
	const char *list;
	void (*confirmed)(void *arg); /* or too few of them, in time */
	void *arg;
	bool waiting; /* the call's own reply is in, and the replicas have yet to confirm */
	bool alone;   /* the last time they did not */
};

void redis_replicas_ask(struct redis_replicas *r); /* right behind the call */
/* The call's reply is in. False: nobody was asked, and there is nothing to wait for. */
bool redis_replicas_await(struct redis_replicas *r);
void redis_replicas_give_up(struct redis_replicas *r); /* the call was */

#endif
