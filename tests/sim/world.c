/* One seed is one schedule: how many brokers, queues and handlers there are, when messages arrive,
 * how long jobs run, what they say of themselves, whether they crash or listen when asked to stop, when
 * handlers' processes come and go, connections die, brokers hang and signals come. step() jumps to the next event (or to the core's own next deadline), lets the core
 * take its turn, and then checks every promise that holds at all times. */
#include "world.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

__attribute__((format(printf, 2, 3))) _Noreturn static void broken(const struct world *w,
								   const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "seed %" PRIu64 " at %.3f ms, %s: ", w->seed, (double)w->now_ns / 1e6,
		phase_name(w->core.drain.phase));
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	abort();
}

#define promise(w, cond, ...)                                                                      \
	do {                                                                                       \
		if (!(cond))                                                                       \
			broken((w), __VA_ARGS__);                                                  \
	} while (0)

static uint64_t roll(struct world *w, uint64_t sides)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return sides == 0 ? 0 : w->random % sides;
}

static bool chance(struct world *w, unsigned percent)
{
	return roll(w, 100) < percent;
}

static void schedule(struct world *w, struct event event, uint64_t after_ns)
{
	promise(w, w->n_events < MAX_EVENTS, "too many events for the simulation");
	event.at_ns = w->now_ns + after_ns;
	event.order = w->next_order++;
	w->events[w->n_events++] = event;
}

static void unschedule_job(struct world *w, const struct job *job)
{
	for (size_t i = 0; i < w->n_events; i++)
		if (w->events[i].job == job)
			w->events[i].kind = EV_NONE;
}

static struct message *message_of(struct world *w, const struct job *job)
{
	return &w->messages[job->source_tag];
}

static unsigned index_of(const struct world *w, const struct route *route)
{
	unsigned i = 0;
	while (w->routes[i] != route)
		i++;
	return i;
}

static struct source *source_of(struct world *w, unsigned queue)
{
	return &w->sources[queue % w->n_sources].base;
}

/* The route that the queue has now: MAX_ROUTES for none. */
static unsigned route_now(const struct world *w, unsigned queue)
{
	for (unsigned i = 0; i < w->n_routes; i++)
		if (w->routes[i] != NULL && !w->routes[i]->retired && w->queue_of[i] == queue)
			return i;
	return MAX_ROUTES;
}

/* Where its next message goes: a consumer that is being cancelled may be given some, too. */
static unsigned consumer_of(struct world *w, unsigned queue)
{
	unsigned now = route_now(w, queue);
	for (unsigned i = 0; i < w->n_routes; i++)
		if (w->routes[i] != NULL && w->consumers[i] == CANCELLING &&
		    w->queue_of[i] == queue && (now == MAX_ROUTES || chance(w, 30)))
			return i;
	return now;
}

/* --- checkpoints ----------------------------------------------------------------------------- */

/* Each is a number that no other run has left, written out; none is 0. */
static struct span checkpoint_text(unsigned number, char *buf, size_t size)
{
	return span_of(buf, number == 0 ? 0 : (size_t)snprintf(buf, size, "%u", number));
}

static unsigned checkpoint_number(struct span text)
{
	unsigned number = 0;
	for (size_t i = 0; i < text.len; i++)
		number = number * 10 + (unsigned)(text.ptr[i] - '0');
	return number;
}

static struct run *run_of(const struct job *job)
{
	return job->executor_ref;
}

/* What the broker learns of a job that will run again, told as the sources do; and what it should
 * learn, by our books. */
static void settle_checkpoint(struct message *m, const struct job *job)
{
	const struct run *run = m->last_run; /* not job's own, when it is a second delivery */
	if (job_left_new_checkpoint(job))
		m->checkpoint = checkpoint_number(job_next_checkpoint(job));
	if (job->begun_ns != 0 && run->has_left)
		m->due = run->left;
}

/* --- sources --------------------------------------------------------------------------------- */

static unsigned unacked(const struct world *w, unsigned queue)
{
	unsigned n = 0;
	for (unsigned i = 0; i < w->n_messages; i++)
		n += w->messages[i].queue == queue && w->messages[i].place == OUT;
	return n;
}

static void give_to_core(struct world *w, struct fake_source *source, unsigned index,
			 struct route *route)
{
	struct message *m = &w->messages[index];
	char id[32], checkpoint[16];
	uint64_t serial = source->base.host->next_serial(source->base.host);
	if (m->without_id)
		(void)snprintf(id, sizeof id, "made-up-%" PRIu64, serial);
	else
		(void)snprintf(id, sizeof id, "m%u", index);
	struct job_facts facts = {
	    .route = route,
	    .serial = serial,
	    .attempt = m->attempt,
	    .interruptions = m->interruptions,
	    .crashes = m->crashes,
	    .redelivered = m->redelivered,
	    .id = span_text(id),
	    .id_made_up = m->without_id,
	    .body_bytes = sizeof index,
	    .checkpoint = checkpoint_text(m->checkpoint, checkpoint, sizeof checkpoint),
	};
	struct job *job = job_create(&facts);
	promise(w, job != NULL, "no memory");
	promise(w, m->job == NULL || m->job->source_epoch != source->epoch,
		"message %u delivered twice on one connection", index);
	memcpy(job_body(job), &index, sizeof index);
	job->source_tag = index;
	job->source_epoch = source->epoch;
	m->place = OUT;
	m->job = job;
	w->delivered++;
	source->base.host->deliver(source->base.host, &job);
	promise(w, job == NULL, "deliver() left the job with the source");
}

/* Delivers some of what waits, up to the prefetch of each queue. */
static void deliver_some(struct world *w, struct fake_source *source)
{
	unsigned burst = 1 + (unsigned)roll(w, 10);
	for (unsigned i = 0; i < w->n_messages && burst > 0; i++) {
		struct message *m = &w->messages[i];
		if (m->place != IN_QUEUE || source_of(w, m->queue) != &source->base)
			continue;
		unsigned route = consumer_of(w, m->queue);
		if (route == MAX_ROUTES || unacked(w, m->queue) >= w->prefetch)
			continue;
		give_to_core(w, source, i, w->routes[route]);
		burst--;
	}
}

static unsigned waiting(const struct world *w, unsigned route)
{
	unsigned n = 0;
	for (unsigned i = 0; i < w->n_messages; i++)
		n += w->messages[i].queue == w->queue_of[route] && w->messages[i].place == IN_QUEUE;
	return n;
}

static void put_in_queue(struct world *w, struct message *m)
{
	m->place = IN_QUEUE;
	for (unsigned i = 0; i < w->n_routes; i++) {
		struct fake_list *list = &w->lists[i];
		if (w->queue_of[i] != m->queue)
			continue;
		list->looks |= list->blocks;
		list->blocks = false;
	}
}

static bool delivers(const struct fake_source *source)
{
	return source->base.link == LINK_UP && !source->hung &&
	       (source->base.intake == INTAKE_OPEN || source->base.intake == INTAKE_SHUTTING);
}

static void look_at_lists(struct fake_source *source)
{
	struct world *w = source->world;
	for (unsigned i = 0; i < w->n_routes; i++)
		w->lists[i].looks |= w->routes[i] != NULL && w->routes[i]->source == &source->base;
}

/* What redis_list_queue.c does at the end of a turn, but for settling. */
static void attend(struct world *w, unsigned route)
{
	struct route *r = w->routes[route];
	if (r == NULL || w->consumers[route] != CONSUMES)
		return;
	struct fake_source *source = list_entry(r->source, struct fake_source, base);
	struct fake_list *list = &w->lists[route];
	if (!source->asks || !list->looks || source->base.intake != INTAKE_OPEN || source->hung ||
	    source->base.link != LINK_UP)
		return;
	list->looks = false;
	struct pace_facts facts = pace_facts_of(r, w->now_ns);
	facts.room = SIZE_MAX;
	size_t wanted = lane_width(r->lane) > 0 ? pace_wanted(&list->pace, &facts) : 0;
	if (list->claims || wanted == 0)
		return;
	list->blocks = waiting(w, route) == 0;
	list->claims = !list->blocks;
	if (list->claims)
		schedule(
		    w,
		    (struct event){
			.kind = EV_CLAIMED, .source = source, .route = route, .number = wanted},
		    roll(w, 3) * MS);
}

/* What redis_list_queue.c counts as its lists become full and empty. */
static void count_asking(struct world *w)
{
	list_each (it, &w->core.roster.lanes)
		list_entry(it, struct lane, in_roster)->asking = 0;
	for (unsigned i = 0; i < w->n_routes; i++) {
		if (w->routes[i] == NULL || w->consumers[i] != CONSUMES)
			continue;
		struct fake_source *s = list_entry(w->routes[i]->source, struct fake_source, base);
		w->routes[i]->lane->asking += s->asks && s->wanted && waiting(w, i) > 0;
	}
}

static void take_claimed(struct world *w, const struct event *ev)
{
	struct fake_list *list = &w->lists[ev->route];
	uint64_t taken = 0;
	list->claims = false;
	list->looks = true;
	if (!delivers(ev->source) || w->routes[ev->route] == NULL ||
	    w->consumers[ev->route] >= CANCELLED)
		return;
	for (unsigned i = 0; i < w->n_messages && taken < ev->number; i++) {
		if (w->messages[i].place != IN_QUEUE ||
		    w->messages[i].queue != w->queue_of[ev->route])
			continue;
		give_to_core(w, ev->source, i, w->routes[ev->route]);
		taken++;
	}
	list->out_of_line = false; /* until the next check */
	pace_claimed(&list->pace, w->now_ns, taken == ev->number);
}

static void source_room_came(struct source *base, struct route *route)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	source->world->lists[index_of(source->world, route)].looks = true;
}

/* A job that failed is dead when its attempts are used up, or when it has crashed too often; and only
 * a run that crashed by itself counts as one. */
static void check_failure(struct world *w, const struct message *m, const struct job *job)
{
	const struct verdict *v = &job->verdict;
	bool crashed = job->outcome.crashed && job->stop == JOB_NOT_STOPPED;
	promise(w, v->crashes == m->crashes + crashed, "%u crashes after %u and %d", v->crashes,
		m->crashes, crashed);
	bool poisonous = crashed && w->retry.crashes != 0 && v->crashes >= w->retry.crashes;
	bool dead = poisonous || m->attempt >= w->retry.attempts;
	promise(w, v->poisonous == poisonous, "poison, or not");
	promise(w, (v->fate == FATE_DEAD) == dead, "%s after attempt %u and %u crashes",
		fate_name(v->fate), m->attempt, v->crashes);
}

static void apply_verdict(struct world *w, struct message *m, const struct job *job)
{
	const struct verdict *v = &job->verdict;
	bool failed = v->fate == FATE_RETRIED ||
		      (v->fate == FATE_DEAD && job->outcome.kind != OUTCOME_REJECT);
	if (failed)
		check_failure(w, m, job);
	else
		promise(w, v->crashes == m->crashes, "blamed for a crash that was not its own");
	if (v->fate == FATE_RETRIED || v->fate == FATE_RETURNED)
		settle_checkpoint(m, job);
	switch (v->fate) {
	case FATE_DONE:
		m->place = GONE;
		return;
	case FATE_DEAD:
		m->place = GONE;
		m->dead = true;
		return;
	case FATE_RETRIED:
		m->place = DELAYED;
		m->redelivered = false; /* a copy */
		promise(w, v->attempt == m->attempt + 1, "a retry must count one attempt");
		schedule(w,
			 (struct event){.kind = EV_REQUEUE, .number = (uint64_t)(m - w->messages)},
			 v->delay_ms * MS);
		break;
	case FATE_RETURNED:
		put_in_queue(w, m);
		m->redelivered = !job_left_new_checkpoint(job); /* else a copy */
		promise(w, v->attempt == m->attempt, "a return must not count an attempt");
		promise(w, v->interruptions == m->interruptions + (v->interrupted ? 1 : 0),
			"an interruption is counted when the job had begun, and only then");
		m->excused |= v->interrupted;
		break;
	case FATE_UNSETTLED:
	case FATE_COUNT:
		broken(w, "a verdict cannot be \"unsettled\"");
	}
	m->attempt = v->attempt;
	m->interruptions = v->interruptions;
	m->crashes = v->crashes;
}

static void core_lets_go(struct world *w, struct fake_source *source, struct job *job,
			 enum settled how)
{
	struct message *m = message_of(w, job);
	if (m->job == job)
		m->job = NULL;
	w->left++;
	source->base.host->settled(source->base.host, job, how);
}

static void source_settle(struct source *base, struct job *job)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	struct world *w = source->world;
	struct message *m = message_of(w, job);
	bool cancelled = w->consumers[index_of(w, job->route)] >= CANCELLED;
	promise(w,
		job->verdict.fate != FATE_RETURNED || job->verdict.interrupted ||
		    base->intake == INTAKE_SHUT || cancelled,
		"an unbegun job went back while its consumer could get it again");
	promise(w, job->stop != JOB_STOPPED_BY_DRAIN || job->verdict.fate != FATE_RETRIED,
		"an interruption was counted as an attempt");
	if (job->source_epoch != source->epoch) {
		m->excused = true; /* the broker has it back already */
		core_lets_go(w, source, job, SETTLED_LOST);
		return;
	}
	list_append(&source->told, &job->in_source);
	struct fake_list *list = &w->lists[index_of(w, job->route)];
	list->looks = true;
	pace_job_ended(&list->pace);
	if (!source->hung)
		schedule(w, (struct event){.kind = EV_PROVED, .source = source},
			 roll(w, 3) == 0 ? 0 : roll(w, 20) * MS);
}

static void everything_proved(struct world *w, struct fake_source *source)
{
	struct list *it;
	while (!source->hung && (it = list_take_first(&source->told)) != NULL) {
		struct job *job = list_entry(it, struct job, in_source);
		apply_verdict(w, message_of(w, job), job);
		core_lets_go(w, source, job, SETTLED);
	}
}

/* What was told, and not proved, may have arrived. */
static void lose_told(struct world *w, struct fake_source *source)
{
	struct list *it;
	while ((it = list_take_first(&source->told)) != NULL) {
		struct job *job = list_entry(it, struct job, in_source);
		struct message *m = message_of(w, job);
		bool arrived = chance(w, 30);
		m->excused |= job->verdict.interrupted || job->begun_ns != 0;
		if (arrived)
			apply_verdict(w, m, job);
		core_lets_go(w, source, job,
			     arrived || chance(w, 50) ? SETTLED_UNPROVED : SETTLED_LOST);
	}
}

/* The connection is gone: the broker takes back whatever was not acknowledged. */
static void disconnect(struct world *w, struct fake_source *source)
{
	source->epoch++;
	source->base.link = LINK_DOWN;
	if (source->base.intake != INTAKE_SHUT)
		source->base.intake = source->wanted ? INTAKE_OPENING : INTAKE_SHUT;
	lose_told(w, source);
	for (unsigned i = 0; i < w->n_messages; i++) {
		struct message *m = &w->messages[i];
		if (m->place != OUT || source_of(w, m->queue) != &source->base)
			continue;
		put_in_queue(w, m);
		m->redelivered = true;
		if (m->job != NULL && m->job->begun_ns == 0)
			m->job = NULL; /* held or staged: the core drops it below */
		else if (m->job != NULL)
			m->excused = true; /* it runs on, and will be delivered again */
	}
	for (unsigned i = 0; i < w->n_routes; i++) {
		if (w->routes[i] == NULL || w->routes[i]->source != &source->base)
			continue;
		if (w->consumers[i] == CANCELLING)
			w->consumers[i] = CANCELLED;
		if (w->consumers[i] == LEAVING)
			w->consumers[i] = LEFT;
		uint64_t before = w->core.drain.report.since_start[FATE_RETURNED];
		source->base.host->took_back(source->base.host, w->routes[i]);
		promise(w, w->routes[i]->held == 0, "took_back() kept held jobs");
		w->left += w->core.drain.report.since_start[FATE_RETURNED] - before;
	}
	source->base.host->changed(source->base.host, &source->base);
}

static void source_start(struct source *base)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	source->wanted = true;
	base->link = LINK_UP;
	base->intake = INTAKE_OPENING;
	schedule(source->world, (struct event){.kind = EV_CONSUME_OK, .source = source},
		 roll(source->world, 5) * MS);
}

static void source_pause(struct source *base)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	source->wanted = false;
	if (base->intake == INTAKE_SHUT)
		return;
	if (base->link != LINK_UP) {
		base->intake = INTAKE_SHUT;
		base->host->changed(base->host, base);
		return;
	}
	base->intake = INTAKE_SHUTTING;
	if (!source->hung)
		schedule(source->world, (struct event){.kind = EV_CANCEL_OK, .source = source},
			 roll(source->world, 30) * MS);
}

static void source_resume(struct source *base)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	source->wanted = true;
	base->intake = INTAKE_OPENING;
	if (base->link == LINK_UP && !source->hung)
		schedule(source->world, (struct event){.kind = EV_CONSUME_OK, .source = source},
			 roll(source->world, 5) * MS);
}

static void source_flush(struct source *base)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	if (!source->hung)
		schedule(source->world, (struct event){.kind = EV_PROVED, .source = source}, MS);
}

static void source_close(struct source *base)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	promise(source->world, list_empty(&source->told), "closed with settles open");
	source->closing = true;
	if (base->link != LINK_UP) {
		base->link = LINK_CLOSED;
		return;
	}
	base->link = LINK_CLOSING;
	if (!source->hung)
		schedule(source->world, (struct event){.kind = EV_CLOSED, .source = source},
			 roll(source->world, 5) * MS);
}

static void source_retire(struct source *base, struct route *route)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	struct world *w = source->world;
	unsigned i = index_of(w, route);
	w->consumers[i] = base->link == LINK_UP ? CANCELLING : CANCELLED;
	if (base->link == LINK_UP && !source->hung)
		schedule(w, (struct event){.kind = EV_CANCELLED, .source = source, .number = i},
			 roll(w, 30) * MS);
}

static enum leaving source_leave(struct source *base, struct route *route)
{
	struct fake_source *source = list_entry(base, struct fake_source, base);
	struct world *w = source->world;
	unsigned i = index_of(w, route);
	if (w->consumers[i] == CANCELLING)
		return LEAVING_INTAKE;
	if (w->consumers[i] == CANCELLED && route->in_ledger == 0) {
		w->consumers[i] = base->link == LINK_UP ? LEAVING : LEFT;
		if (base->link == LINK_UP && !source->hung)
			schedule(w, (struct event){.kind = EV_LEFT, .source = source, .number = i},
				 roll(w, 5) * MS);
	}
	return w->consumers[i] == LEFT ? LEAVING_GONE : LEAVING_JOBS;
}

static const struct source_ops fake_source_ops = {
    .kind = "fake",
    .start = source_start,
    .pause = source_pause,
    .resume = source_resume,
    .settle = source_settle,
    .flush = source_flush,
    .retire = source_retire,
    .leave = source_leave,
    .room_came = source_room_came,
    .close = source_close,
};

/* --- executors ------------------------------------------------------------------------------- */

static void begin_run(struct world *w, struct fake_executor *e, struct job *job)
{
	promise(w, w->core.drain.phase == PHASE_OPEN, "job %s began in %s", job->id,
		phase_name(w->core.drain.phase));
	promise(w, w->n_runs < MAX_RUNS, "too many runs for the simulation");
	unsigned handed = checkpoint_number(job->checkpoint), due = message_of(w, job)->due;
	promise(w, handed == due, "job %s is handed checkpoint %u and not %u", job->id, handed,
		due);
	list_append(&e->running, &job->in_executor);
	job->begun_ns = w->now_ns;
	job->executor_ref = &w->runs[w->n_runs++];
	*run_of(job) = (struct run){0};
	e->begun++;
	uint64_t run_ns = chance(w, 50) ? roll(w, 5) * MS : roll(w, 4000) * MS;
	struct event event = {.kind = EV_END_OF_RUN, .executor = e, .job = job};
	schedule(w, event, run_ns);
	event.kind = EV_SAY;
	/* Who was handed something has more to say: few are, and of those fewer come again. */
	for (unsigned i = 0; i < 3 && chance(w, handed != 0 ? 80 : 40); i++)
		schedule(w, event, roll(w, run_ns + 1));
}

static void begin_staged(struct world *w, struct fake_executor *e)
{
	while (e->begun < e->base.width && !list_empty(&e->staged))
		begin_run(w, e, list_entry(list_take_first(&e->staged), struct job, in_executor));
}

/* Could the route begin a job, if only it were its turn? Of another lane than the one that is being
 * served it must be known that it has room. */
static bool may_begin(const struct world *w, const struct route *r, const struct lane *served)
{
	if (r == NULL || r->retired)
		return false;
	const struct lane *lane = r->lane;
	if (r->held == 0 || (r->limit != 0 && r->assigned >= r->limit) ||
	    rate_next_ns(&r->rate, w->now_ns) > w->now_ns)
		return false;
	return lane == served || (lane->assigned < lane_width(lane) &&
				  rate_next_ns(&lane->rate, w->now_ns) <= w->now_ns);
}

static unsigned routes_of(const struct world *w, const struct lane *lane)
{
	unsigned n = 0;
	for (unsigned i = 0; i < w->n_routes; i++)
		n += w->routes[i] != NULL && w->routes[i]->lane == lane;
	return n;
}

/* Handlers take turns, and so do the queues of each: while one could begin a job, another one of its
 * handler gets at most two in, and one of another handler at most that for each that its own handler
 * has to serve. A job that is only staged takes nothing away from other handlers. */
static void check_turns(struct world *w, const struct route *begins)
{
	const struct lane *lane = begins->lane;
	unsigned b = index_of(w, begins);
	bool staged = lane->assigned > lane_width(lane);
	memset(w->overtaken[b], 0, sizeof w->overtaken[b]);
	for (unsigned a = 0; a < w->n_routes; a++) {
		const struct route *waits = w->routes[a];
		if (a == b || !may_begin(w, waits, lane) || (staged && waits->lane != lane))
			continue;
		unsigned most = waits->lane == lane ? 2 : 1 + routes_of(w, waits->lane);
		promise(w, ++w->overtaken[a][b] <= most,
			"queue %u waits while queue %u is served %u times", a, b, most + 1);
	}
}

static void executor_start(struct executor *base, struct job *job)
{
	struct fake_executor *e = list_entry(base, struct fake_executor, base);
	promise(e->world, e->world->core.drain.phase == PHASE_OPEN, "started while stopping");
	promise(e->world, base->width > 0, "started where nothing can run");
	promise(e->world, !job->route->retired, "started of a queue that is not wanted");
	check_turns(e->world, job->route);
	list_append(&e->staged, &job->in_executor);
	begin_staged(e->world, e);
	promise(e->world, !e->resizes || list_empty(&e->staged), "staged where nothing may be");
}

static void executor_retract(struct executor *base)
{
	struct fake_executor *e = list_entry(base, struct fake_executor, base);
	while (!list_empty(&e->staged)) {
		struct job *job = list_entry(e->staged.prev, struct job, in_executor);
		list_remove(&job->in_executor);
		base->host->retracted(base->host, job);
	}
}

static uint64_t executor_begun_ns(const struct executor *base, const struct job *job)
{
	(void)base;
	return job->begun_ns;
}

static void end_run(struct world *w, struct fake_executor *e, struct job *job,
		    struct outcome outcome)
{
	struct message *m = message_of(w, job);
	unschedule_job(w, job);
	list_remove(&job->in_executor);
	e->begun--;
	m->done += outcome.kind == OUTCOME_DONE;
	m->failed += outcome.kind == OUTCOME_RETRY && job->stop != JOB_STOPPED_BY_DRAIN;
	m->stopped += outcome.kind == OUTCOME_ABANDONED || job->stop == JOB_STOPPED_BY_DRAIN;
	m->last_run = run_of(job);
	w->merged += job->twin != NULL;
	e->base.host->finished(e->base.host, job, &outcome);
}

static void crash_run(struct world *w, struct fake_executor *e, struct job *job)
{
	end_run(w, e, job, (struct outcome){.kind = OUTCOME_RETRY, .crashed = true});
}

static void say(struct world *w, struct fake_executor *e, struct job *job)
{
	struct executor_host *host = e->base.host;
	struct run *run = run_of(job);
	char text[16];
	uint64_t more_ms = roll(w, 2000);
	switch (roll(w, 4)) {
	case 0:
		host->progress(host, job, 0.5, span_text("half of it"));
		return;
	case 1:
		host->extend(host, job, more_ms);
		if (w->now_ns + more_ms * MS > run->extended_to_ns)
			run->extended_to_ns = w->now_ns + more_ms * MS;
		return;
	default:
		run->has_left = true;
		run->left = chance(w, 40) ? 0 : ++w->last_checkpoint;
		promise(w,
			host->checkpoint(host, job, checkpoint_text(run->left, text, sizeof text)),
			"a small checkpoint was refused");
	}
}

/* Some of its children are gone. Those that died take along what they ran; those that retire finish
 * it, and only begin nothing any more. */
static void shrink(struct world *w, struct fake_executor *e)
{
	unsigned lost = 1 + (unsigned)roll(w, e->base.widest);
	if (lost > e->base.width)
		lost = e->base.width;
	e->base.width -= lost;
	e->base.depth = e->base.width;
	e->base.host->resized(e->base.host, &e->base);
	schedule(w, (struct event){.kind = EV_GROW, .executor = e, .number = lost},
		 roll(w, 500) * MS);
	if (chance(w, 30))
		return;
	for (unsigned i = 0; i < lost && !list_empty(&e->running); i++)
		crash_run(w, e, list_entry(e->running.next, struct job, in_executor));
}

static void grow(struct fake_executor *e, unsigned by)
{
	e->base.width += by;
	e->base.depth = e->base.width;
	e->base.host->resized(e->base.host, &e->base);
}

static void executor_stop(struct executor *base, struct job *job, enum stop_how how)
{
	struct fake_executor *e = list_entry(base, struct fake_executor, base);
	struct world *w = e->world;
	bool in_time = w->now_ns >= run_of(job)->extended_to_ns;
	promise(w, in_time || phase_is_stopping(w->core.drain.phase),
		"job %s is asked to stop for a timeout that it had put off", job->id);
	if (how == STOP_ASK) {
		if (chance(w, 50)) { /* it listens */
			unschedule_job(w, job);
			schedule(w,
				 (struct event){.kind = EV_END_OF_RUN, .executor = e, .job = job},
				 roll(w, 100) * MS);
		}
		return;
	}
	if (e->threads) {
		job->stuck = true;
		w->stuck[w->n_stuck++] = job;
		end_run(w, e, job, (struct outcome){.kind = OUTCOME_ABANDONED});
		return;
	}
	unschedule_job(w, job);
	schedule(w, (struct event){.kind = EV_END_OF_RUN, .executor = e, .job = job},
		 roll(w, 3) * MS);
}

static void executor_notice(struct executor *base, uint64_t remaining_ms)
{
	(void)base;
	(void)remaining_ms;
}

static const struct executor_ops fake_executor_ops = {
    .kind = "fake",
    .start = executor_start,
    .retract = executor_retract,
    .begun_ns = executor_begun_ns,
    .stop = executor_stop,
    .drain_notice = executor_notice,
};

static struct outcome how_it_ends(struct world *w, const struct job *job)
{
	uint64_t r = roll(w, 100);
	if (job->stop != JOB_NOT_STOPPED && r >= 20) /* SIGTERM is a way to die, too */
		return (struct outcome){.kind = OUTCOME_RETRY, .crashed = r < 60};
	if (r < 80)
		return (struct outcome){.kind = OUTCOME_DONE};
	if (r < 95)
		return (struct outcome){.kind = OUTCOME_RETRY, .crashed = r < 87};
	return (struct outcome){.kind = OUTCOME_REJECT};
}

/* --- queues come and go ---------------------------------------------------------------------- */

static void add_route(struct world *w, unsigned queue, struct lane *lane)
{
	unsigned i = w->n_routes++;
	char *name = w->queue_names[queue];
	(void)snprintf(name, sizeof w->queue_names[queue], "queue %u", queue);
	w->routes[i] = roster_add_route(&w->core.roster, name, source_of(w, queue), lane, &w->retry,
					chance(w, 40) ? 1 + (unsigned)roll(w, 4) : 0);
	w->queue_of[i] = queue;
	w->consumers[i] = CONSUMES;
	w->lists[i].looks = true;
	if (chance(w, 20))
		w->routes[i]->rate.interval_ns = (1 + roll(w, 200)) * MS;
}

static void retire_queue(struct world *w, unsigned queue)
{
	unsigned i = route_now(w, queue);
	if (i == MAX_ROUTES || phase_is_stopping(w->core.drain.phase))
		return;
	w->retired++;
	core_retire(&w->core, w->routes[i]);
}

static void add_queue(struct world *w, unsigned queue)
{
	if (route_now(w, queue) != MAX_ROUTES || w->n_routes == MAX_ROUTES ||
	    phase_is_stopping(w->core.drain.phase))
		return;
	add_route(w, queue, w->executors[roll(w, w->n_executors)].lane);
}

/* --- limits change --------------------------------------------------------------------------- */

static void widen(struct world *w, struct fake_executor *e)
{
	e->base.width = e->base.widest = e->base.depth = 1 + (unsigned)roll(w, 6);
	e->base.host->resized(&w->core.executor_host, &e->base);
}

static void reload(struct world *w)
{
	if (phase_is_stopping(w->core.drain.phase))
		return;
	w->reloads++;
	w->most = w->core.dispatch.budget.taken;
	w->concurrency = 1 + (unsigned)roll(w, 12);
	for (unsigned i = 0; i < w->n_executors; i++) {
		struct fake_executor *e = &w->executors[i];
		e->most = e->lane->assigned;
		e->lane->limit = chance(w, 30) ? 1 + (unsigned)roll(w, 6) : 0;
	}
	for (unsigned i = 0; i < w->n_routes; i++) {
		if (w->routes[i] == NULL)
			continue;
		w->most_of[i] = w->routes[i]->assigned;
		w->routes[i]->limit = chance(w, 40) ? 1 + (unsigned)roll(w, 4) : 0;
	}
	for (unsigned i = 0; i < w->n_executors; i++)
		if (w->executors[i].as_wide)
			widen(w, &w->executors[i]);
	core_limits_changed(&w->core, w->concurrency);
	memset(w->overtaken, 0, sizeof w->overtaken); /* who could begin is another question now */
}

static void route_gone(void *arg, struct route *route)
{
	struct world *w = arg;
	unsigned i = index_of(w, route);
	promise(w, w->consumers[i] == LEFT, "a queue is gone that has not left");
	for (unsigned a = 0; a < w->n_routes; a++) /* they take turns with fewer now */
		if (w->routes[a] != NULL && w->routes[a]->lane == route->lane)
			memset(w->overtaken[a], 0, sizeof w->overtaken[a]);
	w->routes[i] = NULL;
	w->gone++;
}

/* --- what happens ---------------------------------------------------------------------------- */

static void happen(struct world *w, const struct event *ev)
{
	struct fake_source *source = ev->source;
	if (w->trace)
		fprintf(stderr, "%10.3f ms  event %d %s\n", (double)w->now_ns / 1e6, (int)ev->kind,
			ev->job != NULL ? ev->job->id : "");
	switch (ev->kind) {
	case EV_NONE:
		break;
	case EV_DELIVER:
		if (delivers(source))
			deliver_some(w, source);
		if (source->base.link != LINK_CLOSED && !source->hung)
			schedule(w, *ev, (1 + roll(w, 40)) * MS);
		break;
	case EV_CLAIMED:
		take_claimed(w, ev);
		break;
	case EV_CANCEL_OK:
		if (source->base.intake == INTAKE_SHUTTING && !source->hung && !source->wanted) {
			source->base.intake = INTAKE_SHUT;
			source->base.host->changed(source->base.host, &source->base);
		}
		break;
	case EV_CONSUME_OK:
		if (source->wanted && source->base.link == LINK_UP && !source->hung)
			source->base.intake = INTAKE_OPEN;
		look_at_lists(source);
		break;
	case EV_PROVED:
		everything_proved(w, source);
		break;
	case EV_DISCONNECT:
		if (source->base.link != LINK_UP)
			break;
		disconnect(w, source);
		schedule(w, (struct event){.kind = EV_RECONNECT, .source = source},
			 roll(w, 300) * MS);
		break;
	case EV_RECONNECT:
		if (source->base.link != LINK_DOWN || source->hung || source->closing)
			break;
		source->base.link = LINK_UP;
		schedule(w, (struct event){.kind = EV_CONSUME_OK, .source = source}, MS);
		break;
	case EV_HANG:
		source->hung = true;
		break;
	case EV_CLOSED:
		source->base.link = LINK_CLOSED;
		break;
	case EV_RETIRE:
		retire_queue(w, (unsigned)ev->number);
		break;
	case EV_ADD:
		add_queue(w, (unsigned)ev->number);
		break;
	case EV_CANCELLED:
		if (w->consumers[ev->number] == CANCELLING && !source->hung)
			w->consumers[ev->number] = CANCELLED;
		break;
	case EV_LEFT:
		if (w->consumers[ev->number] == LEAVING && !source->hung)
			w->consumers[ev->number] = LEFT;
		break;
	case EV_END_OF_RUN:
		end_run(w, ev->executor, ev->job, how_it_ends(w, ev->job));
		break;
	case EV_SAY:
		say(w, ev->executor, ev->job);
		break;
	case EV_SHRINK:
		if (ev->executor->base.width > 0)
			shrink(w, ev->executor);
		break;
	case EV_GROW:
		grow(ev->executor, (unsigned)ev->number);
		break;
	case EV_REQUEUE:
		put_in_queue(w, &w->messages[ev->number]);
		break;
	case EV_RELOAD:
		reload(w);
		break;
	case EV_SIGNAL:
		core_event(&w->core, (enum drain_event)ev->number, "simulated signal");
		break;
	}
}

/* --- promises that hold at all times --------------------------------------------------------- */

/* Beyond a limit there is only what was there when it was lowered. */
static unsigned most_now(unsigned limit, unsigned most, unsigned there)
{
	unsigned left = there < most ? there : most;
	return left > limit ? left : limit;
}

static void check_budgets(struct world *w)
{
	unsigned running = 0, per_route[MAX_ROUTES] = {0};
	for (unsigned i = 0; i < w->n_executors; i++) {
		struct fake_executor *e = &w->executors[i];
		running += e->begun;
		e->most = most_now(lane_widest(e->lane), e->most, e->lane->assigned);
		promise(w, e->begun <= e->base.widest || e->as_wide,
			"a handler runs more than its width");
		promise(w, e->begun <= e->most, "a handler runs more than its limit");
		list_each (it, &e->running) {
			const struct job *job = list_entry(it, struct job, in_executor);
			per_route[index_of(w, job->route)]++;
		}
	}
	w->most = most_now(w->concurrency, w->most, w->core.dispatch.budget.taken);
	promise(w, running <= w->most, "%u run, %u may", running, w->most);
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL || r->limit == 0)
			continue;
		w->most_of[i] = most_now(r->limit, w->most_of[i], r->assigned);
		promise(w, per_route[i] <= w->most_of[i], "queue %u runs %u, limit %u", i,
			per_route[i], w->most_of[i]);
	}
}

static void check_counts(struct world *w)
{
	uint64_t fates = 0;
	for (int fate = 0; fate < FATE_COUNT; fate++)
		fates += w->core.drain.report.since_start[fate];
	promise(w, fates == w->left, "%" PRIu64 " fates for %" PRIu64 " jobs that left", fates,
		w->left);
	promise(w, fates + w->merged + ledger_total(&w->core.ledger) == w->delivered,
		"%" PRIu64 " taken, %" PRIu64 " left, %" PRIu64 " merged, %zu here", w->delivered,
		fates, w->merged, ledger_total(&w->core.ledger));
}

/* Nothing that could begin may wait: a permit, a place and a held job at once is a lost wake-up. */
static void check_no_idle_room(struct world *w)
{
	if (w->core.drain.phase != PHASE_OPEN || budget_left(&w->core.dispatch.budget) == 0)
		return;
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL || r->retired)
			continue;
		bool room = r->lane->assigned < lane_width(r->lane) &&
			    (r->limit == 0 || r->assigned < r->limit) &&
			    rate_next_ns(&r->rate, w->now_ns) <= w->now_ns &&
			    rate_next_ns(&r->lane->rate, w->now_ns) <= w->now_ns;
		promise(w, r->held == 0 || !room, "queue %u holds %zu with room to run", i,
			r->held);
	}
}

/* Not even until the end of the turn does a queue keep what it cannot begin. */
static void check_retired(struct world *w)
{
	for (unsigned i = 0; i < w->n_routes; i++)
		promise(w,
			w->routes[i] == NULL || w->consumers[i] < CANCELLED ||
			    w->routes[i]->held == 0 || phase_is_stopping(w->core.drain.phase),
			"queue %u is cancelled and holds %zu", w->queue_of[i], w->routes[i]->held);
}

/* Whoever could not have begun a job anyway was not kept waiting by the others. */
static void forget_turns(struct world *w)
{
	for (unsigned a = 0; a < w->n_routes; a++)
		if (!may_begin(w, w->routes[a], NULL))
			memset(w->overtaken[a], 0, sizeof w->overtaken[a]);
}

/* The queue's own jobs will make room for the next of them, or what it waits for is none of ours. */
static bool waits_for_nobody(const struct world *w, unsigned route)
{
	const struct route *r = w->routes[route];
	if (w->consumers[route] != CONSUMES)
		return true;
	const struct fake_source *source = list_entry(r->source, struct fake_source, base);
	const struct budget *budget = &w->core.dispatch.budget;
	if (!source->asks || source->base.intake != INTAKE_OPEN || source->hung ||
	    source->base.link != LINK_UP || w->core.drain.phase != PHASE_OPEN ||
	    waiting(w, route) == 0 || lane_width(r->lane) == 0)
		return true;
	bool is_full = r->limit != 0 && r->assigned >= r->limit; /* more: it was lowered */
	return r->assigned > 0 &&
	       (r->assigned == r->lane->assigned || is_full || r->assigned == budget->taken);
}

/* Dispatch takes turns between those that hold a job, so who has more in his queue must. Where jobs are
 * staged, some of which may be its own, it is enough that it has any. */
static void check_lists_are_in_line(struct world *w)
{
	for (unsigned i = 0; i < w->n_routes; i++) {
		const struct route *r = w->routes[i];
		if (r == NULL)
			continue;
		const struct executor *executor = r->lane->executor;
		bool in_line =
		    r->held > 0 || (executor->depth > executor->width && r->assigned > 0);
		struct fake_list *list = &w->lists[i];
		bool before = list->out_of_line;
		list->out_of_line = !in_line && !waits_for_nobody(w, i);
		if (!before)
			list->since_ns = w->now_ns;
		promise(w, !list->out_of_line || w->now_ns - list->since_ns <= 20 * MS,
			"queue %u has %u jobs, and none in line", i, waiting(w, i));
	}
}

static void check_in_time(struct world *w)
{
	if (w->stop_ns == 0 && phase_is_stopping(w->core.drain.phase))
		w->stop_ns = w->now_ns;
	if (w->stop_ns == 0 || w->drain.limit == DRAIN_LIMIT_NONE)
		return;
	promise(w, w->now_ns <= w->stop_ns + w->drain.timeout_ms * MS, "the drain is late");
}

static void check(struct world *w)
{
	check_budgets(w);
	check_counts(w);
	check_no_idle_room(w);
	check_retired(w);
	forget_turns(w);
	check_lists_are_in_line(w);
	check_in_time(w);
}

static size_t next_event(const struct world *w)
{
	size_t best = SIZE_MAX;
	for (size_t i = 0; i < w->n_events; i++) {
		const struct event *e = &w->events[i];
		if (best == SIZE_MAX || e->at_ns < w->events[best].at_ns ||
		    (e->at_ns == w->events[best].at_ns && e->order < w->events[best].order))
			best = i;
	}
	return best;
}

static void turn(struct world *w)
{
	core_begin_jobs(&w->core);
	core_drain_turn(&w->core);
	for (unsigned i = 0; i < w->n_executors; i++)
		begin_staged(w, &w->executors[i]);
	count_asking(w);
	for (unsigned i = 0; i < w->n_routes; i++)
		attend(w, i);
	check(w);
}

void world_run(struct world *w)
{
	while (!core_is_closed(&w->core)) {
		size_t i = next_event(w);
		uint64_t core_ns = core_next_ns(&w->core);
		promise(w, i != SIZE_MAX || core_ns != UINT64_MAX,
			"nothing will ever happen again");
		if (i == SIZE_MAX || core_ns < w->events[i].at_ns) {
			w->now_ns = core_ns > w->now_ns ? core_ns : w->now_ns;
		} else {
			struct event ev = w->events[i];
			w->events[i] = w->events[--w->n_events];
			w->now_ns = ev.at_ns;
			happen(w, &ev);
		}
		turn(w);
	}
}

/* --- a world --------------------------------------------------------------------------------- */

static uint64_t world_now(const struct clock *clock)
{
	return list_entry(clock, struct world, clock)->now_ns;
}

static void build_drain(struct world *w)
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
	    .max_ms = 1000,
	    .jitter = 0.2,
	    .backoff = (enum backoff)roll(w, 3),
	};
}

static void build_edges(struct world *w)
{
	w->n_executors = 1 + (unsigned)roll(w, MAX_EXECUTORS);
	struct lane *lanes[MAX_EXECUTORS];
	for (unsigned i = 0; i < w->n_executors; i++) {
		struct fake_executor *e = &w->executors[i];
		unsigned width = 1 + (unsigned)roll(w, 6);
		e->base = (struct executor){
		    .ops = &fake_executor_ops,
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
		e->as_wide = !e->threads && !e->resizes && e->base.depth == width;
		e->world = w;
		e->index = i;
		list_init(&e->staged);
		list_init(&e->running);
		lanes[i] = roster_add_lane(&w->core.roster, &e->base,
					   chance(w, 30) ? 1 + roll(w, 1000) : 0);
		e->lane = lanes[i];
	}
	w->n_sources = 1 + (unsigned)roll(w, MAX_SOURCES);
	for (unsigned i = 0; i < w->n_sources; i++) {
		struct fake_source *s = &w->sources[i];
		s->base = (struct source){
		    .ops = &fake_source_ops, .host = &w->core.source_host, .name = "source"};
		s->world = w;
		s->index = i;
		s->asks = chance(w, 50);
		list_init(&s->told);
		roster_add_source(&w->core.roster, &s->base);
	}
	w->n_queues = w->n_sources + (unsigned)roll(w, MAX_QUEUES - w->n_sources + 1);
	for (unsigned i = 0; i < w->n_queues; i++)
		add_route(w, i, lanes[roll(w, w->n_executors)]);
}

/* Some handlers have a rate, or a limit, as some queues have; they differ in what a drain does to
 * their jobs. */
static void build_manners(struct world *w)
{
	list_each (it, &w->core.roster.lanes) {
		struct lane *lane = list_entry(it, struct lane, in_roster);
		lane->policy = (enum deadline_policy)roll(w, 3);
		if (chance(w, 20))
			lane->rate.interval_ns = (1 + roll(w, 200)) * MS;
		if (chance(w, 20))
			lane->limit = 1 + (unsigned)roll(w, lane->executor->width + 1);
	}
}

static void build_schedule(struct world *w)
{
	for (unsigned i = 0; i < w->n_sources; i++) {
		struct fake_source *s = &w->sources[i];
		s->base.ops->start(&s->base);
		if (!s->asks)
			schedule(w, (struct event){.kind = EV_DELIVER, .source = s},
				 roll(w, 10) * MS);
		while (chance(w, 40))
			schedule(w, (struct event){.kind = EV_DISCONNECT, .source = s},
				 roll(w, 6000) * MS);
		if (w->drain.limit != DRAIN_LIMIT_NONE && chance(w, 10))
			schedule(w, (struct event){.kind = EV_HANG, .source = s},
				 roll(w, 6000) * MS);
	}
	for (unsigned i = 0; i < w->n_executors; i++)
		while (w->executors[i].resizes && chance(w, 70))
			schedule(w, (struct event){.kind = EV_SHRINK, .executor = &w->executors[i]},
				 roll(w, 6000) * MS);
	for (unsigned i = 0; i < w->n_queues; i++)
		while (chance(w, 30)) {
			uint64_t at_ns = roll(w, 4000) * MS;
			schedule(w, (struct event){.kind = EV_RETIRE, .number = i}, at_ns);
			if (chance(w, 70))
				schedule(w, (struct event){.kind = EV_ADD, .number = i},
					 at_ns + roll(w, 1000) * MS);
		}
	while (chance(w, 40))
		schedule(w, (struct event){.kind = EV_RELOAD}, roll(w, 4000) * MS);
	uint64_t stop_ms = roll(w, 4000);
	while (chance(w, 30))
		schedule(w,
			 (struct event){.kind = EV_SIGNAL,
					.number = chance(w, 50) ? EVENT_QUIET : EVENT_RESUME},
			 roll(w, 6000) * MS);
	schedule(w,
		 (struct event){.kind = EV_SIGNAL,
				.number = chance(w, 90) ? EVENT_STOP : EVENT_STOP_NOW},
		 stop_ms * MS);
	while (chance(w, 25))
		schedule(w,
			 (struct event){.kind = EV_SIGNAL,
					.number = chance(w, 70) ? EVENT_STOP : EVENT_STOP_NOW},
			 (stop_ms + roll(w, 4000)) * MS);
}

void world_build(struct world *w, uint64_t seed, bool trace)
{
	memset(w, 0, offsetof(struct world, events));
	w->seed = seed;
	w->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->trace = trace;
	w->now_ns = 1000 * MS;
	w->clock.now_ns = world_now;
	w->concurrency = 1 + (unsigned)roll(w, 12);
	w->prefetch = 1 + (unsigned)roll(w, 40);
	build_drain(w);
	core_init(&w->core, &w->clock, NULL, w->concurrency, &w->drain, (uint32_t)seed);
	w->core.route_gone = route_gone;
	w->core.route_gone_arg = w;
	build_edges(w);
	build_manners(w);
	w->n_messages = (unsigned)roll(w, MAX_MESSAGES);
	for (unsigned i = 0; i < w->n_messages; i++)
		w->messages[i] = (struct message){.queue = (unsigned)roll(w, w->n_queues),
						  .attempt = 1,
						  .interruptions = chance(w, 30),
						  .without_id = chance(w, 20)};
	build_schedule(w);
}

/* --- the end --------------------------------------------------------------------------------- */

static void check_exit_code(struct world *w)
{
	const struct report *r = &w->core.drain.report;
	int code = report_exit_code(r);
	promise(w, code == 0 || code == 10 || code == 11 || code == 12, "exit code %d", code);
	promise(w, (code == 11) == (r->fates[FATE_UNSETTLED] > 0), "exit 11 means unsettled jobs");
	promise(w, code != 0 || r->interrupted == 0, "exit 0 with interrupted jobs");
	bool returns = false; /* a handler whose jobs are interrupted at once */
	list_each (it, &w->core.roster.lanes)
		returns |= list_entry(it, struct lane, in_roster)->policy == POLICY_RETURN;
	promise(w, code != 10 || r->hurry == HURRY_DEADLINE || returns,
		"exit 10 without a deadline");
}

/* Nothing lost: a message that is gone was done or dead. Nothing doubled in silence: a second good
 * end, or one on top of a message still in the queue, was announced. */
static void check_messages(struct world *w)
{
	for (unsigned i = 0; i < w->n_messages; i++) {
		const struct message *m = &w->messages[i];
		if (m->place == GONE)
			promise(w, m->done > 0 || m->dead, "message %u is lost", i);
		unsigned most = m->place == GONE && !m->dead ? 1 : 0;
		promise(w, m->done <= most || m->excused, "message %u ran %u times in silence", i,
			m->done);
	}
}

void world_end(struct world *w)
{
	for (unsigned i = 0; i < w->n_sources; i++)
		w->sources[i].hung = false;
	/* What is told and unproved when the process ends is not the broker's: it redelivers. */
	for (unsigned i = 0; i < w->n_sources; i++) {
		struct fake_source *s = &w->sources[i];
		struct list *it;
		while ((it = list_take_first(&s->told)) != NULL) {
			struct job *job = list_entry(it, struct job, in_source);
			message_of(w, job)->excused = true;
			core_lets_go(w, s, job, SETTLED_LOST);
		}
	}
	list_each (it, &w->core.ledger.lists[JOB_RUNNING]) {
		struct job *job = list_entry(it, struct job, in_ledger);
		message_of(w, job)->excused = true;
		w->stuck[w->n_stuck++] = job;
	}
	list_each (it, &w->core.ledger.lists[JOB_HELD])
		w->merged += list_entry(it, struct job, in_ledger)->twin != NULL;
	w->left += ledger_total(&w->core.ledger);
	list_each (it, &w->core.ledger.lists[JOB_HELD])
		w->left -= list_entry(it, struct job, in_ledger)->twin != NULL;
	core_abandon_rest(&w->core);
	check_counts(w);
	check_exit_code(w);
	check_messages(w);
	for (unsigned i = 0; i < w->n_stuck; i++)
		job_destroy(w->stuck[i]);
	core_fini(&w->core);
}
