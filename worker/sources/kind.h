/* kind - a kind of source: all that the rest of the worker knows of a broker. Its folder ends in one constant record,
 * which kinds.c lists.
 *
 * Thread: the loop's, but for the schema (source_schema.h).
 * Owns:   nothing; records are constant. Settings are borrowed and outlive what is made of them.
 * Fails:  create() with ST_NOMEM or ST_INVALID. add() with ST_NOMEM, or ST_REFUSED and a sentence that says why the
 *         queue takes a new worker; nothing has changed then. open_producer() with NULL: no memory. */
#ifndef OUTFALL_SOURCES_KIND_H
#define OUTFALL_SOURCES_KIND_H

#include "base/error.h"
#include "base/list.h"
#include "settings/source_schema.h"

struct log;
struct loop;
struct producer;
struct producer_events;
struct route;
struct source;
struct source_host;
struct source_settings;
struct worker_settings;

struct source_parts { /* what a source is made of, beside its settings */
	struct loop *loop;
	struct log *log;
	const struct worker_settings *worker;
	struct source_host *host;
};

enum {
	KIND_NO_HEADERS = 1 << 0, /* its messages have none: a producer cannot give them any */
};

struct source_kind {
	struct source_schema schema; /* its name is schema.section.name */
	enum status (*create)(const struct source_parts *parts,
			      const struct source_settings *settings, struct source **ret_source,
			      struct error *why);
	/* Before start(), each queue of its settings. Later, until it is closed, one more: that one need not be
	 * there yet, and is awaited. `queue` outlives the route. */
	enum status (*add)(struct source *source, const struct source_queue_settings *queue,
			   struct route *route, struct error *why);
	struct producer *(*open_producer)(struct loop *loop, struct log *log,
					  const struct source_settings *settings,
					  const struct source_queue_settings *queue,
					  const struct producer_events *events, void *arg);
	unsigned cannot; /* KIND_* */
};

/* All that there are; NULL ends the list. What settings_load() is given. */
extern const struct source_schema *const source_kinds[];

static inline const struct source_kind *source_kind_of(const struct source_schema *schema)
{
	return list_entry(schema, const struct source_kind, schema);
}

#endif
