/* amqp - one AMQP 0-9-1 connection on a stream, as events. No job in sight.
 *
 * Thread: the loop's.
 * Owns:   its stream and its codec. A connection belongs to whoever opened it until
 *         amqp_conn_destroy(), which is allowed anywhere but inside opened(), method(), header(),
 *         body() and blocked(). What events point to ends with the call.
 * Units:  milliseconds; bytes.
 * Fails:  through closed(), once, with a sentence. Sending on a connection that is no longer open
 *         is swallowed: closed() has told, or is about to tell. */
#ifndef OUTFALL_WIRE_AMQP_H
#define OUTFALL_WIRE_AMQP_H

#include "base/error.h"
#include "base/span.h"
#include "wire/amqp_codec.h"
#include "wire/amqp_frame.h"

#include <stddef.h>
#include <stdint.h>

struct address;
struct amqp_conn;
struct loop;

enum amqp_auth {
	AMQP_AUTH_PLAIN,    /* user and password */
	AMQP_AUTH_EXTERNAL, /* the certificate of the TLS connection; user and password are not sent */
};

struct amqp_login { /* borrowed texts; copied by amqp_conn_open() */
	enum amqp_auth auth;
	const char *user, *password, *vhost;
	const char *name;      /* shown in the broker's list of connections */
	uint16_t channels;     /* the highest channel number that is needed at least */
	uint64_t heartbeat_ms; /* 0 = none; else a second or more. The broker may ask for less */
	uint64_t login_ms;     /* from amqp_conn_open() to opened() */
};

struct amqp_header { /* of a message's content */
	/* NULL: nested deeper than anybody should follow (amqp_nesting.h). */
	const amqp_basic_properties_t *properties;
	struct span encoded; /* the same properties as they came, flags first */
	uint64_t body_bytes; /* as the peer says: check it before allocating */
};

struct amqp_events {
	void (*opened)(void *arg);
	/* A method on a channel other than 0; `decoded` is rabbitmq-c's struct for `id`. */
	void (*method)(void *arg, uint16_t channel, amqp_method_number_t id, const void *decoded);
	void (*header)(void *arg, uint16_t channel, const struct amqp_header *header);
	/* A piece of the body, as large as it came; the pieces add up to body_bytes. */
	void (*body)(void *arg, uint16_t channel, struct span piece);
	/* connection.blocked with the broker's reason, or NULL: unblocked. */
	void (*blocked)(void *arg, const char *reason);
	/* It is over. `why` is NULL after amqp_conn_close(). The owner destroys it now or later. */
	void (*closed)(void *arg, const struct error *why);
};

/* NULL: no memory. */
struct amqp_conn *amqp_conn_open(struct loop *loop, const struct address *to,
				 const struct amqp_login *login, const struct amqp_events *events,
				 void *arg);
/* connection.close, and its close-ok awaited for two seconds; ends in closed(). */
void amqp_conn_close(struct amqp_conn *c);
void amqp_conn_destroy(struct amqp_conn *c); /* at once; NULL is fine */

/* The peer broke the protocol in a way that only the owner could see: ends in closed(). */
void amqp_conn_fail(struct amqp_conn *c, const char *what);

/* After opened(), before channel.open on a higher number than login->channels. False: the broker does
 * not allow it. */
bool amqp_conn_use_channel(struct amqp_conn *c, uint16_t channel);
uint16_t amqp_conn_highest_channel(const struct amqp_conn *c); /* that it allows */
void amqp_conn_send(struct amqp_conn *c, uint16_t channel, amqp_method_number_t id,
		    const void *method);
void amqp_conn_ack(struct amqp_conn *c, uint16_t channel, uint64_t tag, enum amqp_reach reach);
void amqp_conn_requeue(struct amqp_conn *c, uint16_t channel, uint64_t tag, enum amqp_reach reach);
void amqp_conn_reject(struct amqp_conn *c, uint16_t channel, uint64_t tag, bool requeue);
/* basic.publish to the default exchange, mandatory. `encoded`: properties, flags first. ST_CLOSED: not
 * sent, closed() tells why; ST_INVALID: the properties do not fit into a frame. */
enum status amqp_conn_publish(struct amqp_conn *c, uint16_t channel, struct span routing_key,
			      struct span encoded, struct span body);
/* The same of a body that is not here yet: amqp_conn_publish_body() until body_bytes have followed, and
 * nothing else on this channel before; the protocol has no way to take it back. */
enum status amqp_conn_publish_begin(struct amqp_conn *c, uint16_t channel, struct span routing_key,
				    struct span encoded, uint64_t body_bytes);
void amqp_conn_publish_body(struct amqp_conn *c, uint16_t channel, struct span piece);

/* connection.update-secret (RabbitMQ 3.8 on): the password, a token in most cases, that holds from now on. One that is
 * refused ends in closed(). */
void amqp_conn_update_secret(struct amqp_conn *c, const char *secret);

/* Leaves input in the kernel for a while, so that more of it is read at once. */
void amqp_conn_read_stop(struct amqp_conn *c);
void amqp_conn_read_start(struct amqp_conn *c);

size_t amqp_conn_unsent(const struct amqp_conn *c);
const char *amqp_conn_server(const struct amqp_conn *c); /* "RabbitMQ 3.10.8", "" before login */
const char *amqp_conn_tls(const struct amqp_conn *c);    /* "TLSv1.3", NULL: plain */

#endif
