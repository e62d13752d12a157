/* A tree of settings is one piece of memory and is given back as one. What comes to it later has to be able
 * to go by itself, or a worker that is reloaded every minute would grow for ever. So each such
 * queue is a small tree of its own, hung into the document of the large one.
 *
 * The alternative, to keep each tree that was read as long as one of its queues is in use, needs no copying, and grows with
 * the square: a tree with 4,000 queues takes 6 MB, so a thousand customers who come one by one would hold 6 GB. */
#include "settings/late.h"

#include "base/memory.h"
#include "base/must.h"
#include "settings/loaded.h"

#include <string.h>

struct late {
	struct list in_all; /* struct loaded.late */
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

static void copy_fields(struct late *late, const struct block *from)
{
	const struct section_row *row = from->section;
	char *fields = region_take(&late->region, row->bytes);
	memcpy(fields, from->fields, row->bytes);
	*(const char **)(void *)(fields + row->name_offset) = late->block.title;
	*(struct place *)(void *)(fields + row->place_offset) = late->block.place;
	for (size_t i = 0; i < section_n_keys(from->section); i++) {
		const struct key_row *key = section_key(from->section, i);
		if (key->offset == TABLE_NO_FIELD)
			continue;
		if (key->type == VALUE_TEXT)
			copy_text_at(&late->region, fields + key->offset);
		else if (key->type == VALUE_LIST)
			copy_list_at(&late->region, fields + key->offset);
	}
	late->block.fields = fields;
}

static void copy_block(struct late *late, const struct block *from)
{
	struct block *block = &late->block;
	block->section = from->section;
	block->title = copy_text(&late->region, from->title);
	block->place = copy_place(&late->region, from->place);
	size_t n = section_n_keys(from->section);
	block->said = region_take(&late->region, n * sizeof *block->said);
	for (size_t i = 0; i < n; i++)
		copy_said(&late->region, &block->said[i], &from->said[i]);
	copy_fields(late, from);
}

static void copy_retry(struct late *late, const struct retry_settings *from)
{
	late->retry = *from;
	late->retry.name = copy_text(&late->region, from->name);
	late->retry.place = copy_place(&late->region, from->place);
}

/* --- coming --- */

enum status late_create(struct settings *settings, const struct block *block,
			struct late **ret_late, struct error *why)
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
	struct late *late = memory_clear(1, sizeof *late);
	if (late == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	late->of = loaded;
	copy_block(late, block);
	copy_retry(late, from->retry);
	struct source_queue_settings *queue = late->block.fields;
	queue->handler = handler->fields;
	queue->retry = &late->retry;
	late->block.parent = parent;
	list_append(&loaded->late, &late->in_all);
	*ret_late = late;
	return ST_OK;
}

void late_join(struct late *late)
{
	document_append(&late->of->document, &late->block);
}

const struct block *late_block(const struct late *late)
{
	return &late->block;
}

void late_adopt_retries(struct settings *settings, const struct settings *after)
{
	list_each (it, &loaded_in_use(settings)->late) {
		struct late *late = list_entry(it, struct late, in_all);
		const struct block *now = document_find(&loaded_of(after)->document, &section_retry,
							NULL, late->retry.name);
		if (now == NULL)
			continue;
		struct retry_settings retry = *(const struct retry_settings *)now->fields;
		retry.name = late->retry.name;
		retry.place = late->retry.place;
		late->retry = retry;
	}
}

/* --- going --- */

void settings_drop(struct settings *settings, struct block *block)
{
	document_remove(&loaded_in_use(settings)->document, block);
}

static bool is_part(const struct late *late)
{
	return document_counterpart(&late->of->document, &late->block) == &late->block;
}

void late_destroy(struct late *late)
{
	if (late == NULL)
		return;
	must(!is_part(late));
	list_remove(&late->in_all);
	region_free(&late->region);
	memory_free(late);
}

void late_destroy_all(struct settings *settings)
{
	struct list *it;
	while ((it = list_take_first(&loaded_in_use(settings)->late)) != NULL) {
		struct late *late = list_entry(it, struct late, in_all);
		region_free(&late->region);
		memory_free(late);
	}
}
