#include "commands/run_queues.h"

#include "base/memory.h"
#include "base/must.h"
#include "core.h"
#include "settings/added_queue.h"
#include "settings/document.h"
#include "settings/settings.h"
#include "sources/kind.h"

#include <string.h>

struct run_queue {
	struct list in_all;
	struct route *route;
	const struct source_queue_settings *settings; /* say which one it is */
	struct added_queue *added;                    /* NULL: was there from the start */
};

static struct lane *lane_of(const struct run_queues *queues, const struct handler_settings *handler)
{
	size_t i = (size_t)(handler - queues->settings->handlers);
	must(i < queues->settings->n_handlers);
	return queues->lanes[i];
}

/* NULL: no memory. */
static struct run_queue *create_queue(struct run_queues *queues,
				      const struct source_queue_settings *settings,
				      struct source *source)
{
	struct run_queue *queue = memory_clear(1, sizeof *queue);
	if (queue == NULL)
		return NULL;
	queue->route = roster_add_route(&queues->core->roster, settings->name, source,
					lane_of(queues, settings->handler), settings->retry,
					settings->concurrency);
	if (queue->route == NULL) {
		memory_free(queue);
		return NULL;
	}
	queue->route->rate.interval_ns = settings->rate_interval_ns;
	queue->settings = settings;
	list_init(&queue->in_all);
	list_append(&queues->all, &queue->in_all);
	return queue;
}

static void forget(struct run_queue *queue)
{
	list_remove(&queue->in_all);
	added_queue_destroy(queue->added);
	memory_free(queue);
}

/* --- coming --- */

static enum status add(struct run_queues *queues, const struct source_kind *kind,
		       struct source *source, const struct source_queue_settings *settings,
		       struct added_queue *added, struct error *why)
{
	struct run_queue *queue = create_queue(queues, settings, source);
	if (queue == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	enum status st = kind->add(source, settings, queue->route, why);
	if (st == ST_OK) {
		queue->added = added;
		return ST_OK;
	}
	roster_remove_route(&queues->core->roster, queue->route);
	forget(queue);
	return st;
}

enum status run_queues_build(struct run_queues *queues, const struct source_kind *kind,
			     const struct source_settings *s, struct source *source,
			     struct error *why)
{
	enum status st = ST_OK;
	for (size_t i = 0; i < s->n_queues && st == ST_OK; i++)
		st = add(queues, kind, source, s->queues[i], NULL, why);
	return st;
}

/* The settings have its section, so there is one. */
static struct source *source_of(const struct run_queues *queues, const struct block *section)
{
	list_each (it, &queues->core->roster.sources) {
		struct source *source = list_entry(it, struct source, in_roster);
		if (strcmp(source->ops->kind, section->section->name) == 0 &&
		    strcmp(source->name, section->title) == 0)
			return source;
	}
	must(false && "a section with a source");
	return NULL;
}

static enum status take_added(struct run_queues *queues, struct added_queue *added,
			      struct error *why)
{
	const struct block *block = added_queue_block(added);
	return add(queues, source_kind_of(block->section->schema), source_of(queues, block->parent),
		   block->fields, added, why);
}

enum status run_queues_take(struct run_queues *queues, const struct block *block, struct error *why)
{
	struct added_queue *added;
	enum status st = added_queue_create(queues->settings, block, &added, why);
	if (st != ST_OK)
		return st;
	st = take_added(queues, added, why);
	if (st == ST_OK)
		added_queue_join(added);
	else
		added_queue_destroy(added);
	return st;
}

/* --- going --- */

void run_queues_drop(struct run_queues *queues, struct block *block)
{
	settings_drop(queues->settings, block);
	list_each (it, &queues->all) {
		struct run_queue *queue = list_entry(it, struct run_queue, in_all);
		if ((const void *)queue->settings != block->fields)
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
		queue->route->limit = queue->settings->concurrency;
		rate_set(&queue->route->rate, queue->settings->rate_interval_ns);
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
		    list_entry(it, struct run_queue, in_all)); /* added ones: the settings' */
}
