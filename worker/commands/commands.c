#include "commands/commands.h"

#include "base/text.h"
#include "settings/settings.h"
#include "sources/kind.h"

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

void command_complain(const char *fmt, ...)
{
	char text[2048];
	struct text line = {0};
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap); /* cut is fine: it is for people */
	va_end(ap);
	text_put_tame(&line, span_text(text));
	text_put_literal(&line, "\n");
	(void)fwrite(line.bytes, 1, line.len, stderr); /* nobody to tell if that fails */
	text_fini(&line);
}

int command_usage(const char *name, const char *fmt, ...)
{
	char why[200];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof why, fmt, ap); /* cut is fine: it is a sentence */
	va_end(ap);
	command_complain("outfall: %s: %s (outfall %s --help tells more)", name, why, name);
	return EX_USAGE;
}

/* The form that editors and compilers share, so that a click leads to the line. */
static void print_problem(const struct problem *problem)
{
	const char *kind = problem->warning ? "warning" : "error";
	if (problem->place.line != 0)
		command_complain("%s:%u: %s: %s", problem->place.file, problem->place.line, kind,
				 problem->text);
	else
		command_complain("%s: %s: %s", problem->place.file, kind, problem->text);
}

int command_loaded(const char *path, enum status st, struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		print_problem(&problems->list[i]);
	if (st != ST_OK)
		command_complain("outfall: configuration: %s: %zu error%s", path, problems->errors,
				 problems->errors == 1 ? "" : "s");
	problems_free(problems);
	return st == ST_OK ? EX_OK : EX_CONFIG;
}

int command_load(const char *path, struct settings **ret_settings)
{
	struct problems problems;
	enum status st = settings_load(source_kinds, path, ret_settings, &problems);
	return command_loaded(path, st, &problems);
}
