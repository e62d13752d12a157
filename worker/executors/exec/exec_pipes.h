/* exec_pipes - our ends of a slot's pipes.
 *
 * Thread: the loop's.
 * Owns:   the descriptors in slot->pipes and the epoll set; the child's ends are the caller's.
 * Fails:  pipe_open() with a status, pipe_watch() with false and errno. */
#ifndef OUTFALL_EXECUTORS_EXEC_PIPES_H
#define OUTFALL_EXECUTORS_EXEC_PIPES_H

#include "executors/exec/exec_slot.h"

#include <sys/epoll.h>

static inline bool pipe_is_open(const struct slot *slot, enum pipe_end end)
{
	return slot->pipes[end].fd >= 0;
}

enum status pipe_open(struct slot *slot, enum pipe_end end, int *ret_childs, struct error *why);
bool pipe_watch(struct slot *slot, enum pipe_end end); /* fine when it is watched already */
void pipe_unwatch(struct slot *slot, enum pipe_end end);
void pipe_close(struct slot *slot, enum pipe_end end); /* fine when it is closed already */

/* What a watched pipe is ready for is told by mark; NULL: about a pipe that is gone. */
uint64_t pipe_mark(const struct slot *slot, enum pipe_end end);
struct slot *pipe_of_mark(const struct exec *exec, uint64_t mark, enum pipe_end *ret_end);

#endif
