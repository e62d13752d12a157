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
 * Written is not read: a process that answers and dies has often been sent its next job in between.
 * What it left unread is still in the pipe, and FIONREAD counts it from our end, so that end stays open
 * until the process is reaped, also where nothing is written any more.
 *
 * End-of-file on its stdout is not the end of a process, but no process says anything after it; it
 * usually comes just before SIGCHLD, so there is a moment before we help: first by closing its stdin,
 * which is how a process is told to end, then by a kill.
 *
 * An answer may come before the job's body has been read: the rest must still be written, because
 * the process counts on `bytes` of it, and the body is the job's. So the job is kept until then.
 *
 * Reading takes one piece a turn: a process that writes without end gets its share of the loop and
 * blocks on a full pipe meanwhile. */
#include "executors/pool/pool_child.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/child/child_says.h"
#include "executors/executor.h"
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
	SAYS_BYTES = 16384,           /* of stdout a turn */
	COMPLAINS_BYTES = 4096,       /* of stderr, each line of which is a line of the log */
	BAD_LINES = 20,               /* in a row: more, and it does not speak our language */
	BAD_LINE_SHOWN = 160,         /* bytes of each that are logged */
	MISTAKES_SAID = 20,           /* of one process */
	LEAVE_MS = 5000,              /* to end by itself once its stdin is closed; at least */
	SKIP_BYTES = 65536,           /* of stderr a turn, where it is only counted */
	MUTE_MS = 1000,               /* the same for one that has closed its stdout */
	DYING_MS = 50,                /* from that until it is not just about to be reaped */
	WEIGH_NS = 100 * 1000 * 1000, /* between two looks at its memory */
};

enum { STDIN, STDOUT, STDERR };

#define MAY(state) (1u << (state))
static const struct {
	const char *name;
	unsigned may;
} states[POOL_STATES] = {
    [POOL_STARTING] = {"starting",
		       MAY(POOL_READY) | MAY(POOL_LEAVING) | MAY(POOL_KILLED) | MAY(POOL_GONE)   },
    [POOL_READY] = {"ready",
		       MAY(POOL_RETIRING) | MAY(POOL_LEAVING) | MAY(POOL_KILLED) | MAY(POOL_GONE)},
    [POOL_RETIRING] = {"retiring", MAY(POOL_LEAVING) | MAY(POOL_KILLED) | MAY(POOL_GONE)         },
    [POOL_LEAVING] = {"leaving",  MAY(POOL_KILLED) | MAY(POOL_GONE)                             },
    [POOL_KILLED] = {"killed",   MAY(POOL_GONE)						},
    [POOL_GONE] = {"gone",     0							     },
};

static pid_t pid_of(const struct pool_child *c)
{
	return c->process.child.pid;
}

static const char *name_of(const struct pool_child *c)
{
	return c->shared->settings->name;
}

/* The only place that assigns the state. What the last one waited for is waited for no longer. */
static void move(struct pool_child *c, enum pool_state next)
{
	must((states[c->state].may & MAY(next)) != 0);
	log_say(c->shared->log, LOG_DEBUG, "process moved", kv_text("handler", name_of(c)),
		kv_int("pid", pid_of(c)), kv_text("from", states[c->state].name),
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
	return c->state == POOL_READY && !c->reaped && c->jobs.count < pool_child_capacity(c);
}

static void close_end(struct pool_child *c, int end)
{
	watch_destroy(c->watches[end]);
	c->watches[end] = NULL;
	if (c->fds[end] >= 0 && end == STDIN)
		c->dismissed_ns = loop_now_ns(c->shared->loop);
	if (c->fds[end] >= 0)
		(void)close(c->fds[end]);
	c->fds[end] = -1;
}

/* --- its jobs ------------------------------------------------------------------------------------- */

static void leave(struct pool_child *c, uint64_t wait_ms, const char *late_why);

static uint64_t leave_ms(const struct pool_child *c)
{
	uint64_t wanted_ms = c->shared->settings->leave_timeout_ms;
	return wanted_ms > LEAVE_MS ? wanted_ms : LEAVE_MS;
}

static void rest_if_idle(struct pool_child *c)
{
	if (c->jobs.count > 0)
		return;
	if (c->state == POOL_RETIRING || (c->state == POOL_READY && c->shared->draining))
		leave(c, leave_ms(c), "it did not end after its stdin was closed");
}

static void end_task(struct pool_child *c, struct pool_task *task, const struct outcome *outcome)
{
	must(task->child == c);
	list_remove(&task->in_unbegun);
	pool_jobs_remove(&c->jobs, task);
	task->child = NULL;
	c->shared->finished(c->shared, c, task, outcome);
}

/* Nobody reads its stdin any more. */
static void count_read(struct pool_child *c)
{
	int unread = 0;
	if (c->fds[STDIN] < 0 || ioctl(c->fds[STDIN], FIONREAD, &unread) != 0)
		return;
	c->read_to = c->outbox.sent - (uint64_t)unread;
}

/* What it has been asked to stop for has its own reason, and what it has answered for was begun. */
static bool is_untouched(const struct pool_child *c, const struct pool_task *task)
{
	if (pool_task_is_unbegun(task))
		return true;
	return c->read_to <= task->letter.at && !task->answered &&
	       task->job->stop == JOB_NOT_STOPPED;
}

/* Last given first: each goes back in front of the one before. */
static void give_up_untouched(struct pool_child *c)
{
	for (struct list *it = c->jobs.all.prev, *before = it->prev; it != &c->jobs.all;
	     it = before, before = it->prev) {
		struct pool_task *task = pool_task_at(it);
		if (!is_untouched(c, task))
			return; /* what was begun was given before */
		pool_child_take_back(c, task);
		c->shared->not_begun(c->shared, task);
	}
}

static struct pool_task *first_to_tell(const struct pool_child *c)
{
	list_each (it, &c->jobs.all) {
		struct pool_task *task = pool_task_at(it);
		if (task->answered && !outbox_holds(&task->letter))
			return task;
	}
	return NULL;
}

/* Their bodies are out, or nobody reads them any more. What is told of one may take others back. */
static void tell_answered(struct pool_child *c)
{
	struct pool_task *task;
	while (c->unread_answers > 0 && (task = first_to_tell(c)) != NULL) {
		c->unread_answers--;
		struct outcome outcome = task->outcome;
		end_task(c, task, &outcome);
		loop_turn_again(c->shared->loop); /* this turn's dispatch has been */
	}
}

/* --- ending it ------------------------------------------------------------------------------------ */

/* Its stdin stays open: count_read(). */
static void stop_writing(struct pool_child *c)
{
	outbox_drop_all(&c->outbox);
	list_remove(&c->in_to_write);
	if (c->watches[STDIN] != NULL)
		watch_set(c->watches[STDIN], 0);
}

static bool is_written_to(const struct pool_child *c)
{
	return c->fds[STDIN] >= 0 && !c->mute && c->state < POOL_KILLED;
}

static void leave(struct pool_child *c, uint64_t wait_ms, const char *late_why)
{
	move(c, POOL_LEAVING);
	c->late_why = late_why;
	timer_start(c->timer, wait_ms);
	c->closing = true;
	if (outbox_is_empty(&c->outbox) && !c->mute)
		close_end(c, STDIN);
}

void pool_child_kill(struct pool_child *c)
{
	process_kill(&c->process);
	if (c->state == POOL_KILLED)
		return;
	move(c, POOL_KILLED);
	stop_writing(c);
}

/* It is of no more use, whatever it may still say. */
static void break_down(struct pool_child *c, const char *why)
{
	if (c->deaf || c->reaped)
		return;
	log_say(c->shared->log, LOG_WARN, "process killed", kv_text("handler", name_of(c)),
		kv_int("pid", pid_of(c)), kv_int("jobs", c->jobs.count), kv_text("why", why));
	c->broken = why;
	c->deaf = true;
	pool_child_kill(c);
	watch_set(c->watches[STDOUT], 0);
}

void pool_child_kill_for(struct pool_child *c, const struct pool_task *task)
{
	if (c->state == POOL_KILLED) {
		process_kill(&c->process); /* what is left of its group may have been only asked */
		return;
	}
	(void)snprintf(c->killed_for, sizeof c->killed_for, "%s", task->job->id);
	log_say(c->shared->log, LOG_WARN, "process killed", kv_text("handler", name_of(c)),
		kv_int("pid", pid_of(c)), kv_int("jobs", c->jobs.count),
		kv_text("why", "a job did not stop"), KV_JOB(task->job));
	pool_child_kill(c);
}

void pool_child_retire(struct pool_child *c)
{
	move(c, POOL_RETIRING);
	rest_if_idle(c);
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
	return resident_bytes(pid_of(c)) > c->shared->settings->max_memory_bytes;
}

static void had_enough(struct pool_child *c, const char *why)
{
	log_say(c->shared->log, LOG_INFO, "process will be replaced",
		kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)), kv_text("why", why),
		kv_int("jobs_given", (int64_t)c->given));
	pool_child_retire(c);
}

/* Its last job is given and on its way: the next one gets ready meanwhile. */
static void retire_if_used_up(struct pool_child *c)
{
	if (c->state == POOL_READY && !c->reaped && jobs_left(c) == 0)
		had_enough(c, "max_jobs");
}

static void retire_if_too_large(struct pool_child *c)
{
	if (c->state == POOL_READY && !c->reaped && c->shared->settings->max_memory_bytes != 0 &&
	    is_too_large(c))
		had_enough(c, "max_memory");
}

/* --- writing -------------------------------------------------------------------------------------- */

static void note_begun(struct pool_child *c)
{
	uint64_t now_ns = loop_now_ns(c->shared->loop);
	for (struct list *it = c->jobs.all.prev; it != &c->jobs.all; it = it->prev) {
		struct pool_task *task = pool_task_at(it);
		if (!pool_task_is_unbegun(task))
			return;
		if (outbox_is_unbegun(&c->outbox, &task->letter))
			continue;
		list_remove(&task->in_unbegun);
		task->job->begun_ns = now_ns;
	}
}

/* It may mean to end when its last job has; it gets no other. */
static void stdin_was_closed(struct pool_child *c)
{
	count_read(c);
	stop_writing(c);
	close_end(c, STDIN);
	if (c->state > POOL_RETIRING)
		return;
	log_say(c->shared->log, LOG_INFO, "process closed its stdin",
		kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)),
		kv_int("jobs", c->jobs.count));
	c->by_itself = true;
	give_up_untouched(c);
	if (c->state == POOL_STARTING)
		leave(c, leave_ms(c), "it did not end after it had closed its stdin");
	else if (c->state == POOL_READY)
		pool_child_retire(c);
}

/* While something is unread, and only then, the timer of a process with jobs is the stall's. */
static void wait_for_room(struct pool_child *c, bool moved)
{
	bool stalls = c->state == POOL_READY || c->state == POOL_RETIRING;
	watch_set(c->watches[STDIN], WATCH_WRITE);
	if (stalls && (moved || !timer_armed(c->timer)))
		timer_start(c->timer, c->shared->settings->stall_timeout_ms);
}

static void all_is_written(struct pool_child *c)
{
	watch_set(c->watches[STDIN], 0);
	if (c->state == POOL_READY || c->state == POOL_RETIRING)
		timer_stop(c->timer);
	if (c->closing)
		close_end(c, STDIN);
}

void pool_child_write(struct pool_child *c)
{
	size_t bytes;
	list_remove(&c->in_to_write);
	if (!is_written_to(c))
		return;
	enum status st = outbox_write(&c->outbox, c->fds[STDIN], &bytes);
	if (bytes > 0)
		note_begun(c);
	if (st == ST_CLOSED)
		stdin_was_closed(c);
	else if (st == ST_AGAIN)
		wait_for_room(c, bytes > 0);
	else
		all_is_written(c);
	if (c->unread_answers > 0)
		tell_answered(c);
	retire_if_used_up(c);
	rest_if_idle(c);
}

static void stdin_has_room(void *arg, unsigned events)
{
	(void)events;
	pool_child_write(arg);
}

/* All that a turn has for a process leaves in one write, when jobs are handed over: it is woken once. And
 * never from within what the core calls, because a write may find that nobody reads, which ends and
 * retracts jobs. */
static void write_later(struct pool_child *c)
{
	if (!list_linked(&c->in_to_write))
		list_append(&c->shared->to_write, &c->in_to_write);
}

bool pool_child_give(struct pool_child *c, struct pool_task *task)
{
	must(pool_child_is_open(c));
	if (!outbox_put_job(&c->outbox, &task->letter, task->job, c->shared->settings->timeout_ms))
		return false;
	task->child = c;
	c->given++;
	pool_jobs_add(&c->jobs, task);
	write_later(c);
	return true;
}

void pool_child_take_back(struct pool_child *c, struct pool_task *task)
{
	must(task->child == c && is_untouched(c, task));
	if (list_linked(&task->letter.in_outbox))
		outbox_take_back(&c->outbox, &task->letter);
	list_remove(&task->in_unbegun);
	pool_jobs_remove(&c->jobs, task);
	task->child = NULL;
	c->given--;
	task->job->begun_ns = 0;
}

void pool_child_notify(struct pool_child *c, uint64_t remaining_ms)
{
	if (c->state > POOL_RETIRING)
		return;
	(void)outbox_put_drain(&c->outbox, remaining_ms); /* without memory it learns by its EOF */
	if (c->state == POOL_STARTING)
		leave(c, leave_ms(c), "it did not end after its stdin was closed");
	write_later(c);
	loop_turn_again(c->shared->loop);
}

void pool_child_cancel(struct pool_child *c, struct pool_task *task)
{
	if (!is_written_to(c) || task->cancelled)
		return;
	task->cancelled = outbox_put_cancel(&c->outbox, task->job);
	write_later(c);
	loop_turn_again(c->shared->loop);
}

/* --- what it says ---------------------------------------------------------------------------------- */

static const struct pool_task *only_task(const struct pool_child *c)
{
	return c->jobs.count == 1 ? pool_jobs_first(&c->jobs) : NULL;
}

/* Its own output, which belongs to a job only if it has just that one. */
static void log_output(const struct pool_child *c, const char *stream, struct span line,
		       enum line_end end)
{
	const struct pool_task *task = only_task(c);
	const char *cut = end == LINE_SPLIT ? "goes on in the next line" : NULL;
	if (task != NULL)
		log_say(c->shared->log, LOG_INFO, "handler wrote", KV_RUN(task->job, name_of(c)),
			kv_text("stream", stream), kv_span("line", line), kv_text("cut", cut),
			kv_int("pid", pid_of(c)));
	else
		log_say(c->shared->log, LOG_INFO, "handler wrote", kv_text("handler", name_of(c)),
			kv_int("pid", pid_of(c)), kv_text("stream", stream), kv_span("line", line),
			kv_text("cut", cut));
}

static bool may_complain(const struct pool_child *c)
{
	unsigned most = c->shared->settings->output_lines;
	return most == 0 || c->complaints < most;
}

static void hear_complaint(void *arg, struct span line, enum line_end end)
{
	struct pool_child *c = arg;
	(void)snprintf(c->last_words, sizeof c->last_words, "%.*s", (int)line.len, line.ptr);
	if (may_complain(c)) {
		c->complaints++;
		log_output(c, "stderr", line, end);
	} else {
		c->complaints_left_out++;
	}
}

/* An answer gives it a new share. */
static void forgive_complaints(struct pool_child *c)
{
	if (c->complaints_left_out > 0)
		log_say(c->shared->log, LOG_WARN,
			"handler wrote more than output_lines, not logged",
			kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)),
			kv_int("lines", c->complaints_left_out));
	c->complaints = c->complaints_left_out = 0;
}

static struct span cut_to(struct span line, size_t most)
{
	return span_of(line.ptr, line.len < most ? line.len : most);
}

/* Before it is ready it may be some program's greeting, and only the deadline ends it. */
static void bad_line(struct pool_child *c, const char *why, struct span line)
{
	c->bad_lines++;
	if (c->bad_lines <= BAD_LINES && c->state == POOL_STARTING)
		log_output(c, "stdout", cut_to(line, c->complains.limit), LINE_WHOLE);
	else if (c->bad_lines <= BAD_LINES)
		log_say(c->shared->log, LOG_WARN, "line of a process ignored",
			kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)),
			kv_int("in_a_row", c->bad_lines), kv_text("why", why),
			kv_span("line", cut_to(line, BAD_LINE_SHOWN)));
	else if (c->state != POOL_STARTING)
		break_down(c, "what it writes to stdout makes no sense");
}

static void hear_ready(struct pool_child *c, unsigned concurrency)
{
	unsigned before = c->concurrency;
	if (c->reaped || c->state > POOL_READY)
		return;
	c->concurrency = concurrency;
	if (c->state == POOL_READY) {
		if (concurrency != before)
			log_say(c->shared->log, LOG_INFO, "process changed its concurrency",
				kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)),
				kv_int("from", before), kv_int("to", concurrency));
		c->shared->changed(c->shared, c);
		return;
	}
	if (!pool_jobs_init(&c->jobs, concurrency)) {
		break_down(c, "out of memory");
		return;
	}
	c->ready_ns = loop_now_ns(c->shared->loop);
	log_say(c->shared->log, LOG_INFO, "process ready", kv_text("handler", name_of(c)),
		kv_int("pid", pid_of(c)), kv_int("concurrency", concurrency),
		kv_ns("after_ms", c->ready_ns - c->started_ns));
	move(c, POOL_READY);
}

static void hear_log(struct pool_child *c, const struct child_says *says)
{
	struct span none = {0};
	log_say(c->shared->log, says->level, "handler wrote", kv_text("handler", name_of(c)),
		kv_int("pid", pid_of(c)), kv_span("job", says->id.len > 0 ? says->id : none),
		kv_span("line", says->text));
}

static void hear_facts(struct pool_child *c, struct job *job, const struct child_says *says)
{
	struct executor_host *host = c->shared->host;
	if (says->progress >= 0 || says->note.len > 0)
		host->progress(host, job, says->progress, says->note);
	if (says->has_extend)
		host->extend(host, job, says->extend_ms);
	if (says->has_failure)
		host->explain(host, job, &says->failure);
	if (says->has_checkpoint && !host->checkpoint(host, job, says->checkpoint))
		log_say(c->shared->log, LOG_WARN, "checkpoint refused, it is too large",
			kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)), KV_JOB(job),
			kv_int("bytes", (int64_t)says->checkpoint.len));
}

static void hear_result(struct pool_child *c, struct pool_task *task, const struct outcome *outcome)
{
	c->results++;
	if (c->complaints > 0)
		forgive_complaints(c);
	if (outbox_holds(&task->letter)) {
		task->answered = true;
		task->outcome = *outcome;
		c->unread_answers++;
		return;
	}
	outbox_forget(&task->letter);
	end_task(c, task, outcome);
	retire_if_too_large(c);
	rest_if_idle(c);
}

/* It speaks our language, and makes the same mistake with each job, as a rule: that is said a few times. */
static void note_mistake(struct pool_child *c, const char *what, const char *why, struct span line)
{
	if (c->mistakes++ < MISTAKES_SAID)
		log_say(c->shared->log, LOG_WARN, what, kv_text("handler", name_of(c)),
			kv_int("pid", pid_of(c)), kv_text("why", why),
			kv_span("line", cut_to(line, BAD_LINE_SHOWN)));
}

static void hear_of_job(struct pool_child *c, const struct child_says *says, struct span line)
{
	struct pool_task *task = pool_jobs_find(&c->jobs, says->id, pool_jobs_hash(says->id));
	if (task == NULL || task->answered || pool_task_is_unbegun(task)) {
		bad_line(c, "it does not have that job, or has answered for it", line);
		return;
	}
	c->bad_lines = 0;
	if (says->odd_progress)
		note_mistake(c, "progress of a job ignored", "it is no number from 0 to 1", line);
	if (says->wrong)
		note_mistake(c, "result of a job is wrong, it will be retried",
			     says->outcome.reason, line);
	hear_facts(c, task->job, says);
	if (says->type == SAYS_RESULT)
		hear_result(c, task, &says->outcome);
}

static void hear(struct pool_child *c, const struct child_says *says, struct span line)
{
	switch (says->type) {
	case SAYS_READY:
		c->bad_lines = 0;
		hear_ready(c, says->concurrency);
		break;
	case SAYS_LOG:
		c->bad_lines = 0;
		hear_log(c, says);
		break;
	case SAYS_FACTS:
	case SAYS_RESULT:
		hear_of_job(c, says, line);
		break;
	}
}

static void hear_line(void *arg, struct span line, enum line_end end)
{
	struct pool_child *c = arg;
	struct child_says says;
	struct error why;
	bool skipped = c->skipping;
	if (c->deaf)
		return;
	c->skipping = end == LINE_SPLIT;
	if (skipped)
		return; /* the rest of it */
	if (!child_says_parse(line, &says, &why)) {
		bad_line(c, end == LINE_SPLIT ? "the line is too long" : why.text, line);
	} else {
		hear(c, &says, line);
		child_says_fini(&says);
	}
}

/* Nobody says anything after it. Nine times in ten SIGCHLD is on its way. */
static void stdout_was_closed(struct pool_child *c)
{
	watch_set(c->watches[STDOUT], 0);
	if (c->state >= POOL_LEAVING)
		return;
	c->mute = true;
	c->by_itself = true;
	leave(c, DYING_MS, "it closed its stdout");
	give_up_untouched(c);
	stop_writing(c);
}

static void stdout_has_bytes(void *arg, unsigned events)
{
	(void)events;
	struct pool_child *c = arg;
	char bytes[SAYS_BYTES];
	ssize_t n = read(c->fds[STDOUT], bytes, sizeof bytes);
	if (n > 0)
		lines_feed(&c->says, span_of(bytes, (size_t)n), hear_line, c);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		stdout_was_closed(c);
}

static void stderr_has_bytes(void *arg, unsigned events)
{
	(void)events;
	struct pool_child *c = arg;
	char bytes[SKIP_BYTES];
	bool heard = may_complain(c);
	ssize_t n = read(c->fds[STDERR], bytes, heard ? COMPLAINS_BYTES : sizeof bytes);
	if (n > 0 && heard)
		lines_feed(&c->complains, span_of(bytes, (size_t)n), hear_complaint, c);
	else if (n > 0)
		c->complaints_left_out += lines_skip(&c->complains, span_of(bytes, (size_t)n));
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		watch_set(c->watches[STDERR], 0);
}

/* --- its end --------------------------------------------------------------------------------------- */

/* What is in the pipe now; what its own children write later is not its word. */
static void read_rest(struct pool_child *c, int end, struct lines *lines, line_found *found)
{
	char bytes[SAYS_BYTES];
	int left = 0;
	(void)ioctl(c->fds[end], FIONREAD, &left); /* 0 on failure is a fine answer */
	while (left > 0) {
		size_t piece = (size_t)left < sizeof bytes ? (size_t)left : sizeof bytes;
		ssize_t n = read(c->fds[end], bytes, piece);
		if (n <= 0)
			break;
		lines_feed(lines, span_of(bytes, (size_t)n), found, c);
		left -= (int)n;
	}
	lines_flush(lines, found, c);
}

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
	if (c->killed_for[0] != '\0' || !c->reaped) {
		outcome.kind = OUTCOME_ABANDONED;
		outcome.crashed = false;
	}
	if (c->broken != NULL)
		(void)snprintf(reason, sizeof outcome.reason, "its process was killed: %s",
			       c->broken);
	else if (c->killed_for[0] != '\0' && !job->killed)
		(void)snprintf(reason, sizeof outcome.reason,
			       "its process was killed because of job %.50s", c->killed_for);
	else if (!c->reaped)
		(void)snprintf(reason, sizeof outcome.reason,
			       "its process was killed, but the kernel keeps it");
	else if (c->killed_for[0] != '\0')
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
	give_up_untouched(c);
	while (!list_empty(&c->jobs.all)) { /* what is told of one may take others back */
		struct pool_task *task = pool_task_at(c->jobs.all.next);
		struct outcome outcome =
		    task->answered ? task->outcome : outcome_of_loss(c, task->job);
		end_task(c, task, &outcome);
	}
}

static void log_end(struct pool_child *c)
{
	forgive_complaints(c);
	const struct spawn spawn = {.path = c->shared->settings->command[0],
				    .profile = c->shared->profile};
	char how[32];
	struct error why;
	if (children_never_ran(&c->process.child, &spawn, &why)) {
		log_say(c->shared->log, LOG_ERROR, "process not started",
			kv_text("handler", name_of(c)), kv_why(&why));
		return;
	}
	bool leaves = c->state == POOL_LEAVING && !c->by_itself && !WIFSIGNALED(c->status);
	bool asked = leaves || c->state == POOL_KILLED;
	bool well = c->jobs.count == 0 && WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0;
	bool says_why = !well && c->last_words[0] != '\0';
	describe_end(c, how, sizeof how);
	log_say(c->shared->log,
		asked  ? LOG_DEBUG
		: well ? LOG_INFO
		       : LOG_WARN,
		"process ended", kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)),
		kv_text("by", how), kv_text("last_words", says_why ? c->last_words : NULL),
		kv_int("jobs", c->jobs.count), kv_int("jobs_done", (int64_t)c->results));
}

static void end(struct pool_child *c)
{
	for (int i = 0; i < 3; i++)
		close_end(c, i);
	outbox_drop_all(&c->outbox);
	list_remove(&c->in_to_write);
	move(c, POOL_GONE);
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
	c->reaped = true;
	c->status = status;
	count_read(c);
	read_rest(c, STDOUT, &c->says, hear_line);
	read_rest(c, STDERR, &c->complains, hear_complaint);
	outbox_drop_all(&c->outbox);
	give_up_untouched(c);
	log_end(c);
	if (c->jobs.count == 0)
		return REST_MAY_STAY;
	if (c->state != POOL_KILLED)
		move(c, POOL_KILLED);
	return REST_MUST_END;
}

/* On a dead disk, for instance. We will not wait for that. */
static void process_gone(struct process *process, enum process_end how)
{
	struct pool_child *c = child_of(process);
	if (how == PROCESS_IS_KEPT)
		log_say(c->shared->log, LOG_ERROR, "process killed, but the kernel keeps it",
			kv_text("handler", name_of(c)), kv_int("pid", pid_of(c)));
	end(c);
}

static const struct process_ops process_ops = {leader_ended, process_gone};

static void has_not_left(struct pool_child *c)
{
	if (!c->mute || c->fds[STDIN] < 0) {
		break_down(c, c->late_why);
		return;
	}
	close_end(c, STDIN);
	timer_start(c->timer, MUTE_MS);
}

/* What the state's timer was for. */
static void time_is_up(void *arg)
{
	struct pool_child *c = arg;
	switch (c->state) {
	case POOL_STARTING:
		break_down(c, "it was not ready in time");
		break;
	case POOL_READY:
	case POOL_RETIRING:
		break_down(c, "it stopped reading");
		break;
	case POOL_LEAVING:
		has_not_left(c);
		break;
	case POOL_KILLED: /* has no timer here: process.h */
	case POOL_GONE:
	case POOL_STATES:
		break;
	}
}

void pool_child_dismiss(struct pool_child *c)
{
	stop_writing(c);
	close_end(c, STDIN);
}

bool pool_child_bury(struct pool_child *c, uint64_t patience_ns)
{
	return process_reap(&c->process, c->dismissed_ns + patience_ns);
}

/* --- its start ------------------------------------------------------------------------------------- */

static enum status watch_pipes(struct pool_child *c, struct error *why)
{
	static void (*const served[3])(void *arg, unsigned events) = {
	    [STDIN] = stdin_has_room,
	    [STDOUT] = stdout_has_bytes,
	    [STDERR] = stderr_has_bytes,
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
	c->fds[STDIN] = c->fds[STDOUT] = c->fds[STDERR] = -1;
	outbox_init(&c->outbox);
	lines_init(&c->says, shared->line_limit);
	lines_init(&c->complains, shared->settings->output_line_bytes);
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
	log_say(shared->log, LOG_DEBUG, "process started", kv_text("handler", name_of(c)),
		kv_int("pid", pid_of(c)));
	*ret_child = c;
	return ST_OK;
}

void pool_child_destroy(struct pool_child *c)
{
	list_remove(&c->in_all);
	list_remove(&c->in_open);
	list_remove(&c->in_to_write);
	for (int i = 0; i < 3; i++)
		close_end(c, i);
	process_fini(&c->process);
	timer_destroy(c->timer);
	outbox_fini(&c->outbox);
	lines_fini(&c->says);
	lines_fini(&c->complains);
	pool_jobs_fini(&c->jobs);
	memory_free(c);
}
