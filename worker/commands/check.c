#include "commands/commands.h"

#include "executors/plugin/plugin_library.h"
#include "settings/identity.h"
#include "settings/settings.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
    "usage: outfall check [-c FILE] [--as USER]\n"
    "\n"
    "Reads a configuration and all that it includes, loads its plugins, connects to nothing,\n"
    "and tells every problem with its file and line on stderr.\n"
    "\n"
    "  -c, --config FILE   default: " COMMANDS_CONFIG_FILE "\n"
    "      --as USER       as the user that will run it, whose files and rights count; for root\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 it can be run here (there may be warnings), 64 usage, 78 it has errors.\n"
    "Only run can find out what others have: an address that is taken, a broker that refuses.\n";

static size_t count_queues(const struct settings *settings)
{
	size_t n = 0;
	for (size_t i = 0; i < settings->n_sources; i++)
		n += settings->sources[i]->n_queues;
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
		command_complain("%s:%u: error: handler \"%s\": %s", h->place.file, h->place.line,
				 h->name, why.text);
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
		command_complain(
		    "outfall: configuration: %s: ok (brokers: %zu, queues: %zu, handlers: %zu)",
		    path, settings->n_sources, count_queues(settings), settings->n_handlers);
	settings_destroy(settings);
	return code;
}

/* For good: nothing here needs to be root again. */
static enum status become(const char *user, struct error *why)
{
	struct identity as = {0};
	enum status st = identity_find(user, NULL, &as, why);
	if (st == ST_OK && as.changes &&
	    (setgroups(as.n_groups, as.groups) != 0 || setgid(as.gid) != 0 || setuid(as.uid) != 0))
		st = error_system(why, errno, "%s", user);
	identity_fini(&as);
	return st;
}

int command_check(int argc, char **argv)
{
	enum { AS = 256 };
	static const struct option options[] = {
	    {"config",           required_argument, NULL, 'c'},
	    {"as",              required_argument, NULL, AS},
	    {"help",                  no_argument, NULL, 'h'},
	    {0},
	};
	const char *path = COMMANDS_CONFIG_FILE, *user = NULL;
	struct error why;
	int c;
	while ((c = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
		if (c == 'c')
			path = optarg;
		else if (c == AS)
			user = optarg;
		else if (c == 'h')
			return command_print(help);
		else
			return command_usage(argv[0],
					     c == ':' ? "%s needs a value" : "unknown option %s",
					     argv[optind - 1]);
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument, but got %s", argv[optind]);
	if (user != NULL && become(user, &why) != ST_OK)
		return command_usage(argv[0], "--as: %s", why.text);
	return check(path);
}
