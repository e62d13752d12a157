/* Brokers: each queue is one. Messages have a position in it, which they keep when they are given back. Another worker
 * takes from it, too: what we lose may be done elsewhere, and what comes to us may have been begun there. */
#include "world.h"

#include <stdio.h>
#include <string.h>

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
unsigned broker_consumer_of(struct world *w, unsigned queue)
{
	unsigned now = route_now(w, queue);
	if (now != MAX_ROUTES && w->suspended[now] == SUSPENDED)
		now = MAX_ROUTES;
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
	books_route_gone(w, i);
	w->routes[i] = NULL;
	w->gone++;
}

static void retire_queue(struct world *w, unsigned queue)
{
	unsigned i = route_now(w, queue);
	if (i == MAX_ROUTES)
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

struct message *broker_new_message(struct world *w, unsigned queue, unsigned work)
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
	struct message *m = broker_new_message(w, queue, (unsigned)w->n_works++);
	m->content = content;
	m->interruptions = chance(w, 30);
	publish(w, m);
}

void broker_give_back(struct world *w, struct message *m)
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

unsigned broker_unacked(const struct world *w, unsigned queue)
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
		broker_give_back(w, m);
}
/* --- what happens ----------------------------------------------------------------------------- */

bool broker_happens(struct world *w, const struct event *ev)
{
	switch (ev->kind) {
	case EV_RETIRE:
		retire_queue(w, (unsigned)ev->number);
		return true;
	case EV_ADD:
		add_queue(w, (unsigned)ev->number);
		return true;
	case EV_OTHER:
		other_takes(w, (unsigned)ev->number);
		return true;
	case EV_OTHER_ENDS:
		other_ends(w, &w->messages[ev->number]);
		return true;
	case EV_REQUEUE:
		publish(w, &w->messages[ev->number]);
		return true;
	default:
		return false;
	}
}
