/* Settings from a text, by way of a file of its own. After cmocka.h. */
#ifndef OUTFALL_TESTS_LOADED_TEXT_H
#define OUTFALL_TESTS_LOADED_TEXT_H

#include "settings/load.h"
#include "settings/problems.h"
#include "sources/kind.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline struct settings *load(const char *text)
{
	char path[] = "/tmp/outfall-settings.XXXXXX";
	int fd = mkstemp(path);
	struct settings *settings = NULL;
	struct problems problems;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
	if (settings_load(source_kinds, path, &settings, &problems) != ST_OK)
		fail_msg("line %u: %s", problems.list[0].place.line, problems.list[0].text);
	problems_free(&problems);
	assert_int_equal(unlink(path), 0);
	return settings;
}

#endif
