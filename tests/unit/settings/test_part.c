/* What ctl and enqueue need of a configuration is all that they look at: the rest may be for another host, or
 * half edited. Each row is loaded for one of them and gives what is found, or the first error. */
#include "settings/settings.h"

#include "sources_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../cmocka_names.h"

#define ADMIN "admin { socket = \"/run/a.sock\" }\n"
#define REDIS "redis \"r\" { url = \"redis://h/1\" list \"l\" { handler = \"h\" lease = 3s } }\n"

struct row {
	const char *about;
	const char *target; /* NULL: the socket is asked for */
	const char *text;
	const char *want; /* the socket, or the address and lease of the list; "-": neither */
	const char *told; /* what is warned of, or the error where `want` is NULL; NULL: nothing */
};

/* clang-format off */
static const struct row rows[] = {
	{"a socket", NULL, ADMIN REDIS, "/run/a.sock", NULL},
	{"no socket", NULL, REDIS, "-", NULL},
	{"a variable elsewhere", NULL, ADMIN "redis \"r\" { url = \"redis://:${OUTFALL_TEST_UNSET}@h\" }", "/run/a.sock", NULL},
	{"a variable in it", NULL, "admin { socket = \"${OUTFALL_TEST_UNSET}/a\" }", NULL, "the variable OUTFALL_TEST_UNSET is not set"},
	{"a secret that is not there", NULL, "admin { socket = \"/run/a.sock\" token_file = \"/nonexistent\" }", "/run/a.sock", NULL},
	{"a folder that is not there", NULL, "admin { socket = \"/nonexistent/a\" http = nonsense }", "/nonexistent/a", NULL},
	{"a key that nobody knows", NULL, ADMIN "worker { x = 1 }", "/run/a.sock", NULL},
	{"half a file before it", NULL, "worker { name = a b }\n" ADMIN, "/run/a.sock", "a key was expected here"},
	{"half a file behind it", NULL, ADMIN "worker {\n", "/run/a.sock", "this { is never closed"},
	{"half a file without it", NULL, "worker {\n", NULL, "this { is never closed"},
	{"an include that is gone", NULL, "include(\"/nonexistent/a.conf\")\n" ADMIN, "/run/a.sock", "the included file /nonexistent/a.conf"},

	{"a list", "r/l", REDIS, "redis://h/1 3000", NULL},
	{"no such list", "r/x", REDIS, "-", NULL},
	{"a list of no section", "x/l", REDIS, "-", NULL},
	{"a program that is not there", "r/l", REDIS "handler \"h\" { type = exec command = {\"/nonexistent\"} }", "redis://h/1 3000", NULL},
	{"a variable elsewhere", "r/l", REDIS "redis \"s\" { url = \"redis://:${OUTFALL_TEST_UNSET}@h\" list \"l\" { } }", "redis://h/1 3000", NULL},
	{"a secret elsewhere", "r/l", REDIS "redis \"s\" { url_file = \"/nonexistent\" list \"l\" { } }", "redis://h/1 3000", NULL},
	{"a variable for its handler", "r/l", "redis \"r\" { url = \"redis://h\" list \"l\" { handler = ${OUTFALL_TEST_UNSET} lease = 3s } }", "redis://h 3000", NULL},
	{"a variable in its address", "r/l", "redis \"r\" { url = \"redis://:${OUTFALL_TEST_UNSET}@h\" list \"l\" { } }", NULL, "the variable OUTFALL_TEST_UNSET is not set"},
	{"its secret", "r/l", "redis \"r\" { url_file = \"/nonexistent\" list \"l\" { } }", NULL, "the file of url_file cannot be read"},
	{"a wrong value of its own", "r/l", "redis \"r\" { url = \"redis://h\" list \"l\" { lease = soon } }", NULL, "lease cannot be \"soon\""},
	{"a wrong value of its neighbour", "r/l", "redis \"r\" { url = \"redis://h\" list \"l\" { } list \"m\" { lease = soon } }", "redis://h 15000", NULL},
	{"half a file", "r/l", REDIS "worker {\n", "redis://h/1 3000", "this { is never closed"},
	{"half a file without it", "r/x", REDIS "worker {\n", NULL, "this { is never closed"},
	{"names with slashes", "a/b/c/d", "redis \"a/b\" { url = \"redis://h\" list \"c/d\" { } }", "redis://h 15000", NULL},
};
/* clang-format on */

static enum status load(const struct row *row, struct settings **ret_settings,
			struct problems *problems)
{
	char path[] = "/tmp/outfall-part.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, row->text, strlen(row->text)), (ssize_t)strlen(row->text));
	assert_int_equal(close(fd), 0);
	enum status st =
	    row->target != NULL
		? settings_load_queue(source_kinds, path, row->target, ret_settings, problems)
		: settings_load_socket(source_kinds, path, ret_settings, problems);
	assert_int_equal(unlink(path), 0);
	return st;
}

/* Of the list that is meant; the others have no address. */
static void print_found(const struct row *row, const struct settings *s, char *buf, size_t size)
{
	(void)snprintf(buf, size, "-");
	if (row->target == NULL && s->admin.socket != NULL)
		(void)snprintf(buf, size, "%s", s->admin.socket);
	for (size_t i = 0; i < s->n_sources; i++)
		if (s->sources[i]->broker.n_urls > 0)
			(void)snprintf(buf, size, "%s %u", s->sources[i]->broker.urls[0],
				       (unsigned)list_of(s, 0)->lease_ms);
}

static void each_row(void **state)
{
	(void)state;
	(void)unsetenv("OUTFALL_TEST_UNSET");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row *row = &rows[i];
		struct settings *settings = NULL;
		struct problems problems;
		char found[100];
		enum status st = load(row, &settings, &problems);
		const char *told = problems.count > 0 ? problems.list[0].text : "";
		if ((st == ST_OK) != (row->want != NULL) || problems.count != (row->told != NULL) ||
		    strncmp(told, row->told != NULL ? row->told : "",
			    row->told != NULL ? strlen(row->told) : 0) != 0)
			fail_msg("%s: %s: %zu: %s", row->about, status_name(st), problems.count,
				 told);
		if (st == ST_OK) {
			print_found(row, settings, found, sizeof found);
			assert_string_equal(found, row->want);
			assert_int_equal(problems.errors, 0);
		}
		settings_destroy(settings);
		problems_free(&problems);
	}
}

/* So that enqueue can say which there are. */
static void all_are_named(void **state)
{
	(void)state;
	static const struct row row = {
	    "", "x/y", "rabbitmq \"m\" { queue \"a\" { } queue \"b\" { } }\n" REDIS, NULL, NULL};
	struct settings *s = NULL;
	struct problems problems;
	assert_int_equal(load(&row, &s, &problems), ST_OK);
	assert_int_equal(s->n_sources, 2);
	assert_int_equal(rabbitmq_of(s)->n_queues, 2);
	assert_string_equal(queue_of(s, 1)->name, "b");
	assert_string_equal(list_of(s, 0)->name, "l");
	settings_destroy(s);
	problems_free(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_row),
	    cmocka_unit_test(all_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
