/* Only three codes kill a job, because dead cannot be undone: 401, 403, 404 or 413 say more about
 * the server and its configuration than about the job, and a mistake there must not cost a queue. A
 * redirect is not followed, since what becomes of a POST then is different from client to client.
 *
 * Retry-After may be a moment instead of a number of seconds. It is read against the answer's own Date, so
 * that a server whose clock is wrong still gets the pause that it meant. */
#include "executors/http/http_answer.h"

#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <strings.h>

static const uint64_t AFTER_MOST_S = OUTCOME_ASKS_MOST_MS / 1000;

/* --- Retry-After --------------------------------------------------------------------------------- */

static struct span trimmed(struct span text)
{
	while (text.len > 0 && (*text.ptr == ' ' || *text.ptr == '\t'))
		text = span_of(text.ptr + 1, text.len - 1);
	while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
		text.len--;
	return text;
}

static bool read_seconds(struct span text, uint64_t *ret_seconds)
{
	uint64_t seconds = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		if (seconds < AFTER_MOST_S)
			seconds = seconds * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	*ret_seconds = seconds;
	return text.len > 0;
}

static int month_of(const char *name)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	for (int i = 0; i < 12; i++)
		if (strncmp(months + 3 * (size_t)i, name, 3) == 0)
			return i;
	return -1;
}

/* Two digits, as RFC 850 has them: years that would be more than fifty years away are past ones. */
static int whole_year(int year, time_t now)
{
	struct tm today;
	(void)gmtime_r(&now, &today);
	int this_year = today.tm_year + 1900;
	int guess = this_year - this_year % 100 + year;
	return guess > this_year + 50 ? guess - 100 : guess;
}

/* The three forms that HTTP knows, all of them in GMT. Names of days are not looked at. */
static bool read_date(struct span text, time_t now, time_t *ret_when)
{
	char line[48], month[4] = "";
	struct tm at = {0};
	int end = 0;
	if (text.len >= sizeof line)
		return false;
	(void)snprintf(line, sizeof line, "%.*s", (int)text.len, text.ptr);
	int *day = &at.tm_mday, *year = &at.tm_year;
	int *hour = &at.tm_hour, *min = &at.tm_min, *sec = &at.tm_sec;
	if (sscanf(line, "%*3[A-Za-z], %2d %3s %4d %2d:%2d:%2d GMT%n", day, month, year, hour, min,
		   sec, &end) != 6 &&
	    sscanf(line, "%*3[A-Za-z] %3s %2d %2d:%2d:%2d %4d%n", month, day, hour, min, sec, year,
		   &end) != 6) {
		if (sscanf(line, "%*[A-Za-z], %2d-%3s-%2d %2d:%2d:%2d GMT%n", day, month, year,
			   hour, min, sec, &end) != 6)
			return false;
		*year = whole_year(*year, now);
	}
	at.tm_mon = month_of(month);
	at.tm_year -= 1900;
	if (end == 0 || line[end] != '\0' || at.tm_mon < 0)
		return false;
	*ret_when = timegm(&at);
	return true;
}

/* 0: not said, not understood, or already over. */
static uint64_t after_ms(const struct http_answer *answer, time_t now)
{
	struct span text = trimmed(answer->retry_after);
	uint64_t seconds = 0;
	time_t then, sent = now;
	if (!read_seconds(text, &seconds) && read_date(text, now, &then)) {
		(void)read_date(trimmed(answer->date), now, &sent);
		seconds = then > sent ? (uint64_t)(then - sent) : 0;
	}
	return (seconds < AFTER_MOST_S ? seconds : AFTER_MOST_S) * 1000;
}

/* --- the reason ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return (unsigned char)c <= ' ' || c == 0x7f;
}

/* The first line that holds anything. An HTML page says nothing in its first line. */
static struct span first_line(struct span body)
{
	while (body.len > 0 && is_blank(*body.ptr))
		body = span_of(body.ptr + 1, body.len - 1);
	for (size_t i = 0; i < body.len; i++)
		if (body.ptr[i] == '\n' || body.ptr[i] == '\r')
			body.len = i;
	while (body.len > 0 && is_blank(body.ptr[body.len - 1]))
		body.len--;
	return body.len > 0 && *body.ptr == '<' ? span_of(body.ptr, 0) : body;
}

/* At most `most` bytes of it, and no half of a character. */
static size_t whole_characters(struct span text, size_t most)
{
	if (text.len <= most)
		return text.len;
	while (most > 0 && ((unsigned char)text.ptr[most] & 0xc0) == 0x80)
		most--;
	return most;
}

static void say(struct outcome *outcome, const char *intro, struct span line)
{
	char *to = outcome->reason;
	size_t used = (size_t)snprintf(to, sizeof outcome->reason, "%.60s", intro);
	if (line.len == 0)
		return;
	used += (size_t)snprintf(to + used, sizeof outcome->reason - used, ": ");
	line.len = whole_characters(line, sizeof outcome->reason - 1 - used);
	bool utf8 = text_is_utf8(line);
	for (size_t i = 0; i < line.len; i++) {
		unsigned char byte = (unsigned char)line.ptr[i];
		to[used++] =
		    byte < ' ' || byte == 0x7f || (byte >= 0x80 && !utf8) ? '?' : (char)byte;
	}
	to[used] = '\0';
}

/* --- both ---------------------------------------------------------------------------------------- */

static enum outcome_kind kind_of(long status)
{
	if (status >= 200 && status < 300)
		return OUTCOME_DONE;
	if (status == 400 || status == 409 || status == 422)
		return OUTCOME_REJECT;
	return OUTCOME_RETRY;
}

struct outcome outcome_of_answer(const struct http_answer *answer, time_t now)
{
	struct outcome outcome = {.kind = kind_of(answer->status)};
	char intro[64];
	if (outcome.kind == OUTCOME_DONE)
		return outcome;
	if (outcome.kind == OUTCOME_RETRY)
		outcome.after_ms = after_ms(answer, now);
	(void)snprintf(intro, sizeof intro, "answered %ld%s", answer->status,
		       answer->status / 100 == 3 ? ", redirects are not followed" : "");
	say(&outcome, intro, first_line(answer->body));
	return outcome;
}

static struct span text_in(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return span_of(json_string_value(value), json_string_length(value));
}

/* RFC 9457. */
static bool explain_problem(const json_t *problem, struct text *words, struct failure *ret_failure)
{
	struct span type = text_in(problem, "type"), title = text_in(problem, "title");
	struct span detail = text_in(problem, "detail");
	text_put(words, type);
	text_put(words, title);
	if (title.len > 0 && detail.len > 0)
		text_put_literal(words, ": ");
	text_put(words, detail);
	if (words->failed || words->len == 0)
		return false;
	ret_failure->class = span_of(words->bytes, type.len);
	ret_failure->message = span_of(words->bytes + type.len, words->len - type.len);
	return true;
}

static bool is_problem(struct span content_type)
{
	static const char name[] = "application/problem+json";
	return content_type.len >= sizeof name - 1 &&
	       strncasecmp(content_type.ptr, name, sizeof name - 1) == 0;
}

static bool explain_line(const struct http_answer *answer, struct text *words,
			 struct failure *ret_failure)
{
	struct span line = first_line(answer->body);
	text_clear(words);
	text_print(words, "answered %ld: ", answer->status);
	text_put(words, line);
	ret_failure->message = text_span(words);
	return line.len > 0 && !words->failed &&
	       words->len >= sizeof((struct outcome *)NULL)->reason && text_is_utf8(line);
}

bool explain_answer(const struct http_answer *answer, struct text *words,
		    struct failure *ret_failure)
{
	*ret_failure = (struct failure){0};
	json_t *problem = is_problem(answer->content_type)
			      ? json_loadb(answer->body.ptr, answer->body.len, 0, NULL)
			      : NULL;
	bool told = json_is_object(problem) && explain_problem(problem, words, ret_failure);
	json_decref(problem);
	return told || explain_line(answer, words, ret_failure);
}

struct outcome outcome_without_answer(const char *what)
{
	struct outcome outcome = {.kind = OUTCOME_RETRY};
	say(&outcome, "no answer", first_line(span_text(what)));
	return outcome;
}
