/* A raw socket and a watch on it, no uv_tcp_t: libuv would own the descriptor and its write queue,
 * and TLS will need to sit between our buffers and the very same descriptor.
 *
 *  resolving --addresses--> connecting --writable, no error--> open --EOF or error--> dead
 *      \                      |   ^ next address                                       ^
 *       \                     +---+                                                    |
 *        +---------- no address left, deadline ----------------------------------------+
 *
 * The awkward part is who is on the stack. Callbacks run only from the stream's own timer, watch or
 * lookup, never from within a call of the owner and never from a turn hook: a connect that fails
 * at once, or a send that fails in TURN_WRITE, is noted and told from a timer of 0 ms. So an owner
 * never finds itself called back in the middle of stream_open() or stream_write(), and what a
 * callback writes, to this stream or to another, still leaves with the TURN_WRITE that follows.
 *
 * The hook is on the loop's list only while there is something to send, so a thousand idle streams
 * cost a turn nothing. Both buffers start at nothing: an idle connection holds 4 KB of input. */
#include "wire/stream.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "wire/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	INPUT_FIRST = 4 << 10,  /* greetings and heartbeats fit */
	INPUT_MOST = 256 << 10, /* beyond it a larger read saves no measurable time */
	OUTPUT_FIRST = 1 << 10,
	OUTPUT_KEEP = 256 << 10, /* a larger buffer is given back once it is empty */
};

enum stream_state { STREAM_RESOLVING, STREAM_CONNECTING, STREAM_OPEN, STREAM_DEAD };

struct stream {
	struct loop *loop;
	const struct stream_events *events;
	void *arg;

	enum stream_state state;
	bool calling; /* one of the owner's callbacks is on the stack: do not free */
	bool closed;  /* stream_close() was called */
	struct error why;

	int fd; /* -1: none */
	struct watch *watch;
	struct timer *timer; /* opening: the attempt's share of the deadline; dead: tells it */
	struct turn_hook hook;
	struct resolve *lookup;
	struct addrinfo *addresses, *next; /* next: to be tried; NULL when there is none left */
	uint64_t deadline_ns;
	struct sockaddr_un unix_path; /* used when host[0] is 0 */
	unsigned port;

	bool reading;      /* the owner wants input */
	bool send_blocked; /* the kernel's buffer is full: WATCH_WRITE tells */
	char *in, *out;    /* in: in_len unused bytes at the front */
	size_t in_cap, in_len;
	size_t out_cap, out_from, out_to; /* unsent: from..to */
	uint64_t last_input_ns, last_output_ns;
	uint64_t stalled_since_ns; /* 0: not stalled */

	char host[]; /* "" for a Unix socket */
};

static void free_now(struct stream *stream)
{
	memory_free(stream->in);
	memory_free(stream->out);
	memory_free(stream);
}

/* Everything the kernel or the loop knows of us; the memory stays. */
static void let_go(struct stream *stream)
{
	loop_remove_hook(&stream->hook);
	watch_destroy(stream->watch);
	stream->watch = NULL;
	if (stream->fd >= 0)
		(void)close(stream->fd); /* nothing to be done about an error */
	stream->fd = -1;
	resolve_cancel(stream->lookup);
	stream->lookup = NULL;
	if (stream->addresses != NULL)
		freeaddrinfo(stream->addresses);
	stream->addresses = stream->next = NULL;
}

/* Returns false when the owner closed the stream meanwhile: then it is gone. */
static bool call_ended(struct stream *stream)
{
	stream->calling = false;
	if (!stream->closed)
		return true;
	free_now(stream);
	return false;
}

static void fail_later(struct stream *stream)
{
	if (stream->state == STREAM_DEAD)
		return;
	stream->state = STREAM_DEAD;
	let_go(stream);
	stream->out_from = stream->out_to = 0;
	stream->stalled_since_ns = 0;
	timer_start(stream->timer, 0);
}

/* Only from a timer, a watch or a lookup: the owner is not on the stack. */
static void fail_now(struct stream *stream)
{
	fail_later(stream);
	timer_stop(stream->timer);
	stream->calling = true;
	stream->events->closed(stream->arg, &stream->why);
	(void)call_ended(stream);
}

static void watch_what_matters(struct stream *stream)
{
	unsigned events = 0;
	if (stream->reading)
		events |= WATCH_READ;
	if (stream->send_blocked)
		events |= WATCH_WRITE;
	watch_set(stream->watch, events);
}

/* --- opening -------------------------------------------------------------------------------- */

static bool is_unix(const struct stream *stream)
{
	return stream->host[0] == '\0';
}

static enum status connect_error(struct stream *stream, int errnum)
{
	if (is_unix(stream))
		return error_system(&stream->why, errnum, "connect %s", stream->unix_path.sun_path);
	return error_system(&stream->why, errnum, "connect %s:%u", stream->host, stream->port);
}

static void socket_ready(void *arg, unsigned events);

/* ST_OK: under way. The descriptor is watched before anything can happen on it. */
static enum status attempt(struct stream *stream, int family, const struct sockaddr *to,
			   socklen_t to_bytes)
{
	int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return connect_error(stream, errno);
	if (family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only slower */
	if (connect(fd, to, to_bytes) != 0 && errno != EINPROGRESS) {
		enum status st = connect_error(stream, errno);
		(void)close(fd);
		return st;
	}
	stream->fd = fd;
	stream->watch = watch_create(stream->loop, fd, socket_ready, stream);
	if (stream->watch == NULL) {
		(void)close(fd);
		stream->fd = -1;
		return error_set(&stream->why, ST_NOMEM, "connect: out of memory");
	}
	watch_set(stream->watch, WATCH_WRITE);
	return ST_OK;
}

/* What is left of the deadline is shared among the addresses left, so that one that swallows
 * packets cannot keep a good one from being tried. */
static void start_attempt_timer(struct stream *stream, unsigned addresses_left)
{
	uint64_t now = loop_now_ns(stream->loop);
	uint64_t left_ms = 0;
	if (now < stream->deadline_ns)
		left_ms = (stream->deadline_ns - now + 999999) / 1000000;
	timer_start(stream->timer, left_ms / addresses_left);
}

/* ST_OK: an attempt is under way; else `why` tells why the last one failed. */
static enum status try_next(struct stream *stream)
{
	stream->state = STREAM_CONNECTING;
	while (stream->next != NULL) {
		unsigned left = 0;
		for (const struct addrinfo *it = stream->next; it != NULL; it = it->ai_next)
			left++;
		const struct addrinfo *to = stream->next;
		stream->next = to->ai_next;
		if (attempt(stream, to->ai_family, to->ai_addr, to->ai_addrlen) == ST_OK) {
			start_attempt_timer(stream, left);
			return ST_OK;
		}
	}
	return stream->why.status;
}

static void give_up_attempt(struct stream *stream)
{
	watch_destroy(stream->watch);
	stream->watch = NULL;
	(void)close(stream->fd);
	stream->fd = -1;
	if (try_next(stream) != ST_OK)
		fail_now(stream);
}

static void connected(struct stream *stream)
{
	int err = 0;
	socklen_t err_bytes = sizeof err;
	if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &err, &err_bytes) != 0)
		err = errno;
	if (err != 0) {
		(void)connect_error(stream, err);
		give_up_attempt(stream);
		return;
	}
	timer_stop(stream->timer);
	if (stream->addresses != NULL)
		freeaddrinfo(stream->addresses);
	stream->addresses = stream->next = NULL;
	stream->state = STREAM_OPEN;
	stream->last_input_ns = stream->last_output_ns = loop_now_ns(stream->loop);
	watch_what_matters(stream);
	if (stream->out_to > stream->out_from)
		loop_add_hook(stream->loop, TURN_WRITE, &stream->hook);
	stream->calling = true;
	stream->events->opened(stream->arg);
	(void)call_ended(stream);
}

static void timer_fired(void *arg)
{
	struct stream *stream = arg;
	switch (stream->state) {
	case STREAM_RESOLVING:
		(void)error_set(&stream->why, ST_TIMEOUT, "resolve %s: timed out", stream->host);
		fail_now(stream);
		return;
	case STREAM_CONNECTING:
		if (is_unix(stream))
			(void)error_set(&stream->why, ST_TIMEOUT, "connect %s: timed out",
					stream->unix_path.sun_path);
		else
			(void)error_set(&stream->why, ST_TIMEOUT, "connect %s:%u: timed out",
					stream->host, stream->port);
		give_up_attempt(stream);
		return;
	case STREAM_OPEN:
		must(!"an open stream has no timer");
		return;
	case STREAM_DEAD:
		fail_now(stream);
		return;
	}
}

static void resolved(void *arg, int error, struct addrinfo *found)
{
	struct stream *stream = arg;
	stream->lookup = NULL;
	if (error != 0) {
		(void)error_set(&stream->why, ST_SYSTEM, "resolve %s: %s", stream->host,
				gai_strerror(error));
		fail_now(stream);
		return;
	}
	stream->addresses = stream->next = found;
	if (try_next(stream) != ST_OK)
		fail_now(stream);
}

static enum status begin_unix(struct stream *stream)
{
	stream->state = STREAM_CONNECTING;
	start_attempt_timer(stream, 1);
	return attempt(stream, AF_UNIX, (const struct sockaddr *)&stream->unix_path,
		       sizeof stream->unix_path);
}

static enum status begin_tcp(struct stream *stream)
{
	char service[12];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *found;
	(void)snprintf(service, sizeof service, "%u", stream->port);
	if (getaddrinfo(stream->host, service, &hints, &found) == 0) {
		stream->addresses = stream->next = found;
		return try_next(stream);
	}
	stream->state = STREAM_RESOLVING;
	start_attempt_timer(stream, 1);
	stream->lookup = resolve_start(stream->loop, stream->host, stream->port, resolved, stream);
	if (stream->lookup == NULL)
		return error_set(&stream->why, ST_NOMEM, "resolve %s: no memory or no thread",
				 stream->host);
	return ST_OK;
}

static enum status begin(struct stream *stream, const struct address *to)
{
	if (to->path == NULL)
		return begin_tcp(stream);
	if (strlen(to->path) >= sizeof stream->unix_path.sun_path)
		return error_set(&stream->why, ST_INVALID, "connect %s: the path is too long",
				 to->path);
	stream->unix_path.sun_family = AF_UNIX;
	memcpy(stream->unix_path.sun_path, to->path, strlen(to->path) + 1);
	return begin_unix(stream);
}

static void flush_at_turn_end(void *arg);

struct stream *stream_open(struct loop *loop, const struct address *to, uint64_t deadline_ms,
			   const struct stream_events *events, void *arg)
{
	must((to->host != NULL && to->host[0] != '\0') != (to->path != NULL));
	const char *host = to->host != NULL ? to->host : "";
	struct stream *stream = memory_clear(1, sizeof *stream + strlen(host) + 1);
	if (stream == NULL)
		return NULL;
	stream->timer = timer_create_on(loop, timer_fired, stream);
	if (stream->timer == NULL) {
		memory_free(stream);
		return NULL;
	}
	memcpy(stream->host, host, strlen(host) + 1);
	stream->port = to->port;
	stream->loop = loop;
	stream->events = events;
	stream->arg = arg;
	stream->fd = -1;
	stream->reading = true;
	stream->hook = (struct turn_hook){.run = flush_at_turn_end, .arg = stream};
	list_init(&stream->hook.node);
	stream->deadline_ns = loop_now_ns(loop) + deadline_ms * 1000000;
	if (begin(stream, to) != ST_OK)
		fail_later(stream);
	return stream;
}

void stream_close(struct stream *stream)
{
	if (stream == NULL)
		return;
	must(!stream->closed);
	stream->closed = true;
	stream->state = STREAM_DEAD;
	let_go(stream);
	timer_destroy(stream->timer);
	stream->timer = NULL;
	if (!stream->calling)
		free_now(stream);
}

/* --- input ---------------------------------------------------------------------------------- */

/* A read that filled the buffer asks for a larger one the next time. */
static enum status make_input_room(struct stream *stream)
{
	if (stream->in_len < stream->in_cap)
		return ST_OK;
	must(stream->in_cap < INPUT_MOST); /* else the consumer never uses its input */
	size_t cap = stream->in_cap ? stream->in_cap * 2 : INPUT_FIRST;
	char *in = memory_grow(stream->in, cap);
	if (in == NULL)
		return error_set(&stream->why, ST_NOMEM, "read: out of memory");
	stream->in = in;
	stream->in_cap = cap;
	return ST_OK;
}

/* Best effort: more room than strictly needed saves system calls, and only that. */
static void widen_input(struct stream *stream)
{
	if (stream->in_cap >= INPUT_MOST)
		return;
	char *in = memory_grow(stream->in, stream->in_cap * 2);
	if (in == NULL)
		return;
	stream->in = in;
	stream->in_cap *= 2;
}

static void offer_input(struct stream *stream)
{
	stream->calling = true;
	size_t used = stream->events->received(stream->arg, span_of(stream->in, stream->in_len));
	if (!call_ended(stream))
		return;
	must(used <= stream->in_len);
	stream->in_len -= used;
	if (stream->in_len > 0 && used > 0)
		memmove(stream->in, stream->in + used, stream->in_len);
}

/* One recv for each readiness: the others get their turn, and what is left shows again. */
static void read_some(struct stream *stream)
{
	if (make_input_room(stream) != ST_OK) {
		fail_now(stream);
		return;
	}
	size_t room = stream->in_cap - stream->in_len;
	ssize_t n = recv(stream->fd, stream->in + stream->in_len, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n < 0) {
		(void)error_system(&stream->why, errno, "read");
		stream->why.status = ST_CLOSED;
		fail_now(stream);
		return;
	}
	if (n == 0) {
		(void)error_set(&stream->why, ST_CLOSED, "the peer closed the connection");
		fail_now(stream);
		return;
	}
	stream->last_input_ns = loop_now_ns(stream->loop);
	stream->in_len += (size_t)n;
	if ((size_t)n == room)
		widen_input(stream);
	offer_input(stream);
}

void stream_read_stop(struct stream *stream)
{
	stream->reading = false;
	if (stream->state == STREAM_OPEN)
		watch_what_matters(stream);
}

void stream_read_start(struct stream *stream)
{
	stream->reading = true;
	if (stream->state == STREAM_OPEN)
		watch_what_matters(stream);
}

/* --- output --------------------------------------------------------------------------------- */

static void output_moved(struct stream *stream, size_t bytes)
{
	uint64_t now = loop_now_ns(stream->loop);
	stream->out_from += bytes;
	if (bytes > 0)
		stream->last_output_ns = now;
	if (stream->out_from < stream->out_to) {
		stream->send_blocked = true;
		if (bytes > 0 || stream->stalled_since_ns == 0)
			stream->stalled_since_ns = now;
		return;
	}
	stream->send_blocked = false;
	stream->stalled_since_ns = 0;
	stream->out_from = stream->out_to = 0;
	if (stream->out_cap > OUTPUT_KEEP) {
		memory_free(stream->out);
		stream->out = NULL;
		stream->out_cap = 0;
	}
}

/* ST_OK also when the kernel took only a part. */
static enum status send_some(struct stream *stream)
{
	ssize_t n = send(stream->fd, stream->out + stream->out_from,
			 stream->out_to - stream->out_from, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
		(void)error_system(&stream->why, errno, "write");
		stream->why.status = ST_CLOSED;
		return ST_CLOSED;
	}
	output_moved(stream, n < 0 ? 0 : (size_t)n);
	watch_what_matters(stream);
	return ST_OK;
}

static void flush_at_turn_end(void *arg)
{
	struct stream *stream = arg;
	loop_remove_hook(&stream->hook);
	if (stream->state == STREAM_OPEN && !stream->send_blocked &&
	    stream->out_to > stream->out_from && send_some(stream) != ST_OK)
		fail_later(stream);
}

static void socket_ready(void *arg, unsigned events)
{
	struct stream *stream = arg;
	if (stream->state == STREAM_CONNECTING) {
		connected(stream);
		return;
	}
	if ((events & WATCH_WRITE) != 0 && stream->send_blocked && send_some(stream) != ST_OK) {
		fail_now(stream);
		return;
	}
	/* Also with reading stopped: then it is an error that shows, and recv() finds it. */
	if ((events & WATCH_READ) != 0)
		read_some(stream);
}

static bool make_output_room(struct stream *stream, size_t bytes)
{
	size_t unsent = stream->out_to - stream->out_from;
	if (stream->out_from > 0 && stream->out_cap - unsent >= bytes &&
	    stream->out_from >= unsent) { /* each byte is moved at most once for each time sent */
		memmove(stream->out, stream->out + stream->out_from, unsent);
		stream->out_from = 0;
		stream->out_to = unsent;
		return true;
	}
	size_t cap = stream->out_cap ? stream->out_cap : OUTPUT_FIRST;
	while (cap - stream->out_to < bytes) {
		if (cap > SIZE_MAX / 4)
			return false;
		cap *= 2;
	}
	char *out = memory_grow(stream->out, cap);
	if (out == NULL)
		return false;
	stream->out = out;
	stream->out_cap = cap;
	return true;
}

char *stream_room(struct stream *stream, size_t bytes)
{
	if (stream->state == STREAM_DEAD)
		return NULL;
	if (stream->out_cap - stream->out_to < bytes && !make_output_room(stream, bytes)) {
		/* Half a command sent would be worse than none: the connection ends here. */
		(void)error_set(&stream->why, ST_NOMEM, "write: out of memory for %zu bytes",
				bytes);
		fail_later(stream);
		return NULL;
	}
	return stream->out + stream->out_to;
}

void stream_wrote(struct stream *stream, size_t bytes)
{
	must(bytes <= stream->out_cap - stream->out_to);
	stream->out_to += bytes;
	if (stream->state == STREAM_OPEN && !list_linked(&stream->hook.node))
		loop_add_hook(stream->loop, TURN_WRITE, &stream->hook);
}

void stream_write(struct stream *stream, struct span bytes)
{
	char *room = stream_room(stream, bytes.len);
	if (room == NULL)
		return;
	if (bytes.len > 0)
		memcpy(room, bytes.ptr, bytes.len);
	stream_wrote(stream, bytes.len);
}

size_t stream_unsent(const struct stream *stream)
{
	return stream->out_to - stream->out_from;
}

uint64_t stream_last_input_ns(const struct stream *stream)
{
	return stream->last_input_ns;
}

uint64_t stream_last_output_ns(const struct stream *stream)
{
	return stream->last_output_ns;
}

uint64_t stream_stalled_ns(const struct stream *stream)
{
	if (stream->stalled_since_ns == 0)
		return 0;
	return loop_now_ns(stream->loop) - stream->stalled_since_ns;
}
