/* A definition of malloc in the program is the one that everybody gets; glibc's own is still there under
 * another name. */
#include "heap.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(const void *) failed_for;
static atomic_long blocks;

const void *heap_failed_for(void)
{
	return atomic_load(&failed_for);
}

long heap_blocks(void)
{
	return atomic_load(&blocks);
}

#ifdef HEAP_IS_SANITIZED

bool heap_fail_at(unsigned long n)
{
	(void)n;
	return false;
}

#else

static atomic_ulong left; /* until the one that fails; 0: none */

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void __libc_free(void *ptr);

bool heap_fail_at(unsigned long n)
{
	atomic_store(&failed_for, NULL);
	atomic_store(&left, n);
	return true;
}

static bool fails_now(const void *caller)
{
	unsigned long now = atomic_load_explicit(&left, memory_order_relaxed);
	while (now != 0)
		if (atomic_compare_exchange_weak(&left, &now, now - 1))
			break;
	if (now != 1)
		return false;
	atomic_store(&failed_for, caller);
	errno = ENOMEM;
	return true;
}

static void *counted(void *taken)
{
	if (taken != NULL)
		atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
	return taken;
}

void *malloc(size_t bytes)
{
	return fails_now(__builtin_return_address(0)) ? NULL : counted(__libc_malloc(bytes));
}

void *calloc(size_t count, size_t bytes)
{
	return fails_now(__builtin_return_address(0)) ? NULL : counted(__libc_calloc(count, bytes));
}

void *realloc(void *old, size_t bytes)
{
	if (fails_now(__builtin_return_address(0)))
		return NULL;
	void *taken = __libc_realloc(old, bytes);
	return old == NULL ? counted(taken) : taken;
}

void free(void *ptr)
{
	if (ptr != NULL)
		atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
	__libc_free(ptr);
}

/* glibc's own, if not for these two, which would not be counted. */
char *strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = malloc(bytes);
	return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

#endif
