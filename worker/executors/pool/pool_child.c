/* A process ends when we want it to, when it wants to, or when something is wrong with it, and all of
 * that may happen while it has jobs. So there is one way out: whatever the cause, its jobs are looked
 * at when it was reaped, after the last of what it wrote was read. An answer that lies in the pipe when
 * a process dies is an answer.
 *
 * What a job that has none becomes then depends on whose fault it is. Not a byte of it was read: it
 * was never begun, and goes back as if nothing had happened. We killed the process because one of its
 * jobs would not stop: that job and its neighbours are abandoned, which costs nobody an attempt. In
 * every other case the process crashed under it, also where we ended it because it was broken.
 *
 * End-of-file on its stdout is not the end of a process, but no process says anything after it; it
 * usually comes just before SIGCHLD, so there is a moment before we help: first by closing its stdin,
 * which is how a process is told to end, then by a kill.
 */
#include "executors/pool/pool_inside.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LEAVE_MS = 5000,              /* to end by itself once its stdin is closed; at least */
	MUTE_MS = 1000,               /* the same for one that has closed its stdout */
	WEIGH_NS = 100 * 1000 * 1000, /* between two looks at its memory */
};

#define MAY(state) (1u << (state))
static const struct {
	const char *name;
	unsigned may;
} states[POOL_STATES] = {
    [POOL_STARTING] = {"starting", MAY(POOL_READY) | MAY(POOL_MUTE) | MAY(POOL_LEAVING) |
				       MAY(POOL_KILLED) | MAY(POOL_GONE)},
    [POOL_READY] = {"ready",    MAY(POOL_RETIRING) | MAY(POOL_MUTE) | MAY(POOL_LEAVING) |
				 MAY(POOL_KILLED) | MAY(POOL_GONE)         },
    [POOL_RETIRING] = {"retiring",
		       MAY(POOL_MUTE) | MAY(POOL_LEAVING) | MAY(POOL_KILLED) | MAY(POOL_GONE)             },
    [POOL_MUTE] = {"mute",     MAY(POOL_LEAVING) | MAY(POOL_KILLED) | MAY(POOL_GONE)                  },
    [POOL_LEAVING] = {"leaving",  MAY(POOL_KILLED) | MAY(POOL_GONE)                                      },
    [POOL_KILLED] = {"killed",   MAY(POOL_GONE) | MAY(POOL_KEPT)                                        },
    [POOL_GONE] = {"gone",     0								      },
    [POOL_KEPT] = {"kept",     0								      },
};

void pool_child_move(struct pool_child *c, enum pool_state next)
{
	must((states[c->state].may & MAY(next)) != 0);
	log_say(c->shared->log, LOG_DEBUG, "process moved", kv_text("handler", pool_name(c)),
		kv_int("pid", pool_pid(c)), kv_text("from", states[c->state].name),
		kv_text("to", states[next].name));
	c->state = next;
	timer_stop(c->timer);
	c->shared->changed(c->shared, c);
}

/* How many jobs it may still be given; a limit is a limit. */
static uint64_t jobs_left(const struct pool_child *c)
{
	unsigned most = c->shared->settings->max_jobs;
	return most != 0 ? most - c->given : UINT64_MAX;
}

unsigned pool_child_capacity(const struct pool_child *c)
{
	unsigned most = c->shared->settings->per_process;
	if (c->state == POOL_RETIRING)
		return c->jobs.count; /* they are on top of what the next one can have */
	if (c->state != POOL_READY)
		return 0;
	if (most == 0 || most > c->concurrency)
		most = c->concurrency;
	if (jobs_left(c) < most && jobs_left(c) + c->jobs.count < most)
		return (unsigned)jobs_left(c) + c->jobs.count;
	return most;
}

bool pool_child_is_open(const struct pool_child *c)
{
	return c->state == POOL_READY && !pool_child_was_reaped(c) &&
	       c->jobs.count < pool_child_capacity(c);
}

void pool_child_close_end(struct pool_child *c, int end)
{
	watch_destroy(c->watches[end]);
	c->watches[end] = NULL;
	if (c->fds[end] >= 0 && end == STDIN)
		c->dismissed_ns = loop_now_ns(c->shared->loop);
	if (c->fds[end] >= 0)
		(void)close(c->fds[end]);
	c->fds[end] = -1;
}

uint64_t pool_child_leave_ms(const struct pool_child *c)
{
	uint64_t wanted_ms = c->shared->settings->leave_timeout_ms;
	return wanted_ms > LEAVE_MS ? wanted_ms : LEAVE_MS;
}

void pool_child_rest_if_idle(struct pool_child *c)
{
	if (c->jobs.count > 0)
		return;
	if (c->state == POOL_RETIRING || (c->state == POOL_READY && c->shared->draining))
		pool_child_leave(c, pool_child_leave_ms(c),
				 "it did not end after its stdin was closed");
}

/* --- ending it ------------------------------------------------------------------------------------ */

void pool_child_leave(struct pool_child *c, uint64_t wait_ms, const char *late_why)
{
	pool_child_move(c, POOL_LEAVING);
	c->why = late_why;
	timer_start(c->timer, wait_ms);
	if (outbox_is_empty(&c->outbox))
		pool_child_close_end(c, STDIN);
}

void pool_child_kill(struct pool_child *c)
{
	process_kill(&c->process);
	if (c->state == POOL_KILLED)
		return;
	pool_child_move(c, POOL_KILLED);
	pool_told_stop(c);
}

void pool_child_break_down(struct pool_child *c, const char *why)
{
	if (c->state >= POOL_KILLED)
		return;
	log_say(c->shared->log, LOG_WARN, "process killed", kv_text("handler", pool_name(c)),
		kv_int("pid", pool_pid(c)), kv_int("jobs", c->jobs.count), kv_text("why", why));
	c->cause = CAUSE_BROKEN;
	c->why = why;
	pool_child_kill(c);
	watch_set(c->watches[STDOUT], 0);
}

void pool_child_kill_for(struct pool_child *c, const struct pool_task *task)
{
	if (c->state == POOL_KILLED) {
		process_kill(&c->process); /* what is left of its group may have been only asked */
		return;
	}
	c->cause = CAUSE_JOB;
	(void)snprintf(c->killed_for, sizeof c->killed_for, "%s", task->job->id);
	log_say(c->shared->log, LOG_WARN, "process killed", kv_text("handler", pool_name(c)),
		kv_int("pid", pool_pid(c)), kv_int("jobs", c->jobs.count),
		kv_text("why", "a job did not stop"), KV_JOB(task->job));
	pool_child_kill(c);
}

void pool_child_retire(struct pool_child *c)
{
	pool_child_move(c, POOL_RETIRING);
	pool_child_rest_if_idle(c);
}

/* --- its share ------------------------------------------------------------------------------------- */

/* /proc/PID/statm: its size and what of that is in memory, in pages. */
static size_t resident_bytes(pid_t pid)
{
	char text[128];
	unsigned long pages = 0;
	(void)snprintf(text, sizeof text, "/proc/%d/statm", (int)pid);
	int fd = open(text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%*u %lu", &pages) != 1)
		return 0;
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static bool is_too_large(struct pool_child *c)
{
	uint64_t now_ns = loop_now_ns(c->shared->loop);
	if (now_ns - c->weighed_ns < WEIGH_NS)
		return false;
	c->weighed_ns = now_ns;
	return resident_bytes(pool_pid(c)) > c->shared->settings->max_memory_bytes;
}

static void had_enough(struct pool_child *c, const char *why)
{
	log_say(c->shared->log, LOG_INFO, "process will be replaced",
		kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)), kv_text("why", why),
		kv_int("jobs_given", (int64_t)c->given));
	pool_child_retire(c);
}

/* Its last job is given and on its way: the next one gets ready meanwhile. */
void pool_child_retire_if_used_up(struct pool_child *c)
{
	if (c->state == POOL_READY && !pool_child_was_reaped(c) && jobs_left(c) == 0)
		had_enough(c, "max_jobs");
}

void pool_child_retire_if_too_large(struct pool_child *c)
{
	if (c->state == POOL_READY && !pool_child_was_reaped(c) &&
	    c->shared->settings->max_memory_bytes != 0 && is_too_large(c))
		had_enough(c, "max_memory");
}

/* --- its end --------------------------------------------------------------------------------------- */

static void describe_end(const struct pool_child *c, char *text, size_t size)
{
	int signum = WIFSIGNALED(c->status) ? WTERMSIG(c->status) : 0;
	const char *name = signum != 0 ? sigabbrev_np(signum) : NULL;
	if (name != NULL)
		(void)snprintf(text, size, "SIG%s", name);
	else if (signum != 0)
		(void)snprintf(text, size, "signal %d", signum);
	else
		(void)snprintf(text, size, "status %d", WEXITSTATUS(c->status));
}

static struct outcome outcome_of_loss(const struct pool_child *c, const struct job *job)
{
	struct outcome outcome = {.kind = OUTCOME_RETRY, .crashed = true};
	char *reason = outcome.reason;
	char how[32];
	if (c->cause == CAUSE_JOB || c->state == POOL_KEPT) {
		outcome.kind = OUTCOME_ABANDONED;
		outcome.crashed = false;
	}
	if (c->cause == CAUSE_BROKEN)
		(void)snprintf(reason, sizeof outcome.reason, "its process was killed: %s", c->why);
	else if (c->cause == CAUSE_JOB && !job->killed)
		(void)snprintf(reason, sizeof outcome.reason,
			       "its process was killed because of job %.50s", c->killed_for);
	else if (c->state == POOL_KEPT)
		(void)snprintf(reason, sizeof outcome.reason,
			       "its process was killed, but the kernel keeps %s",
			       pool_child_was_reaped(c) ? "one that it started" : "it");
	else if (c->cause == CAUSE_JOB)
		(void)snprintf(reason, sizeof outcome.reason, "its process was killed");
	if (reason[0] != '\0')
		return outcome;
	describe_end(c, how, sizeof how);
	(void)snprintf(reason, sizeof outcome.reason, "its process ended %s %s%s",
		       WIFSIGNALED(c->status) ? "by" : "with", how,
		       WIFSIGNALED(c->status) ? "" : " and no answer");
	return outcome;
}

/* What it had is told; those that cannot be told of begin again elsewhere. */
static void lose_jobs(struct pool_child *c)
{
	pool_told_give_up_untouched(c);
	while (!list_empty(&c->jobs.all)) { /* what is told of one may take others back */
		struct pool_task *task = pool_task_at(c->jobs.all.next);
		struct outcome outcome =
		    task->answered ? task->outcome : outcome_of_loss(c, task->job);
		pool_told_end_task(c, task, &outcome);
	}
}

static void log_end(struct pool_child *c)
{
	pool_heard_forgive(c);
	const struct spawn spawn = {.path = c->shared->settings->command[0],
				    .profile = c->shared->profile};
	char how[32];
	struct error why;
	if (children_never_ran(&c->process.child, &spawn, &why)) {
		log_say(c->shared->log, LOG_ERROR, "process not started",
			kv_text("handler", pool_name(c)), kv_why(&why));
		return;
	}
	bool leaves = c->state == POOL_LEAVING && c->cause == CAUSE_NONE && !WIFSIGNALED(c->status);
	bool asked = leaves || c->state == POOL_KILLED;
	bool well = c->jobs.count == 0 && WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0;
	bool says_why = !well && c->last_words[0] != '\0';
	describe_end(c, how, sizeof how);
	log_say(c->shared->log,
		asked  ? LOG_DEBUG
		: well ? LOG_INFO
		       : LOG_WARN,
		"process ended", kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)),
		kv_text("by", how), kv_text("last_words", says_why ? c->last_words : NULL),
		kv_int("jobs", c->jobs.count), kv_int("jobs_done", (int64_t)c->results));
}

static void end(struct pool_child *c, enum pool_state last)
{
	for (int i = 0; i < 3; i++)
		pool_child_close_end(c, i);
	outbox_drop_all(&c->outbox);
	list_remove(&c->in_to_write);
	pool_child_move(c, last);
	lose_jobs(c);
	c->shared->ended(c->shared, c);
}

static struct pool_child *child_of(struct process *process)
{
	return list_entry(process, struct pool_child, process);
}

/* What it has started itself may be at the jobs it has: they are told when that has ended, too. */
static enum process_rest leader_ended(struct process *process, int status,
				      const struct rusage *usage)
{
	struct pool_child *c = child_of(process);
	(void)usage;
	c->status = status;
	pool_told_count_read(c);
	pool_heard_rest(c);
	outbox_drop_all(&c->outbox);
	pool_told_give_up_untouched(c);
	log_end(c);
	if (c->jobs.count == 0)
		return REST_MAY_STAY;
	if (c->state != POOL_KILLED)
		pool_child_move(c, POOL_KILLED);
	return REST_MUST_END;
}

/* On a dead disk, for instance. We will not wait for that, nor say that nobody is at its jobs. */
static void process_gone(struct process *process, enum process_end how)
{
	struct pool_child *c = child_of(process);
	if (how == PROCESS_WENT) {
		end(c, POOL_GONE);
		return;
	}
	log_say(c->shared->log, LOG_ERROR, "process killed, but the kernel keeps it",
		kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)),
		kv_text("what", pool_child_was_reaped(c) ? "one that it started" : "it"));
	end(c, POOL_KEPT);
}

static const struct process_ops process_ops = {leader_ended, process_gone};

static void mute_and_not_reaped(struct pool_child *c)
{
	static const char why[] = "it closed its stdout";
	if (c->fds[STDIN] < 0)
		pool_child_break_down(c, why);
	else
		pool_child_leave(c, MUTE_MS, why);
}

/* What the state's timer was for. */
static void time_is_up(void *arg)
{
	struct pool_child *c = arg;
	switch (c->state) {
	case POOL_STARTING:
		pool_child_break_down(c, "it was not ready in time");
		break;
	case POOL_READY:
	case POOL_RETIRING:
		pool_child_break_down(c, "it stopped reading");
		break;
	case POOL_MUTE:
		mute_and_not_reaped(c);
		break;
	case POOL_LEAVING:
		pool_child_break_down(c, c->why);
		break;
	case POOL_KILLED: /* has no timer here: process.h */
	case POOL_GONE:
	case POOL_KEPT:
	case POOL_STATES:
		break;
	}
}

void pool_child_dismiss(struct pool_child *c)
{
	pool_told_stop(c);
	pool_child_close_end(c, STDIN);
}

bool pool_child_bury(struct pool_child *c, uint64_t patience_ns)
{
	return process_reap(&c->process, c->dismissed_ns + patience_ns);
}

/* --- its start ------------------------------------------------------------------------------------- */

static enum status watch_pipes(struct pool_child *c, struct error *why)
{
	static void (*const served[3])(void *arg, unsigned events) = {
	    [STDIN] = pool_told_room,
	    [STDOUT] = pool_heard_stdout,
	    [STDERR] = pool_heard_stderr,
	};
	for (int i = 0; i < 3; i++) {
		c->watches[i] = watch_create(c->shared->loop, c->fds[i], served[i], c);
		if (c->watches[i] == NULL)
			return error_set(why, ST_NOMEM, "watch a pipe");
	}
	c->timer = timer_create_on(c->shared->loop, time_is_up, c);
	return c->timer != NULL ? ST_OK : error_set(why, ST_NOMEM, "timer");
}

static enum status spawn(struct pool_child *c, struct error *why)
{
	int childs[3] = {-1, -1, -1};
	enum status st =
	    process_init(&c->process, &process_ops, c->shared->loop, c->shared->children, why);
	for (int i = 0; i < 3 && st == ST_OK; i++)
		st = process_pipe(i == STDIN ? WE_WRITE : WE_READ, &c->fds[i], &childs[i], why);
	if (st == ST_OK)
		st = watch_pipes(c, why);
	if (st == ST_OK) {
		struct spawn how = {
		    .path = c->shared->path,
		    .argv = (char *const *)c->shared->settings->command,
		    .envp = c->shared->envp,
		    .profile = c->shared->profile,
		    .fds = {childs[0], childs[1], childs[2]},
		    .n_fds = 3,
		};
		st = process_start(&c->process, &how, why);
	}
	for (int i = 0; i < 3; i++)
		if (childs[i] >= 0)
			(void)close(childs[i]);
	return st;
}

static void init(struct pool_child *c, struct pool_shared *shared, struct pool_place *place)
{
	list_init(&c->in_all);
	list_init(&c->in_open);
	list_init(&c->in_to_write);
	c->shared = shared;
	c->place = place;
	c->read_to = UINT64_MAX;
	c->state = POOL_STARTING;
	c->status = POOL_NOT_REAPED;
	c->fds[STDIN] = c->fds[STDOUT] = c->fds[STDERR] = -1;
	outbox_init(&c->outbox);
	output_init(&c->says, shared->line_limit);
	output_init(&c->complains, shared->settings->output_line_bytes);
	list_init(&c->jobs.all);
}

enum status pool_child_start(struct pool_shared *shared, struct pool_place *place,
			     struct pool_child **ret_child, struct error *why)
{
	struct pool_child *c = memory_clear(1, sizeof *c);
	if (c == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	init(c, shared, place);
	enum status st = spawn(c, why);
	if (st != ST_OK) {
		pool_child_destroy(c);
		return st;
	}
	c->started_ns = loop_now_ns(shared->loop);
	watch_set(c->watches[STDOUT], WATCH_READ);
	watch_set(c->watches[STDERR], WATCH_READ);
	timer_start(c->timer, shared->settings->ready_timeout_ms);
	log_say(shared->log, LOG_DEBUG, "process started", kv_text("handler", pool_name(c)),
		kv_int("pid", pool_pid(c)));
	*ret_child = c;
	return ST_OK;
}

void pool_child_destroy(struct pool_child *c)
{
	list_remove(&c->in_all);
	list_remove(&c->in_open);
	list_remove(&c->in_to_write);
	for (int i = 0; i < 3; i++)
		pool_child_close_end(c, i);
	process_fini(&c->process);
	timer_destroy(c->timer);
	outbox_fini(&c->outbox);
	output_fini(&c->says);
	output_fini(&c->complains);
	pool_jobs_fini(&c->jobs);
	memory_free(c);
}
