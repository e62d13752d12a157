/* The loop's idea is the turn. libuv serves timers and descriptors; each callback only notes what
 * happened. Then, once, in uv_prepare (right before the poll), the hooks do the work that was
 * noted: so a thousand deliveries in one read become one hand-over to the threads, and a thousand
 * results become one multiple ack and one write.
 *
 * Stopping waits for that moment too. uv_stop() at once would end the run before the hooks: since libuv 1.45
 * timers are served after the poll, and those that are due at the start before the first turn.
 *
 * libuv closes handles asynchronously: its memory may be released only in the close callback. The
 * small objects here own their handle and free themselves there, so that a caller can destroy a
 * timer or a watch at any moment, also from within its own callback. */
#include "loop/loop.h"

#include "base/memory.h"
#include "base/must.h"

#include <pthread.h>
#include <uv.h>

/* The longest turn, forgotten after a while so that one slow start does not stand for ever: of the
 * window that runs, and of the one before. */
struct lag {
	uint64_t turn_ended_ns,
	    idle_ns; /* at the end of the last turn; idle: asleep since the start */
	uint64_t window_began_ns, longest_ns, longest_before_ns;
};

enum { LAG_WINDOW_S = 30 };

struct loop {
	uv_loop_t uv;
	uv_prepare_t turn_end;
	uv_idle_t again; /* active while the next poll must not sleep */
	bool stopping;   /* the turn's end is the last */
	struct list hooks[TURN_PHASES];
	struct lag lag;
	pthread_t mine;
};

struct timer {
	uv_timer_t uv;
	void (*fire)(void *arg);
	void *arg;
};

struct watch {
	uv_poll_t uv;
	void (*ready)(void *arg, unsigned events);
	void *arg;
	unsigned events;
};

struct doorbell {
	uv_async_t uv;
	void (*answer)(void *arg);
	void *arg;
};

struct signal_watch {
	uv_signal_t uv;
	void (*caught)(void *arg, int signum);
	void *arg;
};

void loop_assert_mine(const struct loop *loop)
{
	must(pthread_equal(pthread_self(), loop->mine));
}

static void open_lag_window(struct lag *lag, uint64_t now_ns)
{
	const uint64_t window_ns = LAG_WINDOW_S * UINT64_C(1000000000);
	if (now_ns - lag->window_began_ns < window_ns)
		return;
	bool one_passed = now_ns - lag->window_began_ns < 2 * window_ns;
	lag->longest_before_ns = one_passed ? lag->longest_ns : 0;
	lag->longest_ns = 0;
	lag->window_began_ns = now_ns;
}

/* What of the time since the last turn was not spent asleep. */
static void measure_turn(struct loop *loop)
{
	struct lag *lag = &loop->lag;
	uint64_t now_ns = uv_hrtime(), idle_ns = uv_metrics_idle_time(&loop->uv);
	uint64_t passed_ns = now_ns - lag->turn_ended_ns, slept_ns = idle_ns - lag->idle_ns;
	uint64_t turn_ns = passed_ns > slept_ns ? passed_ns - slept_ns : 0;
	lag->turn_ended_ns = now_ns;
	lag->idle_ns = idle_ns;
	open_lag_window(lag, now_ns);
	if (turn_ns > lag->longest_ns)
		lag->longest_ns = turn_ns;
}

uint64_t loop_lag_ns(struct loop *loop)
{
	struct lag *lag = &loop->lag;
	open_lag_window(lag, uv_hrtime());
	return lag->longest_ns > lag->longest_before_ns ? lag->longest_ns : lag->longest_before_ns;
}

/* Any hook may be removed by any other, and one that is added has its first turn next time. */
static void run_phase(struct list *hooks)
{
	struct list due, *it;
	list_init(&due);
	list_splice(&due, hooks);
	while ((it = list_take_first(&due)) != NULL) {
		struct turn_hook *hook = list_entry(it, struct turn_hook, node);
		list_append(hooks, it);
		hook->run(hook->arg);
	}
}

static void run_hooks(uv_prepare_t *prepare)
{
	struct loop *loop = prepare->data;
	(void)uv_idle_stop(&loop->again);
	for (int phase = 0; phase < TURN_PHASES; phase++)
		run_phase(&loop->hooks[phase]);
	measure_turn(loop);
	if (loop->stopping)
		uv_stop(&loop->uv);
}

static void wake_only(uv_idle_t *idle)
{
	(void)idle; /* an active idle handle makes the poll return at once; that is all */
}

enum status loop_create(struct loop **ret_loop, struct error *why)
{
	struct loop *loop = memory_clear(1, sizeof *loop);
	if (loop == NULL)
		return error_set(why, ST_NOMEM, "event loop: out of memory");
	int err = uv_loop_init(&loop->uv);
	if (err != 0) {
		memory_free(loop);
		return error_set(why, ST_SYSTEM, "event loop: %s", uv_strerror(err));
	}
	(void)uv_loop_configure(&loop->uv, UV_METRICS_IDLE_TIME); /* cannot fail */
	loop->lag.turn_ended_ns = loop->lag.window_began_ns = uv_hrtime();
	loop->mine = pthread_self();
	for (int phase = 0; phase < TURN_PHASES; phase++)
		list_init(&loop->hooks[phase]);
	(void)uv_prepare_init(&loop->uv, &loop->turn_end); /* these two cannot fail */
	(void)uv_idle_init(&loop->uv, &loop->again);
	loop->turn_end.data = loop;
	(void)uv_prepare_start(&loop->turn_end, run_hooks);
	uv_unref((uv_handle_t *)&loop->turn_end);
	*ret_loop = loop;
	return ST_OK;
}

void loop_destroy(struct loop *loop)
{
	if (loop == NULL)
		return;
	loop_assert_mine(loop);
	uv_close((uv_handle_t *)&loop->turn_end, NULL);
	uv_close((uv_handle_t *)&loop->again, NULL);
	(void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* lets close callbacks free their objects */
	must(uv_loop_close(&loop->uv) == 0);     /* a handle still open is a leak of ours */
	memory_free(loop);
}

void loop_run(struct loop *loop)
{
	loop_assert_mine(loop);
	loop->lag.turn_ended_ns = uv_hrtime();  /* what was built before is no turn */
	uv_ref((uv_handle_t *)&loop->turn_end); /* stay even when nothing else is open */
	(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
	uv_unref((uv_handle_t *)&loop->turn_end);
	loop->stopping = false;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
	loop_turn_again(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
	(void)loop;
	return uv_hrtime();
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
	return &loop->uv;
}

void loop_add_hook(struct loop *loop, enum turn_phase phase, struct turn_hook *hook)
{
	loop_assert_mine(loop);
	list_init(&hook->node);
	list_append(&loop->hooks[phase], &hook->node);
}

void loop_remove_hook(struct turn_hook *hook)
{
	list_remove(&hook->node);
}

void loop_turn_again(struct loop *loop)
{
	loop_assert_mine(loop);
	(void)uv_idle_start(&loop->again, wake_only);
}

static void free_handle(uv_handle_t *handle)
{
	memory_free(handle->data);
}

static void timer_fired(uv_timer_t *uv)
{
	struct timer *timer = uv->data;
	timer->fire(timer->arg);
}

struct timer *timer_create_on(struct loop *loop, void (*fire)(void *arg), void *arg)
{
	loop_assert_mine(loop);
	struct timer *timer = memory_clear(1, sizeof *timer);
	if (timer == NULL)
		return NULL;
	timer->fire = fire;
	timer->arg = arg;
	(void)uv_timer_init(&loop->uv, &timer->uv);
	timer->uv.data = timer;
	return timer;
}

void timer_start(struct timer *timer, uint64_t after_ms)
{
	uv_update_time(timer->uv.loop); /* a long turn must not shorten the wait */
	(void)uv_timer_start(&timer->uv, timer_fired, after_ms, 0);
}

void timer_stop(struct timer *timer)
{
	(void)uv_timer_stop(&timer->uv);
}

bool timer_armed(const struct timer *timer)
{
	return uv_is_active((const uv_handle_t *)&timer->uv) != 0;
}

void timer_destroy(struct timer *timer)
{
	if (timer != NULL)
		uv_close((uv_handle_t *)&timer->uv, free_handle);
}

static void watch_fired(uv_poll_t *uv, int status, int events);

static void start_watching(struct watch *watch)
{
	int wanted = 0;
	if (watch->events & WATCH_READ)
		wanted |= UV_READABLE;
	if (watch->events & WATCH_WRITE)
		wanted |= UV_WRITABLE;
	if (watch->events & WATCH_HANG_UP)
		wanted |= UV_DISCONNECT;
	must(uv_poll_start(&watch->uv, wanted, watch_fired) == 0);
}

static void watch_fired(uv_poll_t *uv, int status, int events)
{
	struct watch *watch = uv->data;
	unsigned seen = 0;
	/* libuv stops watching a descriptor that shows an error. There may still be input in front
	 * of the error, so go on until a read has found it. */
	if (status < 0)
		start_watching(watch);
	if (status < 0 || (events & (UV_READABLE | UV_DISCONNECT)) != 0)
		seen |= WATCH_READ;
	if (status >= 0 && (events & UV_WRITABLE) != 0)
		seen |= WATCH_WRITE;
	watch->ready(watch->arg, seen);
}

struct watch *watch_create(struct loop *loop, int fd, void (*ready)(void *arg, unsigned events),
			   void *arg)
{
	loop_assert_mine(loop);
	struct watch *watch = memory_clear(1, sizeof *watch);
	if (watch == NULL)
		return NULL;
	watch->ready = ready;
	watch->arg = arg;
	if (uv_poll_init(&loop->uv, &watch->uv, fd) != 0) {
		memory_free(watch);
		return NULL;
	}
	watch->uv.data = watch;
	return watch;
}

void watch_set(struct watch *watch, unsigned events)
{
	if (events == watch->events)
		return;
	watch->events = events;
	if (events == 0)
		(void)uv_poll_stop(&watch->uv);
	else
		start_watching(watch);
}

void watch_destroy(struct watch *watch)
{
	if (watch == NULL)
		return;
	(void)uv_poll_stop(&watch->uv);
	uv_close((uv_handle_t *)&watch->uv, free_handle);
}

static void doorbell_rang(uv_async_t *uv)
{
	struct doorbell *bell = uv->data;
	bell->answer(bell->arg);
}

struct doorbell *doorbell_create(struct loop *loop, void (*answer)(void *arg), void *arg)
{
	loop_assert_mine(loop);
	struct doorbell *bell = memory_clear(1, sizeof *bell);
	if (bell == NULL)
		return NULL;
	bell->answer = answer;
	bell->arg = arg;
	if (uv_async_init(&loop->uv, &bell->uv, doorbell_rang) != 0) {
		memory_free(bell);
		return NULL;
	}
	bell->uv.data = bell;
	return bell;
}

void doorbell_ring(struct doorbell *bell)
{
	must(uv_async_send(&bell->uv) == 0);
}

void doorbell_destroy(struct doorbell *bell)
{
	if (bell != NULL)
		uv_close((uv_handle_t *)&bell->uv, free_handle);
}

static void signal_caught(uv_signal_t *uv, int signum)
{
	struct signal_watch *watch = uv->data;
	watch->caught(watch->arg, signum);
}

struct signal_watch *signal_watch_create(struct loop *loop, int signum,
					 void (*caught)(void *arg, int signum), void *arg)
{
	loop_assert_mine(loop);
	struct signal_watch *watch = memory_clear(1, sizeof *watch);
	if (watch == NULL)
		return NULL;
	watch->caught = caught;
	watch->arg = arg;
	(void)uv_signal_init(&loop->uv, &watch->uv);
	watch->uv.data = watch;
	if (uv_signal_start(&watch->uv, signal_caught, signum) != 0) {
		uv_close((uv_handle_t *)&watch->uv, free_handle);
		return NULL;
	}
	return watch;
}

void signal_watch_destroy(struct signal_watch *watch)
{
	if (watch != NULL)
		uv_close((uv_handle_t *)&watch->uv, free_handle);
}
