/* Nothing tells that the last of a group ended, whose parent has gone: it is looked for, every millisecond at
 * first and ever more rarely. That is for the few that leave somebody behind when they are stopped. */
#include "executors/child/process.h"

#include "base/must.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum {
	KEPT_MS = 500, /* killed and not gone by then: the kernel keeps it */
	LOOK_MOST_MS = 50,
};
#define MS_NS UINT64_C(1000000)

#define MAY(state) (1u << (state))
static const unsigned moves[PROCESS_STATES] = {
    [PROCESS_NONE] = MAY(PROCESS_RUNS),
    [PROCESS_RUNS] =
	MAY(PROCESS_ASKED) | MAY(PROCESS_KILLED) | MAY(PROCESS_LINGERS) | MAY(PROCESS_NONE),
    [PROCESS_ASKED] = MAY(PROCESS_KILLED) | MAY(PROCESS_LINGERS) | MAY(PROCESS_NONE),
    [PROCESS_KILLED] = MAY(PROCESS_SWEPT) | MAY(PROCESS_NONE),
    [PROCESS_LINGERS] = MAY(PROCESS_SWEPT) | MAY(PROCESS_NONE),
    [PROCESS_SWEPT] = MAY(PROCESS_NONE),
};

/* The only place that assigns the state. What the last one waited for is waited for no longer. */
static void process_move(struct process *p, enum process_state next)
{
	must((moves[p->state] & MAY(next)) != 0);
	p->state = next;
	timer_stop(p->timer);
}

static void process_end(struct process *p, enum process_end end)
{
	process_move(p, PROCESS_NONE);
	p->ops->gone(p, end);
}

/* --- what is left without its leader ----------------------------------------------------------------- */

static void wait_for_rest(struct process *p, enum process_state state, uint64_t wait_ms)
{
	process_move(p, state);
	p->until_ns = loop_now_ns(p->loop) + wait_ms * MS_NS;
	p->look_ms = 1;
	timer_start(p->timer, p->look_ms);
}

static void process_sweep(struct process *p)
{
	children_signal(&p->child, SIGKILL);
	wait_for_rest(p, PROCESS_SWEPT, KEPT_MS);
}

static void process_ask_group(struct process *p)
{
	children_signal(&p->child, SIGTERM);
	children_signal(&p->child, SIGCONT); /* a stopped process would never hear of it */
}

static void process_look_at_rest(struct process *p)
{
	bool late = loop_now_ns(p->loop) >= p->until_ns;
	if (!children_group_lives(p->children, &p->child)) {
		process_end(p, PROCESS_WENT);
	} else if (late && p->state == PROCESS_LINGERS) {
		process_sweep(p);
	} else if (late) {
		children_leave_group(p->children, &p->child);
		process_end(p, PROCESS_IS_KEPT);
	} else {
		p->look_ms = p->look_ms * 2 < LOOK_MOST_MS ? p->look_ms * 2 : LOOK_MOST_MS;
		timer_start(p->timer, p->look_ms);
	}
}

static void process_time_is_up(void *arg)
{
	struct process *p = arg;
	if (p->state != PROCESS_KILLED) {
		process_look_at_rest(p);
		return;
	}
	children_forget(p->children, &p->child);
	process_end(p, PROCESS_IS_KEPT);
}

static void process_leader_ended(struct child *child, int status, const struct rusage *usage)
{
	struct process *p = list_entry(child, struct process, child);
	bool stopped = p->state != PROCESS_RUNS;
	bool must_end = p->ops->leader_ended(p, status, usage) == REST_MUST_END || stopped;
	bool left = children_group_lives(p->children, child);
	if (left && !must_end)
		children_leave_group(p->children, child);
	if (!left || !must_end) {
		process_end(p, PROCESS_WENT);
		return;
	}
	if (p->state == PROCESS_KILLED) {
		process_sweep(p);
		return;
	}
	if (!stopped)
		process_ask_group(p);
	wait_for_rest(p, PROCESS_LINGERS, children_grace_ms(p->children));
}

/* --- stopping ---------------------------------------------------------------------------------------- */

void process_ask(struct process *p)
{
	if (p->state == PROCESS_RUNS)
		process_move(p, PROCESS_ASKED);
	if (p->state == PROCESS_ASKED || p->state == PROCESS_LINGERS)
		process_ask_group(p);
}

void process_kill(struct process *p)
{
	if (p->state == PROCESS_LINGERS)
		process_sweep(p);
	if (p->state != PROCESS_RUNS && p->state != PROCESS_ASKED)
		return;
	children_signal(&p->child, SIGKILL);
	process_move(p, PROCESS_KILLED);
	timer_start(p->timer, KEPT_MS);
}

/* --- life -------------------------------------------------------------------------------------------- */

enum status process_start(struct process *p, const struct spawn *spawn, struct error *why)
{
	must(p->state == PROCESS_NONE);
	enum status st = children_spawn(p->children, spawn, &p->child, why);
	if (st == ST_OK)
		process_move(p, PROCESS_RUNS);
	return st;
}

bool process_reap(struct process *p, uint64_t until_ns)
{
	if (process_has_leader(p) && !children_reap(p->children, &p->child, until_ns))
		return false;
	if (process_is_there(p))
		process_move(p, PROCESS_NONE);
	return true;
}

enum status process_init(struct process *p, const struct process_ops *ops, struct loop *loop,
			 struct children *children, struct error *why)
{
	*p = (struct process){.ops = ops, .loop = loop, .children = children};
	p->child.ended = process_leader_ended;
	list_init(&p->child.in_bucket);
	p->timer = timer_create_on(loop, process_time_is_up, p);
	return p->timer != NULL ? ST_OK : error_set(why, ST_NOMEM, "out of memory");
}

void process_fini(struct process *p)
{
	if (process_is_there(p))
		children_signal(&p->child, SIGKILL);
	if (process_has_leader(p))
		children_forget(p->children, &p->child);
	else if (process_is_there(p))
		children_leave_group(p->children, &p->child);
	timer_destroy(p->timer);
	*p = (struct process){0};
}

enum status process_pipe(enum process_pipe direction, int *ret_ours, int *ret_childs,
			 struct error *why)
{
	int ends[2];
	int ours = direction == WE_READ ? 0 : 1;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_system(why, errno, "pipe");
	if (fcntl(ends[ours], F_SETFL, O_NONBLOCK) != 0) {
		enum status st = error_system(why, errno, "pipe");
		(void)close(ends[0]);
		(void)close(ends[1]);
		return st;
	}
	*ret_ours = ends[ours];
	*ret_childs = ends[1 - ours];
	return ST_OK;
}
