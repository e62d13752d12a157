/* A tree of settings is one piece of memory and is given back as one. What comes to it later has to be able
 * to go by itself, or a worker that is reloaded every minute would grow for ever. So each such
 * queue is a small tree of its own, hung into the document of the large one.
 *
 * The alternative, to keep each tree that was read as long as one of its queues is in use, needs no copying, and grows with
 * the square: a tree with 4,000 queues takes 6 MB, so a thousand customers who come one by one would hold 6 GB. */
#include "settings/added_queue.h"

#include "base/memory.h"
#include "base/must.h"
#include "settings/loaded.h"

#include <string.h>

struct added_queue {
	struct list in_all; /* struct loaded.added */
	struct loaded *of;
	struct region region;
	struct block block;
	struct retry_settings retry;
};

static struct loaded *loaded_in_use(struct settings *settings)
{
	return (struct loaded *)(void *)settings;
}

/* --- copying --- */

static const char *copy_text(struct region *region, const char *text)
{
	return text != NULL ? region_text(region, text, strlen(text)) : NULL;
}

static struct place copy_place(struct region *region, struct place place)
{
	return (struct place){.file = copy_text(region, place.file), .line = place.line};
}

static void copy_said(struct region *region, struct said *to, const struct said *from)
{
	if (from->n == 0)
		return;
	to->place = copy_place(region, from->place);
	to->texts = region_take(region, (from->n + 1) * sizeof *to->texts);
	for (size_t i = 0; i < from->n; i++)
		to->texts[i] = copy_text(region, from->texts[i]);
	to->n = from->n;
	to->expanded = from->expanded; /* by what is not asked for any more */
}

static void copy_text_at(struct region *region, void *field)
{
	const char **text = field;
	*text = copy_text(region, *text);
}

static void copy_list_at(struct region *region, void *field)
{
	const char ***list = field, **from = *list;
	size_t n = 0;
	while (from != NULL && from[n] != NULL)
		n++;
	if (n > 0)
		*list = region_take(region, (n + 1) * sizeof **list);
	for (size_t i = 0; i < n; i++)
		(*list)[i] = copy_text(region, from[i]);
}

static void copy_fields(struct added_queue *added, const struct block *from)
{
	const struct section_row *row = from->section;
	char *fields = region_take(&added->region, row->bytes);
	memcpy(fields, from->fields, row->bytes);
	*(const char **)(void *)(fields + row->name_offset) = added->block.title;
	*(struct place *)(void *)(fields + row->place_offset) = added->block.place;
	for (size_t i = 0; i < section_n_keys(from->section); i++) {
		const struct key_row *key = section_key(from->section, i);
		if (key->offset == TABLE_NO_FIELD)
			continue;
		if (key->type == VALUE_TEXT)
			copy_text_at(&added->region, fields + key->offset);
		else if (key->type == VALUE_LIST)
			copy_list_at(&added->region, fields + key->offset);
	}
	added->block.fields = fields;
}

static void copy_block(struct added_queue *added, const struct block *from)
{
	struct block *block = &added->block;
	block->section = from->section;
	block->title = copy_text(&added->region, from->title);
	block->place = copy_place(&added->region, from->place);
	size_t n = section_n_keys(from->section);
	block->said = region_take(&added->region, n * sizeof *block->said);
	for (size_t i = 0; i < n; i++)
		copy_said(&added->region, &block->said[i], &from->said[i]);
	copy_fields(added, from);
}

static void copy_retry(struct added_queue *added, const struct retry_settings *from)
{
	added->retry = *from;
	added->retry.name = copy_text(&added->region, from->name);
	added->retry.place = copy_place(&added->region, from->place);
}

/* --- coming --- */

enum status added_queue_create(struct settings *settings, const struct block *block,
			       struct added_queue **ret_added, struct error *why)
{
	struct loaded *loaded = loaded_in_use(settings);
	const struct source_queue_settings *from = block->fields;
	const char *name = from->handler->name;
	must(section_is_queue(block->section));
	struct block *parent =
	    document_find(&loaded->document, block->parent->section, NULL, block->parent->title);
	const struct block *handler =
	    document_find(&loaded->document, &section_handler, NULL, name);
	if (parent == NULL)
		return error_set(why, ST_MISSING, "its section is new and takes a new worker");
	if (handler == NULL)
		return error_set(why, ST_MISSING,
				 "its handler \"%s\" is new and takes a new worker", name);
	struct added_queue *added = memory_clear(1, sizeof *added);
	if (added == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	added->of = loaded;
	copy_block(added, block);
	copy_retry(added, from->retry);
	struct source_queue_settings *queue = added->block.fields;
	queue->handler = handler->fields;
	queue->retry = &added->retry;
	added->block.parent = parent;
	list_append(&loaded->added, &added->in_all);
	*ret_added = added;
	return ST_OK;
}

void added_queue_join(struct added_queue *added)
{
	document_append(&added->of->document, &added->block);
}

const struct block *added_queue_block(const struct added_queue *added)
{
	return &added->block;
}

void added_queue_adopt_retries(struct settings *settings, const struct settings *after)
{
	list_each (it, &loaded_in_use(settings)->added) {
		struct added_queue *added = list_entry(it, struct added_queue, in_all);
		const struct block *now = document_find(&loaded_of(after)->document, &section_retry,
							NULL, added->retry.name);
		if (now == NULL)
			continue;
		struct retry_settings retry = *(const struct retry_settings *)now->fields;
		retry.name = added->retry.name;
		retry.place = added->retry.place;
		added->retry = retry;
	}
}

/* --- going --- */

void settings_drop(struct settings *settings, struct block *block)
{
	document_remove(&loaded_in_use(settings)->document, block);
}

static bool is_part(const struct added_queue *added)
{
	return document_counterpart(&added->of->document, &added->block) == &added->block;
}

void added_queue_destroy(struct added_queue *added)
{
	if (added == NULL)
		return;
	must(!is_part(added));
	list_remove(&added->in_all);
	region_free(&added->region);
	memory_free(added);
}

void added_queue_destroy_all(struct settings *settings)
{
	struct list *it;
	while ((it = list_take_first(&loaded_in_use(settings)->added)) != NULL) {
		struct added_queue *added = list_entry(it, struct added_queue, in_all);
		region_free(&added->region);
		memory_free(added);
	}
}
