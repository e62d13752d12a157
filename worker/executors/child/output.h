/* output - what a child writes to one of its pipes: bytes while it runs, and the rest when it has gone.
 *
 * Thread: the loop's.
 * Owns:   room for one unfinished line (lines.h); the pipe is the caller's.
 * Units:  bytes. */
#ifndef OUTFALL_EXECUTORS_OUTPUT_H
#define OUTFALL_EXECUTORS_OUTPUT_H

#include "executors/child/lines.h"

struct output {
	size_t left; /* read no more than this; unlimited while the process runs */
	struct lines lines;
};

enum output_came {
	OUTPUT_PIECE,   /* and there may be more */
	OUTPUT_NOT_NOW, /* it may still come */
	OUTPUT_END,     /* of all; there may be a last piece */
};

void output_init(struct output *output, size_t line_limit);
void output_fini(struct output *output);
void output_begin(struct output *output); /* a process runs that may write */

/* It has gone: what is in the pipe now is the rest. What its own children write later is not its word. */
void output_is_last(struct output *output, int fd);

/* Reads one piece, of `most` bytes at most, into `bytes`; never waits. */
enum output_came output_read(struct output *output, int fd, char *bytes, size_t most,
			     struct span *ret_piece);

#endif
