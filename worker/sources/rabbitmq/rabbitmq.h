/* rabbitmq - jobs from RabbitMQ queues: one connection for each `rabbitmq` section, one channel for
 * each queue, a second connection for copies of jobs (retries, dead letters) when there are any, and a
 * third for messages that are too large to be jobs.
 *
 * Thread: the loop's.
 * Owns:   see source.h. Settings and host are borrowed and must outlive the source. The source must
 *         be destroyed before jobs are freed that it delivered (core_abandon_rest()).
 * Units:  see settings.h.
 * Fails:  rabbitmq_source_create() with ST_NOMEM, or ST_INVALID for more queues than a connection
 *         has channels. */
#ifndef OUTFALL_SOURCES_RABBITMQ_H
#define OUTFALL_SOURCES_RABBITMQ_H

#include "base/error.h"

struct log;
struct loop;
struct queue_settings;
struct rabbitmq_settings;
struct route;
struct source;
struct source_host;
struct source_kind;
struct worker_settings;

extern const struct source_kind rabbitmq_kind; /* kind.c */

enum status rabbitmq_source_create(struct loop *loop, struct log *log,
				   const struct rabbitmq_settings *settings,
				   const struct worker_settings *worker, struct source_host *host,
				   struct source **ret_source, struct error *why);

/* Each queue of its settings before start(), and one queue more at any time until it is closed; `queue` must outlive
 * the route. ST_NOMEM, or ST_REFUSED when the connection has no channel left. One that comes later need not be
 * there: it is awaited. */
enum status rabbitmq_source_add(struct source *source, const struct queue_settings *queue,
				struct route *route, struct error *why);

#endif
