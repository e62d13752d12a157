/* letter - one character of a text that strangers wrote, and whether it may be shown as it is.
 *
 * What reaches a terminal, a log, a person's eyes, goes through here: the log, JSON, `outfall ctl`, and what
 * commands say. Not shown as they are: control characters (C0, DEL, C1), what changes the direction of
 * text or breaks a line (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069), and bytes that are
 * no UTF-8.
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  bytes.
 * Fails:  never. */
#ifndef OUTFALL_BASE_LETTER_H
#define OUTFALL_BASE_LETTER_H

#include "base/span.h"

#include <stdint.h>

enum letter_kind {
	LETTER_PLAIN,
	LETTER_HARMFUL,
	LETTER_BROKEN, /* no UTF-8: a lone tail, an overlong form, a surrogate, beyond U+10FFFF, cut off */
};

struct letter {
	enum letter_kind kind;
	uint32_t code; /* U+FFFD where it is broken */
	size_t len;    /* 1 where it is broken */
};

/* The one at the front of `text`, which is not empty. */
struct letter letter_read(struct span text);

/* What is written instead of one that is not plain: "\u202e", good JSON, and harmless anywhere. */
enum { LETTER_ESCAPE_BYTES = 7 };
struct span letter_escape(const struct letter *letter, char buf[LETTER_ESCAPE_BYTES]);

#endif
