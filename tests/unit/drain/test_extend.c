/* Moving a drain's deadline: when that is possible, and that all of its times move alike. */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_all_times_move_alike(void **state)
{
	(void)state;
	struct small_core s;
	struct error why;
	small_core_init(&s, 0, "emails");
	(void)small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	core_drain_turn(&s.core);
	assert_int_equal(s.core.drain.phase, PHASE_FINISHING);
	assert_int_equal(s.noticed_ms, 23000);
	struct drain_clock before = s.core.drain.times;
	s.now_ns += 3 * SMALL_S;
	assert_int_equal(drain_extend(&s.core.drain, 60000, &why), ST_OK);
	assert_int_equal(s.core.drain.times.ask_ns - before.ask_ns, 60 * SMALL_S);
	assert_int_equal(s.core.drain.times.kill_ns - before.kill_ns, 60 * SMALL_S);
	assert_int_equal(s.core.drain.times.end_ns - before.end_ns, 60 * SMALL_S);
	assert_int_equal(s.noticed_ms, 80000); /* its handlers hear of it */
	/* And the drain goes by the new ones: not hurried where it would have been, but then. */
	s.now_ns = before.ask_ns + SMALL_S;
	core_drain_turn(&s.core);
	assert_int_equal(s.core.drain.phase, PHASE_FINISHING);
	s.now_ns = before.ask_ns + 60 * SMALL_S;
	core_drain_turn(&s.core);
	assert_int_equal(s.core.drain.phase, PHASE_HURRYING);
	small_core_fini(&s);
}

static void test_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *say;
		enum drain_limit limit;
		enum drain_event first, second; /* EVENT_TURN: none */
		const char *want;
	} rows[] = {
	    {"open",          DRAIN_LIMIT_SET,  EVENT_TURN,     EVENT_TURN, "no drain"   },
	    {"quiet",         DRAIN_LIMIT_SET,  EVENT_QUIET,    EVENT_TURN, "no drain"   },
	    {"in a hurry",    DRAIN_LIMIT_SET,  EVENT_STOP,     EVENT_STOP, "asked"      },
	    {"at once",       DRAIN_LIMIT_SET,  EVENT_STOP_NOW, EVENT_TURN, "asked"      },
	    {"without limit", DRAIN_LIMIT_NONE, EVENT_STOP,     EVENT_TURN, "no deadline"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct small_core s;
		struct error why = {0};
		small_core_init(&s, 0, "emails");
		s.drain.limit = rows[i].limit;
		(void)small_deliver(&s, "a");
		core_begin_jobs(&s.core);
		core_event(&s.core, rows[i].first, "first");
		s.now_ns += 2 * SMALL_S;
		core_event(&s.core, rows[i].second, "second");
		struct drain_clock before = s.core.drain.times;
		assert_int_equal(drain_extend(&s.core.drain, 60000, &why), ST_REFUSED);
		if (strstr(why.text, rows[i].want) == NULL)
			fail_msg("%s: %s", rows[i].say, why.text);
		assert_memory_equal(&before, &s.core.drain.times, sizeof before);
		small_core_fini(&s);
	}
}

/* Centuries are a month, and a month after months is counted as long as it can be. */
static void test_no_overflow(void **state)
{
	(void)state;
	struct small_core s;
	struct error why;
	small_core_init(&s, 0, "emails");
	(void)small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	uint64_t end_ns = s.core.drain.times.end_ns;
	assert_int_equal(drain_extend(&s.core.drain, UINT64_MAX / 1000000, &why), ST_OK);
	assert_int_equal(s.core.drain.times.end_ns - end_ns, 30 * 24 * 3600 * SMALL_S);
	enum status st = ST_OK;
	for (int months = 0; st == ST_OK && months < 20000; months++)
		st = drain_extend(&s.core.drain, UINT64_MAX, &why);
	assert_int_equal(st, ST_REFUSED);
	assert_true(s.core.drain.times.end_ns > end_ns);
	assert_true(drain_deadline_ns(&s.core.drain) > end_ns);
	small_core_fini(&s);
}

/* A job that asks for centuries has a month, and its worker does not look stuck for it. */
static void test_a_job_that_asks_for_ever(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 1000, "emails");
	struct job *jobs[2] = {small_deliver(&s, "a"), small_deliver(&s, "b")};
	core_begin_jobs(&s.core);
	for (int i = 0; i < 2; i++)
		s.core.executor_host.extend(&s.core.executor_host, jobs[i],
					    UINT64_MAX - (uint64_t)i);
	assert_int_equal(jobs[0]->extended_ns - s.now_ns, 30 * 24 * 3600 * SMALL_S);
	assert_int_equal(jobs[1]->extended_ns, jobs[0]->extended_ns);
	small_core_fini(&s);
}

static void test_time_for_jobs(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	assert_int_equal(drain_time_for_jobs_ns(&s.core.drain), 23 * SMALL_S);
	s.drain.timeout_ms = 4000; /* grace and reserve give way */
	assert_int_equal(drain_time_for_jobs_ns(&s.core.drain), 2 * SMALL_S);
	s.drain.limit = DRAIN_LIMIT_NONE;
	assert_true(drain_time_for_jobs_ns(&s.core.drain) == UINT64_MAX);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_times_move_alike),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_no_overflow),
	    cmocka_unit_test(test_a_job_that_asks_for_ever),
	    cmocka_unit_test(test_time_for_jobs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
