/* libconfuse calls back for each value; from these calls the blocks are built, because the tree it
 * leaves behind knows no lines and silently drops the first of two sections with the same title.
 *
 * It has no call for "a section begins". So each section has a hidden list with a default value:
 * libconfuse parses that default when it opens the section, and calls back. The name of that list has
 * a bar in it, which libconfuse takes for a path, so no file can name it.
 *
 * It also stops at the first key it does not know, and everybody hates to be told about their mistakes
 * one by one. So an unknown name is learnt (a "stranger"), and the text is read again with it
 * allowed, until it goes through; then every stranger is reported where it stands. That an unknown
 * name is a section shows only in the complaint about its missing `=`; it takes one more reading. */
#include "settings/parse.h"

#include "base/must.h"
#include "settings/problems.h"

#include <confuse.h>
#include <stdio.h>
#include <string.h>

enum {
	STRANGERS_MOST = 50,
	BLOCKS_MOST = 4096,
	VALUES_MOST = 1000, /* of one list, which libconfuse copies for each of them */
	SECTION_NOWHERE = SECTIONS + STRANGERS_MOST, /* "rabbitmq=a|queue": libconfuse's paths */
};

enum stranger_form { STRANGER_KEY, STRANGER_TITLED, STRANGER_UNTITLED };

struct stranger {
	int inside; /* enum section, SECTION_ROOT, or SECTIONS + index of a strange section */
	const char *name;
	enum stranger_form form;
};

struct strangers {
	struct stranger list[STRANGERS_MOST];
	int count;
};

/* One reading of the text. */
struct reading {
	const struct reader_text *text;
	struct region *region;
	struct problems *problems;
	struct strangers *strangers;
	struct document document;
	struct block *inside; /* the block being read; NULL at the top */
	size_t opened;        /* sections so far, strange ones too */
	bool learnt;          /* something about a stranger: read again */
	bool broken;          /* reported */
};

/* libconfuse's callbacks carry no argument of ours. It can only parse one text at a time anyway. */
static _Thread_local struct reading *current;

#define HOOK "opening|hook"

static int inside_of(const struct reading *r)
{
	return r->inside != NULL ? r->inside->section : SECTION_ROOT;
}

static struct stranger *find_stranger(struct reading *r, int inside, const char *name)
{
	for (int i = 0; i < r->strangers->count; i++) {
		struct stranger *stranger = &r->strangers->list[i];
		if (stranger->inside == inside && strcmp(stranger->name, name) == 0)
			return stranger;
	}
	return NULL;
}

static int strange_section(const struct reading *r, const struct stranger *stranger)
{
	return SECTIONS + (int)(stranger - r->strangers->list);
}

static struct place place_now(const struct reading *r, const cfg_t *cfg)
{
	return reader_place(r->text, cfg->line > 0 ? (unsigned)cfg->line : 1);
}

static void stop_reading(struct reading *r, struct place place, const char *text)
{
	problems_error(r->problems, place, "%s", text);
	r->broken = true;
}

/* --- strangers --- */

static bool is_name(const char *text)
{
	size_t len =
	    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
	return len > 0 && len <= 40 && text[len] == '\0';
}

/* A value behind a forgotten comma looks like the name of a key, and may be a secret. */
static void learn_stranger(struct reading *r, const char *name, struct place place)
{
	struct strangers *strangers = r->strangers;
	if (!is_name(name)) {
		stop_reading(r, place,
			     "a key was expected here: is a comma, an = or a quote missing?");
	} else if (find_stranger(r, inside_of(r), name) != NULL) {
		/* Known, and yet not found: worker|nme, which libconfuse takes for a path. */
		stop_reading(r, place, "a key is set inside its section");
	} else if (strangers->count == STRANGERS_MOST) {
		stop_reading(r, place, "too many unknown keys, nothing after this one was read");
	} else {
		strangers->list[strangers->count++] = (struct stranger){
		    .inside = inside_of(r),
		    .name = region_text(r->region, name, strlen(name)),
		};
		r->learnt = true;
	}
}

static bool learn_form(struct reading *r, const char *name, enum stranger_form from,
		       enum stranger_form to)
{
	struct stranger *stranger = find_stranger(r, inside_of(r), name);
	if (stranger == NULL || stranger->form != from)
		return false;
	stranger->form = to;
	r->learnt = true;
	return true;
}

static bool is_known_in(const struct section_row *section, const char *name)
{
	int inside = (int)(section - table_sections);
	return table_find_key((enum section)inside, name) != NULL ||
	       table_find_section(inside, name) != NULL;
}

/* The one section that knows this name, for "it belongs in"; NULL: none, or more than one. */
static const char *home_of(const char *name)
{
	const char *home = NULL;
	for (int i = 0; i < SECTIONS; i++) {
		if (!is_known_in(&table_sections[i], name))
			continue;
		if (home != NULL)
			return NULL;
		home = table_sections[i].name;
	}
	return home;
}

static void report_stranger(struct reading *r, const struct stranger *stranger, struct place place)
{
	if (stranger->inside >= SECTIONS)
		return; /* the section around it has been reported */
	const char *kind = stranger->form == STRANGER_KEY ? "key" : "section";
	const char *nearest = table_nearest(stranger->inside, stranger->name);
	const char *home = home_of(stranger->name);
	char where[64] = "", hint[80] = "";
	if (stranger->inside != SECTION_ROOT)
		(void)snprintf(where, sizeof where, " in section %s",
			       table_sections[stranger->inside].name);
	if (home != NULL)
		(void)snprintf(hint, sizeof hint, ": it belongs in a section %s", home);
	else if (nearest != NULL)
		(void)snprintf(hint, sizeof hint, ": did you mean %s?", nearest);
	problems_error(r->problems, place, "unknown %s %s%s%s", kind, stranger->name, where, hint);
}

/* --- what libconfuse tells us --- */

static struct said *said_of_key(struct reading *r, const char *name)
{
	if (r->inside == NULL || r->inside->section >= SECTIONS)
		return NULL;
	const struct key_row *row = table_find_key((enum section)r->inside->section, name);
	return row != NULL ? &r->inside->said[row - table_keys] : NULL;
}

static void add_text(struct reading *r, struct said *said, const char *text)
{
	size_t bytes = (said->n + 2) * sizeof *said->texts;
	if ((said->n & (said->n + 1)) == 0) { /* 0, 1, 3, 7, ...: room for as many again */
		const char **texts = region_take(r->region, 2 * bytes);
		for (size_t i = 0; i < said->n; i++)
			texts[i] = said->texts[i];
		said->texts = texts;
	}
	said->texts[said->n++] = region_text(r->region, text, strlen(text));
	said->texts[said->n] = NULL;
	said->unset |= strstr(text, READER_UNSET) != NULL;
}

/* Non-zero stops libconfuse. */
static int stop_if_over(const struct reading *r)
{
	return r->broken;
}

/* A name that the block being read has no key for. */
static void hear_strange_value(struct reading *r, const char *name, bool first, struct place place)
{
	struct stranger *stranger = find_stranger(r, inside_of(r), name);
	if (stranger == NULL) /* worker|name = ...: libconfuse's paths */
		stop_reading(r, place, "a key is set inside its section");
	else if (first)
		report_stranger(r, stranger, place);
}

static void hear_known_value(struct reading *r, struct said *said, const char *name, bool first,
			     const char *value, struct place place)
{
	if (said->n > 0 && first) {
		problems_error(r->problems, place, "%s is set twice, first in line %u", name,
			       said->place.line);
		return;
	}
	if (said->n == 0)
		said->place = place;
	add_text(r, said, value);
}

static int hear_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct reading *r = current;
	struct place place = place_now(r, cfg);
	struct said *said = said_of_key(r, opt->name);
	bool first = opt->nvalues == 1; /* of this statement: `=` has cleared what was before */
	if (opt->nvalues > VALUES_MOST)
		stop_reading(r, place, "a list has at most 1000 values");
	else if (said == NULL)
		hear_strange_value(r, opt->name, first, place);
	else
		hear_known_value(r, said, opt->name, first, value, place);
	*(const char **)result = value;
	return stop_if_over(r);
}

static int section_named(struct reading *r, const char *name)
{
	int inside = inside_of(r);
	const struct section_row *row = table_find_section(inside, name);
	if (row != NULL)
		return (int)(row - table_sections);
	struct stranger *stranger = find_stranger(r, inside, name);
	return stranger != NULL ? strange_section(r, stranger) : SECTION_NOWHERE;
}

/* Must succeed: libconfuse aborts when a default value cannot be parsed. */
static int hear_opening(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	(void)opt;
	struct reading *r = current;
	struct block *block = region_take(r->region, sizeof *block);
	block->section = section_named(r, cfg->name);
	block->place = place_now(r, cfg);
	block->parent = r->inside;
	if (cfg->title != NULL)
		block->title = region_text(r->region, cfg->title, strlen(cfg->title));
	if (block->section < SECTIONS) {
		block->said = region_take(r->region, table_n_keys * sizeof *block->said);
		document_append(&r->document, block);
	} else if (block->section == SECTION_NOWHERE) {
		stop_reading(r, block->place, "a section is opened inside the one it belongs to");
	} else {
		report_stranger(r, &r->strangers->list[block->section - SECTIONS], block->place);
	}
	if (++r->opened > BLOCKS_MOST && !r->broken)
		stop_reading(r, block->place, "too many sections");
	r->inside = block;
	*(const char **)result = value;
	return 0;
}

static int hear_closing(cfg_t *cfg, cfg_opt_t *opt)
{
	(void)cfg;
	(void)opt;
	current->inside = current->inside->parent;
	return stop_if_over(current);
}

/* --- complaints of libconfuse --- */

/* What it quotes is a mark, the name of a key or section it knows, or else text of the file, which
 * may be a secret and is not repeated. */
static void report_complaint(struct reading *r, const char *complaint, const char *subject,
			     struct place place)
{
	if (strncmp(complaint, "unexpected token", 16) == 0 && strlen(subject) > 2)
		complaint = "a mark was expected here: is a comma or a brace missing?";
	else if (strncmp(complaint, "no sub-section", 14) == 0)
		complaint = "a key was expected here: is a comma, an = or a quote missing?";
	stop_reading(r, place, complaint);
}

/* Each of its formats has one %s or none. */
static void hear_complaint(cfg_t *cfg, const char *fmt, va_list ap)
{
	struct reading *r = current;
	char complaint[256];
	va_list again;
	va_copy(again, ap);
	(void)vsnprintf(complaint, sizeof complaint, fmt, ap); /* cut is fine */
	const char *subject = strstr(fmt, "%s") != NULL ? va_arg(again, const char *) : "";
	if (r->learnt || r->broken)
		; /* it stops because we told it to */
	else if (strncmp(fmt, "no such option", 14) == 0)
		learn_stranger(r, subject, place_now(r, cfg));
	else if (strncmp(fmt, "missing equal sign", 18) == 0 &&
		 learn_form(r, subject, STRANGER_KEY, STRANGER_TITLED))
		; /* the next reading takes it for a section */
	else if (strncmp(fmt, "missing title", 13) == 0 &&
		 learn_form(r, subject, STRANGER_TITLED, STRANGER_UNTITLED))
		; /* the next reading takes it for one without a title */
	else
		report_complaint(r, complaint, subject, place_now(r, cfg));
	va_end(again);
}

/* --- the grammar, from the table --- */

static cfg_opt_t *grammar_of(struct reading *r, int inside);

static cfg_opt_t key_option(const char *name)
{
	return (cfg_opt_t){.name = name,
			   .type = CFGT_STR,
			   .flags = CFGF_LIST | CFGF_NODEFAULT,
			   .parsecb = hear_value};
}

static cfg_opt_t section_option(struct reading *r, const char *name, int section, bool titled)
{
	return (cfg_opt_t){.name = name,
			   .type = CFGT_SEC,
			   .flags = CFGF_MULTI | (titled ? CFGF_TITLE : 0),
			   .subopts = grammar_of(r, section),
			   .validcb = hear_closing};
}

static cfg_opt_t hook_option(struct reading *r)
{
	return (cfg_opt_t){.name = HOOK,
			   .type = CFGT_STR,
			   .flags = CFGF_LIST,
			   .def.parsed = region_text(r->region, "{x}", 3),
			   .parsecb = hear_opening};
}

static cfg_opt_t stranger_option(struct reading *r, const struct stranger *stranger)
{
	if (stranger->form == STRANGER_KEY)
		return key_option(stranger->name);
	return section_option(r, stranger->name, strange_section(r, stranger),
			      stranger->form == STRANGER_TITLED);
}

static cfg_opt_t *grammar_of(struct reading *r, int inside)
{
	size_t most = 1 + table_n_keys + SECTIONS + (size_t)r->strangers->count + 1;
	cfg_opt_t *options = region_take(r->region, most * sizeof *options); /* ends in zeroes */
	size_t n = 0;
	if (inside != SECTION_ROOT)
		options[n++] = hook_option(r);
	for (size_t i = 0; i < table_n_keys; i++)
		if ((int)table_keys[i].section == inside)
			options[n++] = key_option(table_keys[i].name);
	for (int i = 0; i < SECTIONS; i++)
		if (table_sections[i].inside == inside)
			options[n++] =
			    section_option(r, table_sections[i].name, i, table_sections[i].titled);
	for (int i = 0; i < r->strangers->count; i++)
		if (r->strangers->list[i].inside == inside)
			options[n++] = stranger_option(r, &r->strangers->list[i]);
	return options;
}

/* --- reading --- */

static void read_once(struct reading *r)
{
	cfg_t *cfg = cfg_init(grammar_of(r, SECTION_ROOT), CFGF_NONE);
	must(cfg != NULL); /* region.h says why */
	(void)cfg_set_error_function(cfg, hear_complaint);
	current = r;
	int result = cfg_parse_buf(cfg, r->text->text);
	current = NULL;
	if (result != CFG_SUCCESS && !r->learnt && !r->broken)
		stop_reading(r, place_now(r, cfg), "syntax error");
	(void)cfg_free(cfg); /* cannot fail on what cfg_init() gave */
}

enum parse_result parse_text(const struct reader_text *text, struct region *region,
			     struct problems *problems, struct document *ret_document)
{
	struct strangers strangers = {.count = 0};
	size_t known = problems->count;
	struct reading r;
	do {
		problems_forget(problems, known);
		r = (struct reading){
		    .text = text, .region = region, .problems = problems, .strangers = &strangers};
		read_once(&r);
	} while (r.learnt); /* each time more is known, and STRANGERS_MOST bounds it */
	*ret_document = r.document;
	ret_document->whole = reader_place(text, 1);
	return r.broken ? PARSE_BROKEN : PARSE_WHOLE;
}

void document_append(struct document *document, struct block *block)
{
	if (document->last != NULL)
		document->last->next = block;
	else
		document->first = block;
	document->last = block;
}

const struct said *block_said(const struct block *block, const char *key)
{
	const struct key_row *row = table_find_key((enum section)block->section, key);
	must(row != NULL);
	return &block->said[row - table_keys];
}

struct place block_place(const struct block *block, const char *key)
{
	const struct said *said = block_said(block, key);
	return said->n > 0 ? said->place : block->place;
}
