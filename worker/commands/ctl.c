/* outfall ctl: asks a running worker over its admin socket. Tables for people, --json for scripts, and
 * exit codes for both.
 *
 * What a worker answers has texts of strangers in it: ids and notes of jobs, what brokers said. parse() is
 * the only way in, and makes them harmless for a terminal; so does command_complain() for what is
 * said in between.
 *
 * Waiting for a drain has two parts. The worker answers when the drain is closed, just before it
 * exits; whoever waits (a Kubernetes preStop hook) wants the process gone, so its process is watched
 * from before the question, and awaited after the answer. */
#include "commands/commands.h"

#include "admin/client.h"
#include "admin/default_socket.h"
#include "base/duration.h"
#include "base/memory.h"
#include "base/text.h"
#include "commands/ctl_tables.h"
#include "settings/settings.h"
#include "sources/kind.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: outfall ctl [-c FILE | -s SOCKET] COMMAND\n"
    "\n"
    "Looks into a running worker and steers it.\n"
    "\n"
    "  status              what it does: its drain, sources, queues, handlers\n"
    "  jobs                what runs, and for how long\n"
    "  top                 both, again and again; for a terminal\n"
    "  quiet               take nothing more, give back what has not begun, stay\n"
    "  resume              take jobs again\n"
    "  drain               stop as with SIGTERM; a second time does not hurry\n"
    "    --wait            ... and return when the process has ended\n"
    "    --timeout 60s     ... or after so long\n"
    "    --dry-run         only tell how long it would take, and who would not make it\n"
    "    --force           quiet and drain: also where nobody else would be left to take\n"
    "                      jobs and admin.last_consumer is \"refuse\"\n"
    "  extend TIME         give running jobs more time, while draining: 5m\n"
    "  reload              read the configuration again\n"
    "\n"
    "  -s, --socket PATH   the worker's admin.socket; default: admin.sock in\n"
    "                      $XDG_RUNTIME_DIR/outfall (not root's), or in /run/outfall\n"
    "  -c, --config FILE   ... or the one in this configuration\n"
    "      --json          what the worker answers, for scripts\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 it is so, 1 the worker refused, 64 usage, 69 no worker answers,\n"
    "75 the drain did not end in --timeout, 78 configuration.\n";

enum { REFUSED = 1, SILENCE_MS = 10000, LEAVE_MS = 30000 };

struct ctl {
	const char *socket;
	bool json, wait, dry_run, force;
	const char *timeout;
};

/* --- asking --- */

static int fail(enum status st, const struct error *why)
{
	command_complain("outfall: ctl: %s", why->text);
	return st == ST_CLOSED || st == ST_SYSTEM || st == ST_TIMEOUT || st == ST_PROTO
		   ? EX_UNAVAILABLE
		   : EX_SOFTWARE;
}

static void tame(json_t *value)
{
	struct text text = {0};
	const char *key;
	json_t *inner;
	size_t i;
	json_object_foreach(value, key, inner) tame(inner);
	json_array_foreach(value, i, inner) tame(inner);
	if (!json_is_string(value))
		return;
	text_put_tame(&text, span_of(json_string_value(value), json_string_length(value)));
	if (text.failed || json_string_setn(value, text.bytes, text.len) != 0)
		(void)json_string_set(value, "?");
	text_fini(&text);
}

/* NULL: it is no JSON. */
static json_t *parse_quietly(const struct client_answer *answer)
{
	json_t *object = json_loads(answer->body.bytes, 0, NULL);
	tame(object);
	return object;
}

static json_t *parse(const struct client_answer *answer)
{
	json_t *object = parse_quietly(answer);
	if (object == NULL)
		command_complain("outfall: ctl: what answers is no worker");
	return object;
}

/* "{"error":"sentence"}" as its sentence. */
static int say_refusal(const struct client_answer *answer)
{
	json_t *object = parse_quietly(answer);
	const char *sentence = json_string_value(json_object_get(object, "error"));
	command_complain("outfall: ctl: refused: %s",
			 sentence != NULL ? sentence : answer->body.bytes);
	json_decref(object);
	return REFUSED;
}

static int ask(const struct ctl *ctl, const char *method, const char *path, uint64_t within_ms,
	       struct client_answer *ret_answer)
{
	struct error why;
	enum status st = client_ask(ctl->socket, method, path, within_ms, ret_answer, &why);
	if (st != ST_OK)
		return fail(st, &why);
	if (ret_answer->status < 400)
		return EX_OK;
	int code = say_refusal(ret_answer);
	client_answer_fini(ret_answer);
	return code;
}

static int get_status(const struct ctl *ctl, struct client_answer *ret_answer, json_t **ret_status)
{
	int code = ask(ctl, "GET", "/status", SILENCE_MS, ret_answer);
	if (code != EX_OK)
		return code;
	*ret_status = parse(ret_answer);
	if (*ret_status != NULL)
		return EX_OK;
	client_answer_fini(ret_answer);
	return EX_UNAVAILABLE;
}

/* --- looking --- */

static int show(const struct ctl *ctl, void (*print)(json_t *status))
{
	struct client_answer answer;
	json_t *status;
	int code = get_status(ctl, &answer, &status);
	if (code != EX_OK)
		return code;
	if (ctl->json)
		code = command_print(answer.body.bytes);
	else
		print(status);
	json_decref(status);
	client_answer_fini(&answer);
	return fflush(stdout) == EOF ? EX_IOERR : code;
}

static void print_status(json_t *status)
{
	ctl_print_status(status, NULL, stdout);
}

static void print_jobs(json_t *status)
{
	ctl_print_jobs(status, stdout);
}

static void print_dry_run(json_t *status)
{
	(void)ctl_print_dry_run(status, stdout);
}

static void print_screen(json_t *status, json_t *before)
{
	(void)fputs("\033[H\033[J", stdout); /* home, and clear what is below */
	ctl_print_status(status, before, stdout);
	(void)fputc('\n', stdout);
	ctl_print_jobs(status, stdout);
	(void)fflush(stdout);
}

static int top(const struct ctl *ctl)
{
	struct timespec second = {.tv_sec = 1};
	json_t *before = NULL, *status = NULL;
	struct client_answer answer;
	if (!isatty(STDOUT_FILENO) || ctl->json)
		return command_usage("ctl", "top is for a terminal: use %s", "status --json");
	int code;
	while ((code = get_status(ctl, &answer, &status)) == EX_OK) {
		client_answer_fini(&answer);
		print_screen(status, before);
		json_decref(before);
		before = status;
		(void)nanosleep(&second, NULL); /* a signal ends us, or it is early */
	}
	bool seen = before != NULL;
	json_decref(before);
	return seen ? EX_OK : code; /* the worker that was shown has ended */
}

/* --- steering --- */

static void say_warning(const struct client_answer *answer)
{
	json_t *object = parse_quietly(answer);
	const char *sentence = json_string_value(json_object_get(object, "warning"));
	if (sentence != NULL)
		command_complain("outfall: ctl: warning: %s", sentence);
	json_decref(object);
}

static int post(const struct ctl *ctl, const char *path)
{
	struct client_answer answer;
	int code = ask(ctl, "POST", path, SILENCE_MS, &answer);
	if (code != EX_OK)
		return code;
	if (ctl->json)
		code = command_print(answer.body.bytes);
	else
		say_warning(&answer);
	client_answer_fini(&answer);
	return code;
}

static uint64_t now_ms(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* that clock is always there */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Where its process cannot be watched, its socket tells: nobody answers there any more. */
static bool await_silence(const struct ctl *ctl, uint64_t until_ms)
{
	struct timespec moment = {.tv_nsec = 20000000};
	struct client_answer answer;
	struct error why;
	while (now_ms() < until_ms) {
		if (client_ask(ctl->socket, "GET", "/livez", SILENCE_MS, &answer, &why) != ST_OK)
			return true;
		client_answer_fini(&answer);
		(void)nanosleep(&moment, NULL);
	}
	return false;
}

static bool await_end(const struct ctl *ctl, int process, uint64_t until_ms)
{
	struct pollfd fd = {.fd = process, .events = POLLIN};
	if (process < 0)
		return await_silence(ctl, until_ms);
	for (;;) {
		uint64_t left_ms = until_ms > now_ms() ? until_ms - now_ms() : 0;
		int n = poll(&fd, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX);
		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

/* What the worker said, when the drain was closed or the wait was over. */
static int finish_wait(const struct ctl *ctl, const struct client_answer *answer, int process)
{
	json_t *status = parse(answer);
	if (status == NULL)
		return EX_UNAVAILABLE;
	int code = EX_OK;
	bool closed = json_object_get(status, "goodbye") != NULL;
	if (ctl->json)
		code = command_print(answer->body.bytes);
	else if (closed)
		ctl_print_goodbye(status, stdout);
	else
		ctl_print_status(status, NULL, stdout);
	json_decref(status);
	if (fflush(stdout) == EOF)
		code = EX_IOERR;
	if (!closed || !await_end(ctl, process, now_ms() + LEAVE_MS)) {
		command_complain("outfall: ctl: the worker has not ended yet");
		return EX_TEMPFAIL;
	}
	return code;
}

static int drain_and_wait(const struct ctl *ctl)
{
	char path[64];
	int process = -1;
	uint64_t timeout_ms = UINT64_MAX;
	struct client_answer answer;
	struct error why;
	const char *wait = ctl->timeout != NULL ? ctl->timeout : "none";
	if (ctl->timeout != NULL && !duration_parse(ctl->timeout, &timeout_ms))
		return command_usage("ctl", "--timeout %s: a time like 60s is needed",
				     ctl->timeout);
	enum status st = client_watch_process(ctl->socket, &process, &why);
	if (st != ST_OK && st != ST_REFUSED)
		return fail(st, &why);
	(void)snprintf(path, sizeof path, "/drain?wait=%s%s", wait, ctl->force ? "&force" : "");
	bool limited = timeout_ms < UINT64_MAX - SILENCE_MS;
	int code = ask(ctl, "POST", path, limited ? timeout_ms + SILENCE_MS : UINT64_MAX, &answer);
	if (code == EX_OK) {
		code = finish_wait(ctl, &answer, process);
		client_answer_fini(&answer);
	}
	if (process >= 0)
		(void)close(process); /* only watched */
	return code;
}

static int drain(const struct ctl *ctl)
{
	if (ctl->dry_run)
		return show(ctl, print_dry_run);
	if (ctl->wait || ctl->timeout != NULL)
		return drain_and_wait(ctl);
	return post(ctl, ctl->force ? "/drain?force" : "/drain");
}

static int extend(const struct ctl *ctl, const char *by)
{
	char path[64];
	uint64_t more_ms;
	if (!duration_parse(by, &more_ms))
		return command_usage("ctl", "extend %s: a time like 5m is needed", by);
	(void)snprintf(path, sizeof path, "/extend?by=%" PRIu64 "ms", more_ms);
	return post(ctl, path);
}

/* --- the command line --- */

static int status(const struct ctl *ctl)
{
	return show(ctl, print_status);
}

static int jobs(const struct ctl *ctl)
{
	return show(ctl, print_jobs);
}

static int quiet(const struct ctl *ctl)
{
	return post(ctl, ctl->force ? "/quiet?force" : "/quiet");
}

static int resume(const struct ctl *ctl)
{
	return post(ctl, "/resume");
}

static void print_names(const json_t *names, const char *what)
{
	size_t i;
	json_t *name;
	json_array_foreach(names, i, name)(void) printf("%s: %s\n", what, json_string_value(name));
}

static int reload(const struct ctl *ctl)
{
	struct client_answer answer;
	int code = ask(ctl, "POST", "/reload", SILENCE_MS, &answer);
	if (code != EX_OK)
		return code;
	json_t *says = parse_quietly(&answer);
	if (ctl->json) {
		code = command_print(answer.body.bytes);
	} else {
		print_names(json_object_get(says, "changed"), "changed");
		print_names(json_object_get(says, "needs_restart"), "needs a restart");
	}
	json_decref(says);
	client_answer_fini(&answer);
	return code;
}

static const struct word {
	const char *name;
	int (*run)(const struct ctl *ctl);
	int (*run_with)(const struct ctl *ctl, const char *argument); /* else */
} words[] = {
    {"status", status, NULL  },
    {"jobs",   jobs,   NULL  },
    {"top",    top,    NULL  },
    {"quiet",  quiet,  NULL  },
    {"resume", resume, NULL  },
    {"drain",  drain,  NULL  },
    {"reload", reload, NULL  },
    {"extend", NULL,   extend},
};

static const struct word *find_word(const char *name)
{
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i].name, name) == 0)
			return &words[i];
	return NULL;
}

static int run_word(const struct ctl *ctl, int argc, char **argv)
{
	if (argc == 0)
		return command_usage("ctl", "%s is missing", "a command");
	const struct word *word = find_word(argv[0]);
	if (word == NULL)
		return command_usage("ctl", "no such command: %s", argv[0]);
	int wanted = word->run_with != NULL ? 2 : 1;
	if (argc != wanted)
		return command_usage("ctl", argc < wanted ? "%s needs a value" : "%s takes no more",
				     argv[argc < wanted ? 0 : wanted - 1]);
	bool for_drain = ctl->wait || ctl->dry_run || ctl->timeout != NULL;
	if (for_drain && word->run != drain)
		return command_usage("ctl", "%s knows no --wait, --timeout and --dry-run",
				     word->name);
	if (ctl->force && word->run != drain && word->run != quiet)
		return command_usage("ctl", "%s knows no --force", word->name);
	return word->run_with != NULL ? word->run_with(ctl, argv[1]) : word->run(ctl);
}

static int with_config(struct ctl *ctl, const char *path, int argc, char **argv)
{
	struct settings *settings = NULL;
	struct problems problems;
	enum status st = settings_load_socket(source_kinds, path, &settings, &problems);
	int code = command_loaded(path, st, &problems);
	if (code != EX_OK)
		return code;
	if (settings->admin.socket != NULL)
		ctl->socket = settings->admin.socket;
	if (!settings->admin.no_socket)
		code = run_word(ctl, argc, argv);
	else
		code = command_usage("ctl", "%s has no admin.socket", path);
	settings_destroy(settings);
	return code;
}

int command_ctl(int argc, char **argv)
{
	enum { JSON = 256, WAIT, TIMEOUT, DRY_RUN, FORCE };
	static const struct option options[] = {
	    {"socket",           required_argument, NULL, 's'},
	    {"config",              required_argument, NULL, 'c'},
	    {"json",                  no_argument, NULL, JSON},
	    {"wait",no_argument, NULL, WAIT},
	    {"timeout",               required_argument, NULL, TIMEOUT},
	    {"dry-run",             no_argument, NULL, DRY_RUN},
	    {"force",              no_argument, NULL, FORCE},
	    {"help",                  no_argument, NULL, 'h'},
	    {0		   },
	};
	struct default_socket by_default;
	default_socket_find(&by_default);
	struct ctl ctl = {.socket = by_default.path};
	const char *config = NULL;
	int c;
	while ((c = getopt_long(argc, argv, ":s:c:h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			ctl.socket = optarg;
			break;
		case 'c':
			config = optarg;
			break;
		case JSON:
			ctl.json = true;
			break;
		case WAIT:
			ctl.wait = true;
			break;
		case TIMEOUT:
			ctl.timeout = optarg;
			break;
		case DRY_RUN:
			ctl.dry_run = true;
			break;
		case FORCE:
			ctl.force = true;
			break;
		case 'h':
			return command_print(help);
		default:
			return command_usage("ctl",
					     c == ':' ? "%s needs a value" : "unknown option %s",
					     argv[optind - 1]);
		}
	}
	if (config != NULL)
		return with_config(&ctl, config, argc - optind, argv + optind);
	return run_word(&ctl, argc - optind, argv + optind);
}
