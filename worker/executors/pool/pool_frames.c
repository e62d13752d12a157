/* A body is read into its job and nowhere else, since it may be large; lines are short and collected.
 * The worker on the other side is of the same build as this process, so a line that makes no sense is
 * the end, and not something to get over; and the line of a job can be read where it lies, key by key
 * in the order in which child_told.c writes them. A JSON library takes longer for it than a short job
 * does for all the rest. It is asked only if there is something to decode: an escape in a text, a
 * checkpoint, a notice. */
#include "executors/pool/pool_frames.h"

#include "base/base64.h"
#include "base/memory.h"
#include "dispatch/routes.h"
#include "job/job.h"

#include <jansson.h>
#include <string.h>

/* A queue of a source, as far as a handler may want to know. */
struct origin {
	struct list in_origins;
	struct route route;
	char texts[]; /* both names */
};

void pool_frames_init(struct pool_frames *frames, struct pool_reader *reader)
{
	*frames = (struct pool_frames){.reader = reader};
	list_init(&frames->origins);
}

void pool_frames_fini(struct pool_frames *frames)
{
	struct list *it;
	while ((it = list_take_first(&frames->origins)) != NULL)
		memory_free(list_entry(it, struct origin, in_origins));
	job_destroy(frames->job);
	text_fini(&frames->line);
}

/* --- where a job comes from ------------------------------------------------------------------------ */

static char *place_text(char *at, struct span text)
{
	if (text.len > 0)
		memcpy(at, text.ptr, text.len);
	at[text.len] = '\0';
	return at + text.len + 1;
}

static struct origin *add_origin(struct pool_frames *frames, struct span source, struct span queue)
{
	struct origin *origin = memory_clear(1, sizeof(struct origin) + source.len + queue.len + 2);
	if (origin == NULL)
		return NULL;
	origin->route.source_name = origin->texts;
	origin->route.name = place_text(origin->texts, source);
	(void)place_text(origin->texts + source.len + 1, queue);
	list_append(&frames->origins, &origin->in_origins);
	return origin;
}

static struct route *route_of(struct pool_frames *frames, struct span source, struct span queue)
{
	list_each (it, &frames->origins) {
		struct origin *origin = list_entry(it, struct origin, in_origins);
		if (span_equal(span_text(origin->route.source_name), source) &&
		    span_equal(span_text(origin->route.name), queue))
			return &origin->route;
	}
	struct origin *origin = add_origin(frames, source, queue);
	return origin != NULL ? &origin->route : NULL;
}

/* --- a job ----------------------------------------------------------------------------------------- */

/* What its line says; the spans end with the line. */
struct told_job {
	struct span source, queue;
	struct job_facts facts;
};

static void hand_over(struct pool_frames *frames)
{
	struct job *job = frames->job;
	frames->job = NULL;
	frames->reader->job(frames->reader, &job);
}

static void begin_job(struct pool_frames *frames, struct told_job *told)
{
	struct job_facts *facts = &told->facts;
	facts->route = route_of(frames, told->source, told->queue);
	facts->serial = ++frames->last_serial;
	frames->body_left = facts->body_bytes;
	frames->job = facts->route != NULL ? job_create(facts) : NULL;
	if (frames->job == NULL)
		frames->reader->no_memory(frames->reader, facts->id);
	else if (frames->body_left == 0)
		hand_over(frames);
}

/* --- its line, read where it lies ------------------------------------------------------------------- */

/* Each takes its piece off the front of the line; false: something else stands there. */
static bool cut(struct span *line, const char *literal)
{
	size_t len = strlen(literal);
	if (line->len < len || memcmp(line->ptr, literal, len) != 0)
		return false;
	*line = span_of(line->ptr + len, line->len - len);
	return true;
}

static bool cut_text(struct span *line, const char *key, struct span *ret_text)
{
	if (!cut(line, key) || !cut(line, "\""))
		return false;
	const char *end = memchr(line->ptr, '"', line->len);
	if (end == NULL)
		return false;
	*ret_text = span_of(line->ptr, (size_t)(end - line->ptr));
	*line = span_of(end + 1, line->len - ret_text->len - 1);
	return memchr(ret_text->ptr, '\\', ret_text->len) == NULL;
}

static bool cut_number(struct span *line, const char *key, uint64_t *ret_number)
{
	size_t n = 0;
	uint64_t number = 0;
	if (!cut(line, key))
		return false;
	for (; n < line->len && line->ptr[n] >= '0' && line->ptr[n] <= '9'; n++)
		number = number * 10 + (uint64_t)(line->ptr[n] - '0');
	*line = span_of(line->ptr + n, line->len - n);
	*ret_number = number;
	return n > 0 && n < 20;
}

static bool cut_count(struct span *line, const char *key, uint32_t *ret_count)
{
	uint64_t number;
	bool there = cut_number(line, key, &number) && number <= UINT32_MAX;
	*ret_count = there ? (uint32_t)number : 0;
	return there;
}

static bool cut_redelivered(struct span *line, bool *ret_redelivered)
{
	*ret_redelivered = cut(line, ",\"redelivered\":true");
	return *ret_redelivered || cut(line, ",\"redelivered\":false");
}

static bool cut_text_if_any(struct span *line, const char *key, struct span *ret_text)
{
	struct span rest = *line;
	return !cut(&rest, key) || cut_text(line, key, ret_text);
}

/* What the source adds at the end, properties and headers, is not for plugins. */
static bool is_rest(struct span line)
{
	return cut(&line, "}") || cut(&line, ",\"properties\":") || cut(&line, ",\"headers\":");
}

static bool read_plain_job(struct span line, struct told_job *ret_told)
{
	struct told_job told = {0};
	struct job_facts *facts = &told.facts;
	uint64_t timeout_ms, bytes;
	bool plain = cut_text(&line, "{\"type\":\"job\",\"id\":", &facts->id) &&
		     cut_text(&line, ",\"source\":", &told.source) &&
		     cut_text(&line, ",\"queue\":", &told.queue) &&
		     cut_count(&line, ",\"attempt\":", &facts->attempt) &&
		     cut_count(&line, ",\"interruptions\":", &facts->interruptions) &&
		     cut_count(&line, ",\"crashes\":", &facts->crashes) &&
		     cut_redelivered(&line, &facts->redelivered) &&
		     cut_number(&line, ",\"timeout_ms\":", &timeout_ms) &&
		     cut_text_if_any(&line, ",\"content_type\":", &facts->content_type) &&
		     cut_text_if_any(&line, ",\"traceparent\":", &facts->traceparent) &&
		     cut_number(&line, ",\"bytes\":", &bytes) && is_rest(line);
	if (!plain)
		return false;
	facts->body_bytes = bytes;
	*ret_told = told;
	return true;
}

/* --- any line ----------------------------------------------------------------------------------------- */

static const char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

static struct span span_at(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return span_of(json_string_value(value), json_string_length(value));
}

static uint64_t number_at(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* False: no memory. */
static bool get_checkpoint(const json_t *object, struct text *decoded, struct span *ret_checkpoint)
{
	*ret_checkpoint = span_at(object, "checkpoint");
	if (json_object_get(object, "checkpoint_base64") == NULL)
		return true;
	if (!base64_read(decoded, span_at(object, "checkpoint_base64")))
		return false;
	*ret_checkpoint = text_span(decoded);
	return true;
}

static void read_job(struct pool_frames *frames, const json_t *object)
{
	struct text decoded = {0};
	struct told_job told = {
	    .source = span_at(object, "source"),
	    .queue = span_at(object, "queue"),
	    .facts =
		{
			.attempt = (uint32_t)number_at(object, "attempt"),
			.interruptions = (uint32_t)number_at(object, "interruptions"),
			.crashes = (uint32_t)number_at(object, "crashes"),
			.redelivered = json_is_true(json_object_get(object, "redelivered")),
			.id = span_at(object, "id"),
			.content_type = span_at(object, "content_type"),
			.traceparent = span_at(object, "traceparent"),
			.body_bytes = number_at(object, "bytes"),
			},
	};
	if (get_checkpoint(object, &decoded, &told.facts.checkpoint)) {
		begin_job(frames, &told);
	} else {
		frames->body_left = told.facts.body_bytes;
		frames->reader->no_memory(frames->reader, told.facts.id);
	}
	text_fini(&decoded);
}

static bool obey(struct pool_frames *frames, const json_t *object)
{
	struct pool_reader *reader = frames->reader;
	const char *type = text_at(object, "type");
	bool limited = json_object_get(object, "remaining_ms") != NULL;
	if (strcmp(type, "job") == 0)
		read_job(frames, object);
	else if (strcmp(type, "drain") == 0)
		reader->drain(reader, limited ? number_at(object, "remaining_ms") : UINT64_MAX);
	else if (strcmp(type, "cancel") == 0)
		reader->cancel(reader, span_at(object, "id"));
	else
		return false;
	return true;
}

static enum status take_line(struct pool_frames *frames, struct span line, struct error *why)
{
	struct told_job told;
	json_error_t trouble;
	if (read_plain_job(line, &told)) {
		begin_job(frames, &told);
		return ST_OK;
	}
	json_t *object = json_loadb(line.ptr, line.len, JSON_ALLOW_NUL, &trouble);
	enum status st = ST_OK;
	if (object == NULL)
		st = error_set(why, ST_PROTO, "stdin: no line of a worker: %s", trouble.text);
	else if (!obey(frames, object))
		st = error_set(why, ST_PROTO, "stdin: a line of type \"%s\"",
			       text_at(object, "type"));
	json_decref(object);
	return st;
}

/* --- bytes ----------------------------------------------------------------------------------------- */

/* Returns how many bytes it has taken, of at least one. */
static size_t feed_line(struct pool_frames *frames, struct span bytes, struct error *why,
			enum status *ret_st)
{
	const char *end = memchr(bytes.ptr, '\n', bytes.len);
	size_t len = end != NULL ? (size_t)(end - bytes.ptr) : bytes.len;
	*ret_st = ST_OK;
	if (end != NULL && frames->line.len == 0) { /* whole: as it lies there */
		*ret_st = take_line(frames, span_of(bytes.ptr, len), why);
		return len + 1;
	}
	text_put(&frames->line, span_of(bytes.ptr, len));
	if (frames->line.failed)
		*ret_st = error_set(why, ST_NOMEM, "out of memory");
	else if (end != NULL)
		*ret_st = take_line(frames, text_span(&frames->line), why);
	if (end != NULL)
		text_clear(&frames->line);
	return len + (end != NULL);
}

static size_t feed_body(struct pool_frames *frames, struct span bytes)
{
	size_t take = bytes.len < frames->body_left ? bytes.len : frames->body_left;
	struct job *job = frames->job;
	if (job != NULL)
		memcpy(job_body(job) + job->body.len - frames->body_left, bytes.ptr, take);
	frames->body_left -= take;
	if (frames->body_left == 0 && job != NULL)
		hand_over(frames);
	return take;
}

enum status pool_frames_feed(struct pool_frames *frames, struct span bytes, struct error *why)
{
	enum status st = ST_OK;
	while (bytes.len > 0 && st == ST_OK) {
		size_t taken = frames->body_left > 0 ? feed_body(frames, bytes)
						     : feed_line(frames, bytes, why, &st);
		bytes = span_of(bytes.ptr + taken, bytes.len - taken);
	}
	return st;
}
