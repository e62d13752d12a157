#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The only file-scope state in the tree besides constants: an allocator has no object to hang it
 * on, and one relaxed load is all that a production run pays. */
static atomic_bool watching;
static atomic_ulong seen;
static atomic_ulong fail_at;

static bool fails_now(void)
{
	if (!atomic_load_explicit(&watching, memory_order_relaxed))
		return false;
	return atomic_fetch_add(&seen, 1) + 1 == atomic_load(&fail_at);
}

void *memory_take(size_t bytes)
{
	return fails_now() ? NULL : malloc(bytes ? bytes : 1);
}

void *memory_clear(size_t count, size_t bytes)
{
	return fails_now() ? NULL : calloc(count ? count : 1, bytes ? bytes : 1);
}

void *memory_grow(void *old, size_t bytes)
{
	return fails_now() ? NULL : realloc(old, bytes ? bytes : 1);
}

char *memory_text(const char *text)
{
	return fails_now() ? NULL : strdup(text);
}

void memory_free(void *ptr)
{
	free(ptr);
}

void memory_free_secret(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	memory_free(text);
}

unsigned long memory_fail_at(unsigned long n)
{
	unsigned long before = atomic_exchange(&seen, 0);
	atomic_store(&fail_at, n);
	atomic_store(&watching, n != 0);
	return before;
}
