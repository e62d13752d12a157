/* settings - the configuration file as one immutable tree, checked as a whole.
 *
 * Thread: loading is the caller's; the loaded tree is read-only and may be read from any thread.
 * Owns:   struct settings owns every text and array below it, until settings_destroy().
 * Units:  durations are milliseconds (`_ms`), sizes are bytes (`_bytes`).
 * Fails:  settings_load() collects every problem, each with file and line, before it returns. */
#ifndef OUTFALL_SETTINGS_SETTINGS_H
#define OUTFALL_SETTINGS_SETTINGS_H

#include "base/error.h"
#include "base/log.h"
#include "wire/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct place { /* where in the configuration a thing was said */
	const char *file;
	unsigned line;
};

struct worker_settings {
	const char *name;      /* default: host name and process id */
	unsigned concurrency;  /* jobs running at once in this process, all queues together; 16 */
	size_t max_body_bytes; /* a larger body is dead-lettered, not read into memory; 64M */
	size_t max_checkpoint_bytes; /* the most a job may leave for its next run; 64k */
};

enum drain_limit {
	DRAIN_LIMIT_AUTO, /* what the process manager allows; timeout_ms holds what is known: 30 s */
	DRAIN_LIMIT_SET,
	DRAIN_LIMIT_NONE, /* wait for ever */
};

struct drain_settings {
	enum drain_limit limit;
	uint64_t timeout_ms; /* from the signal to the exit; unused with DRAIN_LIMIT_NONE */
	uint64_t reserve_ms; /* 2s; kept back for returning jobs and closing */
	uint64_t grace_ms;   /* 5s; between asking an overdue job to stop and killing its group */
	const char *report;  /* path of the JSON report, NULL: only the log line */
	const char *deadline_file; /* says when the process manager kills; NULL: none */
};

/* Where the broker of a section is, and who we are there. */
struct source_schema;
struct broker_settings {
	const struct source_schema *schema; /* of its kind, which knows its addresses */
	const char **urls; /* at least one; secrets inside: never print, use url_redacted() */
	size_t n_urls;
	/* Where secrets came from; read again for each connection (secrets.h). NULL: from nowhere. */
	const char *url_file, *password_file;
	const char **bare_urls;      /* with password_file: the addresses without it */
	uint64_t connect_timeout_ms; /* 5s; TLS and logging in included */
	struct tls_settings tls;
};

struct handler_settings;
struct retry_settings;

/* What every queue has, whatever its kind calls it. As a list of fields, so that a kind's own struct has them by the
 * same names (see below); each of those begins with them. */
#define SOURCE_QUEUE_SETTINGS                                                                      \
	const char *name; /* the broker's */                                                       \
	struct place place;                                                                        \
	const struct handler_settings *handler; /* resolved by name */                             \
	const struct retry_settings *retry;     /* key `retry`; default: the section "default" */  \
	unsigned prefetch;                      /* 1..65535; 0 = chosen, as the kind documents */  \
	unsigned concurrency;      /* 0 = only the handler's and the worker's limits hold */       \
	uint64_t rate_interval_ns; /* between two jobs begun; 0 = no limit */                      \
	const char *dead           /* where dead jobs go; NULL: as the kind documents */

struct source_queue_settings {
	SOURCE_QUEUE_SETTINGS;
};

/* The same of every section that names a broker. */
#define SOURCE_SETTINGS                                                                            \
	const char *name;                                                                          \
	struct place place;                                                                        \
	struct broker_settings broker;                                                             \
	struct source_queue_settings **queues; /* each the first part of its kind's own struct */  \
	size_t n_queues

struct source_settings {
	SOURCE_SETTINGS;
};

/* A kind's own struct begins with one of these two, under the name that it gives it, and its fields can be named
 * without. */
#define SOURCE_SETTINGS_AS(name)                                                                   \
	union {                                                                                    \
		struct source_settings name;                                                       \
		struct {                                                                           \
			SOURCE_SETTINGS;                                                           \
		};                                                                                 \
	}
#define SOURCE_QUEUE_SETTINGS_AS(name)                                                             \
	union {                                                                                    \
		struct source_queue_settings name;                                                 \
		struct {                                                                           \
			SOURCE_QUEUE_SETTINGS;                                                     \
		};                                                                                 \
	}

/* What a drain does to jobs that run. */
enum deadline_policy {
	POLICY_INTERRUPT, /* they have until the deadline; then asked to stop, then killed */
	POLICY_FINISH,    /* the same, but never asked: left alone until they would be killed */
	POLICY_RETURN,    /* asked at once: cheap to interrupt, quick to run again */
};

enum handler_type { HANDLER_EXEC, HANDLER_POOL, HANDLER_PLUGIN, HANDLER_HTTP, HANDLER_TYPES };

const char *handler_type_name(enum handler_type type); /* as the configuration has it */

enum exit_codes { EXIT_CODES_OUTFALL, EXIT_CODES_CLI_CONSUMER };
enum privileges { PRIVILEGES_KEPT, PRIVILEGES_MAY_GROW }; /* no_new_privs, or not */
enum isolation { ISOLATE_NOT, ISOLATE_PROCESS };

/* What a child process is allowed; 0 = as the worker itself. */
struct child_limits {
	size_t memory_bytes; /* address space */
	uint64_t cpu_ms;     /* of the processor, rounded up to seconds */
	unsigned files;      /* open at once */
	size_t file_bytes;   /* the largest file it may write */
};

struct handler_settings {
	const char *name;
	struct place place;
	enum handler_type type;
	uint64_t timeout_ms;           /* 0 = none */
	unsigned concurrency;          /* jobs of all its queues at once; 0 = the worker's limit */
	uint64_t rate_interval_ns;     /* between two jobs begun; 0 = no limit */
	enum deadline_policy deadline; /* what a drain does to its running jobs */

	/* exec and pool */
	const char **command;     /* NULL-terminated argv; command[0] is looked up in PATH */
	const char *directory;    /* NULL: the worker's */
	const char *user, *group; /* NULL: the worker's */
	enum privileges privileges;
	const char **environment; /* "NAME", "PREFIX_*", "NAME=value"; NULL: all of the worker's */
	const char *const *withheld; /* but not these, unless they are named; the same for all */
	struct child_limits limits;
	size_t output_line_bytes; /* longest output line logged whole; 2k */
	unsigned output_lines;    /* of each job that are logged; 1000; 0 = all */
	/* exec */
	enum exit_codes exit_codes;
	/* pool */
	unsigned processes;        /* pool 1; isolated plugin 1 */
	unsigned per_process;      /* jobs in one process at once; 0 = what it says itself */
	uint64_t ready_timeout_ms; /* from its start to its ready line; 10s */
	uint64_t stall_timeout_ms; /* how long it may leave what we write unread; 30s */
	uint64_t leave_timeout_ms; /* for an idle one to end after its stdin, at our exit; 1s */
	unsigned max_jobs;         /* a process is replaced after so many; 0 = never */
	size_t max_memory_bytes;   /* ... and beyond this resident size; 0 = never */
	/* plugin */
	const char *path; /* the shared object */
	unsigned threads; /* 4 */
	enum isolation isolate;
	/* http */
	const char *url;
	const char **headers;           /* "Name: value"; may be secrets: never print */
	const char *ca_file;            /* NULL: the system's */
	uint64_t connect_timeout_ms;    /* 5s */
	uint64_t max_connection_age_ms; /* 5m; 0 = none */
};

enum backoff { BACKOFF_EXPONENTIAL, BACKOFF_LINEAR, BACKOFF_CONSTANT };

struct retry_settings {
	const char *name;
	struct place place;
	unsigned attempts; /* in all, the first included; 12 */
	enum backoff backoff;
	uint64_t first_ms; /* 1s */
	uint64_t max_ms;   /* 10m */
	double jitter;     /* 0.2: up to a fifth more or less */
	unsigned
	    crashes;   /* after so many the job is dead, whatever attempts are left; 3; 0 = never */
	unsigned lost; /* so many workers may die with it until it is dead; 5; 0 = any number */
};

/* What quiet and drain do, asked for by an operator, where nobody else would be left to take jobs. */
enum last_consumer { LAST_CONSUMER_IGNORE, LAST_CONSUMER_WARN, LAST_CONSUMER_REFUSE };

struct admin_settings {
	struct place place;
	const char *socket;   /* path of a Unix socket; NULL: the default one, if it can be had */
	bool no_socket;       /* not even that: "none" */
	unsigned socket_mode; /* of that file; 0660 */
	const char *http;     /* "host:port", see listen_address.h; NULL: none */
	const char *agent;    /* the same, for HAProxy's agent check; NULL: none */
	const char **hosts;   /* further names in Host headers; NULL-terminated, or NULL */
	const char *token; /* what a POST over http must bring; NULL: nothing will do. A secret */
	enum last_consumer last_consumer;
};

#define ADMIN_NO_SOCKET "none"

struct log_settings {
	enum log_level level;
	enum log_format format;
};

struct settings {
	struct worker_settings worker;
	struct drain_settings drain;
	struct source_settings **sources; /* kind by kind, each in the order of the file */
	size_t n_sources;
	struct handler_settings *handlers;
	size_t n_handlers;
	struct retry_settings *retries; /* always holds "default" */
	size_t n_retries;
	const char *const *withheld; /* variables that are passwords (withheld.h) */
	struct admin_settings admin;
	struct log_settings log;
};

/* One thing wrong with a configuration. */
struct problem {
	struct place place;
	bool warning; /* else it is an error */
	char text[320];
};

struct problems {
	struct problem *list;
	size_t count, errors;
};

/* The kinds of sources that a configuration may name: a list that ends in NULL, source_kinds (sources/kind.h) or
 * one of a test's. */
typedef const struct source_schema *const *source_schemas;

/* Reads and checks `path`. On ST_OK *ret_settings is complete and `problems` holds warnings only;
 * on ST_INVALID it holds at least one error. The caller frees both. */
enum status settings_load(source_schemas kinds, const char *path, struct settings **ret_settings,
			  struct problems *problems);

/* What a worker that runs has read from pipes and devices, apart from its settings, so that it can be used on
 * another thread while they change. NULL: no memory. */
struct settings_kept;
struct settings_kept *settings_keep(const struct settings *settings);
void settings_kept_destroy(struct settings_kept *kept); /* NULL is fine */

/* The same for a worker that runs: it waits for no pipe and no device. What one of those gave before it gives
 * now. */
enum status settings_load_again(source_schemas kinds, const char *path,
				const struct settings_kept *before, struct settings **ret_settings,
				struct problems *problems);

/* No more than a command uses, on a host that could perhaps not run the rest: of `admin` its socket, NULL where
 * none is named; */
enum status settings_load_socket(source_schemas kinds, const char *path,
				 struct settings **ret_settings, struct problems *problems);
/* all queues and lists by their names, and whole the one that `target`, "SOURCE/QUEUE", means, with its broker,
 * but for handler and retry. */
enum status settings_load_queue(source_schemas kinds, const char *path, const char *target,
				struct settings **ret_settings, struct problems *problems);
void settings_destroy(struct settings *settings);
void problems_free(struct problems *problems);

#endif
