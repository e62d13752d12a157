/* child_says - what a handler's process says to us: one JSON object on each line. exec handlers write
 * them to descriptor 4, pool processes to their stdout.
 *
 *     {"type":"ready","concurrency":4}
 *     {"type":"result","id":"…","outcome":"done|retry|reject|return","after_ms":…,"reason":"…",
 *      "error":{"class":"…","message":"…","backtrace":["…",…]}}
 *     {"type":"progress","id":"…","progress":0.4,"note":"…"}
 *     {"type":"extend","id":"…","extend_ms":60000}
 *     {"type":"checkpoint","id":"…","checkpoint":"…"}
 *     {"type":"log","id":"…","level":"info","text":"…"}
 *
 * A line without a type says what its keys say: {"progress":0.4,"extend_ms":60000}. progress, extend
 * and checkpoint lines may carry each other's keys, and so may a result. A checkpoint that is no text
 * is written "checkpoint_base64". An "error" may come in any line about a job before its end, and is for people:
 * what is no text in it is left out. Keys we do not know are skipped.
 *
 * Who gives a result for a job has ended with it, and waits for the next. So a result that is wrong in
 * anything but its id is one all the same: a retry, whose reason is what is wrong.
 *
 * Thread: any; a struct belongs to its caller.
 * Owns:   the parsed line, from child_says_parse() with true until child_says_fini(); spans end with
 *         it, or with the line they were found in.
 * Units:  milliseconds.
 * Fails:  child_says_parse() with false and a sentence for the log, nothing to be freed; also with true
 *         and a sentence, where says->wrong is set. */
#ifndef OUTFALL_EXECUTORS_CHILD_SAYS_H
#define OUTFALL_EXECUTORS_CHILD_SAYS_H

#include "base/error.h"
#include "base/log.h"
#include "base/span.h"
#include "job/failure.h"
#include "job/outcome.h"

#include <stdbool.h>
#include <stdint.h>

enum says_type { SAYS_FACTS, SAYS_READY, SAYS_RESULT, SAYS_LOG };

struct child_says {
	enum says_type type;
	struct span id;         /* empty: none was given */
	unsigned concurrency;   /* READY: at least 1 */
	struct outcome outcome; /* RESULT */
	bool wrong;             /* RESULT: not what it was meant to be */
	enum log_level level;   /* LOG */
	struct span text;       /* LOG */

	/* Facts about the job; any line but READY and LOG may have them. */
	double progress;   /* less than 0: not said */
	bool odd_progress; /* it was none from 0 to 1, and is taken for not said */
	struct span note;  /* may be empty */
	bool has_extend, has_checkpoint;
	uint64_t extend_ms;
	struct span checkpoint;
	bool has_failure; /* an error, or a reason that outcome has no room for */
	struct failure failure;

	void *parsed, *decoded, *lines; /* what the spans point into */
	char id_text[24];               /* the same, of an id that is a whole number */
};

/* The longest line that may make sense: a checkpoint of so many bytes and an error, whatever a JSON writer
 * escapes of them, and what else is said beside. */
static inline size_t child_says_longest(size_t max_checkpoint_bytes)
{
	enum { ESCAPED = 6, REST_BYTES = 4096 }; /* a control character is \u0001 */
	size_t error_bytes = FAILURE_CLASS_BYTES + FAILURE_MESSAGE_BYTES + FAILURE_BACKTRACE_BYTES;
	return (max_checkpoint_bytes + error_bytes) * ESCAPED + REST_BYTES;
}

bool child_says_parse(struct span line, struct child_says *ret_says, struct error *why);
void child_says_fini(struct child_says *says);

#endif
