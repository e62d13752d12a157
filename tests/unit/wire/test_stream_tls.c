/* stream with TLS, over a real socket, against OpenSSL's server side. The server lives in memory: what
 * it says goes onto the socket in steps as large as the case wants, so that a handshake can come byte
 * by byte, or stop in the middle. It is pumped once in each turn of the stream's own loop. */
#include "wire/stream.h"

#include "authority.h"
#include "base/memory.h"
#include "loop/loop.h"
#include "settings/settings.h"
#include "wire/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum close_when { CLOSE_LAST, CLOSE_IN_OPENED, CLOSE_IN_RECEIVED, CLOSE_IN_CLOSED };
enum { ALL = 1 << 30, PAYLOAD = 8 << 20 };

struct fixture {
	char folder[40];
	struct certificate root, stranger; /* authorities; the client knows the first */
	struct loop *loop;
	struct timer *deadline;
	struct turn_hook check;
	bool (*until)(struct fixture *f);

	/* The server. */
	int listener, peer;
	unsigned port;
	SSL_CTX *context;
	SSL *ssl;
	BIO *heard, *said;
	size_t step;     /* bytes on their way in each turn */
	size_t say_most; /* and in all: 0 = the server has fallen silent */
	bool deaf;       /* it does not read */
	char *server_got;
	size_t server_got_bytes;
	int server_error;     /* of its last SSL_read() */
	const char *greeting; /* said with the last words of its handshake */
	unsigned answers;     /* alerts and new keys that it heard */

	/* The client. */
	struct tls_settings settings;
	struct tls *tls;
	struct stream *stream;
	enum close_when close_when;
	unsigned opened, closed;
	struct error why;
	char *got;
	size_t got_bytes, hold_back, wanted;
	size_t written;
	unsigned turns;
	bool stopped; /* it has stopped reading */
};

/* --- the client's side ---------------------------------------------------------------------- */

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
	assert_true(f->got_bytes + used <= PAYLOAD);
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

static void open_to(struct fixture *f, const char *host, uint64_t deadline_ms)
{
	struct address to = {.host = host, .port = f->port, .tls = f->tls};
	f->stream = stream_open(f->loop, &to, deadline_ms, &events, f);
	assert_non_null(f->stream);
}

/* --- the server's side ---------------------------------------------------------------------- */

static void listen_on_loopback(struct fixture *f)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof at;
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(f->listener, 8), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &bytes), 0);
	f->port = ntohs(at.sin_port);
}

static void serve_with(struct fixture *f, const struct certificate *certificate)
{
	SSL_CTX_free(f->context);
	f->context = SSL_CTX_new(TLS_server_method());
	assert_non_null(f->context);
	assert_int_equal(SSL_CTX_use_certificate(f->context, certificate->cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(f->context, certificate->key), 1);
}

static void serve_as(struct fixture *f, struct wanted wanted)
{
	struct certificate certificate = certificate_make(wanted);
	serve_with(f, &certificate);
	certificate_free(&certificate);
}

static void serve_well(struct fixture *f)
{
	serve_as(f, (struct wanted){.name = "server",
				    .names = "DNS:localhost,IP:127.0.0.1",
				    .signer = &f->root});
}

static void hang_up(struct fixture *f)
{
	SSL_free(f->ssl);
	f->ssl = NULL;
	if (f->peer >= 0)
		(void)close(f->peer);
	f->peer = -1;
}

static void note_message(int sent, int version, int kind, const void *bytes, size_t n, SSL *ssl,
			 void *arg)
{
	struct fixture *f = arg;
	(void)version;
	(void)ssl;
	if (sent == 0 && (kind == SSL3_RT_ALERT || (kind == SSL3_RT_HANDSHAKE && n > 0 &&
						    *(const char *)bytes == SSL3_MT_KEY_UPDATE)))
		f->answers++;
}

static void accept_peer(struct fixture *f)
{
	f->peer = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (f->peer < 0 || f->context == NULL)
		return;
	f->ssl = SSL_new(f->context);
	f->heard = BIO_new(BIO_s_mem());
	f->said = BIO_new(BIO_s_mem());
	assert_true(f->ssl != NULL && f->heard != NULL && f->said != NULL);
	BIO_set_mem_eof_return(f->heard, -1);
	SSL_set_bio(f->ssl, f->heard, f->said);
	SSL_set_accept_state(f->ssl);
	SSL_set_msg_callback(f->ssl, note_message);
	SSL_set_msg_callback_arg(f->ssl, f);
}

static void hear(struct fixture *f)
{
	char buf[65536];
	size_t most = f->step < sizeof buf ? f->step : sizeof buf;
	ssize_t n = f->deaf ? 0 : recv(f->peer, buf, most, 0);
	if (n > 0)
		assert_int_equal(BIO_write(f->heard, buf, (int)n), n);
}

static void read_plain(struct fixture *f)
{
	for (;;) {
		char buf[16384];
		int n = SSL_read(f->ssl, buf, sizeof buf);
		if (n <= 0) {
			f->server_error = SSL_get_error(f->ssl, n);
			return;
		}
		assert_true(f->server_got_bytes + (size_t)n <= PAYLOAD);
		memcpy(f->server_got + f->server_got_bytes, buf, (size_t)n);
		f->server_got_bytes += (size_t)n;
	}
}

static void speak(struct fixture *f)
{
	char *bytes;
	size_t there = (size_t)BIO_get_mem_data(f->said, &bytes);
	size_t n = there < f->step ? there : f->step;
	n = n < f->say_most ? n : f->say_most;
	if (n == 0)
		return;
	ssize_t sent = send(f->peer, bytes, n, MSG_NOSIGNAL);
	if (sent <= 0)
		return;
	f->say_most -= (size_t)sent;
	char *gone = malloc((size_t)sent);
	assert_non_null(gone);
	assert_int_equal(BIO_read(f->said, gone, (int)sent), sent);
	free(gone);
}

static void server_says(struct fixture *f, const char *text)
{
	assert_int_equal(SSL_write(f->ssl, text, (int)strlen(text)), strlen(text));
}

static void pump(struct fixture *f)
{
	if (f->peer < 0 && f->listener >= 0)
		accept_peer(f);
	if (f->peer < 0 || f->ssl == NULL)
		return;
	hear(f);
	read_plain(f);
	if (f->greeting != NULL && SSL_is_init_finished(f->ssl)) {
		server_says(f, f->greeting);
		f->greeting = NULL;
	}
	speak(f);
}

/* --- the frame around ----------------------------------------------------------------------- */

static void too_late(void *arg)
{
	(void)arg;
	fail_msg("the condition did not come true in 20 s");
}

static void check_condition(void *arg)
{
	struct fixture *f = arg;
	pump(f);
	if (f->until != NULL && f->until(f))
		loop_stop(f->loop);
	loop_turn_again(f->loop);
}

static void turn_until(struct fixture *f, bool (*until)(struct fixture *f))
{
	f->until = until;
	timer_start(f->deadline, 20000);
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

static bool is_decided(struct fixture *f)
{
	return f->opened > 0 || f->closed > 0;
}

static bool is_gone(struct fixture *f)
{
	return f->stream == NULL;
}

static bool client_has_wanted(struct fixture *f)
{
	return f->got_bytes >= f->wanted;
}

static bool server_has_wanted(struct fixture *f)
{
	return f->server_got_bytes >= f->wanted;
}

static bool server_is_through(struct fixture *f)
{
	return f->server_error == SSL_ERROR_ZERO_RETURN;
}

static const char *in_folder(const struct fixture *f, const char *name)
{
	static char paths[4][80];
	static unsigned next;
	char *path = paths[next++ % 4];
	(void)snprintf(path, sizeof paths[0], "%s/%s", f->folder, name);
	return path;
}

static void set_path(const struct fixture *f, const char **field, const char *name)
{
	free((char *)(uintptr_t)*field);
	*field = name != NULL ? strdup(in_folder(f, name)) : NULL;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct error why;
	assert_non_null(f);
	(void)strcpy(f->folder, "/tmp/outfall-tls-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->root = certificate_make((struct wanted){.name = "Test Root"});
	f->stranger = certificate_make((struct wanted){.name = "A Stranger"});
	certificate_write(in_folder(f, "ca.pem"), f->root.cert, NULL);
	set_path(f, &f->settings.ca_file, "ca.pem");
	f->tls = tls_create(&f->settings);
	assert_non_null(f->tls);
	assert_int_equal(loop_create(&f->loop, &why), ST_OK);
	f->deadline = timer_create_on(f->loop, too_late, f);
	f->check = (struct turn_hook){.run = check_condition, .arg = f};
	loop_add_hook(f->loop, TURN_DRAIN, &f->check);
	f->peer = -1;
	f->step = f->say_most = ALL;
	listen_on_loopback(f);
	f->got = malloc(PAYLOAD);
	f->server_got = malloc(PAYLOAD);
	assert_true(f->got != NULL && f->server_got != NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"ca.pem", "cert.pem", "key.pem"};
	struct fixture *f = *state;
	stream_close(f->stream);
	hang_up(f);
	loop_remove_hook(&f->check);
	timer_destroy(f->deadline);
	loop_destroy(f->loop);
	tls_destroy(f->tls);
	SSL_CTX_free(f->context);
	certificate_free(&f->root);
	certificate_free(&f->stranger);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)unlink(in_folder(f, names[i])); /* some were never written */
	(void)rmdir(f->folder);
	set_path(f, &f->settings.ca_file, NULL);
	set_path(f, &f->settings.cert_file, NULL);
	set_path(f, &f->settings.key_file, NULL);
	(void)close(f->listener);
	free(f->got);
	free(f->server_got);
	free(f);
	return 0;
}

/* --- bytes ---------------------------------------------------------------------------------- */

static void exchange(struct fixture *f)
{
	open_to(f, "127.0.0.1", 10000);
	stream_write(f->stream, span_text("early"));
	assert_int_equal(f->opened, 0);
	f->wanted = 5;
	turn_until(f, server_has_wanted);
	assert_memory_equal(f->server_got, "early", 5);
	assert_int_equal(f->opened, 1);
	assert_int_equal(stream_unsent(f->stream), 0);
	server_says(f, "answer");
	f->wanted = 6;
	turn_until(f, client_has_wanted);
	assert_memory_equal(f->got, "answer", 6);
}

static void passes_bytes_both_ways(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	exchange(f);
	assert_string_equal(stream_tls(f->stream), "TLSv1.3");
}

static void speaks_tls_1_2(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->context, TLS1_2_VERSION), 1);
	exchange(f);
	assert_string_equal(stream_tls(f->stream), "TLSv1.2");
}

static void survives_a_dribble(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	f->step = 1;
	exchange(f);
}

static char payload_byte(size_t at)
{
	return (char)(at * 2654435761u >> 24);
}

static void fill(char *to, size_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = payload_byte(at + i);
}

static void assert_payload(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != payload_byte(i))
			fail_msg("byte %zu is wrong", i);
}

static bool is_stalled(struct fixture *f)
{
	return stream_stalled_ns(f->stream) > 0;
}

static void large_output_waits_for_a_slow_reader(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, is_opened);
	for (size_t at = 0; at < PAYLOAD;) {
		size_t bytes = at % 100000 + 1;
		if (bytes > PAYLOAD - at)
			bytes = PAYLOAD - at;
		char *room = stream_room(f->stream, bytes);
		assert_non_null(room);
		fill(room, at, bytes);
		stream_wrote(f->stream, bytes);
		at += bytes;
	}
	f->deaf = true;
	turn_until(f, is_stalled);
	assert_true(stream_unsent(f->stream) > 0);
	f->deaf = false;
	f->wanted = PAYLOAD;
	turn_until(f, server_has_wanted);
	assert_payload(f->server_got, PAYLOAD);
	assert_int_equal(stream_unsent(f->stream), 0);
	assert_int_equal(stream_stalled_ns(f->stream), 0);
}

static bool client_has_payload(struct fixture *f)
{
	static char piece[100000];
	char *waiting;
	while (f->written < PAYLOAD && BIO_get_mem_data(f->said, &waiting) < 1 << 20) {
		size_t bytes = PAYLOAD - f->written;
		bytes = bytes < sizeof piece ? bytes : sizeof piece;
		fill(piece, f->written, bytes);
		assert_int_equal(SSL_write(f->ssl, piece, (int)bytes), bytes);
		f->written += bytes;
	}
	return f->got_bytes == PAYLOAD - f->hold_back;
}

static void large_input_comes(struct fixture *f, size_t hold_back)
{
	serve_well(f);
	f->hold_back = hold_back;
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, is_opened);
	turn_until(f, client_has_payload);
	assert_payload(f->got, f->got_bytes);
}

static void large_input_comes_whole(void **state)
{
	large_input_comes(*state, 1000);
}

enum { NEARLY_FULL = 230 << 10 }; /* of the 256 KB that a consumer may leave unused */

static void it_comes_through_a_buffer_that_is_nearly_full(void **state)
{
	large_input_comes(*state, NEARLY_FULL);
}

static size_t stop_at_first(void *arg, struct span bytes)
{
	struct fixture *f = arg;
	assert_false(f->stopped);
	if (bytes.len > f->hold_back) {
		f->stopped = true;
		stream_read_stop(f->stream);
	}
	return on_received(f, bytes);
}

static bool ten_turns_passed(struct fixture *f)
{
	return ++f->turns > 10;
}

/* With so little room more than one offer is left in the session when the owner has enough. */
static void stopped_reading_is_taken_up_again(void **state)
{
	static const struct stream_events stopping = {on_opened, stop_at_first, on_closed};
	struct fixture *f = *state;
	struct address to = {.host = "127.0.0.1", .port = f->port, .tls = f->tls};
	serve_well(f);
	f->stream = stream_open(f->loop, &to, 10000, &stopping, f);
	turn_until(f, is_opened);
	f->hold_back = NEARLY_FULL;
	while (f->got_bytes < PAYLOAD - NEARLY_FULL) {
		f->wanted = f->got_bytes + 1;
		f->stopped = false;
		f->turns = 0;
		stream_read_start(f->stream);
		(void)client_has_payload(f);
		turn_until(f, client_has_wanted);
		turn_until(f, ten_turns_passed);
		assert_true(f->stopped);
	}
	assert_payload(f->got, f->got_bytes);
}

/* The server's first words come in one piece with the end of its handshake. */
static void what_came_with_the_handshake_waits_for_the_reader(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->context, TLS1_2_VERSION), 1);
	f->greeting = "hello";
	open_to(f, "127.0.0.1", 10000);
	stream_read_stop(f->stream);
	turn_until(f, is_opened);
	turn_until(f, ten_turns_passed);
	assert_null(f->greeting);
	assert_int_equal(f->got_bytes, 0);
	stream_read_start(f->stream);
	f->wanted = 5;
	turn_until(f, client_has_wanted);
	assert_memory_equal(f->got, "hello", 5);
}

/* --- trust ---------------------------------------------------------------------------------- */

static void trust_is_a_table(void **state)
{
	/* clang-format off */
	static const struct {
		const char *what;
		const char *names; /* in the server's certificate */
		const char *host;  /* that is dialled */
		const char *server_name;
		long from_s, until_s;
		enum { ROOT, STRANGER, ITSELF } signer;
		enum tls_verify verify;
		const char *says; /* NULL: all is well */
	} rows[] = {
	    {.what = "a name", .names = "DNS:localhost", .host = "localhost"},
	    {.what = "an address", .names = "IP:127.0.0.1", .host = "127.0.0.1"},
	    {.what = "any of several", .names = "DNS:a.example,IP:127.0.0.1,DNS:b.example",
	     .host = "127.0.0.1"},
	    {.what = "a wildcard", .names = "DNS:*.example.com", .host = "127.0.0.1",
	     .server_name = "mq.example.com"},
	    {.what = "no deeper than that", .names = "DNS:*.example.com", .host = "127.0.0.1",
	     .server_name = "a.mq.example.com",
	     .says = "the certificate is for *.example.com, not for a.mq.example.com"},
	    {.what = "not a part of a word", .names = "DNS:m*.example.com", .host = "127.0.0.1",
	     .server_name = "mq.example.com",
	     .says = "the certificate is for m*.example.com, not for mq.example.com"},
	    {.what = "another name", .names = "DNS:a.example,DNS:b.example", .host = "localhost",
	     .says = "the certificate is for a.example, b.example, not for localhost"},
	    {.what = "a name in place of an address", .names = "DNS:localhost", .host = "127.0.0.1",
	     .says = "the certificate is for localhost, not for 127.0.0.1"},
	    {.what = "another address", .names = "IP:10.0.0.1,IP:::1", .host = "127.0.0.1",
	     .says = "the certificate is for 10.0.0.1, ::1, not for 127.0.0.1"},
	    {.what = "told another name", .names = "DNS:mq.example", .host = "127.0.0.1",
	     .server_name = "mq.example"},
	    {.what = "expired", .names = "IP:127.0.0.1", .host = "127.0.0.1", .from_s = -2 * HOUR_S,
	     .until_s = -HOUR_S, .says = "the certificate for 127.0.0.1 expired on 20"},
	    {.what = "too early", .names = "IP:127.0.0.1", .host = "127.0.0.1", .from_s = HOUR_S,
	     .until_s = 2 * HOUR_S,
	     .says = "the certificate for 127.0.0.1 is not valid before 20"},
	    {.what = "an authority nobody knows", .names = "IP:127.0.0.1", .host = "127.0.0.1",
	     .signer = STRANGER, .says = "is signed by \"A Stranger\", whom /tmp/outfall-tls-"},
	    {.what = "its own authority", .names = "IP:127.0.0.1", .host = "127.0.0.1",
	     .signer = ITSELF, .says = "the certificate for 127.0.0.1 is signed by itself"},
	    {.what = "whomever it is for", .names = "DNS:a.example", .host = "127.0.0.1",
	     .verify = TLS_VERIFY_CA},
	    {.what = "but not from whom", .names = "DNS:a.example", .host = "127.0.0.1",
	     .signer = STRANGER, .verify = TLS_VERIFY_CA, .says = "is signed by \"A Stranger\""},
	    {.what = "anything", .names = "DNS:a.example", .host = "127.0.0.1", .signer = STRANGER,
	     .from_s = -2 * HOUR_S, .until_s = -HOUR_S, .verify = TLS_VERIFY_NONE},
	};
	/* clang-format on */
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct certificate *signers[] = {&f->root, &f->stranger, NULL};
		serve_as(f, (struct wanted){"server", rows[i].names, signers[rows[i].signer],
					    rows[i].from_s, rows[i].until_s});
		f->settings.verify = rows[i].verify;
		f->settings.server_name = rows[i].server_name;
		tls_destroy(f->tls);
		f->tls = tls_create(&f->settings);
		open_to(f, rows[i].host, 10000);
		turn_until(f, is_decided);
		if ((rows[i].says == NULL) != (f->opened == 1))
			fail_msg("%s: %s", rows[i].what, f->opened ? "taken" : f->why.text);
		if (rows[i].says != NULL) {
			assert_int_equal(f->why.status, ST_UNTRUSTED);
			if (strstr(f->why.text, rows[i].says) == NULL)
				fail_msg("%s: %s", rows[i].what, f->why.text);
		}
		stream_close(f->stream);
		f->stream = NULL;
		hang_up(f);
		f->opened = f->closed = 0;
	}
}

static void want_client_certificate(struct fixture *f, int max_version)
{
	serve_well(f);
	assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(f->context), f->root.cert), 1);
	SSL_CTX_set_verify(f->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->context, max_version), 1);
}

/* In TLS 1.3 the client is through before the server has seen its certificate: then the refusal comes
 * as the first thing that is read. */
static void a_server_may_want_our_certificate(void **state)
{
	static const struct {
		int version;
		enum { NONE, GOOD, WRONG } ours;
		const char *says;
	} rows[] = {
	    {TLS1_3_VERSION, GOOD,  NULL							  },
	    {TLS1_2_VERSION, GOOD,  NULL							  },
	    {TLS1_3_VERSION, NONE,  "the peer wants a certificate from us: cert_file, key_file"   },
	    {TLS1_2_VERSION, NONE,  "perhaps it wants a certificate from us (cert_file, key_file)"},
	    {TLS1_3_VERSION, WRONG, "the peer refused our certificate: unknown CA"                },
	    {TLS1_2_VERSION, WRONG, "the peer refused our certificate: unknown CA"                },
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		want_client_certificate(f, rows[i].version);
		struct certificate ours = certificate_make((struct wanted){
		    .name = "worker", .signer = rows[i].ours == WRONG ? &f->stranger : &f->root});
		certificate_write(in_folder(f, "cert.pem"), ours.cert, ours.key);
		certificate_free(&ours);
		set_path(f, &f->settings.cert_file, rows[i].ours == NONE ? NULL : "cert.pem");
		tls_destroy(f->tls);
		f->tls = tls_create(&f->settings);
		if (rows[i].says == NULL) {
			exchange(f);
		} else {
			open_to(f, "127.0.0.1", 10000);
			turn_until(f, is_closed);
			assert_int_equal(f->why.status, ST_UNTRUSTED);
			if (strstr(f->why.text, rows[i].says) == NULL)
				fail_msg("row %zu: %s", i, f->why.text);
		}
		stream_close(f->stream);
		f->stream = NULL;
		hang_up(f);
		f->opened = f->closed = 0;
		f->got_bytes = f->server_got_bytes = 0;
	}
}

/* --- handshakes that come to nothing -------------------------------------------------------- */

static void a_silent_server_ends_at_the_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t before = loop_now_ns(f->loop);
	open_to(f, "127.0.0.1", 600); /* no context: it accepts and says nothing */
	turn_until(f, is_closed);
	uint64_t waited_ms = (loop_now_ns(f->loop) - before) / 1000000;
	assert_int_equal(f->why.status, ST_TIMEOUT);
	assert_non_null(strstr(f->why.text, "tls 127.0.0.1"));
	assert_true(waited_ms >= 500 && waited_ms < 10000);
	assert_int_equal(f->opened, 0);
}

static bool peer_has_spoken(struct fixture *f)
{
	return f->say_most == 0;
}

static void so_does_one_that_falls_silent(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	f->say_most = 100;
	open_to(f, "127.0.0.1", 100);
	stream_write(f->stream, span_text("early"));
	turn_until(f, peer_has_spoken);
	assert_int_equal(stream_stalled_ns(f->stream),
			 0); /* it waits for the peer, not the kernel */
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_TIMEOUT);
}

static void half_a_handshake_is_an_end(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	f->say_most = 100;
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, peer_has_spoken);
	assert_int_equal(shutdown(f->peer, SHUT_WR), 0);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_CLOSED);
	assert_non_null(strstr(f->why.text, "tls 127.0.0.1"));
}

static bool is_accepted(struct fixture *f)
{
	return f->peer >= 0;
}

static void a_server_without_tls_is_named(void **state)
{
	struct fixture *f = *state;
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, is_accepted);
	assert_int_equal(write(f->peer, "-ERR Protocol error\r\n", 21), 21);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_PROTO);
	assert_non_null(strstr(f->why.text, "does not speak TLS on this port"));
}

static void tls_1_1_is_not_spoken(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	SSL_CTX_set_security_level(f->context, 0);
	assert_int_equal(SSL_CTX_set_min_proto_version(f->context, TLS1_VERSION), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->context, TLS1_1_VERSION), 1);
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_PROTO);
	assert_non_null(strstr(f->why.text, "TLS 1.2"));
}

/* localhost may be two addresses; where it is one, this is that one failing. */
static void no_address_is_left_untried(void **state)
{
	struct fixture *f = *state;
	serve_as(f, (struct wanted){.name = "x", .names = "DNS:a.example", .signer = &f->root});
	open_to(f, "localhost", 10000);
	turn_until(f, is_closed);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->opened, 0);
}

static void may_be_closed_while_it_shakes_hands(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	f->say_most = 100;
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, peer_has_spoken);
	stream_close(f->stream);
	f->stream = NULL;
}

static void may_be_closed_in_each_callback(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	for (enum close_when when = CLOSE_IN_OPENED; when <= CLOSE_IN_CLOSED; when++) {
		f->close_when = when;
		open_to(f, "127.0.0.1", 10000);
		if (when != CLOSE_IN_OPENED) {
			turn_until(f, is_opened);
			server_says(f, "x");
			if (when == CLOSE_IN_CLOSED)
				(void)SSL_shutdown(f->ssl);
		}
		turn_until(f, is_gone);
		hang_up(f);
		f->opened = 0;
	}
}

/* --- ends ----------------------------------------------------------------------------------- */

static void open_pair(struct fixture *f)
{
	serve_well(f);
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, is_opened);
}

static void what_came_before_the_end_is_good(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	server_says(f, "last");
	(void)SSL_shutdown(f->ssl);
	turn_until(f, is_closed);
	assert_int_equal(f->got_bytes, 4);
	assert_int_equal(f->why.status, ST_CLOSED);
	assert_int_equal(f->closed, 1);
}

static bool all_was_said(struct fixture *f)
{
	char *bytes;
	return BIO_get_mem_data(f->said, &bytes) == 0;
}

static void so_it_is_before_a_cut(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	server_says(f, "last");
	turn_until(f, all_was_said);
	hang_up(f); /* no close_notify */
	turn_until(f, is_closed);
	assert_int_equal(f->got_bytes, 4);
	assert_int_equal(f->why.status, ST_CLOSED);
}

static void rubbish_is_an_end(void **state)
{
	struct fixture *f = *state;
	static const char rubbish[] = "\x17\x03\x03\x00\x20this is no record of this session";
	open_pair(f);
	assert_int_equal(write(f->peer, rubbish, 37), 37);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_PROTO);
}

static void says_goodbye(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	stream_write(f->stream, span_text("last"));
	f->wanted = 4;
	turn_until(f, server_has_wanted);
	stream_close(f->stream);
	f->stream = NULL;
	turn_until(f, server_is_through);
}

/* --- what a server may ask for -------------------------------------------------------------- */

static bool an_answer_was_heard(struct fixture *f)
{
	return f->answers > 0;
}

static void a_new_key_is_taken_and_given(void **state)
{
	struct fixture *f = *state;
	open_pair(f);
	assert_int_equal(SSL_key_update(f->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	server_says(f, "new");
	f->wanted = 3;
	turn_until(f, client_has_wanted);
	stream_write(f->stream, span_text("answer"));
	f->wanted = 6;
	turn_until(f, server_has_wanted);
	assert_int_equal(f->answers, 1);
}

/* A server that is OpenSSL, too, ends the connection then; we only say no. */
static void renegotiation_is_refused(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->context, TLS1_2_VERSION), 1);
	exchange(f);
	char before[64], after[64];
	size_t bytes = SSL_get_peer_finished(f->ssl, before, sizeof before);
	assert_int_equal(SSL_renegotiate(f->ssl), 1);
	(void)SSL_do_handshake(f->ssl);
	server_says(f, " goes on");
	f->wanted = strlen("answer goes on");
	turn_until(f, client_has_wanted);
	assert_memory_equal(f->got, "answer goes on", f->wanted);
	assert_int_equal(f->closed, 0);
	turn_until(f, an_answer_was_heard);
	assert_int_equal(SSL_get_peer_finished(f->ssl, after, sizeof after), bytes);
	assert_memory_equal(before, after, bytes);
}

/* --- files ---------------------------------------------------------------------------------- */

static void try_once(struct fixture *f)
{
	stream_close(f->stream);
	hang_up(f);
	f->opened = f->closed = 0;
	open_to(f, "127.0.0.1", 10000);
	turn_until(f, is_decided);
}

static void renewed_files_count_from_the_next_connection(void **state)
{
	struct fixture *f = *state;
	serve_as(f, (struct wanted){.name = "s", .names = "IP:127.0.0.1", .signer = &f->stranger});
	try_once(f);
	assert_int_equal(f->opened, 0);
	certificate_write(in_folder(f, "ca.pem"), f->stranger.cert, NULL);
	try_once(f);
	assert_int_equal(f->opened, 1);
	/* A file that is gone, or half written, does not take away what was read before. */
	FILE *file = fopen(in_folder(f, "ca.pem"), "w");
	assert_int_equal(fclose(file), 0);
	try_once(f);
	assert_int_equal(f->opened, 1);
	assert_int_equal(unlink(in_folder(f, "ca.pem")), 0);
	try_once(f);
	assert_int_equal(f->opened, 1);
	certificate_write(in_folder(f, "ca.pem"), f->root.cert, NULL);
	try_once(f);
	assert_int_equal(f->opened, 0);
}

static void missing_files_are_an_end_that_is_told_later(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(unlink(in_folder(f, "ca.pem")), 0);
	open_to(f, "127.0.0.1", 10000);
	assert_int_equal(f->closed, 0);
	turn_until(f, is_closed);
	assert_int_equal(f->why.status, ST_SYSTEM);
	assert_non_null(strstr(f->why.text, "ca_file /tmp/outfall-tls-"));
	assert_non_null(strstr(f->why.text, "No such file"));
}

static void what_is_wrong_with_files_is_said(void **state)
{
	struct fixture *f = *state;
	struct certificate a = certificate_make((struct wanted){.name = "a"});
	struct certificate b = certificate_make((struct wanted){.name = "b"});
	struct error why;
	enum tls_file which;
	certificate_write(in_folder(f, "cert.pem"), a.cert, NULL);
	set_path(f, &f->settings.cert_file, "cert.pem");
	assert_int_equal(tls_read_files(f->tls, &which, &why), ST_INVALID);
	assert_int_equal(which, TLS_KEY_FILE); /* which would have to be in cert_file */
	assert_non_null(strstr(why.text, "holds no private key"));
	certificate_write(in_folder(f, "key.pem"), NULL, b.key);
	set_path(f, &f->settings.key_file, "key.pem");
	assert_int_equal(tls_read_files(f->tls, &which, &why), ST_INVALID);
	assert_int_equal(which, TLS_KEY_FILE);
	assert_non_null(strstr(why.text, "is not the key of cert_file"));
	FILE *file = fopen(in_folder(f, "key.pem"), "w");
	assert_int_equal(PEM_write_PrivateKey(file, a.key, EVP_aes_128_cbc(),
					      (const unsigned char *)"secret", 6, NULL, NULL),
			 1);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(tls_read_files(f->tls, &which, &why), ST_INVALID);
	assert_non_null(strstr(why.text, "is encrypted"));
	certificate_write(in_folder(f, "key.pem"), NULL, a.key);
	assert_int_equal(tls_read_files(f->tls, &which, &why), ST_OK);
	certificate_write(in_folder(f, "cert.pem"), NULL, a.key);
	assert_int_equal(tls_read_files(f->tls, &which, &why), ST_INVALID);
	assert_int_equal(which, TLS_CERT_FILE);
	assert_true(tls_is_usable(f->tls));
	certificate_free(&a);
	certificate_free(&b);
}

static void each_failed_allocation_is_survived(void **state)
{
	struct fixture *f = *state;
	serve_well(f);
	for (unsigned long n = 1;; n++) {
		(void)memory_fail_at(n);
		struct address to = {.host = "127.0.0.1", .port = f->port, .tls = f->tls};
		f->stream = stream_open(f->loop, &to, 10000, &events, f);
		if (f->stream != NULL) {
			stream_write(f->stream, span_text("x"));
			turn_until(f, is_decided);
		}
		if (f->opened == 1 && f->closed == 0 && f->ssl != NULL) {
			server_says(f, "y");
			f->wanted = 1;
			turn_until(f, f->closed ? is_closed : client_has_wanted);
		}
		unsigned long reached = memory_fail_at(0);
		stream_close(f->stream);
		f->stream = NULL;
		hang_up(f);
		f->opened = f->closed = 0;
		f->got_bytes = 0;
		if (reached < n)
			break;
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    CASE(passes_bytes_both_ways),
	    CASE(speaks_tls_1_2),
	    CASE(survives_a_dribble),
	    CASE(large_output_waits_for_a_slow_reader),
	    CASE(large_input_comes_whole),
	    CASE(it_comes_through_a_buffer_that_is_nearly_full),
	    CASE(stopped_reading_is_taken_up_again),
	    CASE(what_came_with_the_handshake_waits_for_the_reader),
	    CASE(trust_is_a_table),
	    CASE(a_server_may_want_our_certificate),
	    CASE(a_silent_server_ends_at_the_deadline),
	    CASE(so_does_one_that_falls_silent),
	    CASE(half_a_handshake_is_an_end),
	    CASE(a_server_without_tls_is_named),
	    CASE(tls_1_1_is_not_spoken),
	    CASE(no_address_is_left_untried),
	    CASE(may_be_closed_while_it_shakes_hands),
	    CASE(may_be_closed_in_each_callback),
	    CASE(what_came_before_the_end_is_good),
	    CASE(so_it_is_before_a_cut),
	    CASE(rubbish_is_an_end),
	    CASE(says_goodbye),
	    CASE(a_new_key_is_taken_and_given),
	    CASE(renegotiation_is_refused),
	    CASE(renewed_files_count_from_the_next_connection),
	    CASE(missing_files_are_an_end_that_is_told_later),
	    CASE(what_is_wrong_with_files_is_said),
	    CASE(each_failed_allocation_is_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
