/* A queue's limit may be an argument or a policy, and AMQP tells neither. A limit of 3 is as likely as 20 or
 * none, and a worker that is restarted a few times an hour reaches any of them with jobs that never began. So,
 * unless the operator has said what it is (delivery_limit), a job goes back by nack, to the head of its queue,
 * only as often as any limit allows: once. The next time a copy of it is published, to the tail, and its count
 * starts over. Where the limit is known half of it is ours, and the other half is left to workers that die.
 *
 * A single active consumer gives back with channel.close, for the order's sake (rabbitmq_channel.c), and a copy at
 * the tail would break that order. There the broker's own default is believed, and used up but for a few.
 *
 * Workers that die with a job are counted by the same number, so it is never certain that the first ones in it, as
 * many as go back by answers of ours, were any. Beyond them one has; and then all are taken for such, because most
 * jobs have seen no drain.
 *
 * Who dies gives nothing back. So what has used up more of the limit than answers do, because it lay in the hands of many
 * that were killed, is replaced by a copy before it begins, whose count starts over; who dies before that is confirmed
 * leaves it to the next. */
#include "sources/rabbitmq/rabbitmq_returns.h"

#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"

enum {
	ANY_LIMIT = 1, /* that is set allows one */
	SPARE = 4,     /* of a limit that is used up */
};

static unsigned limit_of(const struct queue_settings *queue,
			 const struct rabbitmq_delivery_rules *rules)
{
	return queue->delivery_limit != 0 ? queue->delivery_limit : rules->limit;
}

/* How often a message may go back by an answer. */
static uint32_t allowance(const struct queue_settings *queue,
			  const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how)
{
	if (how == BACK_BY_NACK)
		return queue->delivery_limit == 0 ? ANY_LIMIT : queue->delivery_limit / 2;
	unsigned limit = limit_of(queue, rules);
	if (limit == 0)
		return UINT32_MAX;
	return limit > 2 * SPARE ? limit - SPARE : limit / 2;
}

static bool is_counted(const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how)
{
	return rules != NULL && (rules->counts_nacks || how == BACK_WITH_CHANNEL);
}

bool rabbitmq_may_go_back(const struct queue_settings *queue,
			  const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how,
			  uint32_t count)
{
	return !is_counted(rules, how) || count < allowance(queue, rules, how);
}

bool rabbitmq_is_near_limit(const struct queue_settings *queue,
			    const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how,
			    uint32_t count)
{
	unsigned limit = rules == NULL ? 0 : limit_of(queue, rules);
	return limit != 0 &&
	       count > (how == BACK_BY_NACK ? limit / 2 : allowance(queue, rules, how));
}

uint32_t rabbitmq_lost(const struct queue_settings *queue,
		       const struct rabbitmq_delivery_rules *rules, enum rabbitmq_way_back how,
		       uint32_t count)
{
	if (rules == NULL)
		return 0;
	uint32_t ours = is_counted(rules, how) ? allowance(queue, rules, how) : 0;
	return count > ours ? count : 0;
}
