/* rabbitmq_prefetch - how many deliveries of a queue the broker may have outstanding here. Pure.
 *
 * Thread: the loop's.
 * Units:  deliveries, up to the 65,535 that basic.qos can say.
 * Fails:  never. */
#ifndef OUTFALL_SOURCES_RABBITMQ_PREFETCH_H
#define OUTFALL_SOURCES_RABBITMQ_PREFETCH_H

struct lane;
struct queue_settings;
struct worker_settings;

/* As the settings say, or from what they leave open. What `lane`'s executor has learned of its
 * processes counts, so the answer may be another one later. */
unsigned rabbitmq_prefetch(const struct queue_settings *queue, const struct worker_settings *worker,
			   const struct lane *lane);

#endif
