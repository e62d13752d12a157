/* Copies of jobs (rabbitmq_publisher.h) and large messages (rabbitmq_passage.h) have the same way to
 * confirms. They part where something breaks: the one opens its channel again, the other leaves the
 * connection. */
#include "sources/rabbitmq/rabbitmq_confirming.h"

#include "base/must.h"
#include "wire/amqp.h"

#include <stdio.h>

/* --- the channel ------------------------------------------------------------------------------- */

void rabbitmq_confirming_open(struct rabbitmq_confirming *c)
{
	amqp_channel_open_t open = {0};
	must(c->state == CONFIRMING_DOWN || c->state == CONFIRMING_BROKEN);
	c->state = CONFIRMING_OPENING;
	c->last_sequence = 0;
	c->in_return = false;
	amqp_conn_send(c->link.conn, CONFIRMING_CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open);
}

static void select_confirms(struct rabbitmq_confirming *c)
{
	amqp_confirm_select_t select = {0};
	c->state = CONFIRMING_SELECTING;
	amqp_conn_send(c->link.conn, CONFIRMING_CHANNEL, AMQP_CONFIRM_SELECT_METHOD, &select);
}

static void become_ready(struct rabbitmq_confirming *c)
{
	c->state = CONFIRMING_READY;
	c->events->ready(c->arg);
}

static void confirmed(struct rabbitmq_confirming *c, uint64_t tag, bool multiple, bool taken)
{
	if (multiple && tag == 0)
		tag = c->last_sequence; /* the protocol's "all so far" */
	c->events->confirmed(c->arg, tag, multiple ? AMQP_UP_TO : AMQP_ONE, taken);
}

static void begin_return(struct rabbitmq_confirming *c, const amqp_basic_return_t *m)
{
	c->in_return = true;
	(void)snprintf(c->returned_queue, sizeof c->returned_queue, "%.*s", (int)m->routing_key.len,
		       (const char *)m->routing_key.bytes);
}

bool rabbitmq_confirming_refuses_message(const amqp_channel_close_t *m)
{
	return ((uint32_t)m->class_id << 16 | m->method_id) == AMQP_BASIC_PUBLISH_METHOD &&
	       m->reply_code == AMQP_PRECONDITION_FAILED;
}

static void channel_closed(struct rabbitmq_confirming *c, const amqp_channel_close_t *m)
{
	struct error why;
	if (c->state == CONFIRMING_LEAVING)
		return;
	(void)error_set(&why, rabbitmq_queue_refusal(m->reply_code, m->reply_text), "%d %.*s",
			m->reply_code, (int)m->reply_text.len, (const char *)m->reply_text.bytes);
	c->state = CONFIRMING_BROKEN;
	c->events->channel_closed(c->arg, m, &why);
}

static void on_method(void *arg, uint16_t channel, amqp_method_number_t id, const void *decoded)
{
	struct rabbitmq_confirming *c = arg;
	(void)channel;
	switch (id) {
	case AMQP_CHANNEL_OPEN_OK_METHOD:
		if (c->state == CONFIRMING_OPENING)
			select_confirms(c);
		return;
	case AMQP_CONFIRM_SELECT_OK_METHOD:
		if (c->state == CONFIRMING_SELECTING)
			become_ready(c);
		return;
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *m = decoded;
		confirmed(c, m->delivery_tag, m->multiple, true);
		return;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *m = decoded;
		confirmed(c, m->delivery_tag, m->multiple, false);
		return;
	}
	case AMQP_BASIC_RETURN_METHOD:
		begin_return(c, decoded);
		return;
	case AMQP_CHANNEL_CLOSE_METHOD:
		channel_closed(c, decoded);
		return;
	default:
		if (id == AMQP_QUEUE_DECLARE_OK_METHOD && c->events->declared != NULL)
			c->events->declared(c->arg);
		else
			amqp_conn_fail(c->link.conn, c->events->unexpected);
	}
}

static void on_header(void *arg, uint16_t channel, const struct amqp_header *header)
{
	struct rabbitmq_confirming *c = arg;
	(void)channel;
	if (!c->in_return)
		return;
	c->in_return = false;
	struct span id = header->properties != NULL ? amqp_span_of(header->properties->message_id)
						    : span_text("");
	c->events->returned(c->arg, c->returned_queue, id);
}

static void ignore_body(void *arg, uint16_t channel, struct span piece)
{
	(void)arg; /* of a returned message: there is another, where it came from */
	(void)channel;
	(void)piece;
}

/* --- the connection ---------------------------------------------------------------------------- */

static void on_dialing(void *arg)
{
	struct rabbitmq_confirming *c = arg;
	c->state = CONFIRMING_DOWN;
}

static void on_opened(void *arg)
{
	rabbitmq_confirming_open(arg);
}

static void on_blocked(void *arg, const char *reason)
{
	struct rabbitmq_confirming *c = arg;
	c->blocked = reason != NULL;
	c->events->blocked(c->arg, reason);
}

void rabbitmq_confirming_leave(struct rabbitmq_confirming *c, const struct error *why)
{
	c->state = CONFIRMING_LEAVING;
	rabbitmq_link_leave(&c->link, why);
}

static void finish_closing(struct rabbitmq_confirming *c)
{
	c->state = CONFIRMING_CLOSED;
	rabbitmq_link_stop(&c->link);
	c->events->closed(c->arg, NULL);
}

void rabbitmq_confirming_close(struct rabbitmq_confirming *c, enum confirming_close how)
{
	if (c->state == CONFIRMING_CLOSING || c->state == CONFIRMING_CLOSED)
		return;
	c->state = CONFIRMING_CLOSING;
	if (how == CONFIRMING_IN_ORDER && c->link.conn != NULL)
		amqp_conn_close(c->link.conn);
	else
		finish_closing(c);
}

static void on_closed(void *arg, const struct error *why)
{
	struct rabbitmq_confirming *c = arg;
	if (c->state == CONFIRMING_CLOSING) {
		finish_closing(c);
		return;
	}
	must(why != NULL);
	struct error told = c->state == CONFIRMING_LEAVING ? c->link.failed : *why;
	c->state = CONFIRMING_DOWN;
	c->blocked = false;
	c->events->closed(c->arg, &told);
}

static const struct amqp_events on_connection = {
    .opened = on_opened,
    .method = on_method,
    .header = on_header,
    .body = ignore_body,
    .blocked = on_blocked,
    .closed = on_closed,
};

/* --- life -------------------------------------------------------------------------------------- */

enum status rabbitmq_confirming_init(struct rabbitmq_confirming *c, struct loop *loop,
				     struct log *log, const struct rabbitmq_settings *settings,
				     const char *name,
				     const struct rabbitmq_confirming_events *events, void *arg,
				     struct error *why)
{
	(void)snprintf(c->name, sizeof c->name, "%s", name);
	c->events = events;
	c->arg = arg;
	c->link = (struct rabbitmq_link){
	    .loop = loop,
	    .log = log,
	    .settings = settings,
	    .name = c->name,
	    .channels = CONFIRMING_CHANNEL,
	    .dialing = on_dialing,
	    .events = &on_connection,
	    .arg = c,
	};
	return rabbitmq_link_init(&c->link, why);
}

void rabbitmq_confirming_fini(struct rabbitmq_confirming *c)
{
	rabbitmq_link_fini(&c->link);
}
