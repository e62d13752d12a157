/* redis_list_queue - one list of a Redis source: our membership in it, what we claim from it, and
 * what we tell it. The source (redis_list.c) owns the connection that all its queues share.
 *
 * Thread: the loop's.
 * Owns:   the jobs that are being settled, its waiting connection, its place on the source's list
 *         of work. The rest is borrowed from the source.
 * Units:  milliseconds for leases and delays.
 * Fails:  creation with NULL. Trouble on the shared connection goes to link_failed(), and comes back
 *         as redis_queue_link_lost() and, later, redis_queue_link_up(). */
#ifndef OUTFALL_SOURCES_REDIS_LIST_QUEUE_H
#define OUTFALL_SOURCES_REDIS_LIST_QUEUE_H

#include "base/error.h"
#include "base/list.h"
#include "sources/redis/redis_script.h"
#include "sources/source.h"
#include "wire/reconnect.h"

#include <stdbool.h>
#include <stddef.h>

struct census;
struct job;
struct list_settings;
struct log;
struct loop;
struct redis_queue;
struct route;
struct source;

enum { LIST_SCRIPTS = SCRIPT_CENSUS + 1 }; /* those that a queue calls */

/* What the queues of one source share. */
struct redis_shared {
	struct loop *loop;
	struct log *log;
	struct source *source;
	const struct resp_login *login;
	const char *worker;     /* without the part that tells incarnations apart */
	size_t max_body_bytes;  /* of one job */
	size_t claim_bytes;     /* of one claim, but at least one job */
	unsigned wait_replicas; /* 0: a call's own reply is all that is waited for */
	uint64_t wait_timeout_ms;
	struct resp *redis; /* NULL while the link is not up */
	struct script_digest scripts[LIST_SCRIPTS];
	struct reconnect reconnect; /* a claim that was answered means that all is well */
	struct list work;           /* queues to be attended at the end of the turn */
	struct census *census;      /* who is told what was asked for with redis_queue_count() */

	/* A queue calls these last, before it returns to the loop. */
	void (*link_failed)(struct redis_shared *shared, const struct error *why);
	void (*changed)(struct redis_shared *shared);
};

struct redis_queue *redis_queue_create(struct redis_shared *shared,
				       const struct list_settings *settings);
void redis_queue_destroy(struct redis_queue *queue); /* at once; settles end in SETTLED_LOST */
void redis_queue_bind(struct redis_queue *queue, struct route *route);
/* The worker has worked before this list came: that the server keeps us from it is no trouble of the
 * connection, but this list's alone, which then tries again and again. */
void redis_queue_forgive(struct redis_queue *queue);
struct redis_queue *redis_queue_of_work(struct list *node); /* of redis_shared.work */

void redis_queue_link_up(struct redis_queue *queue);
void redis_queue_link_lost(struct redis_queue *queue);
void redis_queue_open(struct redis_queue *queue);
void redis_queue_shut(struct redis_queue *queue);
bool redis_queue_is_taking(const struct redis_queue *queue); /* it really is */
bool redis_queue_is_shut(const struct redis_queue *queue);   /* nothing can be delivered any more */

void redis_queue_settle(struct redis_queue *queue, struct job *job);
void redis_queue_flush(struct redis_queue *queue);  /* what is finished awaits no company */
void redis_queue_look(struct redis_queue *queue);   /* attend to it at the end of this turn */
void redis_queue_attend(struct redis_queue *queue); /* the end of the turn: settle, claim, wait */
void redis_queue_tick(struct redis_queue *queue);   /* at least every third of a lease */

/* Asks how many other workers take from the list; shared->census is told, in this round of it. */
void redis_queue_count(struct redis_queue *queue, unsigned round);

void redis_queue_retire(struct redis_queue *queue); /* shut, and for good */
uint64_t redis_queue_lease_ms(const struct redis_queue *queue);
bool redis_queue_is_retired(const struct redis_queue *queue);
enum leaving redis_queue_part(struct redis_queue *queue); /* see leave() in source.h */

/* Ends the membership, if nothing is held, and whatever is being settled. */
void redis_queue_leave(struct redis_queue *queue);
bool redis_queue_has_left(const struct redis_queue *queue);
size_t redis_queue_waiting_for(const struct redis_queue *queue, char *buf, size_t size);

#endif
