/* http, against a small server of the test's own: what goes over the wire, what an answer leaves behind,
 * and that a request can be ended at any moment. Statuses are test_http_answer.c's affair, and what
 * connections do to each other is tests/integration/test_http.py's. */
#include "fake_host.h"

#include "executors/http/http.h"
#include "executors/http/http_headers.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NO_CONTENT "HTTP/1.1 204 No Content\r\n\r\n"

/* One connection after the other, one answer for each request. Without an answer it says nothing more
 * and waits until the client goes. */
struct server {
	pthread_t thread;
	int listener;
	const char *_Atomic answer;
	atomic_uint requests;
	char request[65536]; /* the last one */
};

static bool is_whole(const char *request, size_t len)
{
	const char *end = strstr(request, "\r\n\r\n");
	const char *length = strcasestr(request, "\r\nContent-Length:");
	return end != NULL && len >= (size_t)(end + 4 - request) +
					 (length != NULL ? strtoul(length + 17, NULL, 10) : 0);
}

static bool serve_one(struct server *server, int fd)
{
	size_t len = 0;
	do {
		ssize_t n = read(fd, server->request + len, sizeof server->request - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		server->request[len] = '\0';
	} while (!is_whole(server->request, len));
	const char *answer = server->answer;
	atomic_fetch_add(&server->requests, 1);
	return answer == NULL || write(fd, answer, strlen(answer)) > 0;
}

static void *serve(void *arg)
{
	struct server *server = arg;
	int fd;
	while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
		while (serve_one(server, fd))
			;
		close(fd);
	}
	return NULL;
}

struct fixture {
	struct fake_host fake;
	struct server server;
	struct handler_settings handler;
	struct worker_settings worker;
	char url[160];
	struct span left; /* the checkpoint of the job that ended last */
	char left_bytes[8192];
};

static unsigned listen_on_loopback(int fd)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	return ntohs(at.sin_port);
}

static void remember_checkpoint(struct fake_host *fake, struct job *job)
{
	struct fixture *f = list_entry(fake, struct fixture, fake);
	f->left = span_of(NULL, 0);
	if (!job->left.set)
		return;
	memcpy(f->left_bytes, job->left.bytes, job->left.len);
	f->left = span_of(f->left_bytes, job->left.len);
}

static enum status create(struct fixture *f)
{
	return http_executor_create(f->fake.loop, f->fake.log, &f->handler, &f->worker,
				    &f->fake.host, &f->fake.executor, NULL);
}

static void open_fixture(struct fixture *f, const char *answer)
{
	memset(f, 0, sizeof *f);
	f->server.answer = answer;
	f->server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u/jobs?x=1",
		       listen_on_loopback(f->server.listener));
	assert_int_equal(pthread_create(&f->server.thread, NULL, serve, &f->server), 0);
	f->handler = (struct handler_settings){
	    .name = "hook", .url = f->url, .timeout_ms = 30000, .connect_timeout_ms = 5000};
	f->worker.concurrency = 4;
	fake_host_open(&f->fake);
	f->fake.on_finished = remember_checkpoint;
	assert_int_equal(create(f), ST_OK);
}

static void close_server(struct fixture *f)
{
	(void)shutdown(f->server.listener, SHUT_RDWR);
	(void)pthread_join(f->server.thread, NULL);
	(void)close(f->server.listener);
}

static void close_fixture(struct fixture *f)
{
	f->fake.executor->ops->destroy(f->fake.executor);
	close_server(f);
	fake_host_close(&f->fake);
}

static void run_one(struct fixture *f, struct job *job)
{
	unsigned ends = f->fake.finished + f->fake.retracted + f->fake.not_begun + 1;
	fake_start(&f->fake, job);
	fake_run_until(&f->fake, ends);
}

static bool was_asked(void *arg)
{
	return atomic_load(&((struct fixture *)arg)->server.requests) > 0;
}

/* --- requests ------------------------------------------------------------------------------------- */

static void a_request_is_what_it_says(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	const char *own[] = {"Authorization: Bearer x", "User-Agent: mine", NULL};
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	f->handler.headers = own;
	f->fake.executor->ops->destroy(f->fake.executor);
	assert_int_equal(create(f), ST_OK);
	run_one(f, fake_job(&f->fake, "hello", 5));
	assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
	assert_int_equal(atomic_load(&f->server.requests), 1);
	const char *request = f->server.request;
	assert_int_equal(strncmp(request, "POST /jobs?x=1 HTTP/1.1\r\n", 25), 0);
	static const char *const lines[] = {
	    "\r\nContent-Length: 5\r\n",       "\r\nContent-Type: text/plain\r\n",
	    "\r\nOutfall-Job-Id: job-1\r\n",   "\r\nOutfall-Timeout-Ms: 30000\r\n",
	    "\r\nAuthorization: Bearer x\r\n", "\r\nUser-Agent: mine\r\n"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		if (strstr(request, lines[i]) == NULL)
			fail_msg("no %s in:\n%s", lines[i], request);
	assert_null(strcasestr(request, "Expect"));
	assert_null(strstr(request, "User-Agent: outfall"));
	assert_string_equal(strstr(request, "\r\n\r\n"), "\r\n\r\nhello");
	close_fixture(f);
	free(f);
}

static void by_a_socket(void **state)
{
	(void)state;
	static const struct {
		const char *target, *line;
	} rows[] = {
	    {":/jobs?x=1", "POST /jobs?x=1 HTTP/1.1\r\nHost: localhost\r\n"},
	    {"",           "POST / HTTP/1.1\r\n"                           },
	};
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char folder[] = "/tmp/outfall-test-XXXXXX";
		assert_non_null(mkdtemp(folder));
		struct sockaddr_un at = {.sun_family = AF_UNIX};
		(void)snprintf(at.sun_path, sizeof at.sun_path, "%s/s", folder);
		open_fixture(f, NO_CONTENT);
		f->fake.executor->ops->destroy(f->fake.executor);
		close_server(f);
		f->server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(f->server.listener, (struct sockaddr *)&at, sizeof at), 0);
		assert_int_equal(listen(f->server.listener, 8), 0);
		assert_int_equal(pthread_create(&f->server.thread, NULL, serve, &f->server), 0);
		(void)snprintf(f->url, sizeof f->url, "unix://%s%s", at.sun_path, rows[i].target);
		assert_int_equal(create(f), ST_OK);
		run_one(f, fake_job(&f->fake, "hello", 5));
		assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
		assert_int_equal(strncmp(f->server.request, rows[i].line, strlen(rows[i].line)), 0);
		close_fixture(f);
		assert_int_equal(unlink(at.sun_path), 0);
		assert_int_equal(rmdir(folder), 0);
	}
	free(f);
}

static void an_answer_may_leave_a_checkpoint(void **state)
{
	(void)state;
	static char large[HTTP_CHECKPOINT_MOST_BYTES + 200];
	int head = snprintf(large, sizeof large,
			    "HTTP/1.1 503 x\r\nContent-Length: 0\r\nOutfall-Checkpoint: ");
	memset(large + head, 'x', HTTP_CHECKPOINT_MOST_BYTES + 1);
	memcpy(large + head + HTTP_CHECKPOINT_MOST_BYTES + 1, "\r\n\r\n", 5);
#define LEAVING(status, line) "HTTP/1.1 " status " x\r\nContent-Length: 0\r\n" line "\r\n\r\n"
	const struct {
		const char *answer, *left; /* NULL: none */
		const char *logged;
	} rows[] = {
	    {LEAVING("503",                    "Outfall-Checkpoint: page 7"), "page 7",            NULL},
	    {LEAVING("404",				"outfall-checkpoint:   %41 "),                                                 "%41",        NULL},
	    {LEAVING("503",			    "Outfall-Checkpoint-Base64: YQpi"),                                                         "a\nb",                                                         NULL},
	    {LEAVING("503",                          "Outfall-Checkpoint-Base64: ="),NULL,"checkpoint is no base64"},
	    {LEAVING("503","Retry-After: 1"),       NULL,                                            NULL},
	    {LEAVING("400",                    "Outfall-Checkpoint: page 7"),                                                         NULL,								  NULL},
	    {LEAVING("200",				"Outfall-Checkpoint: page 7"),                                                 NULL,                    NULL},
	    {large,			    NULL,							 "checkpoint too large"},
	};
#undef LEAVING
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		open_fixture(f, rows[i].answer);
		run_one(f, fake_job(&f->fake, "x", 1));
		struct span left = span_text(rows[i].left);
		assert_int_equal(f->left.ptr != NULL, rows[i].left != NULL);
		assert_true(span_equal(f->left, left));
		if (rows[i].logged != NULL)
			fake_assert_logged(&f->fake, rows[i].logged);
		close_fixture(f);
	}
	free(f);
}

static bool probe(struct fixture *f)
{
	unsigned could = f->fake.could, asked = could + f->fake.could_not;
	f->fake.executor->ops->probe(f->fake.executor);
	fake_run_until(&f->fake, UINT_MAX); /* the answer ends it */
	assert_int_equal(f->fake.could + f->fake.could_not, asked + 1);
	return f->fake.could > could;
}

/* It is looked at with a connection alone: no request, and no connection that a job would find. */
static void somebody_listens(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	assert_true(probe(f));
	assert_true(probe(f));
	run_one(f, fake_job(&f->fake, "x", 1));
	assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
	f->fake.executor->ops->probe(f->fake.executor); /* destroyed with one under way */
	close_fixture(f);
	free(f);
}

static void what_was_not_sent_comes_back_in_order(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	for (unsigned i = 0; i < 3; i++)
		fake_start(&f->fake, fake_job(&f->fake, "x", 1));
	f->fake.executor->ops->retract(f->fake.executor);
	assert_int_equal(f->fake.retracted, 3);
	assert_int_equal(f->fake.last_serial, 1); /* the last one first */
	run_one(f, fake_job(&f->fake, "x", 1));
	assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
	f->fake.executor->ops->retract(f->fake.executor);
	assert_int_equal(f->fake.retracted, 3);
	close_fixture(f);
	free(f);
}

static void nobody_listens(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	close_server(f);
	run_one(f, fake_job(&f->fake, "x", 1));
	assert_int_equal(f->fake.finished, 0);
	assert_int_equal(f->fake.not_begun, 1);
	assert_non_null(strstr(f->fake.why_not, "onnect"));
	assert_false(probe(f));
	assert_non_null(strstr(f->fake.why_not, "onnect"));
	f->fake.executor->ops->destroy(f->fake.executor);
	fake_host_close(&f->fake);
	free(f);
}

/* --- stopping ------------------------------------------------------------------------------------- */

static void asking_is_cancelling(void **state)
{
	(void)state;
	static const enum stop_how hows[] = {STOP_ASK, STOP_KILL};
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	for (size_t i = 0; i < 2; i++) {
		open_fixture(f, NULL);
		struct job *job = fake_job(&f->fake, "x", 1);
		fake_start(&f->fake, job);
		fake_run_while_not(&f->fake, was_asked, f);
		f->fake.executor->ops->stop(f->fake.executor, job, hows[i]);
		assert_int_equal(f->fake.finished, 1); /* within the call */
		assert_int_equal(f->fake.last.kind, OUTCOME_ABANDONED);
		f->server.answer = NO_CONTENT;
		run_one(f, fake_job(&f->fake, "y", 1));
		assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
		close_fixture(f);
	}
	free(f);
}

static void cancelled_before_it_was_sent(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	struct job *job = fake_job(&f->fake, "x", 1);
	fake_start(&f->fake, job);
	f->fake.executor->ops->stop(f->fake.executor, job, STOP_ASK);
	assert_int_equal(f->fake.last.kind, OUTCOME_ABANDONED);
	run_one(f, fake_job(&f->fake, "y", 1));
	assert_int_equal(atomic_load(&f->server.requests), 1);
	close_fixture(f);
	free(f);
}

static void destroyed_with_a_request_under_way(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NULL);
	struct job *job = fake_job(&f->fake, "x", 1);
	fake_start(&f->fake, job);
	fake_run_while_not(&f->fake, was_asked, f);
	close_fixture(f);
	assert_int_equal(f->fake.finished, 0);
	job_destroy(job);
	free(f);
}

/* --- limits --------------------------------------------------------------------------------------- */

static void width(void **state)
{
	(void)state;
	static const struct {
		unsigned worker, handler, width;
	} rows[] = {
	    {1,  0,  1 },
            {16, 0,  16},
            {16, 3,  3 },
            {3,  16, 3 },
            {4,  4,  4 },
	};
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		f->fake.executor->ops->destroy(f->fake.executor);
		f->worker.concurrency = rows[i].worker;
		f->handler.concurrency = rows[i].handler;
		assert_int_equal(create(f), ST_OK);
		assert_int_equal(f->fake.executor->width, rows[i].width);
		assert_int_equal(f->fake.executor->widest, rows[i].width);
		assert_int_equal(f->fake.executor->depth, rows[i].width);
		assert_true(f->fake.executor->can_kill);
	}
	close_fixture(f);
	free(f);
}

static void width_follows(void **state)
{
	(void)state;
	static const struct {
		unsigned worker, handler, width;
	} rows[] = {
	    {2, 0, 2},
	    {9, 5, 5},
	    {9, 0, 9},
	    {9, 0, 9},
	};
	struct fixture *f = malloc(sizeof *f);
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	struct executor *executor = f->fake.executor;
	fake_start(&f->fake, fake_job(&f->fake, "x", 1));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		f->worker.concurrency = rows[i].worker;
		f->handler.concurrency = rows[i].handler;
		executor->ops->resize(executor, &f->worker);
		assert_int_equal(executor->width, rows[i].width);
		assert_int_equal(executor->widest, rows[i].width);
		assert_int_equal(executor->depth, rows[i].width);
	}
	assert_int_equal(f->fake.resized, 3);
	fake_run_until(&f->fake, 1);
	assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
	close_fixture(f);
	free(f);
}

static void without_memory_it_is_not_created(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	const char *own[] = {"X: y", NULL};
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	f->handler.headers = own;
	f->fake.executor->ops->destroy(f->fake.executor);
	unsigned long n = 1;
	enum status st;
	for (;; n++) {
		(void)memory_fail_at(n);
		st = create(f);
		(void)memory_fail_at(0);
		if (st == ST_OK)
			break;
		assert_int_equal(st, ST_NOMEM);
	}
	assert_true(n > 4); /* the struct, a timer, a watch, two lines */
	close_fixture(f);
	free(f);
}

static void without_memory_a_job_is_tried_again(void **state)
{
	(void)state;
	struct fixture *f = malloc(sizeof *f);
	unsigned long n = 1;
	assert_non_null(f);
	open_fixture(f, NO_CONTENT);
	do {
		struct job *job = fake_job(&f->fake, "x", 1);
		(void)memory_fail_at(n++);
		fake_start(&f->fake, job);
		(void)memory_fail_at(0);
		fake_run_until(&f->fake, (unsigned)n - 1);
	} while (f->fake.finished == 0);
	assert_int_equal(f->fake.last.kind, OUTCOME_DONE);
	assert_string_equal(f->fake.why_not, "out of memory");
	assert_true(n > 3); /* the transfer, the lines */
	close_fixture(f);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_request_is_what_it_says),
	    cmocka_unit_test(by_a_socket),
	    cmocka_unit_test(an_answer_may_leave_a_checkpoint),
	    cmocka_unit_test(somebody_listens),
	    cmocka_unit_test(what_was_not_sent_comes_back_in_order),
	    cmocka_unit_test(nobody_listens),
	    cmocka_unit_test(asking_is_cancelling),
	    cmocka_unit_test(cancelled_before_it_was_sent),
	    cmocka_unit_test(destroyed_with_a_request_under_way),
	    cmocka_unit_test(width),
	    cmocka_unit_test(width_follows),
	    cmocka_unit_test(without_memory_it_is_not_created),
	    cmocka_unit_test(without_memory_a_job_is_tried_again),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
