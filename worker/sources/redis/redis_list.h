/* redis_list - jobs from Redis lists: producers LPUSH any bytes, workers claim them under a lease.
 *
 * Thread: the loop's.
 * Owns:   its connections. Settings are borrowed and must outlive it.
 * Fails:  creation with ST_NOMEM or ST_INVALID (the URL). */
#ifndef OUTFALL_SOURCES_REDIS_LIST_H
#define OUTFALL_SOURCES_REDIS_LIST_H

#include "base/error.h"

struct list_settings;
struct log;
struct loop;
struct redis_settings;
struct route;
struct source;
struct source_host;
struct source_kind;
struct worker_settings;

extern const struct source_kind redis_kind; /* kind.c */

enum status redis_list_source_create(struct loop *loop, struct log *log,
				     const struct redis_settings *settings,
				     const struct worker_settings *worker, struct source_host *host,
				     struct source **ret_source, struct error *why);

/* Each list of its settings before start(), and one list more at any time until it is closed; `list` must outlive the
 * route. ST_NOMEM, or ST_REFUSED for another than the first in a cluster. */
enum status redis_list_source_add(struct source *source, const struct list_settings *list,
				  struct route *route, struct error *why);

#endif
