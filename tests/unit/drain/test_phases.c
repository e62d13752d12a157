/* Every cell of (phase, event) that matters, as rows. */
#include "drain/phases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 1000, PAST = 999, LATER = 2000 };

static struct drain_facts facts_of(struct blockers blockers)
{
	return (struct drain_facts){
	    .now_ns = NOW,
	    .blockers = blockers,
	    .clock = {.began_ns = 1, .ask_ns = LATER, .kill_ns = LATER, .end_ns = LATER},
	};
}

static void each_phase_answers_each_event(void **state)
{
	(void)state;
	const struct blockers busy = {
	    .intakes = 1, .held = 1, .running = 1, .settling = 1, .links_up = 1, .links = 1};
	static const struct {
		enum phase phase;
		enum drain_event event;
		enum phase next;
		unsigned actions;
	} rows[] = {
	    {PHASE_OPEN,      EVENT_TURN,     PHASE_OPEN,      0                                   },
	    {PHASE_OPEN,      EVENT_STOP,     PHASE_CLOSING,   ACT_SHUT_INTAKE | ACT_NOTICE        },
	    {PHASE_OPEN,      EVENT_DRAIN,    PHASE_CLOSING,   ACT_SHUT_INTAKE | ACT_NOTICE        },
	    {PHASE_QUIET,     EVENT_DRAIN,    PHASE_CLOSING,   ACT_NOTICE                          },
	    {PHASE_CLOSING,   EVENT_DRAIN,    PHASE_CLOSING,   0                                   },
	    {PHASE_FINISHING, EVENT_DRAIN,    PHASE_FINISHING, 0                                   },
	    {PHASE_HURRYING,  EVENT_DRAIN,    PHASE_HURRYING,  0                                   },
	    {PHASE_OPEN,      EVENT_STOP_NOW, PHASE_HURRYING,  ACT_SHUT_INTAKE | ACT_ASK | ACT_KILL},
	    {PHASE_OPEN,      EVENT_QUIET,    PHASE_QUIET,     ACT_SHUT_INTAKE                     },
	    {PHASE_OPEN,      EVENT_RESUME,   PHASE_OPEN,      0                                   },
	    {PHASE_QUIET,     EVENT_TURN,     PHASE_QUIET,     0                                   },
	    {PHASE_QUIET,     EVENT_STOP,     PHASE_CLOSING,   ACT_NOTICE                          },
	    {PHASE_QUIET,     EVENT_STOP_NOW, PHASE_HURRYING,  ACT_ASK | ACT_KILL                  },
	    {PHASE_QUIET,     EVENT_QUIET,    PHASE_QUIET,     0                                   },
	    {PHASE_QUIET,     EVENT_RESUME,   PHASE_OPEN,      ACT_OPEN_INTAKE                     },
	    {PHASE_CLOSING,   EVENT_TURN,     PHASE_CLOSING,   0                                   },
	    {PHASE_CLOSING,   EVENT_STOP,     PHASE_HURRYING,  ACT_ASK                             },
	    {PHASE_CLOSING,   EVENT_STOP_NOW, PHASE_HURRYING,  ACT_ASK | ACT_KILL                  },
	    {PHASE_CLOSING,   EVENT_QUIET,    PHASE_CLOSING,   0                                   },
	    {PHASE_CLOSING,   EVENT_RESUME,   PHASE_CLOSING,   0                                   }, /* no way back from a stop */
	    {PHASE_FINISHING, EVENT_TURN,     PHASE_FINISHING, 0                                   },
	    {PHASE_FINISHING, EVENT_STOP,     PHASE_HURRYING,  ACT_ASK                             },
	    {PHASE_FINISHING, EVENT_STOP_NOW, PHASE_HURRYING,  ACT_ASK | ACT_KILL                  },
	    {PHASE_FINISHING, EVENT_RESUME,   PHASE_FINISHING, 0                                   },
	    {PHASE_HURRYING,  EVENT_TURN,     PHASE_HURRYING,  0                                   },
	    {PHASE_HURRYING,  EVENT_STOP,     PHASE_HURRYING,  ACT_KILL                            },
	    {PHASE_HURRYING,  EVENT_STOP_NOW, PHASE_HURRYING,  ACT_KILL                            },
	    {PHASE_FLUSHING,  EVENT_TURN,     PHASE_FLUSHING,  0                                   },
	    {PHASE_FLUSHING,  EVENT_STOP,     PHASE_CLOSED,    0                                   },
	    {PHASE_FLUSHING,  EVENT_STOP_NOW, PHASE_CLOSED,    0                                   },
	    {PHASE_CLOSED,    EVENT_STOP,     PHASE_CLOSED,    0                                   },
	    {PHASE_CLOSED,    EVENT_TURN,     PHASE_CLOSED,    0                                   },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct drain_facts facts = facts_of(busy);
		struct drain_step step = phase_step(rows[i].phase, rows[i].event, &facts);
		assert_int_equal(step.next, rows[i].next);
		assert_int_equal(step.actions, rows[i].actions);
		if (step.next != rows[i].phase)
			assert_true(phase_may_follow(rows[i].phase, step.next));
	}
}

static void facts_move_it_on(void **state)
{
	(void)state;
	static const struct {
		enum phase phase;
		struct blockers blockers;
		enum phase next;
		unsigned actions;
	} rows[] = {
	    {PHASE_CLOSING,   {.running = 1, .links = 1},                 PHASE_FINISHING, 0        },
	    {PHASE_CLOSING,   {.intakes = 1},                             PHASE_CLOSING,   0        },
	    {PHASE_FINISHING, {.settling = 3, .links = 1},                PHASE_FLUSHING,  ACT_FLUSH},
	    {PHASE_FINISHING, {.running = 1},                             PHASE_FINISHING, 0        },
	    {PHASE_HURRYING,  {.settling = 1, .links = 1},                PHASE_FLUSHING,  ACT_FLUSH},
	    {PHASE_FLUSHING,  {.settling = 1, .links_up = 1, .links = 1}, PHASE_FLUSHING,  0        },
	    {PHASE_FLUSHING,  {.held = 1, .links_up = 1, .links = 1},     PHASE_FLUSHING,  0        },
	    {PHASE_FLUSHING,  {.intakes = 1, .links_up = 1, .links = 1},  PHASE_FLUSHING,  0        },
	    {PHASE_FLUSHING,  {.links_up = 1, .links = 2},                PHASE_FLUSHING,  ACT_CLOSE},
	    {PHASE_FLUSHING,  {.links = 2},                               PHASE_FLUSHING,  0        }, /* asked; not closed yet */
	    {PHASE_FLUSHING,  {.links = 0},                               PHASE_CLOSED,    0        },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct drain_facts facts = facts_of(rows[i].blockers);
		struct drain_step step = phase_step(rows[i].phase, EVENT_TURN, &facts);
		assert_int_equal(step.next, rows[i].next);
		assert_int_equal(step.actions, rows[i].actions);
	}
}

/* Whatever is in the way: when its time is over, a phase ends. */
static void time_moves_it_on(void **state)
{
	(void)state;
	const struct blockers stuck = {
	    .intakes = 1, .held = 1, .running = 1, .settling = 1, .links_up = 1, .links = 1};
	static const struct {
		enum phase phase;
		struct drain_clock clock;
		enum phase next;
		unsigned actions;
	} rows[] = {
	    {PHASE_CLOSING,   {1, PAST, LATER, LATER}, PHASE_HURRYING, ACT_ASK },
	    {PHASE_FINISHING, {1, NOW, LATER, LATER},  PHASE_HURRYING, ACT_ASK },
	    {PHASE_HURRYING,  {1, PAST, PAST, LATER},  PHASE_HURRYING, ACT_KILL},
	    {PHASE_HURRYING,  {1, PAST, PAST, PAST},   PHASE_CLOSED,   0       },
	    {PHASE_FLUSHING,  {1, PAST, PAST, PAST},   PHASE_CLOSED,   0       },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct drain_facts facts = facts_of(stuck);
		facts.clock = rows[i].clock;
		struct drain_step step = phase_step(rows[i].phase, EVENT_TURN, &facts);
		assert_int_equal(step.next, rows[i].next);
		assert_int_equal(step.actions, rows[i].actions);
	}
}

static void a_kill_is_carried_out_once(void **state)
{
	(void)state;
	struct drain_facts facts = facts_of((struct blockers){.running = 1, .links = 1});
	facts.clock.kill_ns = PAST;
	facts.killed = true;
	assert_int_equal(phase_step(PHASE_HURRYING, EVENT_TURN, &facts).actions, 0);
	assert_int_equal(phase_step(PHASE_HURRYING, EVENT_STOP_NOW, &facts).actions, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_phase_answers_each_event),
	    cmocka_unit_test(facts_move_it_on),
	    cmocka_unit_test(time_moves_it_on),
	    cmocka_unit_test(a_kill_is_carried_out_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
