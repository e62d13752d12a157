/* Room doubles, so a text of any length costs few allocations. The JSON writer is the only one on a
 * job's way (a header line for each): a run of plain characters is copied in one piece, and only
 * what needs it is looked at one by one. */
#include "base/text.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

enum { LEAST_ROOM = 256 };

void text_fini(struct text *text)
{
	memory_free(text->bytes);
	*text = (struct text){0};
}

void text_clear(struct text *text)
{
	text->len = 0;
	text->failed = false;
}

static bool make_room(struct text *text, size_t more)
{
	size_t room = text->room != 0 ? text->room : LEAST_ROOM;
	if (more <= text->room - text->len)
		return true;
	if (more > SIZE_MAX / 2 - text->len)
		return false;
	while (room < text->len + more)
		room *= 2;
	char *bytes = memory_grow(text->bytes, room);
	if (bytes == NULL)
		return false;
	text->bytes = bytes;
	text->room = room;
	return true;
}

void text_put(struct text *text, struct span piece)
{
	if (piece.len == 0)
		return;
	if (text->failed || !make_room(text, piece.len)) {
		text->failed = true;
		return;
	}
	memcpy(text->bytes + text->len, piece.ptr, piece.len);
	text->len += piece.len;
}

void text_put_number(struct text *text, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	text_put(text, span_of(digits + at, sizeof digits - at));
}

void text_print(struct text *text, const char *fmt, ...)
{
	va_list measured, printed;
	va_start(measured, fmt);
	va_copy(printed, measured);
	int n = vsnprintf(NULL, 0, fmt, measured);
	va_end(measured);
	if (n < 0 || text->failed || !make_room(text, (size_t)n + 1))
		text->failed = true;
	else
		text->len +=
		    (size_t)vsnprintf(text->bytes + text->len, (size_t)n + 1, fmt, printed);
	va_end(printed);
}

void text_drop(struct text *text, size_t bytes)
{
	text->len -= bytes;
	if (text->len > 0)
		memmove(text->bytes, text->bytes + bytes, text->len);
}

/* --- JSON ---------------------------------------------------------------------------------------- */

static bool is_tail(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* How many bytes the character at `at` has; 0: that is no UTF-8 (a lone tail, an overlong form, a
 * surrogate, beyond U+10FFFF, cut off). */
static size_t utf8_len(const unsigned char *at, size_t left)
{
	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	size_t len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	if (len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if (!is_tail(at[i]))
			return 0;
	bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
	bool outside = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
	return overlong || outside ? 0 : len;
}

bool text_is_utf8(struct span piece)
{
	const unsigned char *bytes = (const unsigned char *)piece.ptr;
	for (size_t at = 0, len; at < piece.len; at += len) {
		len = utf8_len(bytes + at, piece.len - at);
		if (len == 0)
			return false;
	}
	return true;
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* Puts the one character at the front of `piece`; returns how many bytes it had. */
static size_t put_special(struct text *text, struct span piece)
{
	static const char escapes[0x20] = {
	    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	unsigned char byte = (unsigned char)piece.ptr[0];
	char buf[8];
	size_t len = utf8_len((const unsigned char *)piece.ptr, piece.len);
	if (len == 0) {
		text_put_literal(text, "\xef\xbf\xbd");
		return 1;
	}
	if (byte == '"' || byte == '\\') {
		text_put(text, span_of((char[]){'\\', (char)byte}, 2));
	} else if (byte >= 0x20) {
		text_put(text, span_of(piece.ptr, len));
	} else if (escapes[byte] != 0) {
		text_put(text, span_of((char[]){'\\', escapes[byte]}, 2));
	} else {
		(void)snprintf(buf, sizeof buf, "\\u%04x", byte);
		text_put(text, span_of(buf, 6));
	}
	return len;
}

void text_put_json(struct text *text, struct span piece)
{
	text_put_literal(text, "\"");
	while (piece.len > 0) {
		size_t run = 0;
		while (run < piece.len && is_plain((unsigned char)piece.ptr[run]))
			run++;
		text_put(text, span_of(piece.ptr, run));
		piece = span_of(piece.ptr + run, piece.len - run);
		if (piece.len == 0)
			break;
		size_t used = put_special(text, piece);
		piece = span_of(piece.ptr + used, piece.len - used);
	}
	text_put_literal(text, "\"");
}
