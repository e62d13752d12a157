/* client - one request to a worker's admin socket, and its answer.
 *
 * Thread: any; it blocks, so never the loop's.
 * Owns:   an answer's body, until client_answer_fini().
 * Units:  milliseconds.
 * Fails:  ST_CLOSED: nobody answers there, or no longer; ST_TIMEOUT; ST_PROTO: what answers is no worker;
 *         ST_SYSTEM, ST_NOMEM. Each with a sentence. */
#ifndef OUTFALL_ADMIN_CLIENT_H
#define OUTFALL_ADMIN_CLIENT_H

#include "base/error.h"
#include "base/text.h"

#include <stdint.h>

struct client_answer {
	unsigned status;
	struct text body; /* with a NUL behind it */
};

/* `path` with its arguments; `within_ms`: the longest silence, UINT64_MAX for ever. */
enum status client_ask(const char *socket_path, const char *method, const char *path,
		       uint64_t within_ms, struct client_answer *ret_answer, struct error *why);
void client_answer_fini(struct client_answer *answer);

/* The process behind the socket as a descriptor that is readable when it has ended (pidfd). ST_REFUSED: it
 * cannot be watched from here (another PID namespace, an old kernel). */
enum status client_watch_process(const char *socket_path, int *ret_fd, struct error *why);

#endif
