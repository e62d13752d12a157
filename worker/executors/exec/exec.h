/* exec - a process for each job: the executor for programs in any language.
 *
 * Body on stdin, facts in the environment, outcome by exit status; output goes to the log.
 * config/handlers/README.md is the handler author's side of it.
 *
 * Thread: the loop's.
 * Owns:   its children's pipes and process groups while their jobs run.
 * Units:  bytes, milliseconds.
 * Fails:  creation for lack of memory or descriptors. A program that is not there is found out when
 *         a job needs it, and is that job's outcome: it may be there by then. */
#ifndef OUTFALL_EXECUTORS_EXEC_H
#define OUTFALL_EXECUTORS_EXEC_H

#include "executors/executor.h"

struct children;
struct handler_settings;
struct log;
struct loop;
struct worker_settings;

/* Width is the worker's concurrency, or what the descriptor limit allows. Settings, log and
 * children are borrowed until destroy. */
enum status exec_executor_create(struct loop *loop, struct log *log, struct children *children,
				 const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct executor **ret_executor, struct error *why);

#endif
