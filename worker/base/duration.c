#include "base/duration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* clang-format off */
static const struct unit times[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {0}};
static const struct unit sizes[] = {{"", 1}, {"k", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {0}};
/* clang-format on */

/* The digits at the front of `text`; *ret_rest is what follows. strtoull() would also take
 * blanks, signs and hexadecimal. */
static bool parse_digits(const char *text, uint64_t *ret_number, const char **ret_rest)
{
	uint64_t number = 0;
	const char *p = text;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
			return false;
	*ret_number = number;
	*ret_rest = p;
	return p != text;
}

static bool parse_with_unit(const char *text, const struct unit *units, uint64_t *ret_number)
{
	uint64_t number;
	const char *rest;
	if (!parse_digits(text, &number, &rest))
		return false;
	for (; units->name != NULL; units++)
		if (strcmp(rest, units->name) == 0)
			return !__builtin_mul_overflow(number, units->factor, ret_number);
	return false;
}

bool duration_parse(const char *text, uint64_t *ret_ms)
{
	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return true;
	}
	uint64_t ms;
	if (!parse_with_unit(text, times, &ms))
		return false;
	*ret_ms = ms;
	return true;
}

bool size_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t bytes;
	if (!parse_with_unit(text, sizes, &bytes))
		return false;
	*ret_bytes = bytes;
	return true;
}

bool count_parse(const char *text, uint64_t *ret_count)
{
	uint64_t count;
	const char *rest;
	if (!parse_digits(text, &count, &rest) || *rest != '\0')
		return false;
	*ret_count = count;
	return true;
}

static void print_with_unit(uint64_t number, const struct unit *units, char *buf, size_t size)
{
	const struct unit *best = units;
	for (const struct unit *unit = units; unit->name != NULL; unit++)
		if (number >= unit->factor && number % unit->factor == 0)
			best = unit;
	(void)snprintf(buf, size, "%" PRIu64 "%s", number / best->factor,
		       number == 0 ? "" : best->name);
}

void duration_print(uint64_t ms, char *buf, size_t size)
{
	print_with_unit(ms, times, buf, size);
}

void size_print(uint64_t bytes, char *buf, size_t size)
{
	print_with_unit(bytes, sizes, buf, size);
}

static const struct {
	char unit;
	uint64_t ns;
} rate_units[] = {
    {'s', UINT64_C(1000000000)   },
    {'m', UINT64_C(60000000000)  },
    {'h', UINT64_C(3600000000000)}
};

bool rate_parse(const char *text, uint64_t *ret_interval_ns)
{
	char number[24];
	uint64_t jobs;
	const char *slash = strchr(text, '/');
	if (slash == NULL || (size_t)(slash - text) >= sizeof number || strlen(slash) != 2)
		return false;
	memcpy(number, text, (size_t)(slash - text));
	number[slash - text] = '\0';
	if (!count_parse(number, &jobs) || jobs == 0)
		return false;
	for (size_t i = 0; i < sizeof rate_units / sizeof *rate_units; i++) {
		if (slash[1] != rate_units[i].unit || jobs > rate_units[i].ns)
			continue;
		*ret_interval_ns = rate_units[i].ns / jobs;
		return true;
	}
	return false;
}

void rate_print(uint64_t interval_ns, char *buf, size_t size)
{
	size_t i = 0;
	while (i + 1 < sizeof rate_units / sizeof *rate_units && rate_units[i].ns < interval_ns)
		i++;
	(void)snprintf(buf, size, "%" PRIu64 "/%c", rate_units[i].ns / interval_ns,
		       rate_units[i].unit);
}
