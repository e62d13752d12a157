/* Fake sources: how brokers are told what became of jobs, and how connections come and go. RabbitMQ settles in two
 * steps where a copy is made, Redis in one. Either may find at any call that its connection has gone. */
#include "world.h"

#include <string.h>

static struct fake_source *source_at(struct source *base)
{
	return list_entry(base, struct fake_source, base);
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
	if (v->fate == FATE_DEAD) {
		w->works[m->work].dead++;
		return;
	}
	struct message *later = broker_new_message(w, m->queue, m->work);
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
	if (makes_copy(d) && !d->job->copied)
		copy(w, d);
	if (v->fate != FATE_RETURNED) {
		if (!list_empty(&m->in_queue)) /* lost, and told all the same */
			list_remove(&m->in_queue);
		m->place = GONE;
		return;
	}
	learn_checkpoint(m, d);
	m->interruptions = v->interruptions;
	broker_give_back(w, m);
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
		memory_keep(w, d);
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
			broker_give_back(w, d->message);
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
	w->queues[w->queue_of[route]].owes = true;
	lose_told(w, source, route);
	for (size_t i = w->first_here; i < w->n_deliveries; i++) {
		struct delivery *d = &w->deliveries[i];
		if (d->where == LEFT || d->route != route)
			continue;
		d->lost = true;
		if (d->message->holder == d)
			broker_give_back(w, d->message);
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
		if (w->suspended[i] == SUSPENDING)
			w->suspended[i] = SUSPENDED;
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
	bool shut = d->source->base.intake == INTAKE_SHUT || w->consumers[d->route] >= CANCELLED ||
		    w->suspended[d->route] == SUSPENDED;
	promise(w, shut, "delivery %u goes back unbegun while its consumer could get it again",
		d->number);
	const struct delivery *first = books_oldest_held(w, d->route);
	promise(w, first == d, "delivery %u goes back before delivery %u", d->number,
		first->number);
}

/* What its handler said, or what the policy has, give or take the jitter. */
static void check_delay(struct world *w, const struct delivery *d)
{
	uint64_t ms = d->run->outcome.after_ms, base_ms = w->retry.first_ms;
	uint64_t delay_ms = d->job->verdict.delay_ms;
	for (uint32_t n = 1; n < d->attempt && w->retry.backoff != BACKOFF_CONSTANT; n++)
		base_ms =
		    w->retry.backoff == BACKOFF_LINEAR ? w->retry.first_ms * (n + 1) : base_ms * 2;
	base_ms = base_ms < w->retry.max_ms ? base_ms : w->retry.max_ms;
	bool right = ms != 0 ? delay_ms == ms
			     : delay_ms >= base_ms * 8 / 10 && delay_ms <= base_ms * 12 / 10 + 1;
	promise(w, right, "delivery %u comes back after %" PRIu64 " ms, not %" PRIu64, d->number,
		delay_ms, ms != 0 ? ms : base_ms);
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
	if (v->fate == FATE_RETRIED)
		check_delay(w, d);
}

/* An op finds that its connection has gone, or what lay there to be read. */
static void do_mischief(struct fake_source *source)
{
	struct world *w = source->world;
	if (!chance(w, w->mischief) || source->hung || source->base.link != LINK_UP)
		return;
	if (chance(w, 20))
		disconnect(source);
	else
		everything_proved(source);
}

static void source_settle(struct source *base, struct job *job)
{
	struct fake_source *source = source_at(base);
	struct world *w = source->world;
	struct delivery *d = delivery_of(w, job);
	promise(w, d->where <= HELD || d->where == ENDED || d->where == AWAITS,
		"delivery %u is settled a second time, or as it runs", d->number);
	if (d->where == ARRIVES)
		memory_recall(w, d);
	if (d->where == HELD)
		check_unbegun(w, d);
	if (d->where == AWAITS) {
		promise(w, d->run->where == ENDED,
			"delivery %u is settled before the run it awaits has ended", d->number);
		books_merge(w, d->run);
	}
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
	do_mischief(source);
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
	do_mischief(source);
}

static void source_resume(struct source *base)
{
	struct fake_source *source = source_at(base);
	source->wanted = true;
	base->intake = INTAKE_OPENING;
	if (base->link == LINK_UP && !source->hung)
		schedule(source->world, (struct event){.kind = EV_CONSUME_OK, .source = source},
			 roll(source->world, 5) * MS);
	do_mischief(source);
}

static void source_flush(struct source *base)
{
	struct fake_source *source = source_at(base);
	source->flushed = true;
	if (!source->hung)
		schedule(source->world, (struct event){.kind = EV_PROVED, .source = source}, MS);
	do_mischief(source);
}

static void source_close(struct source *base)
{
	struct fake_source *source = source_at(base);
	for (unsigned i = 0; i < source->world->n_routes; i++)
		promise(source->world,
			source->world->routes[i] == NULL ||
			    source->world->routes[i]->source != base ||
			    intake_here(source->world, i) == 0,
			"closed, and jobs of queue %u are here", source->world->queue_of[i]);
	promise(source->world, base->link != LINK_CLOSING && base->link != LINK_CLOSED,
		"closed twice");
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
	do_mischief(source);
}

static enum leaving source_leave(struct source *base, struct route *route)
{
	struct fake_source *source = source_at(base);
	struct world *w = source->world;
	unsigned i = route_index(w, route);
	do_mischief(source);
	if (w->consumers[i] == CANCELLING)
		return LEAVING_INTAKE;
	if (w->consumers[i] == CANCELLED && intake_here(w, i) == 0) {
		w->consumers[i] = base->link == LINK_UP ? LEAVING : LEFT_CONSUMER;
		if (base->link == LINK_UP && !source->hung)
			schedule(w, (struct event){.kind = EV_LEFT, .source = source, .number = i},
				 roll(w, 5) * MS);
	}
	return w->consumers[i] == LEFT_CONSUMER ? LEAVING_GONE : LEAVING_JOBS;
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

static void source_suspend(struct source *base, struct route *route)
{
	struct fake_source *source = source_at(base);
	struct world *w = source->world;
	unsigned i = route_index(w, route);
	promise(w, w->suspended[i] == TAKES, "suspended twice");
	promise(w, w->core.drain.phase == PHASE_OPEN, "suspended while nothing begins");
	w->suspended[i] = base->link == LINK_UP ? SUSPENDING : SUSPENDED;
	if (base->link == LINK_UP && !source->hung)
		schedule(w, (struct event){.kind = EV_SUSPENDED, .source = source, .number = i},
			 roll(w, 30) * MS);
	do_mischief(source);
}

static void source_take_up(struct source *base, struct route *route)
{
	struct world *w = source_at(base)->world;
	unsigned i = route_index(w, route);
	promise(w, w->suspended[i] != TAKES, "taken up, and was not suspended");
	promise(w, w->core.drain.phase == PHASE_OPEN, "taken up while nothing begins");
	w->suspended[i] = TAKES;
	w->lists[i].looks = true;
	do_mischief(source_at(base));
}

static bool source_is_suspended(const struct source *base, const struct route *route)
{
	const struct world *w = list_entry(base, const struct fake_source, base)->world;
	return w->suspended[route_index(w, route)] == SUSPENDED;
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
    .suspend = source_suspend,
    .take_up = source_take_up,
    .is_suspended = source_is_suspended,
    .retire = source_retire,
    .leave = source_leave,
    .close = source_close,
    .is_again = source_is_again,
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
	intake_look(source);
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
	    !source_delivers(source_at(w->routes[route]->source)))
		return;
	uint64_t count = 1 + roll(w, 3);
	books_bury(w, w->queue_of[route], count);
	w->core.source_host.buried(&w->core.source_host, w->routes[route], count);
}

static void deliver_and_go_on(struct world *w, const struct event *ev)
{
	struct fake_source *source = ev->source;
	if (source_delivers(source))
		intake_deliver(source);
	if (source->base.link != LINK_CLOSED && !source->hung)
		schedule(w, *ev, (1 + roll(w, 40)) * MS);
}

void sources_happen(struct world *w, const struct event *ev)
{
	struct fake_source *source = ev->source;
	switch (ev->kind) {
	case EV_DELIVER:
		deliver_and_go_on(w, ev);
		break;
	case EV_CLAIMED:
		intake_claimed(w, ev);
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
	case EV_CANCELLED:
		if (w->consumers[ev->number] == CANCELLING && !source->hung)
			w->consumers[ev->number] = CANCELLED;
		break;
	case EV_LEFT:
		if (w->consumers[ev->number] == LEAVING && !source->hung)
			w->consumers[ev->number] = LEFT_CONSUMER;
		break;
	case EV_SUSPENDED:
		if (w->suspended[ev->number] == SUSPENDING && !source->hung)
			w->suspended[ev->number] = SUSPENDED;
		break;
	default:
		break;
	}
}
