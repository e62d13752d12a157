#include "commands/commands.h"

#include "settings/settings.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>

int command_take_config(int argc, char **argv, const char *help, const char **ret_path)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
            {"help",    no_argument, NULL, 'h'},
            {0       }
        };
	int c;
	*ret_path = COMMANDS_CONFIG_FILE;
	while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
		if (c == 'c')
			*ret_path = optarg;
		else if (c == 'h')
			return command_print(help);
		else
			return command_usage(argv[0],
					     c == ':' ? "%s needs a value" : "unknown option %s",
					     argv[optind - 1]);
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument, but got %s", argv[optind]);
	return COMMAND_GO_ON;
}

int command_print(const char *text)
{
	return fputs(text, stdout) == EOF || fflush(stdout) == EOF ? EX_IOERR : EX_OK;
}

int command_usage(const char *name, const char *fmt, ...)
{
	char why[200];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof why, fmt, ap); /* cut is fine: it is a sentence */
	va_end(ap);
	(void)fprintf(stderr, "outfall: %s: %s (outfall %s --help tells more)\n", name, why, name);
	return EX_USAGE;
}

/* The form that editors and compilers share, so that a click leads to the line. */
static void print_problem(const struct problem *problem)
{
	if (problem->place.line != 0)
		(void)fprintf(stderr, "%s:%u: ", problem->place.file, problem->place.line);
	else
		(void)fprintf(stderr, "%s: ", problem->place.file);
	(void)fprintf(stderr, "%s: %s\n", problem->warning ? "warning" : "error", problem->text);
}

int command_loaded(const char *path, enum status st, struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		print_problem(&problems->list[i]);
	if (st != ST_OK)
		(void)fprintf(stderr, "outfall: configuration: %s: %zu error%s\n", path,
			      problems->errors, problems->errors == 1 ? "" : "s");
	problems_free(problems);
	return st == ST_OK ? EX_OK : EX_CONFIG;
}

int command_load(const char *path, struct settings **ret_settings)
{
	struct problems problems;
	enum status st = settings_load(path, ret_settings, &problems);
	return command_loaded(path, st, &problems);
}
