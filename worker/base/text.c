/* Room doubles, so a text of any length costs few allocations. The JSON writer is the only one on a
 * job's way (a header line for each): a run of plain characters is copied in one piece, and only
 * what needs it is looked at one by one. */
#include "base/text.h"

#include "base/letter.h"
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

bool text_is_utf8(struct span piece)
{
	while (piece.len > 0) {
		struct letter letter = letter_read(piece);
		if (letter.kind == LETTER_BROKEN)
			return false;
		piece = span_of(piece.ptr + letter.len, piece.len - letter.len);
	}
	return true;
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void put_letter(struct text *text, const struct letter *letter, const char *bytes)
{
	char buf[LETTER_ESCAPE_BYTES];
	if (letter->kind == LETTER_BROKEN)
		text_put_literal(text, "\xef\xbf\xbd");
	else if (letter->kind == LETTER_HARMFUL)
		text_put(text, letter_escape(letter, buf));
	else
		text_put(text, span_of(bytes, letter->len));
}

/* Puts the one character at the front of `piece`; returns how many bytes it had. */
static size_t put_special(struct text *text, struct span piece)
{
	static const char escapes[0x80] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
					   ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
	struct letter letter = letter_read(piece);
	char escape = letter.code < sizeof escapes ? escapes[letter.code] : 0;
	if (escape != 0)
		text_put(text, span_of((char[]){'\\', escape}, 2));
	else
		put_letter(text, &letter, piece.ptr);
	return letter.len;
}

void text_put_tame(struct text *text, struct span piece)
{
	while (piece.len > 0) {
		struct letter letter = letter_read(piece);
		put_letter(text, &letter, piece.ptr);
		piece = span_of(piece.ptr + letter.len, piece.len - letter.len);
	}
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
