/* The sources of loaded settings, as what their kinds make of them. */
#ifndef OUTFALL_TESTS_SOURCES_OF_H
#define OUTFALL_TESTS_SOURCES_OF_H

#include "sources/kind.h"
#include "sources/rabbitmq/rabbitmq.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "sources/redis/redis_list.h"
#include "sources/redis/redis_settings.h"

/* The first of a kind; NULL: there is none. */
static inline const void *first_of(const struct settings *s, const struct source_kind *kind)
{
	for (size_t i = 0; i < s->n_sources; i++)
		if (s->sources[i]->broker.schema == &kind->schema)
			return s->sources[i];
	return NULL;
}

static inline const struct rabbitmq_settings *rabbitmq_of(const struct settings *s)
{
	return first_of(s, &rabbitmq_kind);
}

static inline const struct redis_settings *redis_of(const struct settings *s)
{
	return first_of(s, &redis_kind);
}

static inline const struct queue_settings *queue_of(const struct settings *s, size_t i)
{
	return list_entry(rabbitmq_of(s)->queues[i], const struct queue_settings, source);
}

static inline const struct list_settings *list_of(const struct settings *s, size_t i)
{
	return list_entry(redis_of(s)->queues[i], const struct list_settings, source);
}

#endif
