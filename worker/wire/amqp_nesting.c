/* rabbitmq-c decodes a table within a table by calling itself, and so does everything that walks one
 * later: encoding, describing. A level takes five bytes of a frame and more than a hundred of stack, so
 * one message of 128 KB, which any broker passes on, takes 2.5 MB of stack: more than some are given
 * (ulimit -s), and a worker that dies of a message meets it again after each restart.
 *
 * So tables are walked here first, by a loop: it needs no more than where each open level ends. It also
 * insists that a table lies within the one around it. rabbitmq-c only looks whether it lies within the
 * frame; but where the two read the same bytes differently, this count would be worth nothing. */
#include "wire/amqp_nesting.h"

#include "wire/amqp_codec.h"

#include <stdbool.h>

struct level {
	const unsigned char *end;
	bool has_keys; /* a table; else an array */
};

struct walk {
	const unsigned char *at;
	struct level levels[AMQP_LEVELS_MOST];
	size_t depth;
};

static size_t room(const unsigned char *at, const unsigned char *end)
{
	return (size_t)(end - at);
}

static uint32_t read_u32(const unsigned char *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static bool skip(const unsigned char **at, const unsigned char *end, size_t bytes)
{
	if (room(*at, end) < bytes)
		return false;
	*at += bytes;
	return true;
}

static bool skip_short_text(const unsigned char **at, const unsigned char *end)
{
	return *at < end && skip(at, end, 1 + (size_t) * *at);
}

static bool read_length(const unsigned char **at, const unsigned char *end, uint32_t *ret_length)
{
	if (room(*at, end) < 4)
		return false;
	*ret_length = read_u32(*at);
	*at += 4;
	return *ret_length <= room(*at, end);
}

static enum amqp_nesting go_in(struct walk *walk, const unsigned char *end, bool has_keys)
{
	uint32_t length;
	if (!read_length(&walk->at, end, &length))
		return AMQP_NESTING_BROKEN;
	if (walk->depth == AMQP_LEVELS_MOST)
		return AMQP_NESTING_TOO_DEEP;
	walk->levels[walk->depth++] = (struct level){walk->at + length, has_keys};
	return AMQP_NESTING_FINE;
}

static enum amqp_nesting skip_value(struct walk *walk, const unsigned char *end, size_t bytes)
{
	return skip(&walk->at, end, bytes) ? AMQP_NESTING_FINE : AMQP_NESTING_BROKEN;
}

static enum amqp_nesting pass_value(struct walk *walk, const unsigned char *end)
{
	uint32_t length;
	if (walk->at == end)
		return AMQP_NESTING_BROKEN;
	switch ((amqp_field_value_kind_t)*walk->at++) {
	case AMQP_FIELD_KIND_VOID:
		return AMQP_NESTING_FINE;
	case AMQP_FIELD_KIND_BOOLEAN:
	case AMQP_FIELD_KIND_I8:
	case AMQP_FIELD_KIND_U8:
		return skip_value(walk, end, 1);
	case AMQP_FIELD_KIND_I16:
	case AMQP_FIELD_KIND_U16:
		return skip_value(walk, end, 2);
	case AMQP_FIELD_KIND_I32:
	case AMQP_FIELD_KIND_U32:
	case AMQP_FIELD_KIND_F32:
		return skip_value(walk, end, 4);
	case AMQP_FIELD_KIND_DECIMAL:
		return skip_value(walk, end, 5);
	case AMQP_FIELD_KIND_I64:
	case AMQP_FIELD_KIND_U64:
	case AMQP_FIELD_KIND_F64:
	case AMQP_FIELD_KIND_TIMESTAMP:
		return skip_value(walk, end, 8);
	case AMQP_FIELD_KIND_UTF8:
	case AMQP_FIELD_KIND_BYTES:
		if (!read_length(&walk->at, end, &length))
			return AMQP_NESTING_BROKEN;
		return skip_value(walk, end, length);
	case AMQP_FIELD_KIND_ARRAY:
		return go_in(walk, end, false);
	case AMQP_FIELD_KIND_TABLE:
		return go_in(walk, end, true);
	}
	return AMQP_NESTING_BROKEN;
}

static enum amqp_nesting pass_entry(struct walk *walk)
{
	const struct level *level = &walk->levels[walk->depth - 1];
	if (walk->at == level->end) {
		walk->depth--;
		return AMQP_NESTING_FINE;
	}
	if (level->has_keys && !skip_short_text(&walk->at, level->end))
		return AMQP_NESTING_BROKEN;
	return pass_value(walk, level->end);
}

enum amqp_nesting amqp_table_nesting(struct span encoded)
{
	const unsigned char *at = (const unsigned char *)encoded.ptr;
	struct walk walk = {.at = at};
	enum amqp_nesting found = go_in(&walk, at + encoded.len, true);
	while (found == AMQP_NESTING_FINE && walk.depth > 0)
		found = pass_entry(&walk);
	return found;
}

/* Sixteen flags at a time; the lowest says that more of them follow. */
static bool skip_flags(const unsigned char **at, const unsigned char *end, unsigned *ret_first)
{
	const unsigned char *first = *at, *word;
	do {
		word = *at;
		if (!skip(at, end, 2))
			return false;
	} while ((word[1] & 1) != 0);
	*ret_first = (unsigned)first[0] << 8 | first[1];
	return true;
}

enum amqp_nesting amqp_properties_nesting(struct span encoded)
{
	const unsigned char *at = (const unsigned char *)encoded.ptr, *end = at + encoded.len;
	unsigned flags;
	if (!skip_flags(&at, end, &flags))
		return AMQP_NESTING_BROKEN;
	if ((flags & AMQP_BASIC_HEADERS_FLAG) == 0)
		return AMQP_NESTING_FINE;
	if ((flags & AMQP_BASIC_CONTENT_TYPE_FLAG) != 0 && !skip_short_text(&at, end))
		return AMQP_NESTING_BROKEN;
	if ((flags & AMQP_BASIC_CONTENT_ENCODING_FLAG) != 0 && !skip_short_text(&at, end))
		return AMQP_NESTING_BROKEN;
	return amqp_table_nesting(span_of((const char *)at, room(at, end)));
}
