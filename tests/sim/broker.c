/* Brokers. Each queue is one: messages have a position in it, which they keep when they are given back. Another
 * worker takes from it, too: what we lose may be done elsewhere, and what comes to us may have been begun there.
 *
 * Some sources are sent jobs, each queue on a channel of its own, and settle in two steps where a copy is made
 * (RabbitMQ); others ask for them (Redis). Either may find at any call that its connection has gone. */
#include "world.h"

#include <stdio.h>
#include <string.h>

static struct fake_source *source_at(struct source *base)
{
	return list_entry(base, struct fake_source, base);
}

struct fake_source *source_of_queue(struct world *w, unsigned queue)
{
	return &w->sources[queue % w->n_sources];
}

/* --- routes ---------------------------------------------------------------------------------- */

unsigned route_index(const struct world *w, const struct route *route)
{
	unsigned i = 0;
	while (w->routes[i] != route)
		i++;
	return i;
}

unsigned route_now(const struct world *w, unsigned queue)
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

void route_add(struct world *w, unsigned queue, struct lane *lane)
{
	unsigned i = w->n_routes++;
	char *name = w->queues[queue].name;
	(void)snprintf(name, sizeof w->queues[queue].name, "queue %u", queue);
	w->routes[i] =
	    roster_add_route(&w->core.roster, name, &source_of_queue(w, queue)->base, lane,
			     &w->retry, chance(w, 40) ? 1 + (unsigned)roll(w, 4) : 0);
	w->queue_of[i] = queue;
	w->consumers[i] = CONSUMES;
	list_init(&w->held[i]);
	w->lists[i].looks = true;
	if (chance(w, 20))
		w->routes[i]->rate.interval_ns = (1 + roll(w, 200)) * MS;
	if (source_of_queue(w, queue)->asks && chance(w, 30))
		w->routes[i]->hold_limit = 1 + roll(w, 20);
}

void route_gone(void *world, struct route *route)
{
	struct world *w = world;
	unsigned i = route_index(w, route);
	promise(w, w->consumers[i] == LEFT_CONSUMER, "a queue is gone that has not left");
	for (unsigned a = 0; a < w->n_routes; a++) /* they take turns with fewer now */
		if (w->routes[a] != NULL && w->routes[a]->lane == route->lane)
			memset(w->overtaken[a], 0, sizeof w->overtaken[a]);
	memory_route_gone(w, i);
	w->routes[i] = NULL;
	w->gone++;
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
	route_add(w, queue, w->executors[roll(w, w->n_executors)].lane);
}

/* --- messages -------------------------------------------------------------------------------- */

static struct message *new_message(struct world *w, unsigned queue, unsigned work)
{
	promise(w, w->n_messages < MAX_MESSAGES, "too many messages for the simulation");
	struct message *m = &w->messages[w->n_messages++];
	*m = (struct message){.queue = queue, .work = work, .attempt = 1};
	list_init(&m->in_queue);
	return m;
}

static void wake_lists(struct world *w, unsigned queue)
{
	for (unsigned i = 0; i < w->n_routes; i++) {
		struct fake_list *list = &w->lists[i];
		if (w->queue_of[i] != queue)
			continue;
		list->looks |= list->blocks;
		list->blocks = false;
	}
}

static void put_in_queue(struct world *w, struct message *m)
{
	struct list *at = w->queues[m->queue].waiting.next;
	while (at != &w->queues[m->queue].waiting &&
	       list_entry(at, struct message, in_queue)->position < m->position)
		at = at->next;
	list_insert_before(at, &m->in_queue);
	m->place = IN_QUEUE;
	wake_lists(w, m->queue);
}

static void publish(struct world *w, struct message *m)
{
	m->position = ++w->last_position;
	put_in_queue(w, m);
}

void broker_publish(struct world *w, unsigned queue, struct content content)
{
	w->works[w->n_works] = (struct work){0};
	struct message *m = new_message(w, queue, (unsigned)w->n_works++);
	m->content = content;
	m->interruptions = chance(w, 30);
	publish(w, m);
}

static void give_back(struct world *w, struct message *m)
{
	m->redelivered = true;
	m->holder = NULL;
	put_in_queue(w, m);
}

unsigned broker_waiting(const struct world *w, unsigned route)
{
	unsigned n = 0;
	list_each (it, &w->queues[w->queue_of[route]].waiting)
		n++;
	return n;
}

static unsigned unacked(const struct world *w, unsigned queue)
{
	unsigned n = 0;
	for (unsigned i = 0; i < w->n_messages; i++)
		n += w->messages[i].queue == queue && w->messages[i].place == OUT;
	return n;
}

/* --- the other worker ------------------------------------------------------------------------ */

static void other_takes(struct world *w, unsigned queue)
{
	for (unsigned n = 1 + (unsigned)roll(w, 5); n > 0; n--) {
		struct list *it = list_take_first(&w->queues[queue].waiting);
		if (it == NULL)
			return;
		struct message *m = list_entry(it, struct message, in_queue);
		m->place = ELSEWHERE;
		w->others++;
		schedule(
		    w, (struct event){.kind = EV_OTHER_ENDS, .number = (uint64_t)(m - w->messages)},
		    roll(w, 1000) * MS);
	}
}

/* It is done, or goes back: unbegun, or begun and lost. */
static void other_ends(struct world *w, struct message *m)
{
	bool good = chance(w, 50);
	w->works[m->work].good += good || chance(w, 20);
	if (good)
		m->place = GONE;
	else
		give_back(w, m);
}

/* --- what sources take ------------------------------------------------------------------------ */

static bool delivers(const struct fake_source *source)
{
	return source->base.link == LINK_UP && !source->hung &&
	       (source->base.intake == INTAKE_OPEN || source->base.intake == INTAKE_SHUTTING);
}

static struct job *a_job(struct world *w, const struct delivery *d)
{
	const struct message *m = d->message;
	struct source_host *host = d->source->base.host;
	char id[32], checkpoint[16], properties[32];
	uint64_t serial = host->next_serial(host);
	if (m->content.id == 0)
		(void)snprintf(id, sizeof id, "made-up-%" PRIu64, serial);
	else
		(void)snprintf(id, sizeof id, "m%u", m->content.id);
	(void)snprintf(properties, sizeof properties, "properties %u", m->content.properties);
	int n = snprintf(checkpoint, sizeof checkpoint, "%u", m->checkpoint);
	struct job_facts facts = {
	    .route = w->routes[d->route],
	    .serial = serial,
	    .attempt = m->attempt,
	    .interruptions = m->interruptions,
	    .crashes = m->crashes,
	    .redelivered = m->redelivered,
	    .id = span_text(id),
	    .id_made_up = m->content.id == 0,
	    .origin = span_text(properties),
	    .body_bytes = sizeof m->content.body,
	    .checkpoint = span_of(checkpoint, m->checkpoint == 0 ? 0 : (size_t)n),
	};
	struct job *job = job_create(&facts);
	promise(w, job != NULL, "no memory");
	memcpy(job_body(job), &m->content.body, sizeof m->content.body);
	job->source_tag = d->number;
	return job;
}

static void hand_over(struct world *w, struct message *m, unsigned route)
{
	struct delivery *d = books_new_delivery(w, m, route);
	struct job *job = d->job = a_job(w, d);
	list_remove(&m->in_queue);
	m->place = OUT;
	m->holder = d;
	d->run = memory_first_of(w, d);
	trace(w, "  delivery %u: message %u of queue %u, %s, attempt %u%s%s", d->number,
	      (unsigned)(m - w->messages), m->queue, job->id, m->attempt,
	      m->redelivered ? ", redelivered" : "", d->run != NULL ? ", known" : "");
	bool ended = d->run != NULL && d->run->where == LEFT;
	if (d->run == NULL)
		books_hold(w, d);
	else
		d->where = AWAITS;
	d->source->base.host->deliver(d->source->base.host, &job);
	promise(w, job == NULL, "deliver() left the job with the source");
	promise(w, !ended || d->where == TOLD || d->where == LEFT,
		"delivery %u is the second of one that has ended, and is not settled", d->number);
}

/* Delivers some of what waits, up to the prefetch of each queue. */
static void deliver_some(struct world *w, struct fake_source *source)
{
	unsigned burst = 1 + (unsigned)roll(w, 10);
	for (unsigned q = 0; q < w->n_queues; q++) {
		struct list *waiting = &w->queues[q].waiting;
		while (burst > 0 && !list_empty(waiting) && source_of_queue(w, q) == source &&
		       delivers(source)) {
			unsigned route = consumer_of(w, q);
			if (route == MAX_ROUTES || unacked(w, q) >= w->prefetch)
				break;
			hand_over(w, list_entry(waiting->next, struct message, in_queue), route);
			burst--;
		}
	}
}

static void look_at_lists(struct fake_source *source)
{
	struct world *w = source->world;
	for (unsigned i = 0; i < w->n_routes; i++)
		w->lists[i].looks |= w->routes[i] != NULL && w->routes[i]->source == &source->base;
}

static size_t here_of(const struct world *w, unsigned route)
{
	size_t n = 0;
	for (size_t i = w->first_here; i < w->n_deliveries; i++)
		n += w->deliveries[i].route == route && w->deliveries[i].where != LEFT;
	return n;
}

static size_t room_for(struct world *w, unsigned route)
{
	struct route *r = w->routes[route];
	size_t room = r->source->host->room(r->source->host, r);
	if (r->hold_limit == 0)
		return room;
	size_t here = here_of(w, route);
	promise(w, room == (here < r->hold_limit ? r->hold_limit - here : 0),
		"room for %zu beside %zu, limit %zu", room, here, r->hold_limit);
	return room;
}

/* What redis_list_queue.c does at the end of a turn, but for settling. */
static void attend(struct world *w, unsigned route)
{
	struct route *r = w->routes[route];
	if (r == NULL || w->consumers[route] != CONSUMES)
		return;
	struct fake_source *source = source_at(r->source);
	struct fake_list *list = &w->lists[route];
	if (!source->asks || !list->looks || source->base.intake != INTAKE_OPEN || source->hung ||
	    source->base.link != LINK_UP)
		return;
	list->looks = false;
	struct pace_facts facts = pace_facts_of(r, w->now_ns);
	facts.room = room_for(w, route);
	size_t wanted = lane_width(r->lane) > 0 ? pace_wanted(&list->pace, &facts) : 0;
	if (list->claims || wanted == 0)
		return;
	list->blocks = broker_waiting(w, route) == 0;
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
		struct fake_source *s = source_at(w->routes[i]->source);
		w->routes[i]->lane->asking += s->asks && s->wanted && broker_waiting(w, i) > 0;
	}
}

void broker_attend(struct world *w)
{
	count_asking(w);
	for (unsigned i = 0; i < w->n_routes; i++)
		attend(w, i);
}

static void take_claimed(struct world *w, const struct event *ev)
{
	struct fake_list *list = &w->lists[ev->route];
	struct list *waiting = &w->queues[w->queue_of[ev->route]].waiting;
	uint64_t taken = 0;
	list->claims = false;
	list->looks = true;
	while (taken < ev->number && !list_empty(waiting) && delivers(ev->source) &&
	       w->routes[ev->route] != NULL && w->consumers[ev->route] < CANCELLED) {
		hand_over(w, list_entry(waiting->next, struct message, in_queue), ev->route);
		taken++;
	}
	list->out_of_line = false; /* until the next check */
	pace_claimed(&list->pace, w->now_ns, taken == ev->number);
}

static void source_room_came(struct source *base, struct route *route)
{
	struct fake_source *source = source_at(base);
	source->world->lists[route_index(source->world, route)].looks = true;
}

static void source_limits_changed(struct source *base)
{
	source_at(base)->limits_heard++;
}

/* --- what becomes of them --------------------------------------------------------------------- */

/* What the broker learns of a job that will run again, told as the sources do; and what it should
 * learn, by our books. */
static void learn_checkpoint(struct message *to, const struct delivery *d)
{
	if (job_left_new_checkpoint(d->job))
		to->checkpoint = checkpoint_number(job_next_checkpoint(d->job));
	if (d->run != NULL && d->run->has_left)
		to->due = d->run->left;
}

static bool makes_copy(const struct delivery *d)
{
	enum fate fate = d->job->verdict.fate;
	return fate == FATE_RETRIED || fate == FATE_DEAD;
}

static void copy(struct world *w, struct delivery *d)
{
	const struct message *m = d->message;
	const struct verdict *v = &d->job->verdict;
	d->copied = true;
	if (v->fate == FATE_DEAD) {
		w->works[m->work].dead++;
		return;
	}
	struct message *later = new_message(w, m->queue, m->work);
	later->place = DELAYED;
	later->content = m->content;
	later->attempt = v->attempt;
	later->interruptions = v->interruptions;
	later->crashes = v->crashes;
	later->checkpoint = m->checkpoint;
	later->due = m->due;
	learn_checkpoint(later, d);
	schedule(w, (struct event){.kind = EV_REQUEUE, .number = (uint64_t)(later - w->messages)},
		 v->delay_ms * MS);
}

static void apply_verdict(struct world *w, struct delivery *d)
{
	struct message *m = d->message;
	const struct verdict *v = &d->job->verdict;
	if (makes_copy(d) && !d->copied && !d->job->copied)
		copy(w, d);
	if (v->fate != FATE_RETURNED) {
		if (!list_empty(&m->in_queue)) /* lost, and told all the same */
			list_remove(&m->in_queue);
		m->place = GONE;
		return;
	}
	learn_checkpoint(m, d);
	m->interruptions = v->interruptions;
	give_back(w, m);
	m->redelivered = !job_left_new_checkpoint(d->job); /* else a copy */
}

static void core_lets_go(struct world *w, struct delivery *d, enum settled how)
{
	struct job *job = d->job;
	enum fate fate = job->verdict.fate;
	if (how != SETTLED && fate != FATE_RETURNED)
		fate = FATE_UNSETTLED;
	if (d->message->holder == d)
		d->message->holder = NULL;
	unschedule_job(w, job);
	trace(w, "  delivery %u leaves: %s%s", d->number, fate_name(fate),
	      how == SETTLED        ? ""
	      : how == SETTLED_LOST ? ", lost"
				    : ", unproved");
	if (how != SETTLED)
		memory_keep(w, d, how);
	books_leaves(w, d, fate);
	d->source->base.host->settled(d->source->base.host, job, how);
}

static struct delivery *first_provable(const struct fake_source *source)
{
	list_each (it, &source->told) {
		struct job *job = list_entry(it, struct job, in_source);
		struct delivery *d = delivery_of(source->world, job);
		if (!source->two_steps || !makes_copy(d) || job->copied)
			return d;
	}
	return NULL;
}

static void everything_proved(struct fake_source *source)
{
	struct delivery *d;
	while (!source->hung && (d = first_provable(source)) != NULL) {
		list_remove(&d->job->in_source);
		apply_verdict(source->world, d);
		core_lets_go(source->world, d, SETTLED);
	}
}

static void expect_proof(struct fake_source *source)
{
	struct world *w = source->world;
	if (!source->hung)
		schedule(w, (struct event){.kind = EV_PROVED, .source = source},
			 roll(w, 3) == 0 ? 0 : roll(w, 20) * MS);
}

static void copied(struct world *w, const struct event *ev)
{
	struct delivery *d = delivery_of(w, ev->job);
	if (d->source->hung || d->where != TOLD)
		return;
	copy(w, d);
	d->job->copied = true;
	expect_proof(d->source);
}

/* What was told, and not proved, may have arrived; not before its copy is there. */
static void lose_told(struct world *w, struct fake_source *source, unsigned route)
{
	struct list *it = source->told.next;
	while (it != &source->told) {
		struct delivery *d = delivery_of(w, list_entry(it, struct job, in_source));
		it = it->next;
		if (d->route != route)
			continue;
		bool told = !source->two_steps || !makes_copy(d) || d->job->copied;
		bool arrived = told && chance(w, 30);
		list_remove(&d->job->in_source);
		if (arrived)
			apply_verdict(w, d);
		else
			give_back(w, d->message);
		core_lets_go(w, d,
			     arrived || (told && chance(w, 50)) ? SETTLED_UNPROVED : SETTLED_LOST);
	}
}

/* The broker takes back whatever was not acknowledged on this channel, begun or not. */
static void lose_route(struct world *w, unsigned route)
{
	struct route *r = w->routes[route];
	struct fake_source *source = source_at(r->source);
	w->epochs[route]++;
	lose_told(w, source, route);
	for (size_t i = w->first_here; i < w->n_deliveries; i++) {
		struct delivery *d = &w->deliveries[i];
		if (d->where == LEFT || d->route != route)
			continue;
		d->lost = true;
		if (d->message->holder == d)
			give_back(w, d->message);
	}
	source->base.host->took_back(source->base.host, r);
	struct delivery *d;
	while ((d = books_oldest_held(w, route)) != NULL)
		books_leaves(w, d, FATE_RETURNED);
	for (size_t i = w->first_here; i < w->n_deliveries; i++)
		if (w->deliveries[i].where == AWAITS && w->deliveries[i].route == route)
			books_leaves(w, &w->deliveries[i], FATE_RETURNED);
	promise(w, r->held == 0, "took_back() kept held jobs");
}

/* The connection is gone. */
static void disconnect(struct fake_source *source)
{
	struct world *w = source->world;
	source->base.link = LINK_DOWN;
	if (source->base.intake != INTAKE_SHUT)
		source->base.intake = source->wanted ? INTAKE_OPENING : INTAKE_SHUT;
	for (unsigned i = 0; i < w->n_routes; i++) {
		if (w->routes[i] == NULL || w->routes[i]->source != &source->base)
			continue;
		if (w->consumers[i] == CANCELLING)
			w->consumers[i] = CANCELLED;
		if (w->consumers[i] == LEAVING)
			w->consumers[i] = LEFT_CONSUMER;
		lose_route(w, i);
	}
	source->base.host->changed(source->base.host, &source->base);
	schedule(w, (struct event){.kind = EV_RECONNECT, .source = source}, roll(w, 300) * MS);
}

static void close_channel(struct world *w, unsigned route)
{
	struct fake_source *source;
	if (route >= w->n_routes || w->routes[route] == NULL)
		return;
	source = source_at(w->routes[route]->source);
	if (source->base.link == LINK_UP && !source->hung && !source->asks)
		lose_route(w, route);
}

static void check_unbegun(struct world *w, const struct delivery *d)
{
	promise(w, d->source->base.intake == INTAKE_SHUT || w->consumers[d->route] >= CANCELLED,
		"an unbegun job went back while its consumer could get it again");
	const struct delivery *first = books_oldest_held(w, d->route);
	promise(w, first == d, "delivery %u goes back before delivery %u", d->number,
		first->number);
}

static void check_verdict(struct world *w, const struct delivery *d)
{
	const struct verdict *v = &d->job->verdict;
	struct verdict due = books_verdict(w, d);
	promise(w, v->fate == due.fate && v->interrupted == due.interrupted,
		"delivery %u is told %s%s, and is %s%s", d->number, fate_name(v->fate),
		v->interrupted ? ", interrupted" : "", fate_name(due.fate),
		due.interrupted ? ", interrupted" : "");
	promise(w, v->attempt == due.attempt, "delivery %u: next attempt %u, not %u", d->number,
		v->attempt, due.attempt);
	if (d->run != NULL && d->run != d)
		return; /* told as the other one was: its counts may be others */
	promise(w, v->interruptions == due.interruptions && v->crashes == due.crashes,
		"delivery %u: %u interruptions and %u crashes, not %u and %u", d->number,
		v->interruptions, v->crashes, due.interruptions, due.crashes);
	promise(w, v->poisonous == due.poisonous, "poison, or not");
}

static void source_settle(struct source *base, struct job *job)
{
	struct fake_source *source = source_at(base);
	struct world *w = source->world;
	struct delivery *d = delivery_of(w, job);
	promise(w, d->where == HELD || d->where == ENDED || d->where == AWAITS,
		"delivery %u is settled a second time, or as it runs", d->number);
	if (d->where == HELD)
		check_unbegun(w, d);
	if (d->where == AWAITS && d->run->where == ENDED)
		books_merge(w, d->run);
	else if (d->where == AWAITS)
		promise(w, d->run->where == LEFT,
			"delivery %u is settled before the run it awaits has ended", d->number);
	list_remove(&d->in_held);
	check_verdict(w, d);
	if (d->run != NULL && d->run->message->work != d->message->work)
		w->works[d->message->work].credited = true;
	d->where = TOLD;
	if (d->lost) { /* the broker has it back already */
		core_lets_go(w, d, SETTLED_LOST);
		return;
	}
	list_append(&source->told, &job->in_source);
	struct fake_list *list = &w->lists[d->route];
	list->looks = true;
	pace_job_ended(&list->pace);
	if (source->two_steps && makes_copy(d) && !job->copied && !source->hung)
		schedule(w, (struct event){.kind = EV_COPIED, .job = job}, roll(w, 10) * MS);
	expect_proof(source);
	if (!chance(w, w->mischief) || source->hung || base->link != LINK_UP)
		return;
	if (chance(w, 20))
		disconnect(source); /* as it is written to */
	else
		everything_proved(source);
}

/* --- links and intakes ------------------------------------------------------------------------ */

static void source_start(struct source *base)
{
	struct fake_source *source = source_at(base);
	source->wanted = true;
	base->link = LINK_UP;
	base->intake = INTAKE_OPENING;
	schedule(source->world, (struct event){.kind = EV_CONSUME_OK, .source = source},
		 (1 + roll(source->world, 5)) * MS);
}

static void source_pause(struct source *base)
{
	struct fake_source *source = source_at(base);
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
	struct fake_source *source = source_at(base);
	source->wanted = true;
	base->intake = INTAKE_OPENING;
	if (base->link == LINK_UP && !source->hung)
		schedule(source->world, (struct event){.kind = EV_CONSUME_OK, .source = source},
			 roll(source->world, 5) * MS);
}

static void source_flush(struct source *base)
{
	struct fake_source *source = source_at(base);
	if (!source->hung)
		schedule(source->world, (struct event){.kind = EV_PROVED, .source = source}, MS);
}

static void source_close(struct source *base)
{
	struct fake_source *source = source_at(base);
	promise(source->world, list_empty(&source->told), "closed with settles open");
	if (base->link != LINK_UP) {
		base->link = LINK_CLOSED;
		return;
	}
	base->link = LINK_CLOSING;
	if (!source->hung)
		schedule(source->world, (struct event){.kind = EV_CLOSED, .source = source},
			 roll(source->world, 5) * MS);
}

/* What is told and unproved when the process ends is not the broker's: it redelivers. */
void source_destroy(struct fake_source *source)
{
	struct list *it;
	while ((it = list_take_first(&source->told)) != NULL)
		core_lets_go(source->world,
			     delivery_of(source->world, list_entry(it, struct job, in_source)),
			     SETTLED_LOST);
}

static void source_retire(struct source *base, struct route *route)
{
	struct fake_source *source = source_at(base);
	struct world *w = source->world;
	unsigned i = route_index(w, route);
	w->consumers[i] = base->link == LINK_UP ? CANCELLING : CANCELLED;
	if (base->link == LINK_UP && !source->hung)
		schedule(w, (struct event){.kind = EV_CANCELLED, .source = source, .number = i},
			 roll(w, 30) * MS);
}

static enum leaving source_leave(struct source *base, struct route *route)
{
	struct fake_source *source = source_at(base);
	struct world *w = source->world;
	unsigned i = route_index(w, route);
	if (w->consumers[i] == CANCELLING)
		return LEAVING_INTAKE;
	if (w->consumers[i] == CANCELLED && here_of(w, i) == 0) {
		w->consumers[i] = base->link == LINK_UP ? LEAVING : LEFT_CONSUMER;
		if (base->link == LINK_UP && !source->hung)
			schedule(w, (struct event){.kind = EV_LEFT, .source = source, .number = i},
				 roll(w, 5) * MS);
	}
	return w->consumers[i] == LEFT_CONSUMER ? LEAVING_GONE : LEAVING_JOBS;
}

static bool source_is_again(const struct source *base, const struct job *first,
			    const struct job *again)
{
	(void)base;
	return span_equal(first->origin, again->origin);
}

const struct source_ops fake_source_ops = {
    .kind = "fake",
    .start = source_start,
    .pause = source_pause,
    .resume = source_resume,
    .settle = source_settle,
    .flush = source_flush,
    .room_came = source_room_came,
    .limits_changed = source_limits_changed,
    .is_again = source_is_again,
    .retire = source_retire,
    .leave = source_leave,
    .close = source_close,
};

/* --- what happens ----------------------------------------------------------------------------- */

static void intake_shut(struct fake_source *source)
{
	if (source->base.intake != INTAKE_SHUTTING || source->hung || source->wanted)
		return;
	source->base.intake = INTAKE_SHUT;
	source->base.host->changed(source->base.host, &source->base);
}

static void intake_open(struct fake_source *source)
{
	if (source->wanted && source->base.link == LINK_UP && !source->hung)
		source->base.intake = INTAKE_OPEN;
	look_at_lists(source);
}

static void reconnect(struct fake_source *source)
{
	struct world *w = source->world;
	if (source->base.link != LINK_DOWN || source->hung || source->refuses)
		return;
	source->base.link = LINK_UP;
	schedule(w, (struct event){.kind = EV_CONSUME_OK, .source = source}, MS);
}

static void refuse(struct fake_source *source)
{
	struct error why = {0};
	if (source->base.link != LINK_UP || source->base.intake != INTAKE_OPENING)
		return;
	source->base.link = LINK_DOWN;
	source->world->books.refused = true;
	deadlines_stop_begins(source->world);
	source->base.host->refused(source->base.host, &source->base, &why);
}

static void bury(struct world *w, unsigned route)
{
	if (route >= w->n_routes || w->routes[route] == NULL ||
	    !delivers(source_at(w->routes[route]->source)))
		return;
	uint64_t count = 1 + roll(w, 3);
	w->books.since_start[FATE_DEAD] += count;
	if (w->stop.stopping)
		w->books.in_drain[FATE_DEAD] += count;
	w->core.source_host.buried(&w->core.source_host, w->routes[route], count);
}

static void deliver_and_go_on(struct world *w, const struct event *ev)
{
	struct fake_source *source = ev->source;
	if (delivers(source))
		deliver_some(w, source);
	if (source->base.link != LINK_CLOSED && !source->hung)
		schedule(w, *ev, (1 + roll(w, 40)) * MS);
}

void broker_happens(struct world *w, const struct event *ev)
{
	struct fake_source *source = ev->source;
	switch (ev->kind) {
	case EV_DELIVER:
		deliver_and_go_on(w, ev);
		break;
	case EV_CLAIMED:
		take_claimed(w, ev);
		break;
	case EV_CANCEL_OK:
		intake_shut(source);
		break;
	case EV_CONSUME_OK:
		intake_open(source);
		break;
	case EV_COPIED:
		copied(w, ev);
		break;
	case EV_PROVED:
		everything_proved(source);
		break;
	case EV_DISCONNECT:
		if (source->base.link == LINK_UP)
			disconnect(source);
		break;
	case EV_RECONNECT:
		reconnect(source);
		break;
	case EV_CHANNEL:
		close_channel(w, (unsigned)ev->number);
		break;
	case EV_HANG:
		source->hung = true;
		break;
	case EV_CLOSED:
		source->base.link = LINK_CLOSED;
		break;
	case EV_REFUSE:
		refuse(source);
		break;
	case EV_BURY:
		bury(w, (unsigned)ev->number);
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
			w->consumers[ev->number] = LEFT_CONSUMER;
		break;
	case EV_OTHER:
		other_takes(w, (unsigned)ev->number);
		break;
	case EV_OTHER_ENDS:
		other_ends(w, &w->messages[ev->number]);
		break;
	case EV_REQUEUE:
		publish(w, &w->messages[ev->number]);
		break;
	default:
		break;
	}
}
