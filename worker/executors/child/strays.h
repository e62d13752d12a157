/* strays - what jobs left running when they ended by themselves. It has the grace, then it is killed.
 *
 * Thread: the loop's.
 * Owns:   the guardian's places of these groups.
 * Units:  milliseconds.
 * Fails:  creation with NULL; without memory for one more, that group is killed at once. */
#ifndef OUTFALL_EXECUTORS_STRAYS_H
#define OUTFALL_EXECUTORS_STRAYS_H

#include <stdint.h>
#include <sys/types.h>

struct guardian;
struct log;
struct loop;
struct strays;

struct strays *strays_create(struct loop *loop, struct log *log, struct guardian *guardian);
void strays_destroy(struct strays *strays); /* NULL is fine */

/* A group whose leader was reaped, and of which somebody is left: `witness`, at last (group.h). */
void strays_add(struct strays *strays, pid_t group, pid_t witness, uint32_t place,
		uint64_t grace_ms);

#endif
