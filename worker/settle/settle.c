#include "settle/settle.h"

#include "dispatch/routes.h"
#include "job/ledger.h"
#include "settle/verdict.h"
#include "sources/source.h"

#include <stdio.h>
#include <string.h>

void settle_init(struct settle *settle, struct ledger *ledger, uint32_t seed)
{
	settle->ledger = ledger;
	settle->random = seed != 0 ? seed : 1;
}

/* Spreads retries; nothing depends on its quality. */
static uint32_t next_random(struct settle *settle)
{
	uint32_t x = settle->random;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	settle->random = x;
	return x;
}

/* The last crash's own reason goes along: "crashed 3 times, at last: ended by SIGSEGV". */
static void tell_poison(struct job *job)
{
	char last[sizeof job->outcome.reason];
	memcpy(last, job->outcome.reason, sizeof last);
	(void)snprintf(job->outcome.reason, sizeof job->outcome.reason,
		       "crashed %u times, at last: %.60s", (unsigned)job->verdict.crashes, last);
}

void settle_job(struct settle *settle, struct job *job)
{
	struct source *source = job->route->source;
	struct verdict_facts facts = {
	    .outcome = job->state == JOB_FINISHED ? &job->outcome : NULL,
	    .attempt = job->attempt,
	    .interruptions = job->interruptions,
	    .crashes = job->crashes,
	    .stopped_by_drain = job->stop == JOB_STOPPED_BY_DRAIN,
	    .random = next_random(settle),
	};
	job->verdict = verdict_of(&facts, job->route->retry);
	if (job->verdict.poisonous)
		tell_poison(job);
	ledger_tell(settle->ledger, job);
	source->ops->settle(source, job); /* may end in settled() at once: the job may be gone */
}
