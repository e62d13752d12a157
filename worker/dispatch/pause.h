/* pause - whether a handler is given jobs, once it could not begin one. Pure.
 *
 *     serving --could not begin--> waiting --1, 2, 4 ... 30 s--> asking --it could now--> trying
 *      ^  ^ \                        ^ ^ ^                        |                        |  ^
 *      |  |  \--no process ready     | | +---- it could not ------+       its next job is  |  | came back
 *      |  |          v               | |                                     the trial    v  | untried
 *      |  +-------- unmanned         | +------------ could not begin ------------------- on trial
 *      |  processes    \-- processes, its queues were given back --> trying                |
 *      +---------------------------------- the trial has begun ---------------------------+
 *
 * Nothing that could not begin has failed, so nothing is counted; and a handler that cannot begin would
 * else be the fastest one of all, and take the jobs that others could run.
 *
 * Thread: the loop's; the struct belongs to its lane.
 * Units:  monotonic nanoseconds.
 * Fails:  never; each state answers each call, if only by staying as it is. */
#ifndef OUTFALL_DISPATCH_PAUSE_H
#define OUTFALL_DISPATCH_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

/* Paused for so long, a handler keeps no jobs that others could run. */
#define PAUSE_KEEPS_NS        UINT64_C(5000000000)
#define PAUSE_LONGEST_WAIT_NS UINT64_C(30000000000)

enum pause_state {
	PAUSE_SERVING,  /* not paused */
	PAUSE_WAITING,  /* gets no job before next_ns */
	PAUSE_ASKING,   /* gets no job; its executor looks whether it could begin one */
	PAUSE_TRYING,   /* gets one job, the trial */
	PAUSE_ON_TRIAL, /* has it */
	PAUSE_UNMANNED, /* none of its processes is ready; they say when one is */
	PAUSE_STATES,
};

struct pause {
	enum pause_state state;
	uint64_t since_ns; /* when it was serving last; 0: it never has */
	uint64_t next_ns;  /* while waiting; else UINT64_MAX */
	unsigned failures; /* in a row */
};

/* Each returns whether the state is another now. */
bool pause_could_not_begin(struct pause *pause, uint64_t now_ns); /* a job */
bool pause_ask(struct pause *pause, uint64_t now_ns); /* if it has waited for long enough */
bool pause_answer(struct pause *pause, bool could, uint64_t now_ns);
bool pause_give(struct pause *pause);    /* it has been given a job: the trial, if one is due */
bool pause_began(struct pause *pause);   /* the trial has */
bool pause_untried(struct pause *pause); /* the trial came back for a reason that says nothing */
bool pause_unmanned(struct pause *pause, uint64_t now_ns);
bool pause_manned(struct pause *pause, bool given_back); /* its queues were, meanwhile */

/* Of so many jobs that it can run, and so many that it has. */
unsigned pause_width(const struct pause *pause, unsigned width, unsigned assigned);

/* It begins nothing, and nothing is under way that could change that. */
static inline bool pause_is_idle(const struct pause *pause)
{
	return pause->state == PAUSE_WAITING || pause->state == PAUSE_ASKING ||
	       pause->state == PAUSE_UNMANNED;
}

/* What its queues hold is for others to run. */
static inline bool pause_gives_back(const struct pause *pause, uint64_t now_ns)
{
	return pause_is_idle(pause) && now_ns - pause->since_ns >= PAUSE_KEEPS_NS;
}

/* One job is all that it is to be sent. */
static inline bool pause_takes_one(const struct pause *pause)
{
	return pause->state == PAUSE_TRYING || pause->state == PAUSE_ON_TRIAL;
}

const char *pause_state_name(enum pause_state state); /* "serving" */

#endif
