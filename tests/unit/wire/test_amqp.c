/* A connection against a broker played by the test: it reads what the client sends with rabbitmq-c's
 * own decoder, and answers by the row that is being run. */
#include "wire/amqp.h"

#include "loop/loop.h"
#include "wire/stream.h"

#include <arpa/inet.h>
#include <errno.h>
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

/* How far this broker plays along. */
enum script {
	PLAYS_ALONG,
	SPEAKS_ANOTHER_VERSION,
	OFFERS_NO_PLAIN,
	OFFERS_EXTERNAL,
	WAITS_FOR_TLS,
	REFUSES_LOGIN,
	HANGS_UP_ON_LOGIN,
	HAS_NO_VHOST,
	FORBIDS_VHOST,
	LIMITS_CONNECTIONS,
	ALLOWS_ONE_CHANNEL,
	SAYS_NOTHING,
	CLOSES_WHEN_OPEN,
};

struct fixture {
	struct loop *loop;
	struct timer *deadline;
	struct turn_hook check;
	bool (*until)(struct fixture *f);

	enum script script;
	int listener, peer;
	unsigned port;
	struct watch *accepting, *reading;
	amqp_connection_state_t codec;
	bool dribbles; /* one byte at a time */
	uint16_t tune_heartbeat;
	uint32_t tune_frame_max;

	/* What the broker saw. */
	amqp_connection_tune_ok_t tune_ok;
	char login[64], vhost[64], mechanism[16];
	size_t login_bytes;
	unsigned capabilities, heartbeats, acks, close_oks;
	bool saw_close;

	enum amqp_auth auth; /* what the owner wants */
	/* What the owner saw. */
	struct amqp_conn *conn;
	unsigned opened, closed;
	bool closed_in_order;
	struct error why;
	amqp_method_number_t last_method;
	uint64_t body_bytes, body_got;
	char message_id[32], first_of_body[16];
	bool without_properties;
	char blocked[64];
};

/* --- the broker's side ------------------------------------------------------------------------- */

static void say(struct fixture *f, const void *bytes, size_t len)
{
	const char *at = bytes;
	size_t step = f->dribbles ? 1 : len;
	for (; len > 0; at += step, len -= step)
		assert_int_equal(send(f->peer, at, step, MSG_NOSIGNAL), step);
}

static void say_frame(struct fixture *f, uint8_t type, uint16_t channel, const void *payload,
		      size_t len)
{
	char head[AMQP_HEAD_BYTES], end = (char)AMQP_FRAME_END;
	amqp_head_write(head, (struct amqp_head){type, channel, (uint32_t)len});
	say(f, head, sizeof head);
	say(f, payload, len);
	say(f, &end, 1);
}

static void say_method(struct fixture *f, uint16_t channel, amqp_method_number_t id, void *method)
{
	unsigned char payload[1024];
	for (int i = 0; i < 4; i++)
		payload[i] = (unsigned char)(id >> (24 - 8 * i));
	int n = amqp_encode_method(id, method,
				   (amqp_bytes_t){.len = sizeof payload - 4, .bytes = payload + 4});
	assert_true(n >= 0);
	say_frame(f, AMQP_FRAME_METHOD, channel, payload, (size_t)n + 4);
}

static void say_start(struct fixture *f)
{
	amqp_table_entry_t e[] = {{.key = amqp_cstring_bytes("product")},
				  {.key = amqp_cstring_bytes("version")}};
	e[0].value.kind = e[1].value.kind = AMQP_FIELD_KIND_UTF8;
	e[0].value.value.bytes = amqp_cstring_bytes("TestBroker");
	e[1].value.value.bytes = amqp_cstring_bytes("1.2.3");
	amqp_connection_start_t start = {
	    .version_minor = 9,
	    .server_properties = {.num_entries = 2, .entries = e},
	    .mechanisms = amqp_cstring_bytes(f->script == OFFERS_NO_PLAIN   ? "AMQPLAIN"
					     : f->script == OFFERS_EXTERNAL ? "PLAIN EXTERNAL"
									    : "AMQPLAIN PLAIN"),
	    .locales = amqp_cstring_bytes("en_US"),
	};
	say_method(f, 0, AMQP_CONNECTION_START_METHOD, &start);
}

static void say_close(struct fixture *f, uint16_t code, const char *text)
{
	amqp_connection_close_t close = {.reply_code = code,
					 .reply_text = amqp_cstring_bytes(text)};
	say_method(f, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
}

static void hang_up(struct fixture *f)
{
	watch_destroy(f->reading);
	f->reading = NULL;
	(void)close(f->peer);
	f->peer = -1;
}

static void hear_start_ok(struct fixture *f, const amqp_connection_start_ok_t *m)
{
	assert_true(m->response.len < sizeof f->login);
	memcpy(f->login, m->response.bytes, m->response.len);
	f->login_bytes = m->response.len;
	(void)snprintf(f->mechanism, sizeof f->mechanism, "%.*s", (int)m->mechanism.len,
		       (const char *)m->mechanism.bytes);
	for (int i = 0; i < m->client_properties.num_entries; i++) {
		const amqp_table_entry_t *e = &m->client_properties.entries[i];
		if (e->value.kind == AMQP_FIELD_KIND_TABLE)
			f->capabilities = (unsigned)e->value.value.table.num_entries;
	}
	if (f->script == REFUSES_LOGIN) {
		say_close(f, AMQP_ACCESS_REFUSED, "ACCESS_REFUSED - Login was refused");
		return;
	}
	if (f->script == HANGS_UP_ON_LOGIN) {
		hang_up(f);
		return;
	}
	amqp_connection_tune_t tune = {
	    .channel_max = f->script == ALLOWS_ONE_CHANNEL ? 1 : 2047,
	    .frame_max = f->tune_frame_max,
	    .heartbeat = f->tune_heartbeat,
	};
	say_method(f, 0, AMQP_CONNECTION_TUNE_METHOD, &tune);
}

static void hear_open(struct fixture *f, const amqp_connection_open_t *m)
{
	memcpy(f->vhost, m->virtual_host.bytes, m->virtual_host.len);
	amqp_connection_open_ok_t ok = {0};
	if (f->script == HAS_NO_VHOST)
		say_close(f, AMQP_NOT_ALLOWED, "NOT_ALLOWED - vhost x not found");
	else if (f->script == FORBIDS_VHOST)
		say_close(f, AMQP_NOT_ALLOWED,
			  "NOT_ALLOWED - access to vhost 'x' refused for user 'guest'");
	else if (f->script == LIMITS_CONNECTIONS)
		say_close(f, AMQP_NOT_ALLOWED,
			  "NOT_ALLOWED - access to vhost 'x' refused for user 'guest': "
			  "connection limit (1) is reached");
	else
		say_method(f, 0, AMQP_CONNECTION_OPEN_OK_METHOD, &ok);
	if (f->script == CLOSES_WHEN_OPEN)
		say_close(f, AMQP_CONNECTION_FORCED, "CONNECTION_FORCED - shutdown");
}

static void hear_method(struct fixture *f, const amqp_method_t *m)
{
	amqp_connection_close_ok_t ok = {0};
	switch (m->id) {
	case AMQP_CONNECTION_START_OK_METHOD:
		hear_start_ok(f, m->decoded);
		return;
	case AMQP_CONNECTION_TUNE_OK_METHOD:
		f->tune_ok = *(amqp_connection_tune_ok_t *)m->decoded;
		return;
	case AMQP_CONNECTION_OPEN_METHOD:
		hear_open(f, m->decoded);
		return;
	case AMQP_CONNECTION_CLOSE_METHOD:
		f->saw_close = true;
		say_method(f, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
		return;
	case AMQP_CONNECTION_CLOSE_OK_METHOD:
		f->close_oks++;
		hang_up(f);
		return;
	case AMQP_BASIC_ACK_METHOD:
		f->acks++;
		return;
	default:
		return;
	}
}

static void hear_frame(struct fixture *f, const amqp_frame_t *frame)
{
	if (frame->frame_type == AMQP_FRAME_METHOD)
		hear_method(f, &frame->payload.method);
	else if (frame->frame_type == AMQP_FRAME_HEARTBEAT)
		f->heartbeats++;
	else if (f->script == SPEAKS_ANOTHER_VERSION)
		say(f, "AMQP\0\1\0\0", 8);
	else if (f->script == WAITS_FOR_TLS)
		say(f, "\x15\x03\x03\0\2\2\x0a", 7);
	else if (f->script != SAYS_NOTHING)
		say_start(f); /* the protocol header is the only other thing a client says here */
}

static void peer_readable(void *arg, unsigned events)
{
	struct fixture *f = arg;
	char buf[4096];
	(void)events;
	ssize_t n = recv(f->peer, buf, sizeof buf, MSG_DONTWAIT);
	if (n <= 0) {
		hang_up(f);
		return;
	}
	for (size_t at = 0; at < (size_t)n && f->peer >= 0;) {
		amqp_frame_t frame;
		amqp_bytes_t in = {.len = (size_t)n - at, .bytes = buf + at};
		int used = amqp_handle_input(f->codec, in, &frame);
		assert_true(used > 0); /* whatever the client sends must decode */
		at += (size_t)used;
		if (frame.frame_type != 0)
			hear_frame(f, &frame);
	}
}

static void accept_peer(void *arg, unsigned events)
{
	struct fixture *f = arg;
	(void)events;
	int fd = accept(f->listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(f->peer, -1);
	f->peer = fd;
	f->reading = watch_create(f->loop, fd, peer_readable, f);
	watch_set(f->reading, WATCH_READ);
}

/* --- the owner's side -------------------------------------------------------------------------- */

static void on_opened(void *arg)
{
	((struct fixture *)arg)->opened++;
}

static void on_method(void *arg, uint16_t channel, amqp_method_number_t id, const void *decoded)
{
	struct fixture *f = arg;
	(void)channel;
	(void)decoded;
	f->last_method = id;
}

static void on_header(void *arg, uint16_t channel, const struct amqp_header *header)
{
	struct fixture *f = arg;
	(void)channel;
	f->body_bytes = header->body_bytes;
	f->without_properties = header->properties == NULL;
	if (f->without_properties)
		return;
	(void)snprintf(f->message_id, sizeof f->message_id, "%.*s",
		       (int)header->properties->message_id.len,
		       (const char *)header->properties->message_id.bytes);
}

static void on_body(void *arg, uint16_t channel, struct span piece)
{
	struct fixture *f = arg;
	(void)channel;
	for (size_t i = 0; i < piece.len && f->body_got + i < sizeof f->first_of_body; i++)
		f->first_of_body[f->body_got + i] = piece.ptr[i];
	f->body_got += piece.len;
}

static void on_blocked(void *arg, const char *reason)
{
	struct fixture *f = arg;
	(void)snprintf(f->blocked, sizeof f->blocked, "%s", reason != NULL ? reason : "no more");
}

static void on_closed(void *arg, const struct error *why)
{
	struct fixture *f = arg;
	f->closed++;
	f->closed_in_order = why == NULL;
	if (why != NULL)
		f->why = *why;
	amqp_conn_destroy(f->conn);
	f->conn = NULL;
}

static const struct amqp_events events = {
    .opened = on_opened,
    .method = on_method,
    .header = on_header,
    .body = on_body,
    .blocked = on_blocked,
    .closed = on_closed,
};

/* --- the frame around -------------------------------------------------------------------------- */

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

static bool is_opened(struct fixture *f)
{
	return f->opened > 0;
}

static bool is_closed(struct fixture *f)
{
	return f->closed > 0;
}

static bool has_body(struct fixture *f)
{
	return f->body_bytes > 0 && f->body_got == f->body_bytes;
}

static bool has_ack(struct fixture *f)
{
	return f->acks > 0;
}

static bool has_heartbeat(struct fixture *f)
{
	return f->heartbeats > 0;
}

static bool is_blocked(struct fixture *f)
{
	return f->blocked[0] != '\0';
}

static void listen_on_loopback(struct fixture *f)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &len), 0);
	f->port = ntohs(at.sin_port);
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
	f->peer = -1;
	f->codec = amqp_new_connection();
	f->tune_frame_max = 131072;
	listen_on_loopback(f);
	f->accepting = watch_create(f->loop, f->listener, accept_peer, f);
	watch_set(f->accepting, WATCH_READ);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	amqp_conn_destroy(f->conn);
	loop_remove_hook(&f->check);
	watch_destroy(f->accepting);
	watch_destroy(f->reading);
	timer_destroy(f->deadline);
	loop_destroy(f->loop);
	if (f->peer >= 0)
		(void)close(f->peer);
	(void)close(f->listener);
	(void)amqp_destroy_connection(f->codec);
	free(f);
	return 0;
}

static void dial(struct fixture *f, uint64_t heartbeat_ms, uint64_t login_ms)
{
	struct address to = {.host = "127.0.0.1", .port = f->port};
	struct amqp_login login = {
	    .auth = f->auth,
	    .user = "user",
	    .password = "secret",
	    .vhost = "x",
	    .name = "test",
	    .channels = 5,
	    .heartbeat_ms = heartbeat_ms,
	    .login_ms = login_ms,
	};
	f->conn = amqp_conn_open(f->loop, &to, &login, &events, f);
	assert_non_null(f->conn);
}

static void dial_and_open(struct fixture *f)
{
	dial(f, 0, 5000);
	turn_until(f, is_opened);
	assert_int_equal(f->closed, 0);
}

/* --- login ------------------------------------------------------------------------------------- */

static void check_login(struct fixture *f)
{
	dial(f, 7000, 5000);
	turn_until(f, is_opened);
	assert_memory_equal(f->login, "\0user\0secret", 12);
	assert_string_equal(f->vhost, "x");
	assert_int_equal(f->capabilities, 5);
	assert_int_equal(f->tune_ok.frame_max, 131072);
	assert_int_equal(f->tune_ok.heartbeat, 7);
	assert_string_equal(amqp_conn_server(f->conn), "TestBroker 1.2.3");
	amqp_conn_close(f->conn);
	turn_until(f, is_closed);
	assert_true(f->saw_close);
	assert_true(f->closed_in_order);
}

static void test_login_and_close_in_order(void **state)
{
	check_login(*state);
}

static void test_login_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	f->dribbles = true;
	check_login(f);
}

static void test_limits_are_agreed_on(void **state)
{
	struct fixture *f = *state;
	f->tune_frame_max = 1 << 30;
	f->tune_heartbeat = 3; /* less than ours */
	dial(f, 60000, 5000);
	turn_until(f, is_opened);
	assert_int_equal(f->tune_ok.frame_max, 131072);
	assert_int_equal(f->tune_ok.heartbeat, 3);
}

/* The broker takes the user from the certificate of the TLS connection; nothing secret is sent. */
static void test_external_says_nothing(void **state)
{
	struct fixture *f = *state;
	f->script = OFFERS_EXTERNAL;
	f->auth = AMQP_AUTH_EXTERNAL;
	dial_and_open(f);
	assert_string_equal(f->mechanism, "EXTERNAL");
	assert_int_equal(f->login_bytes, 0);
}

static void test_external_is_not_offered(void **state)
{
	struct fixture *f = *state;
	f->auth = AMQP_AUTH_EXTERNAL;
	dial(f, 0, 5000);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_REFUSED);
	assert_non_null(strstr(f->why.text, "EXTERNAL login (only AMQPLAIN PLAIN)"));
}

static const struct refusal {
	enum script script;
	enum status status;
	const char *says;
} refusals[] = {
    {SPEAKS_ANOTHER_VERSION, ST_REFUSED, "does not speak AMQP 0-9-1"               },
    {WAITS_FOR_TLS,          ST_PROTO,   "speaks TLS on this port"                 },
    {OFFERS_NO_PLAIN,        ST_REFUSED, "PLAIN login (only AMQPLAIN)"             },
    {REFUSES_LOGIN,          ST_AUTH,    "403 ACCESS_REFUSED"                      },
    {HANGS_UP_ON_LOGIN,      ST_CLOSED,  "wrong password?"                         },
    {HAS_NO_VHOST,           ST_MISSING, "vhost x not found"                       },
    {FORBIDS_VHOST,          ST_AUTH,    "access to vhost 'x' refused"             },
    {LIMITS_CONNECTIONS,     ST_AGAIN,   "connection limit (1)"                    },
    {ALLOWS_ONE_CHANNEL,     ST_REFUSED, "1 channels on a connection, 5 are needed"},
};

static void test_refusals_have_a_status_and_a_sentence(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		void *fixture;
		assert_int_equal(setup(&fixture), 0);
		struct fixture *f = fixture;
		f->script = refusals[i].script;
		dial(f, 0, 5000);
		turn_until(f, is_closed);
		assert_int_equal(f->opened, 0);
		assert_false(f->closed_in_order);
		assert_int_equal(f->why.status, refusals[i].status);
		assert_non_null(strstr(f->why.text, refusals[i].says));
		assert_null(strstr(f->why.text, "secret"));
		assert_int_equal(teardown(&fixture), 0);
	}
}

static void test_a_broker_that_says_nothing_runs_into_the_deadline(void **state)
{
	struct fixture *f = *state;
	f->script = SAYS_NOTHING;
	dial(f, 0, 50);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_TIMEOUT);
	assert_non_null(strstr(f->why.text, "connection.start"));
}

/* --- an open connection ------------------------------------------------------------------------ */

static void test_the_brokers_close_is_answered(void **state)
{
	struct fixture *f = *state;
	f->script = CLOSES_WHEN_OPEN;
	dial(f, 0, 5000);
	turn_until(f, is_closed);
	assert_int_equal(f->close_oks, 1);
	assert_int_equal(f->why.status, ST_CLOSED);
	assert_non_null(strstr(f->why.text, "320 CONNECTION_FORCED"));
}

static void say_header(struct fixture *f, uint64_t body_bytes)
{
	amqp_basic_properties_t p = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG,
				     .message_id = amqp_cstring_bytes("m1")};
	unsigned char payload[64] = {0, AMQP_BASIC_CLASS};
	for (int i = 0; i < 8; i++)
		payload[4 + i] = (unsigned char)(body_bytes >> (56 - 8 * i));
	int n = amqp_encode_properties(AMQP_BASIC_CLASS, &p,
				       (amqp_bytes_t){.len = 52, .bytes = payload + 12});
	assert_true(n > 0);
	say_frame(f, AMQP_FRAME_HEADER, 1, payload, (size_t)n + 12);
}

static void check_delivery(struct fixture *f)
{
	amqp_basic_deliver_t deliver = {.delivery_tag = 1};
	static const char first[] = "0123456", second[5000];
	say_method(f, 1, AMQP_BASIC_DELIVER_METHOD, &deliver);
	say_header(f, 7 + sizeof second);
	say_frame(f, AMQP_FRAME_BODY, 1, first, 7);
	say_frame(f, AMQP_FRAME_BODY, 1, first, 0); /* an empty piece is allowed */
	say_frame(f, AMQP_FRAME_BODY, 1, second, sizeof second);
	turn_until(f, has_body);
	assert_int_equal(f->last_method, AMQP_BASIC_DELIVER_METHOD);
	assert_string_equal(f->message_id, "m1");
	assert_memory_equal(f->first_of_body, first, 7);
	amqp_conn_ack(f->conn, 1, 1, AMQP_ONE);
	turn_until(f, has_ack);
}

static void test_a_message_arrives_in_pieces(void **state)
{
	dial_and_open(*state);
	check_delivery(*state);
}

static void test_a_message_arrives_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	dial_and_open(f);
	f->dribbles = true;
	check_delivery(f);
}

/* As many arrays in each other as a frame holds. RabbitMQ passes such a message on. */
static size_t nest_deeply(unsigned char *table, size_t room)
{
	size_t len = 4, end = room / 5 * 5;
	table[len++] = 0; /* an empty key */
	for (; len + 5 <= end; len += 5) {
		size_t inside = end - len - 5;
		table[len] = AMQP_FIELD_KIND_ARRAY;
		for (int i = 0; i < 4; i++)
			table[len + 1 + (size_t)i] = (unsigned char)(inside >> (24 - 8 * i));
	}
	for (int i = 0; i < 4; i++)
		table[i] = (unsigned char)((end - 4) >> (24 - 8 * i));
	return end;
}

static void test_a_message_nested_too_deeply_comes_without_properties(void **state)
{
	enum { FRAME_PAYLOAD_MOST = 131072 - 8, BEFORE_THE_TABLE = 2 + 2 + 8 + 2 };
	static unsigned char payload[FRAME_PAYLOAD_MOST] = {0, AMQP_BASIC_CLASS};
	amqp_basic_deliver_t deliver = {.delivery_tag = 1};
	int room = 1 << 18; /* all of it before anybody reads */
	struct fixture *f = *state;
	dial_and_open(f);
	assert_int_equal(setsockopt(f->peer, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
	payload[11] = 7;    /* bytes in the body */
	payload[12] = 0x20; /* there are headers */
	size_t table = nest_deeply(payload + BEFORE_THE_TABLE, sizeof payload - BEFORE_THE_TABLE);
	say_method(f, 1, AMQP_BASIC_DELIVER_METHOD, &deliver);
	say_frame(f, AMQP_FRAME_HEADER, 1, payload, BEFORE_THE_TABLE + table);
	say_frame(f, AMQP_FRAME_BODY, 1, "0123456", 7);
	turn_until(f, has_body);
	assert_true(f->without_properties);
	assert_int_equal(f->body_bytes, 7);
	f->body_got = 0;
	check_delivery(f); /* the next one is not concerned */
}

static void test_blocked_is_told(void **state)
{
	struct fixture *f = *state;
	amqp_connection_blocked_t blocked = {.reason = amqp_cstring_bytes("low on memory")};
	dial_and_open(f);
	say_method(f, 0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
	turn_until(f, is_blocked);
	assert_string_equal(f->blocked, "low on memory");
}

static const struct violation {
	const char *what;
	unsigned char bytes[32];
	size_t len;
} violations[] = {
    {"a frame too large",                      {3, 0, 1, 0x7f, 0xff, 0xff, 0xff},                   7 },
    {"a body on the connection's own channel", {3, 0, 0, 0, 0, 0, 1, 'x', 0xce},                    9 },
    {"a body without its end",                 {3, 0, 1, 0, 0, 0, 1, 'x', 'x'},                     9 },
    {"a channel never opened",                 {3, 0, 9, 0, 0, 0, 1},                               7 },
    {"a method that nobody knows",             {1, 0, 1, 0, 0, 0, 4, 0x77, 0x77, 0x77, 0x77, 0xce}, 12},
    {"a frame without its end",                {1, 0, 1, 0, 0, 0, 4, 0, 20, 0, 11, 'x'},            12},
    {"a frame of a kind that nobody knows",    {7, 0, 1, 0, 0, 0, 0, 0xce},                         8 },
    {"a method that only clients send",
     {1, 0, 1, 0, 0, 0, 16, 0, 50, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xce},
     24											       },
    {"headers longer than their frame",
     {2, 0, 1, 0, 0, 0, 16, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x20, 0, 0, 0xff, 0xce},
     24											       },
    {"content of another class",
     {2, 0, 1, 0, 0, 0, 14, 0, 90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xce},
     22											       },
};

static void test_violations_end_the_connection(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof violations / sizeof *violations; i++) {
		void *fixture;
		assert_int_equal(setup(&fixture), 0);
		struct fixture *f = fixture;
		dial_and_open(f);
		say(f, violations[i].bytes, violations[i].len);
		turn_until(f, is_closed);
		if (f->why.status != ST_PROTO)
			fail_msg("%s: %s", violations[i].what, f->why.text);
		assert_int_equal(teardown(&fixture), 0);
	}
}

/* The interval is a second, the least that the protocol can say. */
static void test_heartbeats_are_sent_and_missed(void **state)
{
	struct fixture *f = *state;
	dial(f, 1, 5000);
	turn_until(f, is_opened);
	assert_int_equal(f->tune_ok.heartbeat, 1);
	turn_until(f, has_heartbeat);
	assert_int_equal(f->closed, 0);
	turn_until(f, is_closed); /* ours go on, the broker sends none */
	assert_int_equal(f->why.status, ST_TIMEOUT);
	assert_non_null(strstr(f->why.text, "silent"));
	assert_true(f->heartbeats >= 2);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    CASE(test_login_and_close_in_order),
	    CASE(test_login_byte_by_byte),
	    CASE(test_limits_are_agreed_on),
	    CASE(test_external_says_nothing),
	    CASE(test_external_is_not_offered),
	    cmocka_unit_test(test_refusals_have_a_status_and_a_sentence),
	    CASE(test_a_broker_that_says_nothing_runs_into_the_deadline),
	    CASE(test_the_brokers_close_is_answered),
	    CASE(test_a_message_arrives_in_pieces),
	    CASE(test_a_message_arrives_byte_by_byte),
	    CASE(test_a_message_nested_too_deeply_comes_without_properties),
	    CASE(test_blocked_is_told),
	    cmocka_unit_test(test_violations_end_the_connection),
	    CASE(test_heartbeats_are_sent_and_missed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
