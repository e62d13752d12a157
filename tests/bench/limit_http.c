/* limit_http - how fast libcurl posts, so many side by side, with nothing around it.
 *
 *     limit_http URL PARALLEL JOBS
 *
 * curl's own event interface on an epoll set, an easy handle for each place, connections kept: the
 * requests of the http handler, made once, without a broker and without looking at the answer. */
#include "measure.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { EVENTS = 64, BODY = 256 };

static const char *const lines[] = {
    "Content-Type: application/octet-stream",
    "Outfall-Job-Id: 12345",
    "Idempotency-Key: 12345",
    "Outfall-Source: cache",
    "Outfall-Queue: bench",
    "Outfall-Attempt: 1",
    "Outfall-Interruptions: 0",
    "Outfall-Crashes: 0",
    "Outfall-Redelivered: 0",
    "Outfall-Timeout-Ms: 0",
    "Expect:",
};

struct loop {
	CURLM *multi;
	int epoll_fd;
	long wait_ms;
	unsigned long begun, ended, jobs;
};

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	(void)easy;
	struct loop *loop = arg;
	struct epoll_event event = {.data.fd = fd};
	event.events =
	    (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (what == CURL_POLL_REMOVE)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else
		epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
	if (what != CURL_POLL_REMOVE && known == NULL)
		curl_multi_assign(loop->multi, fd, loop);
	return 0;
}

static int set_timer(CURLM *multi, long after_ms, void *arg)
{
	(void)multi;
	((struct loop *)arg)->wait_ms = after_ms;
	return 0;
}

static size_t drop(char *bytes, size_t one, size_t count, void *arg)
{
	(void)bytes;
	(void)arg;
	return one * count;
}

static void post(struct loop *loop, CURL *easy)
{
	if (loop->begun == loop->jobs)
		return;
	loop->begun++;
	curl_multi_add_handle(loop->multi, easy);
}

static void collect(struct loop *loop)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(loop->multi, &left)) != NULL) {
		CURL *easy = message->easy_handle;
		if (message->data.result != CURLE_OK) {
			fprintf(stderr, "limit_http: %s\n",
				curl_easy_strerror(message->data.result));
			exit(1);
		}
		curl_multi_remove_handle(loop->multi, easy);
		loop->ended++;
		post(loop, easy);
	}
}

static void turn(struct loop *loop)
{
	struct epoll_event events[EVENTS];
	int under_way;
	int n =
	    loop->wait_ms == 0 ? 0 : epoll_wait(loop->epoll_fd, events, EVENTS, (int)loop->wait_ms);
	if (n == 0) {
		loop->wait_ms = -1; /* it has fired, and curl sets the next */
		curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &under_way);
	}
	for (int i = 0; i < n; i++)
		curl_multi_socket_action(loop->multi, events[i].data.fd,
					 (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
					     (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0),
					 &under_way);
	collect(loop);
}

static void begin(struct loop *loop, const char *url, struct curl_slist *headers)
{
	static char body[BODY];
	CURL *easy = curl_easy_init();
	memset(body, 'x', sizeof body);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)BODY);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
	post(loop, easy);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: limit_http URL PARALLEL JOBS\n");
		return 64;
	}
	unsigned long parallel = strtoul(argv[2], NULL, 10);
	struct loop loop = {.jobs = strtoul(argv[3], NULL, 10)};
	curl_global_init(CURL_GLOBAL_DEFAULT);
	struct curl_slist *headers = NULL;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		headers = curl_slist_append(headers, lines[i]);
	loop.multi = curl_multi_init();
	loop.epoll_fd = epoll_create1(0);
	curl_multi_setopt(loop.multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(loop.multi, CURLMOPT_SOCKETDATA, &loop);
	curl_multi_setopt(loop.multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(loop.multi, CURLMOPT_TIMERDATA, &loop);

	struct measure start = measure_now();
	for (unsigned long i = 0; i < parallel; i++)
		begin(&loop, argv[1], headers);
	while (loop.ended < loop.jobs)
		turn(&loop);
	measure_print(stdout, &start, loop.jobs);
	return 0;
}
