/* rabbitmq_producer - see producer.h. */
#ifndef OUTFALL_SOURCES_RABBITMQ_PRODUCER_H
#define OUTFALL_SOURCES_RABBITMQ_PRODUCER_H

#include "sources/producer.h"

struct queue_settings;
struct log;
struct loop;
struct rabbitmq_settings;

/* NULL: no memory. */
struct producer *rabbitmq_producer_open(struct loop *loop, struct log *log,
					const struct rabbitmq_settings *settings,
					const struct queue_settings *queue,
					const struct producer_events *events, void *arg);

#endif
