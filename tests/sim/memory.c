/* Which second delivery the core must recognise, and which it must not. */
#include "world.h"

static bool is_same(const struct delivery *a, const struct delivery *b)
{
	return a->message->queue == b->message->queue && a->content.id != 0 &&
	       a->content.id == b->content.id && a->content.body == b->content.body &&
	       a->content.properties == b->content.properties && a->attempt == b->attempt;
}

/* It runs, and its channel has gone: its second delivery awaits its end. */
static bool is_orphan(const struct delivery *d)
{
	return d->where == RUNS && d->lost && d->again == NULL;
}

struct delivery *memory_first_of(struct world *w, struct delivery *d)
{
	if (!d->redelivered)
		return NULL;
	for (size_t i = 0; i + 1 < w->n_deliveries; i++) {
		struct delivery *first = &w->deliveries[i];
		if (!is_same(first, d) || (!first->kept && !is_orphan(first)))
			continue;
		w->recognised++;
		first->again = d;
		first->kept = false;
		return first->run;
	}
	return NULL;
}

void memory_keep(struct world *w, struct delivery *d, enum settled how)
{
	(void)how;
	d->kept_by = d->route;
	d->kept = !w->stop.stopping && d->job->verdict.fate != FATE_RETURNED && !d->job->stuck &&
		  d->content.id != 0;
}

/* The route that the queue was given after this one, and still has. */
static unsigned heir_of(const struct world *w, unsigned route)
{
	unsigned heir = route + 1;
	while (heir < w->n_routes &&
	       (w->routes[heir] == NULL || w->queue_of[heir] != w->queue_of[route]))
		heir++;
	return heir;
}

void memory_route_gone(struct world *w, unsigned route)
{
	unsigned heir = heir_of(w, route);
	for (size_t i = 0; i < w->n_deliveries; i++) {
		struct delivery *d = &w->deliveries[i];
		if (!d->kept || d->kept_by != route)
			continue;
		d->kept_by = heir;
		d->kept = heir < w->n_routes;
	}
}
