/* The grammar gives texts; here they become numbers, times and choices. A value that is wrong is
 * answered with what would be right, built from the row: its range, its words, an example. */
#include "settings/value.h"

#include "base/duration.h"
#include "base/must.h"
#include "settings/problems.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wrong {
	char text[200]; /* what would be right */
};

static bool in_range(const struct key_row *row, int64_t value)
{
	return value >= row->least && value <= row->most;
}

/* --- one field, true when `text` is right --- */

static bool set_unsigned(const struct key_row *row, const char *text, void *field,
			 bool (*parse)(const char *text, uint64_t *ret))
{
	uint64_t value = 0;
	bool zero = row->zero != NULL && strcmp(text, row->zero) == 0;
	if (!zero && (!parse(text, &value) || value > INT64_MAX || !in_range(row, (int64_t)value)))
		return false;
	switch (row->type) {
	case VALUE_COUNT:
		*(unsigned *)field = (unsigned)value;
		return true;
	case VALUE_SIZE:
		*(size_t *)field = (size_t)value;
		return true;
	default:
		must(row->type == VALUE_DURATION || row->type == VALUE_RATE);
		*(uint64_t *)field = value;
		return true;
	}
}

static bool set_number(const struct key_row *row, const char *text, int *field)
{
	uint64_t size;
	bool minus = text[0] == '-';
	if (!count_parse(text + minus, &size) || size > INT32_MAX)
		return false;
	int64_t value = minus ? -(int64_t)size : (int64_t)size;
	if (!in_range(row, value))
		return false;
	*field = (int)value;
	return true;
}

/* Digits, perhaps a dot and digits: strtod() would also take "nan", "0x1p3" and blanks. */
static bool set_fraction(const struct key_row *row, const char *text, double *field)
{
	size_t whole = strspn(text, "0123456789");
	size_t dot = text[whole] == '.';
	size_t part = dot != 0 ? strspn(text + whole + 1, "0123456789") : 0;
	if (whole == 0 || (dot != 0 && part == 0) || text[whole + dot + part] != '\0')
		return false;
	double value = strtod(text, NULL);
	if (value * 1000 < (double)row->least || value * 1000 > (double)row->most)
		return false;
	*field = value;
	return true;
}

static const struct choice *find_choice(const struct key_row *row, const char *text)
{
	for (const struct choice *choice = row->choices; choice->name != NULL; choice++)
		if (strcmp(choice->name, text) == 0)
			return choice;
	return NULL;
}

/* Every enum of settings.h is as wide as an int; the compiler checks it here. */
_Static_assert(sizeof(enum backoff) == sizeof(int), "VALUE_CHOICE writes an int");

static bool set_choice(const struct key_row *row, const char *text, int *field)
{
	const struct choice *choice = find_choice(row, text);
	if (choice == NULL || choice->value == CHOICE_LATER)
		return false;
	if (field != NULL)
		*field = choice->value;
	return true;
}

static bool set_text(const struct key_row *row, const char *text, void *field)
{
	switch (row->type) {
	case VALUE_TEXT:
		*(const char **)field = text;
		return true;
	case VALUE_COUNT:
		return set_unsigned(row, text, field, count_parse);
	case VALUE_DURATION:
		return set_unsigned(row, text, field, duration_parse);
	case VALUE_RATE:
		return set_unsigned(row, text, field, rate_parse);
	case VALUE_SIZE:
		return set_unsigned(row, text, field, size_parse);
	case VALUE_NUMBER:
		return set_number(row, text, field);
	case VALUE_FRACTION:
		return set_fraction(row, text, field);
	case VALUE_CHOICE:
		return set_choice(row, text, field);
	case VALUE_LIST:
		break;
	}
	must(false && "a list is no text");
	return false;
}

/* --- what would be right --- */

static void print_limit(const struct key_row *row, char *buf, size_t size, int64_t limit)
{
	if (row->type == VALUE_DURATION)
		duration_print((uint64_t)limit, buf, size);
	else if (row->type == VALUE_RATE)
		rate_print((uint64_t)limit, buf, size);
	else if (row->type == VALUE_SIZE)
		size_print((uint64_t)limit, buf, size);
	else if (row->type == VALUE_FRACTION)
		(void)snprintf(buf, size, "%g", (double)limit / 1000);
	else
		(void)snprintf(buf, size, "%" PRId64, limit);
}

static void say_range(const struct key_row *row, struct wrong *wrong)
{
	static const char *const kinds[] = {
	    [VALUE_DURATION] = "a time like 500ms, 30s, 10m or 2h",
	    [VALUE_RATE] = "a rate like 100/s, 30/m or 5/h",
	    [VALUE_SIZE] = "a size like 4096, 64k or 10M",
	    [VALUE_FRACTION] = "a number",
	    [VALUE_COUNT] = "a whole number",
	    [VALUE_NUMBER] = "a whole number",
	};
	char least[32], most[32];
	print_limit(row, least, sizeof least, row->least);
	print_limit(row, most, sizeof most, row->most);
	(void)snprintf(wrong->text, sizeof wrong->text, "%s from %s to %s is needed%s%s%s",
		       kinds[row->type], least, most, row->zero != NULL ? ", or \"" : "",
		       row->zero != NULL ? row->zero : "", row->zero != NULL ? "\"" : "");
}

/* "error, warn or info": the words this version can do. */
static void say_choices(const struct key_row *row, struct wrong *wrong)
{
	size_t used = 0, left = 0;
	for (const struct choice *choice = row->choices; choice->name != NULL; choice++)
		left += choice->value != CHOICE_LATER;
	for (const struct choice *choice = row->choices; choice->name != NULL; choice++) {
		if (choice->value == CHOICE_LATER)
			continue;
		const char *mark = used == 0 ? "" : left == 1 ? " or " : ", ";
		used += (size_t)snprintf(wrong->text + used, sizeof wrong->text - used, "%s\"%s\"",
					 mark, choice->name);
		must(used < sizeof wrong->text);
		left--;
	}
}

static bool is_for_later(const struct key_row *row, const char *text)
{
	if (row->type != VALUE_CHOICE)
		return false;
	const struct choice *choice = find_choice(row, text);
	return choice != NULL && choice->value == CHOICE_LATER;
}

static void report_wrong(const struct key_row *row, const struct said *said,
			 struct problems *problems)
{
	struct wrong right;
	char text[SAID_SHOWN_BYTES];
	(void)said_word(said, text);
	if (row->type == VALUE_CHOICE)
		say_choices(row, &right);
	else
		say_range(row, &right);
	if (is_for_later(row, said->texts[0]))
		problems_error(problems, said->place,
			       "%s %s is not supported by this version: use %s", row->name, text,
			       right.text);
	else if (row->type == VALUE_CHOICE)
		problems_error(problems, said->place, "%s cannot be %s: use %s", row->name, text,
			       right.text);
	else
		problems_error(problems, said->place, "%s cannot be %s: %s", row->name, text,
			       right.text);
}

/* --- blocks --- */

static void fill_preset(const struct key_row *row, void *field)
{
	if (row->preset != NULL)
		must(row->offset == TABLE_NO_FIELD || set_text(row, row->preset, field));
}

static void fill_said(const struct key_row *row, const struct said *said, void *field,
		      struct problems *problems)
{
	if (said->unset)
		return;
	if (row->type == VALUE_LIST) {
		if (field != NULL)
			*(const char ***)field = said->texts;
		return;
	}
	if (said->n > 1)
		problems_error(problems, said->place, "%s takes one value, not a list", row->name);
	else if (row->type == VALUE_TEXT && said->texts[0][0] == '\0')
		problems_error(problems, said->place,
			       "%s is empty: give it a value or leave it out", row->name);
	else if ((field != NULL || row->type == VALUE_CHOICE) &&
		 !set_text(row, said->texts[0], field))
		report_wrong(row, said, problems);
}

static void fill_key(struct block *block, const struct key_row *row, const struct said *said,
		     struct problems *problems)
{
	void *field = NULL;
	if (row->offset != TABLE_NO_FIELD)
		field = (char *)block->fields + row->offset;
	fill_preset(row, field);
	if (said->n > 0)
		fill_said(row, said, field, problems);
}

void value_fill_block(struct block *block, struct problems *problems)
{
	for (size_t i = 0; i < section_n_keys(block->section); i++)
		fill_key(block, section_key(block->section, i), &block->said[i], problems);
}
