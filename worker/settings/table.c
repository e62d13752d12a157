#include "settings/table.h"

#include "base/must.h"
#include "settings/settings.h"

#include <string.h>

#define SECTION(row_name, row_inside, type, row_help)                                              \
	{                                                                                          \
		.name = row_name, .inside = row_inside, .bytes = sizeof(struct type),              \
		.name_offset = TABLE_NO_FIELD, .place_offset = TABLE_NO_FIELD, .help = row_help    \
	}
#define PLACED(row_name, row_inside, type, row_help)                                               \
	{                                                                                          \
		.name = row_name, .inside = row_inside, .bytes = sizeof(struct type),              \
		.name_offset = TABLE_NO_FIELD, .place_offset = offsetof(struct type, place),       \
		.help = row_help                                                                   \
	}
#define TITLED(row_name, row_inside, type, row_help)                                               \
	{                                                                                          \
		.name = row_name, .inside = row_inside, .titled = true,                            \
		.bytes = sizeof(struct type), .name_offset = offsetof(struct type, name),          \
		.place_offset = offsetof(struct type, place), .help = row_help                     \
	}

/* clang-format off */
const struct section_row table_sections[SECTIONS] = {
    [SECTION_WORKER] = SECTION("worker", SECTION_ROOT, worker_settings,
	"This process."),
    [SECTION_DRAIN] = SECTION("drain", SECTION_ROOT, drain_settings,
	"How it stops. Running jobs have until timeout - reserve - grace; then they are asked to stop, "
	"after grace killed, and reserve is left for giving back, flushing and closing."),
    [SECTION_RABBITMQ] = TITLED("rabbitmq", SECTION_ROOT, rabbitmq_settings,
	"A RabbitMQ broker; the title is yours to choose."),
    [SECTION_QUEUE] = TITLED("queue", SECTION_RABBITMQ, queue_settings,
	"A queue to take jobs from; the title is its name on the broker."),
    [SECTION_REDIS] = TITLED("redis", SECTION_ROOT, redis_settings,
	"A Redis server; the title is yours to choose."),
    [SECTION_LIST] = TITLED("list", SECTION_REDIS, list_settings,
	"A list to take jobs from; the title is the key that producers LPUSH to."),
    [SECTION_HANDLER] = TITLED("handler", SECTION_ROOT, handler_settings,
	"What runs a job; queues and lists name it."),
    [SECTION_RETRY] = TITLED("retry", SECTION_ROOT, retry_settings,
	"When a failed job runs again. The section \"default\" is for every queue that names no other."),
    [SECTION_ADMIN] = PLACED("admin", SECTION_ROOT, admin_settings,
	"How operators look in and steer: pages, metrics, `outfall ctl`."),
    [SECTION_LOG] = SECTION("log", SECTION_ROOT, log_settings,
	"What is written to stderr."),
};

static const struct choice tls_verifies[] = {
    {"full", TLS_VERIFY_FULL}, {"ca", TLS_VERIFY_CA}, {"none", TLS_VERIFY_NONE}, {0}};
static const struct choice auths[] = {
    {"plain", RABBITMQ_AUTH_PLAIN}, {"external", RABBITMQ_AUTH_EXTERNAL}, {0}};
static const struct choice declares[] = {
    {"passive", DECLARE_PASSIVE}, {"durable", DECLARE_DURABLE}, {"quorum", DECLARE_QUORUM}, {0}};
static const struct choice single_actives[] = {
    {"auto", SINGLE_ACTIVE_AUTO}, {"false", SINGLE_ACTIVE_NOT}, {"true", SINGLE_ACTIVE_YES}, {0}};
static const struct choice last_consumers[] = {
    {"ignore", LAST_CONSUMER_IGNORE}, {"warn", LAST_CONSUMER_WARN}, {"refuse", LAST_CONSUMER_REFUSE},
    {0}};
static const struct choice missings[] = {
    {"fail", MISSING_FAIL}, {"wait", MISSING_WAIT}, {0}};
static const struct choice formats[] = {
    {"list", 0}, {"bullmq", CHOICE_LATER}, {"sidekiq", CHOICE_LATER}, {"celery", CHOICE_LATER}, {0}};
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
static const struct choice dlxs[] = {{"false", DLX_NOT_KNOWN}, {"true", DLX_OWN}, {0}};
static const struct choice backoffs[] = {
    {"exponential", BACKOFF_EXPONENTIAL}, {"linear", BACKOFF_LINEAR},
    {"constant", BACKOFF_CONSTANT}, {0}};
static const struct choice levels[] = {
    {"error", LOG_ERROR}, {"warn", LOG_WARN}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {0}};
static const struct choice log_formats[] = {{"text", LOG_TEXT}, {"json", LOG_JSON}, {0}};

#define SECONDS * INT64_C(1000)
#define HOURS * INT64_C(3600000)
#define FIELD(type, field) .offset = offsetof(struct type, field)
#define NO_FIELD .offset = TABLE_NO_FIELD
/* Between two jobs, in nanoseconds: a million a second to one an hour. */
#define RATES .least = 1000, .most = INT64_C(3600) * 1000 * 1000 * 1000
#define RANGE(from, to) .least = from, .most = to
#define LIVE     .live = true
#define SECRET(kind) .secret = SECRET_##kind
#define ONLY_EXEC .types = 1u << HANDLER_EXEC
#define ONLY_POOL .types = 1u << HANDLER_POOL
#define ONLY_PLUGIN .types = 1u << HANDLER_PLUGIN
#define ONLY_HTTP .types = 1u << HANDLER_HTTP
/* Of a plugin only if it is isolated, which check_handlers.c knows. */
#define CHILDREN .types = 1u << HANDLER_EXEC | 1u << HANDLER_POOL | 1u << HANDLER_PLUGIN
#define POOLS .types = 1u << HANDLER_POOL | 1u << HANDLER_PLUGIN
#define LIMIT(field) .offset = offsetof(struct handler_settings, limits.field)

const struct key_row table_keys[] = {
    {SECTION_WORKER, "name", VALUE_TEXT, FIELD(worker_settings, name),
     .help = "What the worker calls itself to brokers and in reports. Default: host name and "
	     "process id."},
    {SECTION_WORKER, "concurrency", VALUE_COUNT, FIELD(worker_settings, concurrency),
     .preset = "16", RANGE(1, 100000), LIVE,
     .help = "Jobs that run at once in this process, all queues together."},
    {SECTION_WORKER, "max_body", VALUE_SIZE, FIELD(worker_settings, max_body_bytes),
     .preset = "64M", RANGE(1, INT64_C(1) << 30),
     .help = "A larger body is dead-lettered, not read into memory: in RabbitMQ it passes to the queue that "
	     "`dead` names piece by piece, on a connection of its own."},
    {SECTION_WORKER, "max_checkpoint", VALUE_SIZE, FIELD(worker_settings, max_checkpoint_bytes),
     .preset = "64k", RANGE(0, 96 << 10),
     .help = "The most that a job may leave behind for its next run. It travels in a message header."},

    {SECTION_DRAIN, "timeout", VALUE_TEXT, NO_FIELD, .preset = "auto", LIVE,
     .help = "The whole time from the signal to the exit: a duration, \"none\" to wait for ever, or "
	     "\"auto\": what the process manager allows, 30s where nothing is known."},
    {SECTION_DRAIN, "reserve", VALUE_DURATION, FIELD(drain_settings, reserve_ms),
     .preset = "2s", RANGE(0, 1 HOURS), LIVE,
     .help = "Kept back from the deadline for returning jobs and closing."},
    {SECTION_DRAIN, "grace", VALUE_DURATION, FIELD(drain_settings, grace_ms),
     .preset = "5s", RANGE(0, 1 HOURS), LIVE,
     .help = "Between asking an overdue job to stop and killing its process group."},
    {SECTION_DRAIN, "report", VALUE_TEXT, FIELD(drain_settings, report), LIVE,
     .help = "Where the drain report goes as a JSON file. Default: it is only logged."},
    {SECTION_DRAIN, "deadline_file", VALUE_TEXT, FIELD(drain_settings, deadline_file),
     .help = "A file whose first line says how long the process manager waits before it kills, like 60s. Read "
	     "at the start; the environment variable OUTFALL_STOP_TIMEOUT says the same."},

    {SECTION_RABBITMQ, "url", VALUE_TEXT, NO_FIELD, SECRET(URL),
     .help = "amqp://user:password@host:port/vhost, or amqps:// for TLS. One of url, urls and url_file is "
	     "needed."},
    {SECTION_RABBITMQ, "urls", VALUE_LIST, NO_FIELD, SECRET(URL),
     .help = "The nodes of a cluster, {\"amqp://...\", \"amqp://...\"}: in an order drawn at the start, so "
	     "that a fleet spreads; after a failure the next one, and a wait once all have failed."},
    {SECTION_RABBITMQ, "url_file", VALUE_TEXT, NO_FIELD, SECRET(FILE),
     .help = "A file that holds the URL, so that it is not in here. Read again for each connection; "
	     "relative to this file."},
    {SECTION_RABBITMQ, "password_file", VALUE_TEXT, NO_FIELD, SECRET(FILE),
     .help = "A file that holds the password for a URL without one. Read again for each connection; "
	     "relative to this file."},
    {SECTION_RABBITMQ, "auth", VALUE_CHOICE, FIELD(rabbitmq_settings, auth),
     .preset = "plain", .choices = auths,
     .help = "\"plain\": the user and password of the URL. \"external\": the certificate in cert_file says who "
	     "we are (rabbitmq_auth_mechanism_ssl)."},
    {SECTION_RABBITMQ, "ca_file", VALUE_TEXT, FIELD(rabbitmq_settings, broker.tls.ca_file),
     .help = "The certificates that amqps:// servers are checked against. Default: the system's. This and "
	     "the next two are read again when they change; relative to this file."},
    {SECTION_RABBITMQ, "cert_file", VALUE_TEXT, FIELD(rabbitmq_settings, broker.tls.cert_file),
     .help = "Our own certificate, with its chain, for a server that wants one."},
    {SECTION_RABBITMQ, "key_file", VALUE_TEXT, FIELD(rabbitmq_settings, broker.tls.key_file),
     .help = "Its private key, not encrypted. Default: it is in cert_file."},
    {SECTION_RABBITMQ, "tls_verify", VALUE_CHOICE, FIELD(rabbitmq_settings, broker.tls.verify),
     .preset = "full", .choices = tls_verifies,
     .help = "What is checked of the server's certificate. \"full\": who signed it, when it ends, and that "
	     "it is for the host of the address. \"ca\": not for whom. \"none\": nothing."},
    {SECTION_RABBITMQ, "tls_server_name", VALUE_TEXT, FIELD(rabbitmq_settings, broker.tls.server_name),
     .help = "Whom the certificate must be for, where that is not the host of the address."},
    {SECTION_RABBITMQ, "heartbeat", VALUE_DURATION, FIELD(rabbitmq_settings, heartbeat_ms),
     .preset = "10s", .zero = "none", RANGE(1 SECONDS, 1 HOURS),
     .help = "A peer silent for two of them is dead. Whole seconds; the broker may want less."},
    {SECTION_RABBITMQ, "connect_timeout", VALUE_DURATION,
     FIELD(rabbitmq_settings, broker.connect_timeout_ms), .preset = "5s", RANGE(10, 1 HOURS),
     .help = "How long connecting and logging in may take, TLS included."},
    {SECTION_RABBITMQ, "consumer_check", VALUE_DURATION, FIELD(rabbitmq_settings, consumer_check_ms),
     .preset = "30s", .zero = "none", RANGE(100, 24 HOURS),
     .help = "How often each queue is asked whether it still knows of a consumer; if not, ours "
	     "subscribes again."},

    {SECTION_QUEUE, "handler", VALUE_TEXT, NO_FIELD,
     .help = "The handler section that runs its jobs. Needed."},
    {SECTION_QUEUE, "retry", VALUE_TEXT, NO_FIELD, .preset = "default",
     .help = "The retry section for its failed jobs."},
    {SECTION_QUEUE, "prefetch", VALUE_COUNT, FIELD(queue_settings, prefetch),
     .preset = "auto", .zero = "auto", RANGE(1, 65535),
     .help = "Most jobs of the queue here at once, running ones included. \"auto\" follows from what the "
	     "handler can run at once."},
    {SECTION_QUEUE, "concurrency", VALUE_COUNT, FIELD(queue_settings, concurrency),
     .preset = "none", .zero = "none", RANGE(1, 100000), LIVE,
     .help = "Jobs of this queue that run at once. \"none\": only the handler's and the worker's "
	     "limits hold."},
    {SECTION_QUEUE, "rate", VALUE_RATE, FIELD(queue_settings, rate_interval_ns),
     .preset = "none", .zero = "none", RATES, LIVE,
     .help = "Jobs begun in a time, like \"100/s\"; more wait."},
    {SECTION_QUEUE, "priority", VALUE_NUMBER, FIELD(queue_settings, priority),
     .preset = "0", RANGE(-INT32_MAX, INT32_MAX),
     .help = "The consumer's priority: of several workers, the highest is served first."},
    {SECTION_QUEUE, "consumer_timeout", VALUE_DURATION, FIELD(queue_settings, consumer_timeout_ms),
     .preset = "broker", .zero = "broker", RANGE(60 SECONDS, 576 HOURS),
     .help = "How long RabbitMQ waits for a job's end before it takes the job back, the job's wait in the "
	     "worker included (x-consumer-timeout, RabbitMQ 3.12 and newer; from 4.3 on quorum queues "
	     "only). \"broker\": what is set there, "
	     "30m by default."},
    {SECTION_QUEUE, "declare", VALUE_CHOICE, FIELD(queue_settings, declare),
     .preset = "passive", .choices = declares,
     .help = "\"passive\": the queue must exist, and the one that `dead` names. The others create what "
	     "does not."},
    {SECTION_QUEUE, "single_active", VALUE_CHOICE, FIELD(queue_settings, single_active),
     .preset = "auto", .choices = single_actives,
     .help = "Whether the queue has a single active consumer (x-single-active-consumer). Such a one is "
	     "released when its running jobs have ended, so that the next consumer cannot overtake them. "
	     "\"auto\": the broker is asked by a declaration that it must refuse; that takes the right to "
	     "configure the queue, and leaves a line in the broker's log at each start. \"true\": it has, "
	     "and declare creates it so."},
    {SECTION_QUEUE, "missing", VALUE_CHOICE, FIELD(queue_settings, missing),
     .preset = "fail", .choices = missings,
     .help = "Where the queue, or the one that `dead` names, is not there at the start. \"fail\": the "
	     "worker ends, with 69. \"wait\": it looks again until it is; other queues go on. A queue "
	     "that is lost later is always awaited; one that `dead` names only by the jobs that end there."},
    {SECTION_QUEUE, "dead", VALUE_TEXT, FIELD(queue_settings, dead),
     .help = "The queue where dead jobs go: confirmed there before they leave this one. Default: QUEUE.dead "
	     "where `declare` creates the queue, and creates that as well; else basic.reject, and the broker "
	     "discards them unless the queue has a dead letter exchange."},
    {SECTION_QUEUE, "dlx", VALUE_CHOICE, FIELD(queue_settings, dlx), .preset = "false",
     .choices = dlxs,
     .help = "\"true\": instead of `dead`, the queue has a dead letter exchange of its own, by argument or "
	     "policy. Dead jobs are rejected, for it."},

    {SECTION_REDIS, "url", VALUE_TEXT, NO_FIELD, SECRET(URL),
     .help = "redis://user:password@host:port/database, rediss:// for TLS, unix:///path/to/socket, or "
	     "redis+sentinel://user:password@sentinel:26379,sentinel:26379/MASTER/database with "
	     "?sentinel_user=USER&sentinel_password=PASSWORD where the Sentinels want them; "
	     "redis+cluster://user:password@node:6379,node:6379 for a cluster. One of url and url_file is needed."},
    {SECTION_REDIS, "url_file", VALUE_TEXT, NO_FIELD, SECRET(FILE),
     .help = "A file that holds the URL, so that it is not in here. Read again for each connection; "
	     "relative to this file."},
    {SECTION_REDIS, "password_file", VALUE_TEXT, NO_FIELD, SECRET(FILE),
     .help = "A file that holds the password for a URL without one. Read again for each connection; "
	     "relative to this file."},
    {SECTION_REDIS, "ca_file", VALUE_TEXT, FIELD(redis_settings, broker.tls.ca_file),
     .help = "The certificates that rediss:// servers are checked against. Default: the system's. This and "
	     "the next two are read again when they change; relative to this file."},
    {SECTION_REDIS, "cert_file", VALUE_TEXT, FIELD(redis_settings, broker.tls.cert_file),
     .help = "Our own certificate, with its chain, for a server that wants one."},
    {SECTION_REDIS, "key_file", VALUE_TEXT, FIELD(redis_settings, broker.tls.key_file),
     .help = "Its private key, not encrypted. Default: it is in cert_file."},
    {SECTION_REDIS, "tls_verify", VALUE_CHOICE, FIELD(redis_settings, broker.tls.verify),
     .preset = "full", .choices = tls_verifies,
     .help = "What is checked of the server's certificate. \"full\": who signed it, when it ends, and that "
	     "it is for the host of the address. \"ca\": not for whom. \"none\": nothing."},
    {SECTION_REDIS, "tls_server_name", VALUE_TEXT, FIELD(redis_settings, broker.tls.server_name),
     .help = "Whom the certificate must be for, where that is not the host of the address."},
    {SECTION_REDIS, "connect_timeout", VALUE_DURATION,
     FIELD(redis_settings, broker.connect_timeout_ms), .preset = "5s", RANGE(10, 1 HOURS),
     .help = "How long connecting and logging in may take, TLS included."},
    {SECTION_REDIS, "wait_replicas", VALUE_COUNT, FIELD(redis_settings, wait_replicas),
     .preset = "none", .zero = "none", RANGE(1, 100),
     .help = "Jobs begin, and count as settled, when so many replicas have confirmed it (WAIT): then a "
	     "failover to one of them runs fewer jobs twice. Costs a round trip to the replicas for each call."},
    {SECTION_REDIS, "wait_timeout", VALUE_DURATION, FIELD(redis_settings, wait_timeout_ms),
     .preset = "1s", RANGE(1, 1 HOURS),
     .help = "How long replicas are waited for; then the work goes on without them, and the log says so. "
	     "Less than a sixth of each list's lease."},

    {SECTION_LIST, "handler", VALUE_TEXT, NO_FIELD,
     .help = "The handler section that runs its jobs. Needed."},
    {SECTION_LIST, "retry", VALUE_TEXT, NO_FIELD, .preset = "default",
     .help = "The retry section for its failed jobs."},
    {SECTION_LIST, "prefetch", VALUE_COUNT, FIELD(list_settings, prefetch),
     .preset = "auto", .zero = "auto", RANGE(1, 65535),
     .help = "Most jobs of the list here at once, running ones included. \"auto\" claims more or fewer "
	     "ahead with the time that jobs take: of slow ones only those that can begin, and one that "
	     "waits for its turn while other queues have the handler's places or the worker's."},
    {SECTION_LIST, "concurrency", VALUE_COUNT, FIELD(list_settings, concurrency),
     .preset = "none", .zero = "none", RANGE(1, 100000), LIVE,
     .help = "Jobs of this list that run at once. \"none\": only the handler's and the worker's "
	     "limits hold."},
    {SECTION_LIST, "rate", VALUE_RATE, FIELD(list_settings, rate_interval_ns),
     .preset = "none", .zero = "none", RATES, LIVE,
     .help = "Jobs begun in a time, like \"100/s\"; more wait."},
    {SECTION_LIST, "lease", VALUE_DURATION, FIELD(list_settings, lease_ms),
     .preset = "15s", RANGE(1 SECONDS, 1 HOURS),
     .help = "How long a worker that died keeps its jobs. A living one renews it."},
    {SECTION_LIST, "format", VALUE_CHOICE, NO_FIELD, .preset = "list", .choices = formats,
     .help = "What producers put there. \"list\": any bytes, with LPUSH."},
    {SECTION_LIST, "dead", VALUE_TEXT, FIELD(list_settings, dead),
     .help = "The list where rejected jobs go. Default: {NAME}:dead."},

    {SECTION_HANDLER, "type", VALUE_CHOICE, FIELD(handler_settings, type),
     .choices = handler_types,
     .help = "\"exec\": a process for each job. \"pool\": long-lived processes that speak JSON lines. "
	     "\"plugin\": a shared object, in threads. \"http\": each job is POSTed. Needed."},
    {SECTION_HANDLER, "timeout", VALUE_DURATION, FIELD(handler_settings, timeout_ms),
     .preset = "none", .zero = "none", RANGE(1, 720 HOURS),
     .help = "How long one job may run; then it is stopped and retried."},
    {SECTION_HANDLER, "rate", VALUE_RATE, FIELD(handler_settings, rate_interval_ns),
     .preset = "none", .zero = "none", RATES, LIVE,
     .help = "Jobs begun in a time, of all its queues together, like \"100/s\"; more wait."},
    {SECTION_HANDLER, "deadline", VALUE_CHOICE, FIELD(handler_settings, deadline),
     .preset = "interrupt", .choices = deadlines, LIVE,
     .help = "What a drain does to its running jobs. \"interrupt\": they have until the deadline, and "
	     "are asked to stop then. \"finish\": they are not asked, only killed when nothing else "
	     "is left. \"return\": they are asked at once."},
    {SECTION_HANDLER, "concurrency", VALUE_COUNT, FIELD(handler_settings, concurrency),
     .preset = "none", .zero = "none", RANGE(1, 100000), LIVE,
     .help = "Jobs it runs at once, of all its queues together. \"none\": only the worker's limit "
	     "holds, and what processes or threads there are."},

    {SECTION_HANDLER, "command", VALUE_LIST, FIELD(handler_settings, command),
     .types = 1u << HANDLER_EXEC | 1u << HANDLER_POOL,
     .help = "The program and its arguments, {\"/usr/bin/php\", \"send.php\"}. No shell."},
    {SECTION_HANDLER, "directory", VALUE_TEXT, FIELD(handler_settings, directory), CHILDREN,
     .help = "Where it is started. Default: the worker's working directory."},
    {SECTION_HANDLER, "user", VALUE_TEXT, FIELD(handler_settings, user), CHILDREN,
     .help = "Whom it runs as, with that user's groups; the worker must be root. Default: the "
	     "worker's user."},
    {SECTION_HANDLER, "group", VALUE_TEXT, FIELD(handler_settings, group), CHILDREN,
     .help = "Its group, instead of the user's own."},
    {SECTION_HANDLER, "new_privileges", VALUE_CHOICE, FIELD(handler_settings, privileges), CHILDREN,
     .preset = "false", .choices = privileges,
     .help = "\"true\": programs that are installed setuid or setgid, as sudo, ping or a mailer's "
	     "postdrop, have their effect in its processes."},
    {SECTION_HANDLER, "environment", VALUE_LIST, FIELD(handler_settings, environment), CHILDREN,
     .help = "What it gets of the worker's environment, {\"PATH\", \"APP_*\", \"LANG=C\"}: names, "
	     "beginnings of names, and values of its own. Default: all of it. Variables that this file has put "
	     "into a password, a query or a header are only for handlers that name them in full."},
    {SECTION_HANDLER, "output_line", VALUE_SIZE, FIELD(handler_settings, output_line_bytes), CHILDREN,
     .preset = "2k", RANGE(64, 3 << 10),
     .help = "The longest line of its output that is logged whole."},
    {SECTION_HANDLER, "limit_memory", VALUE_SIZE, LIMIT(memory_bytes), CHILDREN,
     .preset = "none", .zero = "none", RANGE(1 << 20, INT64_C(1) << 50),
     .help = "The most address space of one of its processes (RLIMIT_AS)."},
    {SECTION_HANDLER, "limit_cpu", VALUE_DURATION, LIMIT(cpu_ms), CHILDREN,
     .preset = "none", .zero = "none", RANGE(1 SECONDS, 720 HOURS),
     .help = "The most processor time of one of its processes (RLIMIT_CPU), in whole seconds."},
    {SECTION_HANDLER, "limit_files", VALUE_COUNT, LIMIT(files), CHILDREN,
     .preset = "none", .zero = "none", RANGE(8, 1 << 20),
     .help = "The most descriptors one of its processes may have open (RLIMIT_NOFILE)."},
    {SECTION_HANDLER, "limit_file_size", VALUE_SIZE, LIMIT(file_bytes), CHILDREN,
     .preset = "none", .zero = "none", RANGE(1, INT64_C(1) << 50),
     .help = "The largest file one of its processes may write (RLIMIT_FSIZE)."},
    {SECTION_HANDLER, "exit_codes", VALUE_CHOICE, FIELD(handler_settings, exit_codes), ONLY_EXEC,
     .preset = "outfall", .choices = exit_codes,
     .help = "What an exit status means. \"outfall\": 0 done, 65 dead, others retry. "
	     "\"cli-consumer\": as rabbitmq-cli-consumer has it."},
    {SECTION_HANDLER, "output_lines", VALUE_COUNT, FIELD(handler_settings, output_lines), CHILDREN,
     .preset = "1000", .zero = "all", RANGE(1, 1000000000),
     .help = "The most lines of one job's output that are logged; the rest is counted. Of a process that "
	     "stays: of its stderr, from one answer to the next."},

    {SECTION_HANDLER, "processes", VALUE_COUNT, FIELD(handler_settings, processes),
     POOLS, .preset = "1", RANGE(1, 1024),
     .help = "How many processes there are; for a plugin, with isolate."},
    {SECTION_HANDLER, "per_process", VALUE_COUNT, FIELD(handler_settings, per_process), ONLY_POOL,
     .preset = "auto", .zero = "auto", RANGE(1, 10000),
     .help = "Jobs in one process at once. \"auto\": as many as it says in its ready line."},
    {SECTION_HANDLER, "ready_timeout", VALUE_DURATION, FIELD(handler_settings, ready_timeout_ms),
     POOLS, .preset = "10s", RANGE(10, 1 HOURS),
     .help = "How long a process may take from its start to its ready line."},
    {SECTION_HANDLER, "stall_timeout", VALUE_DURATION, FIELD(handler_settings, stall_timeout_ms),
     POOLS, .preset = "30s", RANGE(10, 24 HOURS),
     .help = "How long a process may leave unread what it is sent; then it is replaced."},
    {SECTION_HANDLER, "leave_timeout", VALUE_DURATION, FIELD(handler_settings, leave_timeout_ms),
     POOLS, .preset = "1s", RANGE(0, 1 HOURS),
     .help = "How long an idle process may take to end, once its stdin has, when the worker stops. All "
	     "of them end at the same time, and the drain's deadline stands."},
    {SECTION_HANDLER, "max_jobs", VALUE_COUNT, FIELD(handler_settings, max_jobs), POOLS,
     .preset = "none", .zero = "none", RANGE(1, 1000000000),
     .help = "A process is replaced after so many jobs."},
    {SECTION_HANDLER, "max_memory", VALUE_SIZE, FIELD(handler_settings, max_memory_bytes), POOLS,
     .preset = "none", .zero = "none", RANGE(1 << 20, INT64_C(1) << 50),
     .help = "A process is replaced when its resident memory grows beyond this."},

    {SECTION_HANDLER, "path", VALUE_TEXT, FIELD(handler_settings, path), ONLY_PLUGIN,
     .help = "The shared object. Without a slash the system's library folders are searched."},
    {SECTION_HANDLER, "threads", VALUE_COUNT, FIELD(handler_settings, threads), ONLY_PLUGIN,
     .preset = "4", RANGE(1, 1024),
     .help = "How many jobs it runs at once, in each process."},
    {SECTION_HANDLER, "isolate", VALUE_CHOICE, FIELD(handler_settings, isolate), ONLY_PLUGIN,
     .preset = "false", .choices = isolations,
     .help = "\"true\": in processes of their own, so that a crash costs only the jobs begun there. "
	     "The keys of a pool's processes count then."},

    {SECTION_HANDLER, "url", VALUE_TEXT, FIELD(handler_settings, url), ONLY_HTTP, SECRET(URL),
     .help = "Where each job is POSTed to: http://, https://, or unix:///run/app.sock:/jobs for a socket."},
    {SECTION_HANDLER, "headers", VALUE_LIST, FIELD(handler_settings, headers), ONLY_HTTP, SECRET(WHOLE),
     .help = "More headers of each request, {\"Authorization: Bearer ${TOKEN}\"}. A Content-Type is "
	     "for the jobs that have none."},
    {SECTION_HANDLER, "ca_file", VALUE_TEXT, FIELD(handler_settings, ca_file), ONLY_HTTP,
     .help = "The certificates that https:// servers are checked against. Default: the system's. Relative "
	     "to this file."},
    {SECTION_HANDLER, "connect_timeout", VALUE_DURATION,
     FIELD(handler_settings, connect_timeout_ms), ONLY_HTTP, .preset = "5s", RANGE(10, 1 HOURS),
     .help = "How long connecting may take."},
    {SECTION_HANDLER, "max_connection_age", VALUE_DURATION,
     FIELD(handler_settings, max_connection_age_ms), ONLY_HTTP, .preset = "5m", .zero = "none",
     RANGE(1 SECONDS, 24 HOURS),
     .help = "A kept connection that is older is not used again, so that what is added behind a name gets its "
	     "share of the jobs. Whole seconds."},

    {SECTION_RETRY, "attempts", VALUE_COUNT, FIELD(retry_settings, attempts),
     .preset = "12", RANGE(1, 1000000), LIVE,
     .help = "In all, the first included. Being interrupted is not counted, nor a handler that could not "
	     "begin. With the other defaults the last one is over an hour after the first."},
    {SECTION_RETRY, "backoff", VALUE_CHOICE, FIELD(retry_settings, backoff),
     .preset = "exponential", .choices = backoffs, LIVE,
     .help = "How the wait grows from one attempt to the next."},
    {SECTION_RETRY, "first", VALUE_DURATION, FIELD(retry_settings, first_ms),
     .preset = "2s", RANGE(0, 720 HOURS), LIVE,
     .help = "The wait before the second attempt."},
    {SECTION_RETRY, "max", VALUE_DURATION, FIELD(retry_settings, max_ms),
     .preset = "1h", RANGE(0, 720 HOURS), LIVE,
     .help = "The longest wait."},
    {SECTION_RETRY, "jitter", VALUE_FRACTION, FIELD(retry_settings, jitter),
     .preset = "0.2", RANGE(0, 1000), LIVE,
     .help = "How much longer or shorter a wait may be, so that jobs do not come back in step: 0.2 "
	     "is a fifth."},
    {SECTION_RETRY, "crashes", VALUE_COUNT, FIELD(retry_settings, crashes),
     .preset = "3", .zero = "none", RANGE(1, 1000000), LIVE,
     .help = "After so many runs in which its handler crashed a job is dead, whatever attempts are "
	     "left."},
    {SECTION_RETRY, "lost", VALUE_COUNT, FIELD(retry_settings, lost), .preset = "5", .zero = "none",
     RANGE(1, 1000000), LIVE,
     .help = "After so many workers have died while they had it, a job is dead: it may be the reason. On Redis "
	     "lists. Such a job is claimed alone, so that its neighbours are not blamed."},

    {SECTION_ADMIN, "socket", VALUE_TEXT, FIELD(admin_settings, socket),
     .help = "A Unix socket that answers everything; whoever may open it may steer. \"none\": none. Default: "
	     "admin.sock in $RUNTIME_DIRECTORY, in $XDG_RUNTIME_DIR/outfall (not root's), or in /run/outfall, "
	     "if it can be made there."},
    {SECTION_ADMIN, "socket_mode", VALUE_TEXT, NO_FIELD, .preset = "0660",
     .help = "Who may: the permissions of that file, in octal digits."},
    {SECTION_ADMIN, "http", VALUE_TEXT, FIELD(admin_settings, http),
     .help = "An address that answers what only reads: \"127.0.0.1:9180\", \"[::1]:9180\", or \"*:9180\" "
	     "for every interface. Default: none."},
    {SECTION_ADMIN, "agent", VALUE_TEXT, FIELD(admin_settings, agent),
     .help = "An address for HAProxy's agent check, like \"127.0.0.1:9181\": whoever connects gets one line, "
	     "\"up ready 75%\", \"drain\" or \"down#why\". Default: none."},
    {SECTION_ADMIN, "hosts", VALUE_LIST, FIELD(admin_settings, hosts),
     .help = "Names under which http may be asked, {\"worker.example\"}, beside localhost and addresses: "
	     "others are refused, because a browser may have been tricked into asking."},
    {SECTION_ADMIN, "token_file", VALUE_TEXT, NO_FIELD, LIVE, SECRET(FILE),
     .help = "A file that holds a token. Whoever brings it may steer over http, too. Read again at a reload. Relative "
	     "to this file."},
    {SECTION_ADMIN, "last_consumer", VALUE_CHOICE, FIELD(admin_settings, last_consumer),
     .preset = "ignore", .choices = last_consumers,
     .help = "What quiet and drain do, when they are asked for by outfall ctl or POST, while nobody else takes "
	     "from one of the queues: \"warn\" does it and says so, \"refuse\" wants --force. The brokers are "
	     "asked, for two seconds at most. Signals are not affected. A reload that removes such a queue says "
	     "so in the log with either, and removes it: somebody has made that edit on purpose."},

    {SECTION_LOG, "level", VALUE_CHOICE, FIELD(log_settings, level),
     .preset = "info", .choices = levels, LIVE,
     .help = "What is left out: everything below it."},
    {SECTION_LOG, "format", VALUE_CHOICE, FIELD(log_settings, format),
     .preset = "text", .choices = log_formats,
     .help = "\"text\" for people; \"json\" for machines, with the worker's name in it. One line for "
	     "each event."},
};
/* clang-format on */

const size_t table_n_keys = sizeof table_keys / sizeof table_keys[0];

const struct key_row *table_find_key(enum section section, const char *name)
{
	for (size_t i = 0; i < table_n_keys; i++)
		if (table_keys[i].section == section && strcmp(table_keys[i].name, name) == 0)
			return &table_keys[i];
	return NULL;
}

const struct key_row *table_keys_of(enum section section, size_t *ret_n)
{
	size_t first = 0, n = 0;
	while (table_keys[first].section != section)
		first++;
	while (first + n < table_n_keys && table_keys[first + n].section == section)
		n++;
	*ret_n = n;
	return &table_keys[first];
}

const struct section_row *table_find_section(int inside, const char *name)
{
	for (size_t i = 0; i < SECTIONS; i++)
		if (table_sections[i].inside == inside && strcmp(table_sections[i].name, name) == 0)
			return &table_sections[i];
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

const char *table_nearest(int inside, const char *name)
{
	size_t len = strlen(name);
	if (len > NAME_MOST)
		return NULL;
	struct nearest nearest = {.wanted = name, .distance = (unsigned)(len / 3) + 2};
	for (size_t i = 0; i < SECTIONS; i++)
		if (table_sections[i].inside == inside)
			consider(&nearest, table_sections[i].name);
	for (size_t i = 0; i < table_n_keys; i++)
		if ((int)table_keys[i].section == inside)
			consider(&nearest, table_keys[i].name);
	return nearest.name;
}
