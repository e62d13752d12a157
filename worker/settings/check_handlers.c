/* Handlers are where a configuration meets the machine: programs, shared objects, users. What is not
 * there is found here, not when the first job comes. */
#include "settings/identity.h"
#include "settings/problems.h"
#include "settings/rules.h"
#include "wire/url.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>
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
			  const struct said *said)
{
	const char *program = handler->command[0];
	struct place place = said->place;
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
			       handler->name, said_path(said, program, "its program"));
	else if (strchr(program, '/') != NULL && stat(path, &st) != 0)
		problems_error(rules->problems, place, "handler \"%s\": %s: %s", handler->name,
			       said_path(said, path, "its program"), strerror(errno));
	else if (strchr(program, '/') != NULL && !is_program(path))
		problems_error(rules->problems, place,
			       "handler \"%s\": %s is no file that may be executed: chmod +x?",
			       handler->name, said_path(said, path, "its program"));
}

/* A name without a slash is looked up by dlopen(), whose rules are not ours to repeat. */
static void check_plugin(const struct rules *rules, const struct handler_settings *handler,
			 const struct said *said)
{
	if (strchr(handler->path, '/') != NULL && access(handler->path, R_OK) != 0)
		problems_error(rules->problems, said->place, "handler \"%s\": %s: %s",
			       handler->name, said_path(said, handler->path, "its shared object"),
			       strerror(errno));
	else if (said->expanded && strstr(handler->path, ".so") == NULL)
		problems_error(rules->problems, said->place,
			       "handler \"%s\": path is the name of no shared object, like x.so",
			       handler->name);
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
	for (size_t i = 0; i < section_n_keys(block->section); i++) {
		const struct key_row *row = section_key(block->section, i);
		const struct said *said = &block->said[i];
		if (said->n == 0 || row->types == 0)
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
	const struct said *said = block_said(block, "directory");
	struct stat st;
	if (handler->directory == NULL)
		return;
	if (stat(handler->directory, &st) != 0)
		problems_error(rules->problems, said->place, "handler \"%s\": directory %s: %s",
			       handler->name, said_path(said, handler->directory, "as it is given"),
			       strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		problems_error(rules->problems, said->place, "handler \"%s\": %s is no directory",
			       handler->name, said_path(said, handler->directory, "what is given"));
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
			       handler->name, key,
			       said_path(block_said(block, key), why.text, "it cannot be taken"));
	identity_fini(&identity);
}

/* "NAME", "PREFIX_*" or "NAME=value". */
static void check_variable(const struct rules *rules, const struct block *block, const char *wanted,
			   size_t number)
{
	size_t len = strcspn(wanted, "=*");
	bool is_value = wanted[len] == '=' && len > 0;
	bool is_prefix = wanted[len] == '*' && wanted[len + 1] == '\0';
	if (is_value || is_prefix || (len > 0 && wanted[len] == '\0'))
		return;
	problems_error(rules->problems, block_place(block, "environment"),
		       "handler \"%s\": environment: value %zu is none of \"NAME\", "
		       "\"PREFIX_*\" and \"NAME=value\"",
		       block->title, number);
}

static void check_processes(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	check_directory(rules, block);
	check_identity(rules, block);
	const char **wanted = handler->environment;
	for (size_t i = 0; wanted != NULL && wanted[i] != NULL; i++)
		check_variable(rules, block, wanted[i], i + 1);
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
		check_program(rules, handler, command);
	check_processes(rules, block);
}

/* Processes that stay: what the keys mean for one job is not what they mean for a life. */
static void check_lasting(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	unsigned concurrency = rules->settings->worker.concurrency;
	if (handler->processes > concurrency)
		problems_warn(rules->problems, block_place(block, "processes"),
			      "handler \"%s\": %u processes, but the worker runs %u jobs at once: "
			      "the others will be idle",
			      handler->name, handler->processes, concurrency);
	if (handler->limits.cpu_ms != 0)
		problems_warn(rules->problems, block_place(block, "limit_cpu"),
			      "handler \"%s\": limit_cpu counts a process's whole life, and ends "
			      "it under its jobs: max_jobs replaces it in time",
			      handler->name);
	if (handler->limits.memory_bytes != 0 && handler->max_memory_bytes != 0 &&
	    handler->max_memory_bytes >= handler->limits.memory_bytes)
		problems_warn(rules->problems, block_place(block, "max_memory"),
			      "handler \"%s\": limit_memory is reached before max_memory",
			      handler->name);
}

static void check_pool(const struct rules *rules, const struct block *block)
{
	check_command(rules, block);
	check_lasting(rules, block);
}

static void check_plugin_handler(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	if (block_said(block, "path")->n == 0)
		problems_error(rules->problems, block->place,
			       "handler \"%s\" has no path: path = \"/path/to/plugin.so\"",
			       block->title);
	else if (handler->path != NULL)
		check_plugin(rules, handler, block_said(block, "path"));
	if (handler->isolate != ISOLATE_PROCESS)
		return;
	check_processes(rules, block);
	check_lasting(rules, block);
}

/* --- http --- */

static bool has_host(const char *url)
{
	const char *authority = strstr(url, "://") + 3;
	const char *end = authority + strcspn(authority, "/?");
	const char *at = memrchr(authority, '@', (size_t)(end - authority));
	const char *host = at != NULL ? at + 1 : authority;
	return host != end && *host != ':';
}

/* PATH, or PATH:/TARGET. */
static const char *socket_trouble(const char *text)
{
	size_t path = strcspn(text, ":");
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return "blanks and control characters must be percent-encoded";
	if (*text != '/')
		return "names no socket: unix:///run/app.sock:/jobs";
	if (path >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return "the path of a socket has at most 107 bytes";
	return text[path] == ':' && text[path + 1] != '/' ? "what follows the socket begins with /"
							  : NULL;
}

/* A sentence about it, or NULL. It may hold a password: nothing of it is quoted. */
static const char *url_trouble(const char *text, struct error *why)
{
	struct url url;
	if (strncmp(text, "unix://", 7) == 0)
		return socket_trouble(text + 7);
	if (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0)
		return "must begin with http://, https:// or unix://";
	if (url_parse(text, &url, why) != ST_OK)
		return strncmp(why->text, "url: ", 5) == 0 ? why->text + 5 : why->text;
	url_free(&url);
	return has_host(text) ? NULL : "names no host";
}

/* A line that ends early would be read as another header, or as the next request. */
static bool is_header(const char *line)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t name = strspn(line, token);
	if (name == 0 || line[name] != ':')
		return false;
	const char *value = line + name + 1 + strspn(line + name + 1, " \t");
	for (const char *c = value; *c != '\0'; c++)
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
			return false;
	return *value != '\0';
}

/* Said twice, or said wrong, they would make the request another one. */
static const char *header_of_ours(const char *line)
{
	static const char *const ours[] = {"Content-Length",  "Transfer-Encoding", "Connection",
					   "Idempotency-Key", "traceparent",       "Expect"};
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		size_t len = strlen(ours[i]);
		if (strncasecmp(line, ours[i], len) == 0 && line[len] == ':')
			return ours[i];
	}
	return strncasecmp(line, "Outfall-", 8) == 0 ? "Outfall-..." : NULL;
}

static void check_headers(const struct rules *rules, const struct block *block)
{
	const struct said *said = block_said(block, "headers");
	for (size_t i = 0; i < said->n && !said->unset; i++) {
		const char *ours = header_of_ours(said->texts[i]);
		if (!is_header(said->texts[i]))
			problems_error(rules->problems, said->place,
				       "handler \"%s\": header %zu is not of the form "
				       "\"Name: value\", on one line",
				       block->title, i + 1);
		else if (ours != NULL)
			problems_error(rules->problems, said->place,
				       "handler \"%s\": the header %s is the worker's own: "
				       "leave it out",
				       block->title, ours);
	}
}

static void check_ca_file(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	const struct said *said = block_said(block, "ca_file");
	struct place place = said->place;
	if (handler->ca_file == NULL)
		return;
	if (access(handler->ca_file, R_OK) != 0)
		problems_error(rules->problems, place, "handler \"%s\": %s: %s", block->title,
			       said_path(said, handler->ca_file, "ca_file"), strerror(errno));
	else if (handler->url != NULL && strncmp(handler->url, "https://", 8) != 0)
		problems_warn(rules->problems, place,
			      "handler \"%s\": ca_file has no effect without https://",
			      block->title);
}

static void check_http(const struct rules *rules, const struct block *block)
{
	const struct handler_settings *handler = block->fields;
	struct error why;
	const char *trouble = handler->url != NULL ? url_trouble(handler->url, &why) : NULL;
	if (block_said(block, "url")->n == 0)
		problems_error(rules->problems, block->place,
			       "handler \"%s\" has no url: url = \"http://127.0.0.1:8000/jobs\"",
			       block->title);
	else if (trouble != NULL)
		problems_error(rules->problems, block_place(block, "url"),
			       "handler \"%s\": url: %s", block->title, trouble);
	check_headers(rules, block);
	check_ca_file(rules, block);
}

void check_handler(const struct rules *rules, const struct block *block)
{
	static void (*const checks[HANDLER_TYPES])(const struct rules *, const struct block *) = {
	    [HANDLER_EXEC] = check_command,
	    [HANDLER_POOL] = check_pool,
	    [HANDLER_PLUGIN] = check_plugin_handler,
	    [HANDLER_HTTP] = check_http,
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
