/* What servers say of themselves, as rows. */
#include "sources/redis/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *info;
	enum status fit;
	bool evicts, append_only;
} rows[] = {
    {"# Server\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n", ST_OK,
     false,												     true },
    {"redis_version:6.2.0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n",             ST_OK,      true,
     false													   },
    {"redis_version:6.0.16\r\n",							     ST_REFUSED, false, false},
    {"redis_version:5.0.9",								  ST_REFUSED, false, false},
    {"redis_version:10.0.1\nmaxmemory_policy:volatile-ttl",                                  ST_OK,      true,  false},
    {"redis_version:\r\nmaxmemory_policy:\r\n",                                              ST_OK,      false, false},
    {"xredis_version:5.0\r\n:\r\n\r\n",						      ST_OK,      false, false},
    {"",										     ST_OK,      false, false},
};

static void a_server_is_fit_or_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct redis_server server = redis_server_read(span_text(rows[i].info));
		struct error why;
		assert_int_equal(redis_server_check(&server, &why), rows[i].fit);
		assert_int_equal(redis_server_evicts(&server), rows[i].evicts);
		assert_int_equal(server.append_only, rows[i].append_only);
		if (rows[i].fit != ST_OK)
			assert_non_null(strstr(why.text, "at least 6.2"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_server_is_fit_or_not)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
