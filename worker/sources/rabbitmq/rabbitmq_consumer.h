/* rabbitmq_consumer - the consumer on a channel: how it is asked for and cancelled, whether it is still
 * there, and how many others there are. When to do so is the channel's to say.
 *
 * Thread: the loop's.
 * Owns:   its tag and its timer. The connection is borrowed for the length of a call; by started()
 *         until ended().
 * Units:  milliseconds.
 * Fails:  creation with NULL. */
#ifndef OUTFALL_SOURCES_RABBITMQ_CONSUMER_H
#define OUTFALL_SOURCES_RABBITMQ_CONSUMER_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct amqp_conn;
struct census;
struct error;
struct log;
struct loop;
struct queue_settings;
struct rabbitmq_consumer;
struct route;

struct rabbitmq_consumer_place { /* borrowed, all of it */
	struct loop *loop;
	struct log *log;
	const char *source, *worker; /* names */
	const struct queue_settings *queue;
	uint16_t channel;
	uint64_t check_ms; /* between two looks whether it is still there; 0: none */
};

struct rabbitmq_consumer *rabbitmq_consumer_create(const struct rabbitmq_consumer_place *place);
void rabbitmq_consumer_destroy(struct rabbitmq_consumer *c);

void rabbitmq_consumer_begin(struct rabbitmq_consumer *c); /* on a channel opened anew */
/* basic.consume, with the queue's priority (0, too: see met_stream()), and its consumer_timeout where the broker knows that. */
void rabbitmq_consumer_subscribe(struct rabbitmq_consumer *c, struct amqp_conn *conn);
/* The channel was closed for basic.consume. True: for the timeout, and the next one goes without. */
bool rabbitmq_consumer_timeout_refused(struct rabbitmq_consumer *c, const struct error *why);
/* It was, because the queue is a stream. */
bool rabbitmq_consumer_met_stream(const struct error *why);
void rabbitmq_consumer_connection_lost(struct rabbitmq_consumer *c);
void rabbitmq_consumer_cancel(struct rabbitmq_consumer *c, struct amqp_conn *conn);
/* Between started() and ended(): another one by another tag, and then basic.cancel for the one that was
 * there. Ends in cancel-ok; until then both deliver. */
void rabbitmq_consumer_renew(struct rabbitmq_consumer *c, struct amqp_conn *conn);
bool rabbitmq_consumer_has_tag(const struct rabbitmq_consumer *c, struct span tag);

void rabbitmq_consumer_started(struct rabbitmq_consumer *c, struct amqp_conn *conn);
void rabbitmq_consumer_ended(struct rabbitmq_consumer *c);

/* While consuming or not, on an open channel: asks how many others consume from the queue, for a census. */
void rabbitmq_consumer_count(struct rabbitmq_consumer *c, struct amqp_conn *conn,
			     struct census *census, unsigned round, const struct route *route);

bool rabbitmq_consumer_is_looking(const struct rabbitmq_consumer *c); /* for a declare-ok */
/* It has come. False: between started() and ended() the queue has no consumer. */
bool rabbitmq_consumer_looked(struct rabbitmq_consumer *c, uint32_t consumers);

#endif
