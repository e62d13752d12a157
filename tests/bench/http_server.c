/* http_server - answers every POST with 204 as soon as its body is there, and does nothing else.
 *
 *     http_server          prints its port on loopback, and serves until it is killed, or whoever started
 *                          it has ended
 *
 * One thread, one epoll set, connections kept for ever. Requests must come one after the other on a
 * connection (no pipelining) and have a Content-Length, which is what curl sends. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MOST = 16384, EVENTS = 64 };

struct peer {
	int fd;
	size_t len;  /* of what is in `head` */
	size_t left; /* bytes of the body still to come, once the head is complete */
	int in_body;
	char head[HEAD_MOST + 1];
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void answer(struct peer *peer)
{
	static const char text[] = "HTTP/1.1 204 No Content\r\n\r\n";
	if (write(peer->fd, text, sizeof text - 1) != sizeof text - 1)
		fail("http_server: write");
	peer->len = peer->left = 0;
	peer->in_body = 0;
}

static size_t content_length(const char *head)
{
	const char *at = strcasestr(head, "\r\nContent-Length:");
	return at != NULL ? strtoul(at + 17, NULL, 10) : 0;
}

static void look_at_head(struct peer *peer)
{
	peer->head[peer->len] = '\0';
	const char *end = strstr(peer->head, "\r\n\r\n");
	if (end == NULL)
		return;
	size_t body = peer->len - (size_t)(end + 4 - peer->head), length;
	length = content_length(peer->head);
	peer->in_body = 1;
	peer->left = length > body ? length - body : 0;
}

static void serve(struct peer *peer)
{
	static char dropped[65536];
	char *to = peer->in_body ? dropped : peer->head + peer->len;
	ssize_t n = read(peer->fd, to, peer->in_body ? sizeof dropped : HEAD_MOST - peer->len);
	if (n <= 0) {
		close(peer->fd);
		free(peer);
		return;
	}
	if (peer->in_body) {
		peer->left -= (size_t)n < peer->left ? (size_t)n : peer->left;
	} else {
		peer->len += (size_t)n;
		look_at_head(peer);
	}
	if (peer->in_body && peer->left == 0)
		answer(peer);
}

static void add(int epoll_fd, int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("http_server: epoll_ctl");
}

static void greet(int epoll_fd, int listener)
{
	int one = 1;
	struct peer *peer = calloc(1, sizeof *peer);
	if (peer == NULL)
		abort();
	peer->fd = accept(listener, NULL, NULL);
	if (peer->fd < 0)
		fail("http_server: accept");
	setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	add(epoll_fd, peer->fd, peer);
}

int main(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0), epoll_fd = epoll_create1(0);
	if (bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, 512) != 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &len) != 0)
		fail("http_server: listen");
	add(epoll_fd, listener, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	printf("%u\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epoll_fd, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				greet(epoll_fd, listener);
			else
				serve(events[i].data.ptr);
		}
	}
}
