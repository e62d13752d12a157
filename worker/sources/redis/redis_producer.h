/* redis_producer - see producer.h. */
#ifndef OUTFALL_SOURCES_REDIS_PRODUCER_H
#define OUTFALL_SOURCES_REDIS_PRODUCER_H

#include "sources/producer.h"

struct list_settings;
struct log;
struct loop;
struct redis_settings;

/* NULL: no memory. */
struct producer *redis_producer_open(struct loop *loop, struct log *log,
				     const struct redis_settings *settings,
				     const struct list_settings *list,
				     const struct producer_events *events, void *arg);

#endif
