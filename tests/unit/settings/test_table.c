/* The table, and the two files that follow from it: the sample, which must show every key with its
 * default and be a good configuration, and the reference, which is printed from the table.
 *
 *     OUTFALL_WRITE_REFERENCE=1 ctest -R settings/test_table     writes the reference anew */
#include "base/duration.h"
#include "settings/settings.h"
#include "settings/table.h"
#include "sources/kind.h"
#include "sources/rabbitmq/rabbitmq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLE    OUTFALL_SOURCE_DIR "/config/outfall.conf"
#define REFERENCE OUTFALL_SOURCE_DIR "/config/outfall.conf.md"

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	char *text = calloc(1, 100000);
	assert_non_null(text);
	assert_true(fread(text, 1, 99999, file) > 0);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void assert_makes_sense(const struct section_row *section, const struct key_row *row)
{
	assert_ptr_equal(section_find_key(section, row->name), row); /* not twice */
	assert_non_null(row->help);
	assert_true(strlen(row->help) > 0 && row->help[strlen(row->help) - 1] == '.');
	assert_true(row->least <= row->most);
	assert_int_equal(row->type == VALUE_CHOICE, row->choices != NULL);
	if (row->live && section->titled) { /* as settings_adopt() can take it over */
		assert_int_not_equal(row->offset, TABLE_NO_FIELD);
		assert_true(row->type == VALUE_COUNT || row->type == VALUE_DURATION ||
			    row->type == VALUE_RATE || row->type == VALUE_FRACTION ||
			    row->type == VALUE_CHOICE);
	}
}

static void test_rows_make_sense(void **state)
{
	(void)state;
	const struct section_row *section;
	for (size_t i = 0; (section = table_section(source_kinds, i)) != NULL; i++) {
		assert_ptr_equal(table_find_section(source_kinds, section->inside, section->name),
				 section);
		for (size_t k = 0; k < section_n_keys(section); k++)
			assert_makes_sense(section, section_key(section, k));
	}
}

static void test_nearest(void **state)
{
	(void)state;
	static const struct {
		const struct section_row *inside;
		const char *name, *want;
	} rows[] = {
	    {&section_worker,               "concurency",                                       "concurrency"},
	    {&section_worker,               "nmae",					     "name"       },
	    {&section_worker,               "maxbody",					  "max_body"   },
	    {&section_log,                  "Level",					    "level"      },
	    {NULL,			  "rabitmq",					  "rabbitmq"   },
	    {&rabbitmq_kind.schema.section, "queues",                                           "queue"      },
	    {&rabbitmq_kind.schema.section, "URL",                                              NULL         },
	    {&section_worker,               "grace",					    NULL         },
	    {&section_worker,               "x",						NULL         },
	    {&section_worker,               "a-name-that-is-much-longer-than-any-key-there-is", NULL         },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *got = table_nearest(source_kinds, rows[i].inside, rows[i].name);
		if ((got == NULL) != (rows[i].want == NULL) ||
		    (got != NULL && strcmp(got, rows[i].want) != 0))
			fail_msg("%s: %s", rows[i].name, got != NULL ? got : "nothing");
	}
}

/* --- the sample --- */

/* A line of the sample: a name, behind `#` or not, and what comes after its `=`. */
static const char *find_line(const char *from, const char *end, const char *name)
{
	size_t len = strlen(name);
	for (const char *p = from; p != NULL && p < end; p = strchr(p, '\n')) {
		p += strspn(p, "\n\t #");
		if (strncmp(p, name, len) != 0)
			continue;
		const char *equals = p + len + strspn(p + len, " ");
		if (*equals == '=')
			return equals + 1 + strspn(equals + 1, " ");
	}
	return NULL;
}

/* Where another section begins: a line with a word in its first column. */
static const char *find_next_section(const char *from, const char *name)
{
	const char *p = from;
	while ((p = strchr(p, '\n')) != NULL) {
		p++;
		if (*p >= 'a' && *p <= 'z' && strncmp(p, name, strlen(name)) != 0)
			return p;
	}
	return from + strlen(from);
}

static void find_section(const char *sample, const struct section_row *row, const char **ret_from,
			 const char **ret_end)
{
	char opening[64];
	(void)snprintf(opening, sizeof opening, row->titled ? "%s \"" : "%s {", row->name);
	*ret_from = strstr(sample, opening);
	if (*ret_from == NULL)
		fail_msg("the sample has no section %s", row->name);
	*ret_end = row->inside == NULL ? find_next_section(*ret_from, row->name)
				       : strstr(*ret_from, "\n\t}");
	assert_non_null(*ret_end);
}

static void assert_shown(const char *sample, const struct section_row *section,
			 const struct key_row *row)
{
	const char *from, *end, *value;
	find_section(sample, section, &from, &end);
	value = find_line(from, end, row->name);
	if (value == NULL)
		fail_msg("the sample does not show %s of %s", row->name, section->name);
	bool commented = false;
	for (const char *p = value; p > sample && *p != '\n'; p--)
		commented |= *p == '#';
	value += *value == '"';
	if (commented && row->preset != NULL &&
	    strncmp(value, row->preset, strlen(row->preset)) != 0)
		fail_msg("the sample gives %s of %s another default than %s", row->name,
			 section->name, row->preset);
}

static void test_sample_shows_every_key(void **state)
{
	(void)state;
	char *sample = read_file(SAMPLE);
	const struct section_row *section;
	for (size_t i = 0; (section = table_section(source_kinds, i)) != NULL; i++)
		for (size_t k = 0; k < section_n_keys(section); k++)
			assert_shown(sample, section, section_key(section, k));
	free(sample);
}

static void test_sample_is_good(void **state)
{
	(void)state;
	struct settings *settings = NULL;
	struct problems problems;
	enum status st = settings_load(source_kinds, SAMPLE, &settings, &problems);
	for (size_t i = 0; i < problems.count; i++)
		print_error("%s:%u: %s\n", problems.list[i].place.file, problems.list[i].place.line,
			    problems.list[i].text);
	assert_int_equal(st, ST_OK);
	assert_int_equal(problems.count, 0);
	settings_destroy(settings);
	problems_free(&problems);
}

/* "# name = ...", and no sentence. */
static bool is_commented_key(const char *sample, const char *p)
{
	if (p[0] != '#' || p[1] != ' ' || p == sample || p[-1] != '\t')
		return false;
	size_t len = strspn(p + 2, "abcdefghijklmnopqrstuvwxyz_");
	return len > 0 && strncmp(p + 2 + len, " = ", 3) == 0;
}

/* What is commented out is good as well: the sample with its keys uncommented has no unknown key. */
static void test_sample_uncommented(void **state)
{
	(void)state;
	char *sample = read_file(SAMPLE), *to = sample;
	for (const char *p = sample; *p != '\0'; p++)
		if (!is_commented_key(sample, p))
			*to++ = *p;
	*to = '\0';
	char path[] = "/tmp/outfall-test-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	assert_non_null(file);
	assert_true(fputs(sample, file) >= 0);
	assert_int_equal(fclose(file), 0);
	struct settings *settings = NULL;
	struct problems problems;
	(void)settings_load(source_kinds, path, &settings,
			    &problems); /* url and url_file are both given */
	for (size_t i = 0; i < problems.count; i++)
		if (strstr(problems.list[i].text, "unknown") != NULL ||
		    strstr(problems.list[i].text, "cannot be \"") != NULL ||
		    strstr(problems.list[i].text, "cannot be this") != NULL ||
		    strstr(problems.list[i].text, "missing") != NULL ||
		    strstr(problems.list[i].text, "expected") != NULL)
			fail_msg("line %u: %s", problems.list[i].place.line, problems.list[i].text);
	assert_true(problems.count > 0);
	settings_destroy(settings);
	problems_free(&problems);
	free(sample);
	assert_int_equal(remove(path), 0);
}

/* --- the reference --- */

static void print_limit(FILE *out, const struct key_row *row, int64_t limit)
{
	char text[32];
	if (row->type == VALUE_DURATION)
		duration_print((uint64_t)limit, text, sizeof text);
	else if (row->type == VALUE_RATE)
		rate_print((uint64_t)limit, text, sizeof text);
	else if (row->type == VALUE_SIZE)
		size_print((uint64_t)limit, text, sizeof text);
	else if (row->type == VALUE_FRACTION)
		(void)snprintf(text, sizeof text, "%g", (double)limit / 1000);
	else
		(void)snprintf(text, sizeof text, "%lld", (long long)limit);
	(void)fputs(text, out);
}

static void print_values(FILE *out, const struct key_row *row)
{
	if (row->type == VALUE_CHOICE) {
		const char *mark = "";
		for (const struct choice *c = row->choices; c->name != NULL; c++)
			if (c->value != CHOICE_LATER) {
				(void)fprintf(out, "%s`%s`", mark, c->name);
				mark = " ";
			}
		return;
	}
	(void)fputs(table_type_name(row->type), out);
	if (row->least != row->most) {
		(void)fputs(", ", out);
		print_limit(out, row, row->least);
		(void)fputs(" to ", out);
		print_limit(out, row, row->most);
	}
	if (row->zero != NULL)
		(void)fprintf(out, ", or `%s`", row->zero);
}

/* Which handlers know the key: "exec, pool: ". */
static void print_types(FILE *out, unsigned types)
{
	const char *mark = "";
	for (int type = 0; type < HANDLER_TYPES; type++) {
		if ((types & (1u << type)) == 0)
			continue;
		(void)fprintf(out, "%s%s", mark, handler_type_name((enum handler_type)type));
		mark = ", ";
	}
	if (types != 0)
		(void)fputs(": ", out);
}

static void print_key(FILE *out, const struct key_row *row)
{
	(void)fprintf(out, "| `%s` | ", row->name);
	print_values(out, row);
	if (row->preset != NULL)
		(void)fprintf(out, " | `%s` | ", row->preset);
	else
		(void)fputs(" | | ", out);
	print_types(out, row->types);
	(void)fprintf(out, "%s |\n", row->help);
}

static void print_section(FILE *out, const struct section_row *row)
{
	(void)fprintf(out, "\n## `%s%s`%s%s%s\n\n%s\n\n", row->name, row->titled ? " \"...\"" : "",
		      row->inside != NULL ? " in `" : "",
		      row->inside != NULL ? row->inside->name : "", row->inside != NULL ? "`" : "",
		      row->help);
	(void)fputs("| key | value | default | |\n|---|---|---|---|\n", out);
	for (size_t i = 0; i < section_n_keys(row); i++)
		print_key(out, section_key(row, i));
}

static void print_reference(FILE *out)
{
	(void)fputs("# Every key of outfall.conf\n"
		    "\n"
		    "Printed from `worker/settings/table.c` and each `kind.c` of `worker/sources`, "
		    "and held to them by "
		    "`tests/unit/settings/test_table.c`.\n"
		    "\n"
		    "A time is a number with `ms`, `s`, `m` or `h`; a size is a number of bytes, "
		    "with or without `k`,\n"
		    "`M` or `G` (powers of 1024). A list is written `{\"a\", \"b\"}`. Quotes may "
		    "be left out where a\n"
		    "value has no blank and none of `#\"'={}()+,*` in it.\n"
		    "\n"
		    "In double quotes, and standing alone, `${VAR}` is replaced by the "
		    "environment's value, and must\n"
		    "be set there; `${VAR:-text}` stands for `text` where it is unset or empty. "
		    "`HOSTNAME` is always\n"
		    "set. `\\$`, `\\\"`, `\\\\` and `\\n` are plain characters; single quotes keep "
		    "everything as it is.\n"
		    "Comments begin with `#` or `//`, or stand between `/*` and `*/`.\n"
		    "\n"
		    "`include(\"file\")` reads another file at that place, "
		    "`include(\"conf.d/*.conf\")` all that match, in the\n"
		    "order of their names; none is fine, a folder that is not there is an error. "
		    "Such names, and those of secrets\n"
		    "and certificates, are relative to the file they are written in; programs, "
		    "plugins and the report\n"
		    "are relative to the folder the worker is started in.\n"
		    "\n"
		    "All mistakes are told in one run. No message holds a word of a value that "
		    "might be a secret: it names\n"
		    "the file, the line, the key and what would be right.\n",
		    out);
	const struct section_row *section;
	for (size_t i = 0; (section = table_section(source_kinds, i)) != NULL; i++)
		print_section(out, section);
}

static void test_reference_is_true(void **state)
{
	(void)state;
	char *want = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&want, &size);
	assert_non_null(out);
	print_reference(out);
	assert_int_equal(fclose(out), 0);
	if (getenv("OUTFALL_WRITE_REFERENCE") != NULL) {
		FILE *file = fopen(REFERENCE, "w");
		assert_non_null(file);
		assert_true(fputs(want, file) >= 0);
		assert_int_equal(fclose(file), 0);
	}
	char *have = read_file(REFERENCE);
	assert_string_equal(have, want);
	free(have);
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows_make_sense),        cmocka_unit_test(test_nearest),
	    cmocka_unit_test(test_sample_shows_every_key), cmocka_unit_test(test_sample_is_good),
	    cmocka_unit_test(test_sample_uncommented),     cmocka_unit_test(test_reference_is_true),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
