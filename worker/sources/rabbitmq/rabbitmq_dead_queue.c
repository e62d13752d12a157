#include "sources/rabbitmq/rabbitmq_dead_queue.h"

#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp.h"

bool rabbitmq_dead_queue_is_due(const struct rabbitmq_dead_queue *dead)
{
	return dead->queue->dead != NULL && dead->state != DEAD_LACKING;
}

void rabbitmq_dead_queue_ask(const struct rabbitmq_dead_queue *dead, struct amqp_conn *conn,
			     uint16_t channel)
{
	bool make = dead->state == DEAD_MADE;
	amqp_table_entry_t kind = rabbitmq_text_entry("x-queue-type", span_text("quorum"));
	amqp_queue_declare_t declare = {
	    .queue = amqp_cstring_bytes(dead->queue->dead),
	    .passive = !make,
	    .durable = make,
	};
	if (make && dead->queue->declare == DECLARE_QUORUM)
		declare.arguments = (amqp_table_t){.num_entries = 1, .entries = &kind};
	amqp_conn_send(conn, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
}

void rabbitmq_dead_queue_is_there(struct rabbitmq_dead_queue *dead)
{
	dead->state = DEAD_LOOKED_FOR;
}

bool rabbitmq_dead_queue_refused(struct rabbitmq_dead_queue *dead, enum status st,
				 bool queue_was_consumed)
{
	bool may_be_made = st == ST_MISSING && dead->queue->declare != DECLARE_PASSIVE;
	if (may_be_made && dead->state != DEAD_MADE)
		dead->state = DEAD_MADE;
	else
		dead->state = queue_was_consumed ? DEAD_LACKING : DEAD_LOOKED_FOR;
	return dead->state != DEAD_LOOKED_FOR;
}

void rabbitmq_dead_queue_connection_lost(struct rabbitmq_dead_queue *dead)
{
	dead->state = DEAD_LOOKED_FOR;
}
