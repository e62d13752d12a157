/* world - fake edges in virtual time: brokers with messages, handlers with durations, a clock that
 * jumps to the next thing that can happen. The core above it is the real one.
 *
 * Thread: one.
 * Owns:   everything in struct world.
 * Units:  virtual nanoseconds.
 * Fails:  a broken promise prints the seed and what happened, and aborts. */
#ifndef OUTFALL_TESTS_SIM_WORLD_H
#define OUTFALL_TESTS_SIM_WORLD_H

#include "base/clock.h"
#include "core.h"
#include "settings/settings.h"
#include "sources/redis/redis_list_pace.h"

enum {
	MAX_SOURCES = 3,
	MAX_QUEUES = 6,
	MAX_ROUTES = 12, /* a queue that comes back has another */
	MAX_EXECUTORS = 3,
	MAX_MESSAGES = 200,
	MAX_EVENTS = 4096,
	MAX_RUNS = 4096,
};

enum message_place {
	IN_QUEUE, /* with the broker, to be delivered */
	OUT,      /* delivered, not acknowledged */
	DELAYED,  /* a retry that is not due */
	GONE,     /* acknowledged or dead-lettered */
};

struct message {
	enum message_place place;
	unsigned queue;
	uint32_t attempt, interruptions, crashes;
	unsigned checkpoint; /* that the broker has; 0: none */
	unsigned due;        /* that the next run must be handed, by our own books */
	struct run *last_run;
	bool without_id;  /* its producer gave none: each delivery has another */
	bool redelivered; /* its next delivery is a second one of the same message */
	struct job *job;  /* that stands for it in this process now, or NULL */
	unsigned done;    /* how often a handler ran it to its good end */
	unsigned failed;  /* how often one failed it */
	unsigned stopped; /* runs that we ended */
	bool excused;     /* a duplicate was announced (unsettled, or interrupted) */
	bool dead;
};

struct fake_source {
	struct source base;
	struct world *world;
	unsigned index;
	uint64_t epoch; /* rises with each disconnect */
	bool wanted;    /* between start/resume and pause */
	bool hung;      /* answers nothing any more */
	bool closing;
	bool asks;        /* for so many jobs of each queue, as for lists; or is sent them */
	struct list told; /* jobs being settled (in_source) */
};

/* A queue of a source that asks. */
struct fake_list {
	struct pace pace;
	bool looks;        /* at the end of this turn, at how many it wants */
	bool claims;       /* a claim is under way */
	bool blocks;       /* it wants some, and waits for one to come into the queue */
	bool out_of_line;  /* no job of it is here, and it has more */
	uint64_t since_ns; /* then, since when */
};

struct fake_executor {
	struct executor base;
	struct world *world;
	unsigned index;
	unsigned begun; /* running now */
	bool threads;   /* cannot be killed */
	bool resizes;   /* its children come and go */
	bool as_wide;   /* as the configuration says */
	unsigned most;  /* jobs it may have: more than its limit, if that was lowered below them */
	struct lane *lane;
	struct list staged;  /* struct job.in_executor */
	struct list running; /* struct job.in_executor */
};

/* What the broker knows of one of our consumers. */
enum consumer {
	CONSUMES,   /* whenever its source does */
	CANCELLING, /* retired, and its cancel-ok is under way */
	CANCELLED,
	LEAVING, /* its channel is being closed */
	LEFT,
};

/* What we know of one run of a job, for as long as the job lives: job->executor_ref. */
struct run {
	bool has_left;
	unsigned left;           /* its last checkpoint; 0: it forgot the one it had */
	uint64_t extended_to_ns; /* it may not be asked to stop for its timeout before */
};

enum event_kind {
	EV_NONE,
	EV_DELIVER,    /* source */
	EV_CLAIMED,    /* source: `number` of jobs, of queue `route` */
	EV_CANCEL_OK,  /* source */
	EV_CONSUME_OK, /* source */
	EV_PROVED,     /* source: all that was told before is settled */
	EV_DISCONNECT, /* source */
	EV_RECONNECT,  /* source */
	EV_HANG,       /* source */
	EV_CLOSED,     /* source */
	EV_RETIRE,     /* queue in `number`: it is not wanted any more */
	EV_ADD,        /* queue in `number`: it is wanted again */
	EV_CANCELLED,  /* route in `number`: what a retired one awaits */
	EV_LEFT,       /* route in `number` */
	EV_END_OF_RUN, /* executor, job */
	EV_SAY,        /* executor, job: a checkpoint, more time, progress */
	EV_SHRINK,     /* executor: `number` of its children die, or are retired */
	EV_GROW,       /* executor: as many are back */
	EV_REQUEUE,    /* message */
	EV_RELOAD,     /* limits are others, up or down: the worker's, handlers', queues' */
	EV_SIGNAL,     /* enum drain_event in `number` */
};

struct event {
	uint64_t at_ns, order; /* order: first scheduled, first served */
	enum event_kind kind;
	struct fake_source *source;
	struct fake_executor *executor;
	struct job *job;
	unsigned route;
	uint64_t number;
};

struct world {
	struct clock clock;
	uint64_t now_ns;
	uint64_t seed, random;
	struct core core;
	struct drain_settings drain;
	struct retry_settings retry;
	struct fake_source sources[MAX_SOURCES];
	struct fake_executor executors[MAX_EXECUTORS];
	struct route *routes[MAX_ROUTES]; /* NULL: gone */
	struct fake_list lists[MAX_ROUTES];
	char queue_names[MAX_QUEUES][16];
	unsigned queue_of[MAX_ROUTES]; /* ... and the queue each is, or was, one of */
	enum consumer consumers[MAX_ROUTES];
	unsigned n_sources, n_executors, n_queues, n_routes, prefetch, concurrency;
	unsigned most, most_of[MAX_ROUTES]; /* the same of all, and of each queue */
	uint64_t retired, gone, reloads;
	struct message messages[MAX_MESSAGES];
	unsigned n_messages;
	unsigned overtaken[MAX_ROUTES]
			  [MAX_ROUTES]; /* how often [a] had to see [b] served instead */
	unsigned last_checkpoint;
	size_t n_events;
	size_t n_runs;
	uint64_t next_order;
	uint64_t delivered; /* jobs handed to the core */
	uint64_t left;      /* jobs the core has seen off */
	uint64_t merged;    /* second deliveries that took over the end of the first */
	uint64_t stop_ns;   /* when a stop first counted */
	struct job *stuck[MAX_MESSAGES];
	unsigned n_stuck;
	bool trace;
	/* Large, and cleared as they are used. */
	struct event events[MAX_EVENTS];
	struct run runs[MAX_RUNS];
};

void world_build(struct world *w, uint64_t seed, bool trace);
void world_run(struct world *w); /* until the core is closed; checks after each step */
void world_end(struct world *w); /* the last checks; frees */

#endif
