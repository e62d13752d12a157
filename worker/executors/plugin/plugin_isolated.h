/* plugin_isolated - a plugin in processes of its own, seen from the worker: a pool of our own program,
 * which plugin_process.h serves. A crash costs the jobs begun in that process, and no others.
 *
 * Thread: the loop's.
 * Owns:   the command line that the pool starts its processes with, from open() to close(), which comes
 *         after the executor's destroy().
 * Units:  milliseconds, bytes.
 * Fails:  as pool_executor_create(); and with ST_INVALID where no process could ever load the plugin:
 *         that is tried once, before the first one is started. */
#ifndef OUTFALL_EXECUTORS_PLUGIN_ISOLATED_H
#define OUTFALL_EXECUTORS_PLUGIN_ISOLATED_H

#include "executors/executor.h"

struct children;
struct handler_settings;
struct loop;
struct worker_settings;

/* What comes behind our program's name, in this order; both sides count on it. */
enum plugin_process_word {
	PLUGIN_PROCESS_NAME, /* of the handler */
	PLUGIN_PROCESS_PATH,
	PLUGIN_PROCESS_THREADS,
	PLUGIN_PROCESS_TIMEOUT_MS,
	PLUGIN_PROCESS_MAX_CHECKPOINT,
	PLUGIN_PROCESS_LOG_LEVEL,
	PLUGIN_PROCESS_WORDS,
};
#define PLUGIN_PROCESS_COMMAND "plugin-process"
#define PLUGIN_PROCESS_TRY     "plugin-try" /* behind it the path alone; says on stdout why not */

struct plugin_isolated;

enum status plugin_isolated_open(struct loop *loop, struct log *log, enum log_level level,
				 struct children *children, const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct plugin_isolated **ret_isolated,
				 struct executor **ret_executor, struct error *why);
void plugin_isolated_close(struct plugin_isolated *isolated); /* NULL is fine */

#endif
