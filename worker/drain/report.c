/* Which exit code wins when several fit: a refusal at start explains everything else (69); then
 * what may run twice (11), because somebody may have to look at it; then that an operator asked for
 * the hurry (12); then that the deadline did (10). */
#include "drain/report.h"

#include "base/memory.h"
#include "dispatch/routes.h"
#include "job/job.h"

#include <string.h>

enum {
	EXIT_DRAINED = 0,
	EXIT_INTERRUPTED = 10,
	EXIT_UNSETTLED = 11,
	EXIT_HURRIED = 12,
	EXIT_REFUSED = 69, /* EX_UNAVAILABLE of sysexits.h */
};

void report_init(struct report *report)
{
	memset(report, 0, sizeof *report);
}

void report_fini(struct report *report)
{
	for (size_t i = 0; i < report->n_entries; i++)
		memory_free(report->entries[i].id);
	memory_free(report->entries);
	report->entries = NULL;
	report->n_entries = report->entries_room = 0;
}

static bool make_room(struct report *report)
{
	if (report->n_entries >= REPORT_ENTRIES)
		return false;
	if (report->n_entries < report->entries_room)
		return true;
	size_t room = report->entries_room == 0 ? 32 : report->entries_room * 2;
	struct report_entry *grown = memory_grow(report->entries, room * sizeof *grown);
	if (grown == NULL)
		return false;
	report->entries = grown;
	report->entries_room = room;
	return true;
}

static bool is_interrupted(const struct job *job, enum fate fate)
{
	return fate == FATE_RETURNED && job->verdict.interrupted;
}

static void add_entry(struct report *report, const struct job *job, enum fate fate, uint64_t now_ns)
{
	char *id = make_room(report) ? memory_text(job->id) : NULL;
	if (id == NULL) {
		report->omitted++;
		return;
	}
	uint64_t end_ns = job->finished_ns != 0 ? job->finished_ns : now_ns;
	report->entries[report->n_entries++] = (struct report_entry){
	    .id = id,
	    .source = job->route->source_name,
	    .queue = job->route->name,
	    .attempt = job->attempt,
	    .usage = job->outcome.usage,
	    .ran_ns = job->begun_ns != 0 ? end_ns - job->begun_ns : 0,
	    .fate = fate,
	    .interrupted = is_interrupted(job, fate),
	    .duplicate_possible = fate == FATE_UNSETTLED || is_interrupted(job, fate),
	};
}

void report_count(struct report *report, const struct job *job, enum fate fate, bool draining,
		  uint64_t now_ns)
{
	report->since_start[fate]++;
	if (!draining)
		return;
	report->fates[fate]++;
	if (is_interrupted(job, fate))
		report->interrupted++;
	if (job->in_drain || fate == FATE_UNSETTLED)
		add_entry(report, job, fate, now_ns);
}

void report_count_buried(struct report *report, uint64_t count, bool draining)
{
	report->since_start[FATE_DEAD] += count;
	if (draining)
		report->fates[FATE_DEAD] += count;
}

int report_exit_code(const struct report *report)
{
	if (report->refused)
		return EXIT_REFUSED;
	if (report->fates[FATE_UNSETTLED] > 0)
		return EXIT_UNSETTLED;
	if (report->hurry == HURRY_ASKED)
		return EXIT_HURRIED;
	if (report->interrupted > 0)
		return EXIT_INTERRUPTED;
	return EXIT_DRAINED;
}
