/* libmicrohttpd keeps its connections in an epoll set of its own, which is one descriptor to us:
 * ready means MHD_run(). It has no thread and, since time is kept here, no timer: its own timeout
 * starts anew with every byte, and would let a slow loris live for ever. Nor does it accept: when all
 * of its places are taken it listens no more, and those who hold them keep out the probe that decides
 * whether this worker lives. We accept (acceptor.h), and who comes into a full house takes the place
 * of whoever has asked nothing for the longest time.
 *
 * The library calls us when a connection begins and ends, when a request's headers are in, again when
 * its body is (which we throw away), and when its answer is out. A peer is what we know of one
 * connection between these calls:
 *
 *     fresh --headers--> asking --answered--> idle --headers--> asking ...
 *                          | |--drain?wait--> waiting --the end, or its time--> asking
 *                          | |--who else takes?--> counting --it is known--> asking
 *                          | |--reload--> reloading --it is over, or its time--> asking
 *                          | \--a dear page, not in this turn--> queued --its turn--> asking
 *                          \--upgrade--> joining --> listening (the feed has it)
 *     any but listening --out of time, or of a place; hung up--> cut
 *
 * There is no call to cut a connection. Shutting down its socket does it: the library then reads the
 * end of it. One that is suspended (waiting, counting, reloading, queued) is not read from until it is
 * resumed, so we watch it for the hang-up ourselves. */
#include "admin/server.h"

#include "admin/acceptor.h"
#include "admin/events.h"
#include "admin/pages.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "core.h"
#include "loop/loop.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define S_NS           UINT64_C(1000000000)
#define MS_NS          UINT64_C(1000000)
#define MAKING_MOST_NS (5 * MS_NS)

enum {
	HEADERS_MOST_BYTES = 16 * 1024,
	BODY_MOST_BYTES = 4096,
	DISCARDED_MOST_BYTES = 1024 * 1024, /* before a body of more is refused: who is still
					     * sending may never see an answer */
	WAITERS_MOST = 48,   /* of SERVER_CONNECTIONS: the rest can be taken from whoever has it */
	BEING_CUT_MOST = 64, /* the library sees them go with its next run */
};

enum peer_state {
	PEER_FRESH,     /* connected, and has not asked anything */
	PEER_ASKING,    /* its request is here, its answer not all out */
	PEER_WAITING,   /* its answer waits for the end of the drain; suspended */
	PEER_COUNTING,  /* ... for the end of a census; suspended */
	PEER_RELOADING, /* ... for a reload; suspended */
	PEER_QUEUED,    /* ... for its turn; suspended */
	PEER_IDLE,      /* answered, and may ask again */
	PEER_JOINING,   /* the feed: its upgrade is on its way */
	PEER_LISTENING, /* to the feed */
	PEER_CUT,       /* shut down; the library has yet to see it */
};

static const uint64_t time_for_ns[] = {
    [PEER_FRESH] = 10 * S_NS,     [PEER_ASKING] = 30 * S_NS,   [PEER_WAITING] = UINT64_MAX,
    [PEER_COUNTING] = UINT64_MAX, [PEER_RELOADING] = 8 * S_NS, [PEER_QUEUED] = 30 * S_NS,
    [PEER_IDLE] = 75 * S_NS,      [PEER_JOINING] = 30 * S_NS,  [PEER_LISTENING] = UINT64_MAX,
    [PEER_CUT] = UINT64_MAX,
};

struct peer {
	struct list node;
	struct server *server;
	struct MHD_Connection *connection;
	struct MHD_UpgradeResponseHandle *upgrade; /* while listening */
	struct watch *hang_up;                     /* while suspended */
	enum peer_state state;
	uint64_t since_ns; /* in this state */
	uint64_t until_ns; /* then it is cut, or told that the wait is over; UINT64_MAX: never */
	bool waited;       /* and is to be told so */
	bool counted;      /* the census that it waited for is over */
	bool called;       /* it was queued, and this is its turn */
	uint64_t reload;   /* the number of the reload that it waits for; 0: none */
	size_t discarded;  /* bytes of its request's body */
};

struct server {
	struct server_parts parts;
	struct gate gate;
	struct MHD_Daemon *daemon;
	struct acceptor *acceptor;
	struct watch *watch;
	struct turn_hook hook;
	bool more; /* the library has: in the next turn, so that others have theirs */
	struct timer *impatience;
	uint64_t impatient_ns; /* what it is set for; UINT64_MAX: it is not */
	struct list peers;
	uint64_t making_ns; /* answers, in this turn */
	bool closing;       /* nothing is answered any more */
};

/* --- time --- */

static void expect(struct server *s, uint64_t at_ns)
{
	if (at_ns >= s->impatient_ns)
		return;
	uint64_t now_ns = loop_now_ns(s->parts.loop);
	s->impatient_ns = at_ns;
	timer_start(s->impatience, at_ns > now_ns ? (at_ns - now_ns) / MS_NS + 1 : 0);
}

static void enter(struct peer *peer, enum peer_state state)
{
	uint64_t now_ns = loop_now_ns(peer->server->parts.loop);
	peer->state = state;
	peer->since_ns = now_ns;
	peer->until_ns = UINT64_MAX;
	if (time_for_ns[state] != UINT64_MAX)
		peer->until_ns = now_ns + time_for_ns[state];
	expect(peer->server, peer->until_ns);
}

static int descriptor_of(const struct peer *peer)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(peer->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	return info != NULL ? info->connect_fd : -1;
}

static bool is_suspended(const struct peer *peer)
{
	return peer->state == PEER_WAITING || peer->state == PEER_COUNTING ||
	       peer->state == PEER_RELOADING || peer->state == PEER_QUEUED;
}

/* From its suspension into this state; the library asks for the answer again. */
static void resume(struct peer *peer, enum peer_state state)
{
	watch_destroy(peer->hang_up);
	peer->hang_up = NULL;
	enter(peer, state);
	MHD_resume_connection(peer->connection);
}

static void cut(struct peer *peer)
{
	(void)shutdown(descriptor_of(peer), SHUT_RDWR); /* fails where the client has gone */
	if (is_suspended(peer))
		resume(peer, PEER_CUT);
	else
		enter(peer, PEER_CUT);
}

static void wake(struct peer *peer)
{
	resume(peer, PEER_ASKING);
}

static void end_wait(struct peer *peer)
{
	peer->waited = true;
	wake(peer);
}

static void run_out(struct peer *peer)
{
	if (peer->state == PEER_WAITING || peer->state == PEER_RELOADING)
		end_wait(peer);
	else
		cut(peer);
}

static void go_on(struct server *s)
{
	s->more = true;
	loop_turn_again(s->parts.loop);
}

/* Nobody waits for that answer any more: half a close is as good as a whole one, they look alike. */
static void peer_hung_up(void *arg, unsigned events)
{
	struct peer *peer = arg;
	struct server *s = peer->server;
	(void)events;
	cut(peer);
	go_on(s);
}

static void suspend(struct peer *peer, enum peer_state state)
{
	enter(peer, state);
	MHD_suspend_connection(peer->connection);
	peer->hang_up =
	    watch_create(peer->server->parts.loop, descriptor_of(peer), peer_hung_up, peer);
	if (peer->hang_up != NULL) /* no memory: it keeps its place until it is answered */
		watch_set(peer->hang_up, WATCH_HANG_UP);
}

static bool run_library(struct server *s);

static void serve(struct server *s)
{
	s->more = false;
	if (run_library(s))
		go_on(s);
}

/* No timer of 0 ms: libuv before 1.45 runs one that is set anew from within itself without end, and looks
 * at no descriptor meanwhile. */
static void server_turn(void *arg)
{
	struct server *s = arg;
	if (!s->more)
		return;
	serve(s);
	loop_turn_again(
	    s->parts.loop); /* what was asked for may be for hooks that have run already */
}

static void lost_patience(void *arg)
{
	struct server *s = arg;
	uint64_t now_ns = loop_now_ns(s->parts.loop), next_ns = UINT64_MAX;
	s->impatient_ns = UINT64_MAX;
	list_each (it, &s->peers) {
		struct peer *peer = list_entry(it, struct peer, node);
		if (peer->until_ns <= now_ns)
			run_out(peer);
		if (peer->until_ns < next_ns)
			next_ns = peer->until_ns;
	}
	expect(s, next_ns);
	serve(s);
}

/* --- places --- */

static size_t count_peers(const struct server *s, unsigned states)
{
	size_t n = 0;
	list_each (it, &s->peers) {
		n += (states >> list_entry(it, struct peer, node)->state) & 1;
	}
	return n;
}

#define IN(state)     (1u << (state))
#define WAITERS       (IN(PEER_WAITING) | IN(PEER_COUNTING) | IN(PEER_RELOADING))
#define ANSWERED_SOON (IN(PEER_ASKING) | IN(PEER_QUEUED))
#define IN_PLACES     (IN(PEER_FRESH) | IN(PEER_IDLE) | ANSWERED_SOON | WAITERS)
#define WITH_FEED     (IN(PEER_JOINING) | IN(PEER_LISTENING))

static struct peer *find_oldest(const struct server *s, unsigned states)
{
	struct peer *oldest = NULL;
	list_each (it, &s->peers) {
		struct peer *peer = list_entry(it, struct peer, node);
		bool fits = ((states >> peer->state) & 1) != 0;
		if (fits && (oldest == NULL || peer->since_ns < oldest->since_ns))
			oldest = peer;
	}
	return oldest;
}

/* Those who wait do not fill the house, so there is always somebody. */
static void make_room(struct server *s)
{
	if (count_peers(s, IN_PLACES) < SERVER_CONNECTIONS)
		return;
	struct peer *peer = find_oldest(s, IN(PEER_FRESH) | IN(PEER_IDLE));
	if (peer == NULL)
		peer = find_oldest(s, ANSWERED_SOON);
	if (peer != NULL)
		cut(peer);
}

/* --- connections --- */

static void connection_came(struct server *s, struct MHD_Connection *connection, void **ret_peer)
{
	struct peer *peer = memory_clear(1, sizeof *peer);
	*ret_peer = peer;
	if (peer == NULL)
		return; /* each request of it is answered with 503 */
	peer->server = s;
	peer->connection = connection;
	list_append(&s->peers, &peer->node);
	enter(peer, PEER_FRESH);
}

static void connection_changed(void *arg, struct MHD_Connection *connection, void **context,
			       enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		connection_came(arg, connection, context);
		return;
	}
	struct peer *peer = *context;
	if (peer == NULL)
		return;
	watch_destroy(peer->hang_up);
	list_remove(&peer->node);
	memory_free(peer);
	*context = NULL;
}

static struct peer *peer_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info != NULL ? info->socket_context : NULL;
}

static void request_ended(void *arg, struct MHD_Connection *connection, void **asked,
			  enum MHD_RequestTerminationCode how)
{
	(void)arg;
	(void)how;
	struct peer *peer = peer_of(connection);
	*asked = NULL;
	if (peer != NULL && peer->state == PEER_ASKING)
		enter(peer, PEER_IDLE);
}

/* --- the feed takes a connection over --- */

static void listener_left(void *arg)
{
	struct peer *peer = arg;
	struct server *s = peer->server;
	(void)MHD_upgrade_action(peer->upgrade, MHD_UPGRADE_ACTION_CLOSE); /* cannot fail once */
	go_on(s);
}

static void upgraded(void *arg, struct MHD_Connection *connection, void *asked, const char *early,
		     size_t early_len, MHD_socket fd, struct MHD_UpgradeResponseHandle *upgrade)
{
	struct peer *peer = peer_of(connection);
	(void)arg;
	(void)asked;
	must(peer != NULL);
	peer->upgrade = upgrade;
	enter(peer, PEER_LISTENING);
	struct newcomer newcomer = {.fd = fd,
				    .early = span_of(early, early_len),
				    .control = pages_control(&peer->server->gate),
				    .left = listener_left,
				    .arg = peer};
	if (!feed_join(peer->server->parts.feed, &newcomer))
		listener_left(peer);
}

/* --- answers --- */

static const char page_policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
				  "img-src 'self'; connect-src 'self'; base-uri 'none'; "
				  "form-action 'none'; frame-ancestors 'none'";
static const char text_policy[] = "default-src 'none'; frame-ancestors 'none'";

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
	(void)MHD_add_response_header(response, name, value); /* no memory: the answer counts */
}

static void add_headers(const struct server *s, struct MHD_Response *response,
			const struct answer *answer)
{
	add_header(response, "Content-Type", answer->type);
	add_header(response, "Cache-Control", "no-store");
	add_header(response, "X-Content-Type-Options", "nosniff");
	add_header(response, "Referrer-Policy", "no-referrer");
	add_header(response, "Content-Security-Policy",
		   answer->is_page ? page_policy : text_policy);
	if (answer->allow != NULL)
		add_header(response, "Allow", answer->allow);
	if (answer->ask_token)
		add_header(response, "WWW-Authenticate", "Bearer");
	if (phase_is_stopping(s->parts.pages->core->drain.phase))
		add_header(response, "Connection", "close");
}

static enum MHD_Result send_answer(const struct server *s, struct MHD_Connection *connection,
				   const struct answer *answer)
{
	struct span body = answer_body(answer);
	enum MHD_ResponseMemoryMode mode =
	    answer->fixed.ptr != NULL ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_COPY;
	if (answer->made.failed)
		return MHD_NO; /* no memory: the connection is cut */
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.ptr, mode);
	if (response == NULL)
		return MHD_NO;
	add_headers(s, response, answer);
	enum MHD_Result result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result refuse(const struct server *s, struct MHD_Connection *connection,
			      unsigned status, const char *sentence)
{
	struct answer answer = {.status = status, .type = "application/json"};
	text_print(&answer.made, "{\"error\":\"%s\"}\n", sentence);
	enum MHD_Result result = send_answer(s, connection, &answer);
	answer_fini(&answer);
	return result;
}

static enum MHD_Result refuse_body(const struct server *s, struct MHD_Connection *connection)
{
	return refuse(s, connection, MHD_HTTP_CONTENT_TOO_LARGE, "no body is needed");
}

static enum MHD_Result begin_feed(struct peer *peer, const struct answer *answer)
{
	struct server *s = peer->server;
	if (count_peers(s, WITH_FEED) >= SERVER_LISTENERS)
		return refuse(s, peer->connection, MHD_HTTP_SERVICE_UNAVAILABLE,
			      "as many listen already as may; /status is the same, once");
	struct MHD_Response *response = MHD_create_response_for_upgrade(upgraded, NULL);
	if (response == NULL)
		return MHD_NO;
	add_header(response, "Upgrade", "websocket");
	add_header(response, "Sec-WebSocket-Accept", answer->websocket_accept);
	enter(peer, PEER_JOINING);
	enum MHD_Result result =
	    MHD_queue_response(peer->connection, MHD_HTTP_SWITCHING_PROTOCOLS, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result refuse_waiter(const struct peer *peer)
{
	return refuse(peer->server, peer->connection, MHD_HTTP_SERVICE_UNAVAILABLE,
		      "as many wait for an answer already as may");
}

static enum MHD_Result begin_wait(struct peer *peer, const struct answer *answer)
{
	struct server *s = peer->server;
	if (count_peers(s, WAITERS) >= WAITERS_MOST)
		return refuse_waiter(peer);
	suspend(peer, PEER_WAITING);
	if (answer->wait_ms < (UINT64_MAX - loop_now_ns(s->parts.loop)) / MS_NS)
		peer->until_ns = loop_now_ns(s->parts.loop) + answer->wait_ms * MS_NS;
	expect(s, peer->until_ns);
	return MHD_YES;
}

static enum MHD_Result begin_counting(struct peer *peer)
{
	if (count_peers(peer->server, WAITERS) >= WAITERS_MOST)
		return refuse_waiter(peer);
	suspend(peer, PEER_COUNTING);
	return MHD_YES;
}

static enum MHD_Result begin_reloading(struct peer *peer, const struct answer *answer)
{
	if (count_peers(peer->server, WAITERS) >= WAITERS_MOST)
		return refuse_waiter(peer);
	peer->reload = answer->reload;
	suspend(peer, PEER_RELOADING);
	return MHD_YES;
}

/* --- requests --- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static const char *argument(struct MHD_Connection *connection, const char *name)
{
	const char *value = NULL;
	size_t len = 0;
	bool given = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, name,
						   strlen(name), &value, &len) == MHD_YES;
	return given && value == NULL ? "" : value; /* "?wait" without a value is a wait */
}

static bool will_send_too_much(struct MHD_Connection *connection)
{
	const char *length = header(connection, "Content-Length");
	return length != NULL && (strlen(length) > 9 || atol(length) > DISCARDED_MOST_BYTES);
}

/* Whoever asks for hundreds of them at once gets some in each turn, one after the other. */
static bool must_queue(struct peer *peer, const char *path)
{
	struct server *s = peer->server;
	bool called = peer->called;
	peer->called = false;
	if (called || !pages_is_dear(path))
		return false;
	return s->making_ns > MAKING_MOST_NS || count_peers(s, IN(PEER_QUEUED)) > 0;
}

static enum MHD_Result answer_request(struct peer *peer, const char *method, const char *path)
{
	struct server *s = peer->server;
	struct MHD_Connection *connection = peer->connection;
	struct request request = {
	    .method = method,
	    .path = path,
	    .host = header(connection, "Host"),
	    .origin = header(connection, "Origin"),
	    .authorization = header(connection, "Authorization"),
	    .upgrade = header(connection, "Upgrade"),
	    .websocket_key = header(connection, "Sec-WebSocket-Key"),
	    .websocket_version = header(connection, "Sec-WebSocket-Version"),
	    .wait = argument(connection, "wait"),
	    .by = argument(connection, "by"),
	    .force = argument(connection, "force"),
	    .counted = peer->counted,
	    .reload = peer->reload,
	    .late = peer->waited,
	};
	struct answer answer;
	uint64_t begun_ns = loop_now_ns(s->parts.loop);
	if (peer->waited && peer->reload == 0)
		pages_wait_over(s->parts.pages, &answer);
	else
		pages_answer(s->parts.pages, &s->gate, &request, &answer);
	s->making_ns += loop_now_ns(s->parts.loop) - begun_ns;
	peer->waited = false;
	peer->counted = false;
	peer->reload = 0;
	enum MHD_Result result = MHD_NO;
	switch (answer.how) {
	case ANSWER_NOW:
		result = send_answer(s, connection, &answer);
		break;
	case ANSWER_AT_THE_END:
		result = begin_wait(peer, &answer);
		break;
	case ANSWER_WHEN_COUNTED:
		result = begin_counting(peer);
		break;
	case ANSWER_WHEN_RELOADED:
		result = begin_reloading(peer, &answer);
		break;
	case ANSWER_FEED:
		result = begin_feed(peer, &answer);
		break;
	}
	answer_fini(&answer);
	return result;
}

static enum MHD_Result requested(void *arg, struct MHD_Connection *connection, const char *path,
				 const char *method, const char *version, const char *body,
				 size_t *body_len, void **asked)
{
	struct server *s = arg;
	struct peer *peer = peer_of(connection);
	(void)version;
	(void)body;
	if (peer == NULL)
		return refuse(s, connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
	if (s->closing || peer->state == PEER_CUT) /* it does not get that far */
		return refuse(s, connection, MHD_HTTP_SERVICE_UNAVAILABLE, "too late");
	if (*asked == NULL) { /* its headers are here */
		*asked = peer;
		peer->discarded = 0;
		enter(peer, PEER_ASKING);
		return will_send_too_much(connection) ? refuse_body(s, connection) : MHD_YES;
	}
	if (*body_len > 0) {
		peer->discarded += *body_len;
		*body_len = 0;
		return peer->discarded > DISCARDED_MOST_BYTES ? MHD_NO : MHD_YES;
	}
	if (peer->discarded > BODY_MOST_BYTES)
		return refuse_body(s, connection);
	if (must_queue(peer, path)) {
		suspend(peer, PEER_QUEUED);
		return MHD_YES;
	}
	return answer_request(peer, method, path);
}

/* --- life --- */

static void server_came(void *arg, int fd, const struct sockaddr *from, socklen_t len)
{
	struct server *s = arg;
	make_room(s);
	(void)MHD_add_connection(s->daemon, fd, from, len); /* closes it where it has no memory */
	go_on(s);
}

/* True: it has more to do at once. */
static bool run_library(struct server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;
	struct peer *next = find_oldest(s, IN(PEER_QUEUED));
	s->making_ns = 0;
	if (next != NULL) {
		next->called = true;
		wake(next);
	}
	(void)MHD_run(s->daemon); /* fails only for daemons of other kinds */
	return count_peers(s, IN(PEER_QUEUED)) > 0 ||
	       (MHD_get_timeout(s->daemon, &ms) == MHD_YES && ms == 0);
}

bool server_run(struct server *s)
{
	acceptor_run(s->acceptor);
	return run_library(s);
}

static void readable(void *arg, unsigned events)
{
	(void)events;
	serve(arg);
}

__attribute__((format(printf, 2, 0))) static void library_says(void *arg, const char *fmt,
							       va_list ap)
{
	char text[256];
	struct server *s = arg;
	(void)vsnprintf(text, sizeof text, fmt, ap);
	text[strcspn(text, "\r\n")] = '\0';
	log_say(s->parts.log, LOG_DEBUG, "admin connection trouble", kv_text("why", text));
}

/* Of a Unix socket it would only tell that there are no options of TCP. */
static struct MHD_Daemon *start_daemon(struct server *s)
{
	unsigned most = SERVER_CONNECTIONS + SERVER_LISTENERS + BEING_CUT_MOST;
	unsigned flags =
	    MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_UPGRADE | MHD_ALLOW_SUSPEND_RESUME;
	if (!s->gate.is_unix)
		flags |= MHD_USE_ERROR_LOG;
	return MHD_start_daemon(flags, 0, NULL, NULL, requested, s, MHD_OPTION_EXTERNAL_LOGGER,
				library_says, s, MHD_OPTION_CONNECTION_LIMIT, most,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_MOST_BYTES,
				MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION,
				connection_changed, s, MHD_OPTION_NOTIFY_COMPLETED, request_ended,
				s, MHD_OPTION_END);
}

static int library_fd(const struct server *s)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	must(info != NULL);
	return info->epoll_fd;
}

void server_poll(const struct server *s, struct pollfd *fds)
{
	fds[0] = (struct pollfd){.fd = library_fd(s), .events = POLLIN};
	fds[1] = (struct pollfd){.fd = acceptor_fd(s->acceptor), .events = POLLIN};
}

/* The listening socket is taken last: it stays the caller's if anything fails. */
static bool join_loop(struct server *s, int listener)
{
	struct loop *loop = s->parts.loop;
	s->hook = (struct turn_hook){.run = server_turn, .arg = s};
	loop_add_hook(loop, TURN_WRITE, &s->hook);
	s->impatience = timer_create_on(loop, lost_patience, s);
	s->watch = watch_create(loop, library_fd(s), readable, s);
	if (s->impatience == NULL || s->watch == NULL)
		return false;
	s->acceptor = acceptor_create(loop, s->parts.log, listener, server_came, s);
	if (s->acceptor == NULL)
		return false;
	watch_set(s->watch, WATCH_READ);
	return true;
}

static void leave_loop(struct server *s)
{
	acceptor_destroy(s->acceptor); /* closes the listening socket, too */
	watch_destroy(s->watch);
	loop_remove_hook(&s->hook);
	timer_destroy(s->impatience);
}

enum status server_open(const struct server_parts *parts, const struct gate *gate, int listener,
			struct server **ret_server, struct error *why)
{
	struct server *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return error_set(why, ST_NOMEM, "admin server: out of memory");
	s->parts = *parts;
	s->gate = *gate;
	s->impatient_ns = UINT64_MAX;
	list_init(&s->peers);
	s->daemon = start_daemon(s);
	if (s->daemon == NULL) {
		memory_free(s);
		return error_set(why, ST_SYSTEM, "admin server: libmicrohttpd does not start");
	}
	if (!join_loop(s, listener)) {
		leave_loop(s);
		MHD_stop_daemon(s->daemon);
		memory_free(s);
		return error_set(why, ST_NOMEM, "admin server: out of memory");
	}
	*ret_server = s;
	return ST_OK;
}

void server_answer_counted(struct server *s)
{
	list_each (it, &s->peers) {
		struct peer *peer = list_entry(it, struct peer, node);
		if (peer->state != PEER_COUNTING)
			continue;
		peer->counted = true;
		wake(peer);
	}
	go_on(s);
}

/* One that waits for a later reload asks in vain, and waits on. */
void server_answer_reloaded(struct server *s)
{
	list_each (it, &s->peers) {
		struct peer *peer = list_entry(it, struct peer, node);
		if (peer->state == PEER_RELOADING)
			wake(peer);
	}
	go_on(s);
}

void server_set_token(struct server *s, const char *token)
{
	if (!s->gate.is_unix)
		s->gate.token = token;
}

void server_answer_waiting(struct server *s)
{
	list_each (it, &s->peers) {
		struct peer *peer = list_entry(it, struct peer, node);
		if (is_suspended(peer) && peer->state != PEER_QUEUED)
			end_wait(peer);
	}
}

bool server_is_busy(const struct server *s)
{
	list_each (it, &s->peers) {
		const struct peer *peer = list_entry(it, struct peer, node);
		if (peer->state == PEER_ASKING || peer->state == PEER_JOINING || is_suspended(peer))
			return true;
	}
	return false;
}

void server_close(struct server *s)
{
	if (s == NULL)
		return;
	s->closing = true;
	list_each (it, &s->peers) {
		struct peer *peer = list_entry(it, struct peer, node);
		must(peer->state != PEER_LISTENING || feed_count(s->parts.feed) == 0);
		cut(peer);
	}
	(void)run_library(s);
	leave_loop(s);
	MHD_stop_daemon(s->daemon);
	memory_free(s);
}
