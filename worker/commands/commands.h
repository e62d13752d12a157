/* commands - what the words behind `outfall` do. Each takes an argv of its own, whose first word is
 * its name, and returns the exit code: 0, the numbers of <sysexits.h>, or those of a drain.
 *
 * Thread: main's, before any other.
 * Owns:   everything it builds, until it returns.
 * Fails:  with an exit code and a message on stderr: "outfall: what: why". */
#ifndef OUTFALL_COMMANDS_COMMANDS_H
#define OUTFALL_COMMANDS_COMMANDS_H

struct settings;
struct log;

int command_run(int argc, char **argv);
int command_check(int argc, char **argv);
int command_enqueue(int argc, char **argv);

/* Takes jobs until told to stop; returns how that ended. */
int run_worker(const struct settings *settings, struct log *log);

/* What every command does alike. */
#define COMMANDS_CONFIG_FILE "/etc/outfall/outfall.conf"

/* "outfall: NAME: WHY, see outfall NAME --help"; returns EX_USAGE. */
int command_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Loads the file and prints every problem it has to stderr, as "file:line: error: text". Returns
 * EX_OK, with *ret_settings, or EX_CONFIG. */
int command_load(const char *path, struct settings **ret_settings);

#endif
