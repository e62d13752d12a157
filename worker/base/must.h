/* must - the invariants that this program lives by.
 *
 * must(cond) is on in every build: a broken invariant is our own defect, and a worker that goes
 * on after one may acknowledge work that was never done. It prints where and what, and aborts;
 * the broker then redelivers everything that was in flight, which is the safe way to fail.
 * For what the world does to us there is error.h. */
#ifndef OUTFALL_BASE_MUST_H
#define OUTFALL_BASE_MUST_H

_Noreturn void must_failed(const char *file, int line, const char *func, const char *cond);

#define must(cond) ((cond) ? (void)0 : must_failed(__FILE__, __LINE__, __func__, #cond))

#endif
