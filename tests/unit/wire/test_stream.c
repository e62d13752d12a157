/* stream over real sockets: loopback listeners and a Unix socket, the peer played by the test. */
#include "wire/stream.h"

#include "loop/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum close_when { CLOSE_LAST, CLOSE_IN_OPENED, CLOSE_IN_RECEIVED, CLOSE_IN_CLOSED };

struct fixture {
	struct loop *loop;
	struct timer *deadline;
	struct turn_hook check;
	bool (*until)(struct fixture *f);

	int listener, peer;
	unsigned port;

	struct stream *stream;
	enum close_when close_when;
	unsigned opened, closed;
	struct error why;
	char *got;
	size_t got_bytes;
	size_t hold_back; /* the consumer leaves so many bytes unused, for the next time */
	size_t sent_of_payload;
};

static void close_if(struct fixture *f, enum close_when now)
{
	if (f->close_when != now)
		return;
	stream_close(f->stream);
	f->stream = NULL;
}

static void on_opened(void *arg)
{
	struct fixture *f = arg;
	f->opened++;
	close_if(f, CLOSE_IN_OPENED);
}

static size_t on_received(void *arg, struct span bytes)
{
	struct fixture *f = arg;
	size_t used = bytes.len > f->hold_back ? bytes.len - f->hold_back : 0;
	f->got = realloc(f->got, f->got_bytes + used + 1);
	assert_non_null(f->got);
	memcpy(f->got + f->got_bytes, bytes.ptr, used);
	f->got_bytes += used;
	close_if(f, CLOSE_IN_RECEIVED);
	return used;
}

static void on_closed(void *arg, const struct error *why)
{
	struct fixture *f = arg;
	f->closed++;
	f->why = *why;
	close_if(f, CLOSE_IN_CLOSED);
}

static const struct stream_events events = {on_opened, on_received, on_closed};

static void too_late(void *arg)
{
	(void)arg;
	fail_msg("the condition did not come true in 60 s");
}

static void check_condition(void *arg)
{
	struct fixture *f = arg;
	if (f->until != NULL && f->until(f))
		loop_stop(f->loop);
}

static void turn_until(struct fixture *f, bool (*until)(struct fixture *f))
{
	f->until = until;
	timer_start(f->deadline, 60000);
	loop_run(f->loop);
	timer_stop(f->deadline);
	f->until = NULL;
}

static bool is_opened(struct fixture *f)
{
	return f->opened > 0;
}

static bool is_closed(struct fixture *f)
{
	return f->closed > 0;
}

static bool is_gone(struct fixture *f)
{
	return f->stream == NULL;
}

static bool has_input(struct fixture *f)
{
	return f->got_bytes > 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct error why;
	assert_non_null(f);
	assert_int_equal(loop_create(&f->loop, &why), ST_OK);
	f->deadline = timer_create_on(f->loop, too_late, f);
	f->check = (struct turn_hook){.run = check_condition, .arg = f};
	loop_add_hook(f->loop, TURN_DRAIN, &f->check);
	f->listener = f->peer = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	stream_close(f->stream);
	loop_remove_hook(&f->check);
	timer_destroy(f->deadline);
	loop_destroy(f->loop);
	if (f->peer >= 0)
		(void)close(f->peer);
	if (f->listener >= 0)
		(void)close(f->listener);
	free(f->got);
	free(f);
	return 0;
}

static void listen_on_loopback(struct fixture *f, int backlog)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof at;
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(f->listener, backlog), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &bytes), 0);
	f->port = ntohs(at.sin_port);
}

static void open_to(struct fixture *f, const char *host, uint64_t deadline_ms)
{
	struct address to = {.host = host, .port = f->port};
	f->stream = stream_open(f->loop, &to, deadline_ms, &events, f);
	assert_non_null(f->stream);
}

static void open_pair(struct fixture *f)
{
	listen_on_loopback(f, 8);
	open_to(f, "127.0.0.1", 5000);
	turn_until(f, is_opened);
	f->peer = accept(f->listener, NULL, NULL);
	assert_true(f->peer >= 0);
}

static void read_exactly(int fd, char *buf, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = read(fd, buf, bytes);
		assert_true(n > 0);
		buf += n;
		bytes -= (size_t)n;
	}
}

static void passes_bytes_both_ways(void **state)
{
	struct fixture *f = *state;
	char buf[5];
	listen_on_loopback(f, 8);
	open_to(f, "127.0.0.1", 5000);
	stream_write(f->stream, span_text("early"));
	assert_int_equal(f->opened, 0);
	turn_until(f, is_opened);
	f->peer = accept(f->listener, NULL, NULL);
	read_exactly(f->peer, buf, 5);
	assert_memory_equal(buf, "early", 5);
	assert_int_equal(write(f->peer, "answer", 6), 6);
	turn_until(f, has_input);
	assert_int_equal(f->got_bytes, 6);
	assert_memory_equal(f->got, "answer", 6);
}

static void works_on_a_unix_socket(void **state)
{
	struct fixture *f = *state;
	char folder[] = "/tmp/outfall-stream-XXXXXX";
	assert_non_null(mkdtemp(folder));
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	(void)snprintf(at.sun_path, sizeof at.sun_path, "%s/s", folder);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(f->listener, 8), 0);
	struct address to = {.path = at.sun_path};
	f->stream = stream_open(f->loop, &to, 5000, &events, f);
	assert_int_equal(f->opened, 0); /* even though connect() was through at once */
	turn_until(f, is_opened);
	(void)unlink(at.sun_path);
	(void)rmdir(folder);
}

static void descriptors_are_close_on_exec_and_do_not_block(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	struct sockaddr_in ours, theirs;
	socklen_t bytes = sizeof theirs;
	assert_int_equal(getpeername(f->peer, (struct sockaddr *)&theirs, &bytes), 0);
	int found = 0;
	for (int fd = 3; fd < 64; fd++) {
		bytes = sizeof ours;
		if (getsockname(fd, (struct sockaddr *)&ours, &bytes) != 0 ||
		    ours.sin_port != theirs.sin_port)
			continue;
		found++;
		assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
		assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	}
	assert_int_equal(found, 1);
}

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t bytes = sizeof value;
	assert_int_equal(getsockopt(fd, level, option, &value, &bytes), 0);
	return value;
}

static int our_end(struct fixture *f)
{
	struct sockaddr_in ours, theirs;
	socklen_t bytes = sizeof theirs;
	assert_int_equal(getpeername(f->peer, (struct sockaddr *)&theirs, &bytes), 0);
	for (int fd = 3; fd < 64; fd++) {
		bytes = sizeof ours;
		if (getsockname(fd, (struct sockaddr *)&ours, &bytes) == 0 &&
		    ours.sin_port == theirs.sin_port)
			return fd;
	}
	fail_msg("the stream has no descriptor");
	return -1;
}

/* Rows: after how long a silent peer is dead, and what the kernel is told. */
static void silence_is_noticed_by_the_kernel(void **state)
{
	static const struct {
		uint64_t dead_after_ms;
		int idle_s, every_s, user_timeout_ms;
	} rows[] = {
	    {20000,             10,   3,    20000  },
	    {500,               1,    1,    500    },
	    {0,		 60,   20,   0      },
	    {UINT64_C(7200000), 3600, 1200, 7200000},
	};
	struct fixture *f = *state;
	listen_on_loopback(f, 8);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct address to = {
		    .host = "127.0.0.1", .port = f->port, .dead_after_ms = rows[i].dead_after_ms};
		f->opened = 0;
		f->stream = stream_open(f->loop, &to, 5000, &events, f);
		turn_until(f, is_opened);
		f->peer = accept(f->listener, NULL, NULL);
		int fd = our_end(f);
		assert_int_not_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
		assert_int_not_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
		assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), rows[i].idle_s);
		assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), rows[i].every_s);
		assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
		assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT),
				 rows[i].user_timeout_ms);
		stream_close(f->stream);
		f->stream = NULL;
		(void)close(f->peer);
		f->peer = -1;
	}
}

static void refused_is_told_later(void **state)
{
	struct fixture *f = *state;
	listen_on_loopback(f, 8);
	(void)close(f->listener);
	f->listener = -1;
	open_to(f, "127.0.0.1", 5000);
	assert_int_equal(f->closed, 0);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_SYSTEM);
	assert_non_null(strstr(f->why.text, "refused"));
	assert_int_equal(f->opened, 0);
	stream_write(f->stream, span_text("swallowed"));
	assert_int_equal(stream_unsent(f->stream), 0);
}

static void missing_unix_socket_is_told_later(void **state)
{
	struct fixture *f = *state;
	struct address to = {.path = "/nonexistent/outfall.sock"};
	f->stream = stream_open(f->loop, &to, 5000, &events, f);
	assert_int_equal(f->closed, 0);
	turn_until(f, is_closed);
	assert_non_null(strstr(f->why.text, "/nonexistent/outfall.sock"));
}

static void too_long_a_path_is_an_error(void **state)
{
	struct fixture *f = *state;
	char path[200];
	memset(path, 'x', sizeof path);
	path[0] = '/';
	path[sizeof path - 1] = '\0';
	struct address to = {.path = path};
	f->stream = stream_open(f->loop, &to, 5000, &events, f);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_INVALID);
}

static void names_are_resolved_and_addresses_tried_in_turn(void **state)
{
	struct fixture *f = *state;
	listen_on_loopback(f, 8); /* 127.0.0.1 only; where localhost is ::1 too, that one refuses */
	open_to(f, "localhost", 5000);
	turn_until(f, is_opened);
	assert_int_equal(f->closed, 0);
}

static void unknown_name_is_an_error(void **state)
{
	struct fixture *f = *state;
	f->port = 1;
	open_to(f, "no such name.invalid", 5000);
	turn_until(f, is_closed);
	assert_non_null(strstr(f->why.text, "resolve no such name.invalid"));
}

static void may_be_closed_while_it_opens(void **state)
{
	struct fixture *f = *state;
	listen_on_loopback(f, 8);
	open_to(f, "localhost", 5000);
	stream_close(f->stream);
	open_to(f, "127.0.0.1", 5000);
	stream_close(f->stream);
	f->stream = NULL;
}

/* A listener whose queue is full drops what comes: the connect neither works nor fails. */
static void fill_backlog(struct fixture *f, int *fds, size_t n)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)f->port)};
	for (size_t i = 0; i < n; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fds[i], (struct sockaddr *)&at, sizeof at);
	}
}

static void connecting_ends_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	int fds[4];
	listen_on_loopback(f, 0);
	fill_backlog(f, fds, 4);
	uint64_t before = loop_now_ns(f->loop);
	open_to(f, "127.0.0.1", 60);
	turn_until(f, is_closed);
	uint64_t waited_ms = (loop_now_ns(f->loop) - before) / 1000000;
	assert_int_equal(f->why.status, ST_TIMEOUT);
	assert_true(waited_ms >= 59 &&
		    waited_ms < 2000); /* a timer counts the millisecond that runs */
	for (size_t i = 0; i < 4; i++)
		(void)close(fds[i]);
}

enum { PAYLOAD = 8 << 20 };

static char payload_byte(size_t at)
{
	return (char)(at * 2654435761u >> 24);
}

static bool is_stalled(struct fixture *f)
{
	loop_turn_again(f->loop); /* this is asked before TURN_WRITE, which decides it */
	return stream_stalled_ns(f->stream) > 0;
}

/* The peer reads as it pleases, between the turns. */
static bool peer_has_all(struct fixture *f)
{
	char buf[100000];
	ssize_t n;
	while ((n = recv(f->peer, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], payload_byte(f->sent_of_payload + (size_t)i));
		f->sent_of_payload += (size_t)n;
	}
	loop_turn_again(f->loop);
	return f->sent_of_payload == PAYLOAD;
}

static void partial_writes_arrive_whole(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	for (size_t at = 0; at < PAYLOAD;) {
		size_t bytes = at % 100000 + 1;
		if (bytes > PAYLOAD - at)
			bytes = PAYLOAD - at;
		char *room = stream_room(f->stream, bytes);
		assert_non_null(room);
		for (size_t i = 0; i < bytes; i++)
			room[i] = payload_byte(at + i);
		stream_wrote(f->stream, bytes);
		at += bytes;
	}
	assert_int_equal(stream_stalled_ns(f->stream), 0);
	turn_until(f, is_stalled);
	assert_true(stream_unsent(f->stream) > 0);
	assert_true(stream_unsent(f->stream) < PAYLOAD);
	turn_until(f, peer_has_all);
	assert_int_equal(stream_unsent(f->stream), 0);
	assert_int_equal(stream_stalled_ns(f->stream), 0);
}

static bool has_payload(struct fixture *f)
{
	while (f->sent_of_payload < PAYLOAD) {
		char buf[65536];
		size_t bytes = PAYLOAD - f->sent_of_payload;
		bytes = bytes < sizeof buf ? bytes : sizeof buf;
		for (size_t i = 0; i < bytes; i++)
			buf[i] = payload_byte(f->sent_of_payload + i);
		ssize_t n = send(f->peer, buf, bytes, MSG_DONTWAIT);
		if (n < 0)
			break;
		f->sent_of_payload += (size_t)n;
	}
	loop_turn_again(f->loop);
	return f->got_bytes == PAYLOAD - f->hold_back;
}

static void unused_input_is_offered_again(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	f->hold_back = 1000;
	turn_until(f, has_payload);
	for (size_t i = 0; i < f->got_bytes; i++)
		if (f->got[i] != payload_byte(i))
			fail_msg("byte %zu is wrong", i);
}

static void stopped_reading_leaves_input_in_the_kernel(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	stream_read_stop(f->stream);
	assert_int_equal(write(f->peer, "x", 1), 1);
	f->close_when = CLOSE_LAST;
	struct address to = {.host = "127.0.0.1", .port = f->port};
	struct stream *other = stream_open(f->loop, &to, 5000, &events, f);
	f->opened = 0;
	turn_until(f, is_opened); /* a whole turn with the byte waiting */
	assert_int_equal(f->got_bytes, 0);
	stream_close(other);
	stream_read_start(f->stream);
	turn_until(f, has_input);
}

static void end_of_input_is_told_once(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	assert_int_equal(write(f->peer, "last", 4), 4);
	(void)close(f->peer);
	f->peer = -1;
	turn_until(f, is_closed);
	assert_int_equal(f->got_bytes, 4);
	assert_int_equal(f->why.status, ST_CLOSED);
	assert_int_equal(f->closed, 1);
}

static void reset_after_input_is_found(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	struct linger reset = {.l_onoff = 1};
	stream_write(f->stream, span_text("never read"));
	assert_int_equal(write(f->peer, "last", 4), 4);
	assert_int_equal(setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
	(void)close(f->peer);
	f->peer = -1;
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_CLOSED);
}

/* What a peer says before it resets us is heard, also when it is our writing that finds the reset. */
static void last_words_are_heard_after_a_failed_write(void **state)
{
	struct fixture *f = *state;
	struct linger at_once = {.l_onoff = 1};
	open_pair(f);
	stream_read_stop(f->stream);
	assert_int_equal(send(f->peer, "why", 3, 0), 3);
	assert_int_equal(setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
	assert_int_equal(close(f->peer), 0);
	f->peer = -1;
	stream_read_start(f->stream);
	stream_write(f->stream, span_text("x"));
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_CLOSED);
	assert_int_equal(f->got_bytes, 3);
	assert_memory_equal(f->got, "why", 3);
}

static void may_be_closed_in_each_callback(void **state)
{
	struct fixture *f = *state;
	listen_on_loopback(f, 8);
	for (enum close_when when = CLOSE_IN_OPENED; when <= CLOSE_IN_CLOSED; when++) {
		f->close_when = when;
		open_to(f, "127.0.0.1", 5000);
		f->peer = accept(f->listener, NULL, NULL);
		assert_int_equal(write(f->peer, "x", 1), 1);
		if (when == CLOSE_IN_CLOSED)
			assert_int_equal(shutdown(f->peer, SHUT_WR), 0);
		turn_until(f, is_gone);
		(void)close(f->peer);
		f->peer = -1;
	}
}

static void write_in_hook(void *arg)
{
	struct fixture *f = arg;
	stream_write(f->stream, span_text("hook"));
	f->hold_back = 1; /* from here on the peer must have it after this turn */
}

static bool hook_has_written(struct fixture *f)
{
	return f->hold_back == 1;
}

static void what_a_hook_writes_leaves_in_the_same_turn(void **state)
{
	struct fixture *f = *state;
	char buf[4];
	open_pair(f);
	struct turn_hook hook = {.run = write_in_hook, .arg = f};
	loop_add_hook(f->loop, TURN_SETTLE, &hook);
	loop_turn_again(f->loop);
	turn_until(f, hook_has_written); /* stops in TURN_DRAIN of that turn; TURN_WRITE follows */
	loop_remove_hook(&hook);
	assert_int_equal(recv(f->peer, buf, 4, MSG_DONTWAIT), 4);
	assert_memory_equal(buf, "hook", 4);
	assert_int_equal(stream_unsent(f->stream), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    CASE(passes_bytes_both_ways),
	    CASE(works_on_a_unix_socket),
	    CASE(descriptors_are_close_on_exec_and_do_not_block),
	    CASE(silence_is_noticed_by_the_kernel),
	    CASE(refused_is_told_later),
	    CASE(missing_unix_socket_is_told_later),
	    CASE(too_long_a_path_is_an_error),
	    CASE(names_are_resolved_and_addresses_tried_in_turn),
	    CASE(unknown_name_is_an_error),
	    CASE(may_be_closed_while_it_opens),
	    CASE(connecting_ends_at_the_deadline),
	    CASE(partial_writes_arrive_whole),
	    CASE(unused_input_is_offered_again),
	    CASE(stopped_reading_leaves_input_in_the_kernel),
	    CASE(end_of_input_is_told_once),
	    CASE(reset_after_input_is_found),
	    CASE(last_words_are_heard_after_a_failed_write),
	    CASE(may_be_closed_in_each_callback),
	    CASE(what_a_hook_writes_leaves_in_the_same_turn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
