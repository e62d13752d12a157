/* loop - the one thread that owns every connection, every job and the drain.
 *
 * A thin layer on libuv with three things it lacks: work to do once at the end of each turn
 * (so that acknowledgements, writes and hand-overs are collected and done once), objects that may
 * be dropped inside their own callback, and a check of who is calling.
 *
 * Thread: the one that called loop_create(); every call but loop_create() asserts it.
 * Owns:   the uv_loop_t, timers and watches made from it until their destroy().
 * Units:  monotonic nanoseconds for the time of day inside, milliseconds for timers.
 * Fails:  creation with ST_SYSTEM; the rest cannot. */
#ifndef OUTFALL_LOOP_LOOP_H
#define OUTFALL_LOOP_LOOP_H

#include "base/error.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct uv_loop_s;
struct loop;

enum status loop_create(struct loop **ret_loop, struct error *why);
void loop_destroy(struct loop *loop);

/* Turns until loop_stop(), whose turn it still ends, with all its hooks. May be called again after it
 * returned. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

uint64_t loop_now_ns(const struct loop *loop); /* read afresh, not the turn's cached time */

/* How long the longest turn of the last half to whole minute kept the loop from listening. */
uint64_t loop_lag_ns(struct loop *loop);
void loop_assert_mine(const struct loop *loop);
struct uv_loop_s *loop_uv(struct loop *loop);

/* The end of a turn, after every timer and descriptor has been served and before the loop sleeps.
 * Phases run in this order, each hook once a turn. */
enum turn_phase {
	TURN_LET_GO,    /* what time has taken away (a lease) before anything is made of it */
	TURN_DISPATCH,  /* give held jobs to executors */
	TURN_HAND_OVER, /* pass collected jobs to threads and children */
	TURN_SETTLE,    /* collect acknowledgements into as few commands as possible */
	TURN_DRAIN,     /* ask whether the drain can move on */
	TURN_WRITE,     /* one write per connection */
	TURN_PHASES,
};

struct turn_hook {
	struct list node;
	void (*run)(void *arg);
	void *arg;
};

/* The hook is embedded in its owner, who removes it before going away. A hook may remove itself and
 * others, and add some: their first turn is the next. */
void loop_add_hook(struct loop *loop, enum turn_phase phase, struct turn_hook *hook);
void loop_remove_hook(struct turn_hook *hook);

/* Makes sure that the loop does not sleep before it has run the hooks once more. */
void loop_turn_again(struct loop *loop);

/* One-shot timers. The callback may destroy its own timer. */
struct timer;
struct timer *timer_create_on(struct loop *loop, void (*fire)(void *arg),
			      void *arg);                 /* NULL: no memory */
void timer_start(struct timer *timer, uint64_t after_ms); /* replaces an earlier start */
void timer_stop(struct timer *timer);
bool timer_armed(const struct timer *timer);
void timer_destroy(struct timer *timer); /* NULL is fine */

/* Watches on descriptors, which stay the caller's. Destroy the watch before closing the descriptor.
 * `ready` gets WATCH_* bits; an error or hang-up shows as WATCH_READ, so that the read finds it. */
enum {
	WATCH_READ = 1,
	WATCH_WRITE = 2,
	WATCH_HANG_UP =
	    4, /* wanted without WATCH_READ: the peer has closed, whatever is left to be read */
};
struct watch;
struct watch *watch_create(struct loop *loop, int fd, void (*ready)(void *arg, unsigned events),
			   void *arg); /* NULL: no memory, or not a descriptor that can be polled */
void watch_set(struct watch *watch, unsigned events); /* cheap when nothing changes; 0 = deaf */
void watch_destroy(struct watch *watch);              /* NULL is fine; safe in its own callback */

/* A doorbell that any thread may ring: `answer` runs on the loop, once for any number of rings. */
struct doorbell;
struct doorbell *doorbell_create(struct loop *loop, void (*answer)(void *arg), void *arg);
void doorbell_ring(struct doorbell *bell);    /* any thread; async-signal-safe */
void doorbell_destroy(struct doorbell *bell); /* nobody may ring it any more */

/* Signals as events. The callback runs on the loop. */
struct signal_watch;
struct signal_watch *signal_watch_create(struct loop *loop, int signum,
					 void (*caught)(void *arg, int signum), void *arg);
void signal_watch_destroy(struct signal_watch *watch);

#endif
