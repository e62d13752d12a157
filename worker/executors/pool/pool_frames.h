/* pool_frames - the other end of child_told.h: bytes that a pool's process reads from its stdin become
 * jobs and notices.
 *
 * Thread: the loop's.
 * Owns:   a job until it is handed to the reader; the routes that jobs refer to, until fini().
 * Units:  bytes, milliseconds.
 * Fails:  pool_frames_feed() with ST_PROTO when the other side is no worker, ST_NOMEM when there is no
 *         room for a line; a job for which there is none is passed over, and told. */
#ifndef OUTFALL_EXECUTORS_POOL_FRAMES_H
#define OUTFALL_EXECUTORS_POOL_FRAMES_H

#include "base/error.h"
#include "base/list.h"
#include "base/span.h"
#include "base/text.h"

#include <stdint.h>

struct job;

struct pool_reader {
	void (*job)(struct pool_reader *reader, struct job **job); /* the reader's from here on */
	void (*no_memory)(struct pool_reader *reader, struct span id);
	void (*drain)(struct pool_reader *reader, uint64_t remaining_ms); /* UINT64_MAX: no limit */
	void (*cancel)(struct pool_reader *reader, struct span id);
};

struct pool_frames {
	struct pool_reader *reader;
	struct text line;     /* begun and not ended */
	struct job *job;      /* whose body is on its way; NULL: none, or it is passed over */
	size_t body_left;     /* bytes of it */
	struct list origins;  /* source and queue of each job so far; there are only so many */
	uint64_t last_serial; /* of a job */
};

void pool_frames_init(struct pool_frames *frames, struct pool_reader *reader);
void pool_frames_fini(struct pool_frames *frames);
enum status pool_frames_feed(struct pool_frames *frames, struct span bytes, struct error *why);

#endif
