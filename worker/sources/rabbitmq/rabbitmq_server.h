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
/* On a quorum queue the delivery limit counts basic.reject and not basic.nack; older ones count both. */
bool rabbitmq_server_counts_only_rejects(const char *server);
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
