/* A job that workers have died with comes: the real core, from deliver() to settled(). */
#include "../small_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void deliver(struct small_core *s, uint32_t lost)
{
	struct source_host *host = &s->core.source_host;
	struct job_facts facts = {.route = s->route,
				  .serial = host->next_serial(host),
				  .id = span_text("j"),
				  .id_made_up = true,
				  .attempt = 1,
				  .lost = lost};
	struct job *job = job_create(&facts);
	host->deliver(host, &job);
}

static void at_the_limit_it_is_dead_unbegun(void **state)
{
	(void)state;
	static const struct {
		unsigned most; /* 0: any number */
		uint32_t lost;
		bool dead;
	} rows[] = {
	    {5, 0, false},
            {5, 4, false},
            {5, 5, true },
            {5, 9, true },
            {0, 9, false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct small_core s;
		small_core_init(&s, 0, "emails");
		s.retry.lost = rows[i].most;
		deliver(&s, rows[i].lost);
		assert_int_equal(s.route->fates[FATE_DEAD], rows[i].dead);
		assert_int_equal(s.route->held, !rows[i].dead);
		small_core_fini(&s);
	}
}

/* Those behind it lay beside it; they have their chance, one at a time. */
static void only_the_first_is_dead_of_it(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	s.retry.lost = 5;
	deliver(&s, 1); /* has a chance left */
	deliver(&s, 5);
	deliver(&s, 5);
	assert_int_equal(s.route->fates[FATE_DEAD], 0);
	assert_int_equal(s.route->held, 3);
	core_begin_jobs(&s.core);
	assert_int_equal(s.route->assigned, 1);
	small_core_fini(&s);
}

/* One of them has killed as many workers as the limit counts, and others lay beside it as often. */
static void near_the_limit_it_goes_back_unbegun_and_innocent(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	s.retry.lost = 5;
	deliver(&s, 1);
	struct job *job = job_create(&(struct job_facts){
	    .route = s.route, .id = span_text("j"), .id_made_up = true, .attempt = 1, .lost = 16});
	job->near_limit = true;
	s.core.source_host.deliver(&s.core.source_host, &job);
	assert_int_equal(s.route->held, 1);
	assert_int_equal(s.route->suspects, 1);
	assert_int_equal(s.route->fates[FATE_RETURNED], 1);
	small_core_fini(&s);
}

static void what_has_expired_is_dead_unbegun(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 0, "emails");
	struct job *job = job_create(&(struct job_facts){
	    .route = s.route, .id = span_text("j"), .attempt = 2, .expired = true});
	s.core.source_host.deliver(&s.core.source_host, &job);
	assert_int_equal(s.route->fates[FATE_DEAD], 1);
	assert_int_equal(s.route->held, 0);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(at_the_limit_it_is_dead_unbegun),
	    cmocka_unit_test(only_the_first_is_dead_of_it),
	    cmocka_unit_test(near_the_limit_it_goes_back_unbegun_and_innocent),
	    cmocka_unit_test(what_has_expired_is_dead_unbegun),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
