/* rabbitmq_answers - what the broker is told of one channel's deliveries: which answer, when, and the
 * proof that it knows.
 *
 *     take --> (the core has it) --settle--> finished --turn--> told --qos-ok, commit-ok--> proved
 *                                   |           ^
 *                                   +-- copy ---+ its confirm
 *
 * It tells the broker the prefetch, too, because the same basic.qos is what proves.
 *
 * Thread: the loop's.
 * Owns:   the tags of one opening of the channel: which have no answer yet, and which answers are told
 *         but not proved. Jobs are the core's; each that came to settle() is handed to
 *         host->settled() once; one that only passes by, to rabbitmq_passage_ended(). The connection is borrowed for the length of a call.
 * Units:  nanoseconds of the loop's clock; turn() returns milliseconds.
 * Fails:  creation with NULL; take() with ST_NOMEM, and settle() as rabbitmq_copies_begin() does: the
 *         job is as before. */
#ifndef OUTFALL_SOURCES_RABBITMQ_ANSWERS_H
#define OUTFALL_SOURCES_RABBITMQ_ANSWERS_H

#include "base/error.h"
#include "sources/rabbitmq/rabbitmq_tags.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amqp_conn;
struct job;
struct log;
struct loop;
struct queue_settings;
struct rabbitmq_answers;
struct rabbitmq_copies;
struct rabbitmq_passage;
struct source_host;

struct rabbitmq_answers_place { /* borrowed, all of it */
	struct loop *loop;
	struct log *log;
	struct source_host *host;
	struct rabbitmq_copies *copies;
	struct rabbitmq_passage *passage;
	const struct queue_settings *queue;
	uint16_t channel;
};

struct rabbitmq_answers *rabbitmq_answers_create(const struct rabbitmq_answers_place *place);
void rabbitmq_answers_destroy(struct rabbitmq_answers *a); /* as after end() and give_up() */

/* The channel is open. No other opening, of any channel, ever has the same epoch. */
void rabbitmq_answers_begin(struct rabbitmq_answers *a, uint64_t epoch);
/* Tells the broker how many may be outstanding; again is harmless. Ends in qos-ok. */
void rabbitmq_answers_limit(struct rabbitmq_answers *a, struct amqp_conn *conn, uint16_t prefetch);
uint16_t rabbitmq_answers_prefetch(const struct rabbitmq_answers *a); /* 0: not told yet */

/* A new consumer: what an earlier one got is not counted against its prefetch. */
void rabbitmq_answers_expect(struct rabbitmq_answers *a);
/* Whether the broker may send one more, as we see it. */
bool rabbitmq_answers_expects_more(const struct rabbitmq_answers *a);
enum status rabbitmq_answers_take(struct rabbitmq_answers *a, struct job *job);

/* How a job that goes back unchanged goes. */
enum rabbitmq_return {
	RETURN_BY_ANSWER,
	/* A copy that takes its place is published when the consumer has gone, else we would get it. */
	RETURN_AFTER_CANCEL,
	RETURN_WITH_CHANNEL, /* parked: no answer, so that channel.close gives it back */
	RETURN_UNDECIDED,    /* one of these, when rabbitmq_answers_decide() has said which */
};

/* Carries out job->verdict, or finds that it was lost with another opening. */
enum status rabbitmq_answers_settle(struct rabbitmq_answers *a, struct job *job,
				    enum rabbitmq_return how, struct amqp_conn *conn,
				    struct error *why);
/* For those that are undecided; not RETURN_UNDECIDED. */
void rabbitmq_answers_decide(struct rabbitmq_answers *a, enum rabbitmq_return how,
			     struct amqp_conn *conn);
void rabbitmq_answers_copied(struct rabbitmq_answers *a, struct job *job);
void rabbitmq_answers_not_copied(struct rabbitmq_answers *a, struct job *job, /* nor will be */
				 enum rabbitmq_return how, struct amqp_conn *conn);
void rabbitmq_answers_reject(struct rabbitmq_answers *a,
			     struct job *job); /* whatever `dead` says */
/* One that was no job and is not in the tags: it was unfit, or came with get-ok. In a transaction the answer holds with
 * the next commit, like all answers. */
void rabbitmq_answers_reject_unfit(struct rabbitmq_answers *a, struct amqp_conn *conn,
				   uint64_t tag);
void rabbitmq_answers_return_got(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t tag);
size_t rabbitmq_answers_parked(const struct rabbitmq_answers *a);
/* Each delivery is finished or parked. */
bool rabbitmq_answers_all_ended(const struct rabbitmq_answers *a);

/* The end of a turn: tells and proves what is due. Returns how many ms it can wait for the next
 * time, UINT64_MAX: until something happens. */
uint64_t rabbitmq_answers_turn(struct rabbitmq_answers *a, struct amqp_conn *conn, uint64_t now_ns,
			       bool urgent);
/* There is something to tell, or told and in no proof yet. */
bool rabbitmq_answers_wants_turn(const struct rabbitmq_answers *a);
/* Tells all that is finished, for a channel.close that is to follow in the same write. */
void rabbitmq_answers_conclude(struct rabbitmq_answers *a, struct amqp_conn *conn);

/* Whose word proves: the .c says what each is worth. */
enum rabbitmq_word {
	WORD_OF_CHANNEL,
	WORD_OF_LEADER, /* of a quorum queue, should it be one; nobody of ours consumes from it */
	WORD_OF_LEADER_OF_CONSUMER, /* the same, and it counts our consumer */
};
/* From the next proof on. */
void rabbitmq_answers_believe(struct rabbitmq_answers *a, enum rabbitmq_word word);

void rabbitmq_answers_qos_ok(struct rabbitmq_answers *a, struct amqp_conn *conn);
/* Any declare-ok of the queue. */
void rabbitmq_answers_counted(struct rabbitmq_answers *a, uint32_t messages, uint32_t consumers);
void rabbitmq_answers_got(struct rabbitmq_answers *a); /* get-ok or get-empty */
/* The broker knows no such queue: nothing of it will be given out again, and all that was told is proved. */
void rabbitmq_answers_queue_gone(struct rabbitmq_answers *a);
void rabbitmq_answers_commit_ok(struct rabbitmq_answers *a);
void rabbitmq_answers_close_ok(struct rabbitmq_answers *a);

/* The tags are void: what has no answer goes back to the broker by itself. What is being settled ends in
 * SETTLED_LOST; what runs goes on without us, and its settle() will find that its epoch is over. */
void rabbitmq_answers_end(struct rabbitmq_answers *a);
/* No proof will come: what is told ends in SETTLED_UNPROVED. */
void rabbitmq_answers_give_up(struct rabbitmq_answers *a);

bool rabbitmq_answers_has_begun(const struct rabbitmq_answers *a); /* and not ended */
/* To tell, or to be proved; a proof of nothing, which only the prefetch asks for, among them. */
bool rabbitmq_answers_has_pending(const struct rabbitmq_answers *a);

#endif
