/* What brokers can do, by what they say of themselves. */
#include "sources/rabbitmq/rabbitmq_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_abilities_by_version(void **state)
{
	(void)state;
	static const struct {
		const char *server;
		bool tx, streams, knows_timeout, tells_single_active;
	} rows[] = {
	    {"RabbitMQ 3.7.28",       true,  false, false, false},
	    {"RabbitMQ 3.8.0",        true,  false, false, false},
	    {"RabbitMQ 3.10.8",       true,  true,  false, true },
	    {"RabbitMQ 3.12.0",       true,  true,  true,  true },
	    {"RabbitMQ 3.13.7",       true,  true,  true,  true },
	    {"RabbitMQ 4.0.1",        true,  true,  true,  true },
	    {"RabbitMQ 4.1.0-beta.3", true,  true,  true,  true },
	    {"RabbitMQ 10.0.0",       true,  true,  true,  true },
	    {"RabbitMQ unknown",      true,  false, false, false},
	    {"LavinMQ 4.0.0",         false, false, false, false},
	    {"",		      false, false, false, false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *server = rows[i].server;
		assert_int_equal(rabbitmq_server_speaks_tx(server), rows[i].tx);
		assert_int_equal(rabbitmq_server_has_streams(server), rows[i].streams);
		assert_int_equal(rabbitmq_server_knows_consumer_timeout(server),
				 rows[i].knows_timeout);
		assert_int_equal(rabbitmq_server_tells_single_active(server),
				 rows[i].tells_single_active);
	}
}

static void test_dead_letters_at_least_once(void **state)
{
	(void)state;
	assert_false(rabbitmq_server_dead_letters_at_least_once("RabbitMQ 3.9.29"));
	assert_true(rabbitmq_server_dead_letters_at_least_once("RabbitMQ 3.10.0"));
	assert_true(rabbitmq_server_dead_letters_at_least_once("RabbitMQ 4.0.5"));
	assert_false(rabbitmq_server_dead_letters_at_least_once("LavinMQ 4.0.0"));
}

static void test_what_a_delivery_limit_counts(void **state)
{
	(void)state;
	static const struct {
		const char *server;
		bool has_quorum_queues;
		unsigned limit;
		bool counts_nacks;
	} rows[] = {
	    {"RabbitMQ 3.7.28",  false, 0,  false},
            {"RabbitMQ 3.8.0",   true,  0,  true },
	    {"RabbitMQ 3.13.7",  true,  0,  true },
            {"RabbitMQ 4.0.5",   true,  20, true },
	    {"RabbitMQ 4.2.9",   true,  20, true },
            {"RabbitMQ 4.3.0",   true,  20, false},
	    {"RabbitMQ 10.0.0",  true,  20, false},
            {"RabbitMQ unknown", false, 0,  false},
	    {"LavinMQ 4.0.0",    false, 0,  false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct rabbitmq_delivery_rules *rules =
		    rabbitmq_server_delivery_rules(rows[i].server);
		assert_int_equal(rules != NULL, rows[i].has_quorum_queues);
		if (rules == NULL)
			continue;
		assert_int_equal(rules->limit, rows[i].limit);
		assert_int_equal(rules->counts_nacks, rows[i].counts_nacks);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_abilities_by_version),
	    cmocka_unit_test(test_dead_letters_at_least_once),
	    cmocka_unit_test(test_what_a_delivery_limit_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
