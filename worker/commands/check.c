#include "commands/commands.h"

#include "executors/plugin/plugin_library.h"
#include "settings/settings.h"

#include <stdio.h>
#include <sysexits.h>

static const char help[] =
    "usage: outfall check [-c FILE]\n"
    "\n"
    "Reads a configuration and all that it includes, loads its plugins, connects to nothing,\n"
    "and tells every problem with its file and line on stderr.\n"
    "\n"
    "  -c, --config FILE   default: " COMMANDS_CONFIG_FILE "\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 it can be run (there may be warnings), 64 usage, 78 it has errors.\n";

static size_t count_queues(const struct settings *settings)
{
	size_t n = 0;
	for (size_t i = 0; i < settings->n_rabbitmqs; i++)
		n += settings->rabbitmqs[i].n_queues;
	for (size_t i = 0; i < settings->n_redises; i++)
		n += settings->redises[i].n_lists;
	return n;
}

/* What is run apart from the worker may do what it likes when it is loaded, and is not loaded here. */
static size_t count_bad_plugins(const struct settings *settings)
{
	size_t bad = 0;
	for (size_t i = 0; i < settings->n_handlers; i++) {
		const struct handler_settings *h = &settings->handlers[i];
		struct plugin_library library;
		struct error why;
		if (h->type != HANDLER_PLUGIN || h->isolate == ISOLATE_PROCESS)
			continue;
		if (plugin_library_open(&library, h->path, &why) == ST_OK) {
			plugin_library_close(&library);
			continue;
		}
		bad++;
		(void)fprintf(stderr, "%s:%u: error: handler \"%s\": %s\n", h->place.file,
			      h->place.line, h->name, why.text);
	}
	return bad;
}

static int check(const char *path)
{
	struct settings *settings = NULL;
	int code = command_load(path, &settings);
	if (code == EX_OK && count_bad_plugins(settings) > 0)
		code = EX_CONFIG;
	if (code == EX_OK)
		(void)fprintf(stderr,
			      "outfall: configuration: %s: ok (brokers: %zu, queues: %zu, "
			      "handlers: %zu)\n",
			      path, settings->n_rabbitmqs + settings->n_redises,
			      count_queues(settings), settings->n_handlers);
	settings_destroy(settings);
	return code;
}

int command_check(int argc, char **argv)
{
	const char *path;
	int code = command_take_config(argc, argv, help, &path);
	return code == COMMAND_GO_ON ? check(path) : code;
}
