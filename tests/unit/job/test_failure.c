/* What a handler says of its failure is kept, within bounds. */
#include "job/failure.h"

#include "base/memory.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void it_is_a_copy(void **state)
{
	(void)state;
	char class[] = "ValueError";
	struct failure said = {.class = span_text(class), .message = span_text("402")};
	struct failure *kept = failure_create(&said);
	class[0] = 'x';
	assert_true(span_equal(kept->class, span_text("ValueError")));
	assert_true(span_equal(kept->message, span_text("402")));
	assert_int_equal(kept->backtrace.len, 0);
	failure_destroy(kept);
	failure_destroy(NULL);
}

static void assert_cut(struct span text, size_t most)
{
	assert_true(text.len == most || text.len == most - 1);
	assert_true(text_is_utf8(text));
}

/* Characters of two bytes, behind none or one of one byte: a cut falls between two, or within one. */
static void long_texts_are_cut_between_characters(void **state)
{
	(void)state;
	static char text[2 * FAILURE_BACKTRACE_BYTES];
	for (size_t before = 0; before < 2; before++) {
		text[0] = 'x';
		for (size_t i = before; i + 1 < sizeof text; i += 2)
			memcpy(text + i, "\xc3\xa9", 2);
		struct span all = span_of(text, sizeof text - before);
		struct failure *kept = failure_create(&(struct failure){all, all, all});
		assert_cut(kept->class, FAILURE_CLASS_BYTES);
		assert_cut(kept->message, FAILURE_MESSAGE_BYTES);
		assert_cut(kept->backtrace, FAILURE_BACKTRACE_BYTES);
		failure_destroy(kept);
	}
}

static void without_memory_there_is_none(void **state)
{
	(void)state;
	(void)memory_fail_at(1);
	assert_null(failure_create(&(struct failure){.message = span_text("x")}));
	(void)memory_fail_at(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_is_a_copy),
	    cmocka_unit_test(long_texts_are_cut_between_characters),
	    cmocka_unit_test(without_memory_there_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
