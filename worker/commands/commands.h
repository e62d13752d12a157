/* commands - what the words behind `outfall` do. Each takes an argv of its own, whose first word is
 * its name, and returns the exit code: 0, the numbers of <sysexits.h>, or those of a drain.
 *
 * Thread: main's, before any other.
 * Owns:   everything it builds, until it returns.
 * Fails:  with an exit code and a message on stderr: "outfall: what: why". */
#ifndef OUTFALL_COMMANDS_COMMANDS_H
#define OUTFALL_COMMANDS_COMMANDS_H

#include "base/error.h"

struct problems;
struct settings;
struct log;

int command_run(int argc, char **argv);
int command_check(int argc, char **argv);
int command_enqueue(int argc, char **argv);
int command_ctl(int argc, char **argv);
int command_plugin_process(int argc, char **argv); /* nobody's but the worker's, like the next */
int command_plugin_try(int argc, char **argv);

/* Takes jobs until told to stop; returns how that ended. */
/* `path` is where the settings came from, to be read again. */
int run_worker(struct settings *settings, const char *path, struct log *log);

/* --- what commands do alike --- */

#define COMMANDS_CONFIG_FILE "/etc/outfall/outfall.conf"

enum { COMMAND_GO_ON = -1 }; /* no exit code yet */

/* Reads the options of a command that takes [-c FILE] and nothing else. Returns an exit code, or
 * COMMAND_GO_ON with the file in *ret_path. */
int command_take_config(int argc, char **argv, const char *help, const char **ret_path);

/* A line on stderr. What strangers wrote may be in it: it is made harmless (base/letter.h). */
void command_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "outfall: NAME: WHY"; returns EX_USAGE. */
int command_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints what was asked for on stdout; returns EX_OK, or EX_IOERR: a script must learn that it got
 * nothing. */
int command_print(const char *text);

/* Loads the file and prints every problem it has to stderr, as "file:line: error: text". Returns
 * EX_OK, with *ret_settings, or EX_CONFIG. */
int command_load(const char *path, struct settings **ret_settings);

/* The same for what has just been loaded otherwise, with `st`. */
int command_loaded(const char *path, enum status st, struct problems *problems);

#endif
