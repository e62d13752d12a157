#include "job/last_failure.h"

#include "job/job.h"

#include <string.h>

static void keep_text(char *to, size_t room, struct span from)
{
	struct span kept = failure_cut(from, room - 1);
	if (kept.len > 0)
		memcpy(to, kept.ptr, kept.len);
	to[kept.len] = '\0';
}

void last_failure_note(struct last_failure *last, const struct job *job, enum fate fate,
		       uint64_t now_ns)
{
	const struct span none = {0};
	if (fate != FATE_RETRIED && fate != FATE_DEAD)
		return;
	last->at_ns = now_ns;
	last->fate = fate;
	last->attempt = job->attempt;
	keep_text(last->job, sizeof last->job, span_text(job->id));
	keep_text(last->class, sizeof last->class,
		  job->failure != NULL ? job->failure->class : none);
	keep_text(last->message, sizeof last->message, job_reason(job));
}
