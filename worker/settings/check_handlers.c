/* Handlers are where a configuration meets the machine: programs, shared objects, users. What is not
 * there is found here, not when the first job comes. */
#include "settings/identity.h"
#include "settings/problems.h"
#include "settings/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_program(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool is_in_path(const char *name)
{
	const char *path = getenv("PATH");
	char buf[4096];
	for (const char *p = path != NULL ? path : "/usr/local/bin:/usr/bin:/bin"; *p != '\0';) {
		size_t len = strcspn(p, ":");
		int n = snprintf(buf, sizeof buf, "%.*s/%s", (int)len, len > 0 ? p : ".", name);
		if (n > 0 && (size_t)n < sizeof buf && is_program(buf))
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

/* As the child will find it: behind its chdir. False: too long to be anything. */
static bool path_from(const char *directory, const char *path, char *buf, size_t size)
{
	bool moves = directory != NULL && path[0] != '/';
	int n = snprintf(buf, size, "%s%s%s", moves ? directory : "", moves ? "/" : "", path);
	return n >= 0 && (size_t)n < size;
}

static void check_program(const struct rules *rules, const struct handler_settings *handler,
			  struct place place)
{
	const char *program = handler->command[0];
	char path[4096];
	struct stat st;
	if (!path_from(handler->directory, program, path, sizeof path))
		return; /* nothing is found there, and the first job says so */
	if (program[0] == '\0')
		problems_error(rules->problems, place,
			       "handler \"%s\": the first word of command is empty: name a program",
			       handler->name);
	else if (strchr(program, '/') == NULL && !is_in_path(program))
		problems_error(rules->problems, place,
			       "handler \"%s\": %s is in no folder of PATH: give its whole path",
			       handler->name, program);
	else if (strchr(program, '/') != NULL && stat(path, &st) != 0)
		problems_error(rules->problems, place, "handler \"%s\": %s: %s", handler->name,
			       path, strerror(errno));
	else if (strchr(program, '/') != NULL && !is_program(path))
		problems_error(rules->problems, place,
			       "handler \"%s\": %s is no file that may be executed: chmod +x?",
			       handler->name, path);
}

/* A name without a slash is looked up by dlopen(), whose rules are not ours to repeat. */
static void check_plugin(const struct rules *rules, const struct handler_settings *handler,
			 struct place place)
{
	if (strchr(handler->path, '/') != NULL && access(handler->path, R_OK) != 0)
		problems_error(rules->problems, place, "handler \"%s\": %s: %s", handler->name,
			       handler->path, strerror(errno));
}

/* A key that a plugin has only for its processes, of which this one has none. */
static bool wants_isolation(const struct handler_settings *handler, const struct key_row *row)
{
	return handler->type == HANDLER_PLUGIN && handler->isolate == ISOLATE_NOT &&
	       (row->types & (1u << HANDLER_POOL)) != 0;
}

/* A key of another type's: it would be read by nobody. */
static void warn_pointless(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	for (size_t i = 0; i < table_n_keys; i++) {
		const struct key_row *row = &table_keys[i];
		const struct said *said = &block->said[i];
		if (row->section != SECTION_HANDLER || said->n == 0 || row->types == 0)
			continue;
		if ((row->types & (1u << handler->type)) == 0)
			problems_warn(rules->problems, said->place,
				      "handler \"%s\": %s has no effect with type \"%s\"",
				      block->title, row->name, block_said(block, "type")->texts[0]);
		else if (wants_isolation(handler, row))
			problems_warn(rules->problems, said->place,
				      "handler \"%s\": %s has no effect without isolate = \"true\"",
				      block->title, row->name);
	}
}

static void check_directory(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	struct stat st;
	if (handler->directory == NULL)
		return;
	if (stat(handler->directory, &st) != 0)
		problems_error(rules->problems, block_place(block, "directory"),
			       "handler \"%s\": directory %s: %s", handler->name,
			       handler->directory, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		problems_error(rules->problems, block_place(block, "directory"),
			       "handler \"%s\": %s is no directory", handler->name,
			       handler->directory);
}

static void check_identity(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	const char *key = handler->user != NULL ? "user" : "group";
	struct identity identity = {0};
	struct error why;
	if (handler->user != NULL && handler->group != NULL &&
	    identity_find(handler->user, NULL, &identity, &why) == ST_OK)
		key = "group"; /* then it is this one that is wrong, if anything is */
	identity_fini(&identity);
	identity = (struct identity){0};
	if (identity_find(handler->user, handler->group, &identity, &why) != ST_OK)
		problems_error(rules->problems, block_place(block, key), "handler \"%s\": %s: %s",
			       handler->name, key, why.text);
	identity_fini(&identity);
}

/* "NAME", "PREFIX_*" or "NAME=value". */
static void check_variable(const struct rules *rules, const struct block *block, const char *wanted)
{
	size_t len = strcspn(wanted, "=*");
	bool is_value = wanted[len] == '=' && len > 0;
	bool is_prefix = wanted[len] == '*' && wanted[len + 1] == '\0';
	if (is_value || is_prefix || (len > 0 && wanted[len] == '\0'))
		return;
	problems_error(rules->problems, block_place(block, "environment"),
		       "handler \"%s\": environment cannot have \"%.*s\": write \"NAME\", "
		       "\"PREFIX_*\" or \"NAME=value\"",
		       block->title, (int)strcspn(wanted, "="), wanted);
}

static void check_processes(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	check_directory(rules, block);
	check_identity(rules, block);
	for (const char **wanted = handler->environment; wanted != NULL && *wanted != NULL;
	     wanted++)
		check_variable(rules, block, *wanted);
}

static void check_command(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	const struct said *command = block_said(block, "command");
	if (command->n == 0)
		problems_error(
		    rules->problems, block->place,
		    "handler \"%s\" has no command: command = {\"program\", \"argument\"}",
		    block->title);
	else if (!command->unset)
		check_program(rules, handler, command->place);
	check_processes(rules, block);
}

static void check_plugin_handler(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	if (block_said(block, "path")->n == 0)
		problems_error(rules->problems, block->place,
			       "handler \"%s\" has no path: path = \"/path/to/plugin.so\"",
			       block->title);
	else if (handler->path != NULL)
		check_plugin(rules, handler, block_place(block, "path"));
	if (handler->isolate == ISOLATE_PROCESS)
		check_processes(rules, block);
}

void check_handler(const struct rules *rules, const struct block *block)
{
	static void (*const checks[HANDLER_TYPES])(const struct rules *, const struct block *) = {
	    [HANDLER_EXEC] = check_command,
	    [HANDLER_POOL] = check_command,
	    [HANDLER_PLUGIN] = check_plugin_handler,
	};
	const struct handler_settings *handler = block->fields;
	const struct said *type = block_said(block, "type");
	warn_unused(rules, block);
	if (type->n == 0) {
		problems_error(rules->problems, block->place,
			       "handler \"%s\" has no type: type = \"exec\", \"pool\", "
			       "\"plugin\" or \"http\"",
			       block->title);
		return;
	}
	if (strcmp(type->texts[0], handler_type_name(handler->type)) != 0)
		return; /* a word that was reported where it stands */
	if (checks[handler->type] != NULL)
		checks[handler->type](rules, block);
	warn_pointless(rules, block);
}
