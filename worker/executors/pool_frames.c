/* A body is read into its job and nowhere else, since it may be large; lines are short and collected.
 * The worker on the other side is of the same build as this process, so a line that makes no sense is
 * the end, and not something to get over. */
#include "executors/pool_frames.h"

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

static struct origin *add_origin(struct pool_frames *frames, const char *source, const char *queue)
{
	size_t source_bytes = strlen(source) + 1, queue_bytes = strlen(queue) + 1;
	struct origin *origin = memory_clear(1, sizeof(struct origin) + source_bytes + queue_bytes);
	if (origin == NULL)
		return NULL;
	memcpy(origin->texts, source, source_bytes);
	memcpy(origin->texts + source_bytes, queue, queue_bytes);
	origin->route.source_name = origin->texts;
	origin->route.name = origin->texts + source_bytes;
	list_append(&frames->origins, &origin->in_origins);
	return origin;
}

static struct route *route_of(struct pool_frames *frames, const char *source, const char *queue)
{
	list_each (it, &frames->origins) {
		struct origin *origin = list_entry(it, struct origin, in_origins);
		if (strcmp(origin->route.source_name, source) == 0 &&
		    strcmp(origin->route.name, queue) == 0)
			return &origin->route;
	}
	struct origin *origin = add_origin(frames, source, queue);
	return origin != NULL ? &origin->route : NULL;
}

/* --- lines ----------------------------------------------------------------------------------------- */

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

static struct job *make_job(struct pool_frames *frames, const json_t *object)
{
	struct text decoded = {0};
	struct job_facts facts = {
	    .route = route_of(frames, text_at(object, "source"), text_at(object, "queue")),
	    .serial = ++frames->last_serial,
	    .attempt = (uint32_t)number_at(object, "attempt"),
	    .interruptions = (uint32_t)number_at(object, "interruptions"),
	    .crashes = (uint32_t)number_at(object, "crashes"),
	    .redelivered = json_is_true(json_object_get(object, "redelivered")),
	    .id = span_at(object, "id"),
	    .content_type = span_at(object, "content_type"),
	    .traceparent = span_at(object, "traceparent"),
	    .body_bytes = number_at(object, "bytes"),
	};
	struct job *job = NULL;
	if (facts.route != NULL && get_checkpoint(object, &decoded, &facts.checkpoint))
		job = job_create(&facts);
	text_fini(&decoded);
	return job;
}

static void hand_over(struct pool_frames *frames)
{
	struct job *job = frames->job;
	frames->job = NULL;
	frames->reader->job(frames->reader, &job);
}

static void begin_job(struct pool_frames *frames, const json_t *object)
{
	frames->body_left = number_at(object, "bytes");
	frames->job = make_job(frames, object);
	if (frames->job == NULL)
		frames->reader->no_memory(frames->reader, span_at(object, "id"));
	else if (frames->body_left == 0)
		hand_over(frames);
}

static bool obey(struct pool_frames *frames, const json_t *object)
{
	struct pool_reader *reader = frames->reader;
	const char *type = text_at(object, "type");
	bool limited = json_object_get(object, "remaining_ms") != NULL;
	if (strcmp(type, "job") == 0)
		begin_job(frames, object);
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
	json_error_t trouble;
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
