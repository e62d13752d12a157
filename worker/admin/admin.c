/* Two servers, one feed, and the view of the worker that both show. */
#include "admin/admin.h"

#include "admin/agent.h"
#include "admin/default_socket.h"
#include "admin/events.h"
#include "admin/listener.h"
#include "admin/pages.h"
#include "admin/server.h"
#include "base/log.h"
#include "base/memory.h"
#include "core.h"
#include "loop/loop.h"
#include "observe/view.h"
#include "settings/settings.h"
#include "sources/census.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

enum { GATES = 2, PART_MOST_MS = 1000 };

struct admin {
	struct admin_worker worker;
	struct pages pages;
	struct feed *feed;
	struct server *servers[GATES];
	struct agent *agent;
	size_t n_servers;
	struct listener_file file;
	struct default_socket default_socket;
	struct turn_hook hook;
	enum phase told; /* the last phase that those who listen were told of */
	uint64_t started_ns;
	char reason[100]; /* why the feed ends */
};

/* --- what there is to see --- */

static uint64_t nanoseconds(clockid_t which)
{
	struct timespec t = {0};
	(void)clock_gettime(which, &t); /* these clocks are always there */
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static size_t resident_bytes(void)
{
	unsigned long whole = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%lu %lu", &whole, &resident) != 2)
		resident = 0;
	(void)fclose(f); /* only read from */
	return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Looked at each time: the wall clock may be set while we run, on a fresh machine by years. To 10 ms, so that
 * what is told does not tremble with the moments between two clocks. */
static uint64_t epoch_now(uint64_t now_ns)
{
	uint64_t epoch_ns = nanoseconds(CLOCK_REALTIME) - now_ns;
	return epoch_ns - epoch_ns % (10 * MS_NS);
}

static void look(const struct pages *pages, struct view *ret_view)
{
	const struct admin *a = list_entry(pages, const struct admin, pages);
	uint64_t now_ns = loop_now_ns(a->worker.loop);
	*ret_view = (struct view){
	    .core = a->worker.core,
	    .name = a->worker.name,
	    .now_ns = now_ns,
	    .started_ns = a->started_ns,
	    .epoch_ns = epoch_now(now_ns),
	    .lag_ns = loop_lag_ns(a->worker.loop),
	    .cpu_ns = nanoseconds(CLOCK_PROCESS_CPUTIME_ID),
	    .resident_bytes = resident_bytes(),
	};
}

static size_t write_status(void *arg, enum status_control control, bool last, struct text *to)
{
	struct admin *a = arg;
	struct view view;
	look(&a->pages, &view);
	if (!last)
		return status_put(to, &view, control);
	status_put_goodbye(to, &view, control);
	return 0;
}

/* A phase may be over before the feed's next second. */
static void turned(void *arg)
{
	struct admin *a = arg;
	enum phase now = a->worker.core->drain.phase;
	if (now == a->told)
		return;
	a->told = now;
	if (now != PHASE_CLOSED) /* the goodbye will say so */
		feed_news(a->feed);
}

static void counted(void *arg)
{
	struct admin *a = arg;
	struct span left = census_left(a->pages.census);
	if (left.len > 0)
		log_say(a->worker.log, LOG_WARN, "nobody else is left", kv_text("to", "reload"),
			kv_span("queues", left));
	for (size_t i = 0; i < a->n_servers; i++)
		server_answer_counted(a->servers[i]);
}

/* A worker that is quiet takes nothing away. */
void admin_queue_goes(struct admin *a)
{
	if (a != NULL && a->pages.census != NULL && a->worker.core->drain.phase == PHASE_OPEN)
		census_begin(a->pages.census);
}

void admin_reloaded(struct admin *a, const char *token)
{
	for (size_t i = 0; a != NULL && i < a->n_servers; i++) {
		server_set_token(a->servers[i], token);
		server_answer_reloaded(a->servers[i]);
	}
}

/* --- life --- */

static enum status add_server(struct admin *a, const struct gate *gate, int fd, struct error *why)
{
	struct server_parts parts = {a->worker.loop, a->worker.log, &a->pages, a->feed};
	enum status st = server_open(&parts, gate, fd, &a->servers[a->n_servers], why);
	if (st != ST_OK)
		(void)close(fd);
	else
		a->n_servers++;
	return st;
}

static enum status listen_unix(struct admin *a, const char *path, unsigned mode, struct error *why)
{
	int fd;
	enum status st = listener_open_unix(path, mode, &fd, &a->file, why);
	if (st == ST_OK)
		st = add_server(a, &(struct gate){.is_unix = true}, fd, why);
	if (st == ST_OK)
		log_say(a->worker.log, LOG_INFO, "admin listening", kv_text("socket", path));
	return st;
}

/* Nobody has asked for it, so a worker goes without where it cannot be had: it is the second one on this host,
 * or has no folder to put it in. */
static void listen_by_default(struct admin *a, const struct admin_settings *s)
{
	struct error why;
	enum status st = default_socket_make(&a->default_socket, &why);
	if (st == ST_OK)
		st = listen_unix(a, a->default_socket.path, s->socket_mode, &why);
	if (st != ST_OK)
		log_say(a->worker.log, LOG_INFO, "no admin socket, ctl cannot reach this worker",
			kv_why(&why));
}

static enum status listen_tcp(struct admin *a, const struct admin_settings *s, struct error *why)
{
	int fd;
	char bound[80];
	struct gate gate = {.hosts = s->hosts, .token = s->token};
	enum status st = listener_open_tcp("admin.http", s->http, &fd, bound, sizeof bound, why);
	if (st == ST_OK)
		st = add_server(a, &gate, fd, why);
	if (st == ST_OK)
		log_say(a->worker.log, LOG_INFO, "admin listening", kv_text("http", bound),
			kv_text("steering", s->token != NULL ? "with the token" : "no"));
	return st;
}

static void look_for_agent(void *arg, struct view *ret_view)
{
	const struct admin *a = arg;
	look(&a->pages, ret_view);
}

static enum status listen_agent(struct admin *a, const struct admin_settings *s, struct error *why)
{
	int fd;
	char bound[80];
	enum status st = listener_open_tcp("admin.agent", s->agent, &fd, bound, sizeof bound, why);
	if (st != ST_OK)
		return st;
	st = agent_open(a->worker.loop, a->worker.log, fd, look_for_agent, a, &a->agent, why);
	if (st != ST_OK)
		(void)close(fd);
	else
		log_say(a->worker.log, LOG_INFO, "admin listening", kv_text("agent", bound));
	return st;
}

static enum status open_all(struct admin *a, const struct admin_settings *s, struct error *why)
{
	a->feed = feed_create(a->worker.loop, a->worker.log, write_status, a);
	if (a->feed == NULL)
		return error_set(why, ST_NOMEM, "admin server: out of memory");
	if (s->last_consumer != LAST_CONSUMER_IGNORE) {
		a->pages.census =
		    census_create(a->worker.loop, &a->worker.core->roster, counted, a);
		if (a->pages.census == NULL)
			return error_set(why, ST_NOMEM, "admin server: out of memory");
	}
	enum status st = ST_OK;
	if (s->socket != NULL)
		st = listen_unix(a, s->socket, s->socket_mode, why);
	else if (!s->no_socket)
		listen_by_default(a, s);
	if (s->http != NULL && st == ST_OK)
		st = listen_tcp(a, s, why);
	if (s->agent != NULL && st == ST_OK)
		st = listen_agent(a, s, why);
	return st;
}

enum status admin_create(const struct admin_settings *settings, const struct admin_worker *worker,
			 struct admin **ret_admin, struct error *why)
{
	*ret_admin = NULL;
	if (settings->no_socket && settings->http == NULL && settings->agent == NULL)
		return ST_OK;
	struct admin *a = memory_clear(1, sizeof *a);
	if (a == NULL)
		return error_set(why, ST_NOMEM, "admin server: out of memory");
	a->worker = *worker;
	a->pages = (struct pages){.core = worker->core,
				  .log = worker->log,
				  .last_consumer = settings->last_consumer,
				  .look = look,
				  .reloading = worker->reloading};
	a->started_ns = loop_now_ns(worker->loop);
	a->told = worker->core->drain.phase;
	a->hook = (struct turn_hook){.run = turned, .arg = a};
	loop_add_hook(worker->loop, TURN_DRAIN, &a->hook); /* behind the drain's own */
	enum status st = open_all(a, settings, why);
	if (st != ST_OK)
		admin_destroy(a);
	else
		*ret_admin = a;
	return st;
}

/* --- the end --- */

static bool is_busy(const struct admin *a)
{
	if (feed_count(a->feed) > 0)
		return true;
	for (size_t i = 0; i < a->n_servers; i++)
		if (server_is_busy(a->servers[i]))
			return true;
	return false;
}

/* Serves what is ready; true: there is more that needs no waiting. */
static bool serve_all(struct admin *a)
{
	bool again = false;
	feed_serve(a->feed);
	for (size_t i = 0; i < a->n_servers; i++)
		again |= server_run(a->servers[i]);
	return again;
}

static void wait_for_any(const struct admin *a, uint64_t until_ns)
{
	struct pollfd fds[GATES * (SERVER_POLLED + SERVER_LISTENERS)];
	uint64_t now_ns = loop_now_ns(a->worker.loop);
	size_t n = 0;
	for (size_t i = 0; i < a->n_servers; i++, n += SERVER_POLLED)
		server_poll(a->servers[i], fds + n);
	n += feed_poll(a->feed, fds + n, sizeof fds / sizeof *fds - n);
	if (until_ns > now_ns)
		(void)poll(fds, n, (int)((until_ns - now_ns) / MS_NS) + 1); /* serving finds out */
}

void admin_part(struct admin *a, uint64_t until_ns)
{
	if (a == NULL)
		return;
	const char *why = a->worker.core->drain.report.why;
	uint64_t latest_ns = loop_now_ns(a->worker.loop) + PART_MOST_MS * MS_NS;
	if (latest_ns < until_ns)
		until_ns = latest_ns;
	(void)snprintf(a->reason, sizeof a->reason, "the worker has drained: %s", why);
	feed_goodbye(a->feed, a->reason);
	for (size_t i = 0; i < a->n_servers; i++)
		server_answer_waiting(a->servers[i]);
	/* Requests that are in the kernel's hands already get an answer, too: twice, because the
	 * first pass may only have accepted their connection. */
	bool more = serve_all(a);
	more |= serve_all(a);
	while ((more || is_busy(a)) && loop_now_ns(a->worker.loop) < until_ns) {
		if (!more)
			wait_for_any(a, until_ns);
		more = serve_all(a);
	}
}

void admin_destroy(struct admin *a)
{
	if (a == NULL)
		return;
	loop_remove_hook(&a->hook);
	listener_remove_file(&a->file);
	feed_cut(a->feed); /* gives its sockets back to the servers, which then close them */
	for (size_t i = 0; i < a->n_servers; i++)
		server_close(a->servers[i]);
	feed_destroy(a->feed);
	agent_close(a->agent);
	census_destroy(a->pages.census);
	default_socket_remove_folder(&a->default_socket);
	memory_free(a);
}
