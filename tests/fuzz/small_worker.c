/* After its script the peer has nothing more to say, and the worker is told to stop: whatever it has been
 * told, it must come to its end within its deadline, and the sanitizer looks for what is left. A drain of
 * 30 s is a few hundred turns; a loop that needs many more spins. */
#include "small_worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/text.h"
#include "core.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/kind.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#define HEAR_NS UINT64_C(30000000000)

enum { HEAD_BYTES = 2, TURNS_MOST = 200000, WIDTH = 3, QUEUES_MOST = 2, TAGS_MOST = 32 };

const struct retry_settings small_retry = {
    .name = "default",
    .attempts = 3,
    .backoff = BACKOFF_EXPONENTIAL,
    .first_ms = 1000,
    .max_ms = 10000,
    .jitter = 0.2,
    .crashes = 2,
};

static const struct worker_settings worker = {
    .name = "fuzz",
    .concurrency = 2,
    .max_body_bytes = 4096,
    .max_checkpoint_bytes = 256,
};

static const struct drain_settings drain = {
    .limit = DRAIN_LIMIT_SET,
    .timeout_ms = 30000,
    .reserve_ms = 2000,
    .grace_ms = 5000,
};

struct small_worker {
	struct loop *loop;
	struct clock clock;
	struct core core;
	struct executor executor;
	struct list running;
	struct source *source;
	struct route *routes[QUEUES_MOST]; /* those that are wanted */
	struct timer *wake;
	struct turn_hook dispatch, answer, drain;
	bool closed;
	const struct small_source *of;
	/* Of small tags, which are all of an honest broker's. */
	bool may_be_acked[QUEUES_MOST][TAGS_MOST];
};

static uint64_t now_ns(const struct clock *clock)
{
	return loop_now_ns(list_entry(clock, const struct small_worker, clock)->loop);
}

/* --- the handler ---------------------------------------------------------------------------------- */

static struct small_worker *of_executor(struct executor *executor)
{
	return list_entry(executor, struct small_worker, executor);
}

/* jansson has no keys with a NUL. Where one allocation is made to fail, the next one does not. */
static bool is_json(const struct text *text)
{
	const size_t flags = JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
	json_t *json = json_loadb(text->bytes, text->len, flags, NULL);
	if (json == NULL)
		json = json_loadb(text->bytes, text->len, flags, NULL);
	json_decref(json);
	return json != NULL || memmem(text->bytes, text->len, "\\u0000", 6) != NULL;
}

/* What a child is told of a job is JSON, whatever came with it. */
static void describe(struct small_worker *w, const struct job *job)
{
	struct text text = {0};
	text_put_literal(&text, "{\"type\":\"job\"");
	if (w->source->ops->describe != NULL)
		w->source->ops->describe(w->source, job, &text);
	text_put_literal(&text, "}");
	must(text.failed || is_json(&text));
	text_fini(&text);
}

static void start(struct executor *executor, struct job *job)
{
	struct small_worker *w = of_executor(executor);
	describe(w, job);
	job->begun_ns = loop_now_ns(w->loop);
	list_append(&w->running, &job->in_executor);
	loop_turn_again(w->loop);
}

static void retract(struct executor *executor)
{
	(void)executor; /* nothing is ever staged */
}

static uint64_t begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static size_t queue_of(const struct small_worker *w, const struct job *job)
{
	size_t i = 0;
	while (strcmp(w->of->settings->queues[i]->name, job->route->name) != 0)
		i++;
	return i;
}

bool small_worker_may_ack(const struct small_worker *w, size_t queue, uint64_t tag)
{
	return queue < QUEUES_MOST && tag < TAGS_MOST && w->may_be_acked[queue][tag];
}

/* Whoever is interrupted leaves a checkpoint, and so goes back as a copy. */
static void finish(struct small_worker *w, struct job *job, enum outcome_kind kind)
{
	struct executor_host *host = w->executor.host;
	struct outcome outcome = {.kind = kind, .reason = "because"};
	bool copied = kind == OUTCOME_ABANDONED && host->checkpoint(host, job, span_text("page 7"));
	bool may_be_acked = copied || (kind != OUTCOME_RETURN && kind != OUTCOME_ABANDONED);
	if (may_be_acked && job->source_tag < TAGS_MOST)
		w->may_be_acked[queue_of(w, job)][job->source_tag] = true;
	list_remove(&job->in_executor);
	host->finished(host, job, &outcome);
}

static void stop(struct executor *executor, struct job *job, enum stop_how how)
{
	(void)how; /* it listens */
	finish(of_executor(executor), job, OUTCOME_ABANDONED);
}

static void drain_notice(struct executor *executor, uint64_t remaining_ms)
{
	(void)executor;
	(void)remaining_ms;
}

static const struct executor_ops executor_ops = {
    .kind = "fuzz",
    .start = start,
    .retract = retract,
    .begun_ns = begun_ns,
    .stop = stop,
    .drain_notice = drain_notice,
};

static void answer_jobs(void *arg)
{
	struct small_worker *w = arg;
	list_each_safe (it, &w->running) {
		struct job *job = list_entry(it, struct job, in_executor);
		unsigned char how = job->body.len > 0 ? (unsigned char)job->body.ptr[0] : 0;
		switch (how % 5) {
		case 0:
			finish(w, job, OUTCOME_DONE);
			break;
		case 1:
			finish(w, job, OUTCOME_RETRY);
			break;
		case 2:
			finish(w, job, OUTCOME_REJECT);
			break;
		case 3:
			finish(w, job, OUTCOME_RETURN);
			break;
		default:
			break;
		}
	}
}

/* --- turns, as run_worker.c has them ---------------------------------------------------------------- */

static void begin_jobs(void *arg)
{
	core_begin_jobs(&((struct small_worker *)arg)->core);
}

static void woke(void *arg)
{
	(void)arg; /* the hooks at the end of this turn do the work */
}

static void turn_drain(void *arg)
{
	struct small_worker *w = arg;
	core_drain_turn(&w->core);
	w->closed |= core_is_closed(&w->core);
	uint64_t next_ns = core_next_ns(&w->core), now = loop_now_ns(w->loop);
	if (next_ns == UINT64_MAX)
		timer_stop(w->wake);
	else
		timer_start(w->wake, next_ns > now ? (next_ns - now + 999999) / 1000000 : 0);
}

static void heard(void *arg, unsigned stream, struct span bytes)
{
	const struct small_worker *w = arg;
	w->of->heard(w, stream, bytes);
}

/* --- life ------------------------------------------------------------------------------------------ */

/* Lines are put together, for what is in them, and written nowhere. */
static struct log *any_log(void)
{
	static struct log *log;
	if (log == NULL)
		log = log_create(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_DEBUG, LOG_JSON);
	must(log != NULL);
	return log;
}

static void hook(struct small_worker *w, enum turn_phase phase, struct turn_hook *hook,
		 void (*run)(void *arg))
{
	*hook = (struct turn_hook){.run = run, .arg = w};
	loop_add_hook(w->loop, phase, hook);
}

/* False: no memory. */
static bool add_queue(struct small_worker *w, size_t i, struct lane *lane)
{
	const struct source_queue_settings *queue = w->of->settings->queues[i];
	struct route *route =
	    roster_add_route(&w->core.roster, queue->name, w->source, lane, queue->retry, 0);
	w->routes[i] = route;
	if (route == NULL)
		return false;
	if (w->of->kind->add(w->source, queue, route, NULL) == ST_OK)
		return true;
	roster_remove_route(&w->core.roster, route);
	return false;
}

static bool build_source(struct small_worker *w)
{
	const struct source_parts parts = {w->loop, any_log(), &worker, &w->core.source_host};
	struct lane *lane = roster_add_lane(&w->core.roster, &w->executor, 60000);
	if (lane == NULL || w->of->kind->create(&parts, w->of->settings, &w->source, NULL) != ST_OK)
		return false;
	roster_add_source(&w->core.roster, w->source);
	bool added = true;
	for (size_t i = 0; i < w->of->settings->n_queues && added; i++)
		added = add_queue(w, i, lane);
	return added;
}

static bool build(struct small_worker *w)
{
	must(loop_create(&w->loop, NULL) == ST_OK);
	w->clock.now_ns = now_ns;
	list_init(&w->running);
	core_init(&w->core, &w->clock, any_log(), worker.concurrency, &drain, 1);
	w->core.max_checkpoint_bytes = worker.max_checkpoint_bytes;
	w->executor = (struct executor){.ops = &executor_ops,
					.host = &w->core.executor_host,
					.name = "h",
					.width = WIDTH,
					.widest = WIDTH,
					.depth = WIDTH,
					.can_kill = true};
	hook(w, TURN_DISPATCH, &w->dispatch, begin_jobs);
	hook(w, TURN_HAND_OVER, &w->answer, answer_jobs);
	hook(w, TURN_DRAIN, &w->drain, turn_drain);
	w->wake = timer_create_on(w->loop, woke, w);
	return w->wake != NULL && build_source(w);
}

static void tear_down(struct small_worker *w)
{
	if (w->source != NULL) {
		list_remove(&w->source->in_roster);
		w->source->ops->destroy(w->source);
	}
	core_abandon_rest(&w->core);
	timer_destroy(w->wake);
	loop_remove_hook(&w->dispatch);
	loop_remove_hook(&w->answer);
	loop_remove_hook(&w->drain);
	core_fini(&w->core);
	loop_destroy(w->loop);
}

/* Or until nothing is left to hear; a section for a stream that nobody opens is waited for a while. */
static void turn(struct small_worker *w, unsigned turns)
{
	uint64_t until_ns = loop_now_ns(w->loop) + HEAR_NS;
	for (unsigned i = 0; i < turns && !w->closed; i++)
		if (!fake_edges_turn(w->loop) || fake_edges_all_said(w->loop) ||
		    loop_now_ns(w->loop) > until_ns)
			return;
}

/* Without memory to add it the queue stays away. */
static void reload(struct small_worker *w)
{
	for (size_t i = 0; i < w->of->settings->n_queues; i++) {
		struct lane *lane = w->routes[i]->lane;
		core_retire(&w->core, w->routes[i]);
		(void)add_queue(w, i, lane);
	}
}

static void turn_and_reload(struct small_worker *w, uint8_t said)
{
	enum { EARLY = 16 };
	unsigned turns = said & ~(unsigned)SMALL_RELOADS;
	if ((said & SMALL_RELOADS) != 0) {
		turn(w, turns == 0 ? EARLY : turns / 2);
		reload(w);
	}
	turn(w, turns == 0 ? TURNS_MOST : turns);
}

static void stop_and_wait(struct small_worker *w)
{
	uint64_t begun = loop_now_ns(w->loop);
	unsigned turns = 0;
	core_event(&w->core, EVENT_STOP, "fuzz");
	while (!w->closed && fake_edges_turn(w->loop))
		must(turns++ < TURNS_MOST);
	must(w->closed);
	must(loop_now_ns(w->loop) - begun <= (drain.timeout_ms + 1000) * 1000000);
}

bool small_worker_run(const struct small_source *of, const uint8_t *bytes, size_t size)
{
	if (size < HEAD_BYTES)
		return true;
	struct small_worker w = {.of = of};
	struct fake_peer peer = {
	    .script = span_of((const char *)bytes + HEAD_BYTES, size - HEAD_BYTES),
	    .piece = of->piece,
	    .answers = of->answers,
	    .hangs_up = (bytes[0] & 1) != 0,
	    .torn = bytes[0] >> 1,
	    .heard = of->heard != NULL ? heard : NULL,
	    .arg = &w,
	};
	bool built = build(&w);
	if (built) {
		fake_edges_set_peer(w.loop, &peer);
		w.source->ops->start(w.source);
		turn_and_reload(&w, bytes[1]);
		stop_and_wait(&w);
	}
	tear_down(&w);
	return built;
}
