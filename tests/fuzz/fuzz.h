/* fuzz - what a fuzz target is: one function, under the name that libFuzzer calls.
 *
 * Thread: the caller's.
 * Owns:   nothing from one call to the next.
 * Fails:  by abort: an invariant did not hold. Returns 0. */
#ifndef OUTFALL_TESTS_FUZZ_H
#define OUTFALL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#endif
