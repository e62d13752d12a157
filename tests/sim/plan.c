/* One seed is one schedule: how many brokers, queues and handlers there are, when messages arrive and who else takes
 * them, how long jobs run, what they say of themselves, whether they crash or listen when asked to stop, when
 * handlers' processes come and go, connections die, brokers hang and signals come. */
#include "world.h"

#include <string.h>

static uint64_t sometime(struct world *w)
{
	return roll(w, w->span_ms) * MS;
}

static uint64_t world_now(const struct clock *clock)
{
	return list_entry(clock, struct world, clock)->now_ns;
}

static void plan_drain(struct world *w)
{
	w->drain.limit = chance(w, 20) ? DRAIN_LIMIT_NONE : DRAIN_LIMIT_SET;
	w->drain.timeout_ms = 200 + roll(w, 5000);
	w->drain.reserve_ms = 50 + roll(w, 500);
	w->drain.grace_ms = roll(w, 800);
	w->retry = (struct retry_settings){
	    .name = "default",
	    .attempts = 1 + (unsigned)roll(w, 4),
	    .crashes = (unsigned)roll(w, 4),
	    .first_ms = 1 + roll(w, 200),
	    .max_ms = 100 + roll(w, 1000),
	    .jitter = 0.2,
	    .backoff = (enum backoff)roll(w, 3),
	};
}

static void plan_executor(struct world *w, struct fake_executor *e)
{
	unsigned width = 1 + (unsigned)roll(w, 6);
	e->base = (struct executor){
	    .ops = fake_executor_ops,
	    .host = &w->core.executor_host,
	    .name = "handler",
	    .width = width,
	    .widest = width,
	    .depth = width + (chance(w, 50) ? (unsigned)roll(w, 20) : 0),
	};
	e->threads = chance(w, 50);
	e->base.can_kill = !e->threads;
	e->resizes = !e->threads && chance(w, 60);
	if (e->resizes)
		e->base.depth = width;
	e->connects = e->base.depth == width && !e->threads && chance(w, 30);
	e->probes = chance(w, 70);
	e->base.ops = &fake_executor_ops[e->probes ? 0 : 1];
	e->as_wide = !e->threads && !e->resizes && e->base.depth == width;
	e->world = w;
	list_init(&e->staged);
	list_init(&e->running);
	e->lane = roster_add_lane(&w->core.roster, &e->base, chance(w, 30) ? 1 + roll(w, 1000) : 0);
}

static void plan_source(struct world *w, struct fake_source *s)
{
	s->base = (struct source){
	    .ops = &fake_source_ops, .host = &w->core.source_host, .name = "source"};
	s->world = w;
	s->asks = chance(w, 50);
	s->two_steps = !s->asks;
	list_init(&s->told);
	roster_add_source(&w->core.roster, &s->base);
}

static void plan_edges(struct world *w)
{
	w->n_executors = 1 + (unsigned)roll(w, MAX_EXECUTORS);
	for (unsigned i = 0; i < w->n_executors; i++) {
		w->executors[i].index = i;
		plan_executor(w, &w->executors[i]);
	}
	w->n_sources = 1 + (unsigned)roll(w, MAX_SOURCES);
	for (unsigned i = 0; i < w->n_sources; i++) {
		w->sources[i].index = i;
		plan_source(w, &w->sources[i]);
	}
	w->n_queues = w->n_sources + (unsigned)roll(w, MAX_QUEUES - w->n_sources + 1);
	for (unsigned i = 0; i < w->n_queues; i++) {
		list_init(&w->queues[i].waiting);
		route_add(w, i, w->executors[roll(w, w->n_executors)].lane);
	}
}

/* Some handlers have a rate, or a limit, as some queues have; they differ in what a drain does to
 * their jobs. */
static void plan_manners(struct world *w)
{
	list_each (it, &w->core.roster.lanes) {
		struct lane *lane = list_entry(it, struct lane, in_roster);
		lane->policy = (enum deadline_policy)roll(w, 3);
		if (chance(w, 20))
			lane->rate.interval_ns = (1 + roll(w, 200)) * MS;
		if (chance(w, 20))
			lane->limit = 1 + (unsigned)roll(w, lane->executor->width + 1);
	}
	w->mischief = chance(w, 50) ? (unsigned)roll(w, 30) : 0;
	w->lateness = chance(w, 50) ? (unsigned)roll(w, 20) : 0;
}

/* Most producers give each message an id of its own, some none, some use one again; bodies are alike often. */
static void plan_messages(struct world *w)
{
	unsigned n = (unsigned)roll(w, MAX_WORKS);
	unsigned ids = chance(w, 20) ? 1 + (unsigned)roll(w, 8) : 0;
	for (unsigned i = 0; i < n; i++) {
		struct content content = {.id = i + 1, .body = (unsigned)roll(w, 3)};
		if (chance(w, 20))
			content.id = 0;
		else if (ids != 0)
			content.id = 1 + (unsigned)roll(w, ids);
		content.properties = (unsigned)roll(w, 2);
		broker_publish(w, (unsigned)roll(w, w->n_queues), content);
	}
}

static void plan_trouble(struct world *w, struct fake_source *s)
{
	s->base.ops->start(&s->base);
	if (!s->asks)
		schedule(w, (struct event){.kind = EV_DELIVER, .source = s}, roll(w, 10) * MS);
	if (chance(w, 2)) {
		s->refuses = true;
		schedule(w, (struct event){.kind = EV_REFUSE, .source = s}, 0);
	}
	while (chance(w, 40))
		schedule(w, (struct event){.kind = EV_DISCONNECT, .source = s}, sometime(w));
	if (w->drain.limit != DRAIN_LIMIT_NONE && chance(w, 10))
		schedule(w, (struct event){.kind = EV_HANG, .source = s}, sometime(w));
}

static void plan_queue(struct world *w, unsigned queue)
{
	while (chance(w, 30)) {
		uint64_t at_ns = sometime(w);
		schedule(w, (struct event){.kind = EV_RETIRE, .number = queue}, at_ns);
		if (chance(w, 70))
			schedule(w, (struct event){.kind = EV_ADD, .number = queue},
				 at_ns + roll(w, 1000) * MS);
	}
	while (chance(w, 30))
		schedule(w, (struct event){.kind = EV_CHANNEL, .number = queue}, sometime(w));
	while (chance(w, 50))
		schedule(w, (struct event){.kind = EV_OTHER, .number = queue}, sometime(w));
	while (chance(w, 5))
		schedule(w, (struct event){.kind = EV_BURY, .number = queue}, sometime(w));
}

static void plan_handler(struct world *w, struct fake_executor *e)
{
	while (e->resizes && chance(w, 70))
		schedule(w, (struct event){.kind = EV_SHRINK, .executor = e}, sometime(w));
	while (w->breaks && chance(w, 60))
		schedule(w,
			 (struct event){.kind = EV_BREAK,
					.executor = e,
					.number = roll(w, chance(w, 50) ? 2000 : w->span_ms)},
			 sometime(w));
	while (chance(w, 30))
		schedule(w, (struct event){.kind = EV_RETRACT, .executor = e}, sometime(w));
}

static enum drain_event a_stop(struct world *w, unsigned percent_patient)
{
	return chance(w, percent_patient) ? EVENT_STOP : EVENT_STOP_NOW;
}

static void plan_signal(struct world *w, enum drain_event event, uint64_t at_ns)
{
	schedule(w, (struct event){.kind = EV_SIGNAL, .number = event}, at_ns);
}

static void plan_signals(struct world *w)
{
	uint64_t stop_ns = roll(w, w->span_ms * 2 / 3) * MS;
	while (chance(w, 30))
		plan_signal(w, chance(w, 50) ? EVENT_QUIET : EVENT_RESUME, sometime(w));
	plan_signal(w, chance(w, 15) ? EVENT_DRAIN : a_stop(w, 90), stop_ns);
	while (chance(w, 25))
		plan_signal(w, a_stop(w, 70), stop_ns + roll(w, 4000) * MS);
	if (w->drain.timeout_ms > w->drain.reserve_ms + w->drain.grace_ms)
		while (chance(w, 20)) /* about when jobs are asked, or killed */
			plan_signal(w, a_stop(w, 70),
				    stop_ns + (w->drain.timeout_ms - w->drain.reserve_ms -
					       roll(w, w->drain.grace_ms + 1)) *
						  MS);
	while (chance(w, 10))
		plan_signal(w, EVENT_DRAIN, stop_ns + roll(w, 2000) * MS);
	while (chance(w, 15)) /* managers and shells often send it twice */
		plan_signal(w, EVENT_STOP, stop_ns + roll(w, 10) * MS);
	while (chance(w, 15))
		schedule(w, (struct event){.kind = EV_EXTEND, .number = roll(w, 3000)},
			 stop_ns + roll(w, 4000) * MS);
	while (chance(w, 40))
		schedule(w, (struct event){.kind = EV_RELOAD}, sometime(w));
}

void world_build(struct world *w, uint64_t seed, enum trace trace)
{
	memset(w, 0, offsetof(struct world, books));
	memset(&w->books, 0, offsetof(struct books, entries));
	w->seed = seed;
	w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->trace = trace;
	w->now_ns = 1000 * MS;
	w->clock.now_ns = world_now;
	w->concurrency = 1 + (unsigned)roll(w, 12);
	w->prefetch = 1 + (unsigned)roll(w, 40);
	w->breaks = chance(w, 25);
	w->span_ms = w->breaks && chance(w, 50) ? 20000 : 6000;
	plan_drain(w);
	core_init(&w->core, &w->clock, NULL, w->concurrency, &w->drain, (uint32_t)seed);
	w->core.route_gone = route_gone;
	w->core.route_gone_arg = w;
	plan_edges(w);
	plan_manners(w);
	plan_messages(w);
	for (unsigned i = 0; i < w->n_sources; i++)
		plan_trouble(w, &w->sources[i]);
	for (unsigned i = 0; i < w->n_queues; i++)
		plan_queue(w, i);
	for (unsigned i = 0; i < w->n_executors; i++)
		plan_handler(w, &w->executors[i]);
	plan_signals(w);
}
