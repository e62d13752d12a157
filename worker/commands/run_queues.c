#include "commands/run_queues.h"

#include "base/memory.h"
#include "base/must.h"
#include "core.h"
#include "settings/late.h"
#include "settings/parse.h"
#include "settings/settings.h"
#include "sources/rabbitmq/rabbitmq.h"
#include "sources/redis/redis_list.h"

#include <string.h>

/* What a route is made of, of either kind. */
struct facts {
	enum section section;
	const void *fields; /* struct queue_settings or struct list_settings */
	const char *name;
	const struct handler_settings *handler;
	const struct retry_settings *retry;
	unsigned concurrency;
	uint64_t rate_interval_ns;
};

struct run_queue {
	struct list in_all;
	struct route *route;
	enum section section;
	const void *fields; /* says which one it is */
	struct late *late;  /* NULL: was there from the start */
};

static struct facts facts_of(enum section section, const void *fields)
{
	struct facts facts = {.section = section, .fields = fields};
	if (section == SECTION_QUEUE) {
		const struct queue_settings *q = fields;
		facts.name = q->name;
		facts.handler = q->handler;
		facts.retry = q->retry;
		facts.concurrency = q->concurrency;
		facts.rate_interval_ns = q->rate_interval_ns;
	} else {
		const struct list_settings *l = fields;
		facts.name = l->name;
		facts.handler = l->handler;
		facts.retry = l->retry;
		facts.concurrency = l->concurrency;
		facts.rate_interval_ns = l->rate_interval_ns;
	}
	return facts;
}

static struct lane *lane_of(const struct run_queues *queues, const struct handler_settings *handler)
{
	size_t i = (size_t)(handler - queues->settings->handlers);
	must(i < queues->settings->n_handlers);
	return queues->lanes[i];
}

/* NULL: no memory. */
static struct run_queue *add(struct run_queues *queues, const struct facts *facts,
			     struct source *source)
{
	struct run_queue *queue = memory_clear(1, sizeof *queue);
	if (queue == NULL)
		return NULL;
	queue->route =
	    roster_add_route(&queues->core->roster, facts->name, source,
			     lane_of(queues, facts->handler), facts->retry, facts->concurrency);
	if (queue->route == NULL) {
		memory_free(queue);
		return NULL;
	}
	queue->route->rate.interval_ns = facts->rate_interval_ns;
	queue->section = facts->section;
	queue->fields = facts->fields;
	list_init(&queue->in_all);
	list_append(&queues->all, &queue->in_all);
	return queue;
}

static void forget(struct run_queue *queue)
{
	list_remove(&queue->in_all);
	late_destroy(queue->late);
	memory_free(queue);
}

/* --- at the start --- */

enum status run_queues_build_rabbitmq(struct run_queues *queues, const struct rabbitmq_settings *s,
				      struct source *source, struct error *why)
{
	for (size_t i = 0; i < s->n_queues; i++) {
		struct facts facts = facts_of(SECTION_QUEUE, &s->queues[i]);
		struct run_queue *queue = add(queues, &facts, source);
		if (queue == NULL)
			return error_set(why, ST_NOMEM, "queue \"%s\"", facts.name);
		rabbitmq_source_bind(source, i, queue->route);
	}
	return ST_OK;
}

enum status run_queues_build_redis(struct run_queues *queues, const struct redis_settings *s,
				   struct source *source, struct error *why)
{
	for (size_t i = 0; i < s->n_lists; i++) {
		struct facts facts = facts_of(SECTION_LIST, &s->lists[i]);
		struct run_queue *queue = add(queues, &facts, source);
		if (queue == NULL)
			return error_set(why, ST_NOMEM, "list \"%s\"", facts.name);
		redis_list_source_bind(source, i, queue->route);
	}
	return ST_OK;
}

/* --- coming --- */

/* The settings have its section, so there is one. */
static struct source *source_of(const struct run_queues *queues, const struct block *section)
{
	list_each (it, &queues->core->roster.sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		if (strcmp(source->ops->kind, table_sections[section->section].name) == 0 &&
		    strcmp(source->name, section->title) == 0)
			return source;
	}
	must(false && "a section with a source");
	return NULL;
}

static enum status add_to_source(struct source *source, const struct run_queue *queue,
				 struct error *why)
{
	if (queue->section == SECTION_QUEUE)
		return rabbitmq_source_add(source, queue->fields, queue->route, why);
	return redis_list_source_add(source, queue->fields, queue->route, why);
}

static enum status take_late(struct run_queues *queues, struct late *late, struct error *why)
{
	const struct block *block = late_block(late);
	struct source *source = source_of(queues, block->parent);
	struct facts facts = facts_of((enum section)block->section, block->fields);
	struct run_queue *queue = add(queues, &facts, source);
	if (queue == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	enum status st = add_to_source(source, queue, why);
	if (st == ST_OK) {
		queue->late = late;
		return ST_OK;
	}
	roster_remove_route(&queues->core->roster, queue->route);
	forget(queue);
	return st;
}

enum status run_queues_take(struct run_queues *queues, const struct block *block, struct error *why)
{
	struct late *late;
	enum status st = late_create(queues->settings, block, &late, why);
	if (st != ST_OK)
		return st;
	st = take_late(queues, late, why);
	if (st == ST_OK)
		late_join(late);
	else
		late_destroy(late);
	return st;
}

/* --- going --- */

void run_queues_drop(struct run_queues *queues, struct block *block)
{
	settings_drop(queues->settings, block);
	list_each (it, &queues->all) {
		struct run_queue *queue = list_entry(it, struct run_queue, in_all);
		if (queue->fields != block->fields)
			continue;
		core_retire(queues->core, queue->route);
		return;
	}
	must(false && "a queue with a route");
}

static void route_gone(void *arg, struct route *route)
{
	struct run_queues *queues = arg;
	list_each_safe (it, &queues->all) {
		struct run_queue *queue = list_entry(it, struct run_queue, in_all);
		if (queue->route != route)
			continue;
		forget(queue);
		return;
	}
}

/* --- limits --- */

void run_queues_limit(struct run_queues *queues)
{
	list_each (it, &queues->all) {
		struct run_queue *queue = list_entry(it, struct run_queue, in_all);
		struct facts facts = facts_of(queue->section, queue->fields);
		queue->route->limit = facts.concurrency;
		rate_set(&queue->route->rate, facts.rate_interval_ns);
	}
}

/* --- life --- */

void run_queues_init(struct run_queues *queues, struct core *core, struct settings *settings,
		     struct lane *const *lanes)
{
	*queues = (struct run_queues){.core = core, .settings = settings, .lanes = lanes};
	list_init(&queues->all);
	core->route_gone = route_gone;
	core->route_gone_arg = queues;
}

void run_queues_fini(struct run_queues *queues)
{
	struct list *it;
	while ((it = list_take_first(&queues->all)) != NULL)
		memory_free(
		    list_entry(it, struct run_queue, in_all)); /* late ones: the settings' */
}
