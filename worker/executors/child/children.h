/* children - every process this worker starts, and the one place that reaps them.
 *
 * Each leads a session and a process group of its own, and the guardian knows them all. What is left of a
 * group when its leader was reaped is its owner's affair (process.h is the owner of jobs' processes).
 *
 * Thread: the loop's. A child dies with the thread that started it (PR_SET_PDEATHSIG counts
 *         threads), so that thread must be the one that lives as long as the process.
 * Owns:   SIGCHLD, and each process id from children_spawn() until the child was reaped. A struct
 *         child is embedded in whatever the process means to its caller. Children that a plugin or a
 *         library starts are theirs to reap.
 * Units:  milliseconds.
 * Fails:  children_spawn() with ST_SYSTEM: no process to be had, or it could not be exec'd, or not as
 *         its profile has it; the error says which. */
#ifndef OUTFALL_EXECUTORS_CHILDREN_H
#define OUTFALL_EXECUTORS_CHILDREN_H

#include "base/error.h"
#include "base/list.h"
#include "executors/child/become.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct children;
struct log;
struct loop;
struct spawn_profile;

struct child {
	struct list in_bucket;
	pid_t pid;      /* also the id of its process group, and of its session */
	pid_t witness;  /* of its group: group.h */
	uint32_t place; /* the guardian's */
	int report_fd;  /* where one that is to be another user says that it could not; -1: none */
	struct become_failure failure; /* once it ended; errnum 0: its program ran */
	/* It ended and was reaped; `status` is what wait(2) says. The child may be freed or used for
	 * another process from in here. */
	void (*ended)(struct child *child, int status, const struct rusage *usage);
};

enum { SPAWN_FDS = 5 }; /* 0 to 2, and an exec handler's 3 and 4 */

struct spawn {
	const char *path; /* found already: PATH is not searched here */
	char *const *argv;
	char *const *envp;
	const struct spawn_profile *profile; /* NULL: in all as the worker */
	bool may_gain_privileges;            /* set by children_spawn(), as the profile has it */
	int fds[SPAWN_FDS + 1];              /* become its 0, 1, 2 ...; stay the caller's */
	unsigned n_fds;                      /* 3 to SPAWN_FDS */
};

/* From here on SIGPIPE is ignored. */
enum status children_create(struct loop *loop, struct log *log, struct children **ret_children,
			    struct error *why);
/* Kills what is left of groups whose leader ended. NULL is fine. */
void children_destroy(struct children *children);

/* What a group is left, at most, once its job has ended; 5 s until it is set. */
void children_set_grace(struct children *children, uint64_t grace_ms);
uint64_t children_grace_ms(const struct children *children);

/* Starts the guardian now: the earlier, the less of the worker's memory it shares. Each start of a child
 * does so where there is none. */
void children_guard(struct children *children);

/* Returns when the child runs its program, in a session of its own, with default signals and none of our
 * descriptors. child->ended must be set. */
enum status children_spawn(struct children *children, const struct spawn *spawn,
			   struct child *child, struct error *why);

/* After child->ended: whether its program never ran, and why. Only one that is to be another user ends like
 * that; of all others children_spawn() knows. */
bool children_never_ran(const struct child *child, const struct spawn *spawn, struct error *why);

/* To the whole group, whether its leader was reaped or not. */
void children_signal(const struct child *child, int signum);
/* After child->ended: whether somebody is left of its group. False is the last word: the number is nobody's. */
bool children_group_lives(struct children *children, struct child *child);
/* The caller looks no more after what is left: it has the grace, then it is killed. */
void children_leave_group(struct children *children, struct child *child);

/* No children_reap() waits beyond that. UINT64_MAX, as it is at first: no limit. */
void children_set_end(struct children *children, uint64_t end_ns);

/* Waits for its end, until then at most, and reaps it; `ended` is not called. For the exit, when the
 * loop turns no more. False: it still runs. */
bool children_reap(struct children *children, struct child *child, uint64_t until_ns);

/* Kills the process group of each child that still runs, for an exit that waits for nobody: their own
 * children would outlive us. */
void children_kill_all(const struct children *children);

/* The caller waits no longer: the process will be reaped in silence. */
void children_forget(struct children *children, struct child *child);

#endif
