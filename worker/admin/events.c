/* wslay does the frames; sockets, time and what is said are ours.
 *
 * A snapshot is written once for all who may do the same, and queued for those whose last one has
 * left. A second after, and only if somebody listens, there is the next: sent if it differs in what
 * lasts (see status_put), which while jobs run it always does. */
#include "admin/events.h"

#include "base/list.h"
#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

enum {
	TICK_MS = 1000,
	SLOW_TICKS = 30,         /* a client that has not read for so long is cut */
	HEARD_MOST_BYTES = 1024, /* clients have nothing to tell us */
	CLOSE_GOING_AWAY = 1001,
	CONTROLS = CONTROL_ALL + 1,
};

struct told { /* the last that was written for those with this control */
	struct text text;
	size_t lasts;
};

struct feed {
	struct loop *loop;
	feed_writer *write;
	void *arg;
	struct list listeners;
	size_t n_listeners;
	struct timer *tick;
	struct told told[CONTROLS];
	const char *reason; /* all has been said; NULL: not yet */
};

struct listener {
	struct list node;
	struct feed *feed;
	struct newcomer from;
	struct text early; /* the rest of from.early */
	wslay_event_context_ptr frames;
	struct watch *watch;
	unsigned slow_ticks;
	bool closing; /* our close is on its way */
};

/* --- one listener --- */

static ssize_t receive(wslay_event_context_ptr frames, uint8_t *buf, size_t len, int flags,
		       void *arg)
{
	struct listener *l = arg;
	(void)flags;
	if (l->early.len > 0) {
		size_t n = l->early.len < len ? l->early.len : len;
		memcpy(buf, l->early.bytes, n);
		text_drop(&l->early, n);
		return (ssize_t)n;
	}
	ssize_t n = recv(l->from.fd, buf, len, MSG_DONTWAIT);
	if (n > 0)
		return n;
	bool later = n < 0 && (errno == EAGAIN || errno == EINTR);
	wslay_event_set_error(frames, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static ssize_t transmit(wslay_event_context_ptr frames, const uint8_t *bytes, size_t len, int flags,
			void *arg)
{
	struct listener *l = arg;
	(void)flags;
	ssize_t n = send(l->from.fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n >= 0)
		return n;
	bool later = errno == EAGAIN || errno == EINTR;
	wslay_event_set_error(frames, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static void leave(struct listener *l)
{
	struct feed *feed = l->feed;
	void (*left)(void *arg) = l->from.left;
	void *arg = l->from.arg;
	list_remove(&l->node);
	must(feed->n_listeners > 0);
	feed->n_listeners--;
	if (feed->n_listeners == 0)
		timer_stop(feed->tick);
	watch_destroy(l->watch);
	wslay_event_context_free(l->frames);
	text_fini(&l->early);
	memory_free(l);
	left(arg);
}

static bool is_behind(const struct listener *l)
{
	return wslay_event_get_queued_msg_count(l->frames) > 0;
}

/* A close overtakes what is queued, so it is queued when nothing is. */
static void close_when_all_is_said(struct listener *l)
{
	const char *reason = l->feed->reason;
	if (reason == NULL || l->closing || is_behind(l))
		return;
	l->closing = true;
	(void)wslay_event_queue_close(l->frames, CLOSE_GOING_AWAY, (const uint8_t *)reason,
				      strlen(reason)); /* fails where the client closed first */
}

static bool write_all(struct listener *l)
{
	if (wslay_event_send(l->frames) != 0)
		return false;
	close_when_all_is_said(l);
	return wslay_event_send(l->frames) == 0;
}

/* Reads and writes what can be, and sees whether that was all. May free it. */
static void serve(struct listener *l)
{
	bool broken = wslay_event_recv(l->frames) != 0 || !write_all(l);
	bool reads = wslay_event_want_read(l->frames), writes = wslay_event_want_write(l->frames);
	if (broken || (!reads && !writes)) {
		leave(l);
		return;
	}
	watch_set(l->watch, WATCH_READ | (writes ? WATCH_WRITE : 0u));
}

static void ready(void *arg, unsigned events)
{
	(void)events;
	serve(arg);
}

/* It goes out with the loop's next turn: who queues may be walking the list. */
static void queue(struct listener *l, struct span text)
{
	struct wslay_event_msg message = {
	    .opcode = WSLAY_TEXT_FRAME, .msg = (const uint8_t *)text.ptr, .msg_length = text.len};
	if (wslay_event_queue_msg(l->frames, &message) == 0)
		watch_set(l->watch, WATCH_READ | WATCH_WRITE);
}

/* --- news --- */

/* Writes what there is for those with this control. False: it is what they know already. */
static bool write_news(struct feed *feed, enum status_control control)
{
	struct told *told = &feed->told[control];
	struct text text = {0};
	size_t lasts = feed->write(feed->arg, control, false, &text);
	bool news = !text.failed &&
		    !span_equal(span_of(text.bytes, lasts), span_of(told->text.bytes, told->lasts));
	if (!news) {
		text_fini(&text);
		return false;
	}
	text_fini(&told->text);
	*told = (struct told){text, lasts};
	return true;
}

void feed_news(struct feed *feed)
{
	bool written[CONTROLS] = {false}, news[CONTROLS] = {false};
	list_each (it, &feed->listeners) {
		struct listener *l = list_entry(it, struct listener, node);
		enum status_control control = l->from.control;
		if (!written[control])
			news[control] = write_news(feed, control);
		written[control] = true;
		if (news[control] && !is_behind(l))
			queue(l, text_span(&feed->told[control].text));
	}
}

static void cut_slow(struct feed *feed)
{
	list_each_safe (it, &feed->listeners) {
		struct listener *l = list_entry(it, struct listener, node);
		l->slow_ticks = is_behind(l) ? l->slow_ticks + 1 : 0;
		if (l->slow_ticks > SLOW_TICKS)
			leave(l);
	}
}

static void ticked(void *arg)
{
	struct feed *feed = arg;
	cut_slow(feed);
	feed_news(feed);
	if (feed->n_listeners > 0)
		timer_start(feed->tick, TICK_MS);
}

/* --- coming and going --- */

static bool open_listener(struct listener *l, const struct newcomer *newcomer)
{
	static const struct wslay_event_callbacks callbacks = {.recv_callback = receive,
							       .send_callback = transmit};
	l->from = *newcomer;
	text_put(&l->early, newcomer->early);
	if (l->early.failed || wslay_event_context_server_init(&l->frames, &callbacks, l) != 0)
		return false;
	wslay_event_config_set_max_recv_msg_length(l->frames, HEARD_MOST_BYTES);
	l->watch = watch_create(l->feed->loop, newcomer->fd, ready, l);
	return l->watch != NULL;
}

bool feed_join(struct feed *feed, const struct newcomer *newcomer)
{
	struct listener *l = memory_clear(1, sizeof *l);
	if (l == NULL)
		return false;
	l->feed = feed;
	if (!open_listener(l, newcomer)) {
		if (l->frames != NULL)
			wslay_event_context_free(l->frames);
		text_fini(&l->early);
		memory_free(l);
		return false;
	}
	list_append(&feed->listeners, &l->node);
	if (feed->n_listeners++ == 0)
		timer_start(feed->tick, TICK_MS);
	(void)write_news(feed, newcomer->control); /* if it is none, what was told is still right */
	queue(l, text_span(&feed->told[newcomer->control].text));
	return true;
}

void feed_goodbye(struct feed *feed, const char *reason)
{
	timer_stop(feed->tick);
	feed->reason = reason;
	list_each (it, &feed->listeners) {
		struct listener *l = list_entry(it, struct listener, node);
		struct text text = {0};
		(void)feed->write(feed->arg, l->from.control, true, &text);
		if (!text.failed)
			queue(l, text_span(&text));
		text_fini(&text);
	}
}

size_t feed_count(const struct feed *feed)
{
	return feed->n_listeners;
}

size_t feed_poll(const struct feed *feed, struct pollfd *fds, size_t most)
{
	size_t n = 0;
	list_each (it, &feed->listeners) {
		const struct listener *l = list_entry(it, struct listener, node);
		if (n == most)
			break;
		bool writes = wslay_event_want_write(l->frames);
		fds[n++] = (struct pollfd){.fd = l->from.fd,
					   .events = (short)(POLLIN | (writes ? POLLOUT : 0))};
	}
	return n;
}

void feed_serve(struct feed *feed)
{
	list_each_safe (it, &feed->listeners) {
		serve(list_entry(it, struct listener, node));
	}
}

struct feed *feed_create(struct loop *loop, feed_writer *write, void *arg)
{
	struct feed *feed = memory_clear(1, sizeof *feed);
	if (feed == NULL)
		return NULL;
	feed->loop = loop;
	feed->write = write;
	feed->arg = arg;
	list_init(&feed->listeners);
	feed->tick = timer_create_on(loop, ticked, feed);
	if (feed->tick == NULL) {
		memory_free(feed);
		return NULL;
	}
	return feed;
}

void feed_cut(struct feed *feed)
{
	if (feed == NULL)
		return;
	list_each_safe (it, &feed->listeners) {
		leave(list_entry(it, struct listener, node));
	}
}

void feed_destroy(struct feed *feed)
{
	if (feed == NULL)
		return;
	feed_cut(feed);
	timer_destroy(feed->tick);
	for (int i = 0; i < CONTROLS; i++)
		text_fini(&feed->told[i].text);
	memory_free(feed);
}
