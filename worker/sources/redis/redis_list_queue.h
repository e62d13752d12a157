/* redis_list_queue - one list of a Redis source: what we claim from it, what we tell it, and when. The
 * source (redis_list.c) owns the connection that all its queues share.
 *
 * Thread: the loop's.
 * Owns:   the jobs that are being settled, its membership and its waiting connection, its place on the
 *         source's list of work. The rest is borrowed from the source.
 * Units:  milliseconds for leases and delays.
 * Fails:  creation with NULL. Trouble on the shared connection goes to link_failed(), and comes back
 *         as redis_queue_link_lost() and, later, redis_queue_link_up(). */
#ifndef OUTFALL_SOURCES_REDIS_LIST_QUEUE_H
#define OUTFALL_SOURCES_REDIS_LIST_QUEUE_H

#include "base/list.h"
#include "sources/source.h"

#include <stdbool.h>
#include <stddef.h>

struct job;
struct list_settings;
struct redis_queue;
struct redis_shared;
struct route;

struct redis_queue *redis_queue_create(struct redis_shared *shared,
				       const struct list_settings *settings);
void redis_queue_destroy(struct redis_queue *queue); /* at once; settles end in SETTLED_LOST */
void redis_queue_bind(struct redis_queue *queue, struct route *route);
/* The server keeps us from it, which is no trouble of the connection: it tries again with each tick. */
void redis_queue_set_aside(struct redis_queue *queue, const struct error *why);
/* Lets go of what has not begun, if the lease has run out. Returns when to ask again. */
uint64_t redis_queue_check_lease(struct redis_queue *queue, uint64_t now_ns);
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

/* Asks how many other workers take from the list; redis_shared.census is told, in this round of it. */
void redis_queue_count(struct redis_queue *queue, unsigned round);

void redis_queue_suspend(struct redis_queue *queue); /* shut, whatever is wanted */
void redis_queue_take_up(struct redis_queue *queue,
			 bool open); /* no more; `open`: that is wanted */
bool redis_queue_is_suspended(const struct redis_queue *queue);

void redis_queue_retire(struct redis_queue *queue); /* shut, and for good */
bool redis_queue_is_retired(const struct redis_queue *queue);
enum leaving redis_queue_part(struct redis_queue *queue); /* see leave() in source.h */
const struct list_settings *redis_queue_settings(const struct redis_queue *queue);

/* Ends the membership, if nothing is held, and whatever is being settled. */
void redis_queue_leave(struct redis_queue *queue);
bool redis_queue_has_left(const struct redis_queue *queue);
size_t redis_queue_waiting_for(const struct redis_queue *queue, char *buf, size_t size);

#endif
