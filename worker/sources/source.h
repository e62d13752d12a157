/* source - where jobs come from and who is told what became of them: the contract.
 *
 * One struct source for each section that names a broker. A new kind of broker is a new folder that ends in one
 * `const struct source_kind` (kind.h), whose create() makes these.
 *
 * Thread: the loop's, both ways.
 * Owns:   the source owns its connections and its record of each job's tag; the core owns the job
 *         from deliver() until settled() hands back nothing: the core destroys it.
 * Fails:  a source never fails once it is started: trouble is a link state, a log line and a way
 *         back (backoff). The one exception is host->refused(), at the first connect only.
 *
 * What may be called from within what, before it returns:
 *
 *     op                        settled()      took_back()     changed()   deliver(), buried(), redelivered_all(),
 *                                                                          refused()
 *     settle, start, pause,     of any job     of any route    yes         no
 *     resume, flush, suspend,   it settles     of its own
 *     take_up, retire, leave,
 *     close
 *     destroy                   of all         no              yes         no
 *     the others                no             no              no          no
 *
 *     host call                 ops that it may lead back into
 *     deliver                   settle() of that job: it is a second delivery, and its end is known; or it is dead
 *     took_back                 settle() of jobs that executors find ended when asked for what is unbegun
 *     changed                   settle() of what is held, when jobs do not begin any more
 *     settled                   room_came()
 *     refused                   pause(), settle(), flush(), close() of every source
 *     buried, redelivered_all,  none
 *     room, next_serial
 *
 * So a source calls the host from a clean state and looks again afterwards; deliver() and refused() come from
 * its own events only. The core finds its place again after any op: jobs may be gone then, routes and
 * sources are not (a route goes at the end of a turn, see drain/retire.h). */
#ifndef OUTFALL_SOURCES_SOURCE_H
#define OUTFALL_SOURCES_SOURCE_H

#include "base/error.h"
#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct census;
struct job;
struct route;
struct source;
struct text;

enum link_state {
	LINK_DOWN,       /* not connected; a reconnect is due */
	LINK_CONNECTING, /* up to and including login */
	LINK_UP,         /* logged in */
	LINK_CLOSING,    /* we are closing in order */
	LINK_CLOSED,     /* closed by us, for good */
};

enum intake {
	INTAKE_SHUT, /* nothing will be delivered any more: cancel-ok, last pop and claim are in */
	INTAKE_OPENING,  /* asked for, not yet consuming on every queue */
	INTAKE_OPEN,     /* every queue is really consuming */
	INTAKE_SHUTTING, /* cancelled, deliveries may still arrive and count as held */
};

/* How far a retired route has come. */
enum leaving {
	LEAVING_INTAKE, /* deliveries may still arrive, and count as held */
	LEAVING_JOBS,   /* nothing will be delivered any more; its jobs are settled as ever */
	LEAVING_GONE,   /* the source has let go of it and never names it again */
};

enum settled {
	SETTLED,      /* the broker has it, proved by a round trip */
	SETTLED_LOST, /* the connection (or our lease) was gone first: the broker will redeliver */
	SETTLED_UNPROVED, /* told, but the connection went before the proof: it may redeliver or not */
};

/* What a source tells the core. The core implements it once; unit tests bring their own. */
struct source_host {
	/* A job was taken. The pointer is cleared: the core owns it now. */
	void (*deliver)(struct source_host *host, struct job **job);
	/* What settle() asked for has ended, one way or the other; exactly once for each settle().
	 * The job is destroyed before this returns. */
	void (*settled)(struct source_host *host, struct job *job, enum settled how);
	/* So many messages of this route were buried without ever becoming jobs (a body larger than
	 * max_body): they count as dead. */
	void (*buried)(struct source_host *host, struct route *route, uint64_t count);
	/* The broker takes back what this route holds unbegun (connection or channel is gone, queue
	 * deleted): the core drops these jobs, telling nobody; they count as returned. Jobs that run
	 * go on, and their settle() will end in SETTLED_LOST. */
	void (*took_back)(struct source_host *host, struct route *route);
	/* Whatever the broker had to give out again of this route's queue it has given out, to us or to others:
	 * a redelivery that comes from now on is not of a job that was lost before. */
	void (*redelivered_all)(struct source_host *host, struct route *route);
	/* link, intake or room changed. Called from a clean stack as well as from within ops. */
	void (*changed)(struct source_host *host, struct source *source);
	/* The broker refused for good before anything was consumed (ST_AUTH, ST_MISSING,
	 * ST_REFUSED): the worker stops with exit 69. */
	void (*refused)(struct source_host *host, struct source *source, const struct error *why);
	/* How many more jobs this route can hold; for sources that ask for jobs (Redis). */
	size_t (*room)(struct source_host *host, const struct route *route);
	uint64_t (*next_serial)(struct source_host *host);
	/* Tells our serials from those of another process with the same name: a name of the
	 * configuration comes back with each restart, and so do a container's host and process id. */
	uint32_t run;
};

struct source_ops {
	const char *kind; /* as its section is called */
	/* Connects and begins to take. Returns at once; progress shows in link and intake. */
	void (*start)(struct source *source);
	/* Shuts the intake. Ends in INTAKE_SHUT, also when the link is down or dies meanwhile. While
	 * it lasts, deliveries still arrive through deliver(). */
	void (*pause)(struct source *source);
	/* Opens it again; the opposite of pause(). */
	void (*resume)(struct source *source);
	/* Carries out job->verdict. May collect until the end of the turn, or a millisecond longer.
	 * Held jobs come in the order they were taken and must go back in that order, at the head. */
	void (*settle)(struct source *source, struct job *job);
	/* Everything settled so far must be told and proved as soon as possible: no more collecting. */
	void (*flush)(struct source *source);
	/* Room has come for this route (its last held job began, or a job left). Cheap; may be NULL. */
	void (*room_came)(struct source *source, struct route *route);
	/* Limits on how many jobs run at once have changed, the worker's or those of routes and lanes: what is
	 * taken ahead may follow from them. May be NULL. */
	void (*limits_changed)(struct source *source);
	/* Takes nothing for this route until take_up(), and `intake` is about the others: its handler can
	 * begin nothing, others' can. The three are NULL where a source has no others. */
	void (*suspend)(struct source *source, struct route *route);
	void (*take_up)(struct source *source, struct route *route);
	/* Nothing will be delivered any more: what is held of it may go back, and not to us. */
	bool (*is_suspended)(const struct source *source, const struct route *route);
	/* Shuts the intake of this route alone, for good; the others are not disturbed, and `intake` is
	 * about them. NULL, with leave(): routes come and go with their source. */
	void (*retire)(struct source *source, struct route *route);
	/* How far that has come, asked at the end of each turn. Closes what there is of the route once
	 * its intake is shut and none of its jobs is in the ledger. A broker that does not answer
	 * delays this for as long as it takes. */
	enum leaving (*leave)(struct source *source, struct route *route);
	/* Closes channels, then connections, in order. Ends in LINK_CLOSED, at once when nothing is
	 * connected. Settles still open end in SETTLED_LOST first. */
	void (*close)(struct source *source);
	/* Closes whatever is left without asking anybody, and frees. Settles still open are reported
	 * SETTLED_LOST before it returns. */
	void (*destroy)(struct source *source);
	/* Whether nothing else that came with `again` tells it from `first`, a job of the same queue, id, body and
	 * attempt that was delivered before. What a broker adds on the way says nothing. NULL: nothing does. */
	bool (*is_again)(const struct source *source, const struct job *first,
			 const struct job *again);
	/* Appends what came with the job beside its body, as members of a JSON object, each behind a
	 * comma: `,"properties":{...},"headers":{...}`. May append nothing; may be NULL. */
	void (*describe)(const struct source *source, const struct job *job, struct text *to);
	/* Asks the broker how many others take from each queue that is not retired; census_tell() for each as answers come.
	 * NULL in sources without a broker. */
	void (*count_others)(struct source *source, struct census *census, unsigned round);
	/* The broker takes no publications now (a resource alarm), so copies of jobs wait. NULL: never. */
	bool (*is_blocked)(const struct source *source);
	/* Appends what is still in the way, for people: "cancel-ok of \"emails\"". Returns bytes. */
	size_t (*waiting_for)(const struct source *source, char *buf, size_t size);
};

/* First member of each kind's own struct. */
struct source {
	struct list in_roster;
	const struct source_ops *ops;
	struct source_host *host;
	const char *name; /* borrowed from the settings */
	enum link_state link;
	enum intake intake;
	uint64_t reconnects; /* since the start */
};

static inline bool source_is_blocked(const struct source *source)
{
	return source->ops->is_blocked != NULL && source->ops->is_blocked(source);
}

#endif
