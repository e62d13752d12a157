/* Written is not read: a process that answers and dies has often been sent its next job in between. What it
 * left unread is still in the pipe, and FIONREAD counts it from our end, so that end stays open until the
 * process is reaped, also where nothing is written any more.
 *
 * An answer may come before the job's body has been read: the rest must still be written, because
 * the process counts on `bytes` of it, and the body is the job's. So the job is kept until then. */
#include "executors/pool/pool_inside.h"

#include "base/log.h"
#include "base/must.h"
#include "job/job.h"
#include "loop/loop.h"

#include <sys/ioctl.h>

/* --- its jobs ------------------------------------------------------------------------------------- */

void pool_told_end_task(struct pool_child *c, struct pool_task *task, const struct outcome *outcome)
{
	must(task->child == c);
	list_remove(&task->in_unbegun);
	pool_jobs_remove(&c->jobs, task);
	task->child = NULL;
	c->shared->finished(c->shared, c, task, outcome);
}

void pool_told_count_read(struct pool_child *c)
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
void pool_told_give_up_untouched(struct pool_child *c)
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
		pool_told_end_task(c, task, &outcome);
		loop_turn_again(c->shared->loop); /* this turn's dispatch has been */
	}
}

/* --- writing -------------------------------------------------------------------------------------- */

void pool_told_stop(struct pool_child *c)
{
	outbox_drop_all(&c->outbox);
	list_remove(&c->in_to_write);
	if (c->watches[STDIN] != NULL)
		watch_set(c->watches[STDIN], 0);
}

static bool is_written_to(const struct pool_child *c)
{
	return c->fds[STDIN] >= 0 && c->state != POOL_MUTE && c->state < POOL_KILLED;
}

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
	pool_told_count_read(c);
	pool_told_stop(c);
	pool_child_close_end(c, STDIN);
	if (c->state > POOL_RETIRING)
		return;
	log_say(c->shared->log, LOG_INFO, "process closed its stdin",
		kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)),
		kv_int("jobs", c->jobs.count));
	c->cause = CAUSE_ITS_OWN;
	pool_told_give_up_untouched(c);
	if (c->state == POOL_STARTING)
		pool_child_leave(c, pool_child_leave_ms(c),
				 "it did not end after it had closed its stdin");
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
	if (c->state == POOL_LEAVING)
		pool_child_close_end(c, STDIN);
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
	pool_child_retire_if_used_up(c);
	pool_child_rest_if_idle(c);
}

void pool_told_room(void *arg, unsigned events)
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
		pool_child_leave(c, pool_child_leave_ms(c),
				 "it did not end after its stdin was closed");
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
