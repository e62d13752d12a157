/* Which stops count, which hurry, and what the exit code then is: sequences of events on the real core. */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

struct told {
	uint64_t at_ms; /* since the start; 0 with an empty `why`: no more */
	enum drain_event event;
	const char *why;
};

/* One job runs, in a drain of 30 s with 5 s of grace and 2 s of reserve: at 23 s it is asked. */
static const struct {
	const char *say;
	struct told told[5];
	enum phase phase; /* afterwards */
	enum hurry hurry;
} rows[] = {
    {"one signal",					     {{0, EVENT_STOP, "SIGTERM"}},         PHASE_FINISHING, HURRY_NOT     },
    {"its echo",
     {{0, EVENT_STOP, "SIGTERM"}, {999, EVENT_STOP, "SIGTERM"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"a second one",
     {{0, EVENT_STOP, "SIGTERM"}, {1000, EVENT_STOP, "SIGINT"}},
     PHASE_HURRYING,												  HURRY_ASKED   },
    {"each half second",
     {{0, EVENT_STOP, "SIGTERM"}, {500, EVENT_STOP, "SIGTERM"}, {1000, EVENT_STOP, "SIGTERM"}},
     PHASE_HURRYING,												  HURRY_ASKED   },
    {"ctl",						    {{0, EVENT_DRAIN, "POST /drain"}},    PHASE_FINISHING, HURRY_NOT     },
    {"ctl twice",
     {{0, EVENT_DRAIN, "POST /drain"}, {5000, EVENT_DRAIN, "POST /drain"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"ctl, and the manager at once",
     {{0, EVENT_DRAIN, "POST /drain"}, {3, EVENT_STOP, "SIGTERM"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"ctl, and the manager",
     {{0, EVENT_DRAIN, "POST /drain"}, {1500, EVENT_STOP, "SIGTERM"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"ctl, and the manager twice",
     {{0, EVENT_DRAIN, "POST /drain"},
      {1500, EVENT_STOP, "SIGTERM"},
      {1505, EVENT_STOP, "SIGTERM"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"ctl, the manager at once, its echo a second behind ctl",
     {{0, EVENT_DRAIN, "POST /drain"}, {300, EVENT_STOP, "SIGTERM"}, {1200, EVENT_STOP, "SIGTERM"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"ctl, the manager, and somebody who insists",
     {{0, EVENT_DRAIN, "POST /drain"},
      {1500, EVENT_STOP, "SIGTERM"},
      {2500, EVENT_STOP, "SIGTERM"}},
     PHASE_HURRYING,												  HURRY_ASKED   },
    {"a broker refused, then the manager",
     {{0, EVENT_DRAIN, "broker refused"}, {1500, EVENT_STOP, "SIGTERM"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"ctl behind the signal",
     {{0, EVENT_STOP, "SIGTERM"}, {1500, EVENT_DRAIN, "POST /drain"}},
     PHASE_FINISHING,												 HURRY_NOT     },
    {"SIGQUIT at once",
     {{0, EVENT_STOP, "SIGTERM"}, {3, EVENT_STOP_NOW, "SIGQUIT"}},
     PHASE_HURRYING,												  HURRY_ASKED   },
    {"SIGQUIT behind ctl",
     {{0, EVENT_DRAIN, "POST /drain"}, {3, EVENT_STOP_NOW, "SIGQUIT"}},
     PHASE_HURRYING,												  HURRY_ASKED   },
    {"SIGCONT first behind the deadline",
     {{0, EVENT_STOP, "SIGTERM"}, {23001, EVENT_RESUME, "SIGCONT"}},
     PHASE_HURRYING,												  HURRY_DEADLINE},
    {"SIGTSTP first behind the deadline",
     {{0, EVENT_STOP, "SIGTERM"}, {23001, EVENT_QUIET, "SIGTSTP"}},
     PHASE_HURRYING,												  HURRY_DEADLINE},
    {"ctl first behind the deadline",
     {{0, EVENT_STOP, "SIGTERM"}, {23001, EVENT_DRAIN, "POST /drain"}},
     PHASE_FINISHING,												 /* until the turn's end */
     HURRY_NOT												 },
};

static void each_sequence(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct small_core s;
		small_core_init(&s, 0, "emails");
		(void)small_deliver(&s, "a");
		core_begin_jobs(&s.core);
		uint64_t start_ns = s.now_ns;
		for (const struct told *told = rows[i].told; told->why != NULL; told++) {
			s.now_ns = start_ns + told->at_ms * MS;
			core_event(&s.core, told->event, told->why);
			if (told == rows[i].told)
				core_drain_turn(&s.core);
		}
		struct drain *drain = &s.core.drain;
		if (drain->phase != rows[i].phase || drain->report.hurry != rows[i].hurry)
			fail_msg("%s: %s, hurry %d", rows[i].say, phase_name(drain->phase),
				 (int)drain->report.hurry);
		assert_string_equal(drain->report.why, rows[i].told[0].why);
		small_core_fini(&s);
	}
}

static unsigned n_asked;

static void count_asked(struct executor *executor, struct job *job, enum stop_how how)
{
	(void)executor;
	(void)job;
	n_asked += how == STOP_ASK;
}

/* Handlers that are to finish are asked for a signal's sake alone. */
static void finishing_handlers_are_left_alone(void **state)
{
	(void)state;
	static const struct {
		enum drain_event event;
		unsigned asked;
		int code;
	} events[] = {
	    {EVENT_TURN,   0, 10},
            {EVENT_RESUME, 0, 10},
            {EVENT_QUIET,  0, 10},
            {EVENT_STOP,   1, 12}
        };
	struct executor_ops ops = small_executor_ops;
	ops.stop = count_asked;
	for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
		struct small_core s;
		small_core_init(&s, 0, "emails");
		s.executor.ops = &ops;
		s.lane->policy = POLICY_FINISH;
		(void)small_deliver(&s, "a");
		core_begin_jobs(&s.core);
		core_event(&s.core, EVENT_STOP, "SIGTERM");
		core_drain_turn(&s.core);
		s.now_ns += 23001 * MS;
		n_asked = 0;
		if (events[i].event != EVENT_TURN)
			core_event(&s.core, events[i].event, "signal");
		core_drain_turn(&s.core);
		assert_int_equal(s.core.drain.phase, PHASE_HURRYING);
		assert_int_equal(n_asked, events[i].asked);
		assert_int_equal(drain_exit_code_now(&s.core.drain), events[i].code);
		small_core_fini(&s);
	}
}

static void hold_on(struct source *source, struct job *job)
{
	(void)source;
	(void)job;
}

/* What a forced exit would report, and when it would come. */
static void the_exit_code_of_now(void **state)
{
	(void)state;
	struct small_core s;
	struct source_ops ops = small_source_ops;
	ops.settle = hold_on;
	small_core_init(&s, 0, "emails");
	s.source.ops = &ops;
	struct job *job = small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	assert_true(drain_deadline_ns(&s.core.drain) == UINT64_MAX);
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	core_drain_turn(&s.core);
	assert_int_equal(drain_deadline_ns(&s.core.drain), s.now_ns + 30 * SMALL_S);
	assert_int_equal(drain_exit_code_now(&s.core.drain), 10); /* it would be interrupted */
	small_finish(&s, job);
	core_drain_turn(&s.core);
	assert_int_equal(drain_exit_code_now(&s.core.drain), 11); /* it could not be told */
	s.source.host->settled(s.source.host, job, SETTLED);
	assert_int_equal(drain_exit_code_now(&s.core.drain), 0);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_sequence),
	    cmocka_unit_test(finishing_handlers_are_left_alone),
	    cmocka_unit_test(the_exit_code_of_now),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
