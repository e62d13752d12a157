#include "settings/document.h"

#include "base/must.h"

#include <stdio.h>
#include <string.h>

enum { HASHED_FIRST = 64 };

/* --- finding --- */

static size_t hash_text(size_t hash, const char *text)
{
	for (; text != NULL && *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * 1099511628211U;
	return hash * 31 + 7;
}

static size_t hash_of(const struct section_row *section, const char *parent_title,
		      const char *title)
{
	return hash_text(hash_text((uintptr_t)section, parent_title), title);
}

static const char *parent_title(const struct block *block)
{
	return block->parent != NULL ? block->parent->title : NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct block **slot_of(const struct document *document, const struct block *block)
{
	size_t hash = hash_of(block->section, parent_title(block), block->title);
	return &document->hashed[hash % document->n_hashed];
}

/* Behind those of the same name: the first one is found. */
static void hash(struct document *document, struct block *block)
{
	struct block **slot = slot_of(document, block);
	while (*slot != NULL)
		slot = &(*slot)->same_hash;
	block->same_hash = NULL;
	*slot = block;
}

static void grow(struct document *document)
{
	size_t n = document->n_hashed == 0 ? HASHED_FIRST : 2 * document->n_hashed;
	document->hashed = region_take(document->region, n * sizeof(struct block *));
	document->n_hashed = n;
	for (struct block *b = document->first; b != NULL; b = b->next)
		hash(document, b);
}

struct block *document_find(const struct document *document, const struct section_row *section,
			    const char *parent, const char *title)
{
	if (document->n_hashed == 0)
		return NULL;
	struct block *b = document->hashed[hash_of(section, parent, title) % document->n_hashed];
	while (b != NULL && (b->section != section || !same_text(b->title, title) ||
			     !same_text(parent_title(b), parent)))
		b = b->same_hash;
	return b;
}

struct block *document_counterpart(const struct document *document, const struct block *block)
{
	return document_find(document, block->section, parent_title(block), block->title);
}

/* --- the list --- */

void document_append(struct document *document, struct block *block)
{
	if (document->count >= document->n_hashed)
		grow(document);
	if (document->last != NULL)
		document->last->next = block;
	else
		document->first = block;
	block->next = NULL;
	document->last = block;
	document->count++;
	hash(document, block);
	if (block->parent != NULL)
		block->parent->n_children++;
}

void document_remove(struct document *document, struct block *block)
{
	struct block *before = NULL;
	for (struct block *b = document->first; b != NULL && b != block; b = b->next)
		before = b;
	must(block == (before != NULL ? before->next : document->first));
	if (before != NULL)
		before->next = block->next;
	else
		document->first = block->next;
	if (document->last == block)
		document->last = before;
	struct block **slot = slot_of(document, block);
	while (*slot != block)
		slot = &(*slot)->same_hash;
	*slot = block->same_hash;
	document->count--;
}

/* --- a block --- */

struct block *block_create(struct region *region, const struct section_row *section,
			   const char *title, struct place place)
{
	struct block *block = region_take(region, sizeof *block);
	block->section = section;
	block->title = title;
	block->place = place;
	block->said = region_take(region, section_n_keys(section) * sizeof *block->said);
	return block;
}

struct said *block_said_of(const struct block *block, const struct key_row *row)
{
	return &block->said[section_key_index(block->section, row)];
}

const struct said *block_said(const struct block *block, const char *key)
{
	const struct key_row *row = section_find_key(block->section, key);
	must(row != NULL);
	return block_said_of(block, row);
}

struct place block_place(const struct block *block, const char *key)
{
	const struct said *said = block_said(block, key);
	return said->n > 0 ? said->place : block->place;
}

/* --- what may be shown --- */

enum { WORD_MOST = 24, NUMBER_MOST = 20, UNIT_MOST = 3 };

/* "many", "cli-consumer": nothing but small letters. A secret that is so simple is hardly one. */
static bool is_plain_word(const char *text)
{
	return strlen(text) <= WORD_MOST &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyz-_")] == '\0';
}

/* "64MB", "-1.5", "5/s": digits, perhaps a unit. */
static bool is_plain_number(const char *text)
{
	const char *digits = text + (text[0] == '-' || text[0] == '+');
	size_t n = strspn(digits, "0123456789.");
	const char *unit = digits + n;
	return n > 0 && strlen(text) <= NUMBER_MOST && strlen(unit) <= UNIT_MOST &&
	       unit[strspn(unit, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/%")] == '\0';
}

const char *said_word(const struct said *said, char buf[SAID_SHOWN_BYTES])
{
	const char *text = said->n == 1 && !said->expanded ? said->texts[0] : "?";
	if (is_plain_word(text) || is_plain_number(text))
		(void)snprintf(buf, SAID_SHOWN_BYTES, "\"%s\"", text);
	else
		(void)snprintf(buf, SAID_SHOWN_BYTES, "this");
	return buf;
}

/* "/etc/ca.pem", "./send.php", "x.so", "php": marks that passwords like to have are in none of them. */
static bool is_plain_path(const char *text)
{
	if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			      "._-/")] != '\0')
		return false;
	return text[0] == '/' || strchr(text, '.') != NULL || is_plain_word(text);
}

const char *said_path(const struct said *said, const char *path, const char *instead)
{
	bool shown = said->n > 0 && !said->expanded && is_plain_path(said->texts[0]);
	return shown ? path : instead;
}
