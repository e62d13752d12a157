#include "sources/rabbitmq/rabbitmq_mismatch.h"

#include <string.h>

/* The last one, because a queue may be named whatever words come before it. */
static const char *find_last(struct span text, const char *words)
{
	size_t len = strlen(words);
	for (size_t at = text.len; at >= len; at--)
		if (memcmp(text.ptr + at - len, words, len) == 0)
			return text.ptr + at - len;
	return NULL;
}

static struct span from(struct span text, const char *at)
{
	return span_of(at, (size_t)(text.ptr + text.len - at));
}

static bool skip(struct span *text, const char *words)
{
	size_t len = strlen(words);
	if (text->len < len || memcmp(text->ptr, words, len) != 0)
		return false;
	*text = span_of(text->ptr + len, text->len - len);
	return true;
}

static bool read_key(struct span words, struct span *ret_key)
{
	static const char before[] = "inequivalent arg '";
	const char *at = memmem(words.ptr, words.len, before, sizeof before - 1);
	if (at == NULL)
		return false;
	struct span rest = from(words, at + sizeof before - 1);
	const char *end = memchr(rest.ptr, '\'', rest.len);
	if (end == NULL)
		return false;
	*ret_key = span_of(rest.ptr, (size_t)(end - rest.ptr));
	return true;
}

static enum rabbitmq_value_type type_of(struct span name)
{
	static const struct {
		const char *name;
		enum rabbitmq_value_type type;
	} types[] = {
	    {"bool",          VALUE_IS_BOOL  },
            {"longstr",       VALUE_IS_TEXT  },
	    {"byte",          VALUE_IS_NUMBER},
            {"unsignedbyte",  VALUE_IS_NUMBER},
	    {"short",         VALUE_IS_NUMBER},
            {"unsignedshort", VALUE_IS_NUMBER},
	    {"signedint",     VALUE_IS_NUMBER},
            {"unsignedint",   VALUE_IS_NUMBER},
	    {"long",          VALUE_IS_NUMBER},
	};
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (span_equal(name, span_text(types[i].name)))
			return types[i].type;
	return VALUE_IS_OTHER;
}

/* "'600000' of type 'signedint'" */
static bool read_typed(struct span text, struct rabbitmq_mismatch *m)
{
	static const char between[] = "' of type '";
	const char *end = find_last(text, between);
	if (!skip(&text, "'") || end == NULL || end < text.ptr || text.ptr[text.len - 1] != '\'')
		return false;
	struct span type = from(text, end + sizeof between - 1);
	if (type.len == 0)
		return false;
	m->current = span_of(text.ptr, (size_t)(end - text.ptr));
	m->type = type_of(span_of(type.ptr, type.len - 1));
	return true;
}

bool rabbitmq_mismatch_read(struct span words, struct rabbitmq_mismatch *ret_mismatch)
{
	static const char before[] = " but current is ";
	struct rabbitmq_mismatch m = {.type = VALUE_IS_NONE};
	const char *at = find_last(words, before);
	if (!read_key(words, &m.key) || at == NULL)
		return false;
	struct span current = from(words, at + sizeof before - 1);
	if (skip(&current, "the value ")) {
		if (!read_typed(current, &m))
			return false;
	} else if (!span_equal(current, span_text("none"))) {
		if (!skip(&current, "'") || current.len == 0 ||
		    current.ptr[current.len - 1] != '\'')
			return false;
		m.current = span_of(current.ptr, current.len - 1);
		m.type = VALUE_IS_AS_SENT;
	}
	*ret_mismatch = m;
	return true;
}
