/* wslay does the frames; sockets, time and what is said are ours.
 *
 * A listener has nothing to tell us but pongs and its close. wslay reads for as long as there is
 * something, and queues a pong for each ping, so what it is given is bounded twice: some kB between two
 * ticks, whose end is the listener's end; and nothing at all while something queued for it has not
 * left, so that one who pings and never reads makes no more than a few pongs.
 *
 * A snapshot is written once for all who may do the same, and queued for those whose last one has
 * left. A second after, and only if somebody listens, there is the next: sent if it differs in what
 * lasts (see status_put), which while jobs run it always does. */
#include "admin/events.h"

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

enum {
	TICK_MS = 1000,
	SLOW_TICKS = 30,         /* a client that has not read for so long is cut */
	PING_TICKS = 30,         /* one that has said nothing for so long is asked */
	SILENT_TICKS = 60,       /* one that has not even answered that has gone */
	HEARD_MOST_BYTES = 1024, /* in one message */
	TICK_MOST_BYTES = 4096,  /* between two ticks */
	PIECE_MOST_BYTES = 512,  /* at once: 85 pings */
	CLOSE_GOING_AWAY = 1001,
	CLOSE_POLICY = 1008,
	CONTROLS = CONTROL_ALL + 1,
};

struct told { /* the last that was written for those with this control */
	struct text text;
	size_t lasts;
};

struct feed {
	struct loop *loop;
	struct log *log;
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
	unsigned slow_ticks, silent_ticks;
	size_t heard_bytes; /* since the last tick */
	bool closing;       /* our close is on its way */
};

/* --- one listener --- */

static bool is_behind(const struct listener *l)
{
	return wslay_event_get_queued_msg_count(l->frames) > 0;
}

static bool is_too_loud(const struct listener *l)
{
	return l->heard_bytes > TICK_MOST_BYTES;
}

static ssize_t read_piece(struct listener *l, uint8_t *buf, size_t len)
{
	if (l->early.len == 0)
		return recv(l->from.fd, buf, len, MSG_DONTWAIT);
	size_t n = l->early.len < len ? l->early.len : len;
	memcpy(buf, l->early.bytes, n);
	text_drop(&l->early, n);
	return (ssize_t)n;
}

static ssize_t receive(wslay_event_context_ptr frames, uint8_t *buf, size_t len, int flags,
		       void *arg)
{
	struct listener *l = arg;
	(void)flags;
	if (is_behind(l)) {
		wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	ssize_t n = read_piece(l, buf, len < PIECE_MOST_BYTES ? len : PIECE_MOST_BYTES);
	bool later = n < 0 && (errno == EAGAIN || errno == EINTR);
	if (n > 0) {
		l->silent_ticks = 0;
		l->heard_bytes += (size_t)n;
		later = is_too_loud(l); /* who is cut for it is still told why */
	}
	if (n > 0 && !later)
		return n;
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

/* While it is behind it is not read from, and must not be woken for that. What came behind its request
 * wakes nobody by itself. */
static unsigned listener_wants(const struct listener *l)
{
	bool writes = wslay_event_want_write(l->frames) || l->early.len > 0;
	return (writes ? WATCH_WRITE : 0u) | (is_behind(l) ? 0u : WATCH_READ);
}

static void listener_watch(struct listener *l)
{
	watch_set(l->watch, listener_wants(l));
}

/* Tells it why, where it can be told at once, and lets it go. */
static void listener_cut(struct listener *l, const char *why)
{
	log_say(l->feed->log, LOG_DEBUG, "feed listener cut", kv_text("why", why));
	(void)wslay_event_queue_close(l->frames, CLOSE_POLICY, (const uint8_t *)why, strlen(why));
	(void)wslay_event_send(l->frames);
	leave(l);
}

/* Reads and writes what can be, and sees whether that was all. May free it. */
static void listener_serve(struct listener *l)
{
	bool broken = !write_all(l) || wslay_event_recv(l->frames) != 0;
	if (is_too_loud(l)) {
		listener_cut(l, "a listener has nothing to say, and said too much of it");
		return;
	}
	broken = broken || !write_all(l);
	bool reads = wslay_event_want_read(l->frames), writes = wslay_event_want_write(l->frames);
	if (broken || (!reads && !writes)) {
		leave(l);
		return;
	}
	listener_watch(l);
}

static void listener_ready(void *arg, unsigned events)
{
	(void)events;
	listener_serve(arg);
}

/* It goes out with the loop's next turn: who queues may be walking the list. */
static void listener_queue(struct listener *l, uint8_t opcode, struct span text)
{
	struct wslay_event_msg message = {
	    .opcode = opcode, .msg = (const uint8_t *)text.ptr, .msg_length = text.len};
	if (wslay_event_queue_msg(l->frames, &message) == 0)
		listener_watch(l);
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
			listener_queue(l, WSLAY_TEXT_FRAME, text_span(&feed->told[control].text));
	}
}

/* May free it. */
static void listener_tick(struct listener *l)
{
	l->heard_bytes = 0;
	l->slow_ticks = is_behind(l) ? l->slow_ticks + 1 : 0;
	l->silent_ticks++;
	if (l->slow_ticks > SLOW_TICKS)
		listener_cut(l, "it does not read");
	else if (l->silent_ticks > SILENT_TICKS)
		listener_cut(l, "it does not answer a ping");
	else if (l->silent_ticks == PING_TICKS && !is_behind(l))
		listener_queue(l, WSLAY_PING, (struct span){0});
}

static void ticked(void *arg)
{
	struct feed *feed = arg;
	list_each_safe (it, &feed->listeners) {
		listener_tick(list_entry(it, struct listener, node));
	}
	feed_news(feed);
	if (feed->n_listeners > 0)
		timer_start(feed->tick, TICK_MS);
}

/* --- coming and going --- */

static bool open_listener(struct listener *l, const struct newcomer *newcomer)
{
	static const struct wslay_event_callbacks callbacks = {.recv_callback = receive,
							       .send_callback = transmit};
	int yes = 1;
	l->from = *newcomer;
	/* Frames leave header by header, so each would wait for the last one's acknowledgement. */
	(void)setsockopt(newcomer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* Unix: no */
	text_put(&l->early, newcomer->early);
	if (l->early.failed || wslay_event_context_server_init(&l->frames, &callbacks, l) != 0)
		return false;
	wslay_event_config_set_max_recv_msg_length(l->frames, HEARD_MOST_BYTES);
	l->watch = watch_create(l->feed->loop, newcomer->fd, listener_ready, l);
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
	listener_queue(l, WSLAY_TEXT_FRAME, text_span(&feed->told[newcomer->control].text));
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
			listener_queue(l, WSLAY_TEXT_FRAME, text_span(&text));
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
		unsigned wants = listener_wants(l);
		int events =
		    (wants & WATCH_READ ? POLLIN : 0) | (wants & WATCH_WRITE ? POLLOUT : 0);
		fds[n++] = (struct pollfd){.fd = l->from.fd, .events = (short)events};
	}
	return n;
}

void feed_serve(struct feed *feed)
{
	list_each_safe (it, &feed->listeners) {
		listener_serve(list_entry(it, struct listener, node));
	}
}

struct feed *feed_create(struct loop *loop, struct log *log, feed_writer *write, void *arg)
{
	struct feed *feed = memory_clear(1, sizeof *feed);
	if (feed == NULL)
		return NULL;
	feed->loop = loop;
	feed->log = log;
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
