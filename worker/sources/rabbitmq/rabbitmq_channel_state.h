/* rabbitmq_channel_state - what a channel that consumes can be, and what may follow. Pure.
 *
 *    down --connection--> opening [--> checking] --> declaring --> limiting --> ready
 *    ready --intake wanted--> subscribing --consume-ok--> consuming --basic.cancel--> cancelled
 *      ^                                                      |                           |
 *      +-------- cancel-ok -------- cancelling <--not wanted--+       declaring <--wait---+
 *    consuming --prefetch has grown--> renewing --cancel-ok--> consuming
 *    consuming --not wanted, not known whether single active--> asking --told--> consuming
 *    consuming --not wanted, single active--> finishing --its jobs have ended, channel.close--> releasing
 *    releasing --close-ok--> released --wanted--> opening
 *    (open) --channel.close--> broken --wait--> opening
 *    (open) --our own trouble--> resetting --close-ok--> broken
 *    (open) --rabbitmq_channel_close()--> closing --close-ok--> closed
 *    (any)  --connection lost--> down
 *
 * Thread: any.
 * Fails:  never. */
#ifndef OUTFALL_SOURCES_RABBITMQ_CHANNEL_STATE_H
#define OUTFALL_SOURCES_RABBITMQ_CHANNEL_STATE_H

#include <stdbool.h>

enum channel_state {
	CHANNEL_DOWN,
	CHANNEL_OPENING,
	CHANNEL_CHECKING, /* whether the dead letter queue is there, if one is named */
	CHANNEL_DECLARING,
	CHANNEL_LIMITING,
	CHANNEL_READY,
	CHANNEL_SUBSCRIBING,
	CHANNEL_CONSUMING,
	CHANNEL_ASKING, /* consuming, and whether it is the single active one is being found out */
	CHANNEL_RENEWING, /* consuming, and the consumer of before is being cancelled */
	CHANNEL_CANCELLING,
	CHANNEL_FINISHING, /* nothing new is taken, and the consumer stays until the last job has ended */
	CHANNEL_CANCELLED, /* by the broker */
	CHANNEL_BROKEN,    /* closed by the broker */
	CHANNEL_RESETTING,
	CHANNEL_RELEASING,
	CHANNEL_RELEASED,
	CHANNEL_CLOSING,
	CHANNEL_CLOSED,
};

bool channel_state_may_become(enum channel_state state, enum channel_state next);
const char *channel_state_name(enum channel_state state);
/* What has to happen before it is closed or paused: "channel.close-ok"; "" nothing. */
const char *channel_state_waits_for(enum channel_state state);

/* From channel.open-ok until channel.close, whoever sends it: methods may be exchanged. */
bool channel_state_is_open(enum channel_state state);
/* The queue has a consumer of ours. */
/* The broker may close it now; a second close is of no meaning. */
bool channel_state_may_be_closed(enum channel_state state);
bool channel_state_consumes(enum channel_state state);
/* Deliveries are asked for, or can not be kept from coming any more. */
bool channel_state_may_deliver(enum channel_state state);

#endif
