/* text - bytes that are put together piece by piece.
 *
 * Thread: the owner's.
 * Owns:   its bytes, from the first piece until text_fini(). A zeroed struct is an empty text.
 * Units:  bytes; never NUL-terminated.
 * Fails:  pieces for which there is no memory are left out and `failed` stays set until
 *         text_clear(), so that a writer of many pieces asks once, at the end. */
#ifndef OUTFALL_BASE_TEXT_H
#define OUTFALL_BASE_TEXT_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *bytes;
	size_t len, room;
	bool failed;
};

void text_fini(struct text *text);
void text_clear(struct text *text); /* empty again; keeps the room */

void text_put(struct text *text, struct span piece);
void text_put_number(struct text *text, uint64_t number);
void text_print(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD, and what is harmful on a
 * terminal is escaped (letter.h). */
void text_put_json(struct text *text, struct span piece);

/* The same without quotes, for people: quotes and backslashes stay as they are. */
void text_put_tame(struct text *text, struct span piece);

/* The first `bytes` are done with: the rest moves to the front. */
void text_drop(struct text *text, size_t bytes);

bool text_is_utf8(struct span piece);

static inline struct span text_span(const struct text *text)
{
	return span_of(text->bytes, text->len);
}

#define text_put_literal(text, literal) text_put((text), span_of((literal), sizeof(literal) - 1))

#endif
