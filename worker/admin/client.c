/* HTTP as far as it is needed here: our own server at the other end, one request for each connection,
 * and the end of the connection is the end of the answer. */
#include "admin/client.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MOST_BYTES = 64 << 20 };

static enum status dial(const char *path, int *ret_fd, struct error *why)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof un.sun_path)
		return error_set(why, ST_SYSTEM, "%s: longer than the path of a socket can be",
				 path);
	memcpy(un.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_system(why, errno, "socket");
	if (connect(fd, (const struct sockaddr *)&un, sizeof un) != 0) {
		enum status st = error_system(why, errno, "no worker answers at %s", path);
		if (errno == ENOENT || errno == ECONNREFUSED)
			st = ST_CLOSED;
		(void)close(fd); /* nothing was sent */
		return st;
	}
	*ret_fd = fd;
	return ST_OK;
}

static void limit_silence(int fd, uint64_t within_ms)
{
	if (within_ms == UINT64_MAX)
		return;
	struct timeval t = {.tv_sec = (time_t)(within_ms / 1000),
			    .tv_usec = (suseconds_t)(within_ms % 1000 * 1000)};
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t); /* else it waits for ever */
}

static enum status send_all(int fd, struct span bytes, struct error *why)
{
	while (bytes.len > 0) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			(void)error_system(why, errno, "the worker does not listen");
			return ST_CLOSED;
		}
		bytes = span_of(bytes.ptr + n, bytes.len - (size_t)n);
	}
	return ST_OK;
}

static enum status receive_all(int fd, struct text *ret_text, struct error *why)
{
	char buf[16384];
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		if (n == 0)
			return ST_OK;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return error_set(why, ST_TIMEOUT, "the worker does not answer in time");
		if (n < 0) {
			(void)error_system(why, errno, "the worker has gone");
			return ST_CLOSED;
		}
		text_put(ret_text, span_of(buf, (size_t)n));
		if (ret_text->failed || ret_text->len > ANSWER_MOST_BYTES)
			return error_set(why, ST_NOMEM, "the answer is too long");
	}
}

/* "HTTP/1.1 200 OK\r\n...\r\n\r\n" and the body. */
static enum status split(struct text *whole, struct client_answer *ret_answer, struct error *why)
{
	static const char end[] = "\r\n\r\n";
	if (whole->len == 0)
		return error_set(why, ST_CLOSED, "the worker has gone without an answer");
	text_put(whole, span_of("", 1));
	if (whole->failed)
		return error_set(why, ST_NOMEM, "out of memory");
	const char *body = strstr(whole->bytes, end);
	if (strncmp(whole->bytes, "HTTP/1.", 7) != 0 || whole->len < 12 || body == NULL)
		return error_set(why, ST_PROTO, "what answers is no worker");
	ret_answer->status = (unsigned)strtoul(whole->bytes + 9, NULL, 10);
	text_drop(whole, (size_t)(body - whole->bytes) + sizeof end - 1);
	ret_answer->body = *whole;
	*whole = (struct text){0};
	return ST_OK;
}

enum status client_ask(const char *socket_path, const char *method, const char *path,
		       uint64_t within_ms, struct client_answer *ret_answer, struct error *why)
{
	int fd;
	struct text text = {0};
	enum status st = dial(socket_path, &fd, why);
	if (st != ST_OK)
		return st;
	limit_silence(fd, within_ms);
	text_print(&text,
		   "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		   "Content-Length: 0\r\n\r\n",
		   method, path);
	st = text.failed ? error_set(why, ST_NOMEM, "out of memory")
			 : send_all(fd, text_span(&text), why);
	text_clear(&text);
	if (st == ST_OK)
		st = receive_all(fd, &text, why);
	if (st == ST_OK)
		st = split(&text, ret_answer, why);
	text_fini(&text);
	(void)close(fd); /* the answer is here, or never will be */
	return st;
}

void client_answer_fini(struct client_answer *answer)
{
	text_fini(&answer->body);
}

enum status client_watch_process(const char *socket_path, int *ret_fd, struct error *why)
{
	int fd;
	struct ucred who = {0};
	socklen_t len = sizeof who;
	enum status st = dial(socket_path, &fd, why);
	if (st != ST_OK)
		return st;
	bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid > 0;
	(void)close(fd); /* it was only asked who is there */
	long watched = known ? syscall(SYS_pidfd_open, who.pid, 0) : -1;
	if (watched < 0)
		return error_set(why, ST_REFUSED, "its process cannot be watched from here");
	*ret_fd = (int)watched;
	return ST_OK;
}
