/* process - a child that runs jobs, together with all that it starts: its group.
 *
 *     none --start--> runs --ask--> asked --kill--> killed --gone--> none
 *                      |             |                |  \--kept by the kernel--> none
 *                      | its leader  |                | its leader ended
 *                      v ended       v                v
 *                     none <--gone-- lingers --kill--> swept --gone, or kept--> none
 *
 * The end of a process is the end of its group where it was asked to stop, or where its owner says so: who
 * runs the job again, or gives it back, must know that nobody is at it any more. Otherwise what is left
 * has the grace, and nobody waits for it.
 *
 * Each wait has its own clock. Those whose leader lives are asked and killed by the owner; what lingers is
 * killed after the grace; what was killed and is still there after half a second is kept by the kernel, on
 * a dead disk for instance, and given up.
 *
 * Thread: the loop's.
 * Owns:   the process and its group, from process_start() to ops->gone().
 * Units:  milliseconds.
 * Fails:  process_init() for lack of memory; process_start() as children_spawn() does. */
#ifndef OUTFALL_EXECUTORS_PROCESS_H
#define OUTFALL_EXECUTORS_PROCESS_H

#include "base/error.h"
#include "executors/child/children.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct process;
struct timer;

enum process_state {
	PROCESS_NONE,
	PROCESS_RUNS,
	PROCESS_ASKED,
	PROCESS_KILLED,
	PROCESS_LINGERS, /* its leader ended; others of its group are to end, and were asked to */
	PROCESS_SWEPT,   /* the same, killed */
	PROCESS_STATES,
};

enum process_rest { REST_MAY_STAY, REST_MUST_END };
enum process_end { PROCESS_WENT, PROCESS_IS_KEPT };

struct process_ops {
	/* Its leader ended. What others of its group do matters after a stop; says whether else, too. */
	enum process_rest (*leader_ended)(struct process *process, int status,
					  const struct rusage *usage);
	/* The last word. Without leader_ended() before it the kernel keeps the leader, too. The process may
	 * be started again, or freed, from in here. */
	void (*gone)(struct process *process, enum process_end end);
};

struct process {
	struct child child;
	const struct process_ops *ops;
	struct loop *loop;
	struct children *children;
	struct timer *timer; /* the state's own */
	enum process_state state;
	uint64_t until_ns; /* what lingers is killed, what was swept is given up */
	uint64_t look_ms;  /* until the next look at what is left */
};

enum status process_init(struct process *process, const struct process_ops *ops, struct loop *loop,
			 struct children *children, struct error *why);
/* One that still runs is killed, and nobody waits for it. A zeroed one is fine. */
void process_fini(struct process *process);

enum status process_start(struct process *process, const struct spawn *spawn, struct error *why);

void process_ask(struct process *process); /* SIGTERM to its group; as often as one likes */
void process_kill(struct process *process);

static inline bool process_is_there(const struct process *process)
{
	return process->state != PROCESS_NONE;
}

/* Its leader was not reaped yet. */
static inline bool process_has_leader(const struct process *process)
{
	return process->state >= PROCESS_RUNS && process->state <= PROCESS_KILLED;
}

/* For the exit, when the loop turns no more: as children_reap(). */
bool process_reap(struct process *process, uint64_t until_ns);

/* A pipe of which one end is ours: it never makes us wait, whoever else reads or writes there. The other
 * one is the child's, and does, as programs expect. ST_SYSTEM: nothing is open. */
enum process_pipe { WE_READ, WE_WRITE };
enum status process_pipe(enum process_pipe direction, int *ret_ours, int *ret_childs,
			 struct error *why);

#endif
