/* What a job becomes, from what its handler said and what we did to it. The rules that are not
 * obvious: a handler that returns a job by itself has not been interrupted; and exit 0 means done even after we asked the job to stop, because its effect is there and
 * running it again would be the duplicate; every other end of a job that we asked to stop for the
 * drain's sake is an interruption, never a failure, and costs no attempt. */
#include "settle/verdict.h"

#include "settings/settings.h"

static struct verdict returned(const struct verdict_facts *facts)
{
	bool interrupted = facts->outcome != NULL &&
			   (facts->stopped_by_drain || facts->outcome->kind == OUTCOME_ABANDONED);
	return (struct verdict){
	    .fate = FATE_RETURNED,
	    .interrupted = interrupted,
	    .attempt = facts->attempt,
	    .interruptions = facts->interruptions + (interrupted ? 1 : 0),
	};
}

static struct verdict dead(const struct verdict_facts *facts)
{
	return (struct verdict){
	    .fate = FATE_DEAD,
	    .attempt = facts->attempt,
	    .interruptions = facts->interruptions,
	};
}

static struct verdict failed(const struct verdict_facts *facts, const struct retry_settings *retry)
{
	if (facts->attempt >= retry->attempts)
		return dead(facts);
	uint32_t next = facts->attempt + 1;
	uint64_t delay_ms = facts->outcome->after_ms;
	if (delay_ms == 0)
		delay_ms = retry_delay_ms(retry, next, facts->random);
	return (struct verdict){
	    .fate = FATE_RETRIED,
	    .delay_ms = delay_ms,
	    .attempt = next,
	    .interruptions = facts->interruptions,
	};
}

struct verdict verdict_of(const struct verdict_facts *facts, const struct retry_settings *retry)
{
	if (facts->outcome == NULL)
		return returned(facts);
	switch (facts->outcome->kind) {
	case OUTCOME_DONE:
		return (struct verdict){
		    .fate = FATE_DONE,
		    .attempt = facts->attempt,
		    .interruptions = facts->interruptions,
		};
	case OUTCOME_REJECT:
		return dead(facts);
	case OUTCOME_RETRY:
		if (facts->stopped_by_drain)
			return returned(facts);
		return failed(facts, retry);
	case OUTCOME_RETURN:
	case OUTCOME_ABANDONED:
		break;
	}
	return returned(facts);
}
