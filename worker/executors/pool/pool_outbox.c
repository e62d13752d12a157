/* One text holds all lines, in order; a large body has a place between two of its bytes and is written
 * from where the job keeps it, so 64 MB are never copied. Small ones are: a copy of some hundred
 * bytes costs less than a vector of its own in the write.
 *
 * Positions are counted from the beginning of time and not of the text, so that they stay right when
 * the part that was written is cut off. That is done rarely: when everything is out, which is the
 * usual case and costs nothing, or when more than half of the text is behind us.
 *
 * A letter is on the list until its last byte is out, and in order, so the first of them is the one
 * that is being written. One whose job ended early leaves the list and its bytes stay in the text:
 * the reader at the other end counts on them. */
#include "executors/pool/pool_outbox.h"

#include "base/must.h"
#include "executors/child/child_told.h"
#include "job/job.h"

#include <errno.h>
#include <sys/uio.h>

enum {
	COPY_BYTES = 4096, /* the largest body that is copied */
	VECTORS = 64,      /* of one write; more large bodies than half of that fill any pipe */
	KEEP_ROOM = 256 * 1024,
};

void outbox_init(struct outbox *outbox)
{
	*outbox = (struct outbox){0};
	list_init(&outbox->letters);
}

void outbox_fini(struct outbox *outbox)
{
	text_fini(&outbox->text);
}

static uint64_t end_of(const struct outbox *outbox)
{
	return outbox->first + outbox->text.len;
}

/* What was put in since `before` counts as a whole or not at all. */
static bool keep_if_whole(struct outbox *outbox, size_t before)
{
	if (!outbox->text.failed) {
		outbox->put += outbox->text.len - before;
		return true;
	}
	outbox->text.len = before;
	outbox->text.failed = false;
	return false;
}

bool outbox_put_job(struct outbox *outbox, struct letter *letter, const struct job *job,
		    uint64_t timeout_ms)
{
	size_t before = outbox->text.len;
	bool copied = job->body.len <= COPY_BYTES;
	letter->from = end_of(outbox);
	letter->at = outbox->put;
	child_told_job(&outbox->text, job, timeout_ms);
	if (copied)
		text_put(&outbox->text, job->body);
	if (!keep_if_whole(outbox, before))
		return false;
	letter->to = end_of(outbox);
	letter->body = copied ? (struct span){0} : job->body;
	outbox->put += letter->body.len;
	list_append(&outbox->letters, &letter->in_outbox);
	return true;
}

bool outbox_put_drain(struct outbox *outbox, uint64_t remaining_ms)
{
	size_t before = outbox->text.len;
	child_told_drain(&outbox->text, remaining_ms);
	return keep_if_whole(outbox, before);
}

bool outbox_put_cancel(struct outbox *outbox, const struct job *job)
{
	size_t before = outbox->text.len;
	child_told_cancel(&outbox->text, job);
	return keep_if_whole(outbox, before);
}

bool outbox_is_unbegun(const struct outbox *outbox, const struct letter *letter)
{
	return list_linked(&letter->in_outbox) && outbox->written <= letter->from;
}

void outbox_take_back(struct outbox *outbox, struct letter *letter)
{
	must(outbox_is_unbegun(outbox, letter));
	uint64_t bytes = letter->to - letter->from;
	char *at = outbox->text.bytes + (letter->from - outbox->first);
	memmove(at, at + bytes, end_of(outbox) - letter->to);
	outbox->text.len -= bytes;
	outbox->put -= bytes + letter->body.len;
	for (struct list *it = letter->in_outbox.next; it != &outbox->letters; it = it->next) {
		struct letter *later = list_entry(it, struct letter, in_outbox);
		later->from -= bytes;
		later->to -= bytes;
		later->at -= bytes + letter->body.len;
	}
	list_remove(&letter->in_outbox);
}

void outbox_drop_all(struct outbox *outbox)
{
	while (list_take_first(&outbox->letters) != NULL)
		;
	outbox->written = outbox->first = end_of(outbox);
	outbox->body_written = 0;
	outbox->put = outbox->sent;
	text_clear(&outbox->text);
}

/* --- writing -------------------------------------------------------------------------------------- */

static struct letter *first_letter(const struct outbox *outbox)
{
	if (list_empty(&outbox->letters))
		return NULL;
	return list_entry(outbox->letters.next, struct letter, in_outbox);
}

static int add_text(const struct outbox *outbox, struct iovec *vec, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	*vec = (struct iovec){outbox->text.bytes + (from - outbox->first), (size_t)(to - from)};
	return 1;
}

/* Text up to the first large body, that body, text up to the next. */
static int lay_out(const struct outbox *outbox, struct iovec *vec)
{
	uint64_t at = outbox->written;
	size_t done = outbox->body_written;
	int n = 0;
	list_each (it, &outbox->letters) {
		const struct letter *letter = list_entry(it, struct letter, in_outbox);
		if (letter->body.len == 0)
			continue;
		if (n + 3 > VECTORS)
			return n; /* the rest waits for the next write */
		n += add_text(outbox, &vec[n], at, letter->to);
		at = letter->to;
		vec[n++] = (struct iovec){(char *)letter->body.ptr + done, letter->body.len - done};
		done = 0;
	}
	return n + add_text(outbox, &vec[n], at, end_of(outbox));
}

static size_t least(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

static void count_written(struct outbox *outbox, size_t bytes)
{
	struct letter *letter;
	while ((letter = first_letter(outbox)) != NULL) {
		size_t n = 0;
		if (outbox->written < letter->to) {
			n = least(letter->to - outbox->written, bytes);
			outbox->written += n;
			bytes -= n;
		}
		if (outbox->written < letter->to)
			return;
		n = least(letter->body.len - outbox->body_written, bytes);
		outbox->body_written += n;
		bytes -= n;
		if (outbox->body_written < letter->body.len)
			return;
		outbox->body_written = 0;
		list_remove(&letter->in_outbox);
	}
	outbox->written += bytes;
	must(outbox->written <= end_of(outbox));
}

static void cut_written(struct outbox *outbox)
{
	size_t behind = (size_t)(outbox->written - outbox->first);
	if (behind == outbox->text.len)
		text_clear(&outbox->text);
	else if (behind > outbox->text.len / 2)
		text_drop(&outbox->text, behind);
	else
		return;
	outbox->first = outbox->written;
	if (outbox->text.len == 0 && outbox->text.room > KEEP_ROOM)
		text_fini(&outbox->text);
}

enum status outbox_write(struct outbox *outbox, int fd, size_t *ret_bytes)
{
	struct iovec vec[VECTORS];
	*ret_bytes = 0;
	if (outbox_is_empty(outbox))
		return ST_OK;
	int n = lay_out(outbox, vec);
	ssize_t bytes = writev(fd, vec, n);
	if (bytes < 0)
		return errno == EAGAIN || errno == EINTR ? ST_AGAIN : ST_CLOSED;
	*ret_bytes = (size_t)bytes;
	outbox->sent += (size_t)bytes;
	count_written(outbox, (size_t)bytes);
	cut_written(outbox);
	return outbox_is_empty(outbox) ? ST_OK : ST_AGAIN;
}
