/* span - borrowed bytes: where they begin and how many there are. Never NUL-terminated. */
#ifndef OUTFALL_BASE_SPAN_H
#define OUTFALL_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
	const char *ptr;
	size_t len;
};

static inline struct span span_of(const void *ptr, size_t len)
{
	return (struct span){.ptr = ptr, .len = len};
}

static inline struct span span_text(const char *text)
{
	return span_of(text, text ? strlen(text) : 0);
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
