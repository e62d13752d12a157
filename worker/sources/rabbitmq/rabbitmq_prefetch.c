/* Twice what can run, so that the next job is here when one ends. Where jobs are staged they may take
 * microseconds, less than the way to the broker: more of them have to be on it. */
#include "sources/rabbitmq/rabbitmq_prefetch.h"

#include "dispatch/routes.h"
#include "sources/rabbitmq/rabbitmq_settings.h"

#include <stdint.h>

static unsigned lesser(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned rabbitmq_prefetch(const struct queue_settings *queue, const struct worker_settings *worker,
			   const struct lane *lane)
{
	unsigned width = lesser(worker->concurrency, lane_widest(lane));
	if (queue->prefetch != 0)
		return queue->prefetch;
	if (queue->concurrency != 0)
		width = lesser(width, queue->concurrency);
	return lesser(width * (lane_stages(lane) ? 16 : 2), UINT16_MAX);
}
