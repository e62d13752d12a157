/* supervisord_answer - what supervisord says of its programs, read: XML-RPC in an HTTP answer.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  ST_AUTH when it wants a password, ST_REFUSED when it says no, ST_MISSING when it does not know
 *         us, ST_PROTO when it is not understood; *ret_program is untouched then. */
#ifndef OUTFALL_MANAGERS_SUPERVISORD_ANSWER_H
#define OUTFALL_MANAGERS_SUPERVISORD_ANSWER_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum supervisord_group { GROUP_UNKNOWN, GROUP_SPARED, GROUP_TOO };

struct supervisord_program {
	uint64_t stopwaitsecs; /* from its signal to its SIGKILL */
	int stopsignal;
	enum supervisord_group stop; /* who gets the signal; versions up to 4.2 do not always say */
};

/* Is it all there? Without Content-Length only the end of the connection tells. */
bool supervisord_answer_is_whole(struct span answer);

enum status supervisord_answer_read(struct span answer, const char *group, const char *process,
				    struct supervisord_program *ret_program, struct error *why);

#endif
