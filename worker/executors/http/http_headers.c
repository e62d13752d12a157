/* The lines lie one behind the other in one text, because a request for each job should not cost a
 * dozen allocations. */
#include "executors/http/http_headers.h"

#include "base/base64.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"

static void begin(struct http_headers *headers, const char *name)
{
	must(headers->count < HTTP_HEADERS_MOST);
	headers->begins[headers->count++] = headers->text.len;
	text_put(&headers->text, span_text(name));
	text_put_literal(&headers->text, ": ");
}

static void end(struct http_headers *headers)
{
	text_put_literal(&headers->text, "\0");
}

static bool is_plain(char c)
{
	return c >= ' ' && c < 0x7f;
}

static void put_byte(struct text *text, char c, bool as_it_is)
{
	static const char digits[] = "0123456789ABCDEF";
	unsigned char byte = (unsigned char)c;
	char encoded[3] = {'%', digits[byte >> 4], digits[byte & 15]};
	text_put(text, as_it_is ? span_of(&c, 1) : span_of(encoded, sizeof encoded));
}

static bool stands_for_itself(struct span value, size_t i)
{
	bool at_an_end = i == 0 || i + 1 == value.len;
	char c = value.ptr[i];
	return is_plain(c) && c != '%' && !(c == ' ' && at_an_end);
}

static void put_value(struct text *text, struct span value)
{
	size_t run = 0;
	while (run < value.len && stands_for_itself(value, run))
		run++;
	text_put(text, span_of(value.ptr, run));
	for (size_t i = run; i < value.len; i++)
		put_byte(text, value.ptr[i], stands_for_itself(value, i));
}

/* A header without a value is no use to anybody, and several servers stumble over it. */
static void put_text(struct http_headers *headers, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	begin(headers, name);
	put_value(&headers->text, span_text(value));
	end(headers);
}

static void put_number(struct http_headers *headers, const char *name, uint64_t number)
{
	begin(headers, name);
	text_put_number(&headers->text, number);
	end(headers);
}

/* Not by put_value(): a reader of a checkpoint wants it as it was left. */
static bool is_plain_text(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if (!is_plain(bytes.ptr[i]))
			return false;
	return bytes.ptr[0] != ' ' && bytes.ptr[bytes.len - 1] != ' ';
}

static void put_checkpoint(struct http_headers *headers, struct span checkpoint)
{
	if (checkpoint.len == 0 || checkpoint.len > HTTP_CHECKPOINT_MOST_BYTES)
		return;
	if (is_plain_text(checkpoint)) {
		begin(headers, "Outfall-Checkpoint");
		text_put(&headers->text, checkpoint);
	} else {
		begin(headers, "Outfall-Checkpoint-Base64");
		base64_put(&headers->text, checkpoint);
	}
	end(headers);
}

bool http_headers_write(struct http_headers *headers, const struct job *job, uint64_t timeout_ms,
			const char *content_type)
{
	headers->count = 0;
	text_clear(&headers->text);
	put_text(headers, "Content-Type", job->content_type[0] ? job->content_type : content_type);
	put_text(headers, "Outfall-Job-Id", job->id);
	put_text(headers, "Idempotency-Key", job->id);
	put_text(headers, "Outfall-Source", job->route->source_name);
	put_text(headers, "Outfall-Queue", job->route->name);
	put_number(headers, "Outfall-Attempt", job->attempt);
	put_number(headers, "Outfall-Interruptions", job->interruptions);
	put_number(headers, "Outfall-Crashes", job->crashes);
	put_number(headers, "Outfall-Redelivered", job_may_have_run(job) ? 1 : 0);
	put_number(headers, "Outfall-Timeout-Ms", timeout_ms);
	put_text(headers, "traceparent", job->traceparent);
	put_checkpoint(headers, job->checkpoint);
	return !headers->text.failed;
}

void http_headers_fini(struct http_headers *headers)
{
	text_fini(&headers->text);
	headers->count = 0;
}
