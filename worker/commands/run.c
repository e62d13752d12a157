#include "commands/commands.h"

#include "base/log.h"
#include "base/must.h"
#include "settings/settings.h"
#include "settings/withheld.h"

#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
    "usage: outfall run [-c FILE]\n"
    "\n"
    "Takes jobs and runs them, in the foreground; logs to stderr.\n"
    "\n"
    "  -c, --config FILE   default: " COMMANDS_CONFIG_FILE "\n"
    "  -h, --help          this text\n"
    "\n"
    "Signals: TERM, INT   drain: take nothing new, give back what has not begun, let running\n"
    "                     jobs finish within drain.timeout; a second one ends them sooner\n"
    "         QUIT        return running jobs at once and exit\n"
    "         TSTP, CONT  stop taking jobs, take them again\n"
    "         HUP         read the configuration again; what takes a new worker is named\n"
    "         USR1        write what it does into the log\n"
    "\n"
    "Exit status:  0 drained, every job was done, retried, dead, or returned unbegun\n"
    "             10 drained at the deadline, some running jobs were interrupted and returned\n"
    "             11 some finished jobs could not be settled, duplicates are possible\n"
    "             12 stopped in a hurry on request (second signal, QUIT)\n"
    "             64 usage, 69 at the start the broker refused for good or an address of\n"
    "             admin is taken, 70 internal error, 78 configuration\n";

static int run(const char *path)
{
	struct settings *settings = NULL;
	int code = command_load(path, &settings);
	if (code != EX_OK)
		return code;
	struct log *log = log_create(STDERR_FILENO, settings->log.level, settings->log.format);
	must(log != NULL); /* nothing has been taken from any broker yet */
	log_set_worker(log, settings->worker.name);
	withheld_hide(settings->withheld);
	code = run_worker(settings, path, log);
	log_destroy(log);
	settings_destroy(settings);
	return code;
}

int command_run(int argc, char **argv)
{
	const char *path;
	int code = command_take_config(argc, argv, help, &path);
	return code == COMMAND_GO_ON ? run(path) : code;
}
