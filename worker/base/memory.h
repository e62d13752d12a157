/* memory - where this program's memory comes from, with one place to make it fail.
 *
 * Thread: any; memory_fail_at() is for tests, before threads start.
 * Owns:   what is returned belongs to the caller and is released with memory_free().
 * Fails:  with NULL. Memory that scales with what peers send must be allocated here and its
 *         failure handled; tests walk a failure through every allocation in turn. */
#ifndef OUTFALL_BASE_MEMORY_H
#define OUTFALL_BASE_MEMORY_H

#include <stddef.h>

void *memory_take(size_t bytes);                /* not cleared */
void *memory_clear(size_t count, size_t bytes); /* cleared */
void *memory_grow(void *old, size_t bytes);     /* like realloc: `old` stays valid on NULL */
char *memory_text(const char *text);            /* a copy of a NUL-terminated text */
void memory_free(void *ptr);                    /* NULL is fine */
void memory_free_secret(char *text);            /* cleared first; NULL is fine */

/* Makes the n-th allocation from now fail, once; 0 turns it off. Returns how many allocations
 * there have been since the last call, so that a test can stop when its n was never reached. */
unsigned long memory_fail_at(unsigned long n);

#endif
