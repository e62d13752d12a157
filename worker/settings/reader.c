/* libconfuse reads files, includes and ${VARIABLES} by itself, so why this file? Because of what its
 * version 3.3 does there:
 *   - each one-line comment counts as three lines, so every line number below one is wrong;
 *   - a variable that is not set becomes nothing, in silence: "amqp://user:@mq1" for a forgotten
 *     secret;
 *   - include() is relative to wherever the worker was started;
 *   - a NUL byte cuts a value short; an unterminated string leaves its (global) lexer inside the
 *     string, and the next file parsed in this process begins there.
 * So the reader walks over the text once, with libconfuse's own rules for what is a comment, a
 * string and a word, and hands over one text without comments, with included files in place and
 * variables replaced. libconfuse keeps the grammar: sections, titles, lists, values.
 *
 * The text has the same lines as the files, except where an include begins and ends; a stretch
 * remembers each of those seams. A value is written so that its quotes survive: `"` becomes `\"`. */
#include "settings/reader.h"

#include "base/memory.h"
#include "base/must.h"
#include "base/span.h"
#include "settings/problems.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reader {
	struct region *region;
	struct problems *problems;
	struct reader_text out;
	size_t capacity;
	unsigned out_line;
	size_t bytes_read; /* all files */
	unsigned files;
	struct place braces[READER_MOST_BRACES]; /* open ones, the innermost last */
	unsigned open;
};

/* The file being walked. `at` only moves forward. */
struct cursor {
	struct reader *reader;
	const char *at, *end;
	struct place place;
	unsigned depth;
};

static enum read_result read_file(struct reader *reader, const char *path, unsigned depth,
				  struct place asked_for);

static bool is_text(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if ((unsigned char)bytes.ptr[i] < ' ' &&
		    memchr("\t\n\r\f", bytes.ptr[i], 4) == NULL)
			return false;
	return true;
}

/* --- the text that grows --- */

static void put(struct reader *r, const char *bytes, size_t len)
{
	if (r->out.len + len + 1 > r->capacity) {
		size_t capacity = 2 * (r->out.len + len + 1);
		char *text = memory_grow(r->out.text, capacity);
		must(text != NULL); /* region.h says why */
		r->out.text = text;
		r->capacity = capacity;
	}
	memcpy(r->out.text + r->out.len, bytes, len);
	r->out.len += len;
	r->out.text[r->out.len] = '\0';
	for (size_t i = 0; i < len; i++)
		r->out_line += bytes[i] == '\n';
}

/* What comes next in the text is from `place` and what follows it. */
static void begin_stretch(struct reader *r, struct place place)
{
	size_t bytes = (r->out.n_stretches + 1) * sizeof *r->out.stretches;
	struct reader_stretch *stretches = memory_grow(r->out.stretches, bytes);
	must(stretches != NULL);
	r->out.stretches = stretches;
	stretches[r->out.n_stretches++] =
	    (struct reader_stretch){.text_line = r->out_line, .place = place};
}

struct place reader_place(const struct reader_text *text, unsigned text_line)
{
	must(text->n_stretches > 0);
	size_t low = 0, high = text->n_stretches; /* the last stretch that begins at or before it */
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (text->stretches[middle].text_line <= text_line)
			low = middle;
		else
			high = middle;
	}
	struct place place = text->stretches[low].place;
	if (text_line > text->stretches[low].text_line)
		place.line += text_line - text->stretches[low].text_line;
	return place;
}

/* --- walking --- */

static bool at_end(const struct cursor *c)
{
	return c->at == c->end;
}

static bool looks_at(const struct cursor *c, const char *text)
{
	size_t len = strlen(text);
	return (size_t)(c->end - c->at) >= len && memcmp(c->at, text, len) == 0;
}

static void skip(struct cursor *c)
{
	c->place.line += *c->at == '\n';
	c->at++;
}

static void copy(struct cursor *c)
{
	put(c->reader, c->at, 1);
	skip(c);
}

static enum read_result broken(struct cursor *c, struct place place, const char *text)
{
	problems_error(c->reader->problems, place, "%s", text);
	return READ_BROKEN;
}

static void skip_line(struct cursor *c)
{
	while (!at_end(c) && *c->at != '\n')
		skip(c);
}

static enum read_result skip_comment(struct cursor *c)
{
	struct place began = c->place;
	c->at += 2; /* first, or the star that opens it would close it before a slash */
	while (!looks_at(c, "*/")) {
		if (at_end(c))
			return broken(c, began, "this comment never ends: write */ after it");
		if (*c->at == '\n')
			put(c->reader, "\n", 1);
		skip(c);
	}
	c->at += 2;
	put(c->reader, " ", 1);
	return READ_WHOLE;
}

/* --- ${VARIABLES} --- */

/* Shells set HOSTNAME but do not export it, and it is what people name workers after. */
static const char *host_name(struct region *region)
{
	char name[256] = "";
	(void)gethostname(name, sizeof name - 1); /* an empty name is still a name */
	return region_text(region, name, strlen(name));
}

/* As in a shell: ${NAME} must be set, ${NAME:-default} also replaces what is empty. */
static const char *variable_value(struct cursor *c, struct span inside)
{
	struct region *region = c->reader->region;
	char *name = region_text(region, inside.ptr, inside.len);
	char *fallback = strstr(name, ":-");
	if (fallback != NULL) {
		*fallback = '\0';
		fallback += 2;
	}
	const char *value = getenv(name);
	if (value == NULL && strcmp(name, "HOSTNAME") == 0)
		value = host_name(region);
	if (fallback != NULL && (value == NULL || *value == '\0'))
		return fallback;
	if (value == NULL)
		problems_error(c->reader->problems, c->place,
			       "the variable %s is not set in the environment: set it, or give a "
			       "default with ${%s:-...}",
			       name, name);
	else if (!is_text(span_text(value)))
		problems_error(c->reader->problems, c->place,
			       "the variable %s holds control characters", name);
	else
		return value;
	return READER_UNSET;
}

/* In a form that means itself between double quotes. */
static void put_escaped(struct reader *r, const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == '"' || *value == '\\' || *value == '$')
			put(r, "\\", 1);
		if (*value == '\n')
			put(r, "\\n", 2);
		else
			put(r, value, 1);
	}
}

static enum read_result copy_variable(struct cursor *c)
{
	const char *inside = c->at + 2;
	const char *p = inside;
	while (p < c->end && *p != '}' && *p != '\n' && *p != '"')
		p++;
	if (p == c->end || *p != '}')
		return broken(c, c->place,
			      "${ without its }: close it, or write \\${ for the plain characters");
	put_escaped(c->reader, variable_value(c, span_of(inside, (size_t)(p - inside))));
	c->at = p + 1;
	return READ_WHOLE;
}

/* --- strings and words --- */

/* libconfuse's numeric escapes can hide a NUL, and a wrong one leaves its lexer in the string. */
static enum read_result copy_escape(struct cursor *c)
{
	char next = c->at + 1 < c->end ? c->at[1] : '\0';
	if ((next >= '0' && next <= '9') || next == 'x')
		return broken(c, c->place,
			      "numeric escapes are not supported: write \\\\ for a backslash");
	copy(c);
	if (!at_end(c))
		copy(c);
	return READ_WHOLE;
}

static enum read_result copy_double_quoted(struct cursor *c)
{
	struct place began = c->place;
	copy(c);
	while (!at_end(c) && *c->at != '"') {
		enum read_result result = READ_WHOLE;
		if (looks_at(c, "${"))
			result = copy_variable(c);
		else if (*c->at == '\\')
			result = copy_escape(c);
		else
			copy(c);
		if (result != READ_WHOLE)
			return result;
	}
	if (at_end(c))
		return broken(c, began, "this string never ends: write \" after it");
	copy(c);
	return READ_WHOLE;
}

static enum read_result copy_single_quoted(struct cursor *c)
{
	struct place began = c->place;
	copy(c);
	while (!at_end(c) && *c->at != '\'') {
		bool escape = *c->at == '\\';
		copy(c);
		if (escape && !at_end(c))
			copy(c);
	}
	if (at_end(c))
		return broken(c, began, "this string never ends: write ' after it");
	copy(c);
	return READ_WHOLE;
}

static enum read_result copy_string(struct cursor *c)
{
	struct place began = c->place;
	size_t before = c->reader->out.len;
	enum read_result result = *c->at == '"' ? copy_double_quoted(c) : copy_single_quoted(c);
	if (result == READ_WHOLE && c->reader->out.len - before > READER_MOST_VALUE_BYTES)
		return broken(c, began, "this string is longer than 64k");
	return result;
}

static bool ends_word(char ch)
{
	return strchr(" #\"'\t\n\r={}()+,*", ch) != NULL;
}

static struct span take_word(struct cursor *c)
{
	const char *begin = c->at;
	while (!at_end(c) && !ends_word(*c->at))
		c->at++; /* no newline in it */
	return span_of(begin, (size_t)(c->at - begin));
}

static void skip_blanks(struct cursor *c)
{
	while (!at_end(c) && strchr(" \t\r\n", *c->at) != NULL)
		copy(c);
}

/* --- include("file") --- */

static const char *beside(struct region *region, const char *file, struct span name)
{
	const char *slash = strrchr(file, '/');
	if (name.ptr[0] == '/' || slash == NULL)
		return region_text(region, name.ptr, name.len);
	return region_print(region, "%.*s/%.*s", (int)(slash - file), file, (int)name.len,
			    name.ptr);
}

static enum read_result include_file(struct cursor *c, struct span name, struct place asked_for)
{
	struct reader *r = c->reader;
	if (name.len == 0)
		return broken(c, asked_for, "include() needs the name of a file");
	if (c->depth == READER_MOST_DEPTH || r->files == READER_MOST_FILES)
		return broken(c, asked_for,
			      "too many files include each other: does one include itself?");
	put(r, "\n", 1);
	enum read_result result =
	    read_file(r, beside(r->region, asked_for.file, name), c->depth + 1, asked_for);
	put(r, "\n", 1);
	begin_stretch(r, c->place);
	return result;
}

/* Behind the word `include`. */
static enum read_result copy_include(struct cursor *c, struct place asked_for)
{
	static const char usage[] = "an include is written include(\"file\")";
	char quote = '\0';
	skip_blanks(c);
	if (at_end(c) || *c->at != '(')
		return broken(c, asked_for, usage);
	c->at++;
	skip_blanks(c);
	if (!at_end(c) && (*c->at == '"' || *c->at == '\''))
		quote = *c->at++;
	const char *begin = c->at;
	while (!at_end(c) && *c->at != '\n' &&
	       (quote != '\0' ? *c->at != quote : !ends_word(*c->at)))
		c->at++;
	struct span name = span_of(begin, (size_t)(c->at - begin));
	if (quote != '\0' && (at_end(c) || *c->at++ != quote))
		return broken(c, asked_for, usage);
	skip_blanks(c);
	if (at_end(c) || *c->at++ != ')')
		return broken(c, asked_for, usage);
	return include_file(c, name, asked_for);
}

static enum read_result copy_word(struct cursor *c)
{
	struct place place = c->place;
	if (looks_at(c, "${")) {
		put(c->reader, "\"", 1);
		enum read_result result = copy_variable(c);
		put(c->reader, "\"", 1);
		return result;
	}
	struct span word = take_word(c);
	if (word.ptr[word.len - 1] == '$' && !at_end(c) && *c->at == '{')
		return broken(c, place, "a value with ${...} inside needs quotes around it");
	if (span_equal(word, span_text("include")))
		return copy_include(c, place);
	put(c->reader, word.ptr, word.len);
	return READ_WHOLE;
}

/* libconfuse takes the end of the text for the end of every open section. */
static enum read_result copy_opening(struct cursor *c)
{
	struct reader *r = c->reader;
	if (r->open == READER_MOST_BRACES)
		return broken(c, c->place, "sections are nested too deeply");
	r->braces[r->open++] = c->place;
	copy(c);
	return READ_WHOLE;
}

/* Whether the text so far ends with `mark`, blanks apart; *len is moved in front of it. */
static bool ends_with(const struct reader *r, char mark, size_t *len)
{
	while (*len > 0 && memchr(" \t\n\r\f", r->out.text[*len - 1], 5) != NULL)
		(*len)--;
	if (*len == 0 || r->out.text[*len - 1] != mark)
		return false;
	(*len)--;
	return true;
}

/* libconfuse says nothing of a list without values: the key would keep its default, so that
 * `environment = {}` would hand over all there is. */
static bool closes_empty_list(const struct reader *r)
{
	size_t len = r->out.len;
	return ends_with(r, '{', &len) && ends_with(r, '=', &len);
}

static enum read_result copy_closing(struct cursor *c)
{
	struct reader *r = c->reader;
	if (r->open == 0)
		return broken(c, c->place, "this } closes nothing");
	if (closes_empty_list(r))
		problems_error(r->problems, c->place,
			       "a list is empty: give it a value or leave the key out");
	r->open--;
	copy(c);
	return READ_WHOLE;
}

static enum read_result copy_next(struct cursor *c)
{
	char ch = *c->at;
	if (ch == '#' || looks_at(c, "//"))
		return skip_line(c), READ_WHOLE;
	if (looks_at(c, "/*"))
		return skip_comment(c);
	if (ch == '"' || ch == '\'')
		return copy_string(c);
	if (ch == '*' || (ch == '+' && !looks_at(c, "+=")))
		return broken(c, c->place,
			      ch == '*' ? "stray *: a value with it needs quotes"
					: "stray +: a value with it needs quotes");
	if (ch == '{')
		return copy_opening(c);
	if (ch == '}')
		return copy_closing(c);
	if (!ends_word(ch))
		return copy_word(c);
	copy(c);
	if (ch == '+')
		copy(c);
	return READ_WHOLE;
}

/* --- files --- */

static enum read_result report_unreadable(struct reader *r, const char *path,
					  struct place asked_for, const char *why)
{
	if (asked_for.line == 0)
		problems_error(r->problems, asked_for, "cannot be read: %s", why);
	else
		problems_error(r->problems, asked_for, "the included file %s cannot be read: %s",
			       path, why);
	return READ_BROKEN;
}

/* As much as there may still be, and one byte more to know that there is more. */
static enum read_result slurp(struct reader *r, int fd, const char *path, struct place asked_for,
			      struct span *ret_bytes)
{
	size_t most = READER_MOST_BYTES - r->bytes_read + 1, len = 0, room = 0;
	char *bytes = NULL;
	ssize_t n = 1;
	while (n != 0 && len < most) {
		if (len == room) {
			room = room == 0 ? 4096 : 2 * room;
			bytes = memory_grow(bytes, room);
			must(bytes != NULL);
		}
		n = read(fd, bytes + len, room - len);
		if (n < 0 && errno != EINTR)
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	int errnum = errno;
	*ret_bytes = span_of(region_text(r->region, bytes, len), len);
	r->bytes_read += len;
	memory_free(bytes);
	if (n < 0)
		return report_unreadable(r, path, asked_for, strerror(errnum));
	if (len >= most)
		return report_unreadable(
		    r, path, asked_for, "a configuration has at most 1 MB, included files and all");
	if (!is_text(*ret_bytes))
		return report_unreadable(r, path, asked_for,
					 "it holds control characters, it is no text");
	return READ_WHOLE;
}

static enum read_result walk(struct reader *r, struct span bytes, const char *path, unsigned depth)
{
	struct cursor c = {
	    .reader = r,
	    .at = bytes.ptr,
	    .end = bytes.ptr + bytes.len,
	    .place = {.file = path, .line = 1},
	    .depth = depth
        };
	begin_stretch(r, c.place);
	while (!at_end(&c)) {
		enum read_result result = copy_next(&c);
		if (result != READ_WHOLE)
			return result;
	}
	return READ_WHOLE;
}

static enum read_result read_file(struct reader *r, const char *path, unsigned depth,
				  struct place asked_for)
{
	struct span bytes;
	/* A pipe is fine (`-c /dev/stdin`); one that nobody writes to would hold us for ever. */
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return report_unreadable(r, path, asked_for, strerror(errno));
	r->files++;
	enum read_result result = slurp(r, fd, path, asked_for, &bytes);
	(void)close(fd); /* only read from */
	return result == READ_WHOLE ? walk(r, bytes, path, depth) : result;
}

enum read_result reader_read(const char *path, struct region *region, struct problems *problems,
			     struct reader_text *ret_text)
{
	struct reader r = {.region = region, .problems = problems, .out_line = 1};
	const char *file = region_text(region, path, strlen(path));
	enum read_result result = read_file(&r, file, 0, (struct place){.file = file});
	if (result == READ_WHOLE && r.open > 0) {
		problems_error(problems, r.braces[r.open - 1], "this { is never closed");
		result = READ_BROKEN;
	}
	if (result == READ_WHOLE) {
		put(&r, "\n", 1);
		ret_text->text = region_text(region, r.out.text, r.out.len);
		ret_text->len = r.out.len;
		size_t bytes = r.out.n_stretches * sizeof *r.out.stretches;
		ret_text->stretches = region_take(region, bytes);
		memcpy(ret_text->stretches, r.out.stretches, bytes);
		ret_text->n_stretches = r.out.n_stretches;
	}
	memory_free(r.out.text);
	memory_free(r.out.stretches);
	return result;
}
