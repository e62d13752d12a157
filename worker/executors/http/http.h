/* http - each job is POSTed to one URL: the executor for services that are there already.
 *
 * Body as it is, facts as headers (http_headers.h), outcome by status (http_answer.h);
 * config/handlers/README.md is the service author's side of it.
 *
 * Thread: the loop's.
 * Owns:   its connections, which outlive their jobs.
 * Units:  bytes, milliseconds.
 * Fails:  creation for lack of memory, descriptors, or libcurl. A server that is not there is found out
 *         when a job needs it, and is that job's outcome. */
#ifndef OUTFALL_EXECUTORS_HTTP_H
#define OUTFALL_EXECUTORS_HTTP_H

#include "executors/executor.h"

struct handler_settings;
struct log;
struct loop;
struct worker_settings;

/* Width is the handler's concurrency or the worker's, or what the descriptor limit allows. Settings and
 * log are borrowed until destroy. */
enum status http_executor_create(struct loop *loop, struct log *log,
				 const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct executor **ret_executor, struct error *why);

#endif
