/* rabbitmq_returns - what a quorum queue's count of a message says: whether the message may go back once more
 * by an answer, and how many workers have died with it. Pure.
 *
 * Thread: any.
 * Units:  deliveries that came back, as x-delivery-count has them (rabbitmq_server.h).
 * Fails:  never. */
#ifndef OUTFALL_SOURCES_RABBITMQ_RETURNS_H
#define OUTFALL_SOURCES_RABBITMQ_RETURNS_H

#include <stdbool.h>
#include <stdint.h>

struct queue_settings;
struct rabbitmq_delivery_rules;

enum rabbitmq_way_back { BACK_BY_NACK, BACK_WITH_CHANNEL };

/* Whether a message that came back `count` times may do so again. False: it could be dropped, so a copy has to
 * take its place, whose count starts over. `rules` may be NULL: nothing is counted then. */
bool rabbitmq_may_go_back(const struct queue_settings *queue,
			  const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how,
			  uint32_t count);

/* Whether so many deaths again would be too many, so that a copy is to take its place before it begins. Never,
 * where the limit is not known. */
bool rabbitmq_is_near_limit(const struct queue_settings *queue,
			    const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how,
			    uint32_t count);

/* How many workers may have died with it; 0: it is not certain that one has, or `rules` is NULL. */
uint32_t rabbitmq_lost(const struct queue_settings *queue,
		       const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how,
		       uint32_t count);

#endif
