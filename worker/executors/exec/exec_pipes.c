#include "executors/exec/exec_pipes.h"

#include <unistd.h>

static bool we_write(enum pipe_end end)
{
	return end == PIPE_STDIN || end == PIPE_TOLD;
}

enum status pipe_open(struct slot *slot, enum pipe_end end, int *ret_childs, struct error *why)
{
	return process_pipe(we_write(end) ? WE_WRITE : WE_READ, &slot->pipes[end].fd, ret_childs,
			    why);
}

uint64_t pipe_mark(const struct slot *slot, enum pipe_end end)
{
	return (uint64_t)slot->round << 32 | ((uint64_t)slot->number * PIPES + end);
}

struct slot *pipe_of_mark(const struct exec *exec, uint64_t mark, enum pipe_end *ret_end)
{
	struct slot *slot = exec->slots[(uint32_t)mark / PIPES];
	*ret_end = (enum pipe_end)((uint32_t)mark % PIPES);
	if (slot->round != mark >> 32 || !pipe_is_open(slot, *ret_end))
		return NULL;
	return slot;
}

bool pipe_watch(struct slot *slot, enum pipe_end end)
{
	struct our_end *ours = &slot->pipes[end];
	struct epoll_event event = {.events = we_write(end) ? EPOLLOUT : EPOLLIN,
				    .data.u64 = pipe_mark(slot, end)};
	if (!ours->watched)
		ours->watched =
		    epoll_ctl(slot->exec->epoll_fd, EPOLL_CTL_ADD, ours->fd, &event) == 0;
	return ours->watched;
}

void pipe_unwatch(struct slot *slot, enum pipe_end end)
{
	struct our_end *ours = &slot->pipes[end];
	if (ours->watched)
		(void)epoll_ctl(slot->exec->epoll_fd, EPOLL_CTL_DEL, ours->fd, NULL);
	ours->watched = false;
}

/* Taken off the set by name: closing alone does not, if a fork elsewhere holds a copy. */
void pipe_close(struct slot *slot, enum pipe_end end)
{
	struct our_end *ours = &slot->pipes[end];
	pipe_unwatch(slot, end);
	if (ours->fd >= 0)
		(void)close(ours->fd);
	ours->fd = -1;
}
