/* How many deliveries may be outstanding, as rows of what bounds them. */
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "sources/rabbitmq/rabbitmq_prefetch.h"
#include "sources/rabbitmq/rabbitmq_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void it_is_twice_the_least_that_bounds(void **state)
{
	(void)state;
	static const struct {
		unsigned worker, widest, depth, handler, queue, prefetch, expected;
	} rows[] = {
	    {16,    16,    0,     0, 0, 0, 32   }, /* exec, or a pool: depth follows width */
	    {16,    4,     0,     0, 0, 0, 8    },
	    {4,     16,    0,     0, 0, 0, 8    },
	    {16,    16,    0,     5, 0, 0, 10   },
	    {16,    16,    0,     5, 3, 0, 6    },
	    {16,    16,    0,     3, 5, 0, 6    },
	    {16,    16,    0,     0, 0, 7, 7    }, /* the operator's own word */
	    {1,     1,     0,     0, 0, 0, 2    },
	    {16,    4,     1024,  0, 0, 0, 64   }, /* staged: sixteen times */
	    {2,     4,     1024,  0, 0, 0, 32   },
	    {65535, 65535, 0,     0, 0, 0, 65535}, /* what the protocol can say */
	    {10000, 10000, 99999, 0, 0, 0, 65535},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct executor executor = {.widest = rows[i].widest, .depth = rows[i].depth};
		struct lane lane = {.executor = &executor, .limit = rows[i].handler};
		struct worker_settings worker = {.concurrency = rows[i].worker};
		struct queue_settings queue = {.concurrency = rows[i].queue,
					       .prefetch = rows[i].prefetch};
		executor.width = rows[i].depth > 0 ? rows[i].widest : 0; /* a pool not up yet */
		assert_int_equal(rabbitmq_prefetch(&queue, &worker, &lane), rows[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_is_twice_the_least_that_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
