#include "sources/rabbitmq/rabbitmq_channel_state.h"

#define MAY(state) (1u << (state))
#define MAY_END                                                                                    \
	(MAY(CHANNEL_DOWN) | MAY(CHANNEL_BROKEN) | MAY(CHANNEL_RESETTING) | MAY(CHANNEL_CLOSING))
#define MAY_SHUT (MAY(CHANNEL_DOWN) | MAY(CHANNEL_CLOSED))

static const struct {
	const char *name;
	const char *waits_for; /* what has to happen before it is closed or paused; "" nothing */
	unsigned may;
} states[] = {
    [CHANNEL_DOWN] = {"down",                    "",                 MAY(CHANNEL_OPENING) | MAY_SHUT   },
    [CHANNEL_OPENING] = {"opening",                 "channel.open-ok",
                      MAY(CHANNEL_CHECKING) | MAY(CHANNEL_DECLARING) | MAY_END                         },
    [CHANNEL_CHECKING] = {"checking",                "queue.declare-ok", MAY(CHANNEL_DECLARING) | MAY_END  },
    [CHANNEL_DECLARING] = {"declaring",               "queue.declare-ok", MAY(CHANNEL_LIMITING) | MAY_END   },
    [CHANNEL_LIMITING] = {"limiting",                "basic.qos-ok",     MAY(CHANNEL_READY) | MAY_END      },
    [CHANNEL_READY] = {"ready",                   "",                 MAY(CHANNEL_SUBSCRIBING) | MAY_END},
    [CHANNEL_SUBSCRIBING] = {"subscribing",             "basic.consume-ok",
                      MAY(CHANNEL_CONSUMING) | MAY(CHANNEL_CANCELLED) | MAY_END                        },
    [CHANNEL_CONSUMING] = {"consuming",               "",
                      MAY(CHANNEL_ASKING) | MAY(CHANNEL_RENEWING) | MAY(CHANNEL_CANCELLING) |
			       MAY(CHANNEL_FINISHING) | MAY(CHANNEL_CANCELLED) | MAY_END               },
    [CHANNEL_ASKING] = {"asking",                  "queue.declare-ok",
                      MAY(CHANNEL_CONSUMING) | MAY(CHANNEL_CANCELLED) | MAY_END                        },
    [CHANNEL_RENEWING] = {"renewing",                "basic.cancel-ok",
                      MAY(CHANNEL_CONSUMING) | MAY(CHANNEL_CANCELLED) | MAY_END                        },
    [CHANNEL_CANCELLING] = {"cancelling",              "basic.cancel-ok",  MAY(CHANNEL_READY) | MAY_END      },
    [CHANNEL_FINISHING] = {"finishing",               "the last job",     MAY(CHANNEL_RELEASING) | MAY_END  },
    [CHANNEL_CANCELLED] = {"cancelled by the broker", "",                 MAY(CHANNEL_DECLARING) | MAY_END  },
    [CHANNEL_BROKEN] = {"closed by the broker",    "",                 MAY(CHANNEL_OPENING) | MAY_SHUT   },
    [CHANNEL_RESETTING] = {"resetting",               "channel.close-ok",
                      MAY(CHANNEL_BROKEN) | MAY(CHANNEL_CLOSING) | MAY(CHANNEL_DOWN)                   },
    [CHANNEL_RELEASING] = {"releasing",               "channel.close-ok",
                      MAY(CHANNEL_RELEASED) | MAY(CHANNEL_BROKEN) | MAY(CHANNEL_CLOSING) |
			       MAY(CHANNEL_DOWN)						       },
    [CHANNEL_RELEASED] = {"released",                "",                 MAY(CHANNEL_OPENING) | MAY_SHUT   },
    [CHANNEL_CLOSING] = {"closing",                 "channel.close-ok", MAY(CHANNEL_CLOSED)               },
    [CHANNEL_CLOSED] = {"closed",                  "",                 0                                 },
};

bool channel_state_may_become(enum channel_state state, enum channel_state next)
{
	return (states[state].may & MAY(next)) != 0;
}

const char *channel_state_name(enum channel_state state)
{
	return states[state].name;
}

const char *channel_state_waits_for(enum channel_state state)
{
	return states[state].waits_for;
}

bool channel_state_is_open(enum channel_state state)
{
	return state >= CHANNEL_CHECKING && state <= CHANNEL_CANCELLED;
}

bool channel_state_may_be_closed(enum channel_state state)
{
	return state == CHANNEL_CLOSING || (states[state].may & MAY(CHANNEL_BROKEN)) != 0;
}

bool channel_state_consumes(enum channel_state state)
{
	return state == CHANNEL_CONSUMING || state == CHANNEL_ASKING || state == CHANNEL_RENEWING;
}

bool channel_state_may_deliver(enum channel_state state)
{
	return state == CHANNEL_SUBSCRIBING || state == CHANNEL_CANCELLING ||
	       channel_state_consumes(state);
}
