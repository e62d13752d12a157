/* A dead letter starts over when somebody moves it back (a shovel, "move messages", a script of theirs): all
 * of its headers come along then, so that it was dead has to be one. Its next copy is without it. What
 * basic.reject sent to the queue's own dead letter exchange has the broker's word for it, x-death.
 *
 * Counts travel with the message, because the worker that runs it next may be another one. Attempts
 * and crashes are exact: only we write those headers, when a run has failed. A crash is a handler's
 * process that died while it had begun this job; a message that lay prefetched beside it is not
 * blamed. But where the whole worker dies (SIGKILL, a plugin that crashes inside it) nobody is left
 * to write anything: the broker redelivers what was begun and what was not, all alike, and it counts
 * as interrupted at most. A plugin that may crash belongs into a process of its own.
 *
 * Interruptions are known in three parts: what the header says; what a quorum queue counted since
 * (x-delivery-count); and on a classic queue, which keeps no count, one more if the message was
 * delivered before. That last one is an upper bound: a message that was prefetched and given back
 * unbegun looks the same as one whose worker was killed.
 *
 * A nack cannot carry a checkpoint either. A job that goes back with a new one is therefore published
 * anew, to the tail of its queue; its count starts over there, and x-outfall-interruptions has the
 * sum. (So a job that leaves checkpoints is exactly counted on classic queues too, and a quorum
 * queue's delivery limit does not end it.) What a run leaves is in our memory until then: a worker
 * that is killed loses it, and the next run gets the one before.
 *
 * A copy keeps what the message came with, except for what would change its way:
 *   user_id         the broker checks it against our login, and closes the channel
 *   CC, BCC         the broker would deliver the copy to those queues once more
 *   x-delivery-count  is part of x-outfall-interruptions now; x-acquired-count (4.3) goes with it
 *   expiration      (not on its way back) it would die in the retry queue before its time
 *   x-death         (retry only) the broker takes a way it has gone before for a loop, and drops the
 *                   message without a word; a dead letter keeps it, for whoever looks at it
 *
 * What is left of an expiration a copy has in x-outfall-expires, and it is ours to look at, for a message that
 * comes out of a retry queue expires by itself no more: one whose time is over is dead. It counts from when a
 * worker took it first (how long it had waited before, no message says), on the workers' clocks. */
#include "sources/rabbitmq/rabbitmq_message.h"

#include "base/memory.h"
#include "base/text.h"
#include "job/job.h"

#include <stdlib.h>

#define HEADER_ATTEMPT       "x-outfall-attempt"
#define HEADER_INTERRUPTIONS "x-outfall-interruptions"
#define HEADER_CRASHES       "x-outfall-crashes"
#define HEADER_CHECKPOINT    "x-outfall-checkpoint"
#define HEADER_REASON        "x-outfall-reason"
#define HEADER_ERROR_CLASS   "x-outfall-error-class"
#define HEADER_BACKTRACE     "x-outfall-backtrace"
#define HEADER_QUEUE         "x-outfall-queue"
#define HEADER_DEAD          "x-outfall-dead"
#define HEADER_EXPIRES       "x-outfall-expires"
#define HEADER_LOST          "x-outfall-lost"

static bool key_is(const amqp_table_entry_t *entry, const char *key)
{
	return span_equal(amqp_span_of(entry->key), span_text(key));
}

/* Counters are written as integers by us, and by people in whatever their client library likes. */
static bool count_of(const amqp_field_value_t *value, uint32_t *ret_count)
{
	int64_t n;
	switch (value->kind) {
	case AMQP_FIELD_KIND_I8:
		n = value->value.i8;
		break;
	case AMQP_FIELD_KIND_U8:
		n = value->value.u8;
		break;
	case AMQP_FIELD_KIND_I16:
		n = value->value.i16;
		break;
	case AMQP_FIELD_KIND_U16:
		n = value->value.u16;
		break;
	case AMQP_FIELD_KIND_I32:
		n = value->value.i32;
		break;
	case AMQP_FIELD_KIND_U32:
		n = value->value.u32;
		break;
	case AMQP_FIELD_KIND_I64:
		n = value->value.i64;
		break;
	default:
		return false;
	}
	if (n < 0 || n > INT32_MAX)
		return false;
	*ret_count = (uint32_t)n;
	return true;
}

static struct span text_of(const amqp_field_value_t *value)
{
	if (value->kind == AMQP_FIELD_KIND_UTF8 || value->kind == AMQP_FIELD_KIND_BYTES)
		return amqp_span_of(value->value.bytes);
	return span_of("", 0);
}

/* The broker's own record of a dead letter, one table for each queue and reason. */
static bool names_queue(const amqp_field_value_t *death, const char *queue)
{
	if (death->kind != AMQP_FIELD_KIND_TABLE)
		return false;
	for (int i = 0; i < death->value.table.num_entries; i++) {
		const amqp_table_entry_t *e = &death->value.table.entries[i];
		if (key_is(e, "queue") && span_equal(text_of(&e->value), span_text(queue)))
			return true;
	}
	return false;
}

static bool has_died_in(const amqp_field_value_t *deaths, const char *queue)
{
	if (deaths->kind != AMQP_FIELD_KIND_ARRAY)
		return false;
	for (int i = 0; i < deaths->value.array.num_entries; i++)
		if (names_queue(&deaths->value.array.entries[i], queue))
			return true;
	return false;
}

static void start_over(struct rabbitmq_message *m)
{
	m->attempt = 1;
	m->interruptions = 0;
	m->crashes = 0;
	m->expires_ms = 0;
	m->lost = 0;
}

/* Digits, as the broker has seen to. */
static uint64_t expiration_of(const amqp_basic_properties_t *properties)
{
	uint64_t ms = 0;
	struct span text = amqp_span_of(properties->expiration);
	if (!(properties->_flags & AMQP_BASIC_EXPIRATION_FLAG))
		return 0;
	for (size_t i = 0; i < text.len && ms < UINT32_MAX; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return 0;
		ms = ms * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	return ms;
}

struct rabbitmq_message rabbitmq_message_read(const amqp_basic_properties_t *properties,
					      const char *queue, bool redelivered)
{
	struct rabbitmq_message m = {
	    .attempt = 1,
	    .id = span_of("", 0),
	    .content_type = span_of("", 0),
	    .traceparent = span_of("", 0),
	    .checkpoint = span_of("", 0),
	};
	bool counted = false;
	bool was_dead = false;
	if (properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
		m.id = amqp_span_of(properties->message_id);
	if (properties->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
		m.content_type = amqp_span_of(properties->content_type);
	m.expiration_ms = expiration_of(properties);
	int n = properties->_flags & AMQP_BASIC_HEADERS_FLAG ? properties->headers.num_entries : 0;
	for (int i = 0; i < n; i++) {
		const amqp_table_entry_t *e = &properties->headers.entries[i];
		if (key_is(e, HEADER_ATTEMPT))
			(void)count_of(&e->value, &m.attempt); /* nonsense: as if it were absent */
		else if (key_is(e, HEADER_INTERRUPTIONS))
			(void)count_of(&e->value, &m.interruptions);
		else if (key_is(e, HEADER_CRASHES))
			(void)count_of(&e->value, &m.crashes);
		else if (key_is(e, HEADER_CHECKPOINT))
			m.checkpoint = text_of(&e->value);
		else if (key_is(e, HEADER_EXPIRES) && e->value.kind == AMQP_FIELD_KIND_I64)
			m.expires_ms = (uint64_t)e->value.value.i64;
		else if (key_is(e, HEADER_DEAD))
			was_dead = true;
		else if (key_is(e, "x-death"))
			was_dead |= has_died_in(&e->value, queue);
		else if (key_is(e, HEADER_LOST))
			(void)count_of(&e->value, &m.lost);
		else if (key_is(e, "x-delivery-count"))
			counted = count_of(&e->value, &m.returned);
		else if (key_is(e, "traceparent"))
			m.traceparent = text_of(&e->value);
	}
	if (m.attempt == 0 || was_dead)
		start_over(&m);
	m.interruptions += counted ? m.returned : redelivered;
	return m;
}

amqp_table_entry_t rabbitmq_text_entry(const char *key, struct span text)
{
	amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
	e.value.kind = AMQP_FIELD_KIND_UTF8;
	e.value.value.bytes = amqp_bytes_of(text);
	return e;
}

amqp_table_entry_t rabbitmq_number_entry(const char *key, int64_t number)
{
	amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
	e.value.kind = AMQP_FIELD_KIND_I64;
	e.value.value.i64 = number;
	return e;
}

/* Long strings are said to be UTF-8, and some clients insist. */
static amqp_table_entry_t bytes_entry(const char *key, struct span bytes)
{
	amqp_table_entry_t e = rabbitmq_text_entry(key, bytes);
	if (!text_is_utf8(bytes))
		e.value.kind = AMQP_FIELD_KIND_BYTES;
	return e;
}

static bool stays_behind(const amqp_table_entry_t *entry, enum rabbitmq_copy_for purpose)
{
	static const char *const always[] = {
	    HEADER_ATTEMPT, HEADER_INTERRUPTIONS, HEADER_CRASHES,     HEADER_CHECKPOINT,
	    HEADER_REASON,  HEADER_ERROR_CLASS,   HEADER_BACKTRACE,   HEADER_QUEUE,
	    HEADER_DEAD,    HEADER_EXPIRES,       HEADER_LOST,        "CC",
	    "BCC",          "x-delivery-count",   "x-acquired-count",
	};
	for (size_t i = 0; i < sizeof always / sizeof *always; i++)
		if (key_is(entry, always[i]))
			return true;
	return purpose == COPY_FOR_RETRY && key_is(entry, "x-death");
}

enum {
	OWN_HEADERS = 10,
	WORDY_BYTES =
	    64 *
	    1024, /* properties are one frame of 128 kB at most: with more there are no more words */
};

struct original { /* what a copy is made of */
	const struct job *job;
	enum rabbitmq_copy_for purpose;
	const char *queue;
	struct span checkpoint;
};

/* Returns how many headers that are. */
static int put_failure(const struct original *from, amqp_table_entry_t *to)
{
	const struct job *job = from->job;
	bool wordy = job->origin.len + from->checkpoint.len <= WORDY_BYTES;
	struct span reason = wordy ? job_reason(job) : span_text(job->outcome.reason);
	int n = 0;
	if (reason.len > 0)
		to[n++] = bytes_entry(HEADER_REASON, reason);
	if (job->failure == NULL || !wordy)
		return n;
	if (job->failure->class.len > 0)
		to[n++] = bytes_entry(HEADER_ERROR_CLASS, job->failure->class);
	if (job->failure->backtrace.len > 0)
		to[n++] = bytes_entry(HEADER_BACKTRACE, job->failure->backtrace);
	return n;
}

/* `pool` provides the memory, and with it the table's lifetime. */
static bool copy_headers(const struct original *from, amqp_pool_t *pool, amqp_table_t *headers)
{
	const struct job *job = from->job;
	size_t most = (size_t)headers->num_entries + OWN_HEADERS;
	amqp_table_entry_t *to = amqp_pool_alloc(pool, most * sizeof *to);
	if (to == NULL)
		return false;
	int n = 0;
	for (int i = 0; i < headers->num_entries; i++)
		if (!stays_behind(&headers->entries[i], from->purpose))
			to[n++] = headers->entries[i];
	to[n++] = rabbitmq_number_entry(HEADER_ATTEMPT, job->verdict.attempt);
	to[n++] = rabbitmq_number_entry(HEADER_INTERRUPTIONS, job->verdict.interruptions);
	to[n++] = rabbitmq_text_entry(HEADER_QUEUE, span_text(from->queue));
	if (job->expires_ms != 0 && from->purpose != COPY_FOR_DEAD)
		to[n++] = rabbitmq_number_entry(HEADER_EXPIRES, (int64_t)job->expires_ms);
	if (job->verdict.crashes > 0)
		to[n++] = rabbitmq_number_entry(HEADER_CRASHES, job->verdict.crashes);
	if (from->checkpoint.len > 0)
		to[n++] = bytes_entry(HEADER_CHECKPOINT, from->checkpoint);
	if (from->purpose == COPY_FOR_RETURN && job->lost > 0)
		to[n++] = rabbitmq_number_entry(HEADER_LOST, job->lost);
	if (from->purpose == COPY_FOR_DEAD)
		to[n++] = rabbitmq_number_entry(HEADER_DEAD, job->verdict.attempt);
	n += put_failure(from, &to[n]);
	*headers = (amqp_table_t){.num_entries = n, .entries = to};
	return true;
}

enum status rabbitmq_message_encode(const amqp_basic_properties_t *properties, size_t room,
				    struct span *ret_encoded, struct error *why)
{
	char *encoded = memory_take(room);
	if (encoded == NULL)
		return error_set(why, ST_NOMEM, "message properties: out of memory");
	amqp_bytes_t into = {.len = room, .bytes = encoded};
	int size = amqp_encode_properties(AMQP_BASIC_CLASS, (void *)(uintptr_t)properties, into);
	if (size < 0) {
		memory_free(encoded);
		return error_set(why, ST_INVALID, "message properties: %s",
				 amqp_error_string2(size));
	}
	*ret_encoded = span_of(encoded, (size_t)size);
	return ST_OK;
}

/* The names and lengths of our own headers take 250 bytes or so. */
static size_t room_for(const struct original *from)
{
	const struct failure *failure = from->job->failure;
	size_t words = sizeof from->job->outcome.reason;
	if (failure != NULL)
		words += failure->class.len + failure->message.len + failure->backtrace.len;
	return from->job->origin.len + from->checkpoint.len + strlen(from->job->id) +
	       strlen(from->queue) + words + 400;
}

static enum status copy_with(const struct original *from, amqp_pool_t *pool,
			     struct span *ret_encoded, struct error *why)
{
	void *decoded;
	const struct job *job = from->job;
	int err =
	    amqp_decode_properties(AMQP_BASIC_CLASS, pool, amqp_bytes_of(job->origin), &decoded);
	if (err < 0)
		return error_set(why, err == AMQP_STATUS_NO_MEMORY ? ST_NOMEM : ST_INVALID,
				 "message properties: %s", amqp_error_string2(err));
	amqp_basic_properties_t *p = decoded;
	if (!(p->_flags & AMQP_BASIC_HEADERS_FLAG))
		p->headers = (amqp_table_t){0};
	if (!copy_headers(from, pool, &p->headers))
		return error_set(why, ST_NOMEM, "message properties: out of memory");
	p->_flags &= ~(amqp_flags_t)AMQP_BASIC_USER_ID_FLAG;
	if (from->purpose != COPY_FOR_RETURN)
		p->_flags &= ~(amqp_flags_t)AMQP_BASIC_EXPIRATION_FLAG;
	p->_flags |=
	    AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG;
	p->delivery_mode = AMQP_DELIVERY_PERSISTENT;
	p->message_id = amqp_cstring_bytes(job->id);
	return rabbitmq_message_encode(p, room_for(from), ret_encoded, why);
}

enum status rabbitmq_message_copy(const struct job *job, enum rabbitmq_copy_for purpose,
				  const char *queue, struct span checkpoint,
				  struct span *ret_encoded, struct error *why)
{
	amqp_pool_t pool;
	struct original from = {job, purpose, queue, checkpoint};
	init_amqp_pool(&pool, 4096);
	enum status st = copy_with(&from, &pool, ret_encoded, why);
	empty_amqp_pool(&pool);
	return st;
}

/* --- the same message again --------------------------------------------------------------------- */

/* Headers that a broker writes into a message each time it gives it out again; in all others, x-death among
 * them, two deliveries of one message are alike. */
static const struct {
	const char *key, *since; /* since: for whoever reads this */
} counted_by_broker[] = {
    {"x-delivery-count", "3.8, quorum queues"},
    {"x-acquired-count", "4.3, quorum queues"},
};

static bool is_counted_by_broker(const amqp_table_entry_t *entry)
{
	for (size_t i = 0; i < sizeof counted_by_broker / sizeof *counted_by_broker; i++)
		if (key_is(entry, counted_by_broker[i].key))
			return true;
	return false;
}

static void leave_out_counts(amqp_basic_properties_t *p)
{
	if (!(p->_flags & AMQP_BASIC_HEADERS_FLAG))
		return;
	int n = 0;
	for (int i = 0; i < p->headers.num_entries; i++)
		if (!is_counted_by_broker(&p->headers.entries[i]))
			p->headers.entries[n++] = p->headers.entries[i];
	p->headers.num_entries = n;
	if (n == 0) /* there may have been none before it counted */
		p->_flags &= ~(amqp_flags_t)AMQP_BASIC_HEADERS_FLAG;
}

/* The rest, encoded. */
static enum status as_published(struct span encoded, struct span *ret_encoded)
{
	amqp_pool_t pool;
	void *decoded;
	init_amqp_pool(&pool, 4096);
	enum status st = ST_INVALID;
	if (amqp_decode_properties(AMQP_BASIC_CLASS, &pool, amqp_bytes_of(encoded), &decoded) >=
	    0) {
		leave_out_counts(decoded);
		st = rabbitmq_message_encode(decoded, encoded.len, ret_encoded, NULL);
	}
	empty_amqp_pool(&pool);
	return st;
}

bool rabbitmq_message_is_again(struct span first, struct span again)
{
	struct span a = {0}, b = {0};
	if (span_equal(first, again))
		return true;
	bool same = as_published(first, &a) == ST_OK && as_published(again, &b) == ST_OK &&
		    span_equal(a, b);
	memory_free((char *)a.ptr);
	memory_free((char *)b.ptr);
	return same;
}
