/* Reading takes one piece a turn: a process that writes without end gets its share of the loop and
 * blocks on a full pipe meanwhile. */
#include "executors/pool/pool_inside.h"

#include "base/log.h"
#include "dispatch/routes.h"
#include "executors/child/child_says.h"
#include "executors/executor.h"
#include "job/job.h"
#include "loop/loop.h"

#include <stdio.h>

enum {
	SAYS_BYTES = 16384,     /* of stdout a turn */
	COMPLAINS_BYTES = 4096, /* of stderr, each line of which is a line of the log */
	SKIP_BYTES = 65536,     /* of stderr a turn, where it is only counted */
	BAD_LINES = 20,         /* in a row: more, and it does not speak our language */
	BAD_LINE_SHOWN = 160,   /* bytes of each that are logged */
	MISTAKES_SAID = 20,     /* of one process */
	DYING_MS = 50, /* from the end of its stdout until it is not just about to be reaped */
};

/* --- its complaints -------------------------------------------------------------------------------- */

static const struct pool_task *only_task(const struct pool_child *c)
{
	return c->jobs.count == 1 ? pool_jobs_first(&c->jobs) : NULL;
}

/* Its own output, which belongs to a job only if it has just that one. */
static void log_output(const struct pool_child *c, const char *stream, struct span line,
		       enum line_part part)
{
	const struct pool_task *task = only_task(c);
	const char *cut = line_goes_on(part) ? "goes on in the next line" : NULL;
	if (task != NULL)
		log_say(c->shared->log, LOG_INFO, "handler wrote", KV_RUN(task->job, pool_name(c)),
			kv_text("stream", stream), kv_span("line", line), kv_text("cut", cut),
			kv_int("pid", pool_pid(c)));
	else
		log_say(c->shared->log, LOG_INFO, "handler wrote", kv_text("handler", pool_name(c)),
			kv_int("pid", pool_pid(c)), kv_text("stream", stream),
			kv_span("line", line), kv_text("cut", cut));
}

static bool may_complain(const struct pool_child *c)
{
	unsigned most = c->shared->settings->output_lines;
	return most == 0 || c->complaints < most;
}

static void hear_complaint(void *arg, struct span line, enum line_part part)
{
	struct pool_child *c = arg;
	(void)snprintf(c->last_words, sizeof c->last_words, "%.*s", (int)line.len, line.ptr);
	if (may_complain(c)) {
		c->complaints++;
		log_output(c, "stderr", line, part);
	} else {
		c->complaints_left_out++;
	}
}

/* An answer gives it a new share. */
void pool_heard_forgive(struct pool_child *c)
{
	if (c->complaints_left_out > 0)
		log_say(c->shared->log, LOG_WARN,
			"handler wrote more than output_lines, not logged",
			kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)),
			kv_int("lines", c->complaints_left_out));
	c->complaints = c->complaints_left_out = 0;
}

static struct span cut_to(struct span line, size_t most)
{
	return span_of(line.ptr, line.len < most ? line.len : most);
}

/* --- what it says ---------------------------------------------------------------------------------- */

/* Before it is ready it may be some program's greeting, and only the deadline ends it. */
static void bad_line(struct pool_child *c, const char *why, struct span line)
{
	c->bad_lines++;
	if (c->bad_lines <= BAD_LINES && c->state == POOL_STARTING)
		log_output(c, "stdout", cut_to(line, c->complains.lines.limit), LINE_WHOLE);
	else if (c->bad_lines <= BAD_LINES)
		log_say(c->shared->log, LOG_WARN, "line of a process ignored",
			kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)),
			kv_int("in_a_row", c->bad_lines), kv_text("why", why),
			kv_span("line", cut_to(line, BAD_LINE_SHOWN)));
	else if (c->state != POOL_STARTING)
		pool_child_break_down(c, "what it writes to stdout makes no sense");
}

static void hear_ready(struct pool_child *c, unsigned concurrency)
{
	unsigned before = c->concurrency;
	if (pool_child_was_reaped(c) || c->state > POOL_READY)
		return;
	c->concurrency = concurrency;
	if (c->state == POOL_READY) {
		if (concurrency != before)
			log_say(c->shared->log, LOG_INFO, "process changed its concurrency",
				kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)),
				kv_int("from", before), kv_int("to", concurrency));
		c->shared->changed(c->shared, c);
		return;
	}
	if (!pool_jobs_init(&c->jobs, concurrency)) {
		pool_child_break_down(c, "out of memory");
		return;
	}
	c->ready_ns = loop_now_ns(c->shared->loop);
	log_say(c->shared->log, LOG_INFO, "process ready", kv_text("handler", pool_name(c)),
		kv_int("pid", pool_pid(c)), kv_int("concurrency", concurrency),
		kv_ns("after_ms", c->ready_ns - c->started_ns));
	pool_child_move(c, POOL_READY);
}

static void hear_log(struct pool_child *c, const struct child_says *says)
{
	struct span none = {0};
	log_say(c->shared->log, says->level, "handler wrote", kv_text("handler", pool_name(c)),
		kv_int("pid", pool_pid(c)), kv_span("job", says->id.len > 0 ? says->id : none),
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
			kv_text("handler", pool_name(c)), kv_int("pid", pool_pid(c)), KV_JOB(job),
			kv_int("bytes", (int64_t)says->checkpoint.len));
}

static void hear_result(struct pool_child *c, struct pool_task *task, const struct outcome *outcome)
{
	c->results++;
	if (c->complaints > 0)
		pool_heard_forgive(c);
	if (outbox_holds(&task->letter)) {
		task->answered = true;
		task->outcome = *outcome;
		c->unread_answers++;
		return;
	}
	outbox_forget(&task->letter);
	pool_told_end_task(c, task, outcome);
	pool_child_retire_if_too_large(c);
	pool_child_rest_if_idle(c);
}

/* It speaks our language, and makes the same mistake with each job, as a rule: that is said a few times. */
static void note_mistake(struct pool_child *c, const char *what, const char *why, struct span line)
{
	if (c->mistakes++ < MISTAKES_SAID)
		log_say(c->shared->log, LOG_WARN, what, kv_text("handler", pool_name(c)),
			kv_int("pid", pool_pid(c)), kv_text("why", why),
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

static void hear_line(void *arg, struct span line, enum line_part part)
{
	struct pool_child *c = arg;
	struct child_says says;
	struct error why;
	if (c->cause == CAUSE_BROKEN || part == LINE_MIDDLE || part == LINE_TAIL)
		return;
	if (!child_says_parse(line, &says, &why)) {
		bad_line(c, part == LINE_HEAD ? "the line is too long" : why.text, line);
	} else {
		hear(c, &says, line);
		child_says_fini(&says);
	}
}

/* --- its pipes ------------------------------------------------------------------------------------- */

/* Nobody says anything after it. Nine times in ten SIGCHLD is on its way. */
static void stdout_was_closed(struct pool_child *c)
{
	watch_set(c->watches[STDOUT], 0);
	if (c->state >= POOL_MUTE)
		return;
	c->cause = CAUSE_ITS_OWN;
	pool_child_move(c, POOL_MUTE);
	timer_start(c->timer, DYING_MS);
	pool_told_give_up_untouched(c);
	pool_told_stop(c);
}

void pool_heard_stdout(void *arg, unsigned events)
{
	struct pool_child *c = arg;
	char bytes[SAYS_BYTES];
	struct span piece;
	(void)events;
	enum output_came came = output_read(&c->says, c->fds[STDOUT], bytes, sizeof bytes, &piece);
	if (piece.len > 0)
		lines_feed(&c->says.lines, piece, hear_line, c);
	if (came == OUTPUT_END)
		stdout_was_closed(c);
}

void pool_heard_stderr(void *arg, unsigned events)
{
	struct pool_child *c = arg;
	char bytes[SKIP_BYTES];
	struct span piece;
	bool heard = may_complain(c);
	(void)events;
	enum output_came came = output_read(&c->complains, c->fds[STDERR], bytes,
					    heard ? COMPLAINS_BYTES : sizeof bytes, &piece);
	if (piece.len > 0 && heard)
		lines_feed(&c->complains.lines, piece, hear_complaint, c);
	else if (piece.len > 0)
		c->complaints_left_out += lines_skip(&c->complains.lines, piece);
	if (came == OUTPUT_END)
		watch_set(c->watches[STDERR], 0);
}

static void read_rest(struct pool_child *c, struct output *output, int fd, line_found *found)
{
	char bytes[SAYS_BYTES];
	struct span piece;
	enum output_came came;
	output_is_last(output, fd);
	do {
		came = output_read(output, fd, bytes, sizeof bytes, &piece);
		lines_feed(&output->lines, piece, found, c);
	} while (came != OUTPUT_END);
	lines_flush(&output->lines, found, c);
}

void pool_heard_rest(struct pool_child *c)
{
	read_rest(c, &c->says, c->fds[STDOUT], hear_line);
	read_rest(c, &c->complains, c->fds[STDERR], hear_complaint);
}
