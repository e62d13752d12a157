/* `outfall enqueue`: puts jobs where the workers of this configuration look for them, and returns when
 * the broker has said that they are safe. How they are sent is sender.h's affair; here are the
 * command line, the body, and the words for what happened.
 *
 * What it says when it fails matters most: how many jobs are safe, and how many may be, because
 * whoever reads it has to decide whether to run it again. */
#include "commands/commands.h"

#include "base/duration.h"
#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "settings/settings.h"
#include "sources/kind.h"
#include "sources/producer.h"
#include "sources/sender.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
    "usage: outfall enqueue [OPTION...] SOURCE/QUEUE\n"
    "\n"
    "Puts jobs into a queue of the configuration, and waits until its broker has said that they\n"
    "are safe there. SOURCE is the title of a broker's section, QUEUE that of a queue or list in\n"
    "it.\n"
    "\n"
    "  -c, --config FILE     default: " COMMANDS_CONFIG_FILE "\n"
    "  -b, --body TEXT       the job's body\n"
    "  -f, --body-file FILE  the body is what is in the file; - is stdin, which is also read\n"
    "                        when there is no body and it is not a terminal\n"
    "  -n, --count N         as many jobs; {n} in the body becomes 1, 2, ... N\n"
    "  -H, --header K=V      a header of the message, where those have any; may be repeated\n"
    "  -d, --delay TIME      not to be run before, like 10s\n"
    "  -h, --help            this text\n"
    "\n"
    "Exit status: 0 every job is safe; 64 usage; 66 the body cannot be read; 69 the broker\n"
    "refused, did not answer or went away; 78 configuration; 128 + N ended by signal N. When it\n"
    "ends early it says how many jobs are safe and how many may be.\n";

static const struct option options[] = {
    {"config",           required_argument, NULL, 'c'},
    {"body",	      required_argument, NULL, 'b'},
    {"body-file",		  required_argument, NULL, 'f'},
    {"count",required_argument, NULL, 'n'},
    {"header",	       required_argument, NULL, 'H'},
    {"delay",        required_argument, NULL, 'd'},
    {"help",	      no_argument, NULL, 'h'},
    {0		 }
};

enum {
	HEADERS_MOST = 64,
	BODY_MOST_BYTES = 128 << 20, /* what brokers take */
	QUIET_MS = 30 * 1000,
	CONNECT_SLACK_MS = 1000, /* the connection's own deadline tells more: let it come first */
};

struct enqueue {
	const char *config, *target, *body_text, *body_file;
	uint64_t count, delay_ms;
	bool numbered; /* --count was given, and the body has {n} */
	struct producer_header headers[HEADERS_MOST];
	size_t n_headers;

	struct settings *settings;
	const struct source_settings *source; /* where to */
	const struct source_queue_settings *queue;

	char *body;
	size_t body_bytes;
	char *composed; /* the body with its number in place */

	struct loop *loop;
	struct sender *sender;
	struct signal_watch *signals[2];
	struct timer *progress;
	bool progress_shown;
	int signum; /* what ended it; 0 = nothing yet */
};

static void say(const struct enqueue *e, const char *text)
{
	command_complain("outfall: enqueue: %s: %s", e->target, text);
}

/* --- the command line --- */

static int take_header(struct enqueue *e, char *text)
{
	char *equals = strchr(text, '=');
	if (equals == NULL || equals == text)
		return command_usage("enqueue", "--header %s: it is written KEY=VALUE", text);
	if (e->n_headers == HEADERS_MOST)
		return command_usage("enqueue", "--header: at most %d of them", HEADERS_MOST);
	*equals = '\0';
	e->headers[e->n_headers++] = (struct producer_header){.key = text, .value = equals + 1};
	return COMMAND_GO_ON;
}

static int take_option(struct enqueue *e, int c, char **argv)
{
	switch (c) {
	case 'c':
		e->config = optarg;
		return COMMAND_GO_ON;
	case 'b':
		e->body_text = optarg;
		return COMMAND_GO_ON;
	case 'f':
		e->body_file = optarg;
		return COMMAND_GO_ON;
	case 'n':
		e->numbered = true;
		if (count_parse(optarg, &e->count) && e->count > 0)
			return COMMAND_GO_ON;
		return command_usage("enqueue", "--count %s: a number from 1 is needed", optarg);
	case 'H':
		return take_header(e, optarg);
	case 'd':
		if (duration_parse(optarg, &e->delay_ms))
			return COMMAND_GO_ON;
		return command_usage("enqueue", "--delay %s: a time like 500ms or 10s is needed",
				     optarg);
	case 'h':
		return command_print(help);
	case ':':
		return command_usage("enqueue", "%s needs a value", argv[optind - 1]);
	default:
		return command_usage("enqueue", "unknown option %s", argv[optind - 1]);
	}
}

static int take_arguments(struct enqueue *e, int argc, char **argv)
{
	int c, code;
	while ((c = getopt_long(argc, argv, ":c:b:f:n:H:d:h", options, NULL)) != -1)
		if ((code = take_option(e, c, argv)) != COMMAND_GO_ON)
			return code;
	if (optind == argc)
		return command_usage("enqueue", "SOURCE/QUEUE is missing");
	if (optind + 1 != argc)
		return command_usage("enqueue", "one SOURCE/QUEUE at a time, but there is also %s",
				     argv[optind + 1]);
	e->target = argv[optind];
	if (strchr(e->target, '/') == NULL)
		return command_usage("enqueue", "%s: it is written SOURCE/QUEUE", e->target);
	if (e->body_text != NULL && e->body_file != NULL)
		return command_usage("enqueue", "--body and --body-file are both given");
	if (e->body_text == NULL && e->body_file == NULL && isatty(STDIN_FILENO))
		return command_usage("enqueue", "no body: give --body or --body-file");
	return COMMAND_GO_ON;
}

/* --- where to --- */

/* Both names may have slashes, so the target is compared, not cut. */
static bool is_target(const struct enqueue *e, const char *source, const char *queue)
{
	size_t len = strlen(source);
	return strncmp(e->target, source, len) == 0 && e->target[len] == '/' &&
	       strcmp(e->target + len + 1, queue) == 0;
}

static bool find_queue(struct enqueue *e, const struct source_settings *source)
{
	for (size_t i = 0; i < source->n_queues; i++) {
		if (!is_target(e, source->name, source->queues[i]->name))
			continue;
		e->source = source;
		e->queue = source->queues[i];
		return true;
	}
	return false;
}

static const struct source_kind *kind_of(const struct enqueue *e)
{
	return source_kind_of(e->source->broker.schema);
}

static void print_targets(const struct settings *settings)
{
	for (size_t i = 0; i < settings->n_sources; i++)
		for (size_t j = 0; j < settings->sources[i]->n_queues; j++)
			command_complain("  %s/%s", settings->sources[i]->name,
					 settings->sources[i]->queues[j]->name);
}

static int check_headers(const struct enqueue *e)
{
	const struct source_schema *schema = e->source->broker.schema;
	if (e->n_headers == 0 || (kind_of(e)->cannot & KIND_NO_HEADERS) == 0)
		return COMMAND_GO_ON;
	return command_usage("enqueue", "--header: jobs of a %s %s have none", schema->section.name,
			     schema->queue.name);
}

static int find_target(struct enqueue *e)
{
	const struct settings *settings = e->settings;
	for (size_t i = 0; i < settings->n_sources; i++)
		if (find_queue(e, settings->sources[i]))
			return check_headers(e);
	command_complain("outfall: enqueue: %s: not in %s, which has", e->target, e->config);
	print_targets(settings);
	return EX_USAGE;
}

/* --- the body --- */

static int read_all(struct enqueue *e, int fd)
{
	size_t room = 0;
	ssize_t n = 1;
	while (n != 0 && e->body_bytes <= BODY_MOST_BYTES) {
		if (e->body_bytes == room) {
			room = room == 0 ? 4096 : 2 * room;
			char *body = memory_grow(e->body, room);
			if (body == NULL)
				return ENOMEM;
			e->body = body;
		}
		n = read(fd, e->body + e->body_bytes, room - e->body_bytes);
		if (n < 0 && errno != EINTR)
			return errno;
		e->body_bytes += n > 0 ? (size_t)n : 0;
	}
	return e->body_bytes <= BODY_MOST_BYTES ? 0 : EFBIG;
}

static int read_file(struct enqueue *e, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int errnum = read_all(e, fd);
	(void)close(fd); /* only read from */
	return errnum;
}

static int take_body(struct enqueue *e)
{
	int errnum = 0;
	const char *from = e->body_file != NULL ? e->body_file : "-";
	if (e->body_text != NULL) {
		e->body = memory_text(e->body_text);
		e->body_bytes = strlen(e->body_text);
		errnum = e->body != NULL ? 0 : ENOMEM;
	} else {
		errnum = strcmp(from, "-") == 0 ? read_all(e, STDIN_FILENO) : read_file(e, from);
	}
	if (errnum == 0)
		return COMMAND_GO_ON;
	command_complain("outfall: enqueue: body: %s: %s", strcmp(from, "-") == 0 ? "stdin" : from,
			 strerror(errnum));
	return EX_NOINPUT;
}

/* The next {n} in what is left of the body; NULL: none. */
static const char *next_mark(const struct enqueue *e, const char *from)
{
	return memmem(from, (size_t)(e->body + e->body_bytes - from), "{n}", 3);
}

static size_t count_marks(const struct enqueue *e)
{
	size_t n = 0;
	for (const char *mark = next_mark(e, e->body); mark != NULL; mark = next_mark(e, mark + 3))
		n++;
	return n;
}

enum { NUMBER_MOST_BYTES = 20 }; /* digits of UINT64_MAX */

/* The number in place of each {n}. */
static struct span compose(void *arg, uint64_t number)
{
	struct enqueue *e = arg;
	char digits[NUMBER_MOST_BYTES + 1];
	size_t len = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number);
	const char *from = e->body, *mark;
	char *to = e->composed;
	while ((mark = next_mark(e, from)) != NULL) {
		to = mempcpy(to, from, (size_t)(mark - from));
		to = mempcpy(to, digits, len);
		from = mark + 3;
	}
	to = mempcpy(to, from, (size_t)(e->body + e->body_bytes - from));
	return span_of(e->composed, (size_t)(to - e->composed));
}

static int prepare_numbers(struct enqueue *e)
{
	size_t marks = e->numbered ? count_marks(e) : 0;
	e->numbered = marks > 0;
	if (!e->numbered)
		return COMMAND_GO_ON;
	e->composed = memory_take(e->body_bytes + marks * NUMBER_MOST_BYTES);
	if (e->composed != NULL)
		return COMMAND_GO_ON;
	say(e, "out of memory");
	return EX_OSERR;
}

static void warn_large(const struct enqueue *e)
{
	if (e->body_bytes > e->settings->worker.max_body_bytes)
		say(e, "warning: the body is larger than worker.max_body, workers with this "
		       "configuration will dead-letter it");
}

/* --- while it lasts --- */

static void clear_progress(struct enqueue *e)
{
	if (e->progress_shown)
		(void)fputs("\r\033[K", stderr);
	e->progress_shown = false;
}

/* Only on a terminal, and only when it takes long enough to wonder. */
static void show_progress(void *arg)
{
	struct enqueue *e = arg;
	e->progress_shown = true;
	(void)fprintf(stderr, "\r\033[K%" PRIu64 " of %" PRIu64 " jobs are safe",
		      sender_result(e->sender)->confirmed, e->count);
	timer_start(e->progress, 200);
}

static void on_signal(void *arg, int signum)
{
	struct enqueue *e = arg;
	e->signum = signum;
	sender_stop(e->sender);
}

static void on_ended(void *arg)
{
	struct enqueue *e = arg;
	loop_stop(e->loop);
}

static struct producer *open_producer(struct enqueue *e)
{
	return kind_of(e)->open_producer(e->loop, NULL, e->source, e->queue, &sender_events,
					 e->sender);
}

static uint64_t connect_ms(const struct enqueue *e)
{
	const struct broker_settings *broker = &e->source->broker;
	return broker->connect_timeout_ms * broker->n_urls + CONNECT_SLACK_MS;
}

static struct sender_plan plan_of(struct enqueue *e)
{
	return (struct sender_plan){
	    .count = e->count,
	    .message = {.body = span_of(e->body, e->body_bytes),
			.headers = e->headers,
			.n_headers = e->n_headers,
			.delay_ms = e->delay_ms},
	    .compose = e->numbered ? compose : NULL,
	    .connect_ms = connect_ms(e),
	    .quiet_ms = QUIET_MS,
	    .ended = on_ended,
	    .arg = e
        };
}

/* NULL-safe from here on: whatever could not be built ends in out of memory. */
static bool build(struct enqueue *e)
{
	struct sender_plan plan = plan_of(e);
	if (loop_create(&e->loop, NULL) != ST_OK)
		return false;
	e->sender = sender_create(e->loop, &plan);
	e->progress = timer_create_on(e->loop, show_progress, e);
	e->signals[0] = signal_watch_create(e->loop, SIGINT, on_signal, e);
	e->signals[1] = signal_watch_create(e->loop, SIGTERM, on_signal, e);
	if (e->sender == NULL || e->progress == NULL || e->signals[0] == NULL ||
	    e->signals[1] == NULL)
		return false;
	struct producer *producer = open_producer(e);
	if (producer == NULL)
		return false;
	sender_start(e->sender, producer);
	return true;
}

static void take_down(struct enqueue *e)
{
	sender_destroy(e->sender);
	timer_destroy(e->progress);
	signal_watch_destroy(e->signals[0]);
	signal_watch_destroy(e->signals[1]);
	if (e->loop != NULL)
		loop_destroy(e->loop);
}

/* --- how it went --- */

static int tell(const struct enqueue *e)
{
	const struct sender_result *result = sender_result(e->sender);
	uint64_t maybe = result->sent - result->confirmed;
	if (result->confirmed == e->count)
		return EX_OK;
	const char *why = result->status != ST_OK ? result->why.text : "ended by a signal";
	char more[64] = "";
	if (maybe > 0)
		(void)snprintf(more, sizeof more, ", %" PRIu64 " more may be", maybe);
	command_complain("outfall: enqueue: %s: %s; %" PRIu64 " of %" PRIu64 " jobs are safe%s",
			 e->target, why, result->confirmed, e->count, more);
	return result->status == ST_OK ? 128 + e->signum : EX_UNAVAILABLE;
}

static int push(struct enqueue *e)
{
	int code = EX_OSERR;
	if (build(e)) {
		if (isatty(STDERR_FILENO))
			timer_start(e->progress, 1000);
		loop_run(e->loop);
		clear_progress(e);
		code = tell(e);
	} else {
		say(e, "out of memory");
	}
	take_down(e);
	return code;
}

static int enqueue(struct enqueue *e)
{
	struct problems problems;
	enum status st =
	    settings_load_queue(source_kinds, e->config, e->target, &e->settings, &problems);
	int code = command_loaded(e->config, st, &problems);
	if (code != EX_OK)
		return code;
	if ((code = find_target(e)) == COMMAND_GO_ON && (code = take_body(e)) == COMMAND_GO_ON &&
	    (code = prepare_numbers(e)) == COMMAND_GO_ON) {
		warn_large(e);
		code = push(e);
	}
	memory_free(e->body);
	memory_free(e->composed);
	settings_destroy(e->settings);
	return code;
}

int command_enqueue(int argc, char **argv)
{
	struct enqueue e = {.config = COMMANDS_CONFIG_FILE, .count = 1};
	int code = take_arguments(&e, argc, argv);
	return code == COMMAND_GO_ON ? enqueue(&e) : code;
}
