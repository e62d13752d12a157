/*  off --begin--> connecting --login--> ready --BLMOVE--> blocked --reply--> ready
 *   ^                 |                   |                 |
 *   +---- backoff <---+-------------------+-----------------+  connection lost
 *
 * The awkward part is the end. CLIENT UNBLOCK travels on another connection, so it may arrive before
 * the BLMOVE it is meant for, or after that has already moved a job; its answer says which, but only
 * of that moment. So the answer is ignored and the request repeated until the BLMOVE's own reply is
 * in. Closing the connection instead would leave the server free to move a job for nobody.
 *
 * A reply of either kind, job or none, means the same to the list: look. So it is not read.
 *
 * A BLMOVE may go on without us: its connection half dead, the server has yet to notice. If it moved
 * a job into the wake list of a worker that has already been brought back, nobody would ever look
 * there. So no BLMOVE may outlive the lease under which it was issued. A silent link is found at the
 * second tick at the latest, two thirds of the lease after the last renewal: what is left is a third,
 * and that is the longest a BLMOVE may take. */
#include "sources/redis/redis_list_wait.h"

#include "base/backoff.h"
#include "base/memory.h"
#include "base/moves.h"
#include "base/must.h"
#include "loop/loop.h"
#include "sources/redis/redis_list_keys.h"
#include "wire/resp.h"

#include <stdio.h>
#include <string.h>

enum {
	UNBLOCK_FIRST_MS =
	    5, /* then twice as long each time: the first was most likely too early */
	UNBLOCK_MOST_MS = 40,
	OVERDUE_MS = 5000, /* a reply that much later than BLMOVE's own timeout will not come */
	LOOK_MS = 1000,
	OVERDUE_AT_END_MS = 1000, /* and nobody waits for it that long when he wants to go */
};

/*  off --dial--> connecting --> ready --BLMOVE--> blocked --its reply--> ready
 *   ^-- lost, dropped, or the list lives elsewhere ----------------------/  */
enum wait_state { WAIT_OFF, WAIT_CONNECTING, WAIT_READY, WAIT_BLOCKED };

static const struct moves_row states[] = {
    [WAIT_OFF] = {"off",        MAY(WAIT_CONNECTING) | MAY(WAIT_OFF)},
    [WAIT_CONNECTING] = {"connecting", MAY(WAIT_READY) | MAY(WAIT_OFF)     },
    [WAIT_READY] = {"ready",      MAY(WAIT_BLOCKED) | MAY(WAIT_OFF)   },
    [WAIT_BLOCKED] = {"blocked",    MAY(WAIT_READY) | MAY(WAIT_OFF)     },
};

struct redis_wait {
	struct loop *loop;
	const struct resp_login *login;
	const struct redis_keys *keys;
	uint64_t longest_ms;
	const struct redis_wait_events *events;
	void *arg;

	enum wait_state state;
	bool wanted;
	unsigned place; /* login->place of the connection */
	struct resp *redis;
	struct reconnect reconnect;
	uint64_t unblock_again_ms;
	uint64_t blocked_ns; /* when the last BLMOVE was sent */
	char said[128];      /* what was said of the trouble it has; empty: none, or not yet */
	struct timer
	    *timer; /* off: connect again; blocked: it is overdue, or to be unblocked again */
};

static void connection_ready(void *arg);
static void connection_closed(void *arg, const struct error *why);

static const struct resp_events connection_events = {connection_ready, connection_closed};

/* The only place that assigns the state. */
static void wait_move(struct redis_wait *wait, enum wait_state next)
{
	must(moves_may(states, wait->state, next));
	wait->state = next;
}

static void back_off(struct redis_wait *wait)
{
	uint64_t random = loop_now_ns(wait->loop) * UINT64_C(0x9E3779B97F4A7C15) >> 32;
	uint64_t wait_ms = reconnect_failed(&wait->reconnect, (uint32_t)random);
	if (wait_ms > LOOK_MS) /* each time the list is looked at, and that is to be soon */
		wait_ms = LOOK_MS / 2 + random % (LOOK_MS / 2);
	timer_start(wait->timer, wait_ms);
}

static void connect_now(struct redis_wait *wait)
{
	wait->place = wait->login->place;
	wait->redis = resp_open(wait->loop, wait->login, &connection_events, wait);
	if (wait->redis == NULL) {
		back_off(wait);
		return;
	}
	wait_move(wait, WAIT_CONNECTING);
}

static void close_connection(struct redis_wait *wait)
{
	resp_close(wait->redis);
	wait->redis = NULL;
	wait_move(wait, WAIT_OFF);
	timer_stop(wait->timer);
}

/* Once for each kind of trouble. Without this connection jobs are looked for only now and then. */
static void note_trouble(struct redis_wait *wait, const char *why)
{
	if (strncmp(wait->said, why, sizeof wait->said - 1) == 0)
		return;
	(void)snprintf(wait->said, sizeof wait->said, "%s", why);
	wait->events->troubled(wait->arg, why);
}

static void connection_lost(struct redis_wait *wait)
{
	close_connection(wait);
	back_off(wait);
	wait->wanted = false;
	wait->events->ended(wait->arg);
}

static void blmove_answered(void *arg, const struct reply *reply)
{
	struct redis_wait *wait = arg;
	if (reply->kind == REPLY_ERROR) {
		struct error why;
		(void)error_set(&why, ST_REFUSED, "%.*s", (int)reply->text.len, reply->text.ptr);
		note_trouble(wait, why.text);
		connection_lost(wait); /* not the master any more, or no list at all: not so fast */
		return;
	}
	reconnect_worked(&wait->reconnect);
	wait->said[0] = '\0';
	wait_move(wait, WAIT_READY);
	wait->wanted = false;
	timer_stop(wait->timer);
	wait->events->ended(wait->arg);
}

static void block(struct redis_wait *wait)
{
	char seconds[32];
	(void)snprintf(seconds, sizeof seconds, "%.3f", (double)wait->longest_ms / 1000);
	resp_begin(wait->redis, 6, blmove_answered, wait);
	resp_arg_text(wait->redis, "BLMOVE");
	resp_arg_text(wait->redis, wait->keys->list);
	resp_arg_text(wait->redis, wait->keys->wake);
	resp_arg_text(wait->redis, "RIGHT");
	resp_arg_text(wait->redis, "LEFT");
	resp_arg_text(wait->redis, seconds);
	wait_move(wait, WAIT_BLOCKED);
	wait->blocked_ns = loop_now_ns(wait->loop);
	timer_start(wait->timer, wait->longest_ms + OVERDUE_MS);
}

static void connection_ready(void *arg)
{
	struct redis_wait *wait = arg;
	wait_move(wait, WAIT_READY);
	wait->events->connected(wait->arg);
	if (wait->wanted && wait->state == WAIT_READY)
		block(wait);
}

static void connection_closed(void *arg, const struct error *why)
{
	struct redis_wait *wait = arg;
	if (wait->state ==
	    WAIT_CONNECTING) /* else the list's own connection has the same trouble */
		note_trouble(wait, why->text);
	connection_lost(wait);
}

static void ask_to_unblock(struct redis_wait *wait)
{
	timer_start(wait->timer, wait->unblock_again_ms);
	wait->unblock_again_ms *= 2;
	if (wait->unblock_again_ms > UNBLOCK_MOST_MS)
		wait->unblock_again_ms = UNBLOCK_MOST_MS;
	wait->events->unblock(wait->arg, resp_client_id(wait->redis));
}

/* The server has ended it by itself, and we did not hear. */
static bool is_over(const struct redis_wait *wait)
{
	uint64_t longest_ms = wait->longest_ms + OVERDUE_AT_END_MS;
	return loop_now_ns(wait->loop) - wait->blocked_ns > longest_ms * 1000000;
}

static void timer_fired(void *arg)
{
	struct redis_wait *wait = arg;
	if (wait->state == WAIT_BLOCKED && (wait->wanted || is_over(wait)))
		connection_lost(wait);
	else if (wait->state == WAIT_BLOCKED)
		ask_to_unblock(wait);
	else if (wait->state == WAIT_OFF && wait->wanted)
		connect_now(wait);
}

struct redis_wait *redis_wait_create(struct loop *loop, const struct resp_login *login,
				     const struct redis_keys *keys, uint64_t longest_ms,
				     const struct redis_wait_events *events, void *arg)
{
	struct redis_wait *wait = memory_clear(1, sizeof *wait);
	if (wait == NULL)
		return NULL;
	*wait = (struct redis_wait){.loop = loop,
				    .login = login,
				    .keys = keys,
				    .longest_ms = longest_ms,
				    .events = events,
				    .arg = arg};
	wait->timer = timer_create_on(loop, timer_fired, wait);
	if (wait->timer == NULL) {
		memory_free(wait);
		return NULL;
	}
	return wait;
}

void redis_wait_destroy(struct redis_wait *wait)
{
	if (wait == NULL)
		return;
	close_connection(wait);
	timer_destroy(wait->timer);
	memory_free(wait);
}

void redis_wait_begin(struct redis_wait *wait)
{
	if (wait->wanted)
		return;
	wait->wanted = true;
	switch (wait->state) {
	case WAIT_OFF:
		if (!timer_armed(wait->timer))
			connect_now(wait);
		return;
	case WAIT_READY:
		if (!redis_wait_is_elsewhere(wait)) {
			block(wait);
			return;
		}
		close_connection(wait); /* the list lives somewhere else by now */
		connect_now(wait);
		return;
	case WAIT_BLOCKED:
		/* Its end was asked for, and may come all the same. */
		timer_start(wait->timer, wait->longest_ms + OVERDUE_MS);
		return;
	case WAIT_CONNECTING:
		return;
	}
}

void redis_wait_end(struct redis_wait *wait)
{
	bool was_wanted = wait->wanted;
	wait->wanted = false;
	if (!was_wanted)
		return;
	wait->unblock_again_ms = UNBLOCK_FIRST_MS;
	if (wait->state == WAIT_BLOCKED)
		ask_to_unblock(wait);
	else
		wait->events->ended(wait->arg);
}

void redis_wait_drop(struct redis_wait *wait)
{
	close_connection(wait);
	wait->wanted = false;
}

bool redis_wait_is_elsewhere(const struct redis_wait *wait)
{
	return wait->redis != NULL && wait->place != wait->login->place;
}

bool redis_wait_blocks(const struct redis_wait *wait)
{
	return wait->state == WAIT_BLOCKED;
}

int64_t redis_wait_client_id(const struct redis_wait *wait)
{
	return wait->redis != NULL ? resp_client_id(wait->redis) : 0;
}
