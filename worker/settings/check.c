/* What would only show hours later, with jobs in hand, is looked for here: a program that is not
 * there, a deadline with no time left for jobs, a dead-letter queue that feeds itself. An error is
 * what cannot work; a warning is what can, but hardly as meant. */
#include "settings/check.h"

#include "base/duration.h"
#include "base/must.h"
#include "base/span.h"
#include "settings/problems.h"
#include "settings/rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- titles --- */

static void check_twice(const struct rules *rules, const struct block *block)
{
	const struct block *first = document_counterpart(rules->document, block);
	if (first == block || first->parent != block->parent)
		return; /* the same sections twice are told once, not each of their queues */
	if (block->title != NULL)
		problems_error(rules->problems, block->place,
			       "%s \"%s\" is there twice, first in %s:%u", kind_of(block),
			       block->title, first->place.file, first->place.line);
	else
		problems_error(rules->problems, block->place,
			       "section %s is there twice, first in %s:%u", kind_of(block),
			       first->place.file, first->place.line);
}

static void check_title(const struct rules *rules, const struct block *block)
{
	check_twice(rules, block);
	if (block->title != NULL && block->title[0] == '\0')
		problems_error(rules->problems, block->place, "%s \"\" needs a name",
			       kind_of(block));
}

/* --- drain --- */

/* "auto" is judged by what it means where the process manager says nothing, and mildly. */
static void check_drain(const struct rules *rules, const struct block *block)
{
	const struct drain_settings *drain = &rules->settings->drain;
	uint64_t kept_ms = drain->reserve_ms + drain->grace_ms;
	char kept[32], timeout[32];
	if (drain->limit == DRAIN_LIMIT_NONE || kept_ms < drain->timeout_ms)
		return;
	duration_print(kept_ms, kept, sizeof kept);
	duration_print(drain->timeout_ms, timeout, sizeof timeout);
	if (drain->limit == DRAIN_LIMIT_SET && block_said(block, "reserve")->n == 0 &&
	    block_said(block, "grace")->n == 0)
		return; /* the defaults give way: see drain.c */
	if (drain->limit == DRAIN_LIMIT_SET)
		problems_error(rules->problems, block_place(block, "timeout"),
			       "drain: reserve and grace take %s of timeout's %s, no time is left "
			       "for running jobs: make timeout longer than %s",
			       kept, timeout, kept);
	else
		problems_warn(rules->problems, block->place,
			      "drain: reserve and grace take %s, but \"auto\" means %s where the "
			      "process manager says nothing: no time is left for running jobs",
			      kept, timeout);
}

static void check_report(const struct rules *rules, const struct block *block)
{
	const char *report = rules->settings->drain.report;
	if (report == NULL)
		return;
	const char *slash = strrchr(report, '/');
	char *folder = slash == NULL ? strdup(".") : strndup(report, (size_t)(slash - report) + 1);
	must(folder != NULL);
	if (access(folder, W_OK) != 0)
		problems_warn(rules->problems, block_place(block, "report"),
			      "drain: the report cannot be written to %s: %s",
			      said_path(block_said(block, "report"), report, "its file"),
			      strerror(errno));
	free(folder);
}

/* It may come with the machine the worker will run on, so it is no error here. */
static void check_deadline_file(const struct rules *rules, const struct block *block)
{
	const char *path = rules->settings->drain.deadline_file;
	if (path != NULL && access(path, R_OK) != 0)
		problems_warn(rules->problems, block_place(block, "deadline_file"),
			      "drain: the deadline cannot be read from %s: %s",
			      said_path(block_said(block, "deadline_file"), path, "its file"),
			      strerror(errno));
}

/* --- sections that others name --- */

void warn_unused(const struct rules *rules, const struct block *block)
{
	if (!document_counterpart(rules->document, block)->is_named)
		problems_warn(rules->problems, block->place,
			      "%s \"%s\" is used by no queue or list", kind_of(block),
			      block->title);
}

static void check_retry(const struct rules *rules, const struct block *block)
{
	const struct retry_settings *retry = block->fields;
	if (retry->first_ms > retry->max_ms)
		problems_warn(rules->problems, block_place(block, "first"),
			      "retry \"%s\": first is longer than max, every wait will be max",
			      block->title);
	if (strcmp(block->title, "default") != 0)
		warn_unused(rules, block);
}

/* --- brokers --- */

static void check_broker(const struct rules *rules, const struct block *block)
{
	if (block->n_children == 0)
		problems_warn(rules->problems, block->place,
			      "%s \"%s\" has no %s: nothing will be taken from it", kind_of(block),
			      block->title, block->section == SECTION_REDIS ? "list" : "queue");
}

static void check_rabbitmq(const struct rules *rules, const struct block *block)
{
	const struct rabbitmq_settings *rabbitmq = block->fields;
	check_broker(rules, block);
	check_tls(rules, block, &rabbitmq->broker);
	if (rabbitmq->auth == RABBITMQ_AUTH_EXTERNAL)
		check_external(rules, block, &rabbitmq->broker);
	if (rabbitmq->heartbeat_ms % 1000 != 0)
		problems_error(rules->problems, block_place(block, "heartbeat"),
			       "heartbeat: RabbitMQ counts in whole seconds");
}

/* What stands behind a WAIT on the connection is answered later by that much, renewals of leases too; a
 * server that says nothing for a sixth of a lease is given up. */
static void check_wait(const struct rules *rules, const struct block *block,
		       const struct redis_settings *redis)
{
	if (redis->wait_replicas == 0) {
		if (block_said(block, "wait_timeout")->n > 0)
			problems_warn(
			    rules->problems, block_place(block, "wait_timeout"),
			    "redis \"%s\": wait_timeout has no effect without wait_replicas",
			    block->title);
		return;
	}
	for (size_t i = 0; i < redis->n_lists; i++) {
		if (redis->wait_timeout_ms < redis->lists[i].lease_ms / 6)
			continue;
		problems_error(
		    rules->problems, block_place(block, "wait_timeout"),
		    "redis \"%s\": wait_timeout must be less than a sixth of the lease of "
		    "list \"%s\"",
		    block->title, redis->lists[i].name);
		return;
	}
}

/* By which a cluster places a key: what is in its first braces, or all of it. */
static struct span hash_tag(const char *key)
{
	const char *open = strchr(key, '{');
	const char *close = open != NULL ? strchr(open, '}') : NULL;
	if (close == NULL || close == open + 1)
		return span_text(key);
	return span_of(open + 1, (size_t)(close - open - 1));
}

static void check_dead_slot(const struct rules *rules, const struct list_settings *list)
{
	if (list->dead == NULL || span_equal(hash_tag(list->dead), hash_tag(list->name)))
		return;
	struct span tag = hash_tag(list->name);
	problems_error(
	    rules->problems, list->place,
	    "list \"%s\": in a cluster `dead` must be in its slot, so carry its hash tag: "
	    "\"{%.*s}...\"",
	    list->name, (int)tag.len, tag.ptr);
}

/* Each list has its slot, and each slot its node; a section is one connection. */
static void check_cluster(const struct rules *rules, const struct block *block,
			  const struct redis_settings *redis)
{
	if (redis->broker.n_urls == 0 || strstr(redis->broker.urls[0], "+cluster://") == NULL)
		return;
	for (size_t i = 0; i < redis->n_lists; i++)
		check_dead_slot(rules, &redis->lists[i]);
	if (redis->n_lists < 2)
		return;
	problems_error(
	    rules->problems, redis->lists[1].place,
	    "redis \"%s\": in a cluster each list has a node of its own: give list \"%s\" a "
	    "section of its own",
	    block->title, redis->lists[1].name);
}

static void check_redis(const struct rules *rules, const struct block *block)
{
	const struct redis_settings *redis = block->fields;
	check_broker(rules, block);
	check_tls(rules, block, &redis->broker);
	check_wait(rules, block, redis);
	check_cluster(rules, block, redis);
}

static void check_dead(const struct rules *rules, const struct block *block, const char *dead)
{
	if (dead != NULL && strcmp(dead, block->title) == 0)
		problems_error(rules->problems, block_place(block, "dead"),
			       "%s \"%s\" is its own dead: rejected jobs would come back for ever",
			       kind_of(block), block->title);
}

static void check_prefetch(const struct rules *rules, const struct block *block, unsigned prefetch,
			   unsigned concurrency)
{
	if (prefetch != 0 && prefetch < concurrency)
		problems_warn(rules->problems, block_place(block, "prefetch"),
			      "%s \"%s\": with prefetch %u, concurrency %u is never reached",
			      kind_of(block), block->title, prefetch, concurrency);
}

static void check_queue_name(const struct rules *rules, struct place place, const char *name)
{
	if (name != NULL && strlen(name) > 255)
		problems_error(rules->problems, place,
			       "the name of a RabbitMQ queue has at most 255 bytes");
}

/* The default of RabbitMQ 3.8 to 4.2, after which it closes the channel. */
enum { CONSUMER_TIMEOUT_MS = 30 * 60 * 1000 };

static void check_consumer_timeout(const struct rules *rules, const struct block *block,
				   const struct queue_settings *queue)
{
	const struct handler_settings *handler = queue->handler;
	uint64_t own_ms = queue->consumer_timeout_ms;
	if (handler == NULL || handler->timeout_ms <= (own_ms != 0 ? own_ms : CONSUMER_TIMEOUT_MS))
		return;
	if (own_ms == 0)
		problems_warn(
		    rules->problems, block_place(block, "handler"),
		    "queue \"%s\": handler \"%s\" may run longer than the 30m after which "
		    "RabbitMQ takes a job back: set consumer_timeout, or raise the broker's",
		    block->title, handler->name);
	else
		problems_warn(rules->problems, block_place(block, "consumer_timeout"),
			      "queue \"%s\": handler \"%s\" may run longer than "
			      "consumer_timeout, after which RabbitMQ takes a job back",
			      block->title, handler->name);
}

/* Only the broker's management knows of its dead letter exchange. */
static void check_dead_letters(const struct rules *rules, const struct block *block,
			       const struct queue_settings *queue)
{
	bool has_own = queue->dlx == DLX_OWN;
	if (has_own && queue->dead != NULL)
		problems_error(
		    rules->problems, block_place(block, "dlx"),
		    "queue \"%s\": its dead jobs go to the queue that dead names, or to its "
		    "dead letter exchange: name one of dead and dlx",
		    block->title);
	else if (!has_own && queue->dead == NULL)
		problems_warn(
		    rules->problems, block->place,
		    "queue \"%s\": its dead jobs are lost unless it has a dead letter "
		    "exchange: name a queue for them, dead = \"%s.dead\", or say that it has "
		    "one, dlx = \"true\"",
		    block->title, block->title);
}

static void check_queue(const struct rules *rules, const struct block *block)
{
	const struct queue_settings *queue = block->fields;
	check_dead_letters(rules, block, queue);
	check_dead(rules, block, queue->dead);
	check_prefetch(rules, block, queue->prefetch, queue->concurrency);
	check_queue_name(rules, block->place, queue->name);
	check_queue_name(rules, block_place(block, "dead"), queue->dead);
	if (queue->missing == MISSING_WAIT && queue->declare != DECLARE_PASSIVE)
		problems_warn(rules->problems, block_place(block, "missing"),
			      "queue \"%s\": declare creates it where it is missing, so missing = "
			      "\"wait\" says nothing",
			      block->title);
	check_consumer_timeout(rules, block, queue);
}

static void check_list(const struct rules *rules, const struct block *block)
{
	const struct list_settings *list = block->fields;
	check_dead(rules, block, list->dead);
	check_prefetch(rules, block, list->prefetch, list->concurrency);
}

/* --- all of it --- */

static void check_block(const struct rules *rules, const struct block *block)
{
	static void (*const checks[SECTIONS])(const struct rules *, const struct block *) = {
	    [SECTION_RABBITMQ] = check_rabbitmq, [SECTION_QUEUE] = check_queue,
	    [SECTION_REDIS] = check_redis,       [SECTION_LIST] = check_list,
	    [SECTION_HANDLER] = check_handler,   [SECTION_RETRY] = check_retry,
	    [SECTION_ADMIN] = check_admin,
	};
	check_title(rules, block);
	if (document_counterpart(rules->document, block) != block)
		return; /* there twice: the first one's values are not what this one says */
	if (block->section == SECTION_DRAIN) {
		check_drain(rules, block);
		check_report(rules, block);
		check_deadline_file(rules, block);
	}
	if (checks[block->section] != NULL)
		checks[block->section](rules, block);
}

static bool has_work(const struct document *document)
{
	for (const struct block *b = document->first; b != NULL; b = b->next)
		if (b->section == SECTION_QUEUE || b->section == SECTION_LIST)
			return true;
	return false;
}

void check_document(const struct rules *rules)
{
	const struct document *document = rules->document;
	for (const struct block *block = document->first; block != NULL; block = block->next)
		check_block(rules, block);
	check_clashes(rules);
	if (!has_work(document))
		problems_error(
		    rules->problems, document->whole,
		    "there is nothing to do: no queue in a rabbitmq section, no list in a "
		    "redis section");
}
