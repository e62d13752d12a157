/* rabbitmq_channel - one queue's channel, from channel.open to close-ok: its states, its consumer,
 * and the jobs that come and are settled in them.
 *
 * Thread: the loop's.
 * Owns:   the message that is coming in (rabbitmq_incoming.h) and the record of what has no proved
 *         answer (rabbitmq_answers.h). Jobs are the core's from deliver() on.
 * Units:  nanoseconds of the loop's clock.
 * Fails:  rabbitmq_channel_create() with ST_NOMEM. Afterwards trouble is a state and a way back. */
#ifndef OUTFALL_SOURCES_RABBITMQ_CHANNEL_H
#define OUTFALL_SOURCES_RABBITMQ_CHANNEL_H

#include "base/error.h"
#include "base/list.h"
#include "base/span.h"
#include "sources/source.h"
#include "wire/amqp.h"

#include <stdbool.h>
#include <stdint.h>

struct census;
struct job;
struct log;
struct loop;
struct queue_settings;
struct rabbitmq_channel;
struct rabbitmq_copies;
struct rabbitmq_passage;
struct route;
struct source;
struct worker_settings;

/* What the channels of one source have in common. The source owns it and changes it. */
struct rabbitmq_channels {
	struct loop *loop;
	struct log *log;
	struct source *source; /* its host is who jobs are delivered to */
	const struct worker_settings *worker;
	struct rabbitmq_copies *copies;
	struct rabbitmq_passage *passage; /* of what is too large to be a job */
	struct amqp_conn *conn;           /* NULL unless logged in */
	size_t n_numbers;                 /* of channels: the highest that a queue has */
	uint64_t check_ms;      /* between two looks whether a consumer is still there; 0: none */
	bool intake_wanted;     /* consume, or only settle */
	bool urgent;            /* tell and prove at once: somebody waits for it */
	uint64_t last_epoch;    /* counts the openings of all channels */
	uint64_t held_until_ns; /* the broker may not know yet that our last connection has gone */
	struct list busy;       /* channels with answers to tell or to prove */
	uint64_t delivered;     /* jobs, ever */
	struct census *census;  /* who is told what was asked for with rabbitmq_channel_count() */

	void (*doubted)(struct source *source); /* the broker has refused us access to something */
	void (*moved)(struct source *source);   /* a channel has changed its state */
	/* Before it has ever consumed: the broker has no such queue, or keeps us from it. */
	void (*refused)(struct source *source, const struct error *why);
};

enum status rabbitmq_channel_create(struct rabbitmq_channels *all,
				    const struct queue_settings *settings, uint16_t number,
				    struct rabbitmq_channel **ret_channel, struct error *why);
void rabbitmq_channel_bind(struct rabbitmq_channel *ch, struct route *route); /* once */
/* The worker has worked before this queue came: no refusal of it ends the worker. */
void rabbitmq_channel_forgive(struct rabbitmq_channel *ch);
/* Settles still open end in SETTLED_LOST. */
void rabbitmq_channel_destroy(struct rabbitmq_channel *ch);

void rabbitmq_channel_open(struct rabbitmq_channel *ch); /* the connection is there */
/* Before lose(): the broker has ended the connection for a reason that may be this queue's subscription. */
void rabbitmq_channel_blame(struct rabbitmq_channel *ch, const struct error *why);
void rabbitmq_channel_lose(struct rabbitmq_channel *ch);   /* the connection is gone */
void rabbitmq_channel_follow(struct rabbitmq_channel *ch); /* intake_wanted has changed */
/* How many jobs may run at once has changed: see rabbitmq_prefetch.h. */
void rabbitmq_channel_limits_changed(struct rabbitmq_channel *ch);
void rabbitmq_channel_close(struct rabbitmq_channel *ch); /* in order */
/* See source.h. It does not consume, whatever is wanted, until that is taken back. */
void rabbitmq_channel_suspend(struct rabbitmq_channel *ch, bool suspended);
bool rabbitmq_channel_is_suspended(const struct rabbitmq_channel *ch);
/* See source.h. It consumes no more, whatever is wanted. */
void rabbitmq_channel_retire(struct rabbitmq_channel *ch);
enum leaving rabbitmq_channel_leave(struct rabbitmq_channel *ch);

void rabbitmq_channel_method(struct rabbitmq_channel *ch, amqp_method_number_t id,
			     const void *decoded);
/* A method on a channel of another number. False: that is not this queue's second one. */
bool rabbitmq_channel_answered(struct rabbitmq_channel *ch, uint16_t number,
			       amqp_method_number_t id, const void *decoded);
void rabbitmq_channel_header(struct rabbitmq_channel *ch, const struct amqp_header *header);
void rabbitmq_channel_body(struct rabbitmq_channel *ch, struct span piece);

void rabbitmq_channel_settle(struct rabbitmq_channel *ch, struct job *job);
void rabbitmq_channel_copied(struct rabbitmq_channel *ch, struct job *job);
void rabbitmq_channel_not_copied(struct rabbitmq_channel *ch, struct job *job);   /* nor will be */
void rabbitmq_channel_copy_refused(struct rabbitmq_channel *ch, struct job *job); /* for good */
/* The end of a turn: tells and proves what is due. Returns how many ms it can wait for the next
 * time, UINT64_MAX: for ever. */
uint64_t rabbitmq_channel_turn(struct rabbitmq_channel *ch, uint64_t now_ns);
struct rabbitmq_channel *rabbitmq_channel_of_busy(struct list *node);

bool rabbitmq_channel_is_retired(const struct rabbitmq_channel *ch);
bool rabbitmq_channel_consumes(const struct rabbitmq_channel *ch);
bool rabbitmq_channel_may_deliver(const struct rabbitmq_channel *ch);
bool rabbitmq_channel_is_closed(const struct rabbitmq_channel *ch);
/* What somebody would be waiting for, "" for nothing. */
const char *rabbitmq_channel_waits_for(const struct rabbitmq_channel *ch);
const char *rabbitmq_channel_queue(const struct rabbitmq_channel *ch);

/* Asks how many other consumers the queue has; all->census is told, in this round of it. */
void rabbitmq_channel_count(struct rabbitmq_channel *ch, unsigned round);

/* How many deliveries the broker may have outstanding here; 0: it has not been told yet. */
unsigned rabbitmq_channel_limit(const struct rabbitmq_channel *ch);

#endif
