#include "job/failure.h"

#include "base/memory.h"

#include <string.h>

struct span failure_cut(struct span text, size_t most)
{
	if (text.len <= most)
		return text;
	while (most > 0 && ((unsigned char)text.ptr[most] & 0xc0) == 0x80)
		most--;
	return span_of(text.ptr, most);
}

static struct span place(char **at, struct span text)
{
	struct span placed = span_of(*at, text.len);
	if (text.len > 0)
		memcpy(*at, text.ptr, text.len);
	*at += text.len;
	return placed;
}

struct failure *failure_create(const struct failure *said)
{
	struct span class = failure_cut(said->class, FAILURE_CLASS_BYTES);
	struct span message = failure_cut(said->message, FAILURE_MESSAGE_BYTES);
	struct span backtrace = failure_cut(said->backtrace, FAILURE_BACKTRACE_BYTES);
	struct failure *failure =
	    memory_take(sizeof *failure + class.len + message.len + backtrace.len);
	if (failure == NULL)
		return NULL;
	char *at = (char *)(failure + 1);
	failure->class = place(&at, class);
	failure->message = place(&at, message);
	failure->backtrace = place(&at, backtrace);
	return failure;
}

void failure_destroy(struct failure *failure)
{
	memory_free(failure);
}
