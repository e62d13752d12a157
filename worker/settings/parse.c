/*     body      = { statement }
 *     statement = name ("=" | "+=") value
 *               | name [title] "{" body "}"
 *     value     = text | "{" text { "," text } [","] "}"
 *
 * After an error it goes on at the next line, or at the end of the section, so that one run tells all of
 * them. What stands where a name should be is repeated only where it looks like a misspelt name: a
 * value that lost its quotes stands in the same place. */
#include "settings/parse.h"

#include "base/must.h"
#include "settings/problems.h"

#include <stdio.h>
#include <string.h>

enum {
	BLOCKS_MOST = 16384,
	VALUES_MOST = 1000, /* of one list */
	BRACES_MOST = 16,   /* in each other; the grammar has three */
};

struct parser {
	struct reader *reader;
	const struct reader_parts *parts;
	source_schemas kinds;
	struct document *document;
	struct token token;               /* the next one */
	struct place braces[BRACES_MOST]; /* open ones, the innermost last */
	size_t open;
	size_t sections;  /* so far, unknown ones too */
	bool after_brace; /* the next token stands behind { or } */
};

static bool at_mark(const struct parser *p, char mark)
{
	return p->token.kind == TOKEN_MARK && p->token.mark == mark;
}

static void advance(struct parser *p)
{
	p->after_brace = at_mark(p, '{') || at_mark(p, '}');
	reader_next(p->reader, &p->token);
}

static bool at_text(const struct parser *p)
{
	return p->token.kind == TOKEN_TEXT;
}

static bool at_end(const struct parser *p)
{
	return p->token.kind == TOKEN_END;
}

static void stop(struct parser *p)
{
	reader_stop(p->reader);
	p->token = (struct token){.kind = TOKEN_END};
}

/* --- braces --- */

static bool open_brace(struct parser *p)
{
	must(at_mark(p, '{'));
	if (p->open == BRACES_MOST) {
		reader_complain(p->reader, p->token.place, "sections are nested too deeply");
		stop(p);
		return false;
	}
	p->braces[p->open++] = p->token.place;
	advance(p);
	return true;
}

/* At its }, or at the end of everything, which is told once: for the innermost. */
static void close_brace(struct parser *p)
{
	p->open--;
	if (at_mark(p, '}')) {
		advance(p);
		return;
	}
	if (!reader_was_stopped(p->reader))
		reader_complain(p->reader, p->braces[p->open], "this { is never closed");
	stop(p);
}

/* Over the rest of an open brace, whatever is in there. */
static void skip_braces(struct parser *p)
{
	size_t outside = p->open - 1;
	while (!at_end(p) && p->open > outside) {
		if (at_mark(p, '{'))
			(void)open_brace(p);
		else if (at_mark(p, '}'))
			close_brace(p);
		else
			advance(p);
	}
	while (p->open > outside)
		close_brace(p);
}

/* --- going on after an error --- */

static void complain(struct parser *p, struct place place, const char *text)
{
	reader_complain(p->reader, place, "%s", text);
}

/* With all that is in it, if it is a brace. */
static void skip_mark(struct parser *p)
{
	if (!at_mark(p, '{'))
		advance(p);
	else if (open_brace(p))
		skip_braces(p);
}

static void recover(struct parser *p)
{
	while (!at_end(p) && !at_mark(p, '}') && !p->token.leads)
		skip_mark(p);
}

static void complain_of_token(struct parser *p, const char *wanted)
{
	struct place place = p->token.place;
	if (at_end(p))
		return; /* told by whoever is still open */
	if (at_text(p))
		reader_complain(p->reader, place, "%s", wanted);
	else
		reader_complain(p->reader, place, "unexpected token '%c': %s", p->token.mark,
				wanted);
}

/* --- unknown names --- */

/* NULL: the top. */
static const struct section_row *section_of(const struct block *inside)
{
	return inside != NULL ? inside->section : NULL;
}

enum { NAME_MOST = 20 };

static bool is_like_a_name(const char *text)
{
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyz_")] == '\0' &&
	       strlen(text) <= NAME_MOST;
}

static bool is_known_in(source_schemas kinds, const struct section_row *section, const char *name)
{
	return section_find_key(section, name) != NULL ||
	       table_find_section(kinds, section, name) != NULL;
}

/* The one section that knows this name, for "it belongs in"; NULL: none, or more than one. */
static const char *home_of(source_schemas kinds, const char *name)
{
	const char *home = NULL;
	const struct section_row *section;
	for (size_t i = 0; (section = table_section(kinds, i)) != NULL; i++) {
		if (!is_known_in(kinds, section, name))
			continue;
		if (home != NULL)
			return NULL;
		home = section->name;
	}
	return home;
}

struct name {
	struct token token;
	bool may_be_shown; /* where it stands, nothing but a name can stand */
};

static struct name take_name(struct parser *p)
{
	struct name name = {p->token, p->token.leads || p->after_brace};
	name.may_be_shown &=
	    !name.token.quoted && name.token.expansions == NULL && is_like_a_name(name.token.text);
	advance(p);
	return name;
}

static void report_unknown(struct parser *p, const struct block *inside, const struct name *name,
			   const char *kind)
{
	const char *text = name->token.text;
	const char *nearest = table_nearest(p->kinds, section_of(inside), text);
	const char *home = home_of(p->kinds, text);
	bool shown = name->may_be_shown || home != NULL;
	char where[64] = "", hint[80] = "";
	if (inside != NULL)
		(void)snprintf(where, sizeof where, " in section %s", inside->section->name);
	if (home != NULL)
		(void)snprintf(hint, sizeof hint, ": it belongs in a section %s", home);
	else if (nearest != NULL)
		(void)snprintf(hint, sizeof hint, ": did you mean %s?", nearest);
	problems_error(p->parts->values, name->token.place, "unknown %s%s%s%s%s", kind,
		       shown ? " " : "", shown ? text : "", where, hint);
}

/* --- values --- */

static void grow(struct parser *p, struct said *said)
{
	size_t n = 2 * (said->n + 1);
	const char **texts = region_take(p->parts->region, (n + 1) * sizeof *texts);
	struct expansion **expansions = region_take(p->parts->region, n * sizeof *expansions);
	if (said->n > 0) {
		memcpy(texts, said->texts, said->n * sizeof *texts);
		memcpy(expansions, said->expansions, said->n * sizeof *expansions);
	}
	said->texts = texts;
	said->expansions = expansions;
}

static void add(struct parser *p, struct said *said, const struct token *token)
{
	if ((said->n & (said->n + 1)) == 0) /* 0, 1, 3, 7, ...: room for as many again */
		grow(p, said);
	if (said->n == 0)
		said->place = token->place;
	said->expansions[said->n] = token->expansions;
	said->texts[said->n++] = token->text;
	said->expanded |= token->expansions != NULL || token->unset != NULL;
	if (said->unset == NULL)
		said->unset = token->unset;
}

/* The end of a list that is not as it should be. */
static void break_list(struct parser *p)
{
	complain_of_token(p, "a mark was expected here: is a comma or a brace missing?");
	skip_braces(p);
}

static void take_list(struct parser *p, struct said *said)
{
	size_t n = 0;
	if (!open_brace(p))
		return;
	while (at_text(p) && ++n <= VALUES_MOST) {
		add(p, said, &p->token);
		advance(p);
		if (!at_mark(p, ','))
			break;
		advance(p);
	}
	if (n > VALUES_MOST)
		complain(p, p->token.place, "a list has at most 1000 values");
	if (n > VALUES_MOST || (!at_mark(p, '}') && !at_end(p))) {
		break_list(p);
		return;
	}
	if (n == 0 && at_mark(p, '}'))
		problems_error(p->parts->values, p->token.place,
			       "a list is empty: give it a value or leave the key out");
	close_brace(p);
}

static void take_values(struct parser *p, struct said *said)
{
	if (at_text(p)) {
		add(p, said, &p->token);
		advance(p);
	} else if (at_mark(p, '{')) {
		take_list(p, said);
	} else {
		complain_of_token(p, "a value was expected here");
		recover(p);
	}
}

/* At = or +=. */
static void take_assignment(struct parser *p, struct block *inside, const struct name *name)
{
	bool more = at_mark(p, '+');
	const struct key_row *row =
	    inside != NULL ? section_find_key(inside->section, name->token.text) : NULL;
	struct said nowhere = {0};
	struct said *said = row != NULL ? block_said_of(inside, row) : &nowhere;
	if (row == NULL)
		report_unknown(p, inside, name, "key");
	if (said->n > 0 && !more) {
		problems_error(p->parts->values, name->token.place,
			       "%s is set twice, first in line %u", row->name, said->place.line);
		said = &nowhere;
	}
	advance(p);
	take_values(p, said);
}

/* --- sections --- */

static void take_body(struct parser *p, struct block *inside);

/* Of one whose variable is not set, which has been told, something that is no empty name. */
static const char *title_text(const struct token *title)
{
	if (title == NULL)
		return NULL;
	return title->unset != NULL ? "${...}" : title->text;
}

/* At {. `title` is NULL where there is none. */
static void take_section(struct parser *p, struct block *inside, const struct section_row *row,
			 const struct name *name, const struct token *title)
{
	struct block *block =
	    block_create(p->parts->region, row, title_text(title), name->token.place);
	block->parent = inside;
	document_append(p->document, block);
	if (!open_brace(p))
		return;
	take_body(p, block);
	close_brace(p);
}

/* A title is repeated wherever the section is spoken of. */
static bool is_title(struct parser *p, const struct token *title)
{
	if (title == NULL || strstr(title->text, "://") == NULL)
		return true;
	complain(p, title->place, "a title is a name, and this is an address");
	return false;
}

/* At {. */
static void take_section_named(struct parser *p, struct block *inside, const struct name *name,
			       const struct token *title)
{
	const struct section_row *row =
	    table_find_section(p->kinds, section_of(inside), name->token.text);
	struct place place = name->token.place;
	if (++p->sections > BLOCKS_MOST) {
		complain(p, place, "too many sections");
		stop(p);
		return;
	}
	if (row == NULL)
		report_unknown(p, inside, name, "section");
	else if (row->titled && title == NULL)
		reader_complain(p->reader, place, "missing title for section '%s'", row->name);
	else if (!row->titled && title != NULL)
		reader_complain(p->reader, place, "missing opening brace for section '%s'",
				row->name);
	else if (is_title(p, title)) {
		take_section(p, inside, row, name, title);
		return;
	}
	if (open_brace(p))
		skip_braces(p);
}

/* Behind a name, and perhaps something that would be a title, stands nothing that could follow. */
static void complain_of_name(struct parser *p, const struct block *inside, const struct name *name)
{
	const char *text = name->token.text;
	struct place place = name->token.place;
	if (inside != NULL && section_find_key(inside->section, text) != NULL)
		reader_complain(p->reader, place, "missing equal sign after %s", text);
	else if (table_find_section(p->kinds, section_of(inside), text) != NULL)
		reader_complain(p->reader, place, "missing opening brace for section '%s'", text);
	else
		complain(p, place, "a key was expected here: is a comma, an = or a quote missing?");
	recover(p);
}

static void take_statement(struct parser *p, struct block *inside)
{
	struct name name = take_name(p);
	if (at_mark(p, '=') || at_mark(p, '+')) {
		take_assignment(p, inside, &name);
		return;
	}
	struct token title = p->token;
	bool titled = at_text(p);
	if (titled)
		advance(p);
	if (at_mark(p, '{'))
		take_section_named(p, inside, &name, titled ? &title : NULL);
	else
		complain_of_name(p, inside, &name);
}

/* Up to the } that closes it. */
static void take_body(struct parser *p, struct block *inside)
{
	while (!at_end(p) && !at_mark(p, '}')) {
		if (at_text(p)) {
			take_statement(p, inside);
			continue;
		}
		complain_of_token(p, "a key was expected here");
		skip_mark(p);
		recover(p);
	}
}

enum parse_result parse_file(source_schemas kinds, const char *path,
			     const struct reader_parts *parts, struct document *ret_document)
{
	struct parser p = {
	    .parts = parts, .kinds = kinds, .document = ret_document, .after_brace = true};
	*ret_document = (struct document){.region = parts->region, .kinds = kinds};
	ret_document->whole =
	    (struct place){.file = region_text(parts->region, path, strlen(path)), .line = 1};
	p.reader = reader_open(path, parts);
	reader_next(p.reader, &p.token);
	for (take_body(&p, NULL); at_mark(&p, '}'); take_body(&p, NULL)) {
		complain(&p, p.token.place, "this } closes nothing");
		advance(&p);
	}
	return reader_is_broken(p.reader) ? PARSE_BROKEN : PARSE_WHOLE;
}
