/* Words of RabbitMQ 3.10.8, as they came, and what could be made of them. */
#include "sources/rabbitmq/rabbitmq_mismatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BEGINS "PRECONDITION_FAILED - inequivalent arg '"

static const struct row {
	const char *words, *key, *current; /* key NULL: not understood */
	enum rabbitmq_value_type type;
} rows[] = {
    {BEGINS
     "x-single-active-consumer' for queue 'plain' in vhost 't': received the value '7' of type "
     "'signedint' but current is none",							    "x-single-active-consumer", "",                      VALUE_IS_NONE   },
    {BEGINS
     "x-single-active-consumer' for queue 'sac' in vhost 't': received '7' but current is 'true'", "x-single-active-consumer", "true",                  VALUE_IS_AS_SENT},
    {BEGINS
     "x-expires' for queue 'many' in vhost 't': received none but current is the value '600000' of "
     "type 'signedint'",									   "x-expires",                "600000",                VALUE_IS_NUMBER },
    {BEGINS "x-dead-letter-exchange' for queue 'q' in vhost '/': received none but current is the "
	    "value '' "
	    "of type 'longstr'",								   "x-dead-letter-exchange",   "",                      VALUE_IS_TEXT   },
    {BEGINS
     "x-dead-letter-exchange' for queue 'q' in vhost '/': received none but current is the value "
     "'it's ' of type 'bool'' of type 'longstr'",						  "x-dead-letter-exchange",   "it's ' of type 'bool'", VALUE_IS_TEXT   },
    {BEGINS "durable' for queue 'q but current is 'x'' in vhost '/': received 'true' but current "
	    "is 'false'",									  "durable",		  "false",                 VALUE_IS_AS_SENT},
    {BEGINS "x-own' for queue 'q' in vhost '/': received none but current is the value 'true' of "
	    "type 'bool'",									 "x-own",		    "true",                  VALUE_IS_BOOL   },
    {BEGINS "x-own' for queue 'q' in vhost '/': received none but current is the value '1' of type "
	    "'decimal'",									   "x-own",		    "1",		     VALUE_IS_OTHER  },
    {BEGINS "x-single-active-consumer' for queue 'lllllllllllllll...",                                  NULL,                       NULL,                    VALUE_IS_NONE   },
    {BEGINS "x' for queue 'q': received none but current is the value '600...",                         NULL,                       NULL,
     VALUE_IS_NONE																			   },
    {BEGINS "x' for queue 'q': received none but current is the value '",                               NULL,                       NULL,
     VALUE_IS_NONE																			   },
    {BEGINS "x' for queue 'q': received none but current is the value '' of type '",                    NULL,                       NULL,
     VALUE_IS_NONE																			   },
    {BEGINS "x' for queue 'q': received none but current is 'a",                                        NULL,                       NULL,                    VALUE_IS_NONE   },
    {BEGINS "x' for queue 'q': received none but current is '",                                         NULL,                       NULL,                    VALUE_IS_NONE   },
    {BEGINS "x' for queue 'q': received none but current is no",                                        NULL,                       NULL,                    VALUE_IS_NONE   },
    {BEGINS "x",											NULL,		       NULL,                    VALUE_IS_NONE   },
    {"PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue 'missing' in vhost "
     "'t': "
     "{unacceptable_type,signedint}",							      NULL,		       NULL,		    VALUE_IS_NONE   },
    {"ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'",                          NULL,                       NULL,
     VALUE_IS_NONE																			   },
    {"",												NULL,		       NULL,                    VALUE_IS_NONE   },
};

static void test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *row = &rows[i];
		struct rabbitmq_mismatch m;
		bool understood = rabbitmq_mismatch_read(span_text(row->words), &m);
		if (understood != (row->key != NULL))
			fail_msg("%s", row->words);
		if (!understood)
			continue;
		if (!span_equal(m.key, span_text(row->key)) ||
		    !span_equal(m.current, span_text(row->current)) || m.type != row->type)
			fail_msg("%s: \"%.*s\" is \"%.*s\", %d", row->words, (int)m.key.len,
				 m.key.ptr, (int)m.current.len, m.current.ptr, (int)m.type);
	}
}

/* Cut off anywhere, nothing beyond the end is read, and what is understood lies within. */
static void test_cut_off(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t len = strlen(rows[i].words);
		for (size_t cut = 0; cut <= len; cut++) {
			char *words = test_malloc(cut + 1); /* of that size, for the sanitizers */
			memcpy(words, rows[i].words, cut);
			struct rabbitmq_mismatch m;
			if (rabbitmq_mismatch_read(span_of(words, cut), &m) && m.current.len > 0) {
				assert_true(m.current.ptr >= words);
				assert_true(m.current.ptr + m.current.len <= words + cut);
			}
			test_free(words);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_cut_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
