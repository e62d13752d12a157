/* limit_rabbitmq - the tightest loop librabbitmq allows: consume, count, acknowledge.
 *
 *     limit_rabbitmq PORT VHOST QUEUE JOBS
 *
 * One connection, prefetch 1000, one multiple ack for every 100 messages, the library's own
 * blocking calls. It does nothing else: no handler, no log, no signal, no record of what it holds.
 * That is what the worker is held against; it is not a design to copy (a broker that stops
 * answering blocks it for ever). The clock runs from the first delivery to the last ack sent, so
 * that connecting is not measured on either side. */
#include "measure.h"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

#include <stdlib.h>

enum { CHANNEL = 1, PREFETCH = 1000, ACK_EVERY = 100 };

static void check(amqp_rpc_reply_t reply, const char *what)
{
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return;
	fprintf(stderr, "limit_rabbitmq: %s failed\n", what);
	exit(1);
}

static amqp_connection_state_t start_consuming(int port, const char *vhost, const char *queue)
{
	amqp_connection_state_t connection = amqp_new_connection();
	amqp_socket_t *socket = amqp_tcp_socket_new(connection);
	if (socket == NULL || amqp_socket_open(socket, "127.0.0.1", port) != AMQP_STATUS_OK) {
		fprintf(stderr, "limit_rabbitmq: cannot connect to port %d\n", port);
		exit(1);
	}
	check(amqp_login(connection, vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN,
			 "guest", "guest"),
	      "login");
	amqp_channel_open(connection, CHANNEL);
	check(amqp_get_rpc_reply(connection), "channel.open");
	amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, 0);
	check(amqp_get_rpc_reply(connection), "basic.qos");
	amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0,
			   0, amqp_empty_table);
	check(amqp_get_rpc_reply(connection), "basic.consume");
	return connection;
}

/* Returns the delivery tag. */
static uint64_t take_one(amqp_connection_state_t connection)
{
	amqp_envelope_t envelope;
	amqp_maybe_release_buffers(connection);
	check(amqp_consume_message(connection, &envelope, NULL, 0), "consuming");
	uint64_t tag = envelope.delivery_tag;
	amqp_destroy_envelope(&envelope);
	return tag;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: limit_rabbitmq PORT VHOST QUEUE JOBS\n");
		return 64;
	}
	amqp_connection_state_t connection = start_consuming(atoi(argv[1]), argv[2], argv[3]);
	unsigned long jobs = strtoul(argv[4], NULL, 10);
	struct measure start = {0};

	for (unsigned long i = 1; i <= jobs; i++) {
		uint64_t tag = take_one(connection);
		if (i == 1)
			start = measure_now();
		if (i % ACK_EVERY == 0 || i == jobs)
			amqp_basic_ack(connection, CHANNEL, tag, 1);
	}
	measure_print(stdout, &start, jobs);

	check(amqp_connection_close(connection, AMQP_REPLY_SUCCESS), "connection.close");
	amqp_destroy_connection(connection);
	return 0;
}
