/* What is believed of a queue after each answer; what the words mean is in test_rabbitmq_mismatch.c. */
#include "sources/rabbitmq/rabbitmq_single_active.h"

#include "sources/rabbitmq/rabbitmq_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BEGINS                                                                                     \
	"PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in "      \
	"vhost '/': received "
#define YES       BEGINS "'7' but current is 'true'"
#define NO        BEGINS "the value '7' of type 'signedint' but current is none"
#define FORBIDDEN "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'"

static enum rabbitmq_single_active_answer answered(struct rabbitmq_single_active *sa,
						   const char *words)
{
	sa->state = SINGLE_ACTIVE_ASKED;
	return rabbitmq_single_active_answered(sa, span_text(words));
}

static void test_the_last_answer_counts(void **state)
{
	(void)state;
	struct queue_settings queue = {.name = "q"};
	struct rabbitmq_single_active sa;
	rabbitmq_single_active_init(&sa, &queue);
	assert_int_equal(answered(&sa, YES), SINGLE_ACTIVE_YES_IT_IS);
	assert_true(sa.is_one);
	assert_int_equal(answered(&sa, NO), SINGLE_ACTIVE_NO_IT_IS_NOT);
	assert_false(sa.is_one);
	rabbitmq_single_active_fini(&sa);
}

/* The log says then: taken for none. */
static void test_not_told_of_another_queue(void **state)
{
	(void)state;
	struct queue_settings queue = {.name = "q"};
	struct rabbitmq_single_active sa;
	rabbitmq_single_active_init(&sa, &queue);
	assert_int_equal(answered(&sa, YES), SINGLE_ACTIVE_YES_IT_IS);
	rabbitmq_single_active_doubt(&sa);
	assert_int_equal(answered(&sa, FORBIDDEN), SINGLE_ACTIVE_NOT_TOLD);
	assert_false(sa.is_one);
	rabbitmq_single_active_fini(&sa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_last_answer_counts),
	    cmocka_unit_test(test_not_told_of_another_queue),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
