/* What a good configuration becomes: defaults, each kind of value, names resolved, secrets put in
 * place. What is wrong with bad ones is test_problems.c's affair. */
#include "settings/settings.h"

#include "sources_of.h"

#include "base/memory.h"
#include "settings/secrets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HANDLER "handler \"h\" { type = exec command = {\"/bin/true\"} }\n"

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
	static char folder[] = "/tmp/outfall-test-XXXXXX";
	*state = mkdtemp(folder);
	return *state == NULL || chdir(folder) != 0 || mkdir("sub", 0700) != 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"outfall.conf", "password",   "url",
					    "sub/a.conf",   "sub/b.conf", "sub/url"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)unlink(names[i]); /* some were never written */
	return rmdir("sub") != 0 || chdir("/") != 0 || rmdir(*state) != 0;
}

static struct settings *load(const char *text)
{
	struct settings *settings = NULL;
	struct problems problems;
	write_file("outfall.conf", text);
	enum status st = settings_load(source_kinds, "outfall.conf", &settings, &problems);
	for (size_t i = 0; i < problems.count; i++)
		print_error("%s:%u: %s\n", problems.list[i].place.file, problems.list[i].place.line,
			    problems.list[i].text);
	problems_free(&problems);
	assert_int_equal(st, ST_OK);
	return settings;
}

/* NULL: refused. */
static struct settings *load_again(const struct settings *before)
{
	struct settings *settings = NULL;
	struct problems problems;
	struct settings_kept *kept = settings_keep(before);
	enum status st =
	    settings_load_again(source_kinds, "outfall.conf", kept, &settings, &problems);
	settings_kept_destroy(kept);
	assert_int_equal(st == ST_OK, settings != NULL);
	problems_free(&problems);
	return settings;
}

static void test_defaults(void **state)
{
	(void)state;
	char host[256], name[300];
	struct settings *s =
	    load("rabbitmq \"m\" { url = \"amqp://mq1\" queue \"q\" { handler = h } }\n"
		 "redis \"r\" { url = \"redis://r1\" list \"l\" { handler = p } }\n" HANDLER
		 "handler \"p\" { type = plugin path = \"x.so\" }\n");
	assert_int_equal(gethostname(host, sizeof host), 0);
	(void)snprintf(name, sizeof name, "%s:%d", host, (int)getpid());
	assert_string_equal(s->worker.name, name);
	assert_int_equal(s->worker.concurrency, 16);
	assert_int_equal(s->worker.max_body_bytes, 64 << 20);

	assert_int_equal(s->drain.limit, DRAIN_LIMIT_AUTO);
	assert_int_equal(s->drain.timeout_ms, 30000);
	assert_int_equal(s->drain.reserve_ms, 2000);
	assert_int_equal(s->drain.grace_ms, 5000);
	assert_null(s->drain.report);

	assert_int_equal(s->n_sources, 2);
	const struct rabbitmq_settings *rabbitmq = rabbitmq_of(s);
	assert_string_equal(rabbitmq->name, "m");
	assert_int_equal(rabbitmq->place.line, 1);
	assert_string_equal(rabbitmq->place.file, "outfall.conf");
	assert_int_equal(rabbitmq->broker.n_urls, 1);
	assert_string_equal(rabbitmq->broker.urls[0], "amqp://mq1");
	assert_int_equal(rabbitmq->heartbeat_ms, 10000);
	assert_int_equal(rabbitmq->broker.connect_timeout_ms, 5000);
	assert_int_equal(rabbitmq->n_queues, 1);
	const struct queue_settings *queue = queue_of(s, 0);
	assert_string_equal(queue->name, "q");
	assert_ptr_equal(queue->handler, &s->handlers[0]);
	assert_ptr_equal(queue->retry, &s->retries[0]);
	assert_int_equal(queue->prefetch, 0);
	assert_int_equal(queue->concurrency, 0);
	assert_int_equal(queue->priority, 0);
	assert_int_equal(queue->declare, DECLARE_PASSIVE);
	assert_null(queue->dead);

	assert_string_equal(redis_of(s)->broker.urls[0], "redis://r1");
	assert_int_equal(redis_of(s)->broker.connect_timeout_ms, 5000);
	assert_int_equal(redis_of(s)->n_queues, 1);
	const struct list_settings *list = list_of(s, 0);
	assert_string_equal(list->name, "l");
	assert_int_equal(list->place.line, 2);
	assert_ptr_equal(list->handler, &s->handlers[1]);
	assert_ptr_equal(list->retry, &s->retries[0]);
	assert_int_equal(list->prefetch, 0);
	assert_int_equal(list->lease_ms, 15000);
	assert_null(list->dead);

	assert_int_equal(s->n_handlers, 2);
	assert_int_equal(s->handlers[0].type, HANDLER_EXEC);
	assert_string_equal(s->handlers[0].command[0], "/bin/true");
	assert_null(s->handlers[0].command[1]);
	assert_int_equal(s->handlers[0].timeout_ms, 0);
	assert_int_equal(s->handlers[0].output_line_bytes, 2048);
	assert_int_equal(s->handlers[1].type, HANDLER_PLUGIN);
	assert_string_equal(s->handlers[1].path, "x.so");
	assert_int_equal(s->handlers[1].threads, 4);

	assert_int_equal(s->n_retries, 1);
	assert_string_equal(s->retries[0].name, "default");
	assert_int_equal(s->retries[0].attempts, 12);
	assert_int_equal(s->retries[0].backoff, BACKOFF_EXPONENTIAL);
	assert_int_equal(s->retries[0].first_ms, 2000);
	assert_int_equal(s->retries[0].max_ms, 3600000);
	assert_float_equal(s->retries[0].jitter, 0.2, 1e-9);

	assert_int_equal(s->log.level, LOG_INFO);
	assert_int_equal(s->log.format, LOG_TEXT);
	settings_destroy(s);
}

static void test_each_kind_of_value(void **state)
{
	(void)state;
	struct settings *s = load(
	    "worker { name = w1 concurrency = \"3\" max_body = 1k }\n"
	    "drain { timeout = 1m reserve = 0 grace = \"250ms\" report = \"drain.json\" }\n"
	    "rabbitmq \"m\" {\n"
	    "  urls = {\"amqp://a\", \"amqp://b\", } urls += {\"amqp://c\"}\n"
	    "  heartbeat = none connect_timeout = 100ms\n"
	    "  queue \"one\" { handler = h prefetch = 32 concurrency = 8 priority = -5 declare = "
	    "quorum\n"
	    "                dead = 'one.dead' retry = \"slow\" single_active = true missing = "
	    "wait }\n"
	    "  queue \"two\" { handler = h prefetch = auto concurrency = none declare = durable }\n"
	    "}\n"
	    "retry \"slow\" { attempts = 2 backoff = linear first = 10s max = 1h jitter = 0 }\n"
	    "retry \"default\" { backoff = constant jitter = 1.0 }\n"
	    "handler \"h\" { type = exec command = {\"/bin/sh\", -c, \"a \\\"b\\\" \\$c\", ''} "
	    "timeout = 2h\n"
	    "              output_line = 100 }\n"
	    "log { level = debug format = json }\n");
	assert_string_equal(s->worker.name, "w1");
	assert_int_equal(s->worker.concurrency, 3);
	assert_int_equal(s->worker.max_body_bytes, 1024);
	assert_int_equal(s->drain.limit, DRAIN_LIMIT_SET);
	assert_int_equal(s->drain.timeout_ms, 60000);
	assert_int_equal(s->drain.reserve_ms, 0);
	assert_int_equal(s->drain.grace_ms, 250);
	assert_string_equal(s->drain.report, "drain.json");
	const struct rabbitmq_settings *rabbitmq = rabbitmq_of(s);
	assert_int_equal(rabbitmq->broker.n_urls, 3);
	assert_string_equal(rabbitmq->broker.urls[2], "amqp://c");
	assert_int_equal(rabbitmq->heartbeat_ms, 0);
	assert_int_equal(rabbitmq->broker.connect_timeout_ms, 100);
	assert_int_equal(rabbitmq->n_queues, 2);
	const struct queue_settings *one = queue_of(s, 0), *two = queue_of(s, 1);
	assert_int_equal(one->prefetch, 32);
	assert_int_equal(one->concurrency, 8);
	assert_int_equal(one->priority, -5);
	assert_int_equal(one->declare, DECLARE_QUORUM);
	assert_int_equal(one->single_active, SINGLE_ACTIVE_YES);
	assert_int_equal(one->missing, MISSING_WAIT);
	assert_string_equal(one->dead, "one.dead");
	assert_string_equal(one->retry->name, "slow");
	assert_int_equal(one->retry->attempts, 2);
	assert_int_equal(one->retry->backoff, BACKOFF_LINEAR);
	assert_int_equal(one->retry->max_ms, 3600000);
	assert_float_equal(one->retry->jitter, 0, 1e-9);
	assert_string_equal(two->name, "two");
	assert_int_equal(two->prefetch, 0);
	assert_int_equal(two->concurrency, 0);
	assert_int_equal(two->declare, DECLARE_DURABLE);
	assert_int_equal(two->single_active, SINGLE_ACTIVE_AUTO);
	assert_int_equal(two->missing, MISSING_FAIL);
	assert_int_equal(two->retry->backoff, BACKOFF_CONSTANT);
	assert_int_equal(s->n_retries, 2);
	const char **command = two->handler->command;
	assert_string_equal(command[1], "-c");
	assert_string_equal(command[2], "a \"b\" $c");
	assert_string_equal(command[3], "");
	assert_null(command[4]);
	assert_int_equal(two->handler->timeout_ms, 7200000);
	assert_int_equal(two->handler->output_line_bytes, 100);
	assert_int_equal(s->log.level, LOG_DEBUG);
	assert_int_equal(s->log.format, LOG_JSON);
	settings_destroy(s);
}

static void test_wait_for_ever(void **state)
{
	(void)state;
	struct settings *s =
	    load("drain { timeout = none }\nredis \"r\" { url = \"redis://h\" list "
		 "\"l\" { handler = h } }\n" HANDLER);
	assert_int_equal(s->drain.limit, DRAIN_LIMIT_NONE);
	settings_destroy(s);
}

/* The value of worker.name says what a variable became. */
static void test_variables(void **state)
{
	(void)state;
	static const struct {
		const char *written, *want;
	} rows[] = {
	    {"\"${OUTFALL_TEST}\"",              "v\"a\\l $x {n}#"  },
	    {"${OUTFALL_TEST}",                  "v\"a\\l $x {n}#"  },
	    {"\"<${OUTFALL_TEST:-d}>\"",         "<v\"a\\l $x {n}#>"},
	    {"\"${OUTFALL_TEST_EMPTY:-d}\"",     "d"                },
	    {"\"a${OUTFALL_TEST_EMPTY}b\"",      "ab"               },
	    {"\"${OUTFALL_TEST_UNSET:-a \\b}\"", "a \\b"            },
	    {"\"$${OUTFALL_TEST_UNSET:-1}\"",    "$1"               },
	    {"\"\\${OUTFALL_TEST}\"",            "${OUTFALL_TEST}"  },
	    {"'${OUTFALL_TEST}'",                "${OUTFALL_TEST}"  },
	    {"\"$x $\"",			 "$x $"             },
	};
	(void)setenv("OUTFALL_TEST", "v\"a\\l $x {n}#", 1);
	(void)setenv("OUTFALL_TEST_EMPTY", "", 1);
	(void)unsetenv("OUTFALL_TEST_UNSET");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[400];
		(void)snprintf(text, sizeof text,
			       "worker { name = %s }\nredis \"r\" { url = \"redis://h\" list "
			       "\"l\" { handler = h } }\n" HANDLER,
			       rows[i].written);
		struct settings *s = load(text);
		assert_string_equal(s->worker.name, rows[i].want);
		settings_destroy(s);
	}
}

/* Shells do not export it, and everybody writes it. */
static void test_host_name(void **state)
{
	(void)state;
	char host[256];
	(void)unsetenv("HOSTNAME");
	assert_int_equal(gethostname(host, sizeof host), 0);
	struct settings *s = load("worker { name = \"${HOSTNAME}\" }\nredis \"r\" { url = "
				  "\"redis://h\" list \"l\" { handler = h } }\n" HANDLER);
	assert_string_equal(s->worker.name, host);
	settings_destroy(s);
}

/* Names of files are relative to the file that holds them. */
static void test_includes(void **state)
{
	(void)state;
	write_file("sub/a.conf", "# queues\ninclude('b.conf') handler \"h\" {\n type = exec "
				 "command = {\"/bin/true\"} }");
	write_file("sub/b.conf", "redis \"r\" {\n url_file = url\n list \"l\" { handler = h } }");
	write_file("sub/url", "redis://:pw@h/3\r\n");
	struct settings *s =
	    load("worker { concurrency = 2 } include(\"sub/a.conf\") log { }\n"
		 "rabbitmq \"m\" { url = \"amqp://h\"\n queue \"q\" { handler = h } }");
	assert_string_equal(redis_of(s)->broker.urls[0], "redis://:pw@h/3");
	assert_string_equal(redis_of(s)->place.file, "sub/b.conf");
	assert_int_equal(list_of(s, 0)->place.line, 3);
	assert_string_equal(s->handlers[0].place.file, "sub/a.conf");
	assert_int_equal(s->handlers[0].place.line, 2);
	assert_string_equal(queue_of(s, 0)->place.file, "outfall.conf");
	assert_int_equal(queue_of(s, 0)->place.line, 3);
	settings_destroy(s);
}

/* All that match, in the order of their names; a file of that very name first of all. */
static void test_includes_by_pattern(void **state)
{
	(void)state;
	write_file("sub/b.conf", "url_file = url }");
	write_file("sub/a.conf", "redis \"r\" { list \"l\" { handler = h }");
	write_file("sub/url", "redis://h");
	struct settings *s = load("include(\"sub/[ab].conf\")" HANDLER);
	assert_string_equal(redis_of(s)->broker.urls[0], "redis://h");
	assert_string_equal(list_of(s, 0)->place.file, "sub/a.conf");
	settings_destroy(s);
	write_file("sub/[ab].conf",
		   "redis \"s\" { url = \"redis://h\" list \"l\" { handler = h } }");
	s = load("include('sub/[ab].conf')" HANDLER);
	assert_string_equal(redis_of(s)->name, "s");
	settings_destroy(s);
	assert_int_equal(unlink("sub/[ab].conf"), 0);
}

/* As editors of other systems write it. */
static void test_marks_and_line_ends(void **state)
{
	(void)state;
	write_file("sub/a.conf", "\xef\xbb\xbfworker { name = \"a\" }\r\n");
	struct settings *s = load("\xef\xbb\xbfinclude(\"sub/a.conf\")\r\nredis \"r\" {\r\n url = "
				  "\"redis://h\"\r\n list \"l\" { handler = h } }\r\n" HANDLER);
	assert_string_equal(s->worker.name, "a");
	assert_int_equal(list_of(s, 0)->place.line, 4);
	settings_destroy(s);
}

/* The value of worker.name says what is between the quotes. */
static void test_strings(void **state)
{
	(void)state;
	static const struct {
		const char *written, *want;
	} rows[] = {
	    {"\"a\\n\\t\\b\\r\\f\\a\\e\\v\"", "a\n\t\b\r\f\a\033\v"},
	    {"\"\\q\\\"\\\\\\$\\{\"",         "q\"\\${"            },
	    {"\"a\\\nb\nc\"",                 "ab\nc"              },
	    {"'a\\nb\\\nc\\'d\\\\e\"'",       "a\\nbc'd\\e\""      },
	    {"a\\b/c//d/x;|$",                "a\\b/c//d/x;|$"     },
	    {"/* a */ x // b\n",              "x"                  },
	    {"x#y\n",			 "x"                  },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[400];
		(void)snprintf(text, sizeof text,
			       "worker { name = %s }\nredis \"r\" { url = \"redis://h\" list "
			       "\"l\" { handler = h } }\n" HANDLER,
			       rows[i].written);
		struct settings *s = load(text);
		assert_string_equal(s->worker.name, rows[i].want);
		settings_destroy(s);
	}
}

static void test_password_files(void **state)
{
	(void)state;
	static const struct {
		const char *url, *want;
	} rows[] = {
	    {"redis://r1",                "redis://:p%40%2Fs%20%25@r1"               },
	    {"redis://r1:1/2",            "redis://:p%40%2Fs%20%25@r1:1/2"           },
	    {"redis://ada@r1/2",          "redis://ada:p%40%2Fs%20%25@r1/2"          },
	    {"redis://a@b@r1",            "redis://a@b:p%40%2Fs%20%25@r1"            },
	    {"unix:///run/a@b.sock?db=1", "unix://:p%40%2Fs%20%25@/run/a@b.sock?db=1"},
	    {"unix://ada@/run/r.sock",    "unix://ada:p%40%2Fs%20%25@/run/r.sock"    },
	};
	write_file("password", "p@/s %\n");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[400];
		(void)snprintf(text, sizeof text,
			       "redis \"r\" { url = \"%s\" password_file = password list \"l\" { "
			       "handler = h } }\n" HANDLER,
			       rows[i].url);
		struct settings *s = load(text);
		assert_string_equal(redis_of(s)->broker.urls[0], rows[i].want);
		settings_destroy(s);
	}
	struct settings *s =
	    load("rabbitmq \"m\" { urls = {\"amqp://u@a/v\", \"amqp://u@b\"} "
		 "password_file = password queue \"q\" { handler = h } }\n" HANDLER);
	assert_string_equal(rabbitmq_of(s)->broker.urls[0], "amqp://u:p%40%2Fs%20%25@a/v");
	assert_string_equal(rabbitmq_of(s)->broker.urls[1], "amqp://u:p%40%2Fs%20%25@b");
	settings_destroy(s);
}

static void assert_again(const struct broker_settings *broker, size_t i, const char *want)
{
	char *url = NULL;
	struct error why;
	assert_int_equal(secrets_read_again(broker, i, &url, &why), ST_OK);
	if (want == NULL)
		assert_null(url);
	else
		assert_string_equal(url, want);
	memory_free(url);
}

static void refuse_again(const struct broker_settings *broker, const char *says)
{
	char *url = NULL;
	struct error why;
	assert_int_not_equal(secrets_read_again(broker, 0, &url, &why), ST_OK);
	assert_null(url);
	if (strstr(why.text, says) == NULL)
		fail_msg("%s", why.text);
	assert_null(strstr(why.text, "s3kr1t"));
}

/* What was changed in a file counts from the next connection on. */
static void test_secrets_are_read_again(void **state)
{
	(void)state;
	write_file("password", "one\n");
	struct settings *s =
	    load("rabbitmq \"m\" { urls = {\"amqp://u@a/v\", \"amqps://u@b\"} "
		 "password_file = password queue \"q\" { handler = h } }\n" HANDLER);
	const struct broker_settings *broker = &rabbitmq_of(s)->broker;
	assert_string_equal(broker->urls[1], "amqps://u:one@b");
	write_file("password", "t/wo");
	assert_again(broker, 0, "amqp://u:t%2Fwo@a/v");
	assert_again(broker, 1, "amqps://u:t%2Fwo@b");
	write_file("password", "s3kr1t\ns3kr1t\n");
	refuse_again(broker, "password_file password does not hold one line");
	assert_int_equal(unlink("password"), 0);
	refuse_again(broker, "password_file password: No such file");
	/* A pipe that nobody writes into: not even opened for long, and no reason to complain. */
	assert_int_equal(mkfifo("password", 0600), 0);
	assert_again(broker, 0, NULL);
	assert_int_equal(unlink("password"), 0);
	settings_destroy(s);

	write_file("url", "redis://:one@h/1\n");
	s = load("redis \"r\" { url_file = url list \"l\" { handler = h } }\n" HANDLER);
	broker = &redis_of(s)->broker;
	write_file("url", "rediss://:two@h2/1\n");
	assert_again(broker, 0, "rediss://:two@h2/1");
	write_file("url", "amqp://u:s3kr1t@h\n");
	refuse_again(broker, "a redis section needs a redis://");
	write_file("url", "redis://:s3kr1t@h:0\n");
	refuse_again(broker, "url_file url: url: the port");
	write_file("url", "redis://:s3kr1t@h?x=1\n");
	refuse_again(broker, "only \"?db=<number>\"");
	settings_destroy(s);

	s = load("redis \"r\" { url = \"redis://h\" list \"l\" { handler = h } }\n" HANDLER);
	assert_again(&redis_of(s)->broker, 0, NULL);
	settings_destroy(s);
}

/* A pipe has what it has once; whoever loads again neither waits for more nor goes without. */
static void test_what_is_read_once_is_kept(void **state)
{
	(void)state;
	int fds[2];
	char text[400];
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "one\n", 4), 4);
	assert_int_equal(close(fds[1]), 0);
	(void)snprintf(text, sizeof text,
		       "redis \"r\" { url = \"redis://h\" password_file = \"/dev/fd/%d\" list "
		       "\"l\" { handler = h } }\n" HANDLER,
		       fds[0]);
	struct settings *first = load(text), *last = first;
	for (int i = 0; i < 3; i++) {
		struct settings *next = load_again(last);
		assert_non_null(next);
		assert_string_equal(redis_of(next)->broker.urls[0], "redis://:one@h");
		settings_destroy(last);
		last = next;
		if (i == 0)
			assert_int_equal(close(fds[0]), 0);
	}
	/* One that is new is not waited for. */
	assert_int_equal(mkfifo("password", 0600), 0);
	write_file("outfall.conf",
		   "redis \"r\" { url = \"redis://h\" password_file = password list "
		   "\"l\" { handler = h } }\n" HANDLER);
	assert_null(load_again(last));
	assert_int_equal(unlink("password"), 0);
	write_file("password", "two"); /* and a file is a file */
	struct settings *next = load_again(last);
	assert_string_equal(redis_of(next)->broker.urls[0], "redis://:two@h");
	settings_destroy(next);
	settings_destroy(last);
}

static void test_tls(void **state)
{
	(void)state;
	write_file("sub/a.conf",
		   "redis \"r\" { url = \"redis://h\" ca_file = \"ca.pem\" cert_file = "
		   "\"/etc/c.pem\" list \"l\" { handler = h } }");
	struct settings *s = load("include(\"sub/a.conf\")\n"
				  "rabbitmq \"m\" { url = \"amqp://h\" tls_verify = ca "
				  "tls_server_name = mq key_file = k queue \"q\" { handler = h } "
				  "}\n" HANDLER);
	const struct tls_settings *tls = &redis_of(s)->broker.tls;
	assert_string_equal(tls->ca_file, "sub/ca.pem");
	assert_string_equal(tls->cert_file, "/etc/c.pem");
	assert_null(tls->key_file);
	assert_null(tls->server_name);
	assert_int_equal(tls->verify, TLS_VERIFY_FULL);
	tls = &rabbitmq_of(s)->broker.tls;
	assert_null(tls->ca_file);
	assert_string_equal(tls->key_file, "k");
	assert_string_equal(tls->server_name, "mq");
	assert_int_equal(tls->verify, TLS_VERIFY_CA);
	assert_int_equal(rabbitmq_of(s)->auth, RABBITMQ_AUTH_PLAIN);
	settings_destroy(s);
}

/* The same meaning for an http handler's. */
static void test_certificates_of_a_service(void **state)
{
	(void)state;
	write_file("sub/a.conf",
		   "handler \"h\" { type = http url = \"https://s\" ca_file = \"b.conf\" }");
	write_file("sub/b.conf", "");
	struct settings *s = load("include(\"sub/a.conf\")\n"
				  "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h } }");
	assert_string_equal(s->handlers[0].ca_file, "sub/b.conf");
	settings_destroy(s);
}

/* As many queues as anybody has: found, in order, and fast enough for a start. */
static void test_many_queues(void **state)
{
	(void)state;
	enum { QUEUES = 2000 };
	char *text = malloc(200 + QUEUES * 60), *to = text;
	assert_non_null(text);
	to += sprintf(to, "%s", HANDLER "rabbitmq \"m\" { url = \"amqp://h\"\n");
	for (int i = 0; i < QUEUES; i++)
		to += sprintf(to, "queue \"q%d\" { handler = h prefetch = %d }\n", i, i + 1);
	(void)sprintf(to, "}\n");
	struct settings *s = load(text);
	assert_int_equal(rabbitmq_of(s)->n_queues, QUEUES);
	assert_string_equal(queue_of(s, QUEUES - 1)->name, "q1999");
	assert_int_equal(queue_of(s, QUEUES - 1)->prefetch, QUEUES);
	settings_destroy(s);
	free(text);
}

/* Where we declare a queue its dead jobs have a place, which is declared like it. */
static void test_dead_letters(void **state)
{
	(void)state;
	static const struct {
		const char *keys, *dead; /* NULL: basic.reject */
	} rows[] = {
	    {"",			     NULL    },
	    {"declare = durable",            "q.dead"},
	    {"declare = quorum",             "q.dead"},
	    {"declare = durable dead = x",   "x"     },
	    {"declare = durable dlx = true", NULL    },
	    {"dlx = true",                   NULL    },
	    {"dead = x",                     "x"     },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[300];
		(void)snprintf(
		    text, sizeof text,
		    "rabbitmq \"m\" { url = \"amqp://a\" queue \"q\" { handler = h %s } }\n"
		    "handler \"h\" { type = exec command = {\"/bin/true\"} }\n",
		    rows[i].keys);
		struct settings *s = load(text);
		const char *dead = queue_of(s, 0)->dead;
		if (rows[i].dead == NULL)
			assert_null(dead);
		else
			assert_string_equal(dead, rows[i].dead);
		settings_destroy(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_each_kind_of_value),
	    cmocka_unit_test(test_dead_letters),
	    cmocka_unit_test(test_wait_for_ever),
	    cmocka_unit_test(test_variables),
	    cmocka_unit_test(test_host_name),
	    cmocka_unit_test(test_includes),
	    cmocka_unit_test(test_includes_by_pattern),
	    cmocka_unit_test(test_marks_and_line_ends),
	    cmocka_unit_test(test_strings),
	    cmocka_unit_test(test_password_files),
	    cmocka_unit_test(test_secrets_are_read_again),
	    cmocka_unit_test(test_what_is_read_once_is_kept),
	    cmocka_unit_test(test_tls),
	    cmocka_unit_test(test_certificates_of_a_service),
	    cmocka_unit_test(test_many_queues),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
