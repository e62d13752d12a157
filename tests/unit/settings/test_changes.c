/* What one configuration says that another does not, and what of it can be taken over. */
#include "settings/changes.h"

#include "sources_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loaded_text.h"

#define HANDLER "handler \"h\" { type = exec command = {\"/bin/true\"} "
#define QUEUE   "rabbitmq \"m\" { url = \"amqp://h\" queue \"q\" { handler = h "
#define CLOSE2  "} }\n"
#define GOOD    QUEUE CLOSE2 HANDLER "}\n"

static void note(void *arg, const struct change *change)
{
	char name[200];
	change_name(change, name, sizeof name);
	static const char *const kinds[] = {
	    [CHANGE_KEY] = "", [CHANGE_SECTION_CAME] = "+", [CHANGE_SECTION_WENT] = "-"};
	size_t used = strlen(arg);
	(void)snprintf((char *)arg + used, 1000 - used, "%s%s%s;", kinds[change->kind], name,
		       change->live ? " live" : "");
}

static const struct {
	const char *before, *after, *changes;
} rows[] = {
    {GOOD,								  GOOD,										""				},
    {GOOD,								  "worker { concurrency = 16 } log { level = info } " GOOD,                            ""                                }, /* the defaults */
    {GOOD,								  "worker { concurrency = 8 } " GOOD,						  "worker concurrency live;"        },
    {"worker { concurrency = 8 } " GOOD,                                    GOOD,										"worker concurrency live;"        },
    {GOOD,								  "log { level = debug } drain { timeout = 9s } " GOOD,
     "log level live;drain timeout live;"																			  },
    {GOOD,								  "log { format = json } " GOOD,						       "log format;"                     },
    {GOOD,								  QUEUE "rate = \"5/s\" concurrency = 2 prefetch = 7 " CLOSE2 HANDLER "}",
     "rabbitmq \"m\" queue \"q\" prefetch;rabbitmq \"m\" queue \"q\" concurrency live;"
     "rabbitmq \"m\" queue \"q\" rate live;"																		       },
    {QUEUE "concurrency = 2" CLOSE2 HANDLER "}",                            GOOD,
     "rabbitmq \"m\" queue \"q\" concurrency live;"																		},
    {GOOD,								  QUEUE CLOSE2 HANDLER "environment = {\"A\", \"B\"} }",                               "handler \"h\" environment;"      },
    {QUEUE CLOSE2 HANDLER "environment = {\"A\"} }",
     QUEUE CLOSE2 HANDLER "environment = {\"A\", \"B\"} }",												      "handler \"h\" environment;"      },
    {GOOD,								  GOOD "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h } }",
     "+redis \"r\";+redis \"r\" list \"l\";"																		       },
    {GOOD "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h } }", GOOD,
     "-redis \"r\";-redis \"r\" list \"l\";"																		       },
    {GOOD,								  "rabbitmq \"m\" { url = \"amqp://other\" queue \"p\" { handler = h } }" HANDLER "}",
     "rabbitmq \"m\" url;+rabbitmq \"m\" queue \"p\";-rabbitmq \"m\" queue \"q\";"														 },
    {GOOD,								  GOOD "retry \"default\" { attempts = 9 }",                                           "retry \"default\" attempts live;"},
};

static void each_change_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char changes[1000] = "";
		struct settings *before = load(rows[i].before), *after = load(rows[i].after);
		settings_compare(before, after, note, changes);
		assert_string_equal(changes, rows[i].changes);
		settings_destroy(before);
		settings_destroy(after);
	}
}

static void what_is_live_is_taken_over(void **state)
{
	(void)state;
	struct settings *s =
	    load(GOOD "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h } }");
	struct settings *after = load(
	    "worker { concurrency = 3 name = \"other\" } log { level = debug format = json }\n"
	    "drain { timeout = 9s reserve = 1s grace = 500ms report = \"/tmp/r.json\" }\n"
	    "retry \"default\" { attempts = 9 backoff = linear first = 7s max = 8s jitter = 0.5 "
	    "crashes = 4 }\n" QUEUE "rate = \"5/s\" concurrency = 2 prefetch = 7 " CLOSE2 HANDLER
	    "rate = \"1/s\" concurrency = 1 deadline = finish timeout = 5s }\n"
	    "redis \"r\" { url = \"redis://h\" list \"l\" { handler = h rate = \"2/s\" "
	    "concurrency = 6 } }");
	settings_adopt(s, after);
	assert_int_equal(s->worker.concurrency, 3);
	assert_int_equal(s->log.level, LOG_DEBUG);
	assert_int_equal(s->log.format, LOG_TEXT);
	assert_int_equal(s->drain.limit, DRAIN_LIMIT_SET);
	assert_int_equal(s->drain.timeout_ms, 9000);
	assert_int_equal(s->drain.grace_ms, 500);
	assert_string_equal(s->drain.report, "/tmp/r.json");
	const struct queue_settings *queue = queue_of(s, 0);
	assert_int_equal(queue->concurrency, 2);
	assert_int_equal(queue->prefetch, 0);
	assert_int_equal(queue->rate_interval_ns, 200 * 1000 * 1000);
	assert_int_equal(queue->retry->attempts, 9); /* where whoever retries looks */
	assert_int_equal(queue->retry->backoff, BACKOFF_LINEAR);
	assert_int_equal(queue->retry->max_ms, 8000);
	assert_int_equal(queue->retry->crashes, 4);
	assert_int_equal(queue->handler->concurrency, 1);
	assert_int_equal(queue->handler->deadline, POLICY_FINISH);
	assert_int_equal(queue->handler->timeout_ms, 0);
	assert_int_equal(list_of(s, 0)->concurrency, 6);
	settings_destroy(s);
	settings_destroy(after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_change_is_named),
	    cmocka_unit_test(what_is_live_is_taken_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
