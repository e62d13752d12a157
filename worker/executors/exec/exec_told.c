/* Most jobs are small: body and line fit into their pipes before the child exists, and nothing has to be
 * watched or kept.
 *
 * A child that never reads costs what it was to be told: the rest of the job's line, and a few notices
 * behind it. Only whole notices are kept or dropped, so that a late reader finds lines. */
#include "executors/exec/exec_told.h"

#include "executors/child/child_told.h"
#include "executors/exec/exec_pipes.h"
#include "job/job.h"
#include "settings/settings.h"

#include <errno.h>
#include <unistd.h>

enum {
	NOTICES_MOST = 8
}; /* kept for a child that does not read; there are two in the life of a job */

/* As much as the pipe takes now, in one call: a child that reads as fast as we write must not keep
 * the loop. Closes the pipe when nobody reads, which is the child's right. */
static size_t write_some(struct slot *slot, enum pipe_end end, struct span bytes)
{
	ssize_t n = write(slot->pipes[end].fd, bytes.ptr, bytes.len);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		pipe_close(slot, end);
	return n > 0 ? (size_t)n : 0;
}

/* --- stdin -------------------------------------------------------------------------------------- */

static struct span body_left(const struct slot *slot)
{
	const struct span body = slot->job->body;
	return span_of(body.ptr + slot->body_written, body.len - slot->body_written);
}

static void write_body(struct slot *slot)
{
	slot->body_written += write_some(slot, PIPE_STDIN, body_left(slot));
	if (body_left(slot).len == 0)
		pipe_close(slot, PIPE_STDIN);
}

static enum status begin_body(struct slot *slot, struct error *why)
{
	slot->body_written = 0;
	if (slot->job->body.len == 0)
		return ST_OK;
	write_body(slot);
	if (pipe_is_open(slot, PIPE_STDIN) && !pipe_watch(slot, PIPE_STDIN))
		return error_system(why, errno, "stdin");
	return ST_OK;
}

/* --- descriptor 3 ------------------------------------------------------------------------------- */

static void write_untold(struct slot *slot)
{
	text_drop(&slot->untold, write_some(slot, PIPE_TOLD, text_span(&slot->untold)));
	if (slot->untold.len > 0 && pipe_is_open(slot, PIPE_TOLD))
		return;
	text_fini(&slot->untold);
	slot->notices_kept = 0;
}

/* What the pipe does not take now is kept. */
static bool write_or_keep(struct slot *slot, struct span line)
{
	size_t n = slot->untold.len == 0 ? write_some(slot, PIPE_TOLD, line) : 0;
	if (n == line.len || !pipe_is_open(slot, PIPE_TOLD))
		return true;
	text_put(&slot->untold, span_of(line.ptr + n, line.len - n));
	bool kept = !slot->untold.failed;
	slot->untold.failed = false;
	return kept && pipe_watch(slot, PIPE_TOLD);
}

static enum status begin_told(struct slot *slot, struct error *why)
{
	struct exec *exec = slot->exec;
	slot->notices_kept = 0;
	text_clear(&exec->line);
	child_told_job(&exec->line, slot->job, exec->settings->timeout_ms);
	if (exec->line.failed)
		return error_set(why, ST_NOMEM, "out of memory");
	if (!write_or_keep(slot, text_span(&exec->line)))
		return error_set(why, ST_NOMEM, "descriptor 3: out of memory");
	return ST_OK;
}

enum status told_begin(struct slot *slot, struct error *why)
{
	enum status st = begin_body(slot, why);
	return st == ST_OK ? begin_told(slot, why) : st;
}

static void write_notice(struct slot *slot)
{
	if (slot->exec->line.failed || !pipe_is_open(slot, PIPE_TOLD))
		return;
	if (slot->notices_kept >= NOTICES_MOST)
		return;
	(void)write_or_keep(slot, text_span(&slot->exec->line)); /* else it goes without */
	if (slot->untold.len > 0)
		slot->notices_kept++;
}

void told_drain(struct slot *slot, uint64_t remaining_ms)
{
	text_clear(&slot->exec->line);
	child_told_drain(&slot->exec->line, remaining_ms);
	write_notice(slot);
}

void told_cancel(struct slot *slot)
{
	text_clear(&slot->exec->line);
	child_told_cancel(&slot->exec->line, slot->job);
	write_notice(slot);
}

/* --- both --------------------------------------------------------------------------------------- */

void told_ready(struct slot *slot, enum pipe_end end)
{
	if (end == PIPE_STDIN) {
		write_body(slot);
		return;
	}
	write_untold(slot);
	/* Nothing more to write: no ear for its room, but the pipe stays for notices. */
	if (slot->untold.len == 0)
		pipe_unwatch(slot, PIPE_TOLD);
}

void told_end(struct slot *slot)
{
	pipe_close(slot, PIPE_STDIN);
	pipe_close(slot, PIPE_TOLD);
	text_fini(&slot->untold);
}
