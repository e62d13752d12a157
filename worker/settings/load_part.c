/* Whoever only looks into a worker, or gives it jobs, is often another user on another host: without its
 * variables, its secrets, its programs, or while somebody is editing its file. What such a command does
 * not use is not looked at, and an error of the text is a warning when what it does use could be read. */
#include "settings/load.h"
#include "settings/problems.h"

#include <string.h>

static void make_warnings(struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		problems->list[i].warning = true;
	problems->errors = 0;
}

/* Of a key that is used. */
static void report_unset(struct loading *l, const struct said *said)
{
	if (said->unset != NULL)
		reader_report_unset(l->problems, said->place, said->unset);
}

/* --- ctl: where the worker answers ---------------------------------------------------------------- */

enum status settings_load_socket(source_schemas kinds, const char *path,
				 struct settings **ret_settings, struct problems *problems)
{
	struct loading l;
	struct problems unheard = {0};
	if (load_begin(&l, kinds, NULL, problems) == NULL)
		return ST_NOMEM;
	(void)load_parse(&l, path, problems, &unheard); /* what is broken has been reported */
	problems_free(&unheard);
	const struct block *admin = document_find(&l.document, &section_admin, NULL, NULL);
	const struct said *said = admin != NULL ? block_said(admin, "socket") : NULL;
	if (said != NULL && said->n > 0) {
		make_warnings(problems);
		report_unset(&l, said);
		load_socket(&l.settings->admin, said->texts[0]);
	}
	return load_end(&l, path, ret_settings);
}

/* --- enqueue: one queue, and its broker ----------------------------------------------------------- */

/* Both names may have slashes, so they are compared, not cut. */
static bool is_target(const struct block *block, const char *target)
{
	if (!section_is_queue(block->section))
		return false;
	size_t len = strlen(block->parent->title);
	return strncmp(target, block->parent->title, len) == 0 && target[len] == '/' &&
	       strcmp(target + len + 1, block->title) == 0;
}

static const struct block *find_target(const struct loading *l, const char *target)
{
	for (const struct block *b = l->document.first; b != NULL; b = b->next)
		if (is_target(b, target))
			return b;
	return NULL;
}

/* Who runs the jobs is the worker's affair. */
static bool is_used(const struct key_row *row)
{
	return strcmp(row->name, "handler") != 0 && strcmp(row->name, "retry") != 0;
}

static void report_all_unset(struct loading *l, const struct block *block)
{
	for (size_t i = 0; i < section_n_keys(block->section); i++)
		if (is_used(section_key(block->section, i)))
			report_unset(l, &block->said[i]);
}

/* A struct for each, so that all can be named; what is wrong with one is told if it is used. */
static void fill_all(struct loading *l, const struct block *target)
{
	struct problems *heard = l->problems, unheard = {0};
	for (struct block *b = l->document.first; b != NULL; b = b->next) {
		bool used = target != NULL && (b == target || b == target->parent);
		l->problems = used ? heard : &unheard;
		load_fields(l, b);
		if (used)
			report_all_unset(l, b);
	}
	l->problems = heard;
	problems_free(&unheard);
}

static void place_all(struct loading *l)
{
	struct worker_settings *worker = &l->settings->worker;
	const struct block *said = document_find(&l->document, &section_worker, NULL, NULL);
	if (said != NULL) /* for max_body */
		*worker = *(const struct worker_settings *)said->fields;
	else
		worker->max_body_bytes = SIZE_MAX; /* where nothing is said nothing is warned of */
	load_sources(l);
	for (struct block *b = l->document.first; b != NULL; b = b->next)
		if (section_is_queue(b->section))
			load_place_queue(b);
}

enum status settings_load_queue(source_schemas kinds, const char *path, const char *target,
				struct settings **ret_settings, struct problems *problems)
{
	struct loading l;
	struct problems unheard = {0};
	if (load_begin(&l, kinds, NULL, problems) == NULL)
		return ST_NOMEM;
	(void)load_parse(&l, path, problems, &unheard); /* what is broken has been reported */
	problems_free(&unheard);
	const struct block *found = find_target(&l, target);
	if (found != NULL)
		make_warnings(problems);
	fill_all(&l, found);
	place_all(&l);
	if (found != NULL)
		load_broker(&l, found->parent);
	return load_end(&l, path, ret_settings);
}
