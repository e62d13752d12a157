/* verdict - what the broker shall be told of a finished job. A pure decision: no clock, no I/O.
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  milliseconds for delays.
 * Fails:  never; each outcome has a verdict. */
#ifndef OUTFALL_SETTLE_VERDICT_H
#define OUTFALL_SETTLE_VERDICT_H

#include "job/outcome.h"

#include <stdint.h>

struct retry_settings;

struct verdict_facts {
	const struct outcome *outcome; /* NULL: it was never begun */
	uint32_t attempt;              /* of the run that ended, from 1 */
	uint32_t interruptions;
	uint32_t crashes;      /* before this run */
	bool stopped_by_drain; /* we asked it to stop because we are stopping */
	uint32_t random;       /* for the jitter: any 32 random bits */
};

struct verdict verdict_of(const struct verdict_facts *facts, const struct retry_settings *retry);

/* The wait before attempt `attempt` (2 or more), jitter included. The jitter takes one of five
 * values, so that the delays of one policy are few and RabbitMQ retry queues can be shared. */
uint64_t retry_delay_ms(const struct retry_settings *retry, uint32_t attempt, uint32_t random);

#endif
