/* What is right by itself and contradicts something elsewhere: names that stand for two things, and jobs
 * that would go round for ever. */
#include "settings/problems.h"
#include "settings/rules.h"
#include "settings/source_schema.h"
#include "wire/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one name for two queues ---------------------------------------------------------------------- */

static void check_name(const struct rules *rules, const struct block *queue,
		       const struct section_row *others)
{
	const struct block *other =
	    document_find(rules->document, others, queue->parent->title, queue->title);
	if (other == NULL)
		return;
	problems_error(rules->problems, queue->place,
		       "%s \"%s\" has a %s \"%s\", and %s \"%s\" a %s of that name "
		       "(%s:%u): nothing could tell them apart, call one of the sections otherwise",
		       kind_of(queue->parent), queue->parent->title, kind_of(queue), queue->title,
		       kind_of(other->parent), other->parent->title, kind_of(other),
		       other->place.file, other->place.line);
}

/* Metrics, logs and `outfall enqueue` know a queue by its section's name and its own. The kinds before its own are
 * looked through, so that it is told once. */
static void check_names(const struct rules *rules, const struct block *queue)
{
	for (source_schemas kind = rules->document->kinds; *kind != queue->section->schema; kind++)
		check_name(rules, queue, &(*kind)->queue);
}

/* --- two consumers for one queue ------------------------------------------------------------------ */

struct taken {
	const struct block *block;
	const char *queue;
	const char *broker; /* where it is, without who we are there */
};

/* False: its address is no good, which has been told. */
static bool print_broker(const struct block *section, char *buf, size_t size)
{
	const struct broker_settings *broker =
	    &((const struct source_settings *)section->fields)->broker;
	struct url url;
	if (broker->n_urls == 0 || url_parse(broker->urls[0], &url, NULL) != ST_OK)
		return false;
	(void)snprintf(buf, size, "%s %s:%u/%s", kind_of(section), url.host != NULL ? url.host : "",
		       url.port, url.path != NULL ? url.path : "");
	url_free(&url);
	return true;
}

static int by_queue(const void *a, const void *b)
{
	const struct taken *left = a, *right = b;
	int order = strcmp(left->broker, right->broker);
	if (order == 0)
		order = strcmp(left->queue, right->queue);
	if (order != 0)
		return order;
	return left->block->place.line < right->block->place.line ? -1 : 1;
}

/* Every queue with where it is; they follow their section, so that is told once for all of them. */
static size_t list_taken(const struct rules *rules, struct region *region, struct taken *taken)
{
	size_t n = 0;
	const struct block *section = NULL;
	const char *broker = NULL;
	char buf[URL_HOST_BYTES * 4];
	for (const struct block *b = rules->document->first; b != NULL; b = b->next) {
		if (!section_is_queue(b->section))
			continue;
		if (b->parent != section) {
			section = b->parent;
			broker = print_broker(section, buf, sizeof buf)
				     ? region_text(region, buf, strlen(buf))
				     : NULL;
		}
		if (broker != NULL)
			taken[n++] = (struct taken){b, b->title, broker};
	}
	return n;
}

static void warn_taken_twice(const struct rules *rules, const struct taken *first,
			     const struct taken *second)
{
	const struct block *a = first->block, *b = second->block;
	if (strcmp(a->parent->title, b->parent->title) == 0)
		return; /* told: it, or its section, is there twice */
	problems_warn(rules->problems, b->place,
		      "%s \"%s\" is taken from by %s \"%s\", too (%s:%u): each job goes to one of "
		      "them, whichever it may be",
		      kind_of(b), b->title, kind_of(a->parent), a->parent->title, a->place.file,
		      a->place.line);
}

static void check_taken_twice(const struct rules *rules)
{
	struct region region = {0};
	struct taken *taken = region_take(&region, (rules->document->count + 1) * sizeof *taken);
	size_t n = list_taken(rules, &region, taken);
	qsort(taken, n, sizeof *taken, by_queue);
	for (size_t i = 1; i < n; i++)
		if (strcmp(taken[i - 1].broker, taken[i].broker) == 0 &&
		    strcmp(taken[i - 1].queue, taken[i].queue) == 0)
			warn_taken_twice(rules, &taken[i - 1], &taken[i]);
	region_free(&region);
}

/* --- where dead jobs go --------------------------------------------------------------------------- */

enum { ROUND_MOST = 16 }; /* queues in a round that is looked for */

/* NULL: nowhere that we would take them from again. */
static const struct block *after_death(const struct rules *rules, const struct block *block)
{
	const char *dead = ((const struct source_queue_settings *)block->fields)->dead;
	if (dead == NULL)
		return NULL;
	return document_find(rules->document, block->section, block->parent->title, dead);
}

/* A queue that is its own has been told. */
static void check_round(const struct rules *rules, const struct block *block)
{
	const struct block *next = after_death(rules, block);
	if (next == NULL || next == block)
		return;
	const struct block *by = next;
	for (size_t i = 0; next != NULL && next != block && i < ROUND_MOST; i++)
		next = after_death(rules, next);
	if (next == block)
		problems_error(
		    rules->problems, block_place(block, "dead"),
		    "%s \"%s\": its dead jobs come back to it by way of \"%s\", and would "
		    "go round for ever",
		    kind_of(block), block->title, by->title);
}

/* --- files ---------------------------------------------------------------------------------------- */

static void check_socket_and_report(const struct rules *rules)
{
	const char *socket = rules->settings->admin.socket;
	const char *report = rules->settings->drain.report;
	const struct block *drain = document_find(rules->document, &section_drain, NULL, NULL);
	if (socket != NULL && report != NULL && strcmp(socket, report) == 0)
		problems_error(rules->problems, block_place(drain, "report"),
			       "drain: the report would take the place of admin's socket");
}

void check_clashes(const struct rules *rules)
{
	for (const struct block *b = rules->document->first; b != NULL; b = b->next) {
		if (!section_is_queue(b->section))
			continue;
		check_names(rules, b);
		check_round(rules, b);
	}
	check_taken_twice(rules);
	check_socket_and_report(rules);
}
