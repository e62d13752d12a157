/* Which exit code wins, and what the report keeps of a job. */
#include "../small_core.h"
#include "dispatch/routes.h"
#include "drain/report.h"
#include "job/job.h"
#include "sources/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void exit_codes(void **state)
{
	(void)state;
	static const struct {
		uint64_t unsettled;
		size_t interrupted;
		enum hurry hurry;
		bool refused;
		int code;
	} rows[] = {
	    {0, 0, HURRY_NOT,      false, 0 },
            {0, 0, HURRY_DEADLINE, false, 0 },
	    {0, 2, HURRY_DEADLINE, false, 10},
            {1, 0, HURRY_NOT,      false, 11},
	    {1, 2, HURRY_DEADLINE, false, 11},
            {0, 0, HURRY_ASKED,    false, 12},
	    {0, 2, HURRY_ASKED,    false, 12},
            {1, 2, HURRY_ASKED,    false, 11},
	    {0, 0, HURRY_NOT,      true,  69},
            {3, 2, HURRY_ASKED,    true,  69},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct report report;
		report_init(&report);
		report.fates[FATE_UNSETTLED] = rows[i].unsettled;
		report.interrupted = rows[i].interrupted;
		report.hurry = rows[i].hurry;
		report.refused = rows[i].refused;
		assert_int_equal(report_exit_code(&report), rows[i].code);
		report_fini(&report);
	}
}

static void entries(void **state)
{
	(void)state;
	static const struct {
		enum fate fate;
		bool draining, ran_in_drain, begun;
		bool listed, interrupted, duplicate;
	} rows[] = {
	    {FATE_DONE,      false, false, true,  false, false, false},
	    {FATE_DONE,      true,  false, true,  false, false, false},
	    {FATE_DONE,      true,  true,  true,  true,  false, false},
	    {FATE_RETRIED,   true,  true,  true,  true,  false, false},
	    {FATE_DEAD,      true,  true,  true,  true,  false, false},
	    {FATE_RETURNED,  true,  false, false, false, false, false},
	    {FATE_RETURNED,  true,  true,  true,  true,  true,  true },
	    {FATE_UNSETTLED, true,  true,  true,  true,  false, true },
	    {FATE_UNSETTLED, true,  false, true,  true,  false, true },
	};
	struct source source = {.name = "main"};
	struct route route = {.name = "emails", .source = &source, .source_name = source.name};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct report report;
		struct job job = {.route = &route, .id = "8f2", .attempt = 3};
		job.in_drain = rows[i].ran_in_drain;
		job.begun_ns = rows[i].begun ? 100 : 0;
		job.finished_ns = rows[i].begun ? 300 : 0;
		job.verdict.interrupted = rows[i].interrupted;
		report_init(&report);
		report_count(&report, &job, rows[i].fate, rows[i].draining, 1000);
		assert_int_equal(report.since_start[rows[i].fate], 1);
		assert_int_equal(report.fates[rows[i].fate], rows[i].draining);
		assert_int_equal(report.n_entries, rows[i].listed);
		assert_int_equal(report.interrupted, rows[i].interrupted);
		if (rows[i].listed) {
			const struct report_entry *e = &report.entries[0];
			assert_string_equal(e->id, "8f2");
			assert_string_equal(e->queue, "emails");
			assert_int_equal(e->attempt, 3);
			assert_int_equal(e->ran_ns, 200);
			assert_int_equal(e->interrupted, rows[i].interrupted);
			assert_int_equal(e->duplicate_possible, rows[i].duplicate);
		}
		report_fini(&report);
	}
}

static void a_report_is_bounded(void **state)
{
	(void)state;
	struct source source = {.name = "main"};
	struct route route = {.name = "emails", .source = &source, .source_name = source.name};
	struct report report;
	report_init(&report);
	for (int i = 0; i < REPORT_ENTRIES + 7; i++) {
		char id[16];
		(void)snprintf(id, sizeof id, "%d", i);
		struct job job = {.route = &route, .id = id};
		report_count(&report, &job, FATE_UNSETTLED, true, 1);
	}
	assert_int_equal(report.n_entries, REPORT_ENTRIES);
	assert_int_equal(report.omitted, 7);
	assert_int_equal(report.fates[FATE_UNSETTLED], REPORT_ENTRIES + 7);
	report_fini(&report);
}

/* What no job was ever made of has no entry, and is counted like any that is dead. */
static void buried_ones_count_as_dead(void **state)
{
	(void)state;
	struct small_core s;
	struct source_host *host = &s.core.source_host;
	const struct report *report = &s.core.drain.report;
	small_core_init(&s, 0, "emails");
	host->buried(host, s.route, 2);
	assert_int_equal(report->since_start[FATE_DEAD], 2);
	assert_int_equal(report->fates[FATE_DEAD], 0);
	struct job *job = small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	host->buried(host, s.route, 1);
	assert_int_equal(report->since_start[FATE_DEAD], 3);
	assert_int_equal(report->fates[FATE_DEAD], 1);
	assert_int_equal(s.route->fates[FATE_DEAD], 3);
	small_finish(&s, job);
	assert_int_equal(report->n_entries, 1);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(exit_codes),
	    cmocka_unit_test(entries),
	    cmocka_unit_test(a_report_is_bounded),
	    cmocka_unit_test(buried_ones_count_as_dead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
