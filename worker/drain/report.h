/* report - what became of every job of a drain, and the exit code that follows from it.
 *
 * Thread: the loop's.
 * Owns:   copies of ids; queue and source names are borrowed from the settings.
 * Units:  monotonic nanoseconds.
 * Fails:  never: when there is no memory for an entry it is counted in `omitted`, and the counts
 *         and the exit code stay right. */
#ifndef OUTFALL_DRAIN_REPORT_H
#define OUTFALL_DRAIN_REPORT_H

#include "drain/phases.h"
#include "job/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;

enum { REPORT_ENTRIES = 10000 }; /* a report is for people and small tools: 2 MB at most */

struct report_entry {
	char *id;
	const char *source, *queue;
	uint32_t attempt;
	uint64_t ran_ns;
	struct usage usage;
	enum fate fate;
	bool interrupted;        /* it had begun and was given back */
	bool duplicate_possible; /* its effect, or part of it, may happen a second time */
};

/* Why the drain went through HURRYING, if it did. */
enum hurry { HURRY_NOT, HURRY_DEADLINE, HURRY_ASKED };

struct report {
	const char *why; /* "SIGTERM"; borrowed, a constant */
	enum hurry hurry;
	uint64_t began_ns, ended_ns;
	uint64_t spent_ns[PHASES];  /* in each phase since the drain began */
	uint64_t fates[FATE_COUNT]; /* of jobs that left since the drain began */
	uint64_t since_start[FATE_COUNT];
	size_t interrupted;           /* of the returned: those that had begun */
	bool refused;                 /* stopped because a broker refused us for good */
	struct report_entry *entries; /* running when it began, and whatever stayed unsettled */
	size_t n_entries, entries_room, omitted;
};

void report_init(struct report *report);
void report_fini(struct report *report);

/* The job leaves with this fate; `draining`: it counts for the drain too. */
void report_count(struct report *report, const struct job *job, enum fate fate, bool draining,
		  uint64_t now_ns);
/* So many that never became jobs are dead. */
void report_count_buried(struct report *report, uint64_t count, bool draining);

/* 0, 10, 11, 12 or 69, as the manual has them; see report.c for which wins. */
int report_exit_code(const struct report *report);

#endif
