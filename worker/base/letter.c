#include "base/letter.h"

#include <stdbool.h>
#include <stdio.h>

enum { REPLACEMENT = 0xfffd };

static bool is_tail(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* How many bytes its first one announces; 0: none begins so. */
static size_t length_of(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static bool is_harmful(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x61c || code == 0x200e ||
	       code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069);
}

/* False: overlong, a surrogate, or beyond what there is. */
static bool is_well_formed(uint32_t code, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	return code >= least[len] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

struct letter letter_read(struct span text)
{
	static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	const struct letter broken = {LETTER_BROKEN, REPLACEMENT, 1};
	const unsigned char *bytes = (const unsigned char *)text.ptr;
	size_t len = length_of(bytes[0]);
	if (len == 0 || len > text.len)
		return broken;
	uint32_t code = bytes[0] & mask[len];
	for (size_t i = 1; i < len; i++) {
		if (!is_tail(bytes[i]))
			return broken;
		code = code << 6 | (bytes[i] & 0x3fu);
	}
	if (!is_well_formed(code, len))
		return broken;
	return (struct letter){is_harmful(code) ? LETTER_HARMFUL : LETTER_PLAIN, code, len};
}

struct span letter_escape(const struct letter *letter, char buf[LETTER_ESCAPE_BYTES])
{
	int len = snprintf(buf, LETTER_ESCAPE_BYTES, "\\u%04x", (unsigned)letter->code & 0xffffu);
	return span_of(buf, (size_t)len);
}
