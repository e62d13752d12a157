/* job - the thing that moves: bytes taken from a broker, and what we know about them.
 *
 * Thread: the loop's. While a job runs, a plugin thread may read the facts below the line
 *         "fixed at creation" and nothing else.
 * Owns:   its bytes, in the same allocation. One owner at a time: the source until it delivers,
 *         then the ledger until ledger_drop(), then whoever dropped it.
 * Units:  monotonic nanoseconds (0 = has not happened), bytes.
 * Fails:  job_create() with NULL when there is no memory. */
#ifndef OUTFALL_JOB_JOB_H
#define OUTFALL_JOB_JOB_H

#include "base/list.h"
#include "base/span.h"
#include "job/failure.h"
#include "job/outcome.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct route;

/*  held --begin--> running --finish--> finished --tell--> settling --> (gone)
 *     \------------------ give back -------------------------^
 * Only the ledger assigns it. */
enum job_state { JOB_HELD, JOB_RUNNING, JOB_FINISHED, JOB_SETTLING, JOB_STATES };

/* Why a running job was asked to stop; only dispatch assigns it. */
enum job_stop { JOB_NOT_STOPPED, JOB_STOPPED_BY_TIMEOUT, JOB_STOPPED_BY_DRAIN };

/* Whether its broker may give it out a second time, or has; see recall.h. */
enum recall_state {
	RECALL_NONE,     /* its delivery is its own */
	RECALL_EXPECTED, /* runs, and its delivery is lost: a second one may come */
	RECALL_MET,      /* runs, and its second delivery waits for its end */
	RECALL_WAITING,  /* held: is such a second delivery */
	RECALL_OVER,     /* runs, its delivery is lost, and none will come that we would know */
	RECALL_KEPT,     /* has ended; the broker was not told, or has not proved that it was */
};

struct job {
	/* Places. A job is on its ledger list always, on a lane's list while assigned there. */
	struct list in_ledger;
	struct list in_lane;
	struct list in_route;    /* while held: the route's list, in the order taken; or `parked` */
	struct list in_source;   /* free for the source that is settling it */
	struct list in_executor; /* free for the executor that has it */

	enum job_state state;
	enum job_stop stop;
	uint64_t overdue_ns; /* when its timeout asked it: its grace counts from then */
	bool killed;         /* stop went as far as the kill */
	bool in_drain;       /* was running when the drain began: the report names it */
	bool
	    stuck; /* set by an executor that abandons it: a thread still reads it, so its memory is
		     * never freed (the process is about to end) */
	struct {
		enum recall_state state;
		struct list in_table;
		uint64_t kept_ns; /* KEPT: since when */
		struct job
		    *other;     /* MET: the one that waits for it; WAITING: whose end it awaits */
	} recall;               /* recall's alone */
	struct outcome outcome; /* valid from FINISHED */
	struct verdict verdict; /* valid from SETTLING */

	uint64_t taken_ns, given_ns, begun_ns, finished_ns; /* given: to its executor */

	/* For the source and the executor, who alone know what it means. */
	uint64_t source_tag;   /* RabbitMQ: delivery tag; Redis: unused */
	uint64_t source_epoch; /* RabbitMQ: connection and channel generation the tag belongs to */
	uint64_t expires_ms;   /* RabbitMQ: its expiration, in ms since 1970; 0: none */
	unsigned source_step;  /* how far telling the broker has come; Redis: in how many calls */
	uint32_t
	    source_count; /* RabbitMQ: how often a quorum queue has had it back; Redis: unused */
	bool copied;      /* RabbitMQ: its copy for later or for the dead is there; only its answer
	                        * is open, and is so for its second delivery, too */
	bool
	    passes_by; /* RabbitMQ: too large to be a job, it is only passed on to the dead letters */
	void *executor_ref;

	/* What the running job has said of itself; see the calls below. */
	double progress;      /* 0 to 1 */
	char *note;           /* NULL: none */
	uint64_t extended_ns; /* its timeout does not count before; 0 = it never asked */
	struct left_checkpoint {
		char *bytes;
		size_t len;
		bool set; /* also to nothing, which forgets the one it came with */
	} left;

	struct failure
	    *failure; /* in its handler's words, of the run that ends; NULL: it said none */

	/* --- fixed at creation: safe to read from the thread that runs it --- */
	struct route *route; /* core: which queue, which handler */
	uint64_t serial;     /* counts the jobs of this process, from 1 */
	uint32_t attempt;    /* from 1 */
	uint32_t interruptions;
	uint32_t crashes; /* of the earlier runs, those in which the handler died */
	uint32_t lost;    /* workers that have died with it, where the broker can tell */
	bool redelivered; /* its broker says that it has given it out before */
	bool expired;     /* its producer's time for it is over: dead, and never run */
	bool near_limit; /* RabbitMQ: its queue may soon drop it: it goes back unbegun, as a copy */
	bool id_made_up; /* by us: the producer gave none, and the next delivery has another */
	const char *id;  /* never NULL; unique among live jobs of the queue */
	const char *content_type; /* "" when unknown */
	const char *traceparent;  /* W3C; "" when there is none */
	struct span origin;       /* the source's own record of how it came, opaque to the core:
	                           * RabbitMQ keeps the encoded properties here, for the retry copy */
	struct span checkpoint;   /* what an earlier run left behind for this one; empty: nothing */
	struct span body;
};

/* What a source knows when it takes a job. Texts and bytes are copied. */
struct job_facts {
	struct route *route;
	uint64_t serial;
	uint32_t attempt;
	uint32_t interruptions;
	uint32_t crashes;
	uint32_t lost;
	bool redelivered, id_made_up, expired;
	struct span id, content_type, traceparent, origin, checkpoint;
	size_t body_bytes; /* room that job_body() then fills */
};

struct job *job_create(const struct job_facts *facts);
void job_destroy(struct job *job); /* NULL is fine */

/* What it takes of our memory, whatever came with it and whatever it left. */
size_t job_bytes(const struct job *job);

/* Whether an earlier run may have begun: what handlers are told as "redelivered". */
static inline bool job_may_have_run(const struct job *job)
{
	return job->redelivered || job->interruptions > 0;
}

/* The room for the body, for the source to fill before it delivers. */
char *job_body(struct job *job);

/* The running job's own words, copied. Without memory they are lost, which costs the next run some
 * work and nothing else. */
void job_note(struct job *job, double progress, struct span note);
void job_leave_checkpoint(struct job *job, struct span bytes);
void job_explain(struct job *job, const struct failure *said);

/* Why its last run ended as it did, as long as it was told; empty: nobody said. */
struct span job_reason(const struct job *job);

/* What the next run is to be handed: what this one left, else what it came with. */
struct span job_next_checkpoint(const struct job *job);
/* Whether that is another than it came with: then the broker must be told of it. */
bool job_left_new_checkpoint(const struct job *job);

#endif
