/* world - fake edges in virtual time: brokers with messages and another worker at them, handlers with durations,
 * a clock that jumps to the next thing that can happen and is late at times. The core above it is the real one.
 *
 * What the core says of itself is compared with books that are kept here, from nothing but what it asked its
 * sources and executors to do: books.c knows what became of each delivery, deadlines.c when a stop may do what,
 * memory.c which second delivery must not run.
 *
 *     sim.c       which seeds; what to do about one that breaks
 *     plan.c      a seed becomes a world, and a schedule of what happens in it
 *     world.c     time, events, turns
 *     broker.c    messages and queues, the other worker
 *     intake.c    how jobs come to the core
 *     sources.c   how brokers are told what became of them
 *     handlers.c  fake executors
 *     books.c     deliveries, their fates, the report and the exit code that follow
 *     memory.c    second deliveries
 *     deadlines.c the times of a stop
 *     pauses.c    handlers that cannot begin jobs
 *     promises.c  what holds at the end of each turn
 *
 * Thread: one.
 * Owns:   everything in struct world.
 * Units:  virtual nanoseconds.
 * Fails:  a broken promise prints the seed and what is wrong, and aborts. */
#ifndef OUTFALL_TESTS_SIM_WORLD_H
#define OUTFALL_TESTS_SIM_WORLD_H

#include "base/clock.h"
#include "core.h"
#include "settings/settings.h"
#include "sources/redis/redis_list_pace.h"

#include <inttypes.h>

#define MS UINT64_C(1000000)

enum {
	MAX_SOURCES = 3,
	MAX_QUEUES = 6,
	MAX_ROUTES = 12, /* a queue that comes back has another */
	MAX_EXECUTORS = 3,
	MAX_WORKS = 200,
	MAX_MESSAGES = 2000, /* copies included */
	MAX_EVENTS = 4096,
	MAX_DELIVERIES = 8192,
};

/* --- at the broker --------------------------------------------------------------------------- */

/* What somebody published and wants done. */
struct work {
	unsigned good; /* how often a handler ran it to its good end, here or elsewhere */
	unsigned dead; /* how often it was told dead */
	bool
	    credited; /* taken for another one with the same id and content, as its producer allows */
};

enum message_place {
	IN_QUEUE,  /* with the broker, to be delivered */
	OUT,       /* delivered to us, not acknowledged */
	ELSEWHERE, /* delivered to the other worker */
	DELAYED,   /* a retry that is not due */
	GONE,      /* acknowledged or dead-lettered */
};

struct content {
	unsigned id; /* 0: its producer gave none, and each delivery has another */
	unsigned body, properties;
};

/* Of a work: the one that was published, or a copy for a later attempt. */
struct message {
	struct list in_queue; /* struct queue.waiting */
	enum message_place place;
	unsigned queue, work;
	uint64_t position; /* in its queue; it keeps it when it is given back */
	struct content content;
	uint32_t attempt, interruptions, crashes;
	unsigned checkpoint; /* that the broker has; 0: none */
	unsigned due;        /* that the next run must be handed, by our own books */
	bool redelivered;    /* its next delivery is a second one of the same message */
	struct delivery
	    *holder; /* that stands for it here, on a connection that is there; or NULL */
};

/* --- in the core ------------------------------------------------------------------------------ */

enum where {
	ARRIVES, /* within deliver() only */
	HELD,
	AWAITS, /* the end of the run whose second delivery it is */
	STAGED,
	RUNS,
	ENDED, /* within finished() only */
	TOLD,
	LEFT,
};

enum asked { NOT_ASKED, ASKED_FOR_TIMEOUT, ASKED_FOR_DRAIN };

/* A job that was handed to the core: what we know of it, and the core has not told us. */
struct delivery {
	struct list in_held;
	struct job *job; /* NULL: it has left */
	struct message *message;
	struct fake_source *source;
	unsigned number, route;
	char id[32];
	uint64_t epoch; /* of its channel */
	enum where where;
	struct content content;
	uint32_t attempt, interruptions, crashes;
	bool redelivered;
	struct delivery
	    *run; /* whose end it is told with: its own, another's; NULL: it never began */
	struct delivery *again; /* awaits this one's end */
	bool lost;              /* its channel has gone while it was here */
	bool kept;              /* its end could not be told, and is remembered */
	unsigned kept_by;       /* with this route */
	struct verdict told;    /* as it would have been told */
	bool copied;            /* and the copy of it is there */
	bool over;              /* a second delivery would not be known any more */
	uint64_t taken_ns, begun_ns, ended_ns;
	enum asked asked;
	uint64_t asked_ns, killed_ns, extended_ns;
	struct outcome outcome;
	bool in_drain; /* it ran when the drain began */
	bool touched;  /* its handler has said something, so it cannot be taken for unseen */
	bool has_left;
	unsigned due, left; /* checkpoints: it was handed, it left; 0: it forgot the one it had */
	bool immortal;      /* nothing ends it */
};

struct queue {
	struct list waiting; /* struct message.in_queue, by position */
	char name[16];
	bool owes; /* something was lost that it has not given out again */
	/* Of its jobs here, as long as it has a route; see books.c. */
	uint64_t fates[FATE_COUNT], waited_ns, ran_ns;
};

struct fake_source {
	struct source base;
	struct world *world;
	unsigned index;
	bool wanted;    /* between start/resume and pause */
	bool hung;      /* answers nothing any more */
	bool refuses;   /* the first connection, for good */
	bool asks;      /* for so many jobs of each queue, as for lists; or is sent them */
	bool two_steps; /* what becomes a copy is copied first, and answered then */
	unsigned limits_heard;
	bool flushed;
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

/* Of a handler that cannot begin jobs: see pauses.c. */
struct pause_book {
	bool is, asked, tries, begun; /* begun: the trial has */
	uint64_t since_ns, wait_ns;
	unsigned failures;
	const struct delivery *trial;
};

struct fake_executor {
	struct executor base;
	struct world *world;
	unsigned index;
	unsigned begun;           /* running now */
	bool threads;             /* cannot be killed */
	bool resizes;             /* its children come and go */
	bool as_wide;             /* as the configuration says */
	bool connects;            /* a job begins some time after it was given */
	bool probes;              /* can tell without a job whether it could begin one */
	bool busy;                /* one of its ops is under way */
	uint64_t broken_until_ns; /* it cannot begin jobs */
	struct pause_book pause;
	unsigned most; /* jobs it may have: more than its limit, if that was lowered below them */
	unsigned notices;
	struct lane *lane;
	uint64_t due_ns;     /* its rate: when its next start would be, evenly */
	struct list staged;  /* struct job.in_executor */
	struct list running; /* struct job.in_executor */
};

/* What the broker knows of one of our consumers. */
enum consumer {
	CONSUMES,   /* whenever its source does */
	CANCELLING, /* retired, and its cancel-ok is under way */
	CANCELLED,
	LEAVING, /* its channel is being closed */
	LEFT_CONSUMER,
};

/* Of a route whose handler is paused. */
enum suspension { TAKES, SUSPENDING, SUSPENDED };

enum event_kind {
	EV_NONE,
	EV_DELIVER,    /* source */
	EV_CLAIMED,    /* source: `number` of jobs, of queue `route` */
	EV_CANCEL_OK,  /* source */
	EV_CONSUME_OK, /* source */
	EV_COPIED,     /* job: its copy is there */
	EV_PROVED,     /* source: all that was told before is settled */
	EV_DISCONNECT, /* source */
	EV_RECONNECT,  /* source */
	EV_CHANNEL,    /* route in `number`: its channel is closed, and opened again */
	EV_HANG,       /* source */
	EV_CLOSED,     /* source */
	EV_REFUSE,     /* source: the broker never wants to see us */
	EV_BURY,       /* route in `number`: messages too large to become jobs */
	EV_RETIRE,     /* queue in `number`: it is not wanted any more */
	EV_ADD,        /* queue in `number`: it is wanted again */
	EV_CANCELLED,  /* route in `number`: what a retired one awaits */
	EV_LEFT,       /* route in `number` */
	EV_SUSPENDED,  /* route in `number`: nothing more comes */
	EV_OTHER,      /* queue in `number`: the other worker takes some */
	EV_OTHER_ENDS, /* message in `number` */
	EV_END_OF_RUN, /* executor, job */
	EV_SAY,        /* executor, job: a checkpoint, more time, progress */
	EV_BEGIN,      /* executor, job: it is connected, or cannot be */
	EV_BREAK,      /* executor: for `number` of milliseconds */
	EV_PROBED,     /* executor */
	EV_RETRACT,    /* executor: a process dies with jobs that it has not read */
	EV_SHRINK,     /* executor: `number` of its children die, or are retired */
	EV_GROW,       /* executor: as many are back */
	EV_REQUEUE,    /* message */
	EV_RELOAD,     /* limits are others, up or down: the worker's, handlers', queues' */
	EV_EXTEND,     /* somebody gives the drain more time */
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

/* The times of a stop, from the settings and the signals alone. UINT64_MAX: never. */
struct deadlines {
	bool stopping, hurried; /* hurried: somebody asked for it */
	bool killing;           /* and would not wait for the grace */
	bool signalled;         /* and when that last counted: */
	uint64_t signal_ns;
	uint64_t began_ns;
	uint64_t ask_ns, kill_ns, end_ns; /* end: there is a moment left for the exit itself */
	uint64_t return_kill_ns;          /* of those who are asked at once */
	bool insisted;                    /* ... nor until all is told */
	unsigned notices;                 /* that each handler must have had */
	uint64_t notice_ms;               /* what the last one must have said */
};

/* What the report must say. */
struct books {
	uint64_t since_start[FATE_COUNT], in_drain[FATE_COUNT];
	uint64_t interrupted;
	uint64_t spent_ns[PHASES];
	enum phase phase; /* at the end of the last turn */
	uint64_t turn_ns; /* which was then */
	uint64_t delivered, merged, here;
	bool refused;
	size_t n_entries;
	/* Cleared as they are used. */
	struct {
		unsigned number; /* of the delivery */
		enum fate fate;
		bool interrupted, dropped; /* dropped: at the exit, while it ran */
	} entries[MAX_DELIVERIES];
};

enum trace {
	TRACE_NOTHING,
	TRACE_LAST, /* kept, for trace_last() */
	TRACE_ALL,
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
	struct queue queues[MAX_QUEUES];
	struct route *routes[MAX_ROUTES]; /* NULL: gone */
	struct list held[MAX_ROUTES];     /* struct delivery.in_held, in the order taken */
	uint64_t epochs[MAX_ROUTES];      /* rises as its channel goes */
	uint64_t due_ns[MAX_ROUTES];      /* its rate: when its next start would be, evenly */
	struct fake_list lists[MAX_ROUTES];
	unsigned queue_of[MAX_ROUTES]; /* ... and the queue each is, or was, one of */
	enum consumer consumers[MAX_ROUTES];
	enum suspension suspended[MAX_ROUTES];
	unsigned n_sources, n_executors, n_queues, n_routes, prefetch, concurrency;
	unsigned most, most_of[MAX_ROUTES]; /* the same of all, and of each queue */
	unsigned
	    mischief; /* percent of calls in which an edge does what its contract allows besides */
	unsigned lateness; /* percent of turns that are late */
	uint64_t span_ms;  /* how long things happen; the stop comes in its first two thirds */
	bool breaks;       /* there are handlers that cannot begin jobs at times */
	uint64_t retired, gone, reloads, recognised, others;
	unsigned overtaken[MAX_ROUTES]
			  [MAX_ROUTES]; /* how often [a] had to see [b] served instead */
	unsigned last_checkpoint;
	uint64_t last_position;
	size_t n_works, n_messages, n_deliveries, n_events;
	size_t first_here; /* of the deliveries: those before it have left */
	uint64_t next_order;
	struct deadlines stop;
	struct job *stuck[MAX_DELIVERIES];
	unsigned n_stuck;
	enum trace trace;
	bool said; /* that it broke, and how */
	/* Large, and cleared as they are used. */
	struct books books;
	struct work works[MAX_WORKS];
	struct message messages[MAX_MESSAGES];
	struct event events[MAX_EVENTS];
	struct delivery deliveries[MAX_DELIVERIES];
};

void world_build(struct world *w, uint64_t seed, enum trace trace); /* plan.c */
void world_run(struct world *w); /* until the core is closed; checks after each step */
void world_end(struct world *w); /* the last checks; frees */

/* --- world.c: for the files of the simulation --- */

__attribute__((format(printf, 2, 3))) _Noreturn void world_broken(struct world *w, const char *fmt,
								  ...);
#define promise(w, cond, ...)                                                                      \
	do {                                                                                       \
		if (!(cond))                                                                       \
			world_broken((w), __VA_ARGS__);                                            \
	} while (0)

__attribute__((format(printf, 2, 3))) void world_say(const struct world *w, const char *fmt, ...);
void trace_last(void); /* prints what was kept */
#define trace(w, ...)                                                                              \
	do {                                                                                       \
		if ((w)->trace != TRACE_NOTHING)                                                   \
			world_say((w), __VA_ARGS__);                                               \
	} while (0)

uint64_t roll(struct world *w, uint64_t sides);
bool chance(struct world *w, unsigned percent);
void schedule(struct world *w, struct event event, uint64_t after_ns);
void unschedule_job(struct world *w, const struct job *job);

/* --- broker.c --- */

void broker_publish(struct world *w, unsigned queue, struct content content);
struct message *broker_new_message(struct world *w, unsigned queue, unsigned work);
void broker_give_back(struct world *w, struct message *m);
unsigned broker_waiting(const struct world *w, unsigned route);
unsigned broker_unacked(const struct world *w, unsigned queue);
unsigned broker_consumer_of(struct world *w, unsigned queue);
bool broker_happens(struct world *w, const struct event *ev); /* whether it was its own */
unsigned route_index(const struct world *w, const struct route *route);
unsigned route_now(const struct world *w, unsigned queue); /* MAX_ROUTES: it has none */
void route_add(struct world *w, unsigned queue, struct lane *lane);
void route_gone(void *world, struct route *route);
struct fake_source *source_of_queue(struct world *w, unsigned queue);

/* --- intake.c --- */

bool source_delivers(const struct fake_source *source);
size_t intake_here(const struct world *w, unsigned route); /* jobs of it that are in the core */
void intake_deliver(struct fake_source *source);
void intake_claimed(struct world *w, const struct event *ev);
void intake_look(struct fake_source *source);
void intake_attend(struct world *w); /* the end of a turn: who asks for jobs looks for room */

/* --- sources.c --- */

void sources_happen(struct world *w, const struct event *ev);
void source_destroy(struct fake_source *source);
extern const struct source_ops fake_source_ops;

/* --- handlers.c --- */

void handlers_happen(struct world *w, const struct event *ev);
void handlers_begin_staged(struct world *w, struct fake_executor *e);
void handlers_reload(struct world *w);
bool route_may_begin(const struct world *w, const struct route *r, const struct lane *served);
extern const struct executor_ops fake_executor_ops[]; /* with a probe, and without */

/* --- books.c --- */

struct delivery *delivery_of(struct world *w, const struct job *job);
struct delivery *books_new_delivery(struct world *w, struct message *m, unsigned route);
void books_hold(struct world *w, struct delivery *d); /* it is held, in the order taken */
struct delivery *books_oldest_held(struct world *w, unsigned route);
struct verdict books_verdict(const struct world *w, const struct delivery *d);
void books_leaves(struct world *w, struct delivery *d, enum fate fate);
void books_merge(struct world *w, struct delivery *first);
void books_bury(struct world *w, unsigned queue, uint64_t count);
void books_ran(struct world *w, const struct delivery *d);
void books_route_gone(struct world *w, unsigned route);
void books_check_turn(struct world *w);
void books_check_end(struct world *w); /* nobody is left */
unsigned checkpoint_number(struct span text);

/* --- memory.c --- */

bool memory_knows(const struct world *w, const struct delivery *d); /* it must not run */
/* `d`, just given out, awaits the end of `first`, says the core. */
void memory_meet(struct world *w, struct delivery *first, struct delivery *d);
/* `d`, just given out, is settled as one that has ended. */
void memory_recall(struct world *w, struct delivery *d);
void memory_keep(struct world *w, struct delivery *d); /* it could not be told */
void memory_over(struct world *w, unsigned queue);
void memory_route_gone(struct world *w, unsigned route);

/* --- deadlines.c --- */

void deadlines_event(struct world *w, enum drain_event event); /* and the core hears of it */
void deadlines_extend(struct world *w, uint64_t more_ms);
void deadlines_stop_begins(struct world *w); /* the core begins one by itself */
bool deadlines_may_ask(const struct world *w, const struct delivery *d);
bool deadlines_may_kill(const struct world *w, const struct delivery *d);
/* When its timeout asks it to stop, and has it killed; UINT64_MAX: never. */
uint64_t timeout_due_ns(const struct delivery *d);
uint64_t timeout_kill_ns(const struct world *w, const struct delivery *d);
void deadlines_check_turn(struct world *w);

/* --- pauses.c --- */

void pauses_could_not_begin(struct fake_executor *e);
void pauses_started(struct fake_executor *e, struct delivery *d);
void pauses_begun(struct fake_executor *e, const struct delivery *d);
void pauses_ended(struct fake_executor *e, const struct delivery *d);
void pauses_left(struct fake_executor *e, const struct delivery *d);
void pauses_probe(struct fake_executor *e);
void pauses_answer(struct fake_executor *e, bool could);
void pauses_resized(struct fake_executor *e, unsigned before);
unsigned pauses_room(const struct fake_executor *e);
void pauses_check_turn(struct world *w);

/* --- promises.c --- */

void promises_check_turn(struct world *w);
void promises_check_start(struct world *w, const struct route *begins);
void promises_check_end(struct world *w);

#endif
