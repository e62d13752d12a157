/* libcurl does the protocol, the loop does the waiting: curl says which descriptors it waits for and
 * until when, and is called when one of them is ready. Its descriptors go by an epoll set of our own,
 * nested in the loop's: a connection that is reused enters and leaves it with each job, and a libuv
 * watch costs two allocations each time. A turn serves so many events and leaves the rest to the
 * next.
 *
 * A transfer is one request at a time: curl's easy handle, the lines of its headers, the beginning of
 * the answer. It is made when it is first needed and kept for the next job.
 *
 *     idle --start--> under way --answered, failed--> idle
 *                          \------- stopped -------^
 *
 * The awkward part is a connection that dies without an answer. Was the job done? A connection that had
 * been waiting in the pool may have been closed by the server in the very moment in which we used it: the
 * job was never seen. Curl takes each such death for that and sends the job again, unasked. But a server
 * that breaks down with the job in its hands looks just the same, and the job that broke it would break
 * the next one, within one attempt. What tells them apart is the time: the news of a closed connection
 * takes one round trip. So a job is sent once more, on a new connection, if a kept one dies within
 * STALE_MS; anything else is a failed attempt. (Curl asks before it sends: there may_send() allows its
 * second try or refuses it, and what curl does not try again by itself, request_again() does.)
 *
 * "Asked to stop" is a cancelled request, at once: HTTP has no words for it, and the server learns of it
 * only by the connection that closes. Who would rather use the grace to wait for the answer has
 * `deadline = "finish"`. For the same reason a drain's beginning is not told to anybody. What the server
 * does with a request whose connection is gone is its own affair; the job comes again, with the same
 * Idempotency-Key.
 *
 * An answer counts when it has come in full, whatever its status: a handler that streams its output may
 * have failed after its first line, and one that is cut off has. Its body is read to the end and all
 * but the beginning is dropped. One without end is the timeout's affair.
 *
 * Before anything of it was sent, a job has not begun. A service that cannot be reached then has not
 * failed it: the job is held again, and whether the service is back is asked with a connection alone
 * (probe), on which nothing is sent.
 *
 * HTTP/2 is not asked for: it would put every job on one connection, whose death would be everybody's. */
#include "executors/http/http.h"

#include "base/base64.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "base/text.h"
#include "dispatch/routes.h"
#include "executors/http/curl_library.h"
#include "executors/http/http_answer.h"
#include "executors/http/http_headers.h"
#include "executors/width.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	EVENTS = 64,            /* a turn */
	KEPT_BYTES = 4096,      /* of an answer's body: what is wrong, in its words */
	STALE_MS = 1000,        /* see above: longer than any round trip, shorter than most jobs */
	KEEPALIVE_AFTER_S = 30, /* silence that starts to look like a server gone for good */
	KEEPALIVE_EVERY_S = 10, /* ... nine times, says the kernel */
	TRANSFER_DESCRIPTORS = 3, /* a connection; two while its name is looked up */
};

struct transfer {
	struct list in_all;
	struct list in_idle;
	struct http *http;
	CURL *easy;
	struct job *job; /* NULL: idle */
	bool sent;       /* since it was given to curl */
	bool sent_again; /* on a new connection */
	uint64_t sent_ns;
	struct http_headers headers;
	struct curl_slist lines[HTTP_HEADERS_MOST]; /* the same, as curl wants them */
	char kept[KEPT_BYTES];
	size_t kept_bytes;
	char trouble[CURL_ERROR_SIZE]; /* curl's words */
};

struct http {
	struct executor base;
	struct loop *loop;
	struct log *log;
	const struct handler_settings *settings;
	const char *content_type; /* of a job that has none */
	char *socket_path,
	    *socket_url; /* of unix://: where, and what is asked for there; else NULL */
	struct curl_library curl;
	CURLM *multi;
	struct curl_slist *own_lines; /* of every request, behind the job's */
	struct list all, idle;        /* transfers; idle: the one used last comes first */
	struct list unbegun;    /* struct job.in_executor, in the order given: nothing was sent */
	struct transfer *probe; /* without a job, while one is under way; else NULL */
	int epoll_fd;
	struct watch *ready;
	struct timer *timer;
	struct turn_hook hand_over;
	bool due; /* curl wants to be called this turn */
};

static struct http *http_of(struct executor *executor)
{
	return (struct http *)executor; /* its first member */
}

/* --- what curl calls ------------------------------------------------------------------------------ */

/* Curl may have closed the descriptor and got its number again without a word. */
static int watch_in(int epoll_fd, int fd, struct epoll_event *event, bool known)
{
	int how = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(epoll_fd, how, fd, event) == 0)
		return 0;
	if (errno != EEXIST && errno != ENOENT)
		return -1;
	return epoll_ctl(epoll_fd, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, event);
}

/* `known` is what we assigned to the descriptor: anything, once it is in the set. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	(void)easy;
	struct http *http = arg;
	struct epoll_event event = {.data.fd = fd};
	if (what == CURL_POLL_REMOVE) {
		/* It may be closed already. */
		(void)epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events =
	    (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (watch_in(http->epoll_fd, fd, &event, known != NULL) != 0)
		log_say(http->log, LOG_ERROR, "connection not watched, its job must time out",
			kv_text("handler", http->base.name), kv_text("why", strerror(errno)));
	else if (known == NULL)
		(void)http->curl.multi_assign(http->multi, fd, http);
	return 0;
}

static int set_timer(CURLM *multi, long after_ms, void *arg)
{
	(void)multi;
	struct http *http = arg;
	http->due = after_ms == 0; /* not from in here, says curl: at the end of the turn */
	if (after_ms > 0)
		timer_start(http->timer, (uint64_t)after_ms);
	else
		timer_stop(http->timer);
	return 0;
}

/* Curl's own are inherited by children. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	(void)arg;
	(void)purpose;
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static bool just_sent(const struct transfer *transfer)
{
	uint64_t now_ns = loop_now_ns(transfer->http->loop);
	return now_ns - transfer->sent_ns < STALE_MS * UINT64_C(1000000);
}

static void note_again(struct transfer *transfer)
{
	const struct job *job = transfer->job;
	transfer->sent_again = true;
	log_say(transfer->http->log, LOG_DEBUG, "request sent again, a kept connection had closed",
		KV_JOB(job), kv_text("queue", job->route->name));
}

static long long_fact(struct transfer *transfer, CURLINFO fact)
{
	long value = 0;
	(void)transfer->http->curl.easy_getinfo(transfer->easy, fact, &value);
	return value;
}

static void note_sent(struct transfer *transfer)
{
	struct http *http = transfer->http;
	struct job *job = transfer->job;
	transfer->sent = true;
	if (transfer->sent_again)
		return;
	transfer->sent_ns = job->begun_ns = loop_now_ns(http->loop);
	list_remove(&job->in_executor);
}

/* See the top. */
static int may_send(void *arg, char *to, char *from, int to_port, int from_port)
{
	(void)to;
	(void)from;
	(void)to_port;
	(void)from_port;
	struct transfer *transfer = arg;
	if (transfer->job == NULL)
		return CURL_PREREQFUNC_OK; /* nothing will be */
	if (!transfer->sent) {
		note_sent(transfer);
		return CURL_PREREQFUNC_OK;
	}
	bool on_a_new_one = long_fact(transfer, CURLINFO_NUM_CONNECTS) > 0;
	if (transfer->sent_again || !on_a_new_one || !just_sent(transfer))
		return CURL_PREREQFUNC_ABORT;
	note_again(transfer);
	return CURL_PREREQFUNC_OK;
}

static size_t take_body(char *bytes, size_t one, size_t count, void *arg)
{
	struct transfer *transfer = arg;
	size_t len = one * count, room = sizeof transfer->kept - transfer->kept_bytes;
	size_t kept = len < room ? len : room;
	memcpy(transfer->kept + transfer->kept_bytes, bytes, kept);
	transfer->kept_bytes += kept;
	return len;
}

/* --- a request ------------------------------------------------------------------------------------ */

static bool set_long(struct transfer *transfer, CURLoption option, long value)
{
	return transfer->http->curl.easy_setopt(transfer->easy, option, value) == CURLE_OK;
}

static bool set_pointer(struct transfer *transfer, CURLoption option, const void *value)
{
	return transfer->http->curl.easy_setopt(transfer->easy, option, value) == CURLE_OK;
}

static bool request(struct transfer *transfer)
{
	struct http *http = transfer->http;
	transfer->sent = false;
	transfer->kept_bytes = 0;
	transfer->trouble[0] = '\0';
	return set_long(transfer, CURLOPT_FRESH_CONNECT, transfer->sent_again ? 1L : 0L) &&
	       http->curl.multi_add_handle(http->multi, transfer->easy) == CURLM_OK;
}

/* A kept connection that died without a byte of an answer: by our veto, or found out in ways that curl
 * does not take for that. */
static bool was_stale(struct transfer *transfer, CURLcode code)
{
	bool lost =
	    code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING;
	bool kept = long_fact(transfer, CURLINFO_NUM_CONNECTS) == 0;
	bool silent = long_fact(transfer, CURLINFO_HEADER_SIZE) == 0;
	return code == CURLE_ABORTED_BY_CALLBACK || (lost && kept && silent);
}

static bool request_again(struct transfer *transfer)
{
	note_again(transfer);
	return request(transfer);
}

static void destroy_transfer(struct transfer *transfer)
{
	list_remove(&transfer->in_all);
	list_remove(&transfer->in_idle);
	if (transfer->easy != NULL)
		transfer->http->curl.easy_cleanup(transfer->easy);
	http_headers_fini(&transfer->headers);
	memory_free(transfer);
}

/* --- the end of a transfer ------------------------------------------------------------------------ */

static void release(struct transfer *transfer)
{
	transfer->job = NULL;
	list_prepend(&transfer->http->idle, &transfer->in_idle);
}

static void finish(struct transfer *transfer, const struct outcome *outcome)
{
	struct executor *executor = &transfer->http->base;
	struct job *job = transfer->job;
	list_remove(&job->in_executor);
	release(transfer);
	executor->host->finished(executor->host, job, outcome);
}

static void not_begun(struct transfer *transfer, const char *why)
{
	struct executor *executor = &transfer->http->base;
	struct job *job = transfer->job;
	list_remove(&job->in_executor);
	release(transfer);
	executor->host->could_not_begin(executor->host, job, why);
}

static struct span header_of(struct transfer *transfer, const char *name)
{
	struct curl_header *header = NULL;
	if (transfer->http->curl.easy_header(transfer->easy, name, 0, CURLH_HEADER, -1, &header) !=
	    CURLHE_OK)
		return span_of(NULL, 0);
	return span_text(header->value);
}

static void leave_checkpoint(struct transfer *transfer, struct span bytes)
{
	struct executor *executor = &transfer->http->base;
	struct job *job = transfer->job;
	if (bytes.len > HTTP_CHECKPOINT_MOST_BYTES ||
	    !executor->host->checkpoint(executor->host, job, bytes))
		log_say(transfer->http->log, LOG_WARN, "checkpoint too large, ignored",
			kv_text("handler", executor->name), KV_JOB(job),
			kv_text("queue", job->route->name), kv_int("bytes", (int64_t)bytes.len));
}

static void read_checkpoint(struct transfer *transfer)
{
	struct span plain = header_of(transfer, "Outfall-Checkpoint");
	struct span encoded = header_of(transfer, "Outfall-Checkpoint-Base64");
	struct text decoded = {0};
	if (plain.ptr != NULL)
		leave_checkpoint(transfer, plain);
	else if (encoded.ptr != NULL && base64_read(&decoded, encoded) && !decoded.failed)
		leave_checkpoint(transfer, text_span(&decoded));
	else if (encoded.ptr != NULL)
		log_say(transfer->http->log, LOG_WARN, "checkpoint is no base64, ignored",
			kv_text("handler", transfer->http->base.name), KV_JOB(transfer->job));
	text_fini(&decoded);
}

static void explain(struct transfer *transfer, const struct http_answer *answer)
{
	struct executor_host *host = transfer->http->base.host;
	struct failure said;
	struct text words = {0};
	if (explain_answer(answer, &words, &said))
		host->explain(host, transfer->job, &said);
	text_fini(&words);
}

static struct outcome outcome_of(struct transfer *transfer)
{
	struct http_answer answer = {.body = span_of(transfer->kept, transfer->kept_bytes)};
	answer.status = long_fact(transfer, CURLINFO_RESPONSE_CODE);
	if (answer.status >= 200 && answer.status < 300) /* no need to search its headers */
		return outcome_of_answer(&answer, 0);
	answer.retry_after = header_of(transfer, "Retry-After");
	answer.date = header_of(transfer, "Date");
	answer.content_type = header_of(transfer, "Content-Type");
	explain(transfer, &answer);
	struct outcome outcome = outcome_of_answer(&answer, time(NULL));
	if (outcome.kind == OUTCOME_RETRY)
		read_checkpoint(transfer);
	return outcome;
}

static const char *words_of_trouble(const struct transfer *transfer, CURLcode code)
{
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return "the connection closed with the job under way";
	if (transfer->trouble[0] != '\0')
		return transfer->trouble;
	return transfer->http->curl.easy_strerror(code);
}

static void probe_ended(struct transfer *probe, CURLcode code)
{
	struct http *http = probe->http;
	char why[CURL_ERROR_SIZE] = "";
	(void)snprintf(why, sizeof why, "%s", words_of_trouble(probe, code));
	destroy_transfer(probe);
	http->probe = NULL;
	http->base.host->probed(http->base.host, &http->base, code == CURLE_OK ? NULL : why);
}

static void ended(struct http *http, CURL *easy, CURLcode code)
{
	char *arg = NULL;
	(void)http->curl.easy_getinfo(easy, CURLINFO_PRIVATE, &arg);
	struct transfer *transfer = (struct transfer *)(void *)arg;
	must(transfer->easy == easy && (transfer->job != NULL || transfer == http->probe));
	if (transfer == http->probe) {
		(void)http->curl.multi_remove_handle(http->multi, easy);
		probe_ended(transfer, code);
		return;
	}
	struct outcome outcome = code == CURLE_OK
				     ? outcome_of(transfer)
				     : outcome_without_answer(words_of_trouble(transfer, code));
	bool stale = !transfer->sent_again && was_stale(transfer, code) && just_sent(transfer);
	(void)http->curl.multi_remove_handle(http->multi, easy);
	if (stale && request_again(transfer))
		return;
	if (code != CURLE_OK && !transfer->sent)
		not_begun(transfer, words_of_trouble(transfer, code));
	else
		finish(transfer, &outcome);
}

/* Whether any has ended. */
static bool collect(struct http *http)
{
	CURLMsg *message;
	bool any = false;
	int left;
	while ((message = http->curl.multi_info_read(http->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		ended(http, message->easy_handle, message->data.result);
		any = true;
	}
	return any;
}

/* --- turns ---------------------------------------------------------------------------------------- */

/* What goes wrong in here goes wrong for some transfer, which then ends. */
static void act(struct http *http, curl_socket_t fd, int events)
{
	int under_way;
	(void)http->curl.multi_socket_action(http->multi, fd, events, &under_way);
}

static void serve_sockets(void *arg, unsigned ready)
{
	(void)ready;
	struct http *http = arg;
	struct epoll_event events[EVENTS];
	/* The kernel moves what it told of to the end of its list, so all get their turn. */
	int n = epoll_wait(http->epoll_fd, events, EVENTS, 0);
	for (int i = 0; i < n; i++) {
		uint32_t seen = events[i].events;
		act(http, events[i].data.fd,
		    (seen & EPOLLIN ? CURL_CSELECT_IN : 0) |
			(seen & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
			(seen & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
	}
	(void)collect(http);
}

static void serve_timer(void *arg)
{
	struct http *http = arg;
	act(http, CURL_SOCKET_TIMEOUT, 0);
	(void)collect(http);
}

/* All requests that were started this turn go out together. One that ends at once makes room for a job,
 * which dispatch looks for in the next. */
static void hand_over(void *arg)
{
	struct http *http = arg;
	if (!http->due)
		return;
	http->due = false;
	act(http, CURL_SOCKET_TIMEOUT, 0);
	if (collect(http) || http->due)
		loop_turn_again(http->loop);
}

/* --- starting ------------------------------------------------------------------------------------- */

/* Proxies in the environment are not asked: where jobs go stands in the configuration, and should not
 * depend on who started the worker. */
static bool set_destination(struct transfer *transfer)
{
	const struct handler_settings *settings = transfer->http->settings;
	const struct http *http = transfer->http;
	bool unix_socket = http->socket_path != NULL;
	return set_pointer(transfer, CURLOPT_URL, unix_socket ? http->socket_url : settings->url) &&
	       (!unix_socket ||
		set_pointer(transfer, CURLOPT_UNIX_SOCKET_PATH, http->socket_path)) &&
	       set_pointer(transfer, CURLOPT_PROTOCOLS_STR, "http,https") &&
	       set_pointer(transfer, CURLOPT_PROXY, "") &&
	       set_long(transfer, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1) &&
	       set_pointer(transfer, CURLOPT_USERAGENT, "outfall/" OUTFALL_VERSION) &&
	       (settings->ca_file == NULL ||
		set_pointer(transfer, CURLOPT_CAINFO, settings->ca_file));
}

/* QUICK_EXIT: a look-up that nobody waits for any more is left to itself, or a silent DNS server would
 * hold the loop, and the exit. */
static bool set_manners(struct transfer *transfer)
{
	return set_long(transfer, CURLOPT_POST, 1L) && set_long(transfer, CURLOPT_NOSIGNAL, 1L) &&
	       set_long(transfer, CURLOPT_QUICK_EXIT, 1L) &&
	       set_long(transfer, CURLOPT_CONNECTTIMEOUT_MS,
			(long)transfer->http->settings->connect_timeout_ms) &&
	       set_long(transfer, CURLOPT_MAXLIFETIME_CONN,
			(long)(transfer->http->settings->max_connection_age_ms / 1000)) &&
	       set_long(transfer, CURLOPT_TCP_KEEPALIVE, 1L) &&
	       set_long(transfer, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_AFTER_S) &&
	       set_long(transfer, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_EVERY_S);
}

static bool set_callbacks(struct transfer *transfer)
{
	const struct curl_library *curl = &transfer->http->curl;
	return set_pointer(transfer, CURLOPT_PRIVATE, transfer) &&
	       set_pointer(transfer, CURLOPT_ERRORBUFFER, transfer->trouble) &&
	       set_pointer(transfer, CURLOPT_WRITEDATA, transfer) &&
	       set_pointer(transfer, CURLOPT_PREREQDATA, transfer) &&
	       curl->easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
	       curl->easy_setopt(transfer->easy, CURLOPT_PREREQFUNCTION, may_send) == CURLE_OK &&
	       curl->easy_setopt(transfer->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) ==
		   CURLE_OK;
}

static struct transfer *create_transfer(struct http *http)
{
	struct transfer *transfer = memory_clear(1, sizeof *transfer);
	if (transfer == NULL)
		return NULL;
	transfer->http = http;
	list_init(&transfer->in_idle);
	list_init(&transfer->in_all);
	list_append(&http->all, &transfer->in_all);
	transfer->easy = http->curl.easy_init();
	if (transfer->easy == NULL || !set_destination(transfer) || !set_manners(transfer) ||
	    !set_callbacks(transfer)) {
		destroy_transfer(transfer);
		return NULL;
	}
	return transfer;
}

static struct transfer *take_transfer(struct http *http)
{
	struct list *node = list_take_first(&http->idle);
	return node != NULL ? list_entry(node, struct transfer, in_idle) : create_transfer(http);
}

static struct curl_slist *link_lines(struct transfer *transfer)
{
	struct curl_slist *next = transfer->http->own_lines;
	for (unsigned i = transfer->headers.count; i > 0; i--) {
		struct curl_slist *line = &transfer->lines[i - 1];
		*line = (struct curl_slist){http_headers_line(&transfer->headers, i - 1), next};
		next = line;
	}
	return next;
}

/* Body and headers are lent to curl, not copied: both outlive the transfer. */
static bool send_job(struct transfer *transfer)
{
	struct http *http = transfer->http;
	const struct job *job = transfer->job;
	transfer->sent_again = false;
	return http_headers_write(&transfer->headers, job, http->settings->timeout_ms,
				  http->content_type) &&
	       http->curl.easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE,
				      (curl_off_t)job->body.len) == CURLE_OK &&
	       set_pointer(transfer, CURLOPT_POSTFIELDS, job->body.ptr) &&
	       set_pointer(transfer, CURLOPT_HTTPHEADER, link_lines(transfer)) && request(transfer);
}

static void http_start(struct executor *executor, struct job *job)
{
	struct http *http = http_of(executor);
	struct transfer *transfer = take_transfer(http);
	job->executor_ref = transfer;
	if (transfer == NULL) {
		executor->host->could_not_begin(executor->host, job, "out of memory");
		return;
	}
	transfer->job = job;
	list_append(&http->unbegun, &job->in_executor);
	if (!send_job(transfer))
		not_begun(transfer, "out of memory");
}

static void http_probe(struct executor *executor)
{
	struct http *http = http_of(executor);
	must(http->probe == NULL);
	struct transfer *probe = create_transfer(http);
	if (probe != NULL && set_long(probe, CURLOPT_CONNECT_ONLY, 1L) &&
	    set_long(probe, CURLOPT_FRESH_CONNECT, 1L) &&
	    http->curl.multi_add_handle(http->multi, probe->easy) == CURLM_OK) {
		http->probe = probe;
		return;
	}
	if (probe != NULL)
		destroy_transfer(probe);
	executor->host->probed(executor->host, executor, "out of memory");
}

/* --- stopping ------------------------------------------------------------------------------------- */

static void http_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	(void)how; /* asking is cancelling; see the top */
	static const struct outcome cancelled = {.kind = OUTCOME_ABANDONED,
						 .reason = "request cancelled"};
	struct transfer *transfer = job->executor_ref;
	must(transfer->http == http_of(executor) && transfer->job == job);
	(void)transfer->http->curl.multi_remove_handle(transfer->http->multi, transfer->easy);
	finish(transfer, &cancelled);
	loop_turn_again(transfer->http->loop); /* curl may have asked for a call */
}

static void http_retract(struct executor *executor)
{
	struct http *http = http_of(executor);
	while (!list_empty(&http->unbegun)) {
		struct job *job = list_entry(http->unbegun.prev, struct job, in_executor);
		struct transfer *transfer = job->executor_ref;
		list_remove(&job->in_executor);
		(void)http->curl.multi_remove_handle(http->multi, transfer->easy);
		release(transfer);
		executor->host->retracted(executor->host, job);
	}
}

static uint64_t http_begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static void http_drain_notice(struct executor *executor, uint64_t remaining_ms)
{
	(void)executor; /* a request that is under way cannot be told anything */
	(void)remaining_ms;
}

/* --- width ---------------------------------------------------------------------------------------- */

static unsigned width_for(const struct handler_settings *settings,
			  const struct worker_settings *worker, struct log *log)
{
	unsigned wanted = width_wanted(settings, worker);
	unsigned width = width_affordable(wanted, TRANSFER_DESCRIPTORS);
	if (width < wanted)
		log_say(log, LOG_WARN,
			"fewer requests at once than wanted, the limit on open files is low",
			kv_text("handler", settings->name), kv_int("requests", width));
	return width;
}

/* Transfers are made as they are needed; curl has to know how many connections to keep. */
static bool set_width(struct http *http, unsigned width)
{
	if (http->curl.multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)width) != CURLM_OK)
		return false;
	http->base.width = http->base.widest = http->base.depth = width;
	return true;
}

static void http_resize(struct executor *executor, const struct worker_settings *worker)
{
	struct http *http = http_of(executor);
	unsigned width = width_for(http->settings, worker, http->log);
	if (width == executor->width)
		return;
	if (set_width(http, width))
		executor->host->resized(executor->host, executor);
	else
		log_say(http->log, LOG_ERROR, "as many requests at once as before, out of memory",
			kv_text("handler", executor->name), kv_int("requests", executor->width));
}

/* --- creating and closing ------------------------------------------------------------------------- */

/* A job may still be here when the drain ran out of time and the core gave it up. */
static void destroy_transfers(struct http *http)
{
	list_each_safe (it, &http->all) {
		struct transfer *transfer = list_entry(it, struct transfer, in_all);
		if (transfer->job != NULL || transfer == http->probe)
			(void)http->curl.multi_remove_handle(http->multi, transfer->easy);
		destroy_transfer(transfer);
	}
}

static void free_own_lines(struct http *http)
{
	while (http->own_lines != NULL) {
		struct curl_slist *line = http->own_lines;
		http->own_lines = line->next;
		memory_free(line);
	}
}

static void http_destroy(struct executor *executor)
{
	struct http *http = http_of(executor);
	destroy_transfers(http);
	if (http->multi != NULL) /* closes the connections, and says so to the timer and the set */
		(void)http->curl.multi_cleanup(http->multi);
	curl_library_close(&http->curl);
	if (http->hand_over.run != NULL)
		loop_remove_hook(&http->hand_over);
	timer_destroy(http->timer);
	watch_destroy(http->ready);
	if (http->epoll_fd >= 0)
		(void)close(http->epoll_fd);
	free_own_lines(http);
	memory_free(http->socket_path);
	memory_free(http->socket_url);
	memory_free(http);
}

static const struct executor_ops http_ops = {
    .kind = "http",
    .start = http_start,
    .retract = http_retract,
    .begun_ns = http_begun_ns,
    .stop = http_stop,
    .probe = http_probe,
    .drain_notice = http_drain_notice,
    .resize = http_resize,
    .destroy = http_destroy,
};

static bool add_line(struct http *http, const char *text)
{
	struct curl_slist *line = memory_clear(1, sizeof *line);
	if (line == NULL)
		return false;
	*line = (struct curl_slist){(char *)text, http->own_lines};
	http->own_lines = line;
	return true;
}

static const char *value_if(const char *line, const char *name)
{
	size_t len = strlen(name);
	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	return line + len + 1 + strspn(line + len + 1, " \t");
}

/* Curl would wait for a "100 Continue" before a larger body, which many servers never send. A configured
 * Content-Type is for the jobs that have none. */
static bool make_own_lines(struct http *http)
{
	const char *const *headers = (const char *const *)http->settings->headers;
	http->content_type = "application/octet-stream";
	if (!add_line(http, "Expect:"))
		return false;
	for (; headers != NULL && *headers != NULL; headers++) {
		const char *type = value_if(*headers, "Content-Type");
		if (type != NULL)
			http->content_type = type;
		else if (!add_line(http, *headers))
			return false;
	}
	return true;
}

static bool set_multi(struct http *http)
{
	const struct curl_library *curl = &http->curl;
	CURLM *multi = http->multi = curl->multi_init();
	if (multi == NULL)
		return false;
#if LIBCURL_VERSION_NUM >= 0x081400 /* the look-ups' threads became the multi handle's */
	(void)curl->multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L);
#endif
	return curl->multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
	       curl->multi_setopt(multi, CURLMOPT_SOCKETDATA, http) == CURLM_OK &&
	       curl->multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
	       curl->multi_setopt(multi, CURLMOPT_TIMERDATA, http) == CURLM_OK;
}

/* unix:///run/app.sock:/jobs, as nginx has it; without the second part it is "/". */
static bool find_socket(struct http *http)
{
	static const char scheme[] = "unix://";
	const char *path = http->settings->url + sizeof scheme - 1;
	if (strncmp(http->settings->url, scheme, sizeof scheme - 1) != 0)
		return true;
	const char *colon = strchr(path, ':');
	const char *target = colon != NULL ? colon + 1 : "/";
	size_t len = colon != NULL ? (size_t)(colon - path) : strlen(path);
	struct text url = {0};
	text_print(&url, "http://localhost%s%c", target, '\0');
	http->socket_url = url.bytes;
	http->socket_path = memory_take(len + 1);
	if (url.failed || http->socket_path == NULL)
		return false;
	memcpy(http->socket_path, path, len);
	http->socket_path[len] = '\0';
	return true;
}

static enum status acquire(struct http *http, unsigned width, struct error *why)
{
	if (!find_socket(http))
		return error_set(why, ST_NOMEM, "out of memory");
	http->timer = timer_create_on(http->loop, serve_timer, http);
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (http->epoll_fd < 0)
		return error_system(why, errno, "epoll");
	http->ready = watch_create(http->loop, http->epoll_fd, serve_sockets, http);
	if (http->timer == NULL || http->ready == NULL || !make_own_lines(http))
		return error_set(why, ST_NOMEM, "out of memory");
	enum status st = curl_library_open(&http->curl, why);
	if (st != ST_OK)
		return st;
	return set_multi(http) && set_width(http, width)
		   ? ST_OK
		   : error_set(why, ST_NOMEM, "libcurl: out of memory");
}

enum status http_executor_create(struct loop *loop, struct log *log,
				 const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct executor **ret_executor, struct error *why)
{
	struct http *http = memory_clear(1, sizeof *http);
	if (http == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	http->base = (struct executor){
	    .ops = &http_ops,
	    .host = host,
	    .name = settings->name,
	    .can_kill = true,
	};
	http->loop = loop;
	http->log = log;
	http->settings = settings;
	http->epoll_fd = -1;
	list_init(&http->all);
	list_init(&http->idle);
	list_init(&http->unbegun);
	enum status st = acquire(http, width_for(settings, worker, log), why);
	if (st != ST_OK) {
		http_destroy(&http->base);
		return st;
	}
	http->hand_over = (struct turn_hook){.run = hand_over, .arg = http};
	loop_add_hook(loop, TURN_HAND_OVER, &http->hand_over);
	watch_set(http->ready, WATCH_READ);
	*ret_executor = &http->base;
	return ST_OK;
}
