/* Not an XML parser: supervisord's answers come from one function of Python's library, flat structs of
 * named values in which every '<' of a value is escaped. So tags can be searched for, and what is
 * not where it should be is an answer that was not understood.
 *
 * getAllConfigInfo of supervisord 4.2 leaves stopasgroup out and has killasgroup, which is set with it and
 * may not be unset beside it: without the one there is not the other. */
#include "managers/supervisord_answer.h"

#include "base/duration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- spans ----------------------------------------------------------------------------------------- */

/* What follows `mark`; ptr is NULL without it. */
static struct span after(struct span text, const char *mark)
{
	size_t len = strlen(mark);
	const char *at = text.len > 0 ? memmem(text.ptr, text.len, mark, len) : NULL;
	if (at == NULL)
		return span_of(NULL, 0);
	return span_of(at + len, text.len - (size_t)(at + len - text.ptr));
}

static struct span before(struct span text, const char *mark)
{
	const char *at = text.len > 0 ? memmem(text.ptr, text.len, mark, strlen(mark)) : NULL;
	return at == NULL ? span_of(NULL, 0) : span_of(text.ptr, (size_t)(at - text.ptr));
}

static bool begins(struct span text, const char *with)
{
	size_t len = strlen(with);
	return text.len >= len && memcmp(text.ptr, with, len) == 0;
}

static struct span skip(struct span text, size_t bytes)
{
	return span_of(text.ptr + bytes, text.len - bytes);
}

static bool number_of(struct span text, uint64_t *ret_number)
{
	char digits[24];
	if (text.len == 0 || text.len >= sizeof digits)
		return false;
	memcpy(digits, text.ptr, text.len);
	digits[text.len] = '\0';
	return count_parse(digits, ret_number);
}

/* --- XML ------------------------------------------------------------------------------------------- */

static char next_letter(struct span *text)
{
	static const struct {
		const char *escape;
		char letter;
	} escapes[] = {
	    {"&amp;", '&'},
            {"&lt;",  '<'},
            {"&gt;",  '>'}
        };
	for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
		if (!begins(*text, escapes[i].escape))
			continue;
		*text = skip(*text, strlen(escapes[i].escape));
		return escapes[i].letter;
	}
	char letter = text->ptr[0];
	*text = skip(*text, 1);
	return letter;
}

static bool is_text(struct span escaped, const char *plain)
{
	while (escaped.len > 0)
		if (*plain == '\0' || next_letter(&escaped) != *plain++)
			return false;
	return *plain == '\0';
}

/* <name>KEY</name> <value><int>15</int></value>: the 15, still escaped; ptr is NULL without it. */
static struct span member(struct span structure, const char *key)
{
	char name[64];
	(void)snprintf(name, sizeof name, "<name>%s</name>", key);
	struct span value = after(after(structure, name), "<value>");
	while (value.len > 0 && strchr(" \t\r\n", value.ptr[0]) != NULL)
		value = skip(value, 1);
	if (begins(value, "<") && !begins(value, "</"))
		value = after(value, ">");
	return before(value, "<");
}

static bool is_ours(struct span structure, const char *group, const char *process)
{
	struct span name = member(structure, "name"), in = member(structure, "group");
	if (name.ptr == NULL || !is_text(name, process))
		return false;
	return group == NULL || (in.ptr != NULL && is_text(in, group));
}

static enum supervisord_group group_of(struct span structure)
{
	struct span stop = member(structure, "stopasgroup");
	struct span kill = member(structure, "killasgroup");
	if (stop.ptr != NULL)
		return is_text(stop, "1") ? GROUP_TOO : GROUP_SPARED;
	return kill.ptr != NULL && is_text(kill, "0") ? GROUP_SPARED : GROUP_UNKNOWN;
}

static enum status read_program(struct span structure, struct supervisord_program *ret_program,
				struct error *why)
{
	uint64_t seconds, number;
	if (!number_of(member(structure, "stopwaitsecs"), &seconds) ||
	    !number_of(member(structure, "stopsignal"), &number) || number > 64)
		return error_set(why, ST_PROTO, "its answer has no stopwaitsecs and stopsignal");
	*ret_program = (struct supervisord_program){
	    .stopwaitsecs = seconds, .stopsignal = (int)number, .stop = group_of(structure)};
	return ST_OK;
}

static enum status read_body(struct span body, const char *group, const char *process,
			     struct supervisord_program *ret_program, struct error *why)
{
	if (after(body, "<fault>").ptr != NULL) {
		struct span said = member(body, "faultString");
		return error_set(why, ST_REFUSED, "it says %.*s", (int)said.len,
				 said.ptr != NULL ? said.ptr : "");
	}
	if (after(body, "<methodResponse>").ptr == NULL)
		return error_set(why, ST_PROTO, "its answer is not XML-RPC");
	for (struct span rest = body; (rest = after(rest, "<struct>")).ptr != NULL;) {
		struct span structure = before(rest, "</struct>");
		if (is_ours(structure, group, process))
			return read_program(structure, ret_program, why);
	}
	return error_set(why, ST_MISSING, "it knows no process \"%s:%s\"",
			 group != NULL ? group : "*", process);
}

/* --- HTTP ------------------------------------------------------------------------------------------ */

static bool has_length(struct span head, uint64_t *ret_bytes)
{
	static const char name[] = "Content-Length:";
	for (struct span line = head; (line = after(line, "\r\n")).ptr != NULL;) {
		if (line.len < sizeof name || strncasecmp(line.ptr, name, sizeof name - 1) != 0)
			continue;
		struct span value = skip(line, sizeof name - 1);
		while (value.len > 0 && value.ptr[0] == ' ')
			value = skip(value, 1);
		struct span end = before(value, "\r\n");
		return number_of(end.ptr != NULL ? end : value, ret_bytes);
	}
	return false;
}

bool supervisord_answer_is_whole(struct span answer)
{
	struct span head = before(answer, "\r\n\r\n"), body = after(answer, "\r\n\r\n");
	uint64_t bytes;
	return body.ptr != NULL && has_length(head, &bytes) && body.len >= bytes;
}

enum status supervisord_answer_read(struct span answer, const char *group, const char *process,
				    struct supervisord_program *ret_program, struct error *why)
{
	struct span head = before(answer, "\r\n\r\n"), body = after(answer, "\r\n\r\n");
	uint64_t status, bytes;
	if (!begins(head, "HTTP/1.") || head.len < 12 ||
	    !number_of(span_of(head.ptr + 9, 3), &status))
		return error_set(why, ST_PROTO, "its answer is not HTTP");
	if (status == 401)
		return error_set(why, ST_AUTH,
				 "it wants a password: give the program SUPERVISOR_USERNAME and "
				 "SUPERVISOR_PASSWORD with environment=, or set drain.timeout");
	if (status != 200)
		return error_set(why, ST_REFUSED, "it answered with status %d", (int)status);
	if (has_length(head, &bytes) && body.len < bytes)
		return error_set(why, ST_PROTO, "its answer was cut off");
	return read_body(body, group, process, ret_program, why);
}
