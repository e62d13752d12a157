/* exit_codes - every way to end, against everything we may have done to it before. */
#include "executors/exec/exit_codes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define EXITED(code) ((code) << 8) /* as wait(2) packs them */
#define KILLED(sig)  (sig)

static void each_end_has_its_outcome(void **state)
{
	(void)state;
	static const struct {
		int status;
		enum child_stop stop;
		enum outcome_kind kind;
		bool crashed;
		const char *reason;
	} rows[] = {
  /* Its own word counts, whatever we did. */
	    {EXITED(0),       CHILD_LEFT_ALONE, OUTCOME_DONE,      false, ""                  },
	    {EXITED(0),       CHILD_ASKED,      OUTCOME_DONE,      false, ""                  },
	    {EXITED(0),       CHILD_KILLED,     OUTCOME_DONE,      false, ""                  },
	    {EXITED(65),      CHILD_LEFT_ALONE, OUTCOME_REJECT,    false, "exit status 65"    },
	    {EXITED(65),      CHILD_ASKED,      OUTCOME_REJECT,    false, "exit status 65"    },
	    {EXITED(75),      CHILD_LEFT_ALONE, OUTCOME_RETRY,     false, "exit status 75"    },
	    {EXITED(75),      CHILD_KILLED,     OUTCOME_RETRY,     false, "exit status 75"    },
	    {EXITED(1),       CHILD_LEFT_ALONE, OUTCOME_RETRY,     false, "exit status 1"     },
	    {EXITED(143),     CHILD_ASKED,      OUTCOME_RETRY,     false, "exit status 143"   },
 /* A shell's word for a crash under it. */
	    {EXITED(139),     CHILD_LEFT_ALONE, OUTCOME_RETRY,     true,  "exit status 139"   },
	    {EXITED(134),     CHILD_ASKED,      OUTCOME_RETRY,     true,  "exit status 134"   },
	    {EXITED(137),     CHILD_LEFT_ALONE, OUTCOME_RETRY,     true,  "exit status 137"   },
	    {EXITED(137),     CHILD_KILLED,     OUTCOME_RETRY,     false, "exit status 137"   },
	    {EXITED(130),     CHILD_LEFT_ALONE, OUTCOME_RETRY,     false, "exit status 130"   },
	    {EXITED(143),     CHILD_LEFT_ALONE, OUTCOME_RETRY,     false, "exit status 143"   },
 /* A signal is a crash unless it was ours. */
	    {KILLED(SIGSEGV), CHILD_LEFT_ALONE, OUTCOME_RETRY,     true,  "ended by SIGSEGV"  },
	    {KILLED(SIGTERM), CHILD_LEFT_ALONE, OUTCOME_RETRY,     true,  "ended by SIGTERM"  },
	    {KILLED(SIGTERM), CHILD_ASKED,      OUTCOME_RETRY,     false, "ended by SIGTERM"  },
	    {KILLED(SIGKILL), CHILD_ASKED,      OUTCOME_RETRY,     true,  "ended by SIGKILL"  },
	    {KILLED(SIGSEGV), CHILD_ASKED,      OUTCOME_RETRY,     true,  "ended by SIGSEGV"  },
	    {KILLED(SIGTERM), CHILD_KILLED,     OUTCOME_ABANDONED, false, "ended by SIGTERM"  },
	    {KILLED(SIGKILL), CHILD_KILLED,     OUTCOME_ABANDONED, false, "ended by SIGKILL"  },
	    {KILLED(SIGSEGV), CHILD_KILLED,     OUTCOME_RETRY,     true,  "ended by SIGSEGV"  },
	    {KILLED(40),      CHILD_LEFT_ALONE, OUTCOME_RETRY,     true,  "ended by signal 40"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct outcome outcome =
		    outcome_of_exit(EXIT_CODES_OUTFALL, rows[i].status, rows[i].stop);
		assert_int_equal(outcome.kind, rows[i].kind);
		assert_int_equal(outcome.crashed, rows[i].crashed);
		assert_string_equal(outcome.reason, rows[i].reason);
		assert_int_equal(outcome.after_ms, 0);
	}
}

/* Each status by itself, in both tables. */
static void each_status_has_its_meaning(void **state)
{
	(void)state;
	static const struct {
		enum exit_codes codes;
		int status;
		enum outcome_kind kind;
	} rows[] = {
	    {EXIT_CODES_OUTFALL,      0,   OUTCOME_DONE  },
	    {EXIT_CODES_OUTFALL,      3,   OUTCOME_RETRY },
	    {EXIT_CODES_OUTFALL,      6,   OUTCOME_RETRY },
	    {EXIT_CODES_OUTFALL,      65,  OUTCOME_REJECT},
	    {EXIT_CODES_CLI_CONSUMER, 0,   OUTCOME_DONE  },
	    {EXIT_CODES_CLI_CONSUMER, 1,   OUTCOME_RETRY },
	    {EXIT_CODES_CLI_CONSUMER, 2,   OUTCOME_RETRY },
	    {EXIT_CODES_CLI_CONSUMER, 3,   OUTCOME_REJECT},
	    {EXIT_CODES_CLI_CONSUMER, 4,   OUTCOME_RETURN},
	    {EXIT_CODES_CLI_CONSUMER, 5,   OUTCOME_REJECT},
	    {EXIT_CODES_CLI_CONSUMER, 6,   OUTCOME_RETURN},
	    {EXIT_CODES_CLI_CONSUMER, 7,   OUTCOME_RETRY },
	    {EXIT_CODES_CLI_CONSUMER, 65,  OUTCOME_RETRY },
	    {EXIT_CODES_CLI_CONSUMER, 255, OUTCOME_RETRY },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct outcome outcome =
		    outcome_of_exit(rows[i].codes, EXITED(rows[i].status), CHILD_LEFT_ALONE);
		assert_int_equal(outcome.kind, rows[i].kind);
		assert_false(outcome.crashed);
		assert_int_equal(outcome.failed, /* reject, requeue */
				 rows[i].codes == EXIT_CODES_CLI_CONSUMER && rows[i].status == 4);
		assert_int_equal(outcome.reason[0] == '\0', rows[i].status == 0);
	}
	struct outcome crash =
	    outcome_of_exit(EXIT_CODES_CLI_CONSUMER, KILLED(SIGSEGV), CHILD_LEFT_ALONE);
	assert_true(crash.crashed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_end_has_its_outcome),
	    cmocka_unit_test(each_status_has_its_meaning),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
