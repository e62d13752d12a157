/* pool_outbox - what is on its way to one process: lines, and bodies behind the lines of their jobs.
 *
 * Thread: the loop's.
 * Owns:   the lines. A large body is not copied: it stays its job's, which must live until
 *         outbox_holds() says no more.
 * Units:  bytes; positions count all text that was ever put in, large bodies apart.
 * Fails:  putting in, with false, for lack of memory, and nothing was put in then; writing, with a
 *         status. */
#ifndef OUTFALL_EXECUTORS_POOL_OUTBOX_H
#define OUTFALL_EXECUTORS_POOL_OUTBOX_H

#include "base/error.h"
#include "base/list.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct job;

/* A job on its way. Zeroed and with list_init() for `in_outbox` it is on none. */
struct letter {
	struct list in_outbox;
	uint64_t from, to; /* its line, and its body if that is small, in the text */
	struct span body;  /* follows at `to`; empty if it is in the text */
	uint64_t at;       /* its first byte among all that are sent, large bodies included */
};

struct outbox {
	struct text text;    /* lines and small bodies; its beginning may have been written */
	uint64_t first;      /* position of text.bytes[0] */
	uint64_t written;    /* position */
	struct list letters; /* struct letter.in_outbox, in order: those not written to their end */
	size_t body_written; /* of the first letter's body, once its line is out */
	uint64_t put, sent;  /* bytes, large bodies included: what letter.at counts */
};

void outbox_init(struct outbox *outbox);
void outbox_fini(struct outbox *outbox);

bool outbox_put_job(struct outbox *outbox, struct letter *letter, const struct job *job,
		    uint64_t timeout_ms);
bool outbox_put_drain(struct outbox *outbox, uint64_t remaining_ms); /* UINT64_MAX: no limit */
bool outbox_put_cancel(struct outbox *outbox, const struct job *job);

/* Whether not a single byte of it was written. */
bool outbox_is_unbegun(const struct outbox *outbox, const struct letter *letter);
/* As if an unbegun letter had never been put in. */
void outbox_take_back(struct outbox *outbox, struct letter *letter);
/* Whether the letter's body is still needed. */
static inline bool outbox_holds(const struct letter *letter)
{
	return list_linked(&letter->in_outbox) && letter->body.len > 0;
}
/* Its job ended, and its body is not needed: what is left of it in the text is still written. */
static inline void outbox_forget(struct letter *letter)
{
	list_remove(&letter->in_outbox);
}
void outbox_drop_all(struct outbox *outbox); /* nobody reads it any more */

static inline bool outbox_is_empty(const struct outbox *outbox)
{
	return list_empty(&outbox->letters) && outbox->written == outbox->first + outbox->text.len;
}

/* One write of as much as `fd` takes. ST_OK: all is written; ST_AGAIN: some is left; ST_CLOSED:
 * nobody reads. */
enum status outbox_write(struct outbox *outbox, int fd, size_t *ret_bytes);

#endif
