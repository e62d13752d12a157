/* redis_list_pace: the claims of a handler in made-up time. */
#include "sources/redis/redis_list_pace.h"

#include "dispatch/budget.h"
#include "dispatch/routes.h"
#include "executors/executor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../cmocka_names.h"

#define MS UINT64_C(1000000)

static const struct {
	const char *what;
	unsigned prefetch; /* 0: `ahead` is what it has come to by itself */
	unsigned ahead;
	size_t held;
	unsigned idle;
	size_t room, wanted;
} rows[] = {
    {"nothing learned yet: what can begin at once",     0,  0,   0,  4, 1000, 4 },
    {"and no more while all are busy",                  0,  0,   0,  0, 1000, 0 },
    {"idle and ahead together",                         0,  8,   0,  4, 1000, 12},
    {"busy: refilled at half",                          0,  8,   4,  0, 1000, 4 },
    {"busy: not before",				0,  8,   5,  0, 1000, 0 },
    {"places idle for another reason claim nothing",    0,  0,   2,  4, 1000, 0 },
    {"room is room",				    0,  256, 0,  4, 7,    7 },
    {"no room",					 0,  256, 0,  4, 0,    0 },
    {"as the operator said",                            32, 0,   0,  4, 1000, 32},
    {"as the operator said, although more could begin", 1,  0,   0,  4, 1000, 1 },
    {"as the operator said, and full",                  1,  0,   1,  4, 1000, 0 },
    {"as the operator said, busy",                      32, 0,   16, 0, 1000, 16},
};

static void wants_what_the_facts_allow(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct pace pace;
		pace_init(&pace, rows[i].prefetch);
		if (rows[i].prefetch == 0)
			pace.ahead = rows[i].ahead;
		struct pace_facts facts = {.now_ns = 1000 * MS,
					   .unbegun = rows[i].held,
					   .oldest_taken_ns = rows[i].held ? 999 * MS : 0,
					   .idle = rows[i].idle,
					   .soon = SIZE_MAX,
					   .room = rows[i].room};
		size_t wanted = pace_wanted(&pace, &facts);
		if (wanted != rows[i].wanted)
			fail_msg("%s: %zu, not %zu", rows[i].what, wanted, rows[i].wanted);
	}
}

/* Others have the handler's places, or a rate makes it wait: one job, so that it has its turn. */
static void keeps_its_place_in_line(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		unsigned prefetch, ahead;
		size_t held;
		unsigned idle;
		bool shared;
		size_t soon, wanted;
	} cases[] = {
	    {"others have the places: one in line",        0,  0, 0, 0, true,  SIZE_MAX, 1 },
	    {"others have the places: it is in line",      0,  0, 1, 0, true,  SIZE_MAX, 0 },
	    {"others have the places, turns come quickly", 0,  8, 0, 0, true,  SIZE_MAX, 8 },
	    {"as the operator said, others or not",        32, 0, 0, 0, true,  SIZE_MAX, 32},
	    {"a rate: what it lets begin soon",            0,  8, 0, 4, false, 2,        2 },
	    {"a rate: what is missing of that",            0,  8, 1, 4, false, 2,        1 },
	    {"a rate that lets none begin soon: in line",  0,  8, 0, 4, false, 0,        1 },
	    {"a rate that lets none begin soon: it is",    0,  8, 1, 4, false, 0,        0 },
	    {"a rate, and all places are its own",         0,  0, 0, 0, false, 0,        0 },
	    {"a rate, and others have the places",         0,  8, 0, 0, true,  0,        1 },
	    {"as the operator said, a rate or not",        32, 0, 0, 4, false, 0,        32},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pace pace;
		pace_init(&pace, cases[i].prefetch);
		if (cases[i].prefetch == 0)
			pace.ahead = cases[i].ahead;
		struct pace_facts facts = {.now_ns = 1000 * MS,
					   .unbegun = cases[i].held,
					   .oldest_taken_ns = cases[i].held ? 999 * MS : 0,
					   .idle = cases[i].idle,
					   .shared = cases[i].shared,
					   .soon = cases[i].soon,
					   .room = 1000};
		size_t wanted = pace_wanted(&pace, &facts);
		if (wanted != cases[i].wanted)
			fail_msg("%s: %zu, not %zu", cases[i].what, wanted, cases[i].wanted);
	}
}

/* Handlers that use up each claim in `job_ms`, `places` at a time. Returns the last claim. */
static size_t run_for(struct pace *pace, uint64_t *now_ns, unsigned places, uint64_t job_us,
		      unsigned claims)
{
	size_t claim = 0;
	for (unsigned i = 0; i < claims; i++) {
		struct pace_facts facts = {
		    .now_ns = *now_ns, .idle = places, .soon = SIZE_MAX, .room = SIZE_MAX};
		claim = pace_wanted(pace, &facts);
		pace_claimed(pace, *now_ns, true);
		pace_job_ended(pace);
		*now_ns += (claim + places - 1) / places * job_us * 1000;
	}
	return claim;
}

static void whose_the_places_are(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		unsigned worker, taken, width, in_lane, limit, own, idle;
		bool shared;
	} cases[] = {
	    {"nothing runs",                          8, 0, 4, 0, 0, 0, 4, false},
	    {"some do",			       8, 3, 4, 3, 0, 1, 1, false},
	    {"all places of the handler are its own", 8, 4, 4, 4, 0, 4, 0, false},
	    {"others have some of them",              8, 4, 4, 4, 0, 3, 0, true },
	    {"others have all of them",               8, 4, 4, 4, 0, 0, 0, true },
	    {"at its own limit",                      8, 4, 4, 4, 2, 2, 0, false},
	    {"at its own limit, and places are idle", 8, 2, 4, 2, 2, 2, 0, false},
	    {"the worker has few",                    8, 6, 4, 0, 0, 0, 2, false},
	    {"another handler has the worker's",      8, 8, 4, 0, 0, 0, 0, true },
	    {"another handler has some of them",      8, 8, 4, 3, 0, 3, 0, true },
	    {"all of the worker's are its own",       2, 2, 4, 2, 0, 2, 0, false},
	    {"more run than the worker now may",      1, 2, 4, 1, 0, 1, 0, true },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct budget budget = {.limit = cases[i].worker, .taken = cases[i].taken};
		struct executor executor = {.width = cases[i].width, .widest = cases[i].width};
		struct lane lane = {
		    .executor = &executor, .budget = &budget, .assigned = cases[i].in_lane};
		struct route route = {
		    .lane = &lane, .limit = cases[i].limit, .assigned = cases[i].own};
		list_init(&route.held_jobs);
		struct pace_facts facts = pace_facts_of(&route, 1000 * MS);
		if (facts.idle != cases[i].idle || facts.shared != cases[i].shared)
			fail_msg("%s: %u idle, %s", cases[i].what, facts.idle,
				 facts.shared ? "shared" : "not shared");
	}
}

static void idle_places_are_divided(void **state)
{
	(void)state;
	static const struct {
		unsigned width, assigned, asking, limit, idle;
	} cases[] = {
	    {16, 0,  0,  0, 16},
            {16, 0,  1,  0, 16},
            {16, 0,  2,  0, 8 },
            {16, 1,  2,  0, 8 },
	    {16, 0,  3,  0, 6 },
            {16, 0,  99, 0, 1 },
            {16, 16, 2,  0, 0 },
            {16, 0,  2,  3, 2 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct budget budget = {.limit = 16, .taken = cases[i].assigned};
		struct executor executor = {.width = cases[i].width, .widest = cases[i].width};
		struct lane lane = {.executor = &executor,
				    .budget = &budget,
				    .assigned = cases[i].assigned,
				    .asking = cases[i].asking};
		struct route route = {.lane = &lane, .limit = cases[i].limit};
		list_init(&route.held_jobs);
		assert_int_equal(pace_facts_of(&route, 1000 * MS).idle, cases[i].idle);
	}
}

/* Jobs beyond the width are staged where that can be, and else run in processes that are to go. */
static void only_executors_with_a_stage_stage(void **state)
{
	(void)state;
	struct budget budget = {.limit = 8, .taken = 1};
	struct executor executor = {.width = 1, .widest = 3, .depth = 1};
	struct lane lane = {.executor = &executor, .budget = &budget, .assigned = 3};
	struct route route = {.lane = &lane, .assigned = 1};
	list_init(&route.held_jobs);
	assert_int_equal(pace_facts_of(&route, 1000 * MS).unbegun, 0);
	executor.depth = 4;
	assert_int_equal(pace_facts_of(&route, 1000 * MS).unbegun, 1);
}

static void short_jobs_are_claimed_by_the_hundred(void **state)
{
	(void)state;
	struct pace pace;
	uint64_t now_ns = 1000 * MS;
	pace_init(&pace, 0);
	assert_int_equal(run_for(&pace, &now_ns, 4, 10, 20), 256 + 4);
}

static void slow_jobs_are_never_claimed_ahead(void **state)
{
	(void)state;
	struct pace pace;
	uint64_t now_ns = 1000 * MS;
	pace_init(&pace, 0);
	assert_int_equal(run_for(&pace, &now_ns, 4, 200000, 20), 4);
}

static void at_most_a_tenth_of_a_second_is_hoarded(void **state)
{
	(void)state;
	struct pace pace;
	uint64_t now_ns = 1000 * MS;
	pace_init(&pace, 0);
	size_t claim = run_for(&pace, &now_ns, 1, 10000, 40); /* 10 ms each */
	assert_int_in_range(claim, 8, 20);
}

/* One in line is enough for slow jobs; short ones must not be had one for each trip to the server. */
static void what_waits_its_turn_follows_the_turns(void **state)
{
	(void)state;
	static const struct {
		uint64_t turn_ms;
		unsigned least, most; /* claimed at last */
	} paces[] = {
	    {0,   256, 256},
	    {20,  3,   8  },
	    {200, 1,   1  },
	};
	for (size_t i = 0; i < sizeof paces / sizeof *paces; i++) {
		struct pace pace;
		size_t claim = 0;
		uint64_t now_ns = 1000 * MS;
		pace_init(&pace, 0);
		for (int turn = 0; turn < 20; turn++) {
			struct pace_facts facts = {
			    .now_ns = now_ns, .shared = true, .soon = SIZE_MAX, .room = SIZE_MAX};
			claim = pace_wanted(&pace, &facts);
			pace_claimed(&pace, now_ns, true);
			now_ns += claim * paces[i].turn_ms * MS;
		}
		assert_int_in_range(claim, paces[i].least, paces[i].most);
	}
}

static void an_empty_list_teaches_nothing(void **state)
{
	(void)state;
	struct pace pace;
	struct pace_facts facts = {
	    .now_ns = 1000 * MS, .idle = 4, .soon = SIZE_MAX, .room = SIZE_MAX};
	pace_init(&pace, 0);
	pace_claimed(&pace, facts.now_ns, false);
	assert_int_equal(pace_wanted(&pace, &facts), 4);
	assert_int_equal(pace.ahead, 0);
}

/* A claim for some of the idle places leaves others idle, whatever its jobs do. */
static void what_was_idle_before_teaches_nothing(void **state)
{
	(void)state;
	struct pace pace;
	struct pace_facts facts = {
	    .now_ns = 1000 * MS, .idle = 4, .soon = SIZE_MAX, .room = SIZE_MAX};
	pace_init(&pace, 0);
	pace_job_ended(&pace); /* of another claim */
	pace_claimed(&pace, facts.now_ns, true);
	facts.idle = 2;
	assert_int_equal(pace_wanted(&pace, &facts), 2);
	assert_int_equal(pace.ahead, 0);
	pace_job_ended(&pace);
	assert_int_equal(pace_wanted(&pace, &facts), 4);
}

static void lingering_jobs_halve_it_down_to_nothing(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	pace.ahead = 256;
	struct pace_facts facts = {
	    .now_ns = 1000 * MS, .unbegun = 200, .oldest_taken_ns = 950 * MS, .room = SIZE_MAX};
	(void)pace_wanted(&pace, &facts);
	assert_int_equal(pace.ahead, 256); /* 50 ms are no time */
	facts.now_ns = 1051 * MS;
	(void)pace_wanted(&pace, &facts);
	(void)pace_wanted(&pace, &facts);
	assert_int_equal(pace.ahead, 128); /* once for each tenth of a second */
	for (int i = 0; i < 10; i++) {
		facts.now_ns += 101 * MS;
		(void)pace_wanted(&pace, &facts);
	}
	assert_int_equal(pace.ahead, 0);
}

/* ... which the executor sees to. */
static void what_is_staged_does_not_linger(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	pace.ahead = 256;
	struct pace_facts facts = {
	    .now_ns = 5000 * MS, .unbegun = 200, .soon = SIZE_MAX, .room = SIZE_MAX};
	(void)pace_wanted(&pace, &facts);
	assert_int_equal(pace.ahead, 256);
}

static void what_the_operator_said_stays(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 10);
	struct pace_facts facts = {
	    .now_ns = 5000 * MS, .unbegun = 10, .oldest_taken_ns = 1 * MS, .room = SIZE_MAX};
	(void)pace_wanted(&pace, &facts);
	assert_int_equal(pace.ahead, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wants_what_the_facts_allow),
	    cmocka_unit_test(short_jobs_are_claimed_by_the_hundred),
	    cmocka_unit_test(slow_jobs_are_never_claimed_ahead),
	    cmocka_unit_test(at_most_a_tenth_of_a_second_is_hoarded),
	    cmocka_unit_test(whose_the_places_are),
	    cmocka_unit_test(idle_places_are_divided),
	    cmocka_unit_test(only_executors_with_a_stage_stage),
	    cmocka_unit_test(keeps_its_place_in_line),
	    cmocka_unit_test(what_waits_its_turn_follows_the_turns),
	    cmocka_unit_test(an_empty_list_teaches_nothing),
	    cmocka_unit_test(what_was_idle_before_teaches_nothing),
	    cmocka_unit_test(lingering_jobs_halve_it_down_to_nothing),
	    cmocka_unit_test(what_is_staged_does_not_linger),
	    cmocka_unit_test(what_the_operator_said_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
