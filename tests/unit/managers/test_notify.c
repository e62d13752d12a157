/* Which addresses are taken, and that a job's name cannot speak to the service manager. */
#include "managers/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_addresses(void **state)
{
	static const struct {
		const char *where;
		enum status status;
	} rows[] = {
	    {"/run/systemd/notify", ST_OK     },
	    {"@abstract",           ST_OK     },
	    {"@",		   ST_INVALID},
	    {"/",		   ST_INVALID},
	    {"relative",            ST_INVALID},
	    {"vsock:2:1234",        ST_INVALID},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct notify notify;
		struct error why;
		assert_int_equal(notify_open(&notify, rows[i].where, &why), rows[i].status);
		if (rows[i].status == ST_OK)
			notify_close(&notify);
	}
}

static void test_the_longest(void **state)
{
	struct notify notify;
	struct error why;
	char where[sizeof notify.to.sun_path + 1];
	(void)state;
	memset(where, 'a', sizeof where);
	where[0] = '/';
	where[sizeof where - 1] = '\0';
	assert_int_equal(notify_open(&notify, where, &why), ST_INVALID);
	where[sizeof where - 2] = '\0';
	assert_int_equal(notify_open(&notify, where, &why), ST_OK);
	notify_close(&notify);
}

static void test_nobody_listens(void **state)
{
	struct notify notify;
	struct error why;
	char where[64];
	(void)state;
	(void)snprintf(where, sizeof where, "@outfall-nobody-%d", (int)getpid());
	assert_int_equal(notify_open(&notify, where, &why), ST_OK);
	assert_false(notify_send(&notify, span_text("READY=1\n")));
	notify_close(&notify);
}

static void test_a_name_cannot_speak(void **state)
{
	struct text lines = {0};
	(void)state;
	notify_put_status(&lines, span_text("job a\nSTOPPING=1\r\x01 \xc3\xa9"));
	assert_true(
	    span_equal(text_span(&lines),
		       span_text("STATUS=job a\\u000aSTOPPING=1\\u000d\\u0001 \xc3\xa9\n")));
	text_fini(&lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_the_longest),
	    cmocka_unit_test(test_nobody_listens),
	    cmocka_unit_test(test_a_name_cannot_speak),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
