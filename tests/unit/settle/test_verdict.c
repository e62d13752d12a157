/* What becomes of a job, as rows; and how long a retry waits. */
#include "settings/settings.h"
#include "settle/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NEVER_BEGUN = -1 };

static const struct retry_settings three = {
    .attempts = 3, .backoff = BACKOFF_CONSTANT, .first_ms = 500, .max_ms = 1000, .jitter = 0};

static void verdicts(void **state)
{
	(void)state;
	static const struct {
		int outcome;
		uint32_t attempt;
		bool stopped_by_drain;
		enum fate fate;
		uint32_t next_attempt, interruptions; /* of two before */
		bool interrupted;
	} rows[] = {
	    {OUTCOME_DONE,      1, false, FATE_DONE,     1, 2, false},
	    {OUTCOME_DONE,      9, true,  FATE_DONE,     9, 2,
	     false						  }, /* done is done, even when asked to stop */
	    {OUTCOME_REJECT,    1, false, FATE_DEAD,     1, 2, false},
	    {OUTCOME_REJECT,    1, true,  FATE_DEAD,     1, 2, false},
	    {OUTCOME_RETRY,     1, false, FATE_RETRIED,  2, 2, false},
	    {OUTCOME_RETRY,     2, false, FATE_RETRIED,  3, 2, false},
	    {OUTCOME_RETRY,     3, false, FATE_DEAD,     3, 2, false},
	    {OUTCOME_RETRY,     4, false, FATE_DEAD,     4, 2, false}, /* the policy was made stricter */
	    {OUTCOME_RETRY,     3, true,  FATE_RETURNED, 3, 3, true }, /* never costs the last attempt */
	    {OUTCOME_RETURN,    3, false, FATE_RETURNED, 3, 2, false},
	    {OUTCOME_RETURN,    3, true,  FATE_RETURNED, 3, 3, true },
	    {OUTCOME_ABANDONED, 3, true,  FATE_RETURNED, 3, 3, true },
	    {NEVER_BEGUN,       2, false, FATE_RETURNED, 2, 2, false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct outcome outcome = {.kind = (enum outcome_kind)rows[i].outcome};
		struct verdict_facts facts = {
		    .outcome = rows[i].outcome == NEVER_BEGUN ? NULL : &outcome,
		    .attempt = rows[i].attempt,
		    .interruptions = 2,
		    .stopped_by_drain = rows[i].stopped_by_drain,
		};
		struct verdict verdict = verdict_of(&facts, &three);
		assert_int_equal(verdict.fate, rows[i].fate);
		assert_int_equal(verdict.attempt, rows[i].next_attempt);
		assert_int_equal(verdict.interruptions, rows[i].interruptions);
		assert_int_equal(verdict.interrupted, rows[i].interrupted);
		assert_int_equal(verdict.delay_ms, rows[i].fate == FATE_RETRIED ? 500 : 0);
	}
}

/* What a handler asks for counts, within reason; a number that came round is no wait of ages. */
static void a_handlers_own_delay(void **state)
{
	(void)state;
	static const struct {
		uint64_t asked_ms, expected_ms;
		bool asked;
	} rows[] = {
	    {0,			500,                  false},
	    {1,			1,		    true },
	    {OUTCOME_ASKS_MOST_MS,     OUTCOME_ASKS_MOST_MS, true },
	    {OUTCOME_ASKS_MOST_MS + 1, OUTCOME_ASKS_MOST_MS, true },
	    {UINT64_C(1764500000000),  OUTCOME_ASKS_MOST_MS, true }, /* a moment, not a time */
	    {UINT64_MAX,               OUTCOME_ASKS_MOST_MS, true },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct outcome outcome = {.kind = OUTCOME_RETRY, .after_ms = rows[i].asked_ms};
		struct verdict_facts facts = {.outcome = &outcome, .attempt = 1};
		struct verdict verdict = verdict_of(&facts, &three);
		assert_int_equal(verdict.fate, FATE_RETRIED);
		assert_int_equal(verdict.delay_ms, rows[i].expected_ms);
		assert_int_equal(verdict.delay_asked, rows[i].asked);
	}
}

/* Three crashes and it is dead, whatever attempts are left; an interruption that ends in a crash is
 * an interruption. */
static void crashes(void **state)
{
	(void)state;
	static const struct retry_settings ten = {.attempts = 10,
						  .backoff = BACKOFF_CONSTANT,
						  .first_ms = 500,
						  .max_ms = 1000,
						  .crashes = 3};
	static const struct retry_settings never = {
	    .attempts = 10, .backoff = BACKOFF_CONSTANT, .first_ms = 500, .max_ms = 1000};
	static const struct {
		const struct retry_settings *retry;
		uint32_t before;
		bool crashed, stopped_by_drain;
		enum fate fate;
		uint32_t after;
		bool poisonous;
	} rows[] = {
	    {&ten,   0, true,  false, FATE_RETRIED,  1,  false},
	    {&ten,   1, true,  false, FATE_RETRIED,  2,  false},
	    {&ten,   2, true,  false, FATE_DEAD,     3,  true },
	    {&ten,   7, true,  false, FATE_DEAD,     8,  true },
	    {&ten,   2, false, false, FATE_RETRIED,  2,  false},
	    {&ten,   2, true,  true,  FATE_RETURNED, 2,  false},
	    {&never, 9, true,  false, FATE_RETRIED,  10, false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct outcome outcome = {.kind = OUTCOME_RETRY, .crashed = rows[i].crashed};
		struct verdict_facts facts = {.outcome = &outcome,
					      .attempt = 1,
					      .crashes = rows[i].before,
					      .stopped_by_drain = rows[i].stopped_by_drain};
		struct verdict verdict = verdict_of(&facts, rows[i].retry);
		assert_int_equal(verdict.fate, rows[i].fate);
		assert_int_equal(verdict.crashes, rows[i].after);
		assert_int_equal(verdict.poisonous, rows[i].poisonous);
	}
}

static void the_handlers_own_delay_wins(void **state)
{
	(void)state;
	struct outcome outcome = {.kind = OUTCOME_RETRY, .after_ms = 7};
	struct verdict_facts facts = {.outcome = &outcome, .attempt = 1};
	assert_int_equal(verdict_of(&facts, &three).delay_ms, 7);
}

static void delays(void **state)
{
	(void)state;
	static const struct {
		enum backoff backoff;
		uint64_t first_ms, max_ms;
		uint32_t attempt;
		uint64_t delay_ms;
	} rows[] = {
	    {BACKOFF_EXPONENTIAL, 1000, 600000, 2,          1000  },
	    {BACKOFF_EXPONENTIAL, 1000, 600000, 3,          2000  },
	    {BACKOFF_EXPONENTIAL, 1000, 600000, 5,          8000  },
	    {BACKOFF_EXPONENTIAL, 1000, 600000, 12,         600000},
	    {BACKOFF_EXPONENTIAL, 1000, 600000, UINT32_MAX, 600000},
	    {BACKOFF_EXPONENTIAL, 0,    600000, 9,          1     }, /* never at once: a failing job must not spin */
	    {BACKOFF_LINEAR,      1000, 600000, 2,          1000  },
	    {BACKOFF_LINEAR,      1000, 600000, 4,          3000  },
	    {BACKOFF_LINEAR,      1000, 600000, UINT32_MAX, 600000},
	    {BACKOFF_CONSTANT,    1000, 600000, 2,          1000  },
	    {BACKOFF_CONSTANT,    1000, 600000, 40,         1000  },
	    {BACKOFF_CONSTANT,    9000, 5000,   2,          5000  },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct retry_settings retry = {.backoff = rows[i].backoff,
					       .first_ms = rows[i].first_ms,
					       .max_ms = rows[i].max_ms};
		assert_int_equal(retry_delay_ms(&retry, rows[i].attempt, 12345), rows[i].delay_ms);
	}
}

/* Five values, symmetric, within the jitter: what lets RabbitMQ retry queues be shared. */
static void jitter(void **state)
{
	(void)state;
	struct retry_settings retry = {
	    .backoff = BACKOFF_CONSTANT, .first_ms = 1000, .max_ms = 10000, .jitter = 0.2};
	static const uint64_t values[] = {800, 900, 1000, 1100, 1200};
	for (uint32_t random = 0; random < 50; random++)
		assert_int_equal(retry_delay_ms(&retry, 2, random), values[random % 5]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(verdicts), cmocka_unit_test(a_handlers_own_delay),
	    cmocka_unit_test(crashes),  cmocka_unit_test(the_handlers_own_delay_wins),
	    cmocka_unit_test(delays),   cmocka_unit_test(jitter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
