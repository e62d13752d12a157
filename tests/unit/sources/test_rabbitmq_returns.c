/* How often a message may go back to a quorum queue, and when its count speaks of dead workers. */
#include "sources/rabbitmq/rabbitmq_returns.h"

#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { ANY = 1000000 };

/* So many returns, and not one more; a count beyond them is one of deaths. */
static void test_how_often(void **state)
{
	(void)state;
	static const struct {
		const char *server;
		unsigned limit; /* as configured */
		enum rabbitmq_way_back how;
		uint32_t times;
	} rows[] = {
	    {"RabbitMQ 3.10.8", 0,   BACK_BY_NACK,      1  },
	    {"RabbitMQ 3.10.8", 1,   BACK_BY_NACK,      0  },
	    {"RabbitMQ 3.10.8", 3,   BACK_BY_NACK,      1  },
	    {"RabbitMQ 3.10.8", 20,  BACK_BY_NACK,      10 },
	    {"RabbitMQ 3.10.8", 0,   BACK_WITH_CHANNEL, ANY},
	    {"RabbitMQ 3.10.8", 3,   BACK_WITH_CHANNEL, 1  },
	    {"RabbitMQ 4.0.5",  0,   BACK_BY_NACK,      1  },
	    {"RabbitMQ 4.0.5",  0,   BACK_WITH_CHANNEL, 16 },
	    {"RabbitMQ 4.0.5",  100, BACK_WITH_CHANNEL, 96 },
	    {"RabbitMQ 4.3.6",  0,   BACK_BY_NACK,      ANY}, /* it does not count */
	    {"RabbitMQ 4.3.6",  0,   BACK_WITH_CHANNEL, 16 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct rabbitmq_delivery_rules *rules =
		    rabbitmq_server_delivery_rules(rows[i].server);
		struct queue_settings queue = {.delivery_limit = rows[i].limit};
		uint32_t times = 0;
		while (times < ANY && rabbitmq_may_go_back(&queue, rules, rows[i].how, times))
			times++;
		assert_int_equal(times, rows[i].times);
	}
}

static void test_how_many_workers_died_with_it(void **state)
{
	(void)state;
	static const struct {
		const char *server;
		unsigned limit;
		enum rabbitmq_way_back how;
		uint32_t count, lost;
	} rows[] = {
	    {"RabbitMQ 3.10.8", 0,  BACK_BY_NACK,      0,  0 },
	    {"RabbitMQ 3.10.8", 0,  BACK_BY_NACK,      1,  0 }, /* it may have been ours */
	    {"RabbitMQ 3.10.8", 0,  BACK_BY_NACK,      2,  2 },
	    {"RabbitMQ 3.10.8", 0,  BACK_BY_NACK,      5,  5 },
	    {"RabbitMQ 3.10.8", 20, BACK_BY_NACK,      10, 0 },
	    {"RabbitMQ 3.10.8", 20, BACK_BY_NACK,      11, 11},
	    {"RabbitMQ 3.10.8", 0,  BACK_WITH_CHANNEL, 30, 0 },
	    {"RabbitMQ 4.3.6",  0,  BACK_BY_NACK,      1,  1 },
	    {"RabbitMQ 4.3.6",  0,  BACK_WITH_CHANNEL, 16, 0 },
	    {"RabbitMQ 4.3.6",  0,  BACK_WITH_CHANNEL, 17, 17},
	    {"",                0,  BACK_BY_NACK,      9,  0 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct queue_settings queue = {.delivery_limit = rows[i].limit};
		assert_int_equal(rabbitmq_lost(&queue,
					       rabbitmq_server_delivery_rules(rows[i].server),
					       rows[i].how, rows[i].count),
				 rows[i].lost);
	}
}

static void test_near_the_limit(void **state)
{
	(void)state;
	static const struct {
		const char *server;
		unsigned limit;
		enum rabbitmq_way_back how;
		uint32_t from; /* ANY: never */
	} rows[] = {
	    {"RabbitMQ 3.10.8", 0,   BACK_BY_NACK,      ANY},
	    {"RabbitMQ 3.10.8", 20,  BACK_BY_NACK,      11 },
	    {"RabbitMQ 4.0.5",  0,   BACK_BY_NACK,      11 },
	    {"RabbitMQ 4.0.5",  1,   BACK_BY_NACK,      1  },
	    {"RabbitMQ 4.0.5",  2,   BACK_BY_NACK,      2  },
	    {"RabbitMQ 4.3.6",  0,   BACK_BY_NACK,      11 },
	    {"RabbitMQ 4.3.6",  100, BACK_BY_NACK,      51 },
	    {"RabbitMQ 4.3.6",  0,   BACK_WITH_CHANNEL, 17 },
	    {"",                20,  BACK_BY_NACK,      ANY},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct rabbitmq_delivery_rules *rules =
		    rabbitmq_server_delivery_rules(rows[i].server);
		struct queue_settings queue = {.delivery_limit = rows[i].limit};
		uint32_t count = 0;
		while (count < ANY && !rabbitmq_is_near_limit(&queue, rules, rows[i].how, count))
			count++;
		assert_int_equal(count, rows[i].from);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_how_often),
	    cmocka_unit_test(test_how_many_workers_died_with_it),
	    cmocka_unit_test(test_near_the_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
