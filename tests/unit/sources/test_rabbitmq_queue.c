/* What a channel.close says of a queue. */
#include "sources/rabbitmq/rabbitmq_queue.h"

#include "wire/amqp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_what_is_not_found_may_come_back(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum status status;
	} rows[] = {
	    {"NOT_FOUND - no queue 'jobs' in vhost '/'",                                            ST_MISSING},
	    {"NOT_FOUND - no queue 'NOT_FOUND - queue ' in vhost '/'",                              ST_MISSING},
	    {"NOT_FOUND",									   ST_MISSING}, /* another broker's */
	    {"",										    ST_MISSING},
	    {"NOT_FOUND - home node 'n1@localhost' of durable queue 'jobs' in vhost '/' is down or "
	     "inaccessible",							   ST_PROTO  },
	    {"NOT_FOUND - queue 'jobs' in vhost '/' process is stopped by supervisor",              ST_PROTO  },
	    {"NOT_FOUND - queue 'jobs' in vhost '/' has crashed and failed to restart",             ST_PROTO  },
	    {"NOT_FOUND - failed to perform operation on queue 'jobs' in vhost '/' due to timeout",
	     ST_PROTO											 },
	    {"NOT_FOUND - timed out while declaring queue 'jobs' in vhost '/'",                     ST_PROTO  },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(
		    rabbitmq_queue_refusal(AMQP_NOT_FOUND, amqp_cstring_bytes(rows[i].text)),
		    rows[i].status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_not_found_may_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
