/* The window has two sides. A thousand messages keep the link busy on any network that confirms
 * within a tenth of a second; eight megabytes keep large bodies from filling this process, because
 * what a producer has sent it may still hold.
 *
 * Everything is sent from a hook at the end of a turn, never from within the producer's callbacks:
 * a producer is thus never entered while it is in the middle of something. */
#include "sources/sender.h"

#include "base/memory.h"
#include "base/moves.h"
#include "base/must.h"
#include "loop/loop.h"

enum { WINDOW_MESSAGES = 1000, WINDOW_BYTES = 8 << 20 };

/*  connecting --ready--> sending --all confirmed--> closing --> ended
 *       \------------------- failed, or stopped ---------------^  */
enum sender_state { SENDER_CONNECTING, SENDER_SENDING, SENDER_CLOSING, SENDER_ENDED };

static const struct moves_row states[] = {
    [SENDER_CONNECTING] = {"connecting", MAY(SENDER_SENDING) | MAY(SENDER_ENDED)},
    [SENDER_SENDING] = {"sending",    MAY(SENDER_CLOSING) | MAY(SENDER_ENDED)},
    [SENDER_CLOSING] = {"closing",    MAY(SENDER_ENDED)                      },
    [SENDER_ENDED] = {"ended",      0				      },
};

struct sender {
	struct loop *loop;
	struct sender_plan plan;
	struct producer *producer;
	struct turn_hook fill;
	struct timer *patience;
	enum sender_state state;
	uint64_t goal;       /* plan.count, or what had been sent when it was stopped */
	size_t largest_body; /* of those sent: the way to bound bytes without remembering each */
	bool stopped;
	struct sender_result result;
};

static uint64_t on_the_way(const struct sender *s)
{
	return s->result.sent - s->result.confirmed;
}

/* The only place that assigns the state. */
static void sender_move(struct sender *s, enum sender_state next)
{
	must(moves_may(states, s->state, next));
	s->state = next;
}

static void end(struct sender *s)
{
	if (s->state == SENDER_ENDED)
		return;
	sender_move(s, SENDER_ENDED);
	timer_stop(s->patience);
	loop_remove_hook(&s->fill);
	s->plan.ended(s->plan.arg);
}

static void fail(struct sender *s, enum status st)
{
	if (s->state == SENDER_ENDED)
		return;
	s->result.status = st;
	end(s);
}

static void begin_close(struct sender *s)
{
	sender_move(s, SENDER_CLOSING);
	timer_start(s->patience, s->plan.quiet_ms);
	s->producer->ops->close(s->producer);
}

/* --- sending --- */

static bool has_room(const struct sender *s, size_t body_bytes)
{
	uint64_t n = on_the_way(s) + 1;
	size_t largest = body_bytes > s->largest_body ? body_bytes : s->largest_body;
	return n == 1 || (n <= WINDOW_MESSAGES && n * largest <= WINDOW_BYTES);
}

/* False: the window is full, or it is over. */
static bool send_one(struct sender *s)
{
	struct producer_message message = s->plan.message;
	if (s->plan.compose != NULL)
		message.body = s->plan.compose(s->plan.arg, s->result.sent + 1);
	if (!has_room(s, message.body.len))
		return false;
	enum status st = s->producer->ops->send(s->producer, &message, &s->result.why);
	if (st != ST_OK) {
		fail(s, st);
		return false;
	}
	if (message.body.len > s->largest_body)
		s->largest_body = message.body.len;
	if (on_the_way(s) == 0)
		timer_start(s->patience, s->plan.quiet_ms);
	s->result.sent++;
	return true;
}

static void fill(void *arg)
{
	struct sender *s = arg;
	if (s->state != SENDER_SENDING)
		return;
	while (s->result.sent < s->goal && send_one(s))
		;
	if (s->state == SENDER_SENDING && s->result.confirmed == s->goal)
		begin_close(s);
}

/* --- what the producer tells --- */

static void on_ready(void *arg)
{
	struct sender *s = arg;
	if (s->state != SENDER_CONNECTING)
		return;
	sender_move(s, SENDER_SENDING);
	timer_stop(s->patience);
	loop_turn_again(s->loop);
}

static void on_confirmed(void *arg, size_t messages)
{
	struct sender *s = arg;
	must(messages <= on_the_way(s));
	s->result.confirmed += messages;
	if (s->state != SENDER_SENDING)
		return;
	timer_start(s->patience, s->plan.quiet_ms);
	loop_turn_again(s->loop);
}

static void on_failed(void *arg, const struct error *why)
{
	struct sender *s = arg;
	if (s->state == SENDER_CLOSING) { /* everything was safe before it went */
		end(s);
		return;
	}
	s->result.why = *why;
	fail(s, why->status);
}

static void on_closed(void *arg)
{
	end(arg);
}

const struct producer_events sender_events = {
    .ready = on_ready, .confirmed = on_confirmed, .failed = on_failed, .closed = on_closed};

/* --- patience --- */

static void on_out_of_patience(void *arg)
{
	struct sender *s = arg;
	if (s->state == SENDER_CLOSING) {
		end(s); /* everything is safe, it was only a farewell */
	} else if (s->state == SENDER_CONNECTING) {
		fail(s, error_set(&s->result.why, ST_TIMEOUT, "not connected within %llu s",
				  (unsigned long long)(s->plan.connect_ms + 999) / 1000));
	} else if (on_the_way(s) > 0) {
		fail(s, error_set(&s->result.why, ST_TIMEOUT,
				  "the broker has confirmed nothing for %llu s",
				  (unsigned long long)(s->plan.quiet_ms + 999) / 1000));
	}
}

void sender_stop(struct sender *s)
{
	bool again = s->stopped;
	s->stopped = true;
	s->goal = s->result.sent;
	if (again || s->state == SENDER_CONNECTING) {
		end(s);
	} else if (s->state == SENDER_SENDING) {
		timer_start(s->patience, s->plan.quiet_ms);
		loop_turn_again(s->loop);
	}
}

/* --- coming and going --- */

struct sender *sender_create(struct loop *loop, const struct sender_plan *plan)
{
	struct sender *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->plan = *plan;
	s->goal = plan->count;
	s->fill = (struct turn_hook){.run = fill, .arg = s};
	list_init(&s->fill.node);
	s->patience = timer_create_on(loop, on_out_of_patience, s);
	if (s->patience == NULL) {
		memory_free(s);
		return NULL;
	}
	return s;
}

void sender_start(struct sender *s, struct producer *producer)
{
	must(s->producer == NULL);
	s->producer = producer;
	loop_add_hook(s->loop, TURN_DISPATCH, &s->fill);
	if (s->state == SENDER_CONNECTING)
		timer_start(s->patience, s->plan.connect_ms);
}

const struct sender_result *sender_result(const struct sender *s)
{
	return &s->result;
}

void sender_destroy(struct sender *s)
{
	if (s == NULL)
		return;
	loop_remove_hook(&s->fill);
	timer_destroy(s->patience);
	if (s->producer != NULL)
		s->producer->ops->destroy(s->producer);
	memory_free(s);
}
