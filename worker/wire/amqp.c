/* The idea: rabbitmq-c decodes and encodes, and nothing else. Its sockets block; ours do not, so
 * login, heartbeats, deadlines and the closing are events here, on the worker's one loop.
 *
 *   dialing --connected--> starting --start--> tuning --tune--> opening --open-ok--> open
 *      open --amqp_conn_close()--> closing --close-ok--> dead --reported--> (destroyed)
 *      any --connection.close--> answered --end of stream--> dead
 *      any --trouble--> dead
 *
 * Awkward part one: frames of a body do not go through rabbitmq-c at all. It would copy each into a
 * buffer of its own first; the seven bytes in front are easy to read, so the pieces go to the owner
 * straight from the stream's buffer, and a body of 50 MB is copied once and never waits to be
 * whole. Every other frame goes to it in one piece, once it is whole in the stream's buffer: that is
 * where its tables can be looked at before it follows them (amqp_nesting.h). So rabbitmq-c never holds
 * part of a frame, and does not notice what it does not see.
 *
 * Awkward part two: trouble is found deep inside calls that the owner made. Telling him on the spot
 * would let him free what the caller still holds, so death is always reported by a timer of zero:
 * from a clean stack, once.
 *
 * Dropped: rabbitmq-c's own amqp_login() and amqp_consume_message() on a thread per connection. A
 * drain clock that depends on a call which may never return is no clock. */
#include "wire/amqp.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "wire/amqp_nesting.h"
#include "wire/stream.h"

#include <stdarg.h>
#include <stdio.h>

enum {
	FRAME_MIN = 4096,   /* the protocol's own minimum */
	FRAME_MAX = 131072, /* RabbitMQ's default; more would only cost memory */
	METHOD_ROOM = 8192, /* the longest method we send: a login with long names */
	LOGIN_SPARE = 1024, /* of that, for what a login has besides user and password */
	/* A broker adds headers to what it delivers again (x-delivery-count, x-death), also to a message that
	 * its producer had filled to the last byte, and sends a frame that is larger than agreed. */
	HEADER_MORE = 65536,
	CLOSE_OK_MS = 2000,   /* how long a peer may take to answer our close */
	PEER_CLOSES_MS = 200, /* and to hang up after we answered his */
};

enum state {
	CONN_DIALING,
	CONN_STARTING,
	CONN_TUNING,
	CONN_OPENING,
	CONN_OPEN,
	CONN_CLOSING,
	CONN_ANSWERED,
	CONN_DEAD,
};

static const char *const awaited[] = {
    [CONN_DIALING] = "the connection",
    [CONN_STARTING] = "connection.start",
    [CONN_TUNING] = "connection.tune",
    [CONN_OPENING] = "connection.open-ok",
    [CONN_OPEN] = "nothing",
    [CONN_CLOSING] = "connection.close-ok",
    [CONN_ANSWERED] = "the end of the stream",
    [CONN_DEAD] = "nothing",
};

struct amqp_conn {
	struct loop *loop;
	struct stream *stream;
	amqp_connection_state_t codec;
	const struct amqp_events *events;
	void *arg;

	enum state state;
	struct timer *deadline; /* of the login, of the closing; and what reports a death */
	struct timer *beat;     /* twice per heartbeat interval */
	uint64_t heartbeat_ms;
	uint64_t login_ms;
	enum amqp_auth auth;
	uint16_t channels;    /* the highest number in use */
	uint16_t channel_max; /* that the broker allows */
	uint32_t frame_max;

	bool blocked; /* by connection.blocked */

	uint32_t body_left;    /* of the body frame we are in */
	uint16_t body_channel; /* meaningful while in_body */
	bool in_body;          /* until its end octet has been seen */

	struct error why; /* valid from CONN_ANSWERED; ST_OK: we asked for it */
	char server[64];
	char *user, *password, *vhost, *name;
};

/* --- the end of it ----------------------------------------------------------------------------- */

static bool is_logging_in(const struct amqp_conn *c)
{
	return c->state < CONN_OPEN;
}

static void die(struct amqp_conn *c)
{
	c->state = CONN_DEAD;
	stream_close(c->stream);
	c->stream = NULL;
	timer_stop(c->beat);
	timer_start(c->deadline, 0); /* see "awkward part two" */
}

__attribute__((format(printf, 3, 4))) static void die_of(struct amqp_conn *c, enum status st,
							 const char *fmt, ...)
{
	if (c->state == CONN_DEAD)
		return;
	if (c->state != CONN_ANSWERED) { /* else the broker's own words are the better reason */
		char text[sizeof c->why.text];
		va_list ap;
		va_start(ap, fmt);
		(void)vsnprintf(text, sizeof text, fmt, ap);
		va_end(ap);
		(void)error_set(&c->why, st, "%s", text);
	}
	die(c);
}

void amqp_conn_fail(struct amqp_conn *c, const char *what)
{
	die_of(c, ST_PROTO, "broker broke the protocol: %s", what);
}

static void deadline_passed(void *arg)
{
	struct amqp_conn *c = arg;
	if (c->state != CONN_DEAD) {
		die_of(c, ST_TIMEOUT, "no answer in time, waiting for %s", awaited[c->state]);
		timer_stop(c->deadline);
	}
	struct error why = c->why; /* outlives the connection, which the owner may destroy now */
	c->events->closed(c->arg, why.status == ST_OK ? NULL : &why);
}

/* --- output ------------------------------------------------------------------------------------ */

static bool may_send(const struct amqp_conn *c)
{
	return c->state < CONN_CLOSING;
}

/* NULL: the stream is dead, and stream_ended() will hear of it. */
static char *room_for(struct amqp_conn *c, size_t bytes)
{
	return c->stream != NULL ? stream_room(c->stream, bytes) : NULL;
}

static void send_method(struct amqp_conn *c, uint16_t channel, amqp_method_number_t id,
			const void *method)
{
	char *room = room_for(c, METHOD_ROOM + AMQP_AROUND_BYTES);
	if (room == NULL)
		return;
	char *payload = room + AMQP_HEAD_BYTES;
	amqp_bytes_t into = {.len = METHOD_ROOM - 4, .bytes = payload + 4};
	int size = amqp_encode_method(id, (void *)(uintptr_t)method, into);
	if (size < 0) {
		die_of(c, ST_INVALID, "%s does not fit into a frame", amqp_method_name(id));
		return;
	}
	for (int i = 0; i < 4; i++)
		payload[i] = (char)(id >> (24 - 8 * i));
	uint32_t bytes = (uint32_t)size + 4;
	amqp_head_write(room, (struct amqp_head){AMQP_FRAME_METHOD, channel, bytes});
	payload[bytes] = (char)AMQP_FRAME_END;
	stream_wrote(c->stream, bytes + AMQP_AROUND_BYTES);
}

void amqp_conn_send(struct amqp_conn *c, uint16_t channel, amqp_method_number_t id,
		    const void *method)
{
	if (may_send(c))
		send_method(c, channel, id, method);
}

bool amqp_conn_use_channel(struct amqp_conn *c, uint16_t channel)
{
	if (channel > c->channel_max)
		return false;
	if (channel > c->channels)
		c->channels = channel;
	return true;
}

uint16_t amqp_conn_highest_channel(const struct amqp_conn *c)
{
	return c->channel_max;
}

void amqp_conn_ack(struct amqp_conn *c, uint16_t channel, uint64_t tag, enum amqp_reach reach)
{
	char *room = may_send(c) ? room_for(c, AMQP_ACK_BYTES) : NULL;
	if (room == NULL)
		return;
	amqp_ack_write(room, channel, tag, reach);
	stream_wrote(c->stream, AMQP_ACK_BYTES);
}

void amqp_conn_requeue(struct amqp_conn *c, uint16_t channel, uint64_t tag, enum amqp_reach reach)
{
	char *room = may_send(c) ? room_for(c, AMQP_NACK_BYTES) : NULL;
	if (room == NULL)
		return;
	amqp_requeue_write(room, channel, tag, reach);
	stream_wrote(c->stream, AMQP_NACK_BYTES);
}

void amqp_conn_reject(struct amqp_conn *c, uint16_t channel, uint64_t tag, bool requeue)
{
	char *room = may_send(c) ? room_for(c, AMQP_REJECT_BYTES) : NULL;
	if (room == NULL)
		return;
	amqp_reject_write(room, channel, tag, requeue);
	stream_wrote(c->stream, AMQP_REJECT_BYTES);
}

static void send_heartbeat(struct amqp_conn *c)
{
	char *room = room_for(c, AMQP_HEARTBEAT_BYTES);
	if (room == NULL)
		return;
	amqp_heartbeat_write(room);
	stream_wrote(c->stream, AMQP_HEARTBEAT_BYTES);
}

/* A frame whose payload is `a` and then `b`. */
static void send_frame(struct amqp_conn *c, uint8_t type, uint16_t channel, struct span a,
		       struct span b)
{
	size_t size = a.len + b.len;
	char *room = room_for(c, size + AMQP_AROUND_BYTES);
	if (room == NULL)
		return;
	amqp_head_write(room, (struct amqp_head){type, channel, (uint32_t)size});
	memcpy(room + AMQP_HEAD_BYTES, a.ptr, a.len);
	if (b.len > 0)
		memcpy(room + AMQP_HEAD_BYTES + a.len, b.ptr, b.len);
	room[AMQP_HEAD_BYTES + size] = (char)AMQP_FRAME_END;
	stream_wrote(c->stream, size + AMQP_AROUND_BYTES);
}

enum { CONTENT_HEADER_BYTES = 2 + 2 + 8 }; /* class, weight, body size; then the properties */

static void send_content_header(struct amqp_conn *c, uint16_t channel, struct span encoded,
				uint64_t body_bytes)
{
	char fixed[CONTENT_HEADER_BYTES] = {0, AMQP_BASIC_CLASS};
	for (int i = 0; i < 8; i++)
		fixed[4 + i] = (char)(body_bytes >> (56 - 8 * i));
	send_frame(c, AMQP_FRAME_HEADER, channel, span_of(fixed, sizeof fixed), encoded);
}

enum status amqp_conn_publish_begin(struct amqp_conn *c, uint16_t channel, struct span routing_key,
				    struct span encoded, uint64_t body_bytes)
{
	if (c->state != CONN_OPEN)
		return ST_CLOSED;
	if (encoded.len > c->frame_max - AMQP_AROUND_BYTES - CONTENT_HEADER_BYTES)
		return ST_INVALID;
	amqp_basic_publish_t publish = {
	    .routing_key = amqp_bytes_of(routing_key),
	    .mandatory = 1,
	};
	send_method(c, channel, AMQP_BASIC_PUBLISH_METHOD, &publish);
	send_content_header(c, channel, encoded, body_bytes);
	return ST_OK;
}

void amqp_conn_publish_body(struct amqp_conn *c, uint16_t channel, struct span piece)
{
	size_t most = c->frame_max - AMQP_AROUND_BYTES;
	for (size_t at = 0; at < piece.len && c->state == CONN_OPEN; at += most) {
		size_t len = piece.len - at < most ? piece.len - at : most;
		send_frame(c, AMQP_FRAME_BODY, channel, span_of(piece.ptr + at, len),
			   span_of(NULL, 0));
	}
}

enum status amqp_conn_publish(struct amqp_conn *c, uint16_t channel, struct span routing_key,
			      struct span encoded, struct span body)
{
	enum status st = amqp_conn_publish_begin(c, channel, routing_key, encoded, body.len);
	if (st == ST_OK)
		amqp_conn_publish_body(c, channel, body);
	return st;
}

/* --- another secret ------------------------------------------------------------------------------ */

/* RabbitMQ's own, of which rabbitmq-c knows nothing. */
enum { UPDATE_SECRET_METHOD = 0x000A0046, UPDATE_SECRET_OK_METHOD = 0x000A0047 };

static char *put_u32(char *to, uint32_t number)
{
	for (int i = 0; i < 4; i++)
		*to++ = (char)(number >> (24 - 8 * i));
	return to;
}

/* Method, long string, short string. */
void amqp_conn_update_secret(struct amqp_conn *c, const char *secret)
{
	static const char reason[] = "it has changed";
	size_t len = strlen(secret), size = 4 + 4 + len + 1 + sizeof reason - 1;
	char *room = c->state == CONN_OPEN && size <= METHOD_ROOM
			 ? room_for(c, size + AMQP_AROUND_BYTES)
			 : NULL;
	if (room == NULL)
		return;
	amqp_head_write(room, (struct amqp_head){AMQP_FRAME_METHOD, 0, (uint32_t)size});
	char *at = put_u32(room + AMQP_HEAD_BYTES, UPDATE_SECRET_METHOD);
	at = put_u32(at, (uint32_t)len);
	memcpy(at, secret, len);
	at += len;
	*at++ = sizeof reason - 1;
	memcpy(at, reason, sizeof reason - 1);
	at[sizeof reason - 1] = (char)AMQP_FRAME_END;
	stream_wrote(c->stream, size + AMQP_AROUND_BYTES);
}

/* --- heartbeats -------------------------------------------------------------------------------- */

/* Looked at twice per interval. Silence counts from the last byte in, whatever it was; output that
 * does not shrink is as bad a sign as silence, and comes first when only one direction is stuck; but not
 * while the broker has said that it does not read (connection.blocked), which can take hours. */
static void beat_due(void *arg)
{
	struct amqp_conn *c = arg;
	uint64_t now = loop_now_ns(c->loop);
	uint64_t interval_ns = c->heartbeat_ms * 1000000;
	if (now - stream_last_input_ns(c->stream) >= 2 * interval_ns) {
		die_of(c, ST_TIMEOUT, "broker was silent for two heartbeat intervals");
		return;
	}
	if (!c->blocked && stream_stalled_ns(c->stream) >= 2 * interval_ns) {
		die_of(c, ST_TIMEOUT, "broker read nothing for two heartbeat intervals");
		return;
	}
	if (now - stream_last_output_ns(c->stream) >= interval_ns / 2 &&
	    stream_unsent(c->stream) == 0)
		send_heartbeat(c);
	if (c->state != CONN_DEAD)
		timer_start(c->beat, c->heartbeat_ms / 2);
}

/* --- login ------------------------------------------------------------------------------------- */

static amqp_table_entry_t text_entry(const char *key, const char *value)
{
	amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
	e.value.kind = AMQP_FIELD_KIND_UTF8;
	e.value.value.bytes = amqp_cstring_bytes(value);
	return e;
}

static amqp_table_entry_t true_entry(const char *key)
{
	amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
	e.value.kind = AMQP_FIELD_KIND_BOOLEAN;
	e.value.value.boolean = 1;
	return e;
}

static bool table_text(const amqp_table_t *table, const char *key, struct span *ret_text)
{
	for (int i = 0; i < table->num_entries; i++) {
		const amqp_table_entry_t *e = &table->entries[i];
		if (e->value.kind != AMQP_FIELD_KIND_UTF8 ||
		    !span_equal(amqp_span_of(e->key), span_text(key)))
			continue;
		*ret_text = amqp_span_of(e->value.value.bytes);
		return true;
	}
	return false;
}

static void note_server(struct amqp_conn *c, const amqp_table_t *properties)
{
	struct span product = span_text("AMQP broker"), version = span_text("");
	(void)table_text(properties, "product", &product); /* both are courtesy, not duty */
	(void)table_text(properties, "version", &version);
	(void)snprintf(c->server, sizeof c->server, "%.*s %.*s", (int)product.len, product.ptr,
		       (int)version.len, version.ptr);
}

/* `mechanisms` are words with blanks between them, and AMQPLAIN is not PLAIN. */
static bool offers(struct span mechanisms, const char *name)
{
	const char *at = mechanisms.ptr, *end = mechanisms.ptr + mechanisms.len;
	while (at < end) {
		const char *blank = memchr(at, ' ', (size_t)(end - at));
		size_t len = (size_t)((blank != NULL ? blank : end) - at);
		if (span_equal(span_of(at, len), span_text(name)))
			return true;
		at += len + 1;
	}
	return false;
}

static void refuse_mechanisms(struct amqp_conn *c, struct span offered)
{
	if (c->auth == AMQP_AUTH_EXTERNAL)
		die_of(c, ST_REFUSED,
		       "broker does not offer EXTERNAL login (only %.*s): it takes "
		       "rabbitmq_auth_mechanism_ssl, and auth_mechanisms that name it",
		       (int)offered.len, offered.ptr);
	else
		die_of(c, ST_REFUSED, "broker does not offer PLAIN login (only %.*s)",
		       (int)offered.len, offered.ptr);
}

/* Each capability changes what the broker does. Without consumer_cancel_notify a deleted queue
 * looks like silence for ever; without authentication_failure_close so does a wrong password. */
static void answer_start(struct amqp_conn *c, const amqp_connection_start_t *start)
{
	note_server(c, &start->server_properties);
	const char *mechanism = c->auth == AMQP_AUTH_EXTERNAL ? "EXTERNAL" : "PLAIN";
	if (!offers(amqp_span_of(start->mechanisms), mechanism)) {
		refuse_mechanisms(c, amqp_span_of(start->mechanisms));
		return;
	}
	amqp_table_entry_t able[] = {
	    true_entry("consumer_cancel_notify"),
	    true_entry("connection.blocked"),
	    true_entry("basic.nack"),
	    true_entry("publisher_confirms"),
	    true_entry("authentication_failure_close"),
	};
	amqp_table_entry_t properties[] = {
	    text_entry("product", "outfall"),
	    text_entry("version", OUTFALL_VERSION),
	    text_entry("connection_name", c->name),
	    {.key = amqp_cstring_bytes("capabilities")},
	};
	properties[3].value.kind = AMQP_FIELD_KIND_TABLE;
	properties[3].value.value.table =
	    (amqp_table_t){.num_entries = sizeof able / sizeof *able, .entries = able};

	char plain[METHOD_ROOM] = ""; /* a token may be long; more would not fit into the frame */
	int len = 0; /* EXTERNAL says nothing: the broker has seen the certificate */
	if (c->auth == AMQP_AUTH_PLAIN)
		len = snprintf(plain, sizeof plain, "%c%s%c%s", 0, c->user, 0, c->password);
	if (len < 0 || (size_t)len >= sizeof plain - LOGIN_SPARE) {
		explicit_bzero(plain, sizeof plain);
		die_of(c, ST_AUTH, "user or password is too long for PLAIN login, %d bytes at most",
		       (int)(sizeof plain - LOGIN_SPARE - 2));
		return;
	}
	amqp_connection_start_ok_t ok = {
	    .client_properties = {.num_entries = 4,   .entries = properties},
	    .mechanism = amqp_cstring_bytes(mechanism),
	    .response = {.len = (size_t)len, .bytes = plain       },
	    .locale = amqp_cstring_bytes("en_US"),
	};
	c->state = CONN_TUNING;
	send_method(c, 0, AMQP_CONNECTION_START_OK_METHOD, &ok);
	explicit_bzero(plain, sizeof plain);
}

static uint32_t frame_max_for(uint32_t offered)
{
	if (offered == 0 || offered > FRAME_MAX) /* 0: no limit */
		return FRAME_MAX;
	return offered < FRAME_MIN ? FRAME_MIN : offered;
}

static void answer_tune(struct amqp_conn *c, const amqp_connection_tune_t *tune)
{
	if (tune->channel_max != 0 && tune->channel_max < c->channels) {
		die_of(c, ST_REFUSED, "broker allows %d channels on a connection, %d are needed",
		       tune->channel_max, c->channels);
		return;
	}
	c->channel_max = tune->channel_max != 0 ? tune->channel_max : UINT16_MAX;
	c->frame_max = frame_max_for(tune->frame_max);
	uint64_t offered_ms = (uint64_t)tune->heartbeat * 1000;
	if (offered_ms != 0 && offered_ms < c->heartbeat_ms)
		c->heartbeat_ms = offered_ms;
	amqp_connection_tune_ok_t ok = {
	    .channel_max = tune->channel_max,
	    .frame_max = c->frame_max,
	    .heartbeat = (uint16_t)(c->heartbeat_ms / 1000),
	};
	/* Heartbeat 0 for the library: it has no socket to send one on. */
	if (amqp_tune_connection(c->codec, ok.channel_max, (int)(ok.frame_max + HEADER_MORE), 0) !=
	    AMQP_STATUS_OK) {
		die_of(c, ST_NOMEM, "out of memory for a connection");
		return;
	}
	send_method(c, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &ok);
	amqp_connection_open_t open = {.virtual_host = amqp_cstring_bytes(c->vhost)};
	send_method(c, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
	c->state = CONN_OPENING;
	if (c->heartbeat_ms != 0)
		timer_start(c->beat, c->heartbeat_ms / 2);
}

static void finish_login(struct amqp_conn *c)
{
	c->state = CONN_OPEN;
	timer_stop(c->deadline);
	c->events->opened(c->arg);
}

/* --- the broker closes ------------------------------------------------------------------------- */

static bool says(const amqp_connection_close_t *m, const char *words)
{
	struct span text = amqp_span_of(m->reply_text);
	return memmem(text.ptr, text.len, words, strlen(words)) != NULL;
}

/* Of a login: what another try cannot change, and what it can. A limit on connections is full for a
 * while, a virtual host is down until somebody starts it. */
static enum status meaning_of(const struct amqp_conn *c, const amqp_connection_close_t *m)
{
	if (!is_logging_in(c))
		return m->reply_code == AMQP_CONNECTION_FORCED ? ST_CLOSED : ST_PROTO;
	if (m->reply_code == AMQP_ACCESS_REFUSED)
		return ST_AUTH;
	if (m->reply_code == AMQP_NOT_ALLOWED && says(m, "not found"))
		return ST_MISSING;
	/* "access to vhost 'x' refused for user 'y'", and behind that ": connection limit (n) is reached" */
	bool may_not = m->reply_code == AMQP_NOT_ALLOWED && says(m, "refused for user");
	return may_not && !says(m, "limit") ? ST_AUTH : ST_AGAIN;
}

static void answer_close(struct amqp_conn *c, const amqp_connection_close_t *m)
{
	enum status st = meaning_of(c, m);
	(void)error_set(&c->why, st, "broker closed the connection: %d %.*s", m->reply_code,
			(int)m->reply_text.len, (const char *)m->reply_text.bytes);
	amqp_connection_close_ok_t ok = {0};
	send_method(c, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_ANSWERED;
	timer_start(c->deadline, PEER_CLOSES_MS);
}

static void finish_close(struct amqp_conn *c)
{
	(void)error_set(&c->why, ST_OK, "closed");
	die(c);
}

static void be_blocked(struct amqp_conn *c, const char *reason)
{
	c->blocked = true;
	stream_peer_rests(c->stream);
	c->events->blocked(c->arg, reason);
}

static void be_unblocked(struct amqp_conn *c)
{
	c->blocked = false;
	stream_peer_reads(c->stream);
	c->events->blocked(c->arg, NULL);
}

/* --- input ------------------------------------------------------------------------------------- */

static void own_method(struct amqp_conn *c, const amqp_method_t *m)
{
	enum state due = c->state;
	switch (m->id) {
	case AMQP_CONNECTION_START_METHOD:
		if (due == CONN_STARTING)
			answer_start(c, m->decoded);
		return;
	case AMQP_CONNECTION_TUNE_METHOD:
		if (due == CONN_TUNING)
			answer_tune(c, m->decoded);
		return;
	case AMQP_CONNECTION_OPEN_OK_METHOD:
		if (due == CONN_OPENING)
			finish_login(c);
		return;
	case AMQP_CONNECTION_CLOSE_METHOD:
		if (due != CONN_ANSWERED)
			answer_close(c, m->decoded);
		return;
	case AMQP_CONNECTION_CLOSE_OK_METHOD:
		if (due == CONN_CLOSING)
			finish_close(c);
		return;
	case AMQP_CONNECTION_BLOCKED_METHOD: {
		const amqp_connection_blocked_t *blocked = m->decoded;
		char reason[256];
		(void)snprintf(reason, sizeof reason, "%.*s", (int)blocked->reason.len,
			       (const char *)blocked->reason.bytes);
		if (due == CONN_OPEN)
			be_blocked(c, reason);
		return;
	}
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		if (due == CONN_OPEN)
			be_unblocked(c);
		return;
	default:
		die_of(c, ST_PROTO, "broker broke the protocol: %s on channel 0",
		       amqp_method_name(m->id) ? amqp_method_name(m->id) : "unknown method");
	}
}

static void own_header(struct amqp_conn *c, const amqp_frame_t *frame)
{
	if (frame->payload.properties.class_id != AMQP_BASIC_CLASS) {
		amqp_conn_fail(c, "content of a class that is not basic");
		return;
	}
	struct amqp_header header = {
	    .properties = frame->payload.properties.decoded,
	    .encoded = amqp_span_of(frame->payload.properties.raw),
	    .body_bytes = frame->payload.properties.body_size,
	};
	c->events->header(c->arg, frame->channel, &header);
}

static void own_frame(struct amqp_conn *c, const amqp_frame_t *frame)
{
	if (frame->channel == 0) {
		if (frame->frame_type == AMQP_FRAME_METHOD)
			own_method(c, &frame->payload.method);
		return; /* a heartbeat has done its work by arriving */
	}
	if (c->state != CONN_OPEN)
		return; /* after our close nothing but its answer counts */
	if (frame->frame_type == AMQP_FRAME_METHOD)
		c->events->method(c->arg, frame->channel, frame->payload.method.id,
				  frame->payload.method.decoded);
	else if (frame->frame_type == AMQP_FRAME_HEADER)
		own_header(c, frame);
}

static void decode(struct amqp_conn *c, struct span whole)
{
	amqp_frame_t frame;
	int used = amqp_handle_input(c->codec, amqp_bytes_of(whole), &frame);
	if (used < 0) {
		die_of(c, used == AMQP_STATUS_NO_MEMORY ? ST_NOMEM : ST_PROTO,
		       "broker broke the protocol: %s", amqp_error_string2(used));
		return;
	}
	if (frame.frame_type == 0) {
		amqp_conn_fail(c, "a frame of a kind that nobody knows");
		return;
	}
	own_frame(c, &frame);
	amqp_maybe_release_buffers_on_channel(c->codec, frame.channel);
}

static uint32_t method_of(struct span payload)
{
	uint32_t id = 0;
	for (size_t i = 0; i < 4 && payload.len >= 4; i++)
		id = id << 8 | (unsigned char)payload.ptr[i];
	return id;
}

/* Of the methods that have tables in them a broker sends the first one only. */
static enum amqp_nesting method_nesting(struct span payload)
{
	enum { BEFORE_THE_TABLE = 4 + 2 }; /* the method's number, the protocol's version */
	if (payload.len < BEFORE_THE_TABLE)
		return AMQP_NESTING_FINE; /* or a method of less than that */
	switch (method_of(payload)) {
	case AMQP_CONNECTION_START_METHOD:
		return amqp_table_nesting(
		    span_of(payload.ptr + BEFORE_THE_TABLE, payload.len - BEFORE_THE_TABLE));
	case AMQP_CONNECTION_START_OK_METHOD:
	case AMQP_EXCHANGE_DECLARE_METHOD:
	case AMQP_EXCHANGE_BIND_METHOD:
	case AMQP_EXCHANGE_UNBIND_METHOD:
	case AMQP_QUEUE_DECLARE_METHOD:
	case AMQP_QUEUE_BIND_METHOD:
	case AMQP_QUEUE_UNBIND_METHOD:
	case AMQP_BASIC_CONSUME_METHOD:
		return AMQP_NESTING_BROKEN;
	default:
		return AMQP_NESTING_FINE;
	}
}

static void take_method(struct amqp_conn *c, struct span whole, struct span payload)
{
	if (method_of(payload) == UPDATE_SECRET_OK_METHOD)
		return; /* as it was to be; rabbitmq-c does not know it */
	if (method_nesting(payload) == AMQP_NESTING_FINE)
		decode(c, whole);
	else
		amqp_conn_fail(c, "a method with tables that no broker sends");
}

static void own_nested_header(struct amqp_conn *c, uint16_t channel, struct span payload)
{
	struct amqp_header header = {
	    .encoded =
		span_of(payload.ptr + CONTENT_HEADER_BYTES, payload.len - CONTENT_HEADER_BYTES),
	};
	for (int i = 4; i < CONTENT_HEADER_BYTES; i++)
		header.body_bytes = header.body_bytes << 8 | (unsigned char)payload.ptr[i];
	if (channel != 0 && c->state == CONN_OPEN)
		c->events->header(c->arg, channel, &header);
}

/* Anybody may have published that message: the connection is not to suffer for it. */
static void take_header(struct amqp_conn *c, struct span whole, struct span payload,
			uint16_t channel)
{
	bool is_basic = payload.len >= CONTENT_HEADER_BYTES && payload.ptr[0] == 0 &&
			payload.ptr[1] == AMQP_BASIC_CLASS;
	enum amqp_nesting found = AMQP_NESTING_FINE; /* no other class has tables */
	if (is_basic)
		found = amqp_properties_nesting(span_of(payload.ptr + CONTENT_HEADER_BYTES,
							payload.len - CONTENT_HEADER_BYTES));
	switch (found) {
	case AMQP_NESTING_FINE:
		decode(c, whole);
		return;
	case AMQP_NESTING_TOO_DEEP:
		own_nested_header(c, channel, payload);
		return;
	case AMQP_NESTING_BROKEN:
		amqp_conn_fail(c, "headers that do not hold together");
		return;
	}
}

static size_t take_whole(struct amqp_conn *c, struct span in, struct amqp_head head)
{
	size_t bytes = head.size + AMQP_AROUND_BYTES;
	if (in.len < bytes)
		return 0;
	struct span whole = span_of(in.ptr, bytes);
	struct span payload = span_of(in.ptr + AMQP_HEAD_BYTES, head.size);
	if (whole.ptr[bytes - 1] != (char)AMQP_FRAME_END)
		amqp_conn_fail(c, "a frame without its end");
	else if (head.type == AMQP_FRAME_HEADER)
		take_header(c, whole, payload, head.channel);
	else if (head.type == AMQP_FRAME_METHOD)
		take_method(c, whole, payload);
	else
		decode(c, whole);
	return bytes;
}

static size_t take_body(struct amqp_conn *c, struct span in)
{
	size_t len = in.len < c->body_left ? in.len : c->body_left;
	if (len > 0) {
		c->body_left -= (uint32_t)len;
		if (c->state == CONN_OPEN)
			c->events->body(c->arg, c->body_channel, span_of(in.ptr, len));
		return len;
	}
	if (in.ptr[0] != (char)AMQP_FRAME_END)
		amqp_conn_fail(c, "a body frame without its end");
	c->in_body = false;
	return 1;
}

/* A peer that speaks another version answers with its own protocol header, and hangs up; one that
 * waits for TLS with an alert. */
static bool is_other_protocol(struct amqp_conn *c, struct span in)
{
	static const char tls_alert[] = {0x15, 0x03};
	if (c->state != CONN_STARTING)
		return false;
	if (memcmp(in.ptr, "AMQP", 4) == 0)
		die_of(c, ST_REFUSED, "broker does not speak AMQP 0-9-1");
	else if (memcmp(in.ptr, tls_alert, sizeof tls_alert) == 0)
		die_of(c, ST_PROTO, "broker speaks TLS on this port: amqps://");
	else
		return false;
	return true;
}

/* What the head promises is checked before anybody makes room for it. */
static size_t take_head(struct amqp_conn *c, struct span in)
{
	if (in.len < AMQP_HEAD_BYTES)
		return 0;
	if (is_other_protocol(c, in))
		return in.len;
	struct amqp_head head = amqp_head_read(in.ptr);
	size_t most = c->frame_max - AMQP_AROUND_BYTES;
	if (head.type == AMQP_FRAME_HEADER)
		most += HEADER_MORE;
	if (head.size > most || head.channel > c->channels) {
		amqp_conn_fail(c, "a frame that is too large, or on a channel never opened");
		return in.len;
	}
	if (head.type != AMQP_FRAME_BODY)
		return take_whole(c, in, head);
	if (head.channel == 0) {
		amqp_conn_fail(c, "a body on channel 0");
		return in.len;
	}
	c->in_body = true;
	c->body_left = head.size;
	c->body_channel = head.channel;
	return AMQP_HEAD_BYTES;
}

static size_t received(void *arg, struct span bytes)
{
	struct amqp_conn *c = arg;
	size_t used = 0;
	while (used < bytes.len && c->state != CONN_DEAD) {
		struct span in = span_of(bytes.ptr + used, bytes.len - used);
		size_t n = c->in_body ? take_body(c, in) : take_head(c, in);
		if (n == 0)
			break;
		used += n;
	}
	return used;
}

static void dialed(void *arg)
{
	struct amqp_conn *c = arg;
	c->state = CONN_STARTING;
	stream_write(c->stream, span_of("AMQP\0\0\x09\x01", 8));
}

static void stream_ended(void *arg, const struct error *why)
{
	struct amqp_conn *c = arg;
	if (c->state == CONN_CLOSING)
		finish_close(c); /* hanging up is an answer to our close, if not a polite one */
	else if (c->state == CONN_TUNING && why->status == ST_CLOSED)
		die_of(c, why->status, "during login (%s?): %s",
		       c->auth == AMQP_AUTH_PLAIN ? "wrong password" : "certificate refused",
		       why->text);
	else
		die_of(c, why->status, "%s", why->text);
}

static const struct stream_events on_stream = {
    .opened = dialed,
    .received = received,
    .closed = stream_ended,
};

/* --- its life ---------------------------------------------------------------------------------- */

static bool copy_login(struct amqp_conn *c, const struct amqp_login *login)
{
	c->user = memory_text(login->user);
	c->password = memory_text(login->password);
	c->vhost = memory_text(login->vhost);
	c->name = memory_text(login->name);
	c->auth = login->auth;
	c->channels = login->channels;
	c->login_ms = login->login_ms;
	c->heartbeat_ms = login->heartbeat_ms;
	if (c->heartbeat_ms != 0 && c->heartbeat_ms < 1000)
		c->heartbeat_ms = 1000; /* the protocol counts whole seconds */
	if (c->heartbeat_ms > 60000000)
		c->heartbeat_ms = 60000000; /* and has 16 bits for them */
	return c->user && c->password && c->vhost && c->name;
}

struct amqp_conn *amqp_conn_open(struct loop *loop, const struct address *to,
				 const struct amqp_login *login, const struct amqp_events *events,
				 void *arg)
{
	struct amqp_conn *c = memory_clear(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->events = events;
	c->arg = arg;
	c->frame_max = FRAME_MAX;
	c->codec = amqp_new_connection();
	c->deadline = timer_create_on(loop, deadline_passed, c);
	c->beat = timer_create_on(loop, beat_due, c);
	if (copy_login(c, login) && c->codec && c->deadline && c->beat)
		c->stream = stream_open(loop, to, login->login_ms, &on_stream, c);
	if (c->stream == NULL) {
		amqp_conn_destroy(c);
		return NULL;
	}
	timer_start(c->deadline, login->login_ms);
	return c;
}

void amqp_conn_close(struct amqp_conn *c)
{
	if (c->state == CONN_CLOSING || c->state == CONN_ANSWERED || c->state == CONN_DEAD)
		return;
	if (c->state != CONN_OPEN) {
		finish_close(c);
		return;
	}
	amqp_connection_close_t close = {
	    .reply_code = AMQP_REPLY_SUCCESS,
	    .reply_text = amqp_cstring_bytes("done"),
	};
	send_method(c, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_CLOSING;
	timer_start(c->deadline, CLOSE_OK_MS);
}

void amqp_conn_destroy(struct amqp_conn *c)
{
	if (c == NULL)
		return;
	stream_close(c->stream);
	timer_destroy(c->deadline);
	timer_destroy(c->beat);
	if (c->codec != NULL)
		(void)amqp_destroy_connection(c->codec); /* no socket: it only frees */
	memory_free(c->user);
	memory_free_secret(c->password);
	memory_free(c->vhost);
	memory_free(c->name);
	memory_free(c);
}

void amqp_conn_read_stop(struct amqp_conn *c)
{
	if (c->stream != NULL)
		stream_read_stop(c->stream);
}

void amqp_conn_read_start(struct amqp_conn *c)
{
	if (c->stream != NULL)
		stream_read_start(c->stream);
}

size_t amqp_conn_unsent(const struct amqp_conn *c)
{
	return c->stream != NULL ? stream_unsent(c->stream) : 0;
}

const char *amqp_conn_tls(const struct amqp_conn *c)
{
	return c->stream != NULL ? stream_tls(c->stream) : NULL;
}

const char *amqp_conn_server(const struct amqp_conn *c)
{
	return c->server;
}
