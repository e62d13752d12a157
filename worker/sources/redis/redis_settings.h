/* redis_settings - what a `redis` section and its lists say, beside what every source has (settings.h). kind.c has the
 * keys.
 *
 * Units:  milliseconds. */
#ifndef OUTFALL_SOURCES_REDIS_SETTINGS_H
#define OUTFALL_SOURCES_REDIS_SETTINGS_H

#include "settings/settings.h"

struct list_settings {
	/* The name is the key that producers LPUSH to. prefetch 0: claims grow and shrink with what the jobs take.
	 * `dead` NULL: "{name}:dead". */
	SOURCE_QUEUE_SETTINGS_AS(source);
	uint64_t lease_ms; /* 15s */
};

struct redis_settings {
	SOURCE_SETTINGS_AS(source); /* one address */
	unsigned wait_replicas;     /* 0: none is waited for */
	uint64_t wait_timeout_ms;   /* 1s */
};

#endif
