/* environment - what is let through, what is added, and what never is. */
#include "dispatch/routes.h"
#include "executors/child/environment.h"
#include "job/job.h"
#include "settings/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char *const inherited[] = {
    "PATH=/bin",
    "HOME=/root",
    "APP_A=1",
    "APP_B=2",
    "APPLE=3",
    "LANG=de",
    "OUTFALL_JOB_ID=of another",
    "ODD",
    NULL,
};
static const struct identity ourselves;

/* All of it, in one line. */
static void print(char *const *envp, char *line, size_t size)
{
	size_t used = 0;
	line[0] = '\0';
	for (; *envp != NULL; envp++)
		used += (size_t)snprintf(line + used, size - used, "%s;", *envp);
	assert_true(used < size);
}

static void wanted_is_let_through(void **state)
{
	(void)state;
	static const struct {
		const char *wanted[4];
		const char *line;
	} rows[] = {
	    {{"PATH"},			   "PATH=/bin;"					      },
	    {{"APP_*", "PATH"},                  "PATH=/bin;APP_A=1;APP_B=2;"                              },
	    {{"APP_*", "APP_A=9"},               "APP_A=9;APP_B=2;"                                        },
	    {{"X=1=2", "Y="},                    "X=1=2;Y=;"					       },
	    {{"*", "LANG=C"},                    "LANG=C;PATH=/bin;HOME=/root;APP_A=1;APP_B=2;APPLE=3;ODD;"},
	    {{"OUTFALL_*", "OUTFALL_JOB_ID=me"}, ""							},
	    {{"NOWHERE", "APP", "PAT"},          ""							},
	    {{"X=1", "X=2"},                     "X=1;"						    },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char line[256];
		struct environment *env =
		    environment_create(inherited, rows[i].wanted, NULL, &ourselves);
		print(environment_without_job(env), line, sizeof line);
		assert_string_equal(line, rows[i].line);
		environment_destroy(env);
	}
}

/* Credentials of the configuration: only for whoever asks for them by name. */
static void withheld_is_not_let_through(void **state)
{
	(void)state;
	static const char *const withheld[] = {"APP_A", "HOME", "NOWHERE", NULL};
	static const struct {
		const char *wanted[4];
		const char *line;
	} rows[] = {
	    {{"APP_A"},     "APP_A=1;"					 },
	    {{"APP_*"},     "APP_B=2;"					 },
	    {{"*"},         "PATH=/bin;APP_B=2;APPLE=3;LANG=de;ODD;"           },
	    {{"*", "HOME"}, "PATH=/bin;HOME=/root;APP_B=2;APPLE=3;LANG=de;ODD;"},
	    {{"APP_A=9"},   "APP_A=9;"					 },
	};
	char line[256];
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct environment *env =
		    environment_create(inherited, rows[i].wanted, withheld, &ourselves);
		print(environment_without_job(env), line, sizeof line);
		assert_string_equal(line, rows[i].line);
		environment_destroy(env);
	}
	struct environment *env = environment_create(inherited, NULL, withheld, &ourselves);
	print(environment_without_job(env), line, sizeof line);
	assert_string_equal(line, "PATH=/bin;APP_B=2;APPLE=3;LANG=de;ODD;");
	environment_destroy(env);
}

static void without_a_list_all_is(void **state)
{
	(void)state;
	char line[256];
	struct environment *env = environment_create(inherited, NULL, NULL, &ourselves);
	print(environment_without_job(env), line, sizeof line);
	assert_string_equal(line, "PATH=/bin;HOME=/root;APP_A=1;APP_B=2;APPLE=3;LANG=de;ODD;");
	environment_destroy(env);
}

static void another_user_has_a_home(void **state)
{
	(void)state;
	char line[256];
	static const char *const wanted[] = {"HOME=/own", "PATH", "USER", NULL};
	const struct identity as = {.changes = true, .name = "ada", .home = "/home/ada"};
	struct environment *env = environment_create(inherited, NULL, NULL, &as);
	print(environment_without_job(env), line, sizeof line);
	assert_string_equal(line, "USER=ada;LOGNAME=ada;HOME=/home/ada;PATH=/bin;APP_A=1;APP_B=2;"
				  "APPLE=3;LANG=de;ODD;");
	environment_destroy(env);
	env = environment_create(inherited, wanted, NULL, &as);
	print(environment_without_job(env), line, sizeof line);
	assert_string_equal(line, "HOME=/own;USER=ada;LOGNAME=ada;PATH=/bin;");
	environment_destroy(env);
}

static void a_job_follows(void **state)
{
	(void)state;
	char line[512];
	static const char *const wanted[] = {"PATH", NULL};
	struct route route = {.name = "emails", .source_name = "main"};
	struct job_facts facts = {.route = &route, .attempt = 2, .id = span_text("j1")};
	struct job *job = job_create(&facts);
	struct environment *env = environment_create(inherited, wanted, NULL, &ourselves);
	print(environment_for(env, job, 7), line, sizeof line);
	assert_string_equal(line,
			    "PATH=/bin;OUTFALL_JOB_ID=j1;OUTFALL_SOURCE=main;OUTFALL_QUEUE=emails;"
			    "OUTFALL_ATTEMPT=2;OUTFALL_INTERRUPTIONS=0;OUTFALL_REDELIVERED=0;"
			    "OUTFALL_TIMEOUT_MS=7;OUTFALL_CONTENT_TYPE=;");
	environment_destroy(env);
	job_destroy(job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wanted_is_let_through), cmocka_unit_test(withheld_is_not_let_through),
	    cmocka_unit_test(without_a_list_all_is), cmocka_unit_test(another_user_has_a_home),
	    cmocka_unit_test(a_job_follows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
