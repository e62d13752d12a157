/* plugin_process - a plugin in a process of its own, seen from within: what `isolate = true` runs as a
 * pool. Jobs come in on stdin, what they say and how they end goes out on stdout, as
 * config/handlers/README.md has it for any pool.
 *
 * Thread: main's, which becomes the loop's.
 * Owns:   the process; it is all that runs there.
 * Units:  as struct handler_settings has them.
 * Fails:  with an exit code of sysexits.h and a sentence on stderr, which is the worker's log. */
#ifndef OUTFALL_EXECUTORS_PLUGIN_PROCESS_H
#define OUTFALL_EXECUTORS_PLUGIN_PROCESS_H

struct handler_settings;
struct log;
struct worker_settings;

/* Serves until its stdin ends and its last job has. Takes stdin and stdout for itself: to the plugin,
 * stdin is empty and stdout is stderr. Returns the exit code. */
int plugin_process_serve(const struct handler_settings *settings,
			 const struct worker_settings *worker, struct log *log);

/* Only loads it; says on stdout why it cannot be. Nothing that the plugin prints gets there. */
int plugin_process_try(const char *path);

#endif
