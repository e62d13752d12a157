/* http_answer - what the answer to a POST says of its job. A pure decision.
 *
 *     2xx              done
 *     400 409 422      dead: the server has understood the job and will never take it
 *     anything else    retry; not before Retry-After where it says so, else as the retry section has it
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  milliseconds; `now` is seconds since 1970.
 * Fails:  never; each answer has an outcome. */
#ifndef OUTFALL_EXECUTORS_HTTP_ANSWER_H
#define OUTFALL_EXECUTORS_HTTP_ANSWER_H

#include "base/span.h"
#include "job/failure.h"
#include "job/outcome.h"

#include <stdbool.h>
#include <time.h>

struct text;

/* An answer that has come in full. Header values that it does not have are empty. */
struct http_answer {
	long status;
	struct span retry_after;
	struct span date;
	struct span content_type;
	struct span body; /* its beginning is enough */
};

struct outcome outcome_of_answer(const struct http_answer *answer, time_t now);

/* What a failing one says in full: of "application/problem+json" its type, title and detail, else its first
 * line. Spans point into `words`. False: no more than the outcome's reason has. */
bool explain_answer(const struct http_answer *answer, struct text *words,
		    struct failure *ret_failure);

/* The same for a request that got no answer, or half of one; `what` says why. */
struct outcome outcome_without_answer(const char *what);

#endif
