/* rabbitmq_settings - what a `rabbitmq` section and its queues say, beside what every source has (settings.h). kind.c
 * has the keys.
 *
 * Units:  milliseconds. */
#ifndef OUTFALL_SOURCES_RABBITMQ_SETTINGS_H
#define OUTFALL_SOURCES_RABBITMQ_SETTINGS_H

#include "settings/settings.h"

/* How we say who we are: by user and password, or by the certificate alone (SASL EXTERNAL). */
enum rabbitmq_auth { RABBITMQ_AUTH_PLAIN, RABBITMQ_AUTH_EXTERNAL };

enum declare { DECLARE_PASSIVE, DECLARE_DURABLE, DECLARE_QUORUM };

/* Whether the queue has x-single-active-consumer. */
enum single_active { SINGLE_ACTIVE_AUTO, SINGLE_ACTIVE_NOT, SINGLE_ACTIVE_YES };

/* What becomes of a worker that starts and does not find the queue. One that is lost later is awaited
 * in any case. */
enum missing { MISSING_FAIL, MISSING_WAIT };
enum dlx { DLX_NOT_KNOWN, DLX_OWN }; /* a queue's dead letter exchange, by argument or policy */

struct queue_settings {
	/* prefetch 0: chosen from the handler's width (rabbitmq_prefetch.h). `dead` NULL: basic.reject for the
	 * queue's own dead letter exchange, if it has one. */
	SOURCE_QUEUE_SETTINGS_AS(source);
	int priority;                 /* x-priority of the consumer */
	uint64_t consumer_timeout_ms; /* x-consumer-timeout; 0 = the broker's own */
	unsigned delivery_limit; /* of a quorum queue, as the operator knows it; 0 = not known */
	enum declare declare;
	enum single_active single_active;
	enum missing missing;
	enum dlx dlx;
};

struct rabbitmq_settings {
	SOURCE_SETTINGS_AS(source);
	enum rabbitmq_auth auth;
	uint64_t heartbeat_ms;      /* 10s; 0 = none */
	uint64_t consumer_check_ms; /* 30s; 0 = none */
};

#endif
