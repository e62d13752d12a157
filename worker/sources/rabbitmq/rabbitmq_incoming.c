/* The room for a body is allocated when the header has told its size, and the pieces are copied into it
 * as they come, so a message is in memory once. Larger than max_body, and it is never allocated: its
 * body passes by on the way to `dead` (rabbitmq_passage.h).
 *
 * Where there is no `dead`, the message is refused by its header and its body read past: the queue's
 * own dead letter exchange has to do. So it is where the headers cannot be followed: no copy can be
 * made without them. */
#include "sources/rabbitmq/rabbitmq_incoming.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "job/job.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_returns.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "sources/source.h"
#include "wire/amqp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum incoming_part { INCOMING_NONE, INCOMING_HEADER, INCOMING_BODY };

struct rabbitmq_incoming {
	struct log *log;
	const struct source *source;
	const struct worker_settings *worker;
	const struct queue_settings *queue;
	const struct rabbitmq_delivery_rules *rules;
	uint64_t rejected; /* messages that could not become jobs, ever */

	enum incoming_part due;
	uint64_t tag;
	bool redelivered;
	bool skipped;
	uint64_t body_left;
	struct job *job; /* from its header on, unless skipped */
	size_t filled;
};

static void log_unfit(struct rabbitmq_incoming *in, const struct amqp_header *header,
		      const char *what)
{
	struct span id = span_of("", 0);
	if (header->properties != NULL)
		id = rabbitmq_message_read(header->properties, in->queue->name, false).id;
	in->rejected++;
	log_say(in->log, LOG_ERROR, what, kv_text("source", in->source->name),
		kv_text("queue", in->queue->name), kv_span("job", id),
		kv_int("bytes", (int64_t)header->body_bytes),
		kv_int("so_far", (int64_t)in->rejected),
		kv_text("dead", in->queue->dead ? "no copy of it can be made" : NULL));
}

static bool is_too_large(const struct rabbitmq_incoming *in, const struct amqp_header *header)
{
	return header->body_bytes > in->worker->max_body_bytes;
}

/* NULL: it can become a job. */
static const char *why_unfit(const struct rabbitmq_incoming *in, const struct amqp_header *header)
{
	if (is_too_large(in, header))
		return "message rejected, its body is larger than max_body";
	if (header->properties == NULL)
		return "message rejected, its headers are nested too deeply";
	return NULL;
}

static struct job *make_job(const struct rabbitmq_incoming *in, struct route *route,
			    const struct amqp_header *header, size_t room)
{
	struct rabbitmq_message m =
	    rabbitmq_message_read(header->properties, in->queue->name, in->redelivered);
	uint64_t serial = in->source->host->next_serial(in->source->host);
	uint64_t now_ms = rabbitmq_wall_ms();
	char made_up[160];
	bool id_made_up = m.id.len == 0;
	if (id_made_up) {
		(void)snprintf(made_up, sizeof made_up, "%.120s-%08" PRIx32 "-%" PRIu64,
			       in->worker->name, in->source->host->run, serial);
		m.id = span_text(made_up);
	}
	struct job *job = job_create(&(struct job_facts){
	    .route = route,
	    .serial = serial,
	    .attempt = m.attempt,
	    .interruptions = m.interruptions,
	    .crashes = m.crashes,
	    .lost = m.lost + rabbitmq_lost(in->queue, in->rules, BACK_BY_NACK, m.returned),
	    .id_made_up = id_made_up,
	    .redelivered = in->redelivered,
	    .expired = m.expires_ms != 0 && m.expires_ms <= now_ms,
	    .id = m.id,
	    .content_type = m.content_type,
	    .traceparent = m.traceparent,
	    .checkpoint = m.checkpoint,
	    .origin = header->encoded,
	    .body_bytes = room,
	});
	if (job == NULL)
		return NULL;
	job->source_tag = in->tag;
	job->expires_ms = m.expires_ms;
	if (m.expires_ms == 0 && m.expiration_ms != 0)
		job->expires_ms = now_ms + m.expiration_ms;
	job->source_count = m.returned;
	return job;
}

/* Whether the body is complete, and what has become of it. */
static enum incoming_step see_whether_whole(struct rabbitmq_incoming *in, struct job **ret_job)
{
	if (in->body_left > 0)
		return INCOMING_MORE;
	in->due = INCOMING_NONE;
	if (in->skipped)
		return INCOMING_MORE;
	*ret_job = in->job;
	in->job = NULL;
	return INCOMING_WHOLE;
}

static enum incoming_step refuse(struct rabbitmq_incoming *in, const struct amqp_header *header,
				 const char *why, struct job **ret_job)
{
	log_unfit(in, header, why);
	in->skipped = true;
	(void)see_whether_whole(in, ret_job); /* it may have no body */
	return INCOMING_UNFIT;
}

/* Its rest is skipped here: it is the caller's to look at. */
static enum incoming_step let_pass(struct rabbitmq_incoming *in, struct route *route,
				   const struct amqp_header *header, struct job **ret_job)
{
	struct job *job = make_job(in, route, header, 0);
	if (job == NULL)
		return INCOMING_NO_MEMORY;
	job->passes_by = true;
	in->skipped = true;
	*ret_job = job;
	return INCOMING_TOO_LARGE;
}

enum incoming_step rabbitmq_incoming_header(struct rabbitmq_incoming *in, struct route *route,
					    const struct amqp_header *header, struct job **ret_job)
{
	if (in->due != INCOMING_HEADER)
		return INCOMING_OUT_OF_STEP;
	in->due = INCOMING_BODY;
	in->body_left = header->body_bytes;
	if (in->skipped)
		return see_whether_whole(in, ret_job);
	if (is_too_large(in, header) && in->queue->dead != NULL && header->properties != NULL)
		return let_pass(in, route, header, ret_job);
	const char *why = why_unfit(in, header);
	if (why != NULL)
		return refuse(in, header, why, ret_job);
	in->job = make_job(in, route, header, (size_t)header->body_bytes);
	return in->job != NULL ? see_whether_whole(in, ret_job) : INCOMING_NO_MEMORY;
}

enum incoming_step rabbitmq_incoming_body(struct rabbitmq_incoming *in, struct span piece,
					  struct job **ret_job)
{
	if (in->due != INCOMING_BODY || piece.len > in->body_left)
		return INCOMING_OUT_OF_STEP;
	in->body_left -= piece.len;
	if (!in->skipped) {
		memcpy(job_body(in->job) + in->filled, piece.ptr, piece.len);
		in->filled += piece.len;
	}
	return see_whether_whole(in, ret_job);
}

void rabbitmq_incoming_opened(struct rabbitmq_incoming *in,
			      const struct rabbitmq_delivery_rules *rules)
{
	in->rules = rules;
}

void rabbitmq_incoming_begin(struct rabbitmq_incoming *in, uint64_t tag, bool redelivered)
{
	must(in->due == INCOMING_NONE && in->job == NULL);
	in->due = INCOMING_HEADER;
	in->tag = tag;
	in->redelivered = redelivered;
	in->skipped = false;
	in->filled = 0;
}

void rabbitmq_incoming_skip(struct rabbitmq_incoming *in)
{
	job_destroy(in->job);
	in->job = NULL;
	in->skipped = true;
}

void rabbitmq_incoming_drop(struct rabbitmq_incoming *in)
{
	rabbitmq_incoming_skip(in);
	in->due = INCOMING_NONE;
}

bool rabbitmq_incoming_is_idle(const struct rabbitmq_incoming *in)
{
	return in->due == INCOMING_NONE;
}

uint64_t rabbitmq_incoming_tag(const struct rabbitmq_incoming *in)
{
	return in->tag;
}

struct rabbitmq_incoming *rabbitmq_incoming_create(struct log *log, const struct source *source,
						   const struct worker_settings *worker,
						   const struct queue_settings *queue)
{
	struct rabbitmq_incoming *in = memory_clear(1, sizeof *in);
	if (in == NULL)
		return NULL;
	in->log = log;
	in->source = source;
	in->worker = worker;
	in->queue = queue;
	return in;
}

void rabbitmq_incoming_destroy(struct rabbitmq_incoming *in)
{
	if (in == NULL)
		return;
	job_destroy(in->job);
	memory_free(in);
}
