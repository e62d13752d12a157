/* Two documents are walked block by block, and each block's counterpart is the one with the same titles.
 * What is live is a column of the table. All of those keys are numbers and words that are looked at anew each
 * time they are needed; what was used once to build something (an address, a command, a prefetch
 * that the broker was told) needs a new worker, and so does a section that comes or goes, unless it is
 * a queue's.
 *
 * A limit on how many jobs run at once is live both ways: what was built for it grows when it does
 * (executor.h, resize(); source.h, limits_changed()). */
#include "settings/changes.h"

#include "base/must.h"
#include "settings/added_queue.h"
#include "settings/loaded.h"

#include <stdio.h>
#include <string.h>

/* --- comparing --- */

struct comparison {
	change_seen *seen;
	void *arg;
};

static bool same_title(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static const char *text_at(const struct block *block, const struct key_row *key, size_t i)
{
	const struct said *said = block != NULL ? block_said_of(block, key) : NULL;
	if (said == NULL || said->n == 0)
		return i == 0 ? key->preset : NULL;
	return i < said->n ? said->texts[i] : NULL;
}

static bool same_value(const struct block *a, const struct block *b, const struct key_row *key)
{
	for (size_t i = 0;; i++) {
		const char *left = text_at(a, key, i), *right = text_at(b, key, i);
		if (!same_title(left, right))
			return false;
		if (left == NULL)
			return true;
	}
}

struct change change_of_section(enum change_kind kind, const struct block *block)
{
	return (struct change){
	    .kind = kind,
	    .section = block->section,
	    .inside = block->parent != NULL ? block->parent->title : NULL,
	    .title = block->title,
	    .place = block->place,
	};
}

static void tell_section(const struct comparison *c, enum change_kind kind,
			 const struct block *block)
{
	struct change change = change_of_section(kind, block);
	c->seen(c->arg, &change);
}

static void tell_key(const struct comparison *c, const struct block *before,
		     const struct block *after, const struct key_row *key)
{
	const struct block *block = after != NULL ? after : before;
	struct change change = {
	    .kind = CHANGE_KEY,
	    .section = block->section,
	    .inside = block->parent != NULL ? block->parent->title : NULL,
	    .title = block->title,
	    .key = key,
	    .live = key->live,
	    .place = block_place(block, key->name),
	};
	c->seen(c->arg, &change);
}

/* One of them may be missing: a section without a title is there whether it is written or not. */
static void compare_blocks(const struct comparison *c, const struct block *before,
			   const struct block *after)
{
	const struct block *there = after != NULL ? after : before;
	for (size_t i = 0; i < section_n_keys(there->section); i++) {
		const struct key_row *key = section_key(there->section, i);
		if (!same_value(before, after, key))
			tell_key(c, before, after, key);
	}
}

static bool is_titled(const struct block *block)
{
	return block->section->titled;
}

void settings_compare(const struct settings *before, const struct settings *after,
		      change_seen *seen, void *arg)
{
	const struct document *old = &loaded_of(before)->document;
	const struct document *new = &loaded_of(after)->document;
	const struct comparison c = {seen, arg};
	for (const struct block *b = new->first; b != NULL; b = b->next) {
		const struct block *was = document_counterpart(old, b);
		if (was == NULL && is_titled(b))
			tell_section(&c, CHANGE_SECTION_CAME, b);
		else
			compare_blocks(&c, was, b);
	}
	for (const struct block *b = old->first; b != NULL; b = b->next) {
		if (document_counterpart(new, b) != NULL)
			continue;
		if (is_titled(b))
			tell_section(&c, CHANGE_SECTION_WENT, b);
		else
			compare_blocks(&c, b, NULL);
	}
}

void settings_compare_queues(const struct settings *before, const struct settings *after,
			     const struct queue_changes *seen)
{
	const struct document *old = &loaded_of(before)->document;
	const struct document *new = &loaded_of(after)->document;
	for (struct block *b = old->first, *next; b != NULL; b = next) {
		next = b->next;
		if (section_is_queue(b->section) && document_counterpart(new, b) == NULL)
			seen->went(seen->arg, b);
	}
	for (const struct block *b = new->first; b != NULL; b = b->next)
		if (section_is_queue(b->section) && document_counterpart(old, b) == NULL)
			seen->came(seen->arg, b);
}

void change_name(const struct change *change, char *buf, size_t size)
{
	const struct section_row *row = change->section;
	size_t used = 0;
	if (change->inside != NULL)
		used +=
		    (size_t)snprintf(buf, size, "%s \"%s\" ", row->inside->name, change->inside);
	if (used < size)
		used += (size_t)snprintf(buf + used, size - used, "%s", row->name);
	if (used < size && change->title != NULL)
		used += (size_t)snprintf(buf + used, size - used, " \"%s\"", change->title);
	if (used < size && change->key != NULL)
		(void)snprintf(buf + used, size - used, " %s", change->key->name);
}

/* --- adopting --- */

/* Fields that are more than numbers are taken over by name, in settings_adopt(). */
static size_t field_bytes(const struct key_row *key)
{
	switch (key->type) {
	case VALUE_COUNT:
		return sizeof(unsigned);
	case VALUE_DURATION:
	case VALUE_RATE:
		return sizeof(uint64_t);
	case VALUE_FRACTION:
		return sizeof(double);
	case VALUE_CHOICE:
		return sizeof(int);
	case VALUE_TEXT:
	case VALUE_LIST:
	case VALUE_NUMBER:
	case VALUE_SIZE:
		break;
	}
	must(false); /* no live key is one of these */
	return 0;
}

static void adopt_block(const struct block *block, const struct block *after)
{
	for (size_t i = 0; i < section_n_keys(block->section); i++) {
		const struct key_row *key = section_key(block->section, i);
		if (key->live)
			memcpy((char *)block->fields + key->offset,
			       (const char *)after->fields + key->offset, field_bytes(key));
	}
}

void settings_adopt(struct settings *settings, const struct settings *after)
{
	const struct document *document = &loaded_of(settings)->document;
	for (const struct block *b = document->first; b != NULL; b = b->next) {
		const struct block *now = document_counterpart(&loaded_of(after)->document, b);
		if (is_titled(b) && now != NULL)
			adopt_block(b, now);
	}
	added_queue_adopt_retries(settings, after);
	settings->worker.concurrency = after->worker.concurrency;
	settings->drain = after->drain;
	settings->admin.token = after->admin.token;
	settings->log.level = after->log.level;
}
