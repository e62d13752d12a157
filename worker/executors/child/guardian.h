/* guardian - a process beside the worker that outlives it for a moment, to kill what is left of its jobs.
 *
 * The kernel kills a child whose worker dies (PR_SET_PDEATHSIG), and only that one: what runs under a
 * shell runs on. The guardian knows the process groups of all children from memory that it shares with
 * the worker, and kills them when it is gone.
 *
 * Thread: the loop's; guardian_enter() also in a process that is being born.
 * Owns:   the table. The guardian's process is its starter's to reap.
 * Units:  none.
 * Fails:  creation with NULL, starting with -1; a table that is full with GUARDIAN_NO_PLACE, which every
 *         call takes and which guards nothing. */
#ifndef OUTFALL_EXECUTORS_GUARDIAN_H
#define OUTFALL_EXECUTORS_GUARDIAN_H

#include <stdint.h>
#include <sys/types.h>

struct guardian;

enum { GUARDIAN_NO_PLACE = 0 };

struct guardian *guardian_create(void);
void guardian_destroy(struct guardian *guardian); /* NULL is fine */

/* Returns its process id. It ends by itself after the worker, and has no part in the worker's session,
 * signals and descriptors. */
pid_t guardian_start(const struct guardian *guardian);

/* A place is taken before there is a process, which enters its group itself: memory writes, no calls. */
uint32_t guardian_take_place(struct guardian *guardian);
void guardian_enter(struct guardian *guardian, uint32_t place, pid_t group);
/* The group's leader was reaped, and others of it are left. */
void guardian_note_leaderless(struct guardian *guardian, uint32_t place);
void guardian_leave(struct guardian *guardian, uint32_t place); /* nobody is left */

/* Kills each group in the table, as the guardian would. */
void guardian_kill_all(const struct guardian *guardian);

#endif
