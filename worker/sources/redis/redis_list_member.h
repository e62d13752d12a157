/* redis_list_member - our membership in one list: the lease, the name under which we claim, and what has
 * to be put right between us and the server after a broken connection. Of jobs it knows their fields.
 *
 *   out --link up--> joining --joined--> member --leave--> leaving --> left
 *    ^  \               ^ no lease         | ^                            ^
 *    |   \              |          lapsed  v | put back                   |
 *    |    \--link up, was a member-----> undoing --forgotten--> reclaiming
 *    |                                   ^    ^--------------------/      |
 *    |         a server that went back   |                                |
 *    |              --> joining again ---+                                |
 *    +----- link lost (from any)                link lost while leaving --+
 *
 * Thread: the loop's.
 * Owns:   the names of the list's keys, with ours in them.
 * Units:  milliseconds for leases; nanoseconds of the loop's clock inside.
 * Fails:  creation with NULL. Trouble on the connection goes to redis_shared.link_failed(). */
#ifndef OUTFALL_SOURCES_REDIS_LIST_MEMBER_H
#define OUTFALL_SOURCES_REDIS_LIST_MEMBER_H

#include "base/span.h"
#include "wire/resp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list_settings;
struct redis_keys;
struct redis_member;
struct redis_shared;
struct job;
struct redis_unknown;

typedef void redis_job_known(void *to, const struct job *job);

struct redis_member_events {
	/* We are a member, for the first time or again. */
	void (*joined)(void *arg);
	/* A renewal tells more than that the lease runs: when a delayed job is due (< 0: there is none),
	 * and how many jobs of dead workers are back in the list. */
	void (*renewed)(void *arg, int64_t due_ms, int64_t brought_back);
	/* The lease is over by our own clock: nobody can say whose the jobs are. */
	void (*lapsed)(void *arg);
	/* A call that is under way is not to be believed any more; what it was to settle is told again. */
	void (*interrupted)(void *arg);
	/* The lease was lost and others have our jobs: nothing that was claimed before is ours any more,
	 * and nothing that is under way in the old name counts. We join again under a new one. */
	void (*shut_out)(void *arg);
	/* Calls `each` with each job that we hold in our present name. */
	void (*each_known)(void *arg, redis_job_known *each, void *to);
	/* These are the server's no more, and nobody will take them from us: they are to be let go of. */
	void (*forget)(void *arg, const struct redis_unknown *gone);
	/* Connections of others that block, and are to be unblocked. */
	void (*wake)(void *arg, const struct reply *ids, size_t n_ids);
	/* What other workers want to know: the connection on which we block, 0 for none; and whether we
	 * take jobs at all. */
	int64_t (*blocked_client)(void *arg);
	bool (*takes)(void *arg);
};

struct redis_member *redis_member_create(struct redis_shared *shared,
					 const struct list_settings *settings,
					 const struct redis_member_events *events, void *arg);
void redis_member_destroy(struct redis_member *m);

const struct redis_keys *redis_member_keys(const struct redis_member *m); /* lives as long as it */
const char *redis_member_name(const struct redis_member *m);
uint64_t redis_member_epoch(const struct redis_member *m); /* of the name; never 0 */

bool redis_member_is_out(
    const struct redis_member *m); /* of the list; will be asked in by link_up() */
bool redis_member_has_joined(const struct redis_member *m); /* the server may know of us */
bool redis_member_is_in(const struct redis_member *m);  /* claims and settles may be asked for */
uint64_t *redis_member_last_id(struct redis_member *m); /* that we were given, to be raised */

void redis_member_link_up(struct redis_member *m);
bool redis_member_link_lost(struct redis_member *m); /* false: that is nothing new */
void redis_member_tick(struct redis_member *m);      /* at least every third of a lease */
/* Sooner, because others want to know; while a renewal is under way they hear of it with the next tick. */
void redis_member_renew(struct redis_member *m);
/* A call was told so, and which id the server has given out last. */
void redis_member_shut_out(struct redis_member *m, uint64_t last_id);
void redis_member_heard(struct redis_member *m, uint64_t asked_ns); /* a turn was answered */
/* Lets go of what has not begun, if the lease has run out by our clock. Returns when to ask again. */
uint64_t redis_member_check_lease(struct redis_member *m, uint64_t now_ns);
/* What was claimed has not arrived here: the server shall put back what we do not know. */
void redis_member_undo(struct redis_member *m);

/* Asks how many other members take jobs. False: it can not be asked now. */
bool redis_member_count(struct redis_member *m, resp_answered *answered, void *arg);

/* Leaving: either the server is told, or it is over at once. */
bool redis_member_is_stopping(const struct redis_member *m); /* or has left */
void redis_member_leave(struct redis_member *m);             /* ends in redis_shared.changed() */
void redis_member_vanish(struct redis_member *m);            /* the lease runs out by itself */
/* The server may still have claims of ours, and only the end of the lease brings them back. */
bool redis_member_may_hold(const struct redis_member *m);
bool redis_member_has_left(const struct redis_member *m);

#endif
