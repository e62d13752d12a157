/* rabbitmq_passage - messages too large for our memory, on their way into a dead letter queue: the body
 * goes out as it comes in, and nothing of it is kept.
 *
 *     begin --body, piece by piece--> under way --confirm--> passed()
 *       \                                \-- trouble --v
 *        +-- not now --------------> waiting --ready--> not_passed(), and it comes again
 *
 * Thread: the loop's.
 * Owns:   its connection. A job here is what is known of a message but for its body. It is on the tags
 *         of its channel (rabbitmq_tags.h) before rabbitmq_passage_begin() and until it is handed to
 *         rabbitmq_passage_ended(); the core never sees it.
 * Units:  bytes; milliseconds.
 * Fails:  creation and begin() with ST_NOMEM; begin() with ST_INVALID when the headers do not fit into a
 *         message of ours: nothing is begun then. All other trouble is not_passed(), after a wait that
 *         grows, and a log line. */
#ifndef OUTFALL_SOURCES_RABBITMQ_PASSAGE_H
#define OUTFALL_SOURCES_RABBITMQ_PASSAGE_H

#include "base/error.h"
#include "base/span.h"
#include "sources/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;
struct log;
struct loop;
struct queue_settings;
struct rabbitmq_passage;
struct rabbitmq_settings;
struct route;

struct rabbitmq_passage_events {
	/* It is in the dead letter queue, safely: the original may be acknowledged. */
	void (*passed)(void *arg, struct job *job);
	/* The original is to go back; its verdict says so. May come from within begin(). */
	void (*not_passed)(void *arg, struct job *job);
	/* The broker takes none so large: the original is to be rejected. */
	void (*refused)(void *arg, struct job *job);
	/* What comes in cannot leave as fast: nothing more is to be read, until let_flow(). */
	void (*hold)(void *arg);
	void (*let_flow)(void *arg);
	void (*closed)(void *arg); /* after rabbitmq_passage_close() */
};

/* `worker`: its name, for the broker's list of connections. */
enum status rabbitmq_passage_create(struct loop *loop, struct log *log,
				    const struct rabbitmq_settings *settings, const char *worker,
				    const struct rabbitmq_passage_events *events, void *arg,
				    struct rabbitmq_passage **ret_passage, struct error *why);

/* Its header has come; `queue` has a dead letter queue. Gives the job its outcome and verdict. */
enum status rabbitmq_passage_begin(struct rabbitmq_passage *p, struct job *job,
				   const struct queue_settings *queue, uint64_t body_bytes,
				   struct error *why);
/* A piece of the body of whatever comes in on this route; of what does not pass it is dropped. */
void rabbitmq_passage_body(struct rabbitmq_passage *p, const struct route *route,
			   struct span piece);

/* Not wanted: nothing is held up any more, what waits goes back at once, and what is under way has a
 * second left. Comes when the consumers are being cancelled already, else it would all come again. */
void rabbitmq_passage_follow(struct rabbitmq_passage *p, bool intake_wanted);
/* The broker has taken this route's originals back. */
void rabbitmq_passage_forget(struct rabbitmq_passage *p, const struct route *route);
size_t rabbitmq_passage_count(const struct rabbitmq_passage *p); /* under way */
bool rabbitmq_passage_has(const struct rabbitmq_passage *p,
			  const struct route *route);               /* of them */
bool rabbitmq_passage_is_blocked(const struct rabbitmq_passage *p); /* by the broker */

/* The answer to its original is told and proved, or lost: says what became of it, and frees it. */
void rabbitmq_passage_ended(struct rabbitmq_passage *p, struct job *job, enum settled how);

void rabbitmq_passage_close(struct rabbitmq_passage *p);   /* ends in closed() */
void rabbitmq_passage_destroy(struct rabbitmq_passage *p); /* at once; NULL is fine */

#endif
