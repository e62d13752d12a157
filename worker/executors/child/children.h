/* children - every process this worker starts, and the one place that reaps them.
 *
 * Thread: the loop's. A child dies with the thread that started it (PR_SET_PDEATHSIG counts
 *         threads), so that thread must be the one that lives as long as the process.
 * Owns:   SIGCHLD, and each process id from children_spawn() until the child was reaped. A struct
 *         child is embedded in whatever the process means to its caller.
 * Units:  none.
 * Fails:  children_spawn() with ST_SYSTEM: no process to be had, or it could not be exec'd, or not as
 *         its profile has it; the error says which. */
#ifndef OUTFALL_EXECUTORS_CHILDREN_H
#define OUTFALL_EXECUTORS_CHILDREN_H

#include "base/error.h"
#include "base/list.h"

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
	pid_t pid; /* also the id of its process group */
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
	int fds[SPAWN_FDS];                  /* become its 0, 1, 2 ...; stay the caller's */
	unsigned n_fds;                      /* 3 to SPAWN_FDS */
};

/* From here on SIGPIPE is ignored, and 0, 1 and 2 are open (on /dev/null if they were closed). */
enum status children_create(struct loop *loop, struct log *log, struct children **ret_children,
			    struct error *why);
void children_destroy(struct children *children); /* NULL is fine */

/* Returns when the child runs its program, in a process group of its own, with default signals and
 * none of our descriptors. child->ended must be set. */
enum status children_spawn(struct children *children, const struct spawn *spawn,
			   struct child *child, struct error *why);

/* Waits for its end, until then at most, and reaps it; `ended` is not called. For the exit, when the
 * loop turns no more. False: it still runs. */
bool children_reap(struct child *child, uint64_t until_ns);

/* Kills the process group of each child that still runs, for an exit that waits for nobody: their own
 * children would outlive us. */
void children_kill_all(const struct children *children);

/* The caller waits no longer: the process will be reaped in silence. */
void children_forget(struct child *child);

#endif
