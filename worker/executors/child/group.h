/* group - whether anybody is left of a process group whose leader was reaped.
 *
 * The kernel gives no number out again while a process or a group bears it: as long as somebody is left,
 * nobody can have the group's for his process id, and signals to it meet nobody else.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  never; where /proc cannot be read, a group of zombies is taken for one that lives. */
#ifndef OUTFALL_EXECUTORS_GROUP_H
#define OUTFALL_EXECUTORS_GROUP_H

#include <stdbool.h>
#include <sys/types.h>

/* Zombies count: they have the number, too. */
bool group_has_number(pid_t group);

/* Zombies do not count: they do nothing, and PID 1 of many a container buries them late or never.
 * *witness is one that was seen to live, 0 at first: while that one does, nobody else is looked for. */
bool group_lives(pid_t group, pid_t *witness);

#endif
