/* Written by hand and not by a JSON library, because a pool job of some microseconds pays for its
 * line; what the broker adds (headers) is the source's to write. */
#include "executors/child/child_told.h"

#include "base/base64.h"
#include "dispatch/routes.h"
#include "job/job.h"

static void put_text(struct text *text, const char *comma_key, const char *value)
{
	text_put(text, span_text(comma_key));
	text_put_json(text, span_text(value));
}

static void put_text_if_any(struct text *text, const char *comma_key, const char *value)
{
	if (value[0] != '\0')
		put_text(text, comma_key, value);
}

static void put_number(struct text *text, const char *comma_key, uint64_t number)
{
	text_put(text, span_text(comma_key));
	text_put_number(text, number);
}

static void put_checkpoint(struct text *text, struct span checkpoint)
{
	if (checkpoint.len == 0)
		return;
	if (text_is_utf8(checkpoint)) {
		text_put_literal(text, ",\"checkpoint\":");
		text_put_json(text, checkpoint);
		return;
	}
	text_put_literal(text, ",\"checkpoint_base64\":\"");
	base64_put(text, checkpoint);
	text_put_literal(text, "\"");
}

void child_told_job(struct text *text, const struct job *job, uint64_t timeout_ms)
{
	put_text(text, "{\"type\":\"job\",\"id\":", job->id);
	put_text(text, ",\"source\":", job->route->source_name);
	put_text(text, ",\"queue\":", job->route->name);
	put_number(text, ",\"attempt\":", job->attempt);
	put_number(text, ",\"interruptions\":", job->interruptions);
	put_number(text, ",\"crashes\":", job->crashes);
	text_put(text, span_text(job_may_have_run(job) ? ",\"redelivered\":true"
						       : ",\"redelivered\":false"));
	put_number(text, ",\"timeout_ms\":", timeout_ms);
	put_text_if_any(text, ",\"content_type\":", job->content_type);
	put_text_if_any(text, ",\"traceparent\":", job->traceparent);
	put_number(text, ",\"bytes\":", job->body.len);
	put_checkpoint(text, job->checkpoint);
	route_describe(job, text);
	text_put_literal(text, "}\n");
}

void child_told_drain(struct text *text, uint64_t remaining_ms)
{
	text_put_literal(text, "{\"type\":\"drain\",\"notice\":\"drain\"");
	if (remaining_ms != UINT64_MAX)
		put_number(text, ",\"remaining_ms\":", remaining_ms);
	text_put_literal(text, "}\n");
}

void child_told_cancel(struct text *text, const struct job *job)
{
	bool timeout = job->stop == JOB_STOPPED_BY_TIMEOUT;
	put_text(text, "{\"type\":\"cancel\",\"notice\":\"cancel\",\"id\":", job->id);
	put_text(text, ",\"reason\":", timeout ? "timeout" : "drain");
	text_put_literal(text, "}\n");
}
