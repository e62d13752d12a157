/* resp against a server played by the test: what it sends, what it makes of answers, how it ends. */
#include "wire/resp.h"

#include "loop/loop.h"
#include "wire/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct loop *loop;
	struct timer *deadline;
	struct turn_hook check;
	bool (*until)(struct fixture *f);
	int listener, peer;
	struct resp_login login;
	struct resp *resp;
	unsigned ready, closed, answers;
	struct error why;
	char seen[4096]; /* the answers, printed */
	bool close_in_answer;
	unsigned turns_left;
};

static void on_ready(void *arg)
{
	((struct fixture *)arg)->ready++;
}

static void on_closed(void *arg, const struct error *why)
{
	struct fixture *f = arg;
	f->closed++;
	f->why = *why;
}

static const struct resp_events events = {on_ready, on_closed};

static void print(struct fixture *f, const struct reply *reply)
{
	size_t used = strlen(f->seen);
	char *at = f->seen + used;
	size_t room = sizeof f->seen - used;
	switch (reply->kind) {
	case REPLY_NIL:
		snprintf(at, room, "nil ");
		return;
	case REPLY_NUMBER:
		snprintf(at, room, "%lld ", (long long)reply->number);
		return;
	case REPLY_TEXT:
	case REPLY_STATUS:
	case REPLY_ERROR:
		snprintf(at, room, "%c%.*s ", "\"+-"[reply->kind - REPLY_TEXT],
			 (int)reply -> text.len, reply->text.ptr);
		return;
	case REPLY_ARRAY:
		snprintf(at, room, "[ ");
		for (size_t i = 0; i < reply->n_items; i++)
			print(f, &reply->items[i]);
		strncat(f->seen, "] ", sizeof f->seen - strlen(f->seen) - 1);
		return;
	}
}

static void answered(void *arg, const struct reply *reply)
{
	struct fixture *f = arg;
	f->answers++;
	print(f, reply);
	if (f->close_in_answer) {
		resp_close(f->resp);
		f->resp = NULL;
	}
}

static void too_late(void *arg)
{
	(void)arg;
	fail_msg("the condition did not come true in 10 s");
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
	timer_start(f->deadline, 10000);
	loop_run(f->loop);
	timer_stop(f->deadline);
	f->until = NULL;
}

static bool is_ready(struct fixture *f)
{
	return f->ready > 0;
}

static bool is_closed(struct fixture *f)
{
	return f->closed > 0;
}

static bool is_answered(struct fixture *f)
{
	return f->answers > 0;
}

static bool all_are_answered(struct fixture *f)
{
	return resp_unanswered(f->resp) == 0;
}

static bool has_turned(struct fixture *f)
{
	loop_turn_again(f->loop);
	return f->turns_left-- == 0;
}

static bool is_gone(struct fixture *f)
{
	return f->resp == NULL;
}

/* What the client has sent so far; the loop goes on turning meanwhile. */
static size_t drain_peer(struct fixture *f, char *buf, size_t size)
{
	ssize_t n = recv(f->peer, buf, size - 1, MSG_DONTWAIT);
	size_t len = n > 0 ? (size_t)n : 0;
	buf[len] = '\0';
	return len;
}

static bool peer_has_input(struct fixture *f)
{
	char c;
	loop_turn_again(f->loop);
	return recv(f->peer, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
}

static void serve(struct fixture *f, const char *bytes)
{
	assert_int_equal(write(f->peer, bytes, strlen(bytes)), strlen(bytes));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct error why;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof at;
	assert_non_null(f);
	assert_int_equal(loop_create(&f->loop, &why), ST_OK);
	f->deadline = timer_create_on(f->loop, too_late, f);
	f->check = (struct turn_hook){.run = check_condition, .arg = f};
	loop_add_hook(f->loop, TURN_DRAIN, &f->check);
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f->peer = -1;
	assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(f->listener, 8), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &bytes), 0);
	f->login = (struct resp_login){
	    .address = {.host = "127.0.0.1", .port = ntohs(at.sin_port)},
	    .deadline_ms = 5000,
	    .reply_limit = 1 << 20,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	resp_close(f->resp);
	loop_remove_hook(&f->check);
	timer_destroy(f->deadline);
	loop_destroy(f->loop);
	if (f->peer >= 0)
		(void)close(f->peer);
	(void)close(f->listener);
	free(f);
	return 0;
}

static void open_and_accept(struct fixture *f)
{
	f->resp = resp_open(f->loop, &f->login, &events, f);
	assert_non_null(f->resp);
	f->peer = accept(f->listener, NULL, NULL);
	assert_true(f->peer >= 0);
	turn_until(f, peer_has_input);
}

static void log_in(struct fixture *f)
{
	char buf[1000];
	open_and_accept(f);
	serve(f, "+OK\r\n:77\r\n");
	turn_until(f, is_ready);
	(void)drain_peer(f, buf, sizeof buf);
}

static void logs_in_with_one_packet(void **state)
{
	struct fixture *f = *state;
	char buf[1000];
	f->login.user = "u";
	f->login.password = "p\r\n";
	f->login.database = 12;
	f->login.client_name = "me";
	open_and_accept(f);
	(void)drain_peer(f, buf, sizeof buf);
	assert_string_equal(buf, "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$3\r\np\r\n\r\n"
				 "*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n"
				 "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$2\r\nme\r\n"
				 "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n");
	serve(f, "+OK\r\n+OK\r\n-NOPERM no names\r\n");
	assert_int_equal(f->ready, 0);
	serve(f, ":4711\r\n");
	turn_until(f, is_ready);
	assert_int_equal(resp_client_id(f->resp), 4711);
	assert_int_equal(f->closed, 0);
}

static void a_password_alone_names_no_user(void **state)
{
	struct fixture *f = *state;
	char buf[1000];
	f->login.user = "";
	f->login.password = "p";
	open_and_accept(f);
	(void)drain_peer(f, buf, sizeof buf);
	assert_non_null(strstr(buf, "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"));
}

static void refused_logins_say_why(void **state)
{
	static const struct {
		const char *answer;
		enum status st;
	} rows[] = {
	    {"-WRONGPASS invalid username-password pair\r\n",       ST_AUTH   },
	    {"-NOAUTH Authentication required.\r\n:1\r\n",          ST_AUTH   },
	    {"-ERR DB index is out of range\r\n",                   ST_MISSING},
	    {"-DENIED Redis is running in protected mode\r\n",      ST_REFUSED},
	    {"-ERR max number of clients reached\r\n",              ST_AGAIN  },
	    {"-LOADING Redis is loading the dataset in memory\r\n", ST_AGAIN  },
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		open_and_accept(f);
		serve(f, rows[i].answer);
		turn_until(f, is_closed);
		assert_int_equal(f->why.status, rows[i].st);
		assert_int_equal(f->closed, 1);
		assert_int_equal(f->ready, 0);
		resp_close(f->resp);
		f->resp = NULL;
		(void)close(f->peer);
		f->closed = 0;
	}
	f->peer = -1;
}

static void errors_say_what_to_do(void **state)
{
	static const struct {
		const char *text;
		enum status st;
	} rows[] = {
	    {"READONLY You can't write against a read only replica.",                            ST_AGAIN  },
	    {"NOSCRIPT No matching script. Please use EVAL.",                                    ST_AGAIN  },
	    {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	     ST_AGAIN										      },
	    {"CLUSTERDOWN The cluster is down",						  ST_AGAIN  },
	    {"BUSY Redis is busy running a script.",                                             ST_AGAIN  },
	    {"OOM command not allowed when used memory > 'maxmemory'.",                          ST_AGAIN  },
	    {"UNBLOCKED force unblock from blocking operation",                                  ST_AGAIN  },
	    {"NOPERM this user has no permissions to run the 'evalsha' command",                 ST_AUTH   },
	    {"WRONGTYPE Operation against a key holding the wrong kind of value",                ST_REFUSED},
	    {"ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY "
	     "You "
	     "can't write against a read only replica.",			    ST_AGAIN  },
	    {"ERR Error running script (call to f_1): @user_script:9: oops",                     ST_REFUSED},
	    {"ERR x: -READONLY",								 ST_REFUSED},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (resp_error_status(span_text(rows[i].text)) != rows[i].st)
			fail_msg("%s", rows[i].text);
}

static void redirects_say_where(void **state)
{
	static const struct {
		const char *text, *host;
		unsigned port;
		enum redirect how;
	} rows[] = {
	    {"MOVED 3999 127.0.0.1:6381", "127.0.0.1",  6381, REDIRECT_MOVED},
	    {"MOVED 0 ::1:7000",          "::1",        7000, REDIRECT_MOVED},
	    {"MOVED 16383 :7000",         "here",       7000, REDIRECT_MOVED},
	    {"MOVED 1 n1.example:1",      "n1.example", 1,    REDIRECT_MOVED},
	    {"ASK 3999 127.0.0.1:6381",   "127.0.0.1",  6381, REDIRECT_ASK  },
	    {"ASK 1 :7000",               "here",       7000, REDIRECT_ASK  },
	    {"MOVED 1 h:0",               NULL,         0,    REDIRECT_NONE },
	    {"MOVED 1 h:99999",           NULL,         0,    REDIRECT_NONE },
	    {"MOVED 1 h",                 NULL,         0,    REDIRECT_NONE },
	    {"MOVED",                     NULL,         0,    REDIRECT_NONE },
	    {"ASK 1 h:",                  NULL,         0,    REDIRECT_NONE },
	    {"ASKING 1 h:1",              NULL,         0,    REDIRECT_NONE },
	    {"ERR ASK 1 h:1",             NULL,         0,    REDIRECT_NONE },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct url_node node;
		enum redirect how = resp_redirect(span_text(rows[i].text), "here", &node);
		assert_int_equal(how, rows[i].how);
		if (how == REDIRECT_NONE)
			continue;
		assert_string_equal(node.host, rows[i].host);
		assert_int_equal(node.port, rows[i].port);
	}
}

static void a_server_that_says_nothing_is_given_up(void **state)
{
	struct fixture *f = *state;
	f->login.deadline_ms = 50;
	open_and_accept(f);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_TIMEOUT);
}

static void answers_come_to_those_who_asked(void **state)
{
	struct fixture *f = *state;
	char buf[1000];
	log_in(f);
	for (int i = 0; i < 20; i++) {
		resp_begin(f->resp, 2, answered, f);
		resp_arg_text(f->resp, "X");
		resp_arg_number(f->resp, i - 10);
	}
	assert_int_equal(resp_unanswered(f->resp), 20);
	turn_until(f, peer_has_input);
	(void)drain_peer(f, buf, sizeof buf);
	static const char first[] = "*2\r\n$1\r\nX\r\n$3\r\n-10\r\n*2\r\n$1\r\nX\r\n$2\r\n-9\r\n";
	assert_memory_equal(buf, first, sizeof first - 1);
	serve(f, "+OK\r\n-ERR no\r\n:5\r\n$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n"
		 "*3\r\n:1\r\n*2\r\n$1\r\na\r\n$2\r\nbc\r\n$-1\r\n");
	for (int i = 8; i < 20; i++)
		serve(f, ":0\r\n");
	turn_until(f, all_are_answered);
	assert_int_equal(f->answers, 20);
	assert_string_equal(f->seen, "+OK -ERR no 5 nil nil \" [ ] [ 1 [ \"a \"bc ] nil ] "
				     "0 0 0 0 0 0 0 0 0 0 0 0 ");
}

static void an_answer_in_crumbs_is_one_answer(void **state)
{
	struct fixture *f = *state;
	static const char answer[] = "*2\r\n$3\r\nabc\r\n*1\r\n:12345\r\n";
	log_in(f);
	resp_begin(f->resp, 1, answered, f);
	resp_arg_text(f->resp, "X");
	for (size_t i = 0; answer[i] != '\0'; i++) {
		assert_int_equal(f->answers, 0);
		assert_int_equal(write(f->peer, &answer[i], 1), 1);
		f->turns_left = 2; /* loopback: the byte is there, so the first of them reads it */
		turn_until(f, has_turned);
	}
	turn_until(f, is_answered);
	assert_string_equal(f->seen, "[ \"abc [ 12345 ] ] ");
}

static void may_be_closed_in_an_answer(void **state)
{
	struct fixture *f = *state;
	log_in(f);
	f->close_in_answer = true;
	for (int i = 0; i < 3; i++) {
		resp_begin(f->resp, 1, answered, f);
		resp_arg_text(f->resp, "X");
	}
	serve(f, ":1\r\n:2\r\n:3\r\n");
	turn_until(f, is_gone);
	assert_int_equal(f->answers, 1);
	assert_int_equal(f->closed, 0);
}

static void bad_answers_end_it(void **state)
{
	static const struct {
		const char *answer;
		enum status st;
	} rows[] = {
	    {"?\r\n",                    ST_PROTO},
            {":1\r\n:2\r\n",             ST_PROTO}, /* one more than asked for */
	    {"$2000000\r\n",             ST_OK   }, /* filled up below */
	    {"*2000000\r\n",             ST_FULL },
            {"*2147483647\r\n",          ST_FULL },
	    {"*2147483648\r\n",          ST_PROTO},
            {"*9223372036854775807\r\n", ST_PROTO},
	    {"*-2\r\n",                  ST_PROTO},
            {":9223372036854775808\r\n", ST_PROTO},
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		f->ready = 0;
		log_in(f);
		resp_begin(f->resp, 1, answered, f);
		resp_arg_text(f->resp, "X");
		serve(f, rows[i].answer);
		enum status st = rows[i].st;
		if (st == ST_OK) {
			char *much = calloc(1, 1200000);
			assert_non_null(much);
			pid_t writer = fork(); /* the socket's buffers do not hold it */
			if (writer == 0)
				_exit(write(f->peer, much, 1200000) > 0 ? 0 : 1);
			free(much);
			st = ST_FULL;
		}
		turn_until(f, is_closed);
		assert_int_equal(f->why.status, st);
		resp_close(f->resp);
		f->resp = NULL;
		(void)close(f->peer);
		f->closed = 0;
	}
	f->peer = -1;
}

/* Serves this as the answer to a request, and expects the end. */
static void answer_badly(struct fixture *f, const char *answer)
{
	f->ready = f->closed = f->answers = 0;
	log_in(f);
	resp_begin(f->resp, 1, answered, f);
	resp_arg_text(f->resp, "X");
	serve(f, answer);
	turn_until(f, is_closed);
	assert_int_equal(f->answers, 0);
	resp_close(f->resp);
	f->resp = NULL;
	(void)close(f->peer);
	f->peer = -1;
}

/* hiredis reads RESP3 from 1.0 on, asked or not. To us it is what any other byte is there: at the top, inside
 * of an array, and before its line has ended. */
static void what_is_not_resp2_ends_it(void **state)
{
	static const char *const items[] = {
	    ",1.5\r\n",
	    "#t\r\n",
	    "_\r\n",
	    "(12\r\n",
	    "=5\r\ntxt:a\r\n",
	    "%0\r\n",
	    "~0\r\n",
	    ">0\r\n",
	    "|0\r\n",
	    "!3\r\nERR\r\n",
	    ",inf\r\n",
	    "%-1\r\n",
	    "~1\r\n:1\r\n",
	    "%1\r\n:1\r\n:2\r\n",
	    ">1\r\n+message\r\n",
	    ",1",
	    "=1000\r\n",
	    "=-1\r\n",
	    ".\r\n",
	};
	static const char *const around[] = {"%s", "*2\r\n:1\r\n%s", "*1\r\n*2\r\n%s"};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
		for (size_t k = 0; k < sizeof around / sizeof *around; k++) {
			char answer[100], says[] = "got \"?\" as reply type byte";
			(void)snprintf(answer, sizeof answer, around[k], items[i]);
			says[5] = items[i][0];
			answer_badly(f, answer);
			assert_int_equal(f->why.status, ST_PROTO);
			if (strstr(f->why.text, says) == NULL)
				fail_msg("%s: %s", answer, f->why.text);
		}
	}
}

/* Eight arrays in each other, which is more than any answer has. */
static void nests_so_deep_and_no_deeper(void **state)
{
	struct fixture *f = *state;
	char answer[200] = "";
	for (int i = 0; i < 8; i++)
		strcat(answer, "*1\r\n");
	log_in(f);
	resp_begin(f->resp, 1, answered, f);
	resp_arg_text(f->resp, "X");
	serve(f, answer);
	serve(f, ":1\r\n");
	turn_until(f, is_answered);
	assert_string_equal(f->seen, "[ [ [ [ [ [ [ [ 1 ] ] ] ] ] ] ] ] ");
	resp_close(f->resp);
	(void)close(f->peer);
	answer_badly(f, strcat(answer, "*1\r\n:1\r\n"));
	assert_int_equal(f->why.status, ST_PROTO);
}

static void requests_to_the_dead_are_swallowed(void **state)
{
	struct fixture *f = *state;
	log_in(f);
	(void)close(f->peer);
	f->peer = -1;
	turn_until(f, is_closed);
	resp_begin(f->resp, 2, answered, f);
	resp_arg_text(f->resp, "X");
	resp_arg_number(f->resp, 1);
	assert_int_equal(resp_unanswered(f->resp), 0);
}

static void urls_become_logins(void **state)
{
	static const struct {
		const char *url;
		enum status st;
		unsigned database;
		const char *host, *path;
	} rows[] = {
	    {"redis://h:7/3",                  ST_OK,      3, "h",  NULL         },
	    {"redis://h",                      ST_OK,      0, "h",  NULL         },
	    {"redis://h/",                     ST_OK,      0, "h",  NULL         },
	    {"redis://h?db=5",                 ST_OK,      5, "h",  NULL         },
	    {"unix:///run/r.sock?db=4",        ST_OK,      4, NULL, "/run/r.sock"},
	    {"redis://h/x",                    ST_INVALID, 0, NULL, NULL         },
	    {"redis://h/-1",                   ST_INVALID, 0, NULL, NULL         },
	    {"redis://h/99999999999999999999", ST_INVALID, 0, NULL, NULL         },
	    {"redis://h?timeout=5",            ST_INVALID, 0, NULL, NULL         },
	    {"rediss://h/2",                   ST_OK,      2, "h",  NULL         },
	    {"amqp://h",                       ST_INVALID, 0, NULL, NULL         },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct url url;
		struct resp_login login = {.database = 99};
		struct error why;
		assert_int_equal(url_parse(rows[i].url, &url, &why), ST_OK);
		if (resp_login_from_url(&url, &login, &why) != rows[i].st)
			fail_msg("%s", rows[i].url);
		if (rows[i].st == ST_OK) {
			assert_int_equal(login.database, rows[i].database);
			if (rows[i].host != NULL)
				assert_string_equal(login.address.host, rows[i].host);
			if (rows[i].path != NULL)
				assert_string_equal(login.address.path, rows[i].path);
		} else {
			assert_int_equal(login.database, 99);
		}
		url_free(&url);
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    CASE(logs_in_with_one_packet),
	    CASE(a_password_alone_names_no_user),
	    cmocka_unit_test(redirects_say_where),
	    cmocka_unit_test(errors_say_what_to_do),
	    CASE(refused_logins_say_why),
	    CASE(a_server_that_says_nothing_is_given_up),
	    CASE(answers_come_to_those_who_asked),
	    CASE(an_answer_in_crumbs_is_one_answer),
	    CASE(may_be_closed_in_an_answer),
	    CASE(bad_answers_end_it),
	    CASE(what_is_not_resp2_ends_it),
	    CASE(nests_so_deep_and_no_deeper),
	    CASE(requests_to_the_dead_are_swallowed),
	    CASE(urls_become_logins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
