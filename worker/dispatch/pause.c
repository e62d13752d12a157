/* Being unmanned is what a pool tells of itself, and overrules all else. Jobs that had been given before
 * the first could not begin end when they like: they say nothing that is not known. */
#include "dispatch/pause.h"

#include "base/moves.h"
#include "base/must.h"

#define FIRST_WAIT_NS UINT64_C(1000000000)

static const struct moves_row states[PAUSE_STATES] = {
    [PAUSE_SERVING] = {"serving",  MAY(PAUSE_WAITING) | MAY(PAUSE_UNMANNED)                      },
    [PAUSE_WAITING] = {"waiting",  MAY(PAUSE_ASKING) | MAY(PAUSE_UNMANNED)                       },
    [PAUSE_ASKING] = {"asking",   MAY(PAUSE_WAITING) | MAY(PAUSE_TRYING) | MAY(PAUSE_UNMANNED)  },
    [PAUSE_TRYING] = {"trying",   MAY(PAUSE_WAITING) | MAY(PAUSE_ON_TRIAL) | MAY(PAUSE_UNMANNED)},
    [PAUSE_ON_TRIAL] = {"on trial", MAY(PAUSE_SERVING) | MAY(PAUSE_WAITING) | MAY(PAUSE_TRYING) |
					MAY(PAUSE_UNMANNED)    },
    [PAUSE_UNMANNED] = {"unmanned", MAY(PAUSE_SERVING) | MAY(PAUSE_TRYING)                        },
};

const char *pause_state_name(enum pause_state state)
{
	return states[state].name;
}

/* The only place that assigns it. */
static bool move(struct pause *pause, enum pause_state next)
{
	must(moves_may(states, pause->state, next));
	pause->state = next;
	pause->next_ns = UINT64_MAX;
	if (next == PAUSE_SERVING)
		pause->failures = 0;
	return true;
}

static bool wait_more(struct pause *pause, uint64_t now_ns)
{
	uint64_t wait_ns = PAUSE_LONGEST_WAIT_NS;
	if (pause->failures < 5) /* 1, 2, 4, 8, 16 s */
		wait_ns = FIRST_WAIT_NS << pause->failures;
	pause->failures++;
	(void)move(pause, PAUSE_WAITING);
	pause->next_ns = now_ns + wait_ns;
	return true;
}

bool pause_could_not_begin(struct pause *pause, uint64_t now_ns)
{
	switch (pause->state) {
	case PAUSE_SERVING:
		pause->since_ns = now_ns;
		return wait_more(pause, now_ns);
	case PAUSE_TRYING:
	case PAUSE_ON_TRIAL:
		return wait_more(pause, now_ns);
	case PAUSE_WAITING:
	case PAUSE_ASKING:
	case PAUSE_UNMANNED:
	case PAUSE_STATES:
		break;
	}
	return false;
}

bool pause_ask(struct pause *pause, uint64_t now_ns)
{
	if (pause->state != PAUSE_WAITING || now_ns < pause->next_ns)
		return false;
	return move(pause, PAUSE_ASKING);
}

bool pause_answer(struct pause *pause, bool could, uint64_t now_ns)
{
	if (pause->state != PAUSE_ASKING)
		return false;
	return could ? move(pause, PAUSE_TRYING) : wait_more(pause, now_ns);
}

bool pause_give(struct pause *pause)
{
	must(!pause_is_idle(pause) && pause->state != PAUSE_ON_TRIAL);
	return pause->state == PAUSE_TRYING && move(pause, PAUSE_ON_TRIAL);
}

bool pause_began(struct pause *pause)
{
	return pause->state == PAUSE_ON_TRIAL && move(pause, PAUSE_SERVING);
}

bool pause_untried(struct pause *pause)
{
	return pause->state == PAUSE_ON_TRIAL && move(pause, PAUSE_TRYING);
}

bool pause_unmanned(struct pause *pause, uint64_t now_ns)
{
	if (pause->state == PAUSE_UNMANNED)
		return false;
	if (pause->state == PAUSE_SERVING)
		pause->since_ns = now_ns;
	return move(pause, PAUSE_UNMANNED);
}

bool pause_manned(struct pause *pause, bool given_back)
{
	if (pause->state != PAUSE_UNMANNED)
		return false;
	return move(pause, given_back ? PAUSE_TRYING : PAUSE_SERVING);
}

unsigned pause_width(const struct pause *pause, unsigned width, unsigned assigned)
{
	unsigned most = width;
	if (pause_is_idle(pause))
		most = 0;
	else if (pause->state == PAUSE_TRYING)
		most = assigned + 1; /* those that it had before run on */
	else if (pause->state == PAUSE_ON_TRIAL)
		most = assigned;
	return most < width ? most : width;
}
