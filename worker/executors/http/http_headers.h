/* http_headers - what a request says of its job: one header line for each fact.
 *
 *     Content-Type: application/json          Outfall-Job-Id: 8f2        Idempotency-Key: 8f2
 *     Outfall-Source: main                    Outfall-Queue: emails      Outfall-Attempt: 1
 *     Outfall-Interruptions: 0                Outfall-Crashes: 0         Outfall-Redelivered: 0
 *     Outfall-Timeout-Ms: 30000               traceparent: 00-…          Outfall-Checkpoint: …
 *
 * What there is none of is left out: traceparent, and the checkpoint. Where a checkpoint is anything
 * but plain ASCII it is Outfall-Checkpoint-Base64.
 *
 * Ids and names are other people's bytes. A header value may hold no control characters, and those that
 * do are how requests are forged: so every byte that is not printable ASCII, a blank at either end, and
 * the percent sign itself are written %XX. What URL-decodes a value gets the bytes back.
 *
 * Thread: the owner's.
 * Owns:   the lines, from http_headers_write() until the next or http_headers_fini(). A zeroed struct
 *         has none.
 * Units:  milliseconds, bytes.
 * Fails:  http_headers_write() with false for lack of memory. */
#ifndef OUTFALL_EXECUTORS_HTTP_HEADERS_H
#define OUTFALL_EXECUTORS_HTTP_HEADERS_H

#include "base/text.h"

#include <stdint.h>

struct job;

enum {
	HTTP_HEADERS_MOST = 12, /* as drawn above */
	/* In base64 that is 5.5 kB; many servers refuse a request with more than 8 kB of headers. */
	HTTP_CHECKPOINT_MOST_BYTES = 4096,
};

struct http_headers {
	struct text text; /* the lines, each with a NUL */
	size_t begins[HTTP_HEADERS_MOST];
	unsigned count;
};

/* `content_type` is for a job that has none of its own. A checkpoint that is too large for a header is
 * left out. */
bool http_headers_write(struct http_headers *headers, const struct job *job, uint64_t timeout_ms,
			const char *content_type);
void http_headers_fini(struct http_headers *headers);

static inline char *http_headers_line(const struct http_headers *headers, unsigned number)
{
	return headers->text.bytes + headers->begins[number];
}

#endif
