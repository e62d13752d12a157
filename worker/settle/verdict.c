/* What a job becomes, from what its handler said and what we did to it. The rules that are not
 * obvious: a handler that returns a job by itself has not been interrupted; and exit 0 means done
 * even after we asked the job to stop, because its effect is there and running it again would be the
 * duplicate; every other end of a job that we asked to stop for the drain's sake is an interruption,
 * never a failure, and costs neither an attempt nor, should it crash then, a crash. */
#include "settle/verdict.h"

#include "settings/settings.h"

/* What does not change unless a rule says so. */
static struct verdict unchanged(const struct verdict_facts *facts, enum fate fate)
{
	return (struct verdict){
	    .fate = fate,
	    .attempt = facts->attempt,
	    .interruptions = facts->interruptions,
	    .crashes = facts->crashes,
	};
}

static struct verdict returned(const struct verdict_facts *facts)
{
	struct verdict verdict = unchanged(facts, FATE_RETURNED);
	verdict.interrupted = facts->outcome != NULL && (facts->stopped_by_drain ||
							 facts->outcome->kind == OUTCOME_ABANDONED);
	if (verdict.interrupted)
		verdict.interruptions++;
	return verdict;
}

static struct verdict failed(const struct verdict_facts *facts, const struct retry_settings *retry)
{
	struct verdict verdict = unchanged(facts, FATE_DEAD);
	if (facts->outcome->crashed)
		verdict.crashes++;
	verdict.poisonous =
	    facts->outcome->crashed && retry->crashes != 0 && verdict.crashes >= retry->crashes;
	if (verdict.poisonous || facts->attempt >= retry->attempts)
		return verdict;
	verdict.fate = FATE_RETRIED;
	verdict.attempt++;
	verdict.delay_ms = facts->outcome->after_ms;
	verdict.delay_asked = verdict.delay_ms != 0;
	if (verdict.delay_ms > OUTCOME_ASKS_MOST_MS)
		verdict.delay_ms = OUTCOME_ASKS_MOST_MS;
	if (!verdict.delay_asked)
		verdict.delay_ms = retry_delay_ms(retry, verdict.attempt, facts->random);
	return verdict;
}

struct verdict verdict_of(const struct verdict_facts *facts, const struct retry_settings *retry)
{
	if (facts->outcome == NULL)
		return returned(facts);
	switch (facts->outcome->kind) {
	case OUTCOME_DONE:
		return unchanged(facts, FATE_DONE);
	case OUTCOME_REJECT:
		return unchanged(facts, FATE_DEAD);
	case OUTCOME_RETRY:
		return facts->stopped_by_drain ? returned(facts) : failed(facts, retry);
	case OUTCOME_RETURN:
	case OUTCOME_ABANDONED:
		break;
	}
	return returned(facts);
}
