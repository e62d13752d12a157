/* What is said of a job that was stopped because its time was up: how much it had, as it stands in the
 * configuration. How long it ran is said beside it. */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct listener {
	struct small_core s;
	char reason[96];
	enum outcome_kind kind;
};

static void hear(struct source *source, struct job *job)
{
	struct listener *l = list_entry(source, struct listener, s.source);
	l->kind = job->outcome.kind;
	(void)snprintf(l->reason, sizeof l->reason, "%s", job->outcome.reason);
	source->host->settled(source->host, job, SETTLED);
}

static const struct source_ops hearing_ops = {
    .kind = "rabbitmq",
    .pause = small_pause,
    .resume = small_resume,
    .settle = hear,
    .flush = small_ignore_source,
    .close = small_close,
};

/* Lets the time pass up to the moment when it is asked to stop, and a little longer. */
static void outlive_timeout(struct small_core *s, uint64_t extend_ms)
{
	struct job *job = small_deliver(s, "a");
	core_begin_jobs(&s->core);
	if (extend_ms != 0)
		s->core.executor_host.extend(&s->core.executor_host, job, extend_ms);
	for (int i = 0; i < 3 && job->stop == JOB_NOT_STOPPED; i++) {
		s->now_ns = core_next_ns(&s->core);
		core_begin_jobs(&s->core);
	}
	assert_int_equal(job->stop, JOB_STOPPED_BY_TIMEOUT);
	s->now_ns += SMALL_S / 3;
}

static void test_the_configured_time_is_named(void **state)
{
	(void)state;
	static const struct {
		uint64_t timeout_ms, extend_ms;
		enum outcome_kind said, want;
		const char *reason;
	} rows[] = {
	    {1000,   0,     OUTCOME_RETRY,     OUTCOME_RETRY,  "timed out: timeout = 1s"   },
	    {200,    0,     OUTCOME_ABANDONED, OUTCOME_RETRY,  "timed out: timeout = 200ms"},
	    {90000,  0,     OUTCOME_RETURN,    OUTCOME_RETRY,  "timed out: timeout = 90s"  },
	    {120000, 0,     OUTCOME_RETRY,     OUTCOME_RETRY,  "timed out: timeout = 2m"   },
	    {1000,   12300, OUTCOME_RETRY,     OUTCOME_RETRY,
	     "timed out: timeout = 1s, extended to 12.3 s"                                 },
	    {1000,   500,   OUTCOME_RETRY,     OUTCOME_RETRY,  "timed out: timeout = 1s"   },
	    {1000,   0,     OUTCOME_DONE,      OUTCOME_DONE,   "its own"                   },
	    {1000,   0,     OUTCOME_REJECT,    OUTCOME_REJECT, "its own"                   },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct listener l = {0};
		struct outcome said = {.kind = rows[i].said, .reason = "its own"};
		small_core_init(&l.s, rows[i].timeout_ms, "emails");
		l.s.source.ops = &hearing_ops;
		outlive_timeout(&l.s, rows[i].extend_ms);
		struct list *running = &l.s.core.ledger.lists[JOB_RUNNING];
		l.s.core.executor_host.finished(&l.s.core.executor_host,
						list_entry(running->next, struct job, in_ledger),
						&said);
		assert_string_equal(l.reason, rows[i].reason);
		assert_int_equal(l.kind, rows[i].want);
		small_core_fini(&l.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_configured_time_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
