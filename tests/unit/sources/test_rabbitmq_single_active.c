/* What is believed of a queue after each answer; what the words mean is in test_rabbitmq_mismatch.c, and the
 * questions themselves are asked in tests/integration/test_single_active.py. */
#include "sources/rabbitmq/rabbitmq_single_active.h"

#include "sources/rabbitmq/rabbitmq_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BEGINS    "PRECONDITION_FAILED - inequivalent arg '"
#define MIDDLE    "' for queue 'q' in vhost '/': received "
#define SAC       BEGINS "x-single-active-consumer" MIDDLE
#define FORBIDDEN "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'"
#define AGAIN     SINGLE_ACTIVE_ASK_AGAIN
#define YES       SINGLE_ACTIVE_YES_IT_IS
#define NO        SINGLE_ACTIVE_NO_IT_IS_NOT
#define NOT_TOLD  SINGLE_ACTIVE_NOT_TOLD

struct step {
	const char *words; /* of a refusal; "": declare-ok */
	enum rabbitmq_single_active_answer then;
};

static void test_each_way_to_an_answer(void **state)
{
	(void)state;
	static const struct step rows[][5] = {
	    {{"", NO}							   },
	    {{SAC "none but current is the value 'true' of type 'bool'", YES}   },
	    {{SAC "none but current is the value 'false' of type 'bool'", AGAIN}, {"", NO}},
	    {{BEGINS "x-expires" MIDDLE "none but current is the value '60000' of type 'signedint'",
	      AGAIN},
	     {SAC "none but current is the value 'true' of type 'bool'", YES}},
 /* 3.10, and from 4.0 on, which adds the default type itself */
	    {{BEGINS "x-queue-type" MIDDLE
		     "none but current is the value 'quorum' of type 'longstr'",
	      AGAIN},
	     {"", NO}},
	    {{BEGINS "x-queue-type" MIDDLE "'classic' but current is 'quorum'", AGAIN},                                                {"", NO}},
	    {{BEGINS "durable" MIDDLE "'true' but current is 'false'", AGAIN},
	     {BEGINS "auto_delete" MIDDLE "'false' but current is 'true'", AGAIN},
	     {"", NO}},
 /* what cannot be sent, what was sent, and what is no answer */
	    {{BEGINS "x-odd" MIDDLE "none but current is the value '[]' of type 'table'",
	      NOT_TOLD}           },
	    {{BEGINS "x-odd" MIDDLE "'a' but current is 'b'", NOT_TOLD}   },
	    {{BEGINS "durable" MIDDLE "'true' but current is 'true'", NOT_TOLD}                                                           },
	    {{BEGINS "x-a" MIDDLE "none but current is the value '1' of type 'long'", AGAIN},
	     {BEGINS "x-a" MIDDLE "'1' but current is '1'", NOT_TOLD}},
	    {{BEGINS "x-a" MIDDLE "none but current is none", NOT_TOLD}         },
	    {{FORBIDDEN, NOT_TOLD} },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct queue_settings queue = {.name = "q"};
		struct rabbitmq_single_active sa;
		rabbitmq_single_active_init(&sa, &queue);
		assert_true(rabbitmq_single_active_begin(&sa));
		for (const struct step *step = rows[i]; step->words != NULL; step++)
			assert_int_equal(
			    rabbitmq_single_active_answered(&sa, span_text(step->words)),
			    step->then);
		rabbitmq_single_active_fini(&sa);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_way_to_an_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
