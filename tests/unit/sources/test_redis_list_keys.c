/* redis_list_keys: names as rows. */
#include "sources/redis/redis_list_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *list, *dead, *worker;
	const char *seq, *want_dead, *notes, *held;
} rows[] = {
    {"q",     NULL,     "w",  "{q}:seq",    "{q}:dead",    "{q}:dead:notes",    "{q}:held:w"   },
    {"q",     "buried", "w",  "{q}:seq",    "buried",      "buried:notes",      "{q}:held:w"   },
    {"{q}",   NULL,     "w",  "{q}::seq",   "{q}::dead",   "{q}::dead:notes",   "{q}::held:w"  },
    {"a{b}c", NULL,     "w",  "a{b}c::seq", "a{b}c::dead", "a{b}c::dead:notes", "a{b}c::held:w"},
    {"a{}c",  NULL,     "w",  "{a{}c}:seq", "{a{}c}:dead", "{a{}c}:dead:notes", "{a{}c}:held:w"},
    {"a{b",   NULL,     "w",  "{a{b}:seq",  "{a{b}:dead",  "{a{b}:dead:notes",  "{a{b}:held:w" },
    {"q",     NULL,     NULL, "{q}:seq",    "{q}:dead",    "{q}:dead:notes",    NULL           },
};

static void names_share_the_tag_of_the_list(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct redis_keys keys;
		assert_int_equal(redis_keys_init(&keys, rows[i].list, rows[i].dead, rows[i].worker),
				 ST_OK);
		assert_string_equal(keys.list, rows[i].list);
		assert_string_equal(keys.seq, rows[i].seq);
		assert_string_equal(keys.dead, rows[i].want_dead);
		assert_string_equal(keys.notes, rows[i].notes);
		/* All of a list's own names have the same beginning; this is the longest. */
		size_t stem = strlen(keys.seq) - strlen("seq");
		assert_int_equal(strncmp(keys.checkpoints, keys.seq, stem), 0);
		assert_string_equal(keys.checkpoints + stem, "checkpoints");
		if (rows[i].held != NULL)
			assert_string_equal(keys.held, rows[i].held);
		else
			assert_null(keys.held);
		redis_keys_fini(&keys);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(names_share_the_tag_of_the_list)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
