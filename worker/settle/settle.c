#include "settle/settle.h"

#include "dispatch/routes.h"
#include "job/ledger.h"
#include "settle/verdict.h"
#include "sources/source.h"

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

void settle_job(struct settle *settle, struct job *job)
{
	struct source *source = job->route->source;
	struct verdict_facts facts = {
	    .outcome = job->state == JOB_FINISHED ? &job->outcome : NULL,
	    .attempt = job->attempt,
	    .interruptions = job->interruptions,
	    .stopped_by_drain = job->stop == JOB_STOPPED_BY_DRAIN,
	    .random = next_random(settle),
	};
	job->verdict = verdict_of(&facts, job->route->retry);
	ledger_tell(settle->ledger, job);
	source->ops->settle(source, job); /* may end in settled() at once: the job may be gone */
}
