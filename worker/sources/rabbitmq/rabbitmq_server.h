/* rabbitmq_server - what the broker at the other end can do, as its name and version tell. Pure.
 *
 * `server` is what it said of itself at the login (amqp_conn_server()): "RabbitMQ 3.10.8".
 *
 * Thread: any.
 * Fails:  never. What is not RabbitMQ, or tells no version, has none of its abilities. */
#ifndef OUTFALL_SOURCES_RABBITMQ_SERVER_H
#define OUTFALL_SOURCES_RABBITMQ_SERVER_H

#include <stdbool.h>

/* tx.select is a matter of course. Elsewhere it may be an error that costs the connection. */
bool rabbitmq_server_speaks_tx(const char *server);

/* What a quorum queue counts of a message, in x-delivery-count, and drops it for (or sends it to its dead letter
 * exchange) when it comes to more than the delivery limit. Found in rabbit_fifo of 3.10.8, 4.0.5, 4.2.9 and 4.3.5,
 * and tried with 3.10.8, 4.0.5 and 4.3.6. */
struct rabbitmq_delivery_rules {
	unsigned major, minor; /* since */
	unsigned limit; /* where neither an argument nor a policy says one; 0: there is none */
	/* Also what comes back by basic.nack; else only basic.reject with requeue, and what a consumer had when
	 * it went down: by channel.close, or with its connection. */
	bool counts_nacks;
};
/* NULL: it has no quorum queues. */
const struct rabbitmq_delivery_rules *rabbitmq_server_delivery_rules(const char *server);

/* connection.update-secret. */
bool rabbitmq_server_updates_secrets(const char *server);
/* A queue may be a stream. */
bool rabbitmq_server_has_streams(const char *server);
/* x-consumer-timeout, an argument of basic.consume. */
bool rabbitmq_server_knows_consumer_timeout(const char *server);
/* rabbitmq_single_active.h holds. Older ones have such queues from 3.8 on. */
bool rabbitmq_server_tells_single_active(const char *server);
/* A quorum queue keeps what it dead-letters until the target has it (x-dead-letter-strategy), and takes
 * x-message-ttl. In a cluster that came from 3.9 the feature flag stream_queue must be on: without it the
 * broker takes the argument, and says in its own log that it falls back to at most once. */
bool rabbitmq_server_dead_letters_at_least_once(const char *server);

#endif
