/* A line is looked at as a whole before any of it counts: one that is wrong in one key is wrong, because
 * half of a result is no result. What JSON allows and we do not: the same key twice, and numbers that
 * are no whole milliseconds.
 *
 * Of a result that is wrong the id still counts. Where the line is no JSON at all, its text is searched for
 * it: a line that was cut, or has bytes that are no UTF-8 in its reason, is the last word of its job, too. */
#include "executors/child/child_says.h"

#include "base/base64.h"
#include "base/memory.h"
#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct word {
	const char *name;
	int value;
};

static bool find_word(const struct word *words, const char *name, int *ret_value)
{
	for (; words->name != NULL; words++) {
		if (strcmp(words->name, name) == 0) {
			*ret_value = words->value;
			return true;
		}
	}
	return false;
}

/* --- one key each: true when it is absent or right ------------------------------------------------ */

static bool get_text(const json_t *object, const char *key, struct span *ret_text,
		     struct error *why)
{
	const json_t *value = json_object_get(object, key);
	if (value == NULL || json_is_null(value))
		return true;
	if (!json_is_string(value)) {
		(void)error_set(why, ST_PROTO, "%s is no string", key);
		return false;
	}
	*ret_text = span_of(json_string_value(value), json_string_length(value));
	return true;
}

static bool get_whole(const json_t *object, const char *key, bool *ret_there, uint64_t *ret_number,
		      struct error *why)
{
	const json_t *value = json_object_get(object, key);
	*ret_there = value != NULL && !json_is_null(value);
	if (!*ret_there)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		(void)error_set(why, ST_PROTO, "%s is no whole number from 0 up", key);
		return false;
	}
	*ret_number = (uint64_t)json_integer_value(value);
	return true;
}

/* A time in milliseconds. Many languages have numbers of one kind only, and 100.5 is meant well. */
static bool get_ms(const json_t *object, const char *key, bool *ret_there, uint64_t *ret_ms,
		   struct error *why)
{
	const json_t *value = json_object_get(object, key);
	double ms = json_number_value(value);
	*ret_there = value != NULL && !json_is_null(value);
	if (!*ret_there)
		return true;
	if (!json_is_number(value) || !(ms >= 0) || ms >= (double)INT64_MAX) {
		(void)error_set(why, ST_PROTO, "%s is no number from 0 up", key);
		return false;
	}
	*ret_ms = json_is_integer(value) ? (uint64_t)json_integer_value(value) : (uint64_t)ms;
	return true;
}

static bool get_word(const json_t *object, const char *key, const struct word *words,
		     int *ret_value, struct error *why)
{
	const json_t *value = json_object_get(object, key);
	if (value == NULL)
		return true;
	if (json_is_string(value) && find_word(words, json_string_value(value), ret_value))
		return true;
	(void)error_set(why, ST_PROTO, "%s cannot be %.40s", key,
			json_is_string(value) ? json_string_value(value) : "anything but a word");
	return false;
}

/* A percentage, say. It is for the eye only, and nothing is refused for it. */
static void get_progress(const json_t *object, struct child_says *says)
{
	const json_t *value = json_object_get(object, "progress");
	double number = json_number_value(value);
	says->progress = -1;
	if (value == NULL || json_is_null(value))
		return;
	says->odd_progress = !json_is_number(value) || !(number >= 0 && number <= 1);
	if (!says->odd_progress)
		says->progress = number;
}

static bool decode_base64(struct span encoded, struct child_says *says, struct error *why)
{
	struct text decoded = {0};
	bool good = base64_read(&decoded, encoded);
	says->decoded = decoded.bytes;
	says->checkpoint = text_span(&decoded);
	if (decoded.failed)
		return error_set(why, ST_NOMEM, "out of memory") == ST_OK;
	return good || error_set(why, ST_PROTO, "checkpoint_base64 is no base64") == ST_OK;
}

static bool get_checkpoint(const json_t *object, struct child_says *says, struct error *why)
{
	struct span encoded = {0};
	if (!get_text(object, "checkpoint", &says->checkpoint, why) ||
	    !get_text(object, "checkpoint_base64", &encoded, why))
		return false;
	says->has_checkpoint = says->checkpoint.ptr != NULL || encoded.ptr != NULL;
	return encoded.ptr == NULL || decode_base64(encoded, says, why);
}

static struct span text_in(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return span_of(json_string_value(value), json_string_length(value));
}

/* Lines, in a list or in one text. */
static struct span get_backtrace(const json_t *error, struct child_says *says)
{
	const json_t *list = json_object_get(error, "backtrace"), *line;
	struct text lines = {0};
	size_t i;
	if (!json_is_array(list))
		return text_in(error, "backtrace");
	json_array_foreach(list, i, line)
	{
		if (!json_is_string(line) || lines.len > FAILURE_BACKTRACE_BYTES)
			continue;
		if (lines.len > 0)
			text_put_literal(&lines, "\n");
		text_put(&lines, span_of(json_string_value(line), json_string_length(line)));
	}
	says->lines = lines.bytes;
	return text_span(&lines);
}

/* For people, so nothing is refused for it. */
static void get_error(const json_t *object, struct child_says *says)
{
	const json_t *error = json_object_get(object, "error");
	if (json_is_string(error))
		says->failure.message = text_in(object, "error");
	else if (json_is_object(error))
		says->failure = (struct failure){.class = text_in(error, "class"),
						 .message = text_in(error, "message"),
						 .backtrace = get_backtrace(error, says)};
	says->has_failure = json_is_string(error) || json_is_object(error);
}

static bool get_facts(const json_t *object, struct child_says *says, struct error *why)
{
	get_progress(object, says);
	get_error(object, says);
	return get_text(object, "note", &says->note, why) &&
	       get_ms(object, "extend_ms", &says->has_extend, &says->extend_ms, why) &&
	       get_checkpoint(object, says, why);
}

/* --- one type each -------------------------------------------------------------------------------- */

enum { CONCURRENCY_MOST = 10000 };

static bool get_ready(const json_t *object, struct child_says *says, struct error *why)
{
	uint64_t number = 1;
	bool there;
	if (!get_whole(object, "concurrency", &there, &number, why))
		return false;
	if (number < 1 || number > CONCURRENCY_MOST)
		return error_set(why, ST_PROTO, "concurrency is not from 1 to %d",
				 CONCURRENCY_MOST) == ST_OK;
	says->concurrency = (unsigned)number;
	return true;
}

static bool get_result(const json_t *object, struct child_says *says, struct error *why)
{
	static const struct word outcomes[] = {
	    {"done",   OUTCOME_DONE  },
	    {"retry",  OUTCOME_RETRY },
	    {"reject", OUTCOME_REJECT},
	    {"return", OUTCOME_RETURN},
	    {NULL,     0             }
        };
	int kind = -1;
	bool there;
	struct span reason = {0};
	if (!get_word(object, "outcome", outcomes, &kind, why) ||
	    !get_ms(object, "after_ms", &there, &says->outcome.after_ms, why) ||
	    !get_text(object, "reason", &reason, why) || !get_facts(object, says, why))
		return false;
	if (kind < 0)
		return error_set(why, ST_PROTO, "a result without an outcome") == ST_OK;
	if (says->id.len == 0)
		return error_set(why, ST_PROTO, "a result without an id") == ST_OK;
	says->outcome.kind = (enum outcome_kind)kind;
	if (reason.len == 0)
		reason = says->failure.message;
	else if (says->failure.message.len == 0)
		says->failure.message = reason;
	says->has_failure |= reason.len >= sizeof says->outcome.reason;
	(void)snprintf(says->outcome.reason, sizeof says->outcome.reason, "%.*s", (int)reason.len,
		       reason.ptr != NULL ? reason.ptr : "");
	return true;
}

static bool get_log(const json_t *object, struct child_says *says, struct error *why)
{
	static const struct word levels[] = {
	    {"error",   LOG_ERROR},
            {"warn",    LOG_WARN },
            {"warning", LOG_WARN },
	    {"info",    LOG_INFO },
            {"debug",   LOG_DEBUG},
            {NULL,      0        }
        };
	int level = LOG_INFO;
	if (!get_word(object, "level", levels, &level, why) ||
	    !get_text(object, "text", &says->text, why))
		return false;
	says->level = (enum log_level)level;
	return true;
}

/* Some languages make a number of a text that looks like one. */
static void take_id(const json_t *value, struct child_says *says)
{
	says->id = span_of(json_string_value(value), json_string_length(value));
	if (!json_is_integer(value))
		return;
	(void)snprintf(says->id_text, sizeof says->id_text, "%" JSON_INTEGER_FORMAT,
		       json_integer_value(value));
	says->id = span_text(says->id_text);
}

static bool get_id(const json_t *object, struct child_says *says, struct error *why)
{
	const json_t *value = json_object_get(object, "id");
	take_id(value, says);
	return json_is_integer(value) || get_text(object, "id", &says->id, why);
}

static bool get_type(const json_t *object, struct child_says *says, struct error *why)
{
	static const struct word types[] = {
	    {"ready",      SAYS_READY },
	    {"result",     SAYS_RESULT},
	    {"log",        SAYS_LOG   },
	    {"progress",   SAYS_FACTS },
	    {"extend",     SAYS_FACTS },
	    {"checkpoint", SAYS_FACTS },
	    {NULL,         0          }
        };
	bool answers = json_object_get(object, "outcome") != NULL;
	int type = answers ? SAYS_RESULT : SAYS_FACTS;
	bool known = get_word(object, "type", types, &type, why);
	says->type = (enum says_type)type; /* without a good word it is what its keys say */
	return known;
}

static bool get_all(const json_t *object, struct child_says *says, struct error *why)
{
	says->progress = -1;
	bool known = get_type(object, says, why);
	if (!get_id(object, says, why) || !known)
		return false;
	switch (says->type) {
	case SAYS_READY:
		return get_ready(object, says, why);
	case SAYS_RESULT:
		return get_result(object, says, why);
	case SAYS_LOG:
		return get_log(object, says, why);
	case SAYS_FACTS:
		break;
	}
	return get_facts(object, says, why);
}

/* --- a result that is wrong --------------------------------------------------------------------------- */

/* What it was to say beside its id does not count, nor what it says of the job. */
static void take_for_retry(struct child_says *says, const struct error *why)
{
	says->type = SAYS_RESULT;
	says->wrong = true;
	says->progress = -1;
	says->note = says->checkpoint = (struct span){0};
	says->has_extend = says->has_checkpoint = says->odd_progress = says->has_failure = false;
	says->outcome = (struct outcome){.kind = OUTCOME_RETRY};
	(void)snprintf(says->outcome.reason, sizeof says->outcome.reason,
		       "its result is wrong: %.70s", why->text);
}

/* What follows the first "key" : of the text. */
static struct span value_behind(struct span line, const char *key)
{
	const char *at = memmem(line.ptr, line.len, key, strlen(key));
	const char *end = line.ptr + line.len;
	if (at == NULL)
		return (struct span){0};
	at += strlen(key);
	while (at < end && (*at == ' ' || *at == '\t' || *at == ':'))
		at++;
	return span_of(at, (size_t)(end - at));
}

static bool begins_with(struct span text, const char *word)
{
	return text.len >= strlen(word) && memcmp(text.ptr, word, strlen(word)) == 0;
}

/* A value begins the text; JSON that is behind it does not matter. */
static bool read_id(struct span text, struct child_says *says)
{
	json_t *id = json_loadb(text.ptr, text.len, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, NULL);
	says->parsed = id;
	take_id(id, says);
	return says->id.len > 0;
}

static bool find_result(struct span line, struct child_says *says)
{
	*says = (struct child_says){0};
	if (!begins_with(value_behind(line, "\"type\""), "\"result\""))
		return false;
	if (read_id(value_behind(line, "\"id\""), says))
		return true;
	child_says_fini(says);
	return false;
}

/* --- the line that nearly all of them are ---------------------------------------------------------- */

/* Cuts `word` off, and a blank before it, as some JSON writers put one behind ':' and ','. */
static bool cut(struct span *line, const char *word)
{
	size_t blank = line->len > 0 && line->ptr[0] == ' ' ? 1 : 0;
	size_t len = strlen(word);
	if (line->len < blank + len || memcmp(line->ptr + blank, word, len) != 0)
		return false;
	*line = span_of(line->ptr + blank + len, line->len - blank - len);
	return true;
}

/* A string without escapes. */
static bool cut_plain_text(struct span *line, struct span *ret_text)
{
	if (!cut(line, "\""))
		return false;
	size_t len = 0;
	while (len < line->len && line->ptr[len] != '"' && line->ptr[len] != '\\' &&
	       (unsigned char)line->ptr[len] >= 0x20)
		len++;
	if (len == line->len || line->ptr[len] != '"')
		return false;
	*ret_text = span_of(line->ptr, len);
	*line = span_of(line->ptr + len + 1, line->len - len - 1);
	return text_is_utf8(*ret_text);
}

/* {"type":"result","id":"…","outcome":"done"} and nothing else, which says all there is to say of most
 * jobs: with a JSON library, whose tree is five allocations, it was a sixth of what a pool's job costs.
 * Whatever looks the least bit different is the library's. */
static bool is_plain_done(struct span line, struct span *ret_id)
{
	return cut(&line, "{\"type\":") && cut(&line, "\"result\",") && cut(&line, "\"id\":") &&
	       cut_plain_text(&line, ret_id) && cut(&line, ",") && cut(&line, "\"outcome\":") &&
	       cut(&line, "\"done\"}") && line.len == 0 && ret_id->len > 0;
}

bool child_says_parse(struct span line, struct child_says *ret_says, struct error *why)
{
	json_error_t trouble;
	struct span id;
	if (is_plain_done(line, &id)) {
		*ret_says = (struct child_says){.type = SAYS_RESULT, .id = id, .progress = -1};
		ret_says->outcome.kind = OUTCOME_DONE;
		return true;
	}
	/* A NUL in a string would end the texts of ours that are made from it: jansson refuses it. */
	json_t *object = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, &trouble);
	if (!json_is_object(object)) {
		(void)error_set(why, ST_PROTO, "%s", object == NULL ? trouble.text : "no object");
		json_decref(object);
		if (!find_result(line, ret_says))
			return false;
		take_for_retry(ret_says, why);
		return true;
	}
	*ret_says = (struct child_says){.parsed = object};
	if (get_all(object, ret_says, why))
		return true;
	if (ret_says->type == SAYS_RESULT && ret_says->id.len > 0) {
		take_for_retry(ret_says, why);
		return true;
	}
	child_says_fini(ret_says);
	return false;
}

void child_says_fini(struct child_says *says)
{
	json_decref(says->parsed);
	memory_free(says->decoded);
	memory_free(says->lines);
}
