/* The metrics page: a strict reader of the exposition format finds nothing wrong with it, every row
 * is there, and the numbers are those of the worker. */
#include "observe/metrics.h"

#include "../small_core.h"
#include "observe/metrics_table.h"
#include "observe/view.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct view view_of(const struct small_core *s)
{
	return (struct view){
	    .core = &s->core,
	    .name = "w",
	    .now_ns = s->now_ns,
	    .started_ns = 990 * SMALL_S,
	    .cpu_ns = SMALL_S / 4,
	    .lag_ns = 2000000,
	    .resident_bytes = 4096 * 1024,
	};
}

static char *page_of(const struct view *view)
{
	struct text text = {0};
	metrics_put(&text, view);
	text_put(&text, span_of("", 1));
	assert_false(text.failed);
	char *page = strdup(text.bytes);
	text_fini(&text);
	return page;
}

static void assert_line(const char *page, const char *line)
{
	const char *at = strstr(page, line);
	if (at == NULL || (at != page && at[-1] != '\n') || at[strlen(line)] != '\n')
		fail_msg("no line: %s\nin:\n%s", line, page);
}

/* --- the reader --- */

static const char *read_name(const char *at)
{
	assert_true(isalpha((unsigned char)*at) || *at == '_');
	while (isalnum((unsigned char)*at) || *at == '_' || *at == ':')
		at++;
	return at;
}

static const char *read_label(const char *at)
{
	at = read_name(at);
	assert_memory_equal(at, "=\"", 2);
	for (at += 2; *at != '"'; at++) {
		assert_true(*at != '\n' && *at != '\0');
		if (*at == '\\') {
			at++;
			assert_non_null(strchr("\\\"n", *at));
		}
	}
	return at + 1;
}

static const char *read_labels(const char *at)
{
	if (*at != '{')
		return at;
	do
		at = read_label(at + 1);
	while (*at == ',');
	assert_int_equal(*at, '}');
	return at + 1;
}

/* "name{labels} value\n"; the sample belongs to the family whose TYPE came last. */
static const char *read_sample(const char *at, const char *family, size_t family_len)
{
	const char *end;
	assert_true(strncmp(at, family, family_len) == 0);
	end = read_name(at);
	at = read_labels(end);
	assert_int_equal(*at, ' ');
	char *after;
	(void)strtod(at + 1, &after);
	assert_true(after > at + 1);
	assert_int_equal(*after, '\n');
	return after + 1;
}

static void read_page(const char *page)
{
	const char *family = "";
	size_t family_len = 0;
	for (const char *at = page; *at != '\0';) {
		if (strncmp(at, "# HELP ", 7) == 0 || strncmp(at, "# TYPE ", 7) == 0) {
			bool is_type = at[2] == 'T';
			const char *end = read_name(at + 7);
			assert_int_equal(*end, ' ');
			if (is_type) /* HELP of the same family was right before */
				assert_true(strncmp(family, at + 7, family_len) == 0);
			family = at + 7;
			family_len = (size_t)(end - family);
			at = strchr(at, '\n') + 1;
			continue;
		}
		at = read_sample(at, family, family_len);
	}
}

/* --- tests --- */

static void test_rows_make_sense(void **state)
{
	(void)state;
	for (size_t i = 0; i < metrics_n_rows; i++) {
		const struct metric_row *row = &metrics_table[i];
		size_t len = strlen(row->name);
		assert_memory_equal(row->name, "outfall_", 8);
		assert_true(row->help[strlen(row->help) - 1] == '.');
		assert_int_equal(row->kind == METRIC_HISTOGRAM, row->histogram != NULL);
		assert_int_equal(row->kind == METRIC_HISTOGRAM, row->value == NULL);
		assert_int_equal(row->kind == METRIC_COUNTER,
				 strcmp(row->name + len - 6, "_total") == 0);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(row->name, metrics_table[j].name);
	}
}

static void test_page(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	small_run(&s, 3000000);
	small_run(&s, 700000000);
	(void)small_deliver(&s, "a");
	(void)small_deliver(&s, "b");
	(void)small_deliver(&s, "c");
	core_begin_jobs(&s.core);
	struct view view = view_of(&s);
	char *page = page_of(&view);
	read_page(page);
	for (size_t i = 0; i < metrics_n_rows; i++) {
		char line[600];
		(void)snprintf(line, sizeof line, "# HELP %s %s", metrics_table[i].name,
			       metrics_table[i].help);
		assert_line(page, line);
	}
	assert_line(page, "# TYPE outfall_jobs_total counter");
	assert_line(page, "outfall_jobs_total{source=\"main\",queue=\"emails\",fate=\"done\"} 2");
	assert_line(page, "outfall_jobs_total{source=\"main\",queue=\"emails\",fate=\"dead\"} 0");
	assert_line(page, "outfall_jobs_running{source=\"main\",queue=\"emails\"} 2");
	assert_line(page, "outfall_jobs_held{source=\"main\",queue=\"emails\"} 1");
	assert_line(page, "outfall_concurrency 4");
	assert_line(page, "outfall_source_up{source=\"main\"} 1");
	assert_line(page, "outfall_handler_width{handler=\"mailer\"} 2");
	assert_line(page, "outfall_drain_state{state=\"open\"} 1");
	assert_line(page, "outfall_drain_state{state=\"closing\"} 0");
	assert_line(page, "outfall_drain_eta_seconds 1");
	assert_line(page, "outfall_cpu_seconds_total 0.25");
	assert_line(page, "outfall_loop_lag_seconds 0.002");
	assert_line(page, "outfall_uptime_seconds 10.703");
	assert_null(strstr(page, "\noutfall_drain_seconds_left ")); /* no drain: nothing to say */
	free(page);
	small_core_fini(&s);
}

static void test_histogram(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	small_run(&s, 3000000);
	small_run(&s, 700000000);
	small_run(&s, 7200 * SMALL_S);
	struct view view = view_of(&s);
	char *page = page_of(&view);
#define OF "{source=\"main\",queue=\"emails\""
	assert_line(page, "outfall_job_duration_seconds_bucket" OF ",le=\"0.001\"} 0");
	assert_line(page, "outfall_job_duration_seconds_bucket" OF ",le=\"0.005\"} 1");
	assert_line(page, "outfall_job_duration_seconds_bucket" OF ",le=\"1\"} 2");
	assert_line(page, "outfall_job_duration_seconds_bucket" OF ",le=\"1800\"} 2");
	assert_line(page, "outfall_job_duration_seconds_bucket" OF ",le=\"+Inf\"} 3");
	assert_line(page, "outfall_job_duration_seconds_sum" OF "} 7200.703");
	assert_line(page, "outfall_job_duration_seconds_count" OF "} 3");
	assert_line(page, "outfall_job_wait_seconds_count" OF "} 3");
	free(page);
	small_core_fini(&s);
}

static void test_in_a_drain(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	(void)small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	core_drain_turn(&s.core);
	s.now_ns += 10 * SMALL_S;
	struct view view = view_of(&s);
	char *page = page_of(&view);
	assert_line(page, "outfall_drain_state{state=\"finishing\"} 1");
	assert_line(page, "outfall_drain_seconds_left 19.9"); /* the exit takes a moment, too */
	assert_null(strstr(page, "\noutfall_drain_eta_seconds ")); /* that job has no past */
	free(page);
	small_core_fini(&s);
}

/* A queue's name is anything that a broker takes. */
static void test_names_are_escaped(void **state)
{
	(void)state;
	static const struct {
		const char *name, *want;
	} rows[] = {
	    {"a\"b\\c\nd",         "queue=\"a\\\"b\\\\c\\nd\""   },
	    {"gr\xc3\xbc\xc3\x9f", "queue=\"gr\xc3\xbc\xc3\x9f\""},
	    {"\xff",               "queue=\"?\""                 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct small_core s;
		small_core_init(&s, 0, rows[i].name);
		struct view view = view_of(&s);
		char *page = page_of(&view);
		read_page(page);
		assert_non_null(strstr(page, rows[i].want));
		free(page);
		small_core_fini(&s);
	}
}

/* worker/admin/README.md has each of them, with the same words. */
static void test_documented(void **state)
{
	(void)state;
	FILE *file = fopen(OUTFALL_SOURCE_DIR "/worker/admin/README.md", "r");
	assert_non_null(file);
	char *text = calloc(1, 100000);
	assert_non_null(text);
	assert_true(fread(text, 1, 99999, file) > 0);
	assert_int_equal(fclose(file), 0);
	for (size_t i = 0; i < metrics_n_rows; i++) {
		const struct metric_row *row = &metrics_table[i];
		char line[800];
		(void)snprintf(line, sizeof line, "| `%s` | %s | %s | %s | %s |", row->name,
			       metric_kind_name(row->kind), row->unit,
			       metric_scope_labels(row->scope), row->help);
		if (strstr(text, line) == NULL)
			fail_msg("not in worker/admin/README.md:\n%s", line);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows_make_sense),   cmocka_unit_test(test_page),
	    cmocka_unit_test(test_histogram),         cmocka_unit_test(test_in_a_drain),
	    cmocka_unit_test(test_names_are_escaped), cmocka_unit_test(test_documented),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
