/* Characters to tokens, in one walk. Files that are included stand on a stack, the innermost on top; the
 * token that follows the last one of a file is the next one of the file below.
 *
 * The rules are older than this file: those of libconfuse, with ours for includes and variables. A
 * word ends at a blank, a quote or a mark. Between double quotes \n, \t and their kin mean what they mean
 * in C, a backslash at the end of a line joins it to the next, and ${NAME} is replaced; between single
 * quotes only \\ and \' are special. */
#include "settings/reader.h"

#include "base/must.h"
#include "settings/problems.h"

#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that is being read. */
struct opened {
	const char *at, *end;
	struct place place;
	unsigned told_line; /* where something was complained of last */
	bool in_line;       /* a token of this line has been */
	dev_t device;
	ino_t inode;
	const char *const
	    *more; /* of its include: files that come after it; NULL behind the last */
	struct place asked_for;
};

struct reader {
	struct reader_parts parts;
	struct opened stack[READER_MOST_DEPTH + 1];
	size_t depth; /* how many are open */
	size_t bytes;
	unsigned files;
	bool broken, stopped;
	char value[READER_MOST_VALUE_BYTES + 1]; /* the text being read */
	size_t len;
	bool cut; /* it is longer than that */
};

static struct opened *top(struct reader *r)
{
	return &r->stack[r->depth - 1];
}

/* --- complaints --- */

static bool is_echo(struct reader *r, struct place place)
{
	if (r->depth == 0 || top(r)->place.file != place.file)
		return false;
	bool echo = top(r)->told_line == place.line;
	top(r)->told_line = place.line;
	return echo;
}

void reader_complain(struct reader *r, struct place place, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	r->broken = true;
	if (is_echo(r, place))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap); /* cut is fine */
	va_end(ap);
	problems_error(r->parts.syntax, place, "%s", text);
}

bool reader_is_broken(const struct reader *r)
{
	return r->broken;
}

void reader_stop(struct reader *r)
{
	r->stopped = true;
	r->depth = 0;
}

bool reader_was_stopped(const struct reader *r)
{
	return r->stopped;
}

/* --- characters --- */

static bool at_end(const struct opened *f)
{
	return f->at == f->end;
}

static bool looks_at(const struct opened *f, const char *text)
{
	size_t len = strlen(text);
	return (size_t)(f->end - f->at) >= len && memcmp(f->at, text, len) == 0;
}

static char take(struct opened *f)
{
	char c = *f->at++;
	if (c == '\n') {
		f->place.line++;
		f->in_line = false;
	}
	return c;
}

static bool ends_word(char c)
{
	return strchr(" #\"'\t\n\r\f={}()+,*", c) != NULL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static void skip_line(struct opened *f)
{
	while (!at_end(f) && *f->at != '\n')
		f->at++;
}

/* Of something that is no word, up to what may be meant as it stands. */
static void skip_rest_of_word(struct opened *f)
{
	while (!at_end(f) && !is_blank(*f->at) && *f->at != '{' && *f->at != '}')
		f->at++;
}

static void skip_comment(struct reader *r, struct opened *f)
{
	struct place began = f->place;
	f->at += 2; /* first, or the star that opens it would close it before a slash */
	while (!looks_at(f, "*/")) {
		if (at_end(f)) {
			reader_complain(r, began, "this comment never ends: write */ after it");
			reader_stop(r);
			return;
		}
		(void)take(f);
	}
	f->at += 2;
}

static bool is_text(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if ((unsigned char)bytes.ptr[i] < ' ' && !is_blank(bytes.ptr[i]))
			return false;
	return true;
}

/* --- the value that grows --- */

static void put(struct reader *r, char c)
{
	if (r->len < READER_MOST_VALUE_BYTES)
		r->value[r->len++] = c;
	else
		r->cut = true;
}

static void put_text(struct reader *r, const char *text)
{
	for (; *text != '\0'; text++)
		put(r, *text);
}

/* --- ${VARIABLES} --- */

/* Shells set HOSTNAME but do not export it, and it is what people name workers after. */
static const char *host_name(struct region *region)
{
	char name[256] = "";
	(void)gethostname(name, sizeof name - 1); /* an empty name is still a name */
	return region_text(region, name, strlen(name));
}

/* What stands between the braces may be a piece of a password that happens to have ${ in it. A name as
 * variables have it is worth the risk. */
static bool may_be_named(const char *name)
{
	return name[0] != '\0' &&
	       name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0';
}

void reader_report_unset(struct problems *problems, struct place place, const char *name)
{
	if (may_be_named(name))
		problems_error(problems, place,
			       "the variable %s is not set in the environment: set it, or give a "
			       "default with ${%s:-...}",
			       name, name);
	else
		problems_error(
		    problems, place,
		    "a variable is not set in the environment: set it, or give a default "
		    "with ${NAME:-...}");
}

/* As in a shell: ${NAME} must be set, ${NAME:-default} also replaces what is empty. NULL: reported. */
static const char *variable_value(struct reader *r, struct place place, const char *name,
				  const char *fallback)
{
	const char *value = getenv(name);
	if (value == NULL && strcmp(name, "HOSTNAME") == 0)
		value = host_name(r->parts.region);
	if (fallback != NULL && (value == NULL || *value == '\0'))
		return fallback;
	if (value == NULL) {
		reader_report_unset(r->parts.values, place, name);
		return NULL;
	}
	if (is_text(span_text(value)))
		return value;
	problems_error(r->parts.values, place, "the variable %s holds control characters",
		       may_be_named(name) ? name : "here");
	return NULL;
}

static void expand(struct reader *r, struct token *token, struct place place, struct span inside)
{
	char *name = region_text(r->parts.region, inside.ptr, inside.len);
	char *fallback = strstr(name, ":-");
	if (fallback != NULL) {
		*fallback = '\0';
		fallback += 2;
	}
	const char *value = variable_value(r, place, name, fallback);
	if (value == NULL) {
		token->unset = token->unset != NULL ? token->unset : name;
		return;
	}
	struct expansion *expansion = region_take(r->parts.region, sizeof *expansion);
	*expansion = (struct expansion){.next = token->expansions, .name = name, .begin = r->len};
	put_text(r, value);
	expansion->end = r->len;
	token->expansions = expansion;
}

/* At "${". */
static void take_variable(struct reader *r, struct opened *f, struct token *token)
{
	const char *inside = f->at + 2;
	const char *p = inside;
	while (p < f->end && *p != '}' && *p != '\n' && *p != '"')
		p++;
	if (p == f->end || *p != '}') {
		reader_complain(
		    r, f->place,
		    "${ without its }: close it, or write \\${ for the plain characters");
		token->unset = "";
		f->at = p;
		return;
	}
	expand(r, token, f->place, span_of(inside, (size_t)(p - inside)));
	f->at = p + 1;
}

/* --- strings and words --- */

/* Numbers could hide a NUL. */
static void take_escape(struct reader *r, struct opened *f)
{
	static const char letters[] = "ntbrfaev", values[] = "\n\t\b\r\f\a\033\v";
	f->at++;
	if (at_end(f))
		return; /* so is the string, which is told there */
	struct place place = f->place;
	char c = take(f);
	const char *letter = strchr(letters, c);
	if ((c >= '0' && c <= '9') || c == 'x')
		reader_complain(r, place,
				"numeric escapes are not supported: write \\\\ for a backslash");
	else if (letter != NULL && *letter != '\0')
		put(r, values[letter - letters]);
	else if (c != '\n')
		put(r, c);
}

static void take_double_quoted(struct reader *r, struct opened *f, struct token *token)
{
	while (!at_end(f) && *f->at != '"') {
		if (looks_at(f, "${"))
			take_variable(r, f, token);
		else if (*f->at == '\\')
			take_escape(r, f);
		else
			put(r, take(f));
	}
}

static void take_single_quoted(struct reader *r, struct opened *f)
{
	while (!at_end(f) && *f->at != '\'') {
		char c = take(f);
		if (c != '\\' || at_end(f)) {
			put(r, c);
			continue;
		}
		char escaped = take(f);
		if (escaped != '\\' && escaped != '\'' && escaped != '\n')
			put(r, c);
		if (escaped != '\n')
			put(r, escaped);
	}
}

static void take_string(struct reader *r, struct opened *f, struct token *token)
{
	char quote = take(f);
	token->quoted = true;
	if (quote == '"')
		take_double_quoted(r, f, token);
	else
		take_single_quoted(r, f);
	if (!at_end(f)) {
		(void)take(f);
		return;
	}
	reader_complain(r, token->place, "this string never ends: write %c after it", quote);
	reader_stop(r);
}

static void take_word(struct reader *r, struct opened *f, struct token *token)
{
	if (looks_at(f, "${")) {
		take_variable(r, f, token);
		return;
	}
	while (!at_end(f) && !ends_word(*f->at))
		put(r, take(f));
	if (r->len > 0 && r->value[r->len - 1] == '$' && !at_end(f) && *f->at == '{') {
		reader_complain(r, token->place,
				"a value with ${...} inside needs quotes around it");
		f->at++; /* its brace opens nothing */
		skip_rest_of_word(f);
		if (!at_end(f) && *f->at == '}')
			f->at++;
	}
}

static void take_text(struct reader *r, struct opened *f, struct token *token)
{
	r->len = 0;
	r->cut = false;
	token->kind = TOKEN_TEXT;
	if (*f->at == '"' || *f->at == '\'')
		take_string(r, f, token);
	else
		take_word(r, f, token);
	if (r->cut)
		reader_complain(r, token->place, "this string is longer than 64k");
	token->text = region_text(r->parts.region, r->value, r->len);
}

/* --- files --- */

/* A name with this in it is more likely the address of something than a file. */
static bool may_be_shown(const char *path)
{
	return strstr(path, "://") == NULL && strchr(path, '@') == NULL;
}

static void report_unreadable(struct reader *r, const char *path, struct place asked_for,
			      const char *why)
{
	r->broken = true;
	if (asked_for.line == 0)
		problems_error(r->parts.syntax, asked_for, "cannot be read: %s", why);
	else
		problems_error(r->parts.syntax, asked_for,
			       "the included file %s%scannot be read: %s",
			       may_be_shown(path) ? path : "", may_be_shown(path) ? " " : "", why);
}

/* What an editor may put in front to say that the file is UTF-8. */
static struct span without_mark(struct span bytes)
{
	bool marked = bytes.len >= 3 && memcmp(bytes.ptr, "\xef\xbb\xbf", 3) == 0;
	return marked ? span_of(bytes.ptr + 3, bytes.len - 3) : bytes;
}

static bool slurp(struct reader *r, const char *path, struct place asked_for,
		  struct span *ret_bytes)
{
	struct error why;
	enum status st = files_read(r->parts.files, path, READER_MOST_BYTES - r->bytes,
				    r->parts.scratch, ret_bytes, &why);
	if (st == ST_OK && is_text(*ret_bytes)) {
		r->bytes += ret_bytes->len;
		return true;
	}
	if (st == ST_OK)
		report_unreadable(r, path, asked_for, "it holds control characters, it is no text");
	else if (st == ST_FULL)
		report_unreadable(r, path, asked_for,
				  "a configuration has at most 1 MB, included files and all");
	else
		report_unreadable(r, path, asked_for, why.text);
	return false;
}

/* The one on the stack that is this file; NULL: none. */
static const struct opened *find_opened(const struct reader *r, const struct stat *st)
{
	for (size_t i = 0; i < r->depth; i++)
		if (r->stack[i].device == st->st_dev && r->stack[i].inode == st->st_ino)
			return &r->stack[i];
	return NULL;
}

static void report_cycle(struct reader *r, const struct opened *first, struct place asked_for)
{
	if (first == top(r))
		reader_complain(r, asked_for, "%s includes itself", first->place.file);
	else
		reader_complain(r, asked_for, "%s includes itself, by way of this file",
				first->place.file);
}

static bool may_open(struct reader *r, const char *path, struct place asked_for,
		     struct stat *ret_st)
{
	*ret_st = (struct stat){0};
	if (stat(path, ret_st) != 0 || !S_ISREG(ret_st->st_mode))
		*ret_st = (struct stat){0}; /* reading tells what is wrong, if anything is */
	const struct opened *first = ret_st->st_ino != 0 ? find_opened(r, ret_st) : NULL;
	if (first != NULL)
		report_cycle(r, first, asked_for);
	else if (r->depth > READER_MOST_DEPTH || r->files == READER_MOST_FILES)
		reader_complain(r, asked_for, "too many files are included");
	else
		return true;
	return false;
}

/* Puts it on the stack. */
static bool open_file(struct reader *r, const char *path, struct place asked_for,
		      const char *const *more)
{
	struct stat st;
	struct span bytes;
	if (!may_open(r, path, asked_for, &st) || !slurp(r, path, asked_for, &bytes))
		return false;
	bytes = without_mark(bytes);
	r->files++;
	r->stack[r->depth++] = (struct opened){
	    .at = bytes.ptr,
	    .end = bytes.ptr + bytes.len,
	    .place = {.file = path, .line = 1},
	    .device = st.st_dev,
	    .inode = st.st_ino,
	    .more = more,
	    .asked_for = asked_for,
	};
	return true;
}

static void open_first(struct reader *r, const char *const *paths, struct place asked_for)
{
	for (; *paths != NULL; paths++)
		if (open_file(r, *paths, asked_for, paths + 1))
			return;
}

/* Of a file that has been read: what its include names behind it. */
static void close_file(struct reader *r)
{
	struct opened closed = *top(r);
	r->depth--;
	if (closed.more != NULL)
		open_first(r, closed.more, closed.asked_for);
}

/* --- include("file") --- */

static bool is_pattern(const char *path)
{
	return strpbrk(path, "*?[") != NULL && access(path, F_OK) != 0;
}

/* In the order of their names. None at all is fine: a folder that is still empty. */
static const char *const *match(struct reader *r, const char *pattern, struct place asked_for)
{
	glob_t found = {0};
	int result = glob(pattern, GLOB_ERR, NULL, &found);
	size_t n = result == 0 ? found.gl_pathc : 0;
	const char **paths = region_take(r->parts.region, (n + 1) * sizeof *paths);
	for (size_t i = 0; i < n; i++)
		paths[i] =
		    region_text(r->parts.region, found.gl_pathv[i], strlen(found.gl_pathv[i]));
	globfree(&found);
	if (result != 0 && result != GLOB_NOMATCH)
		report_unreadable(r, pattern, asked_for, "its folder cannot be read");
	return paths;
}

static const char *const *only(struct reader *r, const char *path)
{
	const char **paths = region_take(r->parts.region, 2 * sizeof *paths);
	paths[0] = path;
	return paths;
}

static void include(struct reader *r, struct span name, struct place asked_for)
{
	struct region *region = r->parts.region;
	if (name.len == 0) {
		reader_complain(r, asked_for, "include() needs the name of a file");
		return;
	}
	const char *path =
	    files_beside(region, asked_for.file, region_text(region, name.ptr, name.len));
	open_first(r, is_pattern(path) ? match(r, path, asked_for) : only(r, path), asked_for);
}

static void skip_blanks(struct opened *f)
{
	while (!at_end(f) && is_blank(*f->at))
		(void)take(f);
}

static bool take_mark(struct opened *f, char mark)
{
	skip_blanks(f);
	if (at_end(f) || *f->at != mark)
		return false;
	f->at++;
	return true;
}

/* Behind the word `include`: ("name"), ('name') or (name). */
static bool take_include_name(struct opened *f, struct span *ret_name)
{
	char quote = '\0';
	if (!take_mark(f, '('))
		return false;
	skip_blanks(f);
	if (!at_end(f) && (*f->at == '"' || *f->at == '\''))
		quote = *f->at++;
	const char *begin = f->at;
	while (!at_end(f) && *f->at != '\n' &&
	       (quote != '\0' ? *f->at != quote : *f->at == '*' || !ends_word(*f->at)))
		f->at++;
	*ret_name = span_of(begin, (size_t)(f->at - begin));
	if (quote != '\0' && (at_end(f) || *f->at++ != quote))
		return false;
	return take_mark(f, ')');
}

static void take_include(struct reader *r, struct opened *f, struct place asked_for)
{
	struct span name;
	if (take_include_name(f, &name)) {
		include(r, name, asked_for);
		return;
	}
	reader_complain(r, asked_for, "an include is written include(\"file\")");
	skip_line(f);
}

/* --- tokens --- */

static void complain_of_stray(struct reader *r, struct opened *f)
{
	struct place place = f->place;
	char c = take(f);
	if (c == '*' || c == '+')
		reader_complain(r, place, "stray %c: a value with it needs quotes", c);
	else
		reader_complain(r, place, "unexpected token '%c': a value with it needs quotes", c);
	skip_rest_of_word(f);
}

/* Over blanks, comments and the ends of files. NULL: there is nothing more. */
static struct opened *skip_to_token(struct reader *r)
{
	while (r->depth > 0) {
		struct opened *f = top(r);
		if (at_end(f))
			close_file(r);
		else if (is_blank(*f->at))
			(void)take(f);
		else if (*f->at == '#' || looks_at(f, "//"))
			skip_line(f);
		else if (looks_at(f, "/*"))
			skip_comment(r, f);
		else
			return f;
	}
	return NULL;
}

static bool is_include(const struct token *token)
{
	return token->kind == TOKEN_TEXT && !token->quoted && token->expansions == NULL &&
	       strcmp(token->text, "include") == 0;
}

/* False: there was something, but no token. */
static bool take_token(struct reader *r, struct opened *f, struct token *token)
{
	char c = *f->at;
	*token = (struct token){.kind = TOKEN_MARK, .place = f->place, .leads = !f->in_line};
	f->in_line = true;
	if (c == '"' || c == '\'' || !ends_word(c)) {
		take_text(r, f, token);
		if (!is_include(token))
			return true;
		take_include(r, f, token->place);
		return false;
	}
	if ((c == '+' && !looks_at(f, "+=")) || strchr("+={},", c) == NULL) {
		complain_of_stray(r, f);
		return false;
	}
	token->mark = c;
	f->at += c == '+' ? 2 : 1;
	return true;
}

void reader_next(struct reader *r, struct token *ret_token)
{
	struct opened *f;
	while ((f = skip_to_token(r)) != NULL)
		if (take_token(r, f, ret_token))
			return;
	*ret_token = (struct token){.kind = TOKEN_END};
}

struct reader *reader_open(const char *path, const struct reader_parts *parts)
{
	struct reader *r = region_take(parts->scratch, sizeof *r);
	r->parts = *parts;
	const char *file = region_text(parts->region, path, strlen(path));
	(void)open_file(r, file, (struct place){.file = file}, NULL); /* reported */
	return r;
}
