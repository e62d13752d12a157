/* One line fits into the buffer of a socket that is new, so nobody is waited for: accept, send, close. What
 * the client may have sent first (agent-send) is read before that, else closing would reset the
 * connection and take our line with it. */
#include "admin/agent.h"

#include "admin/acceptor.h"
#include "base/memory.h"
#include "core.h"
#include "observe/health.h"
#include "observe/view.h"

#include <sys/socket.h>
#include <unistd.h>

struct agent {
	struct acceptor *acceptor;
	agent_look *look;
	void *arg;
};

static unsigned percent_free(const struct budget *budget)
{
	unsigned percent = (unsigned)((uint64_t)budget_left(budget) * 100 / budget->limit);
	return percent > 0 ? percent : 1;
}

static void say_down(struct text *line, struct span why)
{
	text_put_literal(line, "down#");
	text_put_tame(line, why);
	text_put_literal(line, "\n");
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
		say_down(line, text_span(&why));
	text_fini(&why);
}

static void agent_asked(void *arg, int client, const struct sockaddr *from, socklen_t len)
{
	struct agent *agent = arg;
	char heard[256];
	struct text line = {0};
	struct view view;
	(void)from;
	(void)len;
	agent->look(agent->arg, &view);
	agent_say(&line, &view);
	(void)recv(client, heard, sizeof heard, MSG_DONTWAIT);
	if (!line.failed)
		(void)send(client, line.bytes, line.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)close(client);
	text_fini(&line);
}

enum status agent_open(struct loop *loop, struct log *log, int listener, agent_look *look,
		       void *arg, struct agent **ret_agent, struct error *why)
{
	struct agent *agent = memory_clear(1, sizeof *agent);
	if (agent != NULL)
		agent->acceptor = acceptor_create(loop, log, listener, agent_asked, agent);
	if (agent == NULL || agent->acceptor == NULL) {
		memory_free(agent);
		return error_set(why, ST_NOMEM, "admin agent: out of memory");
	}
	agent->look = look;
	agent->arg = arg;
	*ret_agent = agent;
	return ST_OK;
}

void agent_close(struct agent *agent)
{
	if (agent == NULL)
		return;
	acceptor_destroy(agent->acceptor);
	memory_free(agent);
}
