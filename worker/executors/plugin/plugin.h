/* plugin - handlers in a shared object, run by a pool of threads: the executor for speed.
 *
 * plugin/outfall.h is the handler author's side of it.
 *
 * Thread: the loop's. The pool's threads are the plugin's own and never meet the core.
 * Owns:   the threads, the stage in front of them and the results behind them.
 * Units:  monotonic nanoseconds, milliseconds for the author's side.
 * Fails:  creation: no such object, no such symbol, another ABI, a hook of the plugin's that failed
 *         (ST_INVALID); no memory, no thread.
 *
 * A plugin shares our address space: one that crashes takes the worker with it, and the broker
 * redelivers what was in flight. */
#ifndef OUTFALL_EXECUTORS_PLUGIN_H
#define OUTFALL_EXECUTORS_PLUGIN_H

#include "executors/executor.h"

struct handler_settings;
struct log;
struct loop;
struct worker_settings;

/* Width is the number of threads, or what an asynchronous plugin says. Settings and log are borrowed
 * until the process ends: a thread that never comes back may use them that long. The plugin's init()
 * is called before this returns, its exit() by destroy(). */
enum status plugin_executor_create(struct loop *loop, struct log *log,
				   const struct handler_settings *settings,
				   const struct worker_settings *worker, struct executor_host *host,
				   struct executor **ret_executor, struct error *why);

#endif
