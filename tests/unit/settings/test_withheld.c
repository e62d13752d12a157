/* Which variables no handler gets, by where the configuration has put their values. */
#include "settings/settings.h"
#include "settings/withheld.h"
#include "sources/kind.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loaded_text.h"

#define HANDLER     "handler \"h\" { type = exec command = {\"/bin/true\"} }\n"
#define REDIS(keys) "redis \"r\" { " keys " list \"l\" { handler = h } }\n" HANDLER
#define MQ(keys)    "rabbitmq \"m\" { " keys " queue \"q\" { handler = h } }\n" HANDLER
#define HTTP(keys)                                                                                 \
	"redis \"r\" { url = \"redis://h\" list \"l\" { handler = h } }\n"                         \
	"handler \"h\" { type = http " keys " }\n"

/* clang-format off */
static const struct {
	const char *text, *names;
} rows[] = {
	{REDIS("url = \"redis://h\""), ""},
	{REDIS("url = \"redis://:${T_A}@h\""), "T_A "},
	{REDIS("url = \"redis://${T_A}:x@${T_B}:1/${T_N}\""), ""},
	{REDIS("url = \"redis://${T_A}:x${T_B}y@h\""), "T_B "},
	{REDIS("url = \"${T_URL}\""), "T_URL "},
	{REDIS("url = ${T_URL}"), "T_URL "},
	{REDIS("url = ${T_HOST_URL}"), ""},
	{REDIS("url = \"redis+sentinel://h/m?sentinel_password=${T_A}\""), "T_A "},
	{REDIS("url = \"redis://:${T_UNSET:-x}${T_A}@h\""), "T_A T_UNSET "},
	{REDIS("url = \"redis://:${USER}@h\""), ""},
	{MQ("urls = {\"amqp://u:${T_A}@a\", \"amqp://u:${T_B}@b\", \"amqp://u:${T_A}@c\"}"), "T_A T_B "},
	{MQ("url = 'amqp://u:${T_A}@h'"), ""},
	{HTTP("url = \"http://u:${T_A}@h/${T_B}\" headers = {\"Authorization: Bearer ${T_N}\"}"), "T_A T_N "},
	{HTTP("url = \"http://h/?token=${T_A}\" headers = {\"X-Host: ${HOSTNAME}\"}"), "T_A "},
	{"worker { name = \"${T_A}\" }\n" REDIS("url = \"redis://h\""), ""},
	{"redis \"r\" { url = \"redis://h\" list \"${T_A}\" { handler = h } }\n"
	 "handler \"h\" { type = exec command = {\"/bin/true\", \"${T_A}\"} environment = {\"X=${T_B}\"} }", ""},
};
/* clang-format on */

static void each_is_found(void **state)
{
	(void)state;
	(void)setenv("T_A", "a", 1);
	(void)setenv("T_B", "b", 1);
	(void)setenv("USER", "u", 1);
	(void)setenv("T_N", "3", 1);
	(void)setenv("T_URL", "redis://:secret@h", 1);
	(void)setenv("T_HOST_URL", "redis://h/1", 1);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char names[100] = "";
		struct settings *s = load(rows[i].text);
		for (const char *const *name = s->withheld; *name != NULL; name++)
			(void)strcat(strcat(names, *name), " ");
		if (strcmp(names, rows[i].names) != 0)
			fail_msg("%s: %s instead of %s", rows[i].text, names, rows[i].names);
		assert_ptr_equal(s->handlers[0].withheld, s->withheld);
		settings_destroy(s);
	}
}

/* Where every process of our user may look. */
static void what_is_hidden_is_still_known(void **state)
{
	(void)state;
	const char *const names[] = {"T_HIDDEN", "T_UNSET", NULL};
	char place[] = "T_HIDDEN=secret";
	assert_int_equal(putenv(place), 0); /* as it is on the stack of a process */
	withheld_hide(names);
	assert_string_equal(place, "T_HIDDEN=");
	assert_string_equal(getenv("T_HIDDEN"), "secret");
	assert_null(getenv("T_UNSET"));
	assert_int_equal(unsetenv("T_HIDDEN"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_is_found),
	    cmocka_unit_test(what_is_hidden_is_still_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
