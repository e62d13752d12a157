/* Room for output is a block of its own each time, exactly as large as was asked for: whoever writes
 * beyond it is seen by the sanitizer. The same goes for input: each piece comes in a block of its own.
 *
 * A peer that answers is told by the first byte of what is written whether a request begins: resp.c
 * writes the head of a request, "*<n>", on its own. */
#include "fake_edges.h"

#include "base/list.h"
#include "base/memory.h"
#include "base/must.h"
#include "loop/errand.h"
#include "loop/loop.h"
#include "wire/stream.h"

#include <stdlib.h>
#include <string.h>

enum { TORN_MOST = 40 };

struct loop {
	uint64_t now_ns;
	struct list timers;
	struct list streams;
	struct list hooks[TURN_PHASES];
	struct fake_peer peer;
	struct span script; /* what no stream has yet */
	unsigned random;
	unsigned opened; /* streams so far */
	bool again;      /* something happened, or will at once */
};

struct timer {
	struct list in_loop;
	struct loop *loop;
	void (*fire)(void *arg);
	void *arg;
	uint64_t due_ns;
	bool armed;
};

struct stream {
	struct list in_loop;
	struct loop *loop;
	const struct stream_events *events; /* NULL: closed by its owner, freed with the turn */
	void *arg;
	struct span left; /* of its section */
	char *unused;     /* input that was offered and not taken */
	size_t n_unused;
	char *room;
	size_t room_bytes;
	unsigned number;
	size_t asked; /* requests without an answer */
	bool opened, dead, reading;
	bool starved; /* there was no memory for output: it is about to die of that */
};

/* The test's own memory. Where one allocation is made to fail, the next one does not. */
static void *block(size_t bytes)
{
	void *taken = malloc(bytes != 0 ? bytes : 1);
	if (taken == NULL)
		taken = malloc(bytes);
	must(taken != NULL);
	return taken;
}

/* --- the loop ------------------------------------------------------------------------------------ */

enum status loop_create(struct loop **ret_loop, struct error *why)
{
	(void)why;
	struct loop *loop = block(sizeof *loop);
	*loop = (struct loop){.now_ns = UINT64_C(1000000000000)};
	list_init(&loop->timers);
	list_init(&loop->streams);
	for (int i = 0; i < TURN_PHASES; i++)
		list_init(&loop->hooks[i]);
	*ret_loop = loop;
	return ST_OK;
}

static void reap_streams(struct loop *loop);

void loop_destroy(struct loop *loop)
{
	reap_streams(loop);
	must(list_empty(&loop->timers) && list_empty(&loop->streams));
	free(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

void loop_assert_mine(const struct loop *loop)
{
	(void)loop; /* there is one thread */
}

/* No address comes from a file. */
struct errand *errand_start(struct loop *loop, const struct errand_calls *calls, void *arg)
{
	(void)loop, (void)calls, (void)arg;
	return NULL;
}

void errand_give_up(struct errand *errand)
{
	must(errand == NULL);
}

void loop_add_hook(struct loop *loop, enum turn_phase phase, struct turn_hook *hook)
{
	list_init(&hook->node);
	list_append(&loop->hooks[phase], &hook->node);
}

void loop_remove_hook(struct turn_hook *hook)
{
	list_remove(&hook->node);
}

void loop_turn_again(struct loop *loop)
{
	loop->again = true;
}

struct timer *timer_create_on(struct loop *loop, void (*fire)(void *arg), void *arg)
{
	struct timer *timer = memory_take(sizeof *timer);
	if (timer == NULL)
		return NULL;
	*timer = (struct timer){.loop = loop, .fire = fire, .arg = arg};
	list_init(&timer->in_loop);
	list_append(&loop->timers, &timer->in_loop);
	return timer;
}

void timer_start(struct timer *timer, uint64_t after_ms)
{
	timer->due_ns = timer->loop->now_ns + after_ms * 1000000;
	timer->armed = true;
}

void timer_stop(struct timer *timer)
{
	timer->armed = false;
}

bool timer_armed(const struct timer *timer)
{
	return timer->armed;
}

void timer_destroy(struct timer *timer)
{
	if (timer == NULL)
		return;
	list_remove(&timer->in_loop);
	memory_free(timer);
}

static struct timer *first_due(struct loop *loop)
{
	struct timer *first = NULL;
	list_each (it, &loop->timers) {
		struct timer *timer = list_entry(it, struct timer, in_loop);
		if (timer->armed && (first == NULL || timer->due_ns < first->due_ns))
			first = timer;
	}
	return first;
}

static void fire_timers(struct loop *loop)
{
	struct timer *timer;
	while ((timer = first_due(loop)) != NULL && timer->due_ns <= loop->now_ns) {
		timer->armed = false;
		loop->again = true;
		timer->fire(timer->arg); /* may be the end of it */
	}
}

static void run_hooks(struct loop *loop)
{
	for (int phase = 0; phase < TURN_PHASES; phase++) {
		list_each_safe (it, &loop->hooks[phase]) {
			struct turn_hook *hook = list_entry(it, struct turn_hook, node);
			hook->run(hook->arg);
		}
	}
}

/* --- streams ------------------------------------------------------------------------------------- */

static struct span take_section(struct loop *loop)
{
	struct span all = loop->script;
	size_t mark = sizeof FAKE_NEXT - 1;
	const char *end = all.len > 0 ? memmem(all.ptr, all.len, FAKE_NEXT, mark) : NULL;
	if (end == NULL) {
		loop->script = span_of(NULL, 0);
		return all;
	}
	size_t len = (size_t)(end - all.ptr);
	loop->script = span_of(end + mark, all.len - len - mark);
	return span_of(all.ptr, len);
}

struct stream *stream_open(struct loop *loop, const struct address *to, uint64_t deadline_ms,
			   const struct stream_events *events, void *arg)
{
	(void)to;
	(void)deadline_ms;
	struct stream *stream = memory_take(sizeof *stream);
	if (stream == NULL)
		return NULL;
	*stream = (struct stream){.loop = loop, .events = events, .arg = arg, .reading = true};
	stream->number = loop->opened++;
	list_init(&stream->in_loop);
	list_append(&loop->streams, &stream->in_loop);
	stream->left = take_section(loop);
	loop->again = true;
	return stream;
}

void stream_close(struct stream *stream)
{
	if (stream == NULL)
		return;
	must(stream->events != NULL);
	stream->events = NULL;
}

static void reap_streams(struct loop *loop)
{
	list_each_safe (it, &loop->streams) {
		struct stream *stream = list_entry(it, struct stream, in_loop);
		if (stream->events != NULL)
			continue;
		list_remove(&stream->in_loop);
		free(stream->unused);
		memory_free(stream->room);
		memory_free(stream);
	}
}

char *stream_room(struct stream *stream, size_t bytes)
{
	must(stream->events != NULL);
	if (stream->starved || stream->dead)
		return NULL;
	memory_free(stream->room);
	stream->room = memory_take(bytes);
	stream->room_bytes = bytes;
	stream->starved = stream->room == NULL;
	return stream->room;
}

void stream_wrote(struct stream *stream, size_t bytes)
{
	must(stream->room != NULL && bytes <= stream->room_bytes);
	if (bytes > 0 && stream->room[0] == '*')
		stream->asked++;
	stream->loop->again = true;
	const struct fake_peer *peer = &stream->loop->peer;
	if (peer->heard != NULL)
		peer->heard(peer->arg, stream->number, span_of(stream->room, bytes));
	memory_free(stream->room);
	stream->room = NULL;
}

void stream_write(struct stream *stream, struct span bytes)
{
	char *room = stream_room(stream, bytes.len);
	if (room == NULL)
		return;
	memcpy(room, bytes.ptr, bytes.len);
	stream_wrote(stream, bytes.len);
}

const char *stream_tls(const struct stream *stream)
{
	(void)stream;
	return NULL;
}

size_t stream_unsent(const struct stream *stream)
{
	(void)stream;
	return 0; /* the peer reads everything at once */
}

uint64_t stream_stalled_ns(const struct stream *stream)
{
	(void)stream;
	return 0;
}

void stream_peer_rests(struct stream *stream)
{
	(void)stream;
}

void stream_peer_reads(struct stream *stream)
{
	(void)stream;
}

/* Output is never late, and input as late as the script has it: no peer is taken for dead. */
uint64_t stream_last_input_ns(const struct stream *stream)
{
	return stream->loop->now_ns;
}

uint64_t stream_last_output_ns(const struct stream *stream)
{
	return stream->loop->now_ns;
}

void stream_read_stop(struct stream *stream)
{
	stream->reading = false;
}

void stream_read_start(struct stream *stream)
{
	stream->reading = true;
	stream->loop->again = true;
}

/* --- the peers ----------------------------------------------------------------------------------- */

static unsigned roll(struct loop *loop, unsigned sides)
{
	loop->random = loop->random * 1103515245 + 12345;
	return (loop->random >> 16) % sides;
}

static size_t next_piece(struct loop *loop, struct span left)
{
	size_t len = loop->peer.piece(left);
	must(len > 0 && len <= left.len);
	if (loop->peer.torn != 0 && len > 1)
		len = 1 + roll(loop, len < TORN_MOST ? (unsigned)len : TORN_MOST);
	return len;
}

/* Whether a piece that is torn further ends an answer is not known; one that is whole does. */
static void hear(struct stream *stream)
{
	struct loop *loop = stream->loop;
	size_t whole = loop->peer.piece(stream->left), len = next_piece(loop, stream->left);
	size_t offered = stream->n_unused + len;
	char *input = block(offered);
	if (stream->n_unused > 0)
		memcpy(input, stream->unused, stream->n_unused);
	memcpy(input + stream->n_unused, stream->left.ptr, len);
	stream->left = span_of(stream->left.ptr + len, stream->left.len - len);
	if (len == whole && stream->asked > 0)
		stream->asked--;
	size_t used = stream->events->received(stream->arg, span_of(input, offered));
	must(used <= offered);
	free(stream->unused);
	stream->n_unused = offered - used;
	stream->unused = block(stream->n_unused);
	memcpy(stream->unused, input + used, stream->n_unused);
	free(input);
}

static void end(struct stream *stream)
{
	struct error why;
	stream->dead = true;
	if (stream->starved)
		(void)error_set(&why, ST_NOMEM, "out of memory");
	else
		(void)error_set(&why, ST_CLOSED, "the script has ended");
	stream->events->closed(stream->arg, &why);
}

static bool speaks(const struct stream *stream)
{
	return stream->left.len > 0 && stream->reading &&
	       (!stream->loop->peer.answers || stream->asked > 0);
}

static void serve(struct stream *stream)
{
	bool hangs_up = stream->loop->peer.hangs_up && stream->left.len == 0;
	if (stream->starved) {
		end(stream);
	} else if (!stream->opened) {
		stream->opened = true;
		stream->events->opened(stream->arg);
	} else if (speaks(stream)) {
		hear(stream);
	} else if (hangs_up && !stream->dead) {
		end(stream);
	} else {
		return;
	}
	stream->loop->again = true;
}

static void serve_streams(struct loop *loop)
{
	list_each (it, &loop->streams) {
		struct stream *stream = list_entry(it, struct stream, in_loop);
		if (stream->events != NULL && !stream->dead)
			serve(stream);
	}
	reap_streams(loop);
}

void fake_edges_set_peer(struct loop *loop, const struct fake_peer *peer)
{
	loop->peer = *peer;
	loop->script = peer->script;
	loop->random = peer->torn;
}

bool fake_edges_turn(struct loop *loop)
{
	loop->again = false;
	fire_timers(loop);
	serve_streams(loop);
	run_hooks(loop);
	if (loop->again)
		return true;
	const struct timer *next = first_due(loop);
	if (next == NULL)
		return false;
	if (next->due_ns > loop->now_ns)
		loop->now_ns = next->due_ns;
	return true;
}

bool fake_edges_all_said(const struct loop *loop)
{
	list_each (it, &loop->streams) {
		const struct stream *stream = list_entry(it, struct stream, in_loop);
		if (stream->events != NULL && (!stream->opened || speaks(stream)))
			return false;
	}
	return loop->script.len == 0;
}
