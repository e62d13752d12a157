/* Which second delivery the core must recognise, and which it must not: it is marked as one, has an id of its producer's,
 * and the same content and attempt as a delivery that was lost here as it ran, or that ended here and was never
 * proved; until the source tells that all which was lost has been given out again. Where more than one would do,
 * because a producer uses ids twice, the core has the choice. */
#include "world.h"

static bool is_same(const struct delivery *a, const struct delivery *b)
{
	return a->message->queue == b->message->queue && a->content.id != 0 &&
	       a->content.id == b->content.id && a->content.body == b->content.body &&
	       a->content.properties == b->content.properties && a->attempt == b->attempt;
}

/* It runs, and its channel has gone: its second delivery awaits its end. */
static bool is_expected(const struct delivery *d)
{
	return d->where == RUNS && d->lost && !d->over && d->again == NULL;
}

bool memory_knows(const struct world *w, const struct delivery *d)
{
	if (!d->redelivered)
		return false;
	for (size_t i = 0; i < d->number; i++) {
		const struct delivery *first = &w->deliveries[i];
		if (is_same(first, d) && (first->kept || is_expected(first)))
			return true;
	}
	return false;
}

void memory_meet(struct world *w, struct delivery *first, struct delivery *d)
{
	promise(w, d->redelivered && is_same(first, d) && is_expected(first),
		"delivery %u is taken for the second of delivery %u", d->number, first->number);
	trace(w, "  delivery %u awaits the end of delivery %u", d->number, first->number);
	w->recognised++;
	first->again = d;
	d->run = first->run;
}

void memory_recall(struct world *w, struct delivery *d)
{
	struct delivery *first = w->deliveries;
	const struct verdict *v = &d->job->verdict;
	while (first->number < d->number &&
	       !(first->kept && is_same(first, d) && first->told.fate == v->fate &&
		 first->told.delay_ms == v->delay_ms && first->copied == d->job->copied))
		first++;
	promise(w, d->redelivered && first != d, "delivery %u is settled, and has not begun",
		d->number);
	trace(w, "  delivery %u is known: delivery %u", d->number, first->number);
	w->recognised++;
	first->kept = false;
	d->run = first->run;
}

void memory_keep(struct world *w, struct delivery *d)
{
	d->kept_by = d->route;
	d->told = d->job->verdict;
	d->copied = d->job->copied;
	d->kept = !w->stop.stopping && d->told.fate != FATE_RETURNED && !d->job->stuck &&
		  d->content.id != 0 && !d->over;
}

void memory_over(struct world *w, unsigned queue)
{
	for (size_t i = 0; i < w->n_deliveries; i++) {
		struct delivery *d = &w->deliveries[i];
		if (d->message->queue != queue)
			continue;
		d->kept = false;
		d->over |= is_expected(d);
	}
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
