/* A line that arrives in one piece is passed on where it lies. Only one that was begun in an
 * earlier piece is put together in `part`, whose size is the limit: so a handler that writes
 * without ever ending a line costs that much and no more. */
#include "executors/child/lines.h"

#include "base/memory.h"
#include "base/must.h"

void lines_init(struct lines *lines, size_t limit)
{
	must(limit > 0);
	*lines = (struct lines){.limit = limit};
}

void lines_fini(struct lines *lines)
{
	memory_free(lines->part);
	lines->part = NULL;
	lines->part_bytes = 0;
	lines->goes_on = false;
}

enum cut { ENDS, GOES_ON };

static void pass_on(struct lines *lines, struct span line, enum cut cut, line_found *found,
		    void *arg)
{
	static const enum line_part parts[2][2] = {
	    [false] = {[ENDS] = LINE_WHOLE, [GOES_ON] = LINE_HEAD  },
	    [true] = {[ENDS] = LINE_TAIL,  [GOES_ON] = LINE_MIDDLE},
	};
	bool went_on = lines->goes_on;
	lines->goes_on = cut == GOES_ON;
	if (cut == ENDS && line.len > 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (line.len > 0 || went_on)
		found(arg, line, parts[went_on][cut]);
}

static void pass_on_part(struct lines *lines, enum cut cut, line_found *found, void *arg)
{
	size_t bytes = lines->part_bytes;
	lines->part_bytes = 0;
	pass_on(lines, span_of(lines->part, bytes), cut, found, arg);
}

/* Keeps the beginning of a line; `text` fits. */
static void keep(struct lines *lines, struct span text, line_found *found, void *arg)
{
	if (lines->part == NULL)
		lines->part = memory_take(lines->limit);
	if (lines->part == NULL) {
		pass_on(lines, text, GOES_ON, found, arg);
		return;
	}
	memcpy(lines->part + lines->part_bytes, text.ptr, text.len);
	lines->part_bytes += text.len;
}

/* `text` has no newline; it ends the line or not. */
static void add(struct lines *lines, struct span text, bool ends, line_found *found, void *arg)
{
	while (lines->part_bytes + text.len > lines->limit) {
		size_t fits = lines->limit - lines->part_bytes;
		struct span head = span_of(text.ptr, fits);
		if (lines->part_bytes == 0) {
			pass_on(lines, head, GOES_ON, found, arg);
		} else {
			keep(lines, head, found, arg);
			pass_on_part(lines, GOES_ON, found, arg);
		}
		text = span_of(text.ptr + fits, text.len - fits);
	}
	if (ends && lines->part_bytes == 0) {
		pass_on(lines, text, ENDS, found, arg);
		return;
	}
	if (text.len > 0)
		keep(lines, text, found, arg);
	if (ends)
		pass_on_part(lines, ENDS, found, arg);
}

void lines_feed(struct lines *lines, struct span bytes, line_found *found, void *arg)
{
	while (bytes.len > 0) {
		const char *newline = memchr(bytes.ptr, '\n', bytes.len);
		size_t len = newline ? (size_t)(newline - bytes.ptr) : bytes.len;
		add(lines, span_of(bytes.ptr, len), newline != NULL, found, arg);
		size_t used = newline ? len + 1 : len;
		bytes = span_of(bytes.ptr + used, bytes.len - used);
	}
}

unsigned lines_skip(struct lines *lines, struct span bytes)
{
	const char *newline, *end = bytes.ptr + bytes.len;
	unsigned n = 0;
	lines->part_bytes = 0;
	lines->goes_on = false;
	for (const char *at = bytes.ptr; (newline = memchr(at, '\n', (size_t)(end - at))) != NULL;
	     at = newline + 1)
		n++;
	return n;
}

void lines_flush(struct lines *lines, line_found *found, void *arg)
{
	if (lines->part_bytes > 0 || lines->goes_on)
		pass_on_part(lines, ENDS, found, arg);
}
