/* A read takes a piece of fixed size, so that a handler that writes without end takes its share and no
 * more, and blocks on a full pipe meanwhile. */
#include "executors/exec/exec_heard.h"

#include "base/log.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/child/child_says.h"
#include "executors/exec/exec_pipes.h"
#include "job/job.h"
#include "settings/settings.h"

#include <stdio.h>

enum {
	READ_BYTES = 4096,  /* from one pipe at a time */
	SKIP_BYTES = 65536, /* where lines are only counted */
	SHOWN_BYTES = 200,  /* of a line that is no good */
};

static const enum pipe_end heard_ends[] = {PIPE_STDOUT, PIPE_STDERR, PIPE_SAID};
enum { HEARD_ENDS = sizeof heard_ends / sizeof heard_ends[0] };

/* --- for the log ---------------------------------------------------------------------------------- */

static bool may_log(struct slot *slot)
{
	unsigned most = slot->exec->settings->output_lines;
	if (most != 0 && slot->lines_logged >= most) {
		slot->lines_left_out++;
		return false;
	}
	slot->lines_logged++;
	return true;
}

static void log_output(struct slot *slot, enum log_level level, const char *stream,
		       struct span line, const char *cut)
{
	const struct job *job = slot->job;
	if (line.len > 0 && may_log(slot))
		log_say(slot->exec->log, level, "job wrote", KV_RUN(job, slot->exec->base.name),
			kv_text("stream", stream), kv_span("line", line), kv_text("cut", cut));
}

/* Most programs tell at their end what has ended them. */
static void keep_last_words(struct slot *slot, struct span line)
{
	size_t most = sizeof slot->last_words - 1, blank = 0;
	while (blank < line.len && (unsigned char)line.ptr[blank] <= ' ')
		blank++;
	if (blank < line.len)
		(void)snprintf(slot->last_words, sizeof slot->last_words, "%.*s",
			       (int)(line.len < most ? line.len : most), line.ptr);
}

static void log_line(struct slot *slot, enum pipe_end pipe, struct span line, enum line_part part)
{
	if (pipe == PIPE_STDERR)
		keep_last_words(slot, line);
	log_output(slot, LOG_INFO, pipe == PIPE_STDOUT ? "stdout" : "stderr", line,
		   line_goes_on(part) ? "goes on in the next line" : NULL);
}

/* --- about the job -------------------------------------------------------------------------------- */

static void note_rubbish(struct slot *slot, struct span line, const char *why)
{
	const struct job *job = slot->job;
	if (slot->rubbish++ > 0)
		return;
	line.len = line.len < SHOWN_BYTES ? line.len : SHOWN_BYTES;
	log_say(slot->exec->log, LOG_WARN, "job wrote rubbish to descriptor 4, ignoring it",
		KV_JOB(job), kv_text("queue", job->route->name), kv_text("why", why),
		kv_span("line", line));
}

static void keep_checkpoint(struct slot *slot, struct span checkpoint)
{
	struct executor_host *host = slot->exec->base.host;
	const struct job *job = slot->job;
	if (host->checkpoint(host, slot->job, checkpoint) || slot->refused)
		return;
	slot->refused = true;
	log_say(slot->exec->log, LOG_WARN,
		"checkpoint refused, it is larger than max_checkpoint; the one before stands",
		KV_JOB(job), kv_text("queue", job->route->name),
		kv_int("bytes", (int64_t)checkpoint.len));
}

static void tell_facts(struct slot *slot, const struct child_says *says)
{
	struct executor_host *host = slot->exec->base.host;
	if (says->progress >= 0 || says->note.len > 0)
		host->progress(host, slot->job, says->progress, says->note);
	if (says->has_extend)
		host->extend(host, slot->job, says->extend_ms);
	if (says->has_failure)
		host->explain(host, slot->job, &says->failure);
	if (says->has_checkpoint)
		keep_checkpoint(slot, says->checkpoint);
}

static void hear_words(struct slot *slot, struct span line, const struct child_says *says)
{
	if (says->id.len > 0 && !span_equal(says->id, span_text(slot->job->id))) {
		note_rubbish(slot, line, "it is about another job");
		return;
	}
	switch (says->type) {
	case SAYS_FACTS:
		tell_facts(slot, says);
		return;
	case SAYS_LOG:
		log_output(slot, says->level, "log", says->text, NULL);
		return;
	case SAYS_READY:
	case SAYS_RESULT:
		break;
	}
	note_rubbish(slot, line, "that is a pool's word: here the exit status is the result");
}

/* A line that is too long comes in pieces, and is wrong as a whole. */
static void hear_line(struct slot *slot, struct span line, enum line_part part)
{
	struct child_says says;
	struct error why;
	if (part == LINE_HEAD)
		note_rubbish(slot, line, "too long");
	if (part != LINE_WHOLE)
		return;
	if (!child_says_parse(line, &says, &why)) {
		note_rubbish(slot, line, why.text);
		return;
	}
	if (says.odd_progress)
		note_rubbish(slot, line, "progress is no number from 0 to 1");
	hear_words(slot, line, &says);
	child_says_fini(&says);
}

/* --- pipes ---------------------------------------------------------------------------------------- */

struct stream {
	struct slot *slot;
	enum pipe_end end;
};

static void take_line(void *arg, struct span line, enum line_part part)
{
	const struct stream *stream = arg;
	if (stream->end == PIPE_SAID)
		hear_line(stream->slot, line, part);
	else
		log_line(stream->slot, stream->end, line, part);
}

static void end_output(struct slot *slot, enum pipe_end end)
{
	struct stream stream = {slot, end};
	if (!pipe_is_open(slot, end))
		return;
	lines_flush(&slot->out[end].lines, take_line, &stream);
	pipe_close(slot, end);
	if (end == PIPE_SAID) /* room for a checkpoint, which few jobs need */
		lines_fini(&slot->out[end].lines);
}

static bool is_only_counted(const struct slot *slot, enum pipe_end end)
{
	unsigned most = slot->exec->settings->output_lines;
	return end != PIPE_SAID && most != 0 && slot->lines_logged >= most;
}

static void take_output(struct slot *slot, enum pipe_end end, struct span bytes)
{
	struct stream stream = {slot, end};
	struct lines *lines = &slot->out[end].lines;
	if (is_only_counted(slot, end))
		slot->lines_left_out += lines_skip(lines, bytes);
	else
		lines_feed(lines, bytes, take_line, &stream);
}

/* One piece. Closes when that was all. */
static void read_output(struct slot *slot, enum pipe_end end)
{
	char bytes[SKIP_BYTES];
	size_t most = is_only_counted(slot, end) ? sizeof bytes : READ_BYTES;
	struct span piece;
	enum output_came came =
	    output_read(&slot->out[end], slot->pipes[end].fd, bytes, most, &piece);
	if (piece.len > 0)
		take_output(slot, end, piece);
	if (came == OUTPUT_END)
		end_output(slot, end);
}

void heard_ready(struct slot *slot, enum pipe_end end)
{
	read_output(slot, end);
}

/* A short rest is read here and now, a longer one in turns; where the set has no room, here as well: it
 * is no more than a pipe holds. */
static void read_last(struct slot *slot, enum pipe_end end)
{
	if (!pipe_is_open(slot, end))
		return;
	output_is_last(&slot->out[end], slot->pipes[end].fd);
	if (slot->out[end].left == 0) {
		end_output(slot, end);
		return;
	}
	do
		read_output(slot, end);
	while (pipe_is_open(slot, end) && !pipe_watch(slot, end));
}

void heard_last(struct slot *slot)
{
	for (int i = 0; i < HEARD_ENDS; i++)
		read_last(slot, heard_ends[i]);
}

bool heard_all(const struct slot *slot)
{
	for (int i = 0; i < HEARD_ENDS; i++)
		if (pipe_is_open(slot, heard_ends[i]))
			return false;
	return true;
}

bool heard_watch(struct slot *slot)
{
	for (int i = 0; i < HEARD_ENDS; i++)
		if (pipe_is_open(slot, heard_ends[i]) && !pipe_watch(slot, heard_ends[i]))
			return false;
	return true;
}

/* --- a job's time ----------------------------------------------------------------------------------- */

void heard_begin(struct slot *slot)
{
	for (int i = 0; i < HEARD_ENDS; i++)
		output_begin(&slot->out[heard_ends[i]]);
	slot->lines_logged = slot->lines_left_out = slot->rubbish = 0;
	slot->refused = false;
	slot->last_words[0] = '\0';
}

static void log_left_out(struct slot *slot)
{
	const struct job *job = slot->job;
	if (slot->lines_left_out > 0)
		log_say(slot->exec->log, LOG_WARN, "job wrote more than output_lines, not logged",
			KV_JOB(job), kv_text("queue", job->route->name),
			kv_int("lines", slot->lines_left_out));
	if (slot->rubbish > 1)
		log_say(slot->exec->log, LOG_WARN, "job wrote more rubbish to descriptor 4",
			KV_JOB(job), kv_text("queue", job->route->name),
			kv_int("lines", slot->rubbish - 1));
}

void heard_end(struct slot *slot)
{
	for (int i = 0; i < HEARD_ENDS; i++) {
		if (!pipe_is_open(slot, heard_ends[i]))
			continue;
		pipe_close(slot, heard_ends[i]);
		lines_fini(&slot->out[heard_ends[i]].lines);
	}
	log_left_out(slot);
}

void heard_init(struct slot *slot, size_t log_line_bytes, size_t said_bytes)
{
	output_init(&slot->out[PIPE_STDOUT], log_line_bytes);
	output_init(&slot->out[PIPE_STDERR], log_line_bytes);
	output_init(&slot->out[PIPE_SAID], said_bytes);
}

void heard_fini(struct slot *slot)
{
	for (int i = 0; i < HEARD_ENDS; i++)
		output_fini(&slot->out[heard_ends[i]]);
}
