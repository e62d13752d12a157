/* duration - "30s" and "64M" as numbers. Strict: the whole text, one unit, nothing that overflows.
 *
 * Thread: any.
 * Units:  durations are milliseconds: ms, s, m, h; only 0 goes without a unit, because a bare
 *         number is read as seconds by one half of the world and as milliseconds by the other.
 *         Sizes are bytes: none, k, M, G, in powers of 1024.
 * Fails:  with false and *ret_... untouched. */
#ifndef OUTFALL_BASE_DURATION_H
#define OUTFALL_BASE_DURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool duration_parse(const char *text, uint64_t *ret_ms);
bool size_parse(const char *text, uint64_t *ret_bytes);
bool count_parse(const char *text, uint64_t *ret_count); /* decimal digits and nothing else */

/* "100/s", "30/m", "5/h" as the nanoseconds between two of them. */
bool rate_parse(const char *text, uint64_t *ret_interval_ns);
void rate_print(uint64_t interval_ns, char *buf, size_t size);

/* In the largest unit that needs no fraction: "2h", "1500ms". */
void duration_print(uint64_t ms, char *buf, size_t size);
void size_print(uint64_t bytes, char *buf, size_t size);

#endif
