/* Reads the first word and hands the rest to its command.
 *
 * A signal that comes before somebody listens must wait for him: by default it would kill us, and as PID 1
 * it would be lost. So all are held back from the first lines on, until the command takes them over or, where
 * it does not mean to, begins. */
#include "commands/commands.h"

#include "executors/child/become.h"
#include "executors/plugin/plugin_isolated.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
    "usage: outfall COMMAND [OPTION...]\n"
    "\n"
    "A background job worker for RabbitMQ and Redis that never loses work when it stops.\n"
    "\n"
    "  run       take jobs and run them, until SIGTERM drains the worker\n"
    "  check     tell every problem of a configuration, with file and line\n"
    "  enqueue   put jobs into a queue and wait until they are safe there\n"
    "  ctl       look into a running worker, and steer it\n"
    "\n"
    "  outfall COMMAND --help tells more; outfall --version prints the version.\n";

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	bool takes_signals; /* it lets them in itself, once it listens */
} commands[] = {
    {"run",		  command_run,            true },
    {"check",		command_check,          false},
    {"enqueue",              command_enqueue,        false},
    {"ctl",		  command_ctl,            false},
    {PLUGIN_PROCESS_COMMAND, command_plugin_process, false}, /* not in the help: see there */
    {PLUGIN_PROCESS_TRY,     command_plugin_try,     false},
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* A socket or an epoll set that landed on 0, 1 or 2 would be taken for the log, or given to a child. */
static void fill_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		(void)close(fd);
}

static const char *why_not(const char *word)
{
	if (word[0] == '\0')
		return "a command is missing";
	return word[0] == '-' ? "no such option here: a command comes first, its options behind it"
			      : "no such command";
}

static sigset_t hold_signals(void)
{
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	return before;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";
	if (strcmp(word, BECOME_COMMAND) ==
	    0) /* before anything that the program behind it would inherit */
		return become_run(argc - 1, argv + 1);
	sigset_t before = hold_signals();
	fill_stdio();
	const struct command *command = find_command(word);
	if (command == NULL || !command->takes_signals)
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (command != NULL)
		return command->run(argc - 1, argv + 1);
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return command_print(help);
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
		return command_print("outfall " OUTFALL_VERSION "\n");
	command_complain("outfall: %s: %s", argc > 1 ? word : "command line", why_not(word));
	(void)fprintf(stderr, "\n%s", help);
	return EX_USAGE;
}
