/* How jobs come to the core. Some sources are sent them, each queue on a channel of its own (RabbitMQ); others ask for
 * as many as there is room for (Redis). */
#include "world.h"

#include <stdio.h>
#include <string.h>

static struct fake_source *source_at(struct source *base)
{
	return list_entry(base, struct fake_source, base);
}
bool source_delivers(const struct fake_source *source)
{
	return source->base.link == LINK_UP && !source->hung &&
	       (source->base.intake == INTAKE_OPEN || source->base.intake == INTAKE_SHUTTING);
}

static struct job *a_job(struct world *w, struct delivery *d)
{
	const struct message *m = d->message;
	struct source_host *host = d->source->base.host;
	char checkpoint[16], properties[32];
	uint64_t serial = host->next_serial(host);
	if (m->content.id == 0)
		(void)snprintf(d->id, sizeof d->id, "made-up-%" PRIu64, serial);
	else
		(void)snprintf(d->id, sizeof d->id, "m%u", m->content.id);
	(void)snprintf(properties, sizeof properties, "properties %u", m->content.properties);
	int n = snprintf(checkpoint, sizeof checkpoint, "%u", m->checkpoint);
	struct job_facts facts = {
	    .route = w->routes[d->route],
	    .serial = serial,
	    .attempt = m->attempt,
	    .interruptions = m->interruptions,
	    .crashes = m->crashes,
	    .redelivered = m->redelivered,
	    .id = span_text(d->id),
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

/* What was lost went back to where it had been: behind the first that is new nothing of it comes. */
static void note_new(struct world *w, const struct message *m, unsigned route)
{
	struct source_host *host = w->routes[route]->source->host;
	if (m->redelivered || !w->queues[m->queue].owes || chance(w, 50))
		return; /* or it does not know yet */
	w->queues[m->queue].owes = false;
	memory_over(w, m->queue);
	host->redelivered_all(host, w->routes[route]);
}

/* Where the core has put it: held, or awaiting another's end, or settled already. */
static void look_at_arrived(struct world *w, struct delivery *d, bool known)
{
	if (d->where != ARRIVES) {
		promise(w, known, "delivery %u is settled, and nobody knows it", d->number);
		return;
	}
	const struct job *first = d->job->recall.other;
	promise(w, known == (first != NULL), "delivery %u %s", d->number,
		known ? "ran here before, and is to run again" : "awaits the end of a stranger");
	if (known)
		memory_meet(w, delivery_of(w, first), d);
	else
		books_hold(w, d);
	d->where = known ? AWAITS : HELD;
}

static void hand_over(struct world *w, struct message *m, unsigned route)
{
	note_new(w, m, route);
	struct delivery *d = books_new_delivery(w, m, route);
	struct job *job = d->job = a_job(w, d);
	list_remove(&m->in_queue);
	m->place = OUT;
	m->holder = d;
	trace(w, "  delivery %u: message %u of queue %u, %s, attempt %u%s", d->number,
	      (unsigned)(m - w->messages), m->queue, job->id, m->attempt,
	      m->redelivered ? ", redelivered" : "");
	bool known = memory_knows(w, d);
	d->source->base.host->deliver(d->source->base.host, &job);
	promise(w, job == NULL, "deliver() left the job with the source");
	look_at_arrived(w, d, known);
}

/* Delivers some of what waits, up to the prefetch of each queue. */
void intake_deliver(struct fake_source *source)
{
	struct world *w = source->world;
	unsigned burst = 1 + (unsigned)roll(w, 10);
	for (unsigned q = 0; q < w->n_queues; q++) {
		struct list *waiting = &w->queues[q].waiting;
		while (burst > 0 && !list_empty(waiting) && source_of_queue(w, q) == source &&
		       source_delivers(source)) {
			unsigned route = broker_consumer_of(w, q);
			if (route == MAX_ROUTES || broker_unacked(w, q) >= w->prefetch)
				break;
			hand_over(w, list_entry(waiting->next, struct message, in_queue), route);
			burst--;
		}
	}
}

void intake_look(struct fake_source *source)
{
	struct world *w = source->world;
	for (unsigned i = 0; i < w->n_routes; i++)
		w->lists[i].looks |= w->routes[i] != NULL && w->routes[i]->source == &source->base;
}

size_t intake_here(const struct world *w, unsigned route)
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
	size_t here = intake_here(w, route);
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
	if (w->suspended[route] != TAKES)
		return;
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
		if (w->routes[i] == NULL || w->consumers[i] != CONSUMES || w->suspended[i] != TAKES)
			continue;
		struct fake_source *s = source_at(w->routes[i]->source);
		w->routes[i]->lane->asking += s->asks && s->wanted && broker_waiting(w, i) > 0;
	}
}

void intake_attend(struct world *w)
{
	count_asking(w);
	for (unsigned i = 0; i < w->n_routes; i++)
		attend(w, i);
}

void intake_claimed(struct world *w, const struct event *ev)
{
	struct fake_list *list = &w->lists[ev->route];
	struct list *waiting = &w->queues[w->queue_of[ev->route]].waiting;
	uint64_t taken = 0;
	list->claims = false;
	list->looks = true;
	while (taken < ev->number && !list_empty(waiting) && source_delivers(ev->source) &&
	       w->routes[ev->route] != NULL && w->consumers[ev->route] < CANCELLED &&
	       w->suspended[ev->route] != SUSPENDED) {
		hand_over(w, list_entry(waiting->next, struct message, in_queue), ev->route);
		taken++;
	}
	list->out_of_line = false; /* until the next check */
	pace_claimed(&list->pace, w->now_ns, taken == ev->number);
}
