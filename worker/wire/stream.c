/* A raw socket and a watch on it, no uv_tcp_t: libuv would own the descriptor and its write queue,
 * and TLS has to sit between our buffers and the very same descriptor.
 *
 *  resolving --addresses--> connecting --writable--> shaking --TLS stands--> open --EOF, error--> dead
 *      \                      |   ^ next address         |  (plain: at once)                       ^
 *       \                     +---+----------------------+                                         |
 *        +---------- no address left, deadline ----------------------------------------------------+
 *
 * With TLS there is a second pair of buffers, in the session (tls.h), and three places that know of
 * it: the handshake, which is part of connecting and has its deadline; read_some(), which unseals all
 * that one recv(2) brought; and send_some(), which seals ahead of the kernel, but only so far that
 * a peer that does not read cannot make us hold everything twice.
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
#include "base/moves.h"
#include "base/must.h"
#include "loop/loop.h"
#include "wire/resolve.h"
#include "wire/tls.h"

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
	SEAL_STEP = 64 << 10,
	SEAL_AHEAD = 256 << 10, /* sealed and unsent: what one send(2) may take at once */
};

/*  resolving --> connecting --> open
 *                  ^   \         ^
 *   next address   |    v        |
 *                  \-- shaking --/      and dead, from each of them  */
enum stream_state {
	STREAM_RESOLVING,
	STREAM_CONNECTING,
	STREAM_SHAKING,
	STREAM_OPEN,
	STREAM_DEAD,
};

static const struct moves_row states[] = {
    [STREAM_RESOLVING] = {"resolving",  MAY(STREAM_CONNECTING) | MAY(STREAM_DEAD)                                      },
    [STREAM_CONNECTING] = {"connecting", MAY(STREAM_CONNECTING) | MAY(STREAM_SHAKING) |
					     MAY(STREAM_OPEN) | MAY(STREAM_DEAD)},
    [STREAM_SHAKING] = {"shaking",    MAY(STREAM_CONNECTING) | MAY(STREAM_OPEN) | MAY(STREAM_DEAD)                   },
    [STREAM_OPEN] = {"open",       MAY(STREAM_DEAD)							       },
 /* It fails, and then its owner closes it. */
    [STREAM_DEAD] = {"dead",       MAY(STREAM_DEAD)							       },
};

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
	/* Opening: the attempt's share of the deadline. Open: what came while reading was stopped is to be
	 * read now (TLS), or what came before the end. Dead: tells it. */
	struct timer *timer;
	struct turn_hook hook;
	struct resolve *lookup;
	struct addrinfo *addresses;
	unsigned first, tried,
	    n_addresses; /* the next to be tried is first + tried, round and round */
	uint64_t deadline_ns;
	uint64_t dead_after_ms;
	struct tls *tls;              /* NULL: plain */
	struct tls_session *session;  /* from STREAM_SHAKING on, with TLS */
	struct sockaddr_un unix_path; /* used when host[0] is 0 */
	unsigned port;

	bool reading;      /* the owner wants input */
	bool send_blocked; /* the kernel's buffer is full: WATCH_WRITE tells */
	bool
	    may_not_send; /* the peer takes no more, and `why` says so: what it said last is still read */
	char *in, *out; /* in: in_len unused bytes at the front */
	size_t in_cap, in_len;
	size_t out_cap, out_from, out_to; /* unsent: from..to */
	uint64_t last_input_ns, last_output_ns;
	uint64_t stalled_since_ns; /* 0: not stalled */

	char host[]; /* "" for a Unix socket */
};

/* The only place that assigns the state. */
static void stream_move(struct stream *stream, enum stream_state next)
{
	must(moves_may(states, stream->state, next));
	stream->state = next;
}

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
	tls_session_destroy(stream->session);
	stream->session = NULL;
	resolve_cancel(stream->lookup);
	stream->lookup = NULL;
	if (stream->addresses != NULL)
		freeaddrinfo(stream->addresses);
	stream->addresses = NULL;
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
	stream_move(stream, STREAM_DEAD);
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
	if (stream->reading || stream->state == STREAM_SHAKING)
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

static void set_option(int fd, int option, uint64_t value)
{
	int number = value > INT32_MAX ? INT32_MAX : (int)value;
	(void)setsockopt(fd, IPPROTO_TCP, option, &number,
			 sizeof number); /* only slower to notice */
}

/* A peer that is gone without a word is found by the kernel: within dead_after_ms after something was
 * sent to it (TCP_USER_TIMEOUT), and on an idle connection by three probes in about that time. */
static void notice_silence(int fd, uint64_t dead_after_ms)
{
	enum { IDLE_S = 60, PROBES = 3 };
	int on = 1;
	uint64_t idle_s = dead_after_ms != 0 ? dead_after_ms / 2000 : IDLE_S;
	uint64_t every_s = idle_s / PROBES;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	set_option(fd, TCP_KEEPIDLE, idle_s > 0 ? idle_s : 1);
	set_option(fd, TCP_KEEPINTVL, every_s > 0 ? every_s : 1);
	set_option(fd, TCP_KEEPCNT, PROBES);
	if (dead_after_ms != 0)
		set_option(fd, TCP_USER_TIMEOUT, dead_after_ms);
}

/* ST_OK: under way. The descriptor is watched before anything can happen on it. */
static enum status attempt(struct stream *stream, int family, const struct sockaddr *to,
			   socklen_t to_bytes)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return connect_error(stream, errno);
	if (family != AF_UNIX) {
		set_option(fd, TCP_NODELAY, 1);
		notice_silence(fd, stream->dead_after_ms);
	}
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

static const struct addrinfo *take_address(struct stream *stream)
{
	unsigned at = (stream->first + stream->tried++) % stream->n_addresses;
	const struct addrinfo *it = stream->addresses;
	for (; at > 0; at--)
		it = it->ai_next;
	return it;
}

static void have_addresses(struct stream *stream, struct addrinfo *found)
{
	stream->addresses = found;
	for (const struct addrinfo *it = found; it != NULL; it = it->ai_next)
		stream->n_addresses++;
}

/* ST_OK: an attempt is under way; else `why` tells why the last one failed. */
static enum status try_next(struct stream *stream)
{
	stream_move(stream, STREAM_CONNECTING);
	while (stream->tried < stream->n_addresses) {
		unsigned left = stream->n_addresses - stream->tried;
		const struct addrinfo *to = take_address(stream);
		if (attempt(stream, to->ai_family, to->ai_addr, to->ai_addrlen) == ST_OK) {
			start_attempt_timer(stream, left);
			return ST_OK;
		}
	}
	return stream->why.status;
}

static void give_up_attempt(struct stream *stream)
{
	tls_session_destroy(stream->session);
	stream->session = NULL;
	stream->send_blocked = false;
	watch_destroy(stream->watch);
	stream->watch = NULL;
	(void)close(stream->fd);
	stream->fd = -1;
	if (try_next(stream) != ST_OK)
		fail_now(stream);
}

/* False: the owner has closed the stream meanwhile. */
static bool become_open(struct stream *stream)
{
	timer_stop(stream->timer);
	if (stream->addresses != NULL)
		freeaddrinfo(stream->addresses);
	stream->addresses = NULL;
	stream_move(stream, STREAM_OPEN);
	stream->last_input_ns = stream->last_output_ns = loop_now_ns(stream->loop);
	watch_what_matters(stream);
	if (stream_unsent(stream) > 0)
		loop_add_hook(stream->loop, TURN_WRITE, &stream->hook);
	stream->calling = true;
	stream->events->opened(stream->arg);
	return call_ended(stream);
}

static void shake_hands(struct stream *stream);

/* The handshake belongs to the attempt: its time is the attempt's, and when it fails the next
 * address may do better. */
static void start_tls(struct stream *stream)
{
	struct error why;
	if (tls_session_create(stream->tls, stream->host, &stream->session, &why) != ST_OK) {
		stream->why = why;
		give_up_attempt(stream);
		return;
	}
	stream_move(stream, STREAM_SHAKING);
	shake_hands(stream);
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
	} else if (stream->tls != NULL) {
		start_tls(stream);
	} else {
		(void)become_open(stream);
	}
}

static void unseal_input(struct stream *stream);

static void hear_last_words(struct stream *stream);

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
	case STREAM_SHAKING:
		(void)error_set(&stream->why, ST_TIMEOUT, "tls %s:%u: timed out", stream->host,
				stream->port);
		give_up_attempt(stream);
		return;
	case STREAM_OPEN:
		if (stream->may_not_send)
			hear_last_words(stream);
		else if (stream->reading)
			unseal_input(stream); /* a plain one has no timer for this */
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
	have_addresses(stream, found);
	if (try_next(stream) != ST_OK)
		fail_now(stream);
}

static enum status begin_unix(struct stream *stream)
{
	stream_move(stream, STREAM_CONNECTING);
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
		have_addresses(stream, found);
		return try_next(stream);
	}
	start_attempt_timer(stream, 1); /* resolving is where it begins */
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

static enum status begin_tls(struct stream *stream, const struct address *to)
{
	struct error why;
	if (stream->tls == NULL)
		return ST_OK;
	must(to->path == NULL);
	/* With an older set of files there is still a chance; whoever dials has told of the trouble. */
	enum status st = tls_read_files(stream->tls, NULL, &why);
	if (st == ST_OK || tls_is_usable(stream->tls))
		return ST_OK;
	return error_set(&stream->why, st, "tls: %s", why.text);
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
	stream->dead_after_ms = to->dead_after_ms;
	stream->first = to->first;
	stream->tls = to->tls;
	if (begin_tls(stream, to) != ST_OK || begin(stream, to) != ST_OK)
		fail_later(stream);
	return stream;
}

/* So that the peer knows that nothing was cut off. Not worth waiting for: what the kernel does not
 * take now is not said. */
static void say_goodbye(struct stream *stream)
{
	if (stream->state != STREAM_OPEN || stream->session == NULL ||
	    tls_unsent(stream->session).len > 0)
		return;
	tls_say_goodbye(stream->session);
	struct span goodbye = tls_unsent(stream->session);
	if (goodbye.len > 0)
		(void)!send(stream->fd, goodbye.ptr, goodbye.len, MSG_NOSIGNAL);
}

void stream_close(struct stream *stream)
{
	if (stream == NULL)
		return;
	must(!stream->closed);
	stream->closed = true;
	say_goodbye(stream);
	stream_move(stream, STREAM_DEAD);
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

/* False: the stream is not open any more, and perhaps gone. */
static bool offer_input(struct stream *stream)
{
	stream->calling = true;
	size_t used = stream->events->received(stream->arg, span_of(stream->in, stream->in_len));
	if (!call_ended(stream))
		return false;
	must(used <= stream->in_len);
	stream->in_len -= used;
	if (stream->in_len > 0 && used > 0)
		memmove(stream->in, stream->in + used, stream->in_len);
	return stream->state == STREAM_OPEN;
}

/* ST_AGAIN: nothing there after all. */
static enum status receive(struct stream *stream, char *to, size_t room, size_t *ret_bytes)
{
	ssize_t n = recv(stream->fd, to, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return ST_AGAIN;
	if (n < 0) {
		(void)error_system(&stream->why, errno, "read");
		stream->why.status = ST_CLOSED;
		return ST_CLOSED;
	}
	if (n == 0)
		return error_set(&stream->why, ST_CLOSED, "the peer closed the connection");
	stream->last_input_ns = loop_now_ns(stream->loop);
	*ret_bytes = (size_t)n;
	return ST_OK;
}

/* One recv for each readiness: the others get their turn, and what is left shows again. */
static void read_plain(struct stream *stream)
{
	size_t n = 0;
	if (make_input_room(stream) != ST_OK) {
		fail_now(stream);
		return;
	}
	size_t room = stream->in_cap - stream->in_len;
	enum status st = receive(stream, stream->in + stream->in_len, room, &n);
	if (st == ST_AGAIN)
		return;
	if (st != ST_OK) {
		fail_now(stream);
		return;
	}
	stream->in_len += n;
	if (n == room)
		widen_input(stream);
	(void)offer_input(stream);
}

/* --- input, sealed -------------------------------------------------------------------------- */

static enum status receive_sealed(struct stream *stream)
{
	size_t room = 0, n = 0;
	char *to = tls_room(stream->session, &room);
	if (to == NULL)
		return error_set(&stream->why, ST_NOMEM, "read: out of memory");
	enum status st = receive(stream, to, room, &n);
	if (st == ST_OK)
		tls_came(stream->session, n);
	return st;
}

/* Reading may make OpenSSL answer: a new key, a refusal to renegotiate. */
static void send_answers(struct stream *stream)
{
	if (tls_unsent(stream->session).len > 0 && !list_linked(&stream->hook.node))
		loop_add_hook(stream->loop, TURN_WRITE, &stream->hook);
}

/* Until there is no more, or no room. */
static enum status unseal_some(struct stream *stream, size_t *ret_bytes)
{
	enum status st = ST_OK;
	while (st == ST_OK) {
		size_t n = 0;
		st = make_input_room(stream);
		if (st != ST_OK)
			return st;
		size_t room = stream->in_cap - stream->in_len;
		st = tls_unseal(stream->session, stream->in + stream->in_len, room, &n,
				&stream->why);
		if (st != ST_OK)
			return st;
		stream->in_len += n;
		*ret_bytes += n;
		if (n == room && stream->in_cap == INPUT_MOST)
			return ST_OK;
		if (n == room)
			widen_input(stream);
	}
	return st;
}

/* All that came, unless the owner stops reading: what came before an end or a fault is still good. */
static void unseal_input(struct stream *stream)
{
	enum status st;
	do {
		size_t n = 0;
		st = unseal_some(stream, &n);
		if (n > 0 && !offer_input(stream))
			return;
	} while (st == ST_OK && stream->reading);
	if (st != ST_OK && st != ST_AGAIN)
		fail_now(stream);
	else
		send_answers(stream);
}

static void read_sealed(struct stream *stream)
{
	if (tls_has_input(stream->session)) {
		/* Also with reading stopped, when it is an error that shows: this came before it. */
		timer_stop(stream->timer);
		unseal_input(stream);
		return;
	}
	enum status st = receive_sealed(stream);
	if (st == ST_OK)
		unseal_input(stream);
	else if (st != ST_AGAIN)
		fail_now(stream);
}

static void read_some(struct stream *stream)
{
	if (stream->session != NULL)
		read_sealed(stream);
	else
		read_plain(stream);
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
	if (stream->state != STREAM_OPEN)
		return;
	watch_what_matters(stream);
	if (stream->session != NULL && tls_has_input(stream->session))
		timer_start(stream->timer, 0); /* the kernel does not know of it any more */
}

/* --- output --------------------------------------------------------------------------------- */

static void take_output(struct stream *stream, size_t bytes)
{
	stream->out_from += bytes;
	if (stream->out_from < stream->out_to)
		return;
	stream->out_from = stream->out_to = 0;
	if (stream->out_cap > OUTPUT_KEEP) {
		memory_free(stream->out);
		stream->out = NULL;
		stream->out_cap = 0;
	}
}

/* What the owner wrote early waits for the handshake, not for the kernel. */
static size_t left_for_kernel(const struct stream *stream)
{
	if (stream->state == STREAM_SHAKING)
		return tls_unsent(stream->session).len;
	return stream_unsent(stream);
}

static void output_moved(struct stream *stream, size_t bytes)
{
	uint64_t now = loop_now_ns(stream->loop);
	if (bytes > 0)
		stream->last_output_ns = now;
	stream->send_blocked = left_for_kernel(stream) > 0;
	if (!stream->send_blocked)
		stream->stalled_since_ns = 0;
	else if (bytes > 0 || stream->stalled_since_ns == 0)
		stream->stalled_since_ns = now;
	watch_what_matters(stream);
}

/* ST_OK also when the kernel took only a part, or nothing. */
static enum status give_kernel(struct stream *stream, struct span bytes, size_t *ret_taken)
{
	ssize_t n = send(stream->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
		(void)error_system(&stream->why, errno, "write");
		stream->why.status = ST_CLOSED;
		return ST_CLOSED;
	}
	*ret_taken = n < 0 ? 0 : (size_t)n;
	return ST_OK;
}

static enum status send_plain(struct stream *stream)
{
	size_t taken = 0;
	struct span bytes =
	    span_of(stream->out + stream->out_from, stream->out_to - stream->out_from);
	enum status st = give_kernel(stream, bytes, &taken);
	if (st != ST_OK)
		return st;
	take_output(stream, taken);
	output_moved(stream, taken);
	return ST_OK;
}

/* --- output, sealed ------------------------------------------------------------------------- */

static enum status seal_ahead(struct stream *stream)
{
	while (stream->state == STREAM_OPEN && stream->out_to > stream->out_from &&
	       tls_unsent(stream->session).len < SEAL_AHEAD) {
		size_t len = stream->out_to - stream->out_from;
		if (len > SEAL_STEP)
			len = SEAL_STEP;
		enum status st = tls_seal(
		    stream->session, span_of(stream->out + stream->out_from, len), &stream->why);
		if (st != ST_OK)
			return st;
		take_output(stream, len);
	}
	return ST_OK;
}

static enum status send_sealed(struct stream *stream)
{
	size_t sent = 0;
	for (;;) {
		size_t taken = 0;
		enum status st = seal_ahead(stream);
		struct span bytes = tls_unsent(stream->session);
		if (st == ST_OK && bytes.len > 0)
			st = give_kernel(stream, bytes, &taken);
		if (st != ST_OK)
			return st;
		tls_sent(stream->session, taken);
		sent += taken;
		if (taken < bytes.len || bytes.len == 0)
			break;
	}
	output_moved(stream, sent);
	return ST_OK;
}

static enum status send_some(struct stream *stream)
{
	return stream->session != NULL ? send_sealed(stream) : send_plain(stream);
}

/* A peer that closes its side says why first: an alert that refuses our certificate (TLS 1.3), connection.close. That
 * lies in the kernel when our next word is answered by a reset, and is worth more than the reset. */
static void sending_failed(struct stream *stream)
{
	if (stream->why.status != ST_CLOSED || !stream->reading) {
		fail_later(stream);
		return;
	}
	stream->may_not_send = true;
	stream->send_blocked = false;
	stream->stalled_since_ns = 0;
	watch_what_matters(stream);
	timer_start(stream->timer, 0);
}

/* From the timer, until there is no more. What ends the reading is told instead of what ended the writing. */
static void hear_last_words(struct stream *stream)
{
	char first;
	bool sealed = stream->session != NULL && tls_has_input(stream->session);
	if (!sealed && recv(stream->fd, &first, 1, MSG_PEEK) <= 0) {
		fail_now(stream);
		return;
	}
	timer_start(stream->timer, 0);
	read_some(stream);
}

static bool may_send(const struct stream *stream)
{
	return stream->state == STREAM_OPEN && !stream->may_not_send;
}

static void flush_at_turn_end(void *arg)
{
	struct stream *stream = arg;
	loop_remove_hook(&stream->hook);
	if (may_send(stream) && !stream->send_blocked && stream_unsent(stream) > 0 &&
	    send_some(stream) != ST_OK)
		sending_failed(stream);
}

/* --- the handshake -------------------------------------------------------------------------- */

static void handshake_failed(struct stream *stream)
{
	(void)error_add(&stream->why, stream->why.status, "tls %s:%u", stream->host, stream->port);
	give_up_attempt(stream);
}

/* What OpenSSL has to say leaves in any case: after a failure it is the alert that tells the peer. */
static void shake_hands(struct stream *stream)
{
	enum status st = tls_shake_hands(stream->session, &stream->why);
	struct error why = stream->why;
	if (send_sealed(stream) != ST_OK) {
		if (st != ST_OK && st != ST_AGAIN)
			stream->why = why; /* it explains why the peer has gone */
		handshake_failed(stream);
	} else if (st == ST_OK) {
		/* The peer's next words may have come along with the last ones. */
		if (become_open(stream) && stream->state == STREAM_OPEN && stream->reading)
			unseal_input(stream);
	} else if (st != ST_AGAIN) {
		handshake_failed(stream);
	}
}

static void handshake_ready(struct stream *stream, unsigned events)
{
	if ((events & WATCH_WRITE) != 0 && stream->send_blocked && send_sealed(stream) != ST_OK) {
		handshake_failed(stream);
		return;
	}
	if ((events & WATCH_READ) == 0)
		return;
	enum status st = receive_sealed(stream);
	if (st == ST_OK)
		shake_hands(stream);
	else if (st != ST_AGAIN)
		handshake_failed(stream);
}

static void socket_ready(void *arg, unsigned events)
{
	struct stream *stream = arg;
	if (stream->state == STREAM_CONNECTING) {
		connected(stream);
		return;
	}
	if (stream->state == STREAM_SHAKING) {
		handshake_ready(stream, events);
		return;
	}
	if ((events & WATCH_WRITE) != 0 && stream->send_blocked && send_some(stream) != ST_OK) {
		sending_failed(stream);
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

const char *stream_tls(const struct stream *stream)
{
	return stream->session != NULL ? tls_version(stream->session) : NULL;
}

size_t stream_unsent(const struct stream *stream)
{
	size_t sealed = stream->session != NULL ? tls_unsent(stream->session).len : 0;
	return stream->out_to - stream->out_from + sealed;
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

void stream_peer_rests(struct stream *stream)
{
	if (stream->fd >= 0)
		set_option(stream->fd, TCP_USER_TIMEOUT, 0);
}

void stream_peer_reads(struct stream *stream)
{
	if (stream->stalled_since_ns != 0)
		stream->stalled_since_ns = loop_now_ns(stream->loop);
	if (stream->fd >= 0)
		set_option(stream->fd, TCP_USER_TIMEOUT, stream->dead_after_ms);
}
