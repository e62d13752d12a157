/* What would only show hours later, with jobs in hand, is looked for here: a program that is not
 * there, a deadline with no time left for jobs, a dead-letter queue that feeds itself. An error is
 * what cannot work; a warning is what can, but hardly as meant. */
#include "settings/check.h"

#include "base/duration.h"
#include "base/must.h"
#include "settings/problems.h"
#include "settings/rules.h"
#include "settings/source_schema.h"

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

static void check_source(const struct rules *rules, const struct block *block)
{
	const struct source_settings *source = block->fields;
	const struct source_schema *schema = block->section->schema;
	if (block->n_children == 0)
		problems_warn(rules->problems, block->place,
			      "%s \"%s\" has no %s: nothing will be taken from it", kind_of(block),
			      block->title, schema->queue.name);
	check_tls(rules, block, &source->broker);
	if (schema->check != NULL)
		schema->check(rules, block);
}

static void check_queue(const struct rules *rules, const struct block *block)
{
	const struct source_queue_settings *queue = block->fields;
	const struct source_schema *schema = block->section->schema;
	check_dead(rules, block, queue->dead);
	check_prefetch(rules, block, queue->prefetch, queue->concurrency);
	if (schema->check_queue != NULL)
		schema->check_queue(rules, block);
}

/* --- all of it --- */

static void check_block(const struct rules *rules, const struct block *block)
{
	check_title(rules, block);
	if (document_counterpart(rules->document, block) != block)
		return; /* there twice: the first one's values are not what this one says */
	if (section_is_source(block->section)) {
		check_source(rules, block);
	} else if (section_is_queue(block->section)) {
		check_queue(rules, block);
	} else if (block->section == &section_drain) {
		check_drain(rules, block);
		check_report(rules, block);
		check_deadline_file(rules, block);
	} else if (block->section == &section_handler) {
		check_handler(rules, block);
	} else if (block->section == &section_retry) {
		check_retry(rules, block);
	} else if (block->section == &section_admin) {
		check_admin(rules, block);
	}
}

static bool has_work(const struct document *document)
{
	for (const struct block *b = document->first; b != NULL; b = b->next)
		if (section_is_queue(b->section))
			return true;
	return false;
}

/* "no queue in a rabbitmq section, no list in a redis section" */
static void report_no_work(const struct rules *rules)
{
	char places[200] = "";
	size_t used = 0;
	for (source_schemas kind = rules->document->kinds; *kind != NULL && used < sizeof places;
	     kind++)
		used += (size_t)snprintf(places + used, sizeof places - used,
					 "%sno %s in a %s section", used > 0 ? ", " : "",
					 (*kind)->queue.name, (*kind)->section.name);
	problems_error(rules->problems, rules->document->whole, "there is nothing to do: %s",
		       places);
}

void check_document(const struct rules *rules)
{
	const struct document *document = rules->document;
	for (const struct block *block = document->first; block != NULL; block = block->next)
		check_block(rules, block);
	check_clashes(rules);
	if (!has_work(document))
		report_no_work(rules);
}
