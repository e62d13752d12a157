/* heap - malloc and its kin for the whole process, libraries included, with one place to make them fail.
 *
 * A sanitizer has a heap of its own; where one is, nothing fails here and heap_fail_at() says so.
 *
 * Thread: any; heap_fail_at() before others are started.
 * Owns:   nothing.
 * Fails:  the allocation that it was told to, once. */
#ifndef OUTFALL_TESTS_HEAP_H
#define OUTFALL_TESTS_HEAP_H

#include <stdbool.h>

/* The n-th allocation from now fails; 0: none. False: this heap is not ours. */
bool heap_fail_at(unsigned long n);
const void *heap_failed_for(void); /* where it was called from, since then; NULL: it has not come */
long heap_blocks(void);            /* allocated and not freed */

#endif
