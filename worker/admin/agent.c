/* One line fits into the buffer of a socket that is new, so nobody is waited for: accept, send, close. What
 * the client may have sent first (agent-send) is read before that, else closing would reset the
 * connection and take our line with it. */
#include "admin/agent.h"

#include "base/memory.h"
#include "core.h"
#include "loop/loop.h"
#include "observe/health.h"
#include "observe/view.h"

#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 16 }; /* clients in one turn */

struct agent {
	int fd;
	struct watch *watch;
	agent_look *look;
	void *arg;
};

static unsigned percent_free(const struct budget *budget)
{
	unsigned percent = (unsigned)((uint64_t)budget_left(budget) * 100 / budget->limit);
	return percent > 0 ? percent : 1;
}

void agent_say(struct text *line, const struct view *view)
{
	const struct core *core = view->core;
	struct text why = {0};
	if (core->drain.phase != PHASE_OPEN)
		text_put_literal(line, "drain\n");
	else if (health_is_ready(view, &why))
		text_print(line, "up ready %u%%\n", percent_free(&core->dispatch.budget));
	else
		text_print(line, "down#%.*s\n", (int)why.len, why.bytes != NULL ? why.bytes : "");
	text_fini(&why);
}

static void answer(struct agent *agent, int client)
{
	char heard[256];
	struct text line = {0};
	struct view view;
	agent->look(agent->arg, &view);
	agent_say(&line, &view);
	(void)recv(client, heard, sizeof heard, MSG_DONTWAIT);
	if (!line.failed)
		(void)send(client, line.bytes, line.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)close(client);
	text_fini(&line);
}

static void readable(void *arg, unsigned events)
{
	struct agent *agent = arg;
	(void)events;
	for (int i = 0; i < AT_ONCE; i++) {
		int client = accept4(agent->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client < 0)
			return; /* none any more; or no descriptor, and then the next turn tries again */
		answer(agent, client);
	}
}

enum status agent_open(struct loop *loop, int listener, agent_look *look, void *arg,
		       struct agent **ret_agent, struct error *why)
{
	struct agent *agent = memory_clear(1, sizeof *agent);
	if (agent != NULL)
		agent->watch = watch_create(loop, listener, readable, agent);
	if (agent == NULL || agent->watch == NULL) {
		memory_free(agent);
		return error_set(why, ST_NOMEM, "admin agent: out of memory");
	}
	agent->fd = listener;
	agent->look = look;
	agent->arg = arg;
	watch_set(agent->watch, WATCH_READ);
	*ret_agent = agent;
	return ST_OK;
}

void agent_close(struct agent *agent)
{
	if (agent == NULL)
		return;
	watch_destroy(agent->watch);
	(void)close(agent->fd); /* a listener has nothing to lose */
	memory_free(agent);
}
