/* pool - long-lived processes that take one job after the other, or several at once: the executor for
 * programs whose start costs more than their jobs.
 *
 * They speak JSON lines over stdin and stdout (child_told.h, child_says.h); config/handlers/README.md
 * is the handler author's side of it.
 *
 * Thread: the loop's.
 * Owns:   its processes, from creation to destruction.
 * Units:  bytes, milliseconds.
 * Fails:  creation for lack of memory. A program that is not there, or does not get ready, is tried
 *         again and again with backoff, and its jobs wait meanwhile: width is 0. */
#ifndef OUTFALL_EXECUTORS_POOL_H
#define OUTFALL_EXECUTORS_POOL_H

#include "executors/executor.h"

struct children;
struct handler_settings;
struct log;
struct loop;
struct worker_settings;

/* Starts the processes. Any handler settings will do that have a command and the pool's fields filled
 * in, whatever their type: who runs something else as a pool makes them up. They are copied; what they
 * point at, log and children are borrowed until destroy. */
enum status pool_executor_create(struct loop *loop, struct log *log, struct children *children,
				 const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct executor **ret_executor, struct error *why);

#endif
