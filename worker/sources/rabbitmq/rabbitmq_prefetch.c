/* Twice what can run, so that the next job is here when one ends. Where jobs are staged they may take
 * microseconds, less than the way to the broker: more of them have to be on it. */
#include "sources/rabbitmq/rabbitmq_prefetch.h"

#include "dispatch/routes.h"
#include "executors/executor.h"
#include "settings/settings.h"

#include <stdint.h>

static unsigned lesser(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned rabbitmq_prefetch(const struct queue_settings *queue, const struct worker_settings *worker,
			   const struct lane *lane)
{
	const struct executor *executor = lane->executor;
	bool stages = executor->depth > executor->width;
	unsigned width = lesser(worker->concurrency, executor->widest);
	if (queue->prefetch != 0)
		return queue->prefetch;
	if (queue->concurrency != 0)
		width = lesser(width, queue->concurrency);
	if (lane->limit != 0)
		width = lesser(width, lane->limit);
	return lesser(width * (stages ? 16 : 2), UINT16_MAX);
}
