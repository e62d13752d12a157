/* rabbitmq_copies - jobs on their way to a retry queue, a dead letter queue, or back into their own
 * queue with a checkpoint that they had not come with.
 *
 * The original stays unacknowledged until its copy is confirmed; then arrived() says so, and the
 * channel may acknowledge it. So a job is in two places for a moment, and never in none.
 *
 * Thread: the loop's.
 * Owns:   the publisher, and the encoded properties of each copy. The job is the core's; it must
 *         stay until arrived(), or be forgotten here first.
 * Units:  counts of jobs.
 * Fails:  rabbitmq_copies_begin() with ST_NOMEM or ST_INVALID, nothing begun. A copy that cannot be
 *         placed (no such queue) is tried again, with a growing wait, for as long as it takes; but
 *         one that goes back is given up, for the broker has the original. A checkpoint that does not
 *         fit into the message is left out, and the log says so. */
#ifndef OUTFALL_SOURCES_RABBITMQ_COPIES_H
#define OUTFALL_SOURCES_RABBITMQ_COPIES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct job;
struct log;
struct loop;
struct queue_settings;
struct rabbitmq_copies;
struct rabbitmq_settings;
struct route;

struct rabbitmq_copies_events {
	void (*arrived)(void *arg, struct job *job);
	/* The copy of a job is not known to be anywhere: the original shall go back as it is. May come
	 * from within rabbitmq_copies_begin(). */
	void (*gave_up)(void *arg, struct job *job);
	/* No copy can ever be made: its headers leave no room for ours. May come from there, too. */
	void (*refused)(void *arg, struct job *job);
	void (*closed)(void *arg);
};

enum status rabbitmq_copies_create(struct loop *loop, struct log *log,
				   const struct rabbitmq_settings *settings, const char *worker,
				   const struct rabbitmq_copies_events *events, void *arg,
				   struct rabbitmq_copies **ret_copies, struct error *why);
enum rabbitmq_copy_when { COPY_NOW, COPY_WHEN_RELEASED };

/* As job->verdict says: RETRIED into the retry queue of its delay, DEAD into queue->dead, RETURNED to
 * the end of the queue. */
enum status rabbitmq_copies_begin(struct rabbitmq_copies *copies, struct job *job,
				  const struct queue_settings *queue, enum rabbitmq_copy_when when,
				  struct error *why);
/* What of this route waited for it is published now. */
void rabbitmq_copies_release(struct rabbitmq_copies *copies, const struct route *route);
/* The broker has taken this route's originals back: their copies are nobody's business any more. */
void rabbitmq_copies_forget(struct rabbitmq_copies *copies, const struct route *route);
/* The source is about to close: from a second on what goes back and could not even be sent is given up, and
 * everything where the broker has blocked us. Until nothing is left. */
void rabbitmq_copies_hurry(struct rabbitmq_copies *copies);
bool rabbitmq_copies_are_blocked(const struct rabbitmq_copies *copies); /* by the broker */
size_t rabbitmq_copies_count(const struct rabbitmq_copies *copies);
void rabbitmq_copies_close(struct rabbitmq_copies *copies); /* ends in closed() */
void rabbitmq_copies_destroy(struct rabbitmq_copies *copies);

#endif
