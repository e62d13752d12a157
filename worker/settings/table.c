#include "settings/table.h"

#include "base/must.h"
#include "settings/rows.h"
#include "settings/settings.h"
#include "settings/source_schema.h"

#include <string.h>

/* clang-format off */
static const struct choice tls_verifies[] = {
    {"full", TLS_VERIFY_FULL}, {"ca", TLS_VERIFY_CA}, {"none", TLS_VERIFY_NONE}, {0}};
static const struct choice last_consumers[] = {
    {"ignore", LAST_CONSUMER_IGNORE}, {"warn", LAST_CONSUMER_WARN}, {"refuse", LAST_CONSUMER_REFUSE},
    {0}};
static const struct choice handler_types[] = {
    {"exec", HANDLER_EXEC}, {"pool", HANDLER_POOL}, {"plugin", HANDLER_PLUGIN},
    {"http", HANDLER_HTTP}, {0}};
static const struct choice exit_codes[] = {
    {"outfall", EXIT_CODES_OUTFALL}, {"cli-consumer", EXIT_CODES_CLI_CONSUMER}, {0}};
static const struct choice isolations[] = {
    {"false", ISOLATE_NOT}, {"true", ISOLATE_PROCESS}, {0}};
static const struct choice privileges[] = {{"false", PRIVILEGES_KEPT}, {"true", PRIVILEGES_MAY_GROW}, {0}};
static const struct choice deadlines[] = {
    {"interrupt", POLICY_INTERRUPT}, {"finish", POLICY_FINISH}, {"return", POLICY_RETURN}, {0}};
static const struct choice backoffs[] = {
    {"exponential", BACKOFF_EXPONENTIAL}, {"linear", BACKOFF_LINEAR},
    {"constant", BACKOFF_CONSTANT}, {0}};
static const struct choice levels[] = {
    {"error", LOG_ERROR}, {"warn", LOG_WARN}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {0}};
static const struct choice log_formats[] = {{"text", LOG_TEXT}, {"json", LOG_JSON}, {0}};

/* Between two jobs, in nanoseconds: a million a second to one an hour. */
#define RATES .least = 1000, .most = INT64_C(3600) * 1000 * 1000 * 1000
#define ONLY_EXEC .types = 1u << HANDLER_EXEC
#define ONLY_POOL .types = 1u << HANDLER_POOL
#define ONLY_PLUGIN .types = 1u << HANDLER_PLUGIN
#define ONLY_HTTP .types = 1u << HANDLER_HTTP
/* Of a plugin only if it is isolated, which check_handlers.c knows. */
#define CHILDREN .types = 1u << HANDLER_EXEC | 1u << HANDLER_POOL | 1u << HANDLER_PLUGIN
#define POOLS .types = 1u << HANDLER_POOL | 1u << HANDLER_PLUGIN
#define LIMIT(field) .offset = offsetof(struct handler_settings, limits.field)

/* --- what all kinds of sources have --------------------------------------------------------------- */

const struct key_row table_source_keys[] = {
    {"url_file", VALUE_TEXT, NO_FIELD, SECRET(FILE),
     .help = "A file that holds the URL, so that it is not in here. Read again for each connection; "
	     "relative to this file."},
    {"password_file", VALUE_TEXT, NO_FIELD, SECRET(FILE),
     .help = "A file that holds the password for a URL without one. Read again for each connection; "
	     "relative to this file."},
    {"ca_file", VALUE_TEXT, FIELD(source_settings, broker.tls.ca_file),
     .help = "The certificates that servers are checked against, with TLS. Default: the system's. This and "
	     "the next two are read again when they change; relative to this file."},
    {"cert_file", VALUE_TEXT, FIELD(source_settings, broker.tls.cert_file),
     .help = "Our own certificate, with its chain, for a server that wants one."},
    {"key_file", VALUE_TEXT, FIELD(source_settings, broker.tls.key_file),
     .help = "Its private key, not encrypted. Default: it is in cert_file."},
    {"tls_verify", VALUE_CHOICE, FIELD(source_settings, broker.tls.verify),
     .preset = "full", .choices = tls_verifies,
     .help = "What is checked of the server's certificate. \"full\": who signed it, when it ends, and that "
	     "it is for the host of the address. \"ca\": not for whom. \"none\": nothing."},
    {"tls_server_name", VALUE_TEXT, FIELD(source_settings, broker.tls.server_name),
     .help = "Whom the certificate must be for, where that is not the host of the address."},
    {"connect_timeout", VALUE_DURATION,
     FIELD(source_settings, broker.connect_timeout_ms), .preset = "5s", RANGE(10, 1 HOURS),
     .help = "How long connecting and logging in may take, TLS included."},
};

const struct key_row table_queue_keys[] = {
    {"handler", VALUE_TEXT, NO_FIELD,
     .help = "The handler section that runs its jobs. Needed."},
    {"retry", VALUE_TEXT, NO_FIELD, .preset = "default",
     .help = "The retry section for its failed jobs."},
    {"concurrency", VALUE_COUNT, FIELD(source_queue_settings, concurrency),
     .preset = "none", .zero = "none", RANGE(1, 100000), LIVE,
     .help = "Jobs of it that run at once. \"none\": only the handler's and the worker's "
	     "limits hold."},
    {"rate", VALUE_RATE, FIELD(source_queue_settings, rate_interval_ns),
     .preset = "none", .zero = "none", RATES, LIVE,
     .help = "Jobs begun in a time, like \"100/s\"; more wait."},
};

/* --- the sections that are nobody's --------------------------------------------------------------- */

static const struct key_row worker_keys[] = {
    {"name", VALUE_TEXT, FIELD(worker_settings, name),
     .help = "What the worker calls itself to brokers and in reports. Default: host name and "
	     "process id."},
    {"concurrency", VALUE_COUNT, FIELD(worker_settings, concurrency),
     .preset = "16", RANGE(1, 100000), LIVE,
     .help = "Jobs that run at once in this process, all queues together."},
    {"max_body", VALUE_SIZE, FIELD(worker_settings, max_body_bytes),
     .preset = "64M", RANGE(1, INT64_C(1) << 30),
     .help = "A larger body is dead-lettered, not read into memory: in RabbitMQ it passes to the queue that "
	     "`dead` names piece by piece, on a connection of its own."},
    {"max_checkpoint", VALUE_SIZE, FIELD(worker_settings, max_checkpoint_bytes),
     .preset = "64k", RANGE(0, 96 << 10),
     .help = "The most that a job may leave behind for its next run. It travels in a message header."},
};

static const struct key_row drain_keys[] = {
    {"timeout", VALUE_TEXT, NO_FIELD, .preset = "auto", LIVE,
     .help = "The whole time from the signal to the exit: a duration, \"none\" to wait for ever, or "
	     "\"auto\": what the process manager allows, 30s where nothing is known."},
    {"reserve", VALUE_DURATION, FIELD(drain_settings, reserve_ms),
     .preset = "2s", RANGE(0, 1 HOURS), LIVE,
     .help = "Kept back from the deadline for returning jobs and closing."},
    {"grace", VALUE_DURATION, FIELD(drain_settings, grace_ms),
     .preset = "5s", RANGE(0, 1 HOURS), LIVE,
     .help = "Between asking an overdue job to stop and killing its process group."},
    {"report", VALUE_TEXT, FIELD(drain_settings, report), LIVE,
     .help = "Where the drain report goes as a JSON file. Default: it is only logged."},
    {"deadline_file", VALUE_TEXT, FIELD(drain_settings, deadline_file),
     .help = "A file whose first line says how long the process manager waits before it kills, like 60s. Read "
	     "at the start; the environment variable OUTFALL_STOP_TIMEOUT says the same."},
};

static const struct key_row handler_keys[] = {
    {"type", VALUE_CHOICE, FIELD(handler_settings, type),
     .choices = handler_types,
     .help = "\"exec\": a process for each job. \"pool\": long-lived processes that speak JSON lines. "
	     "\"plugin\": a shared object, in threads. \"http\": each job is POSTed. Needed."},
    {"timeout", VALUE_DURATION, FIELD(handler_settings, timeout_ms),
     .preset = "none", .zero = "none", RANGE(1, 720 HOURS),
     .help = "How long one job may run; then it is stopped and retried."},
    {"rate", VALUE_RATE, FIELD(handler_settings, rate_interval_ns),
     .preset = "none", .zero = "none", RATES, LIVE,
     .help = "Jobs begun in a time, of all its queues together, like \"100/s\"; more wait."},
    {"deadline", VALUE_CHOICE, FIELD(handler_settings, deadline),
     .preset = "interrupt", .choices = deadlines, LIVE,
     .help = "What a drain does to its running jobs. \"interrupt\": they have until the deadline, and "
	     "are asked to stop then. \"finish\": they are not asked, only killed when nothing else "
	     "is left. \"return\": they are asked at once."},
    {"concurrency", VALUE_COUNT, FIELD(handler_settings, concurrency),
     .preset = "none", .zero = "none", RANGE(1, 100000), LIVE,
     .help = "Jobs it runs at once, of all its queues together. \"none\": only the worker's limit "
	     "holds, and what processes or threads there are."},
    {"command", VALUE_LIST, FIELD(handler_settings, command),
     .types = 1u << HANDLER_EXEC | 1u << HANDLER_POOL,
     .help = "The program and its arguments, {\"/usr/bin/php\", \"send.php\"}. No shell."},
    {"directory", VALUE_TEXT, FIELD(handler_settings, directory), CHILDREN,
     .help = "Where it is started. Default: the worker's working directory."},
    {"user", VALUE_TEXT, FIELD(handler_settings, user), CHILDREN,
     .help = "Whom it runs as, with that user's groups; the worker must be root. Default: the "
	     "worker's user."},
    {"group", VALUE_TEXT, FIELD(handler_settings, group), CHILDREN,
     .help = "Its group, instead of the user's own."},
    {"new_privileges", VALUE_CHOICE, FIELD(handler_settings, privileges), CHILDREN,
     .preset = "false", .choices = privileges,
     .help = "\"true\": programs that are installed setuid or setgid, as sudo, ping or a mailer's "
	     "postdrop, have their effect in its processes."},
    {"environment", VALUE_LIST, FIELD(handler_settings, environment), CHILDREN,
     .help = "What it gets of the worker's environment, {\"PATH\", \"APP_*\", \"LANG=C\"}: names, "
	     "beginnings of names, and values of its own. Default: all of it. Variables that this file has put "
	     "into a password, a query or a header are only for handlers that name them in full."},
    {"output_line", VALUE_SIZE, FIELD(handler_settings, output_line_bytes), CHILDREN,
     .preset = "2k", RANGE(64, 3 << 10),
     .help = "The longest line of its output that is logged whole."},
    {"limit_memory", VALUE_SIZE, LIMIT(memory_bytes), CHILDREN,
     .preset = "none", .zero = "none", RANGE(1 << 20, INT64_C(1) << 50),
     .help = "The most address space of one of its processes (RLIMIT_AS)."},
    {"limit_cpu", VALUE_DURATION, LIMIT(cpu_ms), CHILDREN,
     .preset = "none", .zero = "none", RANGE(1 SECONDS, 720 HOURS),
     .help = "The most processor time of one of its processes (RLIMIT_CPU), in whole seconds."},
    {"limit_files", VALUE_COUNT, LIMIT(files), CHILDREN,
     .preset = "none", .zero = "none", RANGE(8, 1 << 20),
     .help = "The most descriptors one of its processes may have open (RLIMIT_NOFILE)."},
    {"limit_file_size", VALUE_SIZE, LIMIT(file_bytes), CHILDREN,
     .preset = "none", .zero = "none", RANGE(1, INT64_C(1) << 50),
     .help = "The largest file one of its processes may write (RLIMIT_FSIZE)."},
    {"exit_codes", VALUE_CHOICE, FIELD(handler_settings, exit_codes), ONLY_EXEC,
     .preset = "outfall", .choices = exit_codes,
     .help = "What an exit status means. \"outfall\": 0 done, 65 dead, others retry. "
	     "\"cli-consumer\": as rabbitmq-cli-consumer has it."},
    {"output_lines", VALUE_COUNT, FIELD(handler_settings, output_lines), CHILDREN,
     .preset = "1000", .zero = "all", RANGE(1, 1000000000),
     .help = "The most lines of one job's output that are logged; the rest is counted. Of a process that "
	     "stays: of its stderr, from one answer to the next."},
    {"processes", VALUE_COUNT, FIELD(handler_settings, processes),
     POOLS, .preset = "1", RANGE(1, 1024),
     .help = "How many processes there are; for a plugin, with isolate."},
    {"per_process", VALUE_COUNT, FIELD(handler_settings, per_process), ONLY_POOL,
     .preset = "auto", .zero = "auto", RANGE(1, 10000),
     .help = "Jobs in one process at once. \"auto\": as many as it says in its ready line."},
    {"ready_timeout", VALUE_DURATION, FIELD(handler_settings, ready_timeout_ms),
     POOLS, .preset = "10s", RANGE(10, 1 HOURS),
     .help = "How long a process may take from its start to its ready line."},
    {"stall_timeout", VALUE_DURATION, FIELD(handler_settings, stall_timeout_ms),
     POOLS, .preset = "30s", RANGE(10, 24 HOURS),
     .help = "How long a process may leave unread what it is sent; then it is replaced."},
    {"leave_timeout", VALUE_DURATION, FIELD(handler_settings, leave_timeout_ms),
     POOLS, .preset = "1s", RANGE(0, 1 HOURS),
     .help = "How long an idle process may take to end, once its stdin has, when the worker stops. All "
	     "of them end at the same time, and the drain's deadline stands."},
    {"max_jobs", VALUE_COUNT, FIELD(handler_settings, max_jobs), POOLS,
     .preset = "none", .zero = "none", RANGE(1, 1000000000),
     .help = "A process is replaced after so many jobs."},
    {"max_memory", VALUE_SIZE, FIELD(handler_settings, max_memory_bytes), POOLS,
     .preset = "none", .zero = "none", RANGE(1 << 20, INT64_C(1) << 50),
     .help = "A process is replaced when its resident memory grows beyond this."},
    {"path", VALUE_TEXT, FIELD(handler_settings, path), ONLY_PLUGIN,
     .help = "The shared object. Without a slash the system's library folders are searched."},
    {"threads", VALUE_COUNT, FIELD(handler_settings, threads), ONLY_PLUGIN,
     .preset = "4", RANGE(1, 1024),
     .help = "How many jobs it runs at once, in each process."},
    {"isolate", VALUE_CHOICE, FIELD(handler_settings, isolate), ONLY_PLUGIN,
     .preset = "false", .choices = isolations,
     .help = "\"true\": in processes of their own, so that a crash costs only the jobs begun there. "
	     "The keys of a pool's processes count then."},
    {"url", VALUE_TEXT, FIELD(handler_settings, url), ONLY_HTTP, SECRET(URL),
     .help = "Where each job is POSTed to: http://, https://, or unix:///run/app.sock:/jobs for a socket."},
    {"headers", VALUE_LIST, FIELD(handler_settings, headers), ONLY_HTTP, SECRET(WHOLE),
     .help = "More headers of each request, {\"Authorization: Bearer ${TOKEN}\"}. A Content-Type is "
	     "for the jobs that have none."},
    {"ca_file", VALUE_TEXT, FIELD(handler_settings, ca_file), ONLY_HTTP,
     .help = "The certificates that https:// servers are checked against. Default: the system's. Relative "
	     "to this file."},
    {"connect_timeout", VALUE_DURATION,
     FIELD(handler_settings, connect_timeout_ms), ONLY_HTTP, .preset = "5s", RANGE(10, 1 HOURS),
     .help = "How long connecting may take."},
    {"max_connection_age", VALUE_DURATION,
     FIELD(handler_settings, max_connection_age_ms), ONLY_HTTP, .preset = "5m", .zero = "none",
     RANGE(1 SECONDS, 24 HOURS),
     .help = "A kept connection that is older is not used again, so that what is added behind a name gets its "
	     "share of the jobs. Whole seconds."},
};

static const struct key_row retry_keys[] = {
    {"attempts", VALUE_COUNT, FIELD(retry_settings, attempts),
     .preset = "12", RANGE(1, 1000000), LIVE,
     .help = "In all, the first included. Being interrupted is not counted, nor a handler that could not "
	     "begin. With the other defaults the last one is over an hour after the first."},
    {"backoff", VALUE_CHOICE, FIELD(retry_settings, backoff),
     .preset = "exponential", .choices = backoffs, LIVE,
     .help = "How the wait grows from one attempt to the next."},
    {"first", VALUE_DURATION, FIELD(retry_settings, first_ms),
     .preset = "2s", RANGE(0, 720 HOURS), LIVE,
     .help = "The wait before the second attempt."},
    {"max", VALUE_DURATION, FIELD(retry_settings, max_ms),
     .preset = "1h", RANGE(0, 720 HOURS), LIVE,
     .help = "The longest wait."},
    {"jitter", VALUE_FRACTION, FIELD(retry_settings, jitter),
     .preset = "0.2", RANGE(0, 1000), LIVE,
     .help = "How much longer or shorter a wait may be, so that jobs do not come back in step: 0.2 "
	     "is a fifth."},
    {"crashes", VALUE_COUNT, FIELD(retry_settings, crashes),
     .preset = "3", .zero = "none", RANGE(1, 1000000), LIVE,
     .help = "After so many runs in which its handler crashed a job is dead, whatever attempts are "
	     "left."},
    {"lost", VALUE_COUNT, FIELD(retry_settings, lost), .preset = "5", .zero = "none",
     RANGE(1, 1000000), LIVE,
     .help = "After so many workers have died while they had it, a job is dead: it may be the reason. On Redis "
	     "lists and on quorum queues; classic queues do not count. Such a job runs alone in its queue, so that "
	     "its neighbours are not blamed."},
};

static const struct key_row admin_keys[] = {
    {"socket", VALUE_TEXT, FIELD(admin_settings, socket),
     .help = "A Unix socket that answers everything; whoever may open it may steer. \"none\": none. Default: "
	     "admin.sock in $RUNTIME_DIRECTORY, in $XDG_RUNTIME_DIR/outfall (not root's), or in /run/outfall, "
	     "if it can be made there."},
    {"socket_mode", VALUE_TEXT, NO_FIELD, .preset = "0660",
     .help = "Who may: the permissions of that file, in octal digits."},
    {"http", VALUE_TEXT, FIELD(admin_settings, http),
     .help = "An address that answers what only reads: \"127.0.0.1:9180\", \"[::1]:9180\", or \"*:9180\" "
	     "for every interface. Default: none."},
    {"agent", VALUE_TEXT, FIELD(admin_settings, agent),
     .help = "An address for HAProxy's agent check, like \"127.0.0.1:9181\": whoever connects gets one line, "
	     "\"up ready 75%\", \"drain\" or \"down#why\". Default: none."},
    {"hosts", VALUE_LIST, FIELD(admin_settings, hosts),
     .help = "Names under which http may be asked, {\"worker.example\"}, beside localhost and addresses: "
	     "others are refused, because a browser may have been tricked into asking."},
    {"token_file", VALUE_TEXT, NO_FIELD, LIVE, SECRET(FILE),
     .help = "A file that holds a token. Whoever brings it may steer over http, too. Read again at a reload. Relative "
	     "to this file."},
    {"last_consumer", VALUE_CHOICE, FIELD(admin_settings, last_consumer),
     .preset = "ignore", .choices = last_consumers,
     .help = "What quiet and drain do, when they are asked for by outfall ctl or POST, while nobody else takes "
	     "from one of the queues: \"warn\" does it and says so, \"refuse\" wants --force. The brokers are "
	     "asked, for two seconds at most. Signals are not affected. A reload that removes such a queue says "
	     "so in the log with either, and removes it: somebody has made that edit on purpose."},
};

static const struct key_row log_keys[] = {
    {"level", VALUE_CHOICE, FIELD(log_settings, level),
     .preset = "info", .choices = levels, LIVE,
     .help = "What is left out: everything below it."},
    {"format", VALUE_CHOICE, FIELD(log_settings, format),
     .preset = "text", .choices = log_formats,
     .help = "\"text\" for people; \"json\" for machines, with the worker's name in it. One line for "
	     "each event."},
};

#define UNTITLED .name_offset = TABLE_NO_FIELD

const struct section_row section_worker = {
    .name = "worker", .bytes = sizeof(struct worker_settings), UNTITLED, .place_offset = TABLE_NO_FIELD,
    .keys = {KEY_ROWS(worker_keys)},
    .help = "This process.",
};
const struct section_row section_drain = {
    .name = "drain", .bytes = sizeof(struct drain_settings), UNTITLED, .place_offset = TABLE_NO_FIELD,
    .keys = {KEY_ROWS(drain_keys)},
    .help = "How it stops. Running jobs have until timeout - reserve - grace; then they are asked to stop, "
	    "after grace killed, and reserve is left for giving back, flushing and closing.",
};
const struct section_row section_handler = {
    .name = "handler", TITLED(handler_settings), .keys = {KEY_ROWS(handler_keys)},
    .help = "What runs a job; queues and lists name it.",
};
const struct section_row section_retry = {
    .name = "retry", TITLED(retry_settings), .keys = {KEY_ROWS(retry_keys)},
    .help = "When a failed job runs again. The section \"default\" is for every queue that names no other.",
};
const struct section_row section_admin = {
    .name = "admin", .bytes = sizeof(struct admin_settings), UNTITLED,
    .place_offset = offsetof(struct admin_settings, place), .keys = {KEY_ROWS(admin_keys)},
    .help = "How operators look in and steer: pages, metrics, `outfall ctl`.",
};
const struct section_row section_log = {
    .name = "log", .bytes = sizeof(struct log_settings), UNTITLED, .place_offset = TABLE_NO_FIELD,
    .keys = {KEY_ROWS(log_keys)},
    .help = "What is written to stderr.",
};
/* clang-format on */

/* --- sections ------------------------------------------------------------------------------------- */

static const struct section_row *const before_sources[] = {&section_worker, &section_drain},
				       *const after_sources[] = {&section_handler, &section_retry,
								 &section_admin, &section_log};

#define COUNT(array) (sizeof(array) / sizeof *(array))

const struct section_row *table_section(const struct source_schema *const *kinds, size_t i)
{
	if (i < COUNT(before_sources))
		return before_sources[i];
	i -= COUNT(before_sources);
	for (; *kinds != NULL && i >= 2; kinds++)
		i -= 2;
	if (*kinds != NULL)
		return i == 0 ? &(*kinds)->section : &(*kinds)->queue;
	return i < COUNT(after_sources) ? after_sources[i] : NULL;
}

const struct section_row *table_find_section(const struct source_schema *const *kinds,
					     const struct section_row *inside, const char *name)
{
	const struct section_row *row;
	for (size_t i = 0; (row = table_section(kinds, i)) != NULL; i++)
		if (row->inside == inside && strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

/* --- keys ----------------------------------------------------------------------------------------- */

_Static_assert(COUNT(table_source_keys) == 8 && COUNT(table_queue_keys) == 4, "as table.h has it");

size_t section_n_keys(const struct section_row *section)
{
	return section->keys[0].n + section->keys[1].n;
}

const struct key_row *section_key(const struct section_row *section, size_t i)
{
	size_t own = section->keys[0].n;
	return i < own ? &section->keys[0].rows[i] : &section->keys[1].rows[i - own];
}

size_t section_key_index(const struct section_row *section, const struct key_row *row)
{
	size_t i = 0;
	while (section_key(section, i) != row)
		must(++i < section_n_keys(section));
	return i;
}

const struct key_row *section_find_key(const struct section_row *section, const char *name)
{
	for (size_t i = 0; i < section_n_keys(section); i++)
		if (strcmp(section_key(section, i)->name, name) == 0)
			return section_key(section, i);
	return NULL;
}

const char *table_type_name(enum value_type type)
{
	static const char *const names[] = {
	    [VALUE_TEXT] = "text",     [VALUE_LIST] = "list",         [VALUE_COUNT] = "number",
	    [VALUE_NUMBER] = "number", [VALUE_DURATION] = "time",     [VALUE_SIZE] = "size",
	    [VALUE_RATE] = "rate",     [VALUE_FRACTION] = "fraction", [VALUE_CHOICE] = "word",
	};
	return names[type];
}

const char *handler_type_name(enum handler_type type)
{
	const struct choice *choice = handler_types;
	while (choice->value != (int)type && choice->name != NULL)
		choice++;
	return choice->name != NULL ? choice->name : "";
}

enum { NAME_MOST = 40 }; /* longer names are no misspelt key of ours */

/* How many letters must be put in, left out or exchanged to make one of the other. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MOST + 1];
	size_t b_len = strlen(b);
	must(b_len <= NAME_MOST);
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1] != '\0'; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b_len];
}

struct nearest {
	const char *wanted, *name;
	unsigned distance; /* one more than what is close enough to be offered */
};

static void consider(struct nearest *nearest, const char *name)
{
	unsigned d = distance(nearest->wanted, name);
	if (d < nearest->distance)
		*nearest = (struct nearest){nearest->wanted, name, d};
}

const char *table_nearest(const struct source_schema *const *kinds,
			  const struct section_row *inside, const char *name)
{
	size_t len = strlen(name);
	if (len > NAME_MOST)
		return NULL;
	struct nearest nearest = {.wanted = name, .distance = (unsigned)(len / 3) + 2};
	const struct section_row *row;
	for (size_t i = 0; (row = table_section(kinds, i)) != NULL; i++)
		if (row->inside == inside)
			consider(&nearest, row->name);
	for (size_t i = 0; inside != NULL && i < section_n_keys(inside); i++)
		consider(&nearest, section_key(inside, i)->name);
	return nearest.name;
}
