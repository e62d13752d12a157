/* Properties as other people's producers write them, and as our copies carry them on. */
#include "sources/rabbitmq/rabbitmq_message.h"

#include "base/memory.h"
#include "job/job.h"
#include "sources/rabbitmq/rabbitmq_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static amqp_table_entry_t text(const char *key, const char *value)
{
	return rabbitmq_text_entry(key, span_text(value));
}

static amqp_basic_properties_t with_headers(amqp_table_entry_t *entries, int n)
{
	return (amqp_basic_properties_t){
	    ._flags = AMQP_BASIC_HEADERS_FLAG,
	    .headers = {.num_entries = n, .entries = entries},
	};
}

/* --- reading ----------------------------------------------------------------------------------- */

static void test_a_bare_message_is_a_first_attempt(void **state)
{
	(void)state;
	amqp_basic_properties_t bare = {0};
	struct rabbitmq_message m = rabbitmq_message_read(&bare, "mail", false);
	assert_int_equal(m.attempt, 1);
	assert_int_equal(m.interruptions, 0);
	assert_int_equal(m.id.len, 0);
	assert_int_equal(m.content_type.len, 0);
	assert_int_equal(m.traceparent.len, 0);
}

/* What is not flagged is not there, whatever the struct holds. */
static void test_only_flagged_properties_count(void **state)
{
	(void)state;
	amqp_table_entry_t attempt = rabbitmq_number_entry("x-outfall-attempt", 7);
	amqp_basic_properties_t p = with_headers(&attempt, 1);
	p.message_id = amqp_cstring_bytes("m1");
	p._flags = AMQP_BASIC_CONTENT_TYPE_FLAG;
	p.content_type = amqp_cstring_bytes("text/plain");
	struct rabbitmq_message m = rabbitmq_message_read(&p, "mail", false);
	assert_int_equal(m.attempt, 1);
	assert_int_equal(m.id.len, 0);
	assert_true(span_equal(m.content_type, span_text("text/plain")));
}

static const struct count_case {
	int64_t attempt, interruptions, delivery_count; /* -1: no such header */
	bool redelivered;
	uint32_t want_attempt, want_interruptions;
} counts[] = {
    {-1,        -1, -1, false, 1, 0},
    {-1,        -1, -1, true,  1, 1}, /* a classic queue tells no more than that */
    {3,	 2,  -1, false, 3, 2},
    {3,	 2,  -1, true,  3, 3},
    {3,	 2,  4,  true,  3, 6}, /* a quorum queue counts, and knows better */
    {3,	 2,  0,  true,  3, 2},
    {0,	 0,  -1, false, 1, 0}, /* nonsense counts as absent */
    {INT64_MAX, -1, -1, false, 1, 0},
    {-5,        -1, -1, false, 1, 0},
};

static void test_attempts_and_interruptions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		const struct count_case *c = &counts[i];
		amqp_table_entry_t e[3];
		int n = 0;
		if (c->attempt != -1)
			e[n++] = rabbitmq_number_entry("x-outfall-attempt", c->attempt);
		if (c->interruptions != -1)
			e[n++] = rabbitmq_number_entry("x-outfall-interruptions", c->interruptions);
		if (c->delivery_count != -1)
			e[n++] = rabbitmq_number_entry("x-delivery-count", c->delivery_count);
		amqp_basic_properties_t p = with_headers(e, n);
		struct rabbitmq_message m = rabbitmq_message_read(&p, "mail", c->redelivered);
		assert_int_equal(m.attempt, c->want_attempt);
		assert_int_equal(m.interruptions, c->want_interruptions);
	}
}

static void test_headers_of_another_type_are_not_counts(void **state)
{
	(void)state;
	amqp_table_entry_t e[] = {text("x-outfall-attempt", "9"),
				  text("traceparent", "00-ab-cd-01")};
	amqp_basic_properties_t p = with_headers(e, 2);
	struct rabbitmq_message m = rabbitmq_message_read(&p, "mail", false);
	assert_int_equal(m.attempt, 1);
	assert_true(span_equal(m.traceparent, span_text("00-ab-cd-01")));
}

static amqp_table_entry_t death(const char *queue, amqp_table_entry_t *fields,
				amqp_field_value_t *table)
{
	fields[0] = rabbitmq_number_entry("count", 1);
	fields[1] = text("queue", queue);
	*table = (amqp_field_value_t){
	    .kind = AMQP_FIELD_KIND_TABLE, .value.table = {.num_entries = 2, .entries = fields}
        };
	amqp_table_entry_t e = {.key = amqp_cstring_bytes("x-death")};
	e.value.kind = AMQP_FIELD_KIND_ARRAY;
	e.value.value.array = (amqp_array_t){.num_entries = 1, .entries = table};
	return e;
}

/* Moved back by whatever means, with all of its headers. */
static void test_what_was_dead_starts_over(void **state)
{
	(void)state;
	static const struct {
		bool marked;
		const char *died_in; /* NULL: nowhere */
		uint32_t want_attempt;
	} rows[] = {
	    {false, NULL,              3},
	    {true,  NULL,              1},
	    {false, "mail",            1},
	    {false, "mail.retry.5000", 3}, /* the way of every retry */
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		amqp_table_entry_t fields[2], e[5] = {
						  rabbitmq_number_entry("x-outfall-attempt", 3),
						  rabbitmq_number_entry("x-outfall-crashes", 2),
						  text("x-outfall-checkpoint", "page-3"),
					      };
		amqp_field_value_t table;
		int n = 3;
		if (rows[i].marked)
			e[n++] = rabbitmq_number_entry("x-outfall-dead", 3);
		if (rows[i].died_in != NULL)
			e[n++] = death(rows[i].died_in, fields, &table);
		amqp_basic_properties_t p = with_headers(e, n);
		struct rabbitmq_message m = rabbitmq_message_read(&p, "mail", true);
		bool over = rows[i].want_attempt == 1;
		assert_int_equal(m.attempt, rows[i].want_attempt);
		assert_int_equal(m.crashes, over ? 0 : 2);
		assert_int_equal(m.interruptions, 1);
		assert_true(span_equal(m.checkpoint, span_text("page-3")));
	}
}

/* --- copying ----------------------------------------------------------------------------------- */

static struct job *job_from(const amqp_basic_properties_t *came_with, const char *id)
{
	struct span origin;
	assert_int_equal(rabbitmq_message_encode(came_with, 80000, &origin, NULL), ST_OK);
	struct job *job =
	    job_create(&(struct job_facts){.attempt = 1, .id = span_text(id), .origin = origin});
	assert_non_null(job);
	memory_free((char *)(uintptr_t)origin.ptr);
	job->verdict = (struct verdict){.attempt = 2, .interruptions = 5};
	return job;
}

struct copied {
	struct span encoded;
	amqp_pool_t pool;
	const amqp_basic_properties_t *properties;
};

static void copy_with(struct copied *c, const struct job *job, enum rabbitmq_copy_for purpose,
		      struct span checkpoint)
{
	void *decoded;
	struct error why;
	assert_int_equal(rabbitmq_message_copy(job, purpose, "mail", checkpoint, &c->encoded, &why),
			 ST_OK);
	init_amqp_pool(&c->pool, 4096);
	assert_true(amqp_decode_properties(AMQP_BASIC_CLASS, &c->pool, amqp_bytes_of(c->encoded),
					   &decoded) >= 0);
	c->properties = decoded;
}

static void copy(struct copied *c, const struct job *job, enum rabbitmq_copy_for purpose)
{
	copy_with(c, job, purpose, job_next_checkpoint(job));
}

static void drop(struct copied *c)
{
	empty_amqp_pool(&c->pool);
	memory_free((char *)(uintptr_t)c->encoded.ptr);
}

static const amqp_field_value_t *header(const struct copied *c, const char *key)
{
	const amqp_field_value_t *found = NULL;
	for (int i = 0; i < c->properties->headers.num_entries; i++) {
		const amqp_table_entry_t *e = &c->properties->headers.entries[i];
		if (!span_equal(amqp_span_of(e->key), span_text(key)))
			continue;
		assert_null(found); /* never twice */
		found = &e->value;
	}
	return found;
}

static void assert_header_text(const struct copied *c, const char *key, const char *value)
{
	const amqp_field_value_t *v = header(c, key);
	assert_non_null(v);
	assert_true(span_equal(amqp_span_of(v->value.bytes), span_text(value)));
}

static void test_a_copy_of_a_bare_message(void **state)
{
	(void)state;
	amqp_basic_properties_t bare = {0};
	struct job *job = job_from(&bare, "made-up-1");
	struct copied c;
	copy(&c, job, COPY_FOR_RETRY);
	assert_int_equal(header(&c, "x-outfall-attempt")->value.i64, 2);
	assert_int_equal(header(&c, "x-outfall-interruptions")->value.i64, 5);
	assert_header_text(&c, "x-outfall-queue", "mail");
	assert_null(header(&c, "x-outfall-reason"));
	assert_int_equal(c.properties->delivery_mode, AMQP_DELIVERY_PERSISTENT);
	assert_true(span_equal(amqp_span_of(c.properties->message_id), span_text("made-up-1")));
	drop(&c);
	job_destroy(job);
}

static amqp_basic_properties_t everything(amqp_table_entry_t *headers, int n)
{
	amqp_basic_properties_t p = with_headers(headers, n);
	p._flags |= AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
		    AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_EXPIRATION_FLAG |
		    AMQP_BASIC_USER_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG |
		    AMQP_BASIC_DELIVERY_MODE_FLAG;
	p.content_type = amqp_cstring_bytes("application/json");
	p.correlation_id = amqp_cstring_bytes("c1");
	p.priority = 9;
	p.expiration = amqp_cstring_bytes("100");
	p.user_id = amqp_cstring_bytes("somebody");
	p.timestamp = 12345;
	p.delivery_mode = 1;
	return p;
}

/* All of it, of the last run; and none where the properties are large enough without it. */
static void test_why_it_failed_goes_along(void **state)
{
	(void)state;
	static char large[66000];
	memset(large, 'x', sizeof large);
	struct failure said = {span_text("ValueError"), span_text("402 from the provider"),
			       span_text("a.py:1\nb.py:2")};
	for (int wordy = 0; wordy < 2; wordy++) {
		amqp_table_entry_t h[] = {
		    text("x-outfall-error-class", "KeyError"),
		    text("x-outfall-backtrace", "old"),
		    rabbitmq_text_entry("large", span_of(large, wordy ? 5 : sizeof large)),
		};
		amqp_basic_properties_t p = with_headers(h, sizeof h / sizeof *h);
		struct job *job = job_from(&p, "m1");
		(void)snprintf(job->outcome.reason, sizeof job->outcome.reason, "402");
		job_explain(job, &said);
		struct copied c;
		copy(&c, job, COPY_FOR_DEAD);
		assert_header_text(&c, "x-outfall-reason", wordy ? "402 from the provider" : "402");
		if (wordy) {
			assert_header_text(&c, "x-outfall-error-class", "ValueError");
			assert_header_text(&c, "x-outfall-backtrace", "a.py:1\nb.py:2");
		} else {
			assert_null(header(&c, "x-outfall-error-class"));
			assert_null(header(&c, "x-outfall-backtrace"));
		}
		drop(&c);
		job_destroy(job);
	}
}

static void test_a_copy_keeps_what_does_not_change_its_way(void **state)
{
	(void)state;
	amqp_table_entry_t h[] = {
	    text("customer", "42"),
	    text("CC", "elsewhere"),
	    text("BCC", "elsewhere"),
	    rabbitmq_number_entry("x-outfall-attempt", 1),
	    text("x-outfall-reason", "old"),
	    rabbitmq_number_entry("x-delivery-count", 3),
	    text("x-death", "of old age"),
	    rabbitmq_number_entry("x-outfall-dead", 9),
	    rabbitmq_number_entry("x-acquired-count", 3),
	};
	amqp_basic_properties_t p = everything(h, sizeof h / sizeof *h);
	struct job *job = job_from(&p, "m1");
	(void)snprintf(job->outcome.reason, sizeof job->outcome.reason, "new");
	struct copied c;
	copy(&c, job, COPY_FOR_RETRY);
	assert_header_text(&c, "customer", "42");
	assert_header_text(&c, "x-outfall-reason", "new");
	assert_int_equal(header(&c, "x-outfall-attempt")->value.i64, 2);
	assert_null(header(&c, "CC"));
	assert_null(header(&c, "BCC"));
	assert_null(header(&c, "x-delivery-count"));
	assert_null(header(&c, "x-death"));
	assert_null(header(&c, "x-outfall-dead"));
	assert_null(header(&c, "x-acquired-count"));
	assert_false(c.properties->_flags & AMQP_BASIC_EXPIRATION_FLAG);
	assert_false(c.properties->_flags & AMQP_BASIC_USER_ID_FLAG);
	assert_true(
	    span_equal(amqp_span_of(c.properties->content_type), span_text("application/json")));
	assert_true(span_equal(amqp_span_of(c.properties->correlation_id), span_text("c1")));
	assert_int_equal(c.properties->priority, 9);
	assert_int_equal(c.properties->timestamp, 12345);
	assert_int_equal(c.properties->delivery_mode, AMQP_DELIVERY_PERSISTENT);
	drop(&c);
	copy(&c, job, COPY_FOR_DEAD);
	assert_header_text(&c, "x-death", "of old age");
	assert_int_equal(header(&c, "x-outfall-dead")->value.i64, 2);
	drop(&c);
	copy(&c, job, COPY_FOR_RETURN); /* what a requeued message would keep */
	assert_header_text(&c, "x-death", "of old age");
	assert_true(c.properties->_flags & AMQP_BASIC_EXPIRATION_FLAG);
	assert_false(c.properties->_flags & AMQP_BASIC_USER_ID_FLAG);
	assert_null(header(&c, "CC"));
	assert_null(header(&c, "x-delivery-count"));
	drop(&c);
	job_destroy(job);
}

static void test_what_is_left_of_an_expiration_travels(void **state)
{
	(void)state;
	amqp_table_entry_t h[] = {rabbitmq_number_entry("x-outfall-expires", 1796000461000)};
	amqp_basic_properties_t p = with_headers(h, 1);
	assert_int_equal(rabbitmq_message_read(&p, "mail", false).expires_ms, 1796000461000);
	assert_int_equal(rabbitmq_message_read(&p, "mail", false).expiration_ms, 0);
	p._flags |= AMQP_BASIC_EXPIRATION_FLAG;
	p.expiration = amqp_cstring_bytes("60000");
	assert_int_equal(rabbitmq_message_read(&p, "mail", false).expiration_ms, 60000);
	p.expiration = amqp_cstring_bytes("6e4");
	assert_int_equal(rabbitmq_message_read(&p, "mail", false).expiration_ms, 0);
	struct job *job = job_from(&p, "m1");
	struct copied c;
	job->expires_ms = 1796000462000;
	copy(&c, job, COPY_FOR_RETRY);
	assert_int_equal(header(&c, "x-outfall-expires")->value.i64, 1796000462000);
	assert_false(c.properties->_flags & AMQP_BASIC_EXPIRATION_FLAG);
	drop(&c);
	copy(&c, job, COPY_FOR_DEAD); /* whoever moves it back wants it to run */
	assert_null(header(&c, "x-outfall-expires"));
	drop(&c);
	job_destroy(job);
}

static const struct {
	const char *came_with, *left; /* NULL: nothing; left "": it forgets */
	const char *want;
} checkpoints[] = {
    {NULL,  NULL,  NULL },
    {NULL,  "new", "new"},
    {"old", NULL,  "old"},
    {"old", "new", "new"},
    {"old", "",    NULL },
    {NULL,  "",    NULL },
};

static void test_checkpoints_and_crashes_travel(void **state)
{
	(void)state;
	static const enum rabbitmq_copy_for purposes[] = {COPY_FOR_RETRY, COPY_FOR_DEAD,
							  COPY_FOR_RETURN};
	size_t n = sizeof checkpoints / sizeof *checkpoints;
	for (size_t i = 0; i < 3 * n; i++) {
		const char *came_with = checkpoints[i / 3].came_with,
			   *left = checkpoints[i / 3].left;
		const char *want = checkpoints[i / 3].want;
		amqp_table_entry_t h[] = {rabbitmq_number_entry("x-outfall-crashes", 1),
					  text("x-outfall-checkpoint", came_with ? came_with : "")};
		amqp_basic_properties_t p = with_headers(h, came_with ? 2 : 1);
		struct job *job = job_from(&p, "m1");
		assert_true(span_equal(rabbitmq_message_read(&p, "mail", false).checkpoint,
				       span_text(came_with)));
		assert_int_equal(rabbitmq_message_read(&p, "mail", false).crashes, 1);
		job->checkpoint = span_text(came_with); /* as make_job() would have it */
		if (left != NULL)
			job_leave_checkpoint(job, span_text(left));
		job->verdict.crashes = i % 2 == 0 ? 2 : 0;
		struct copied c;
		copy(&c, job, purposes[i % 3]);
		if (want != NULL)
			assert_header_text(&c, "x-outfall-checkpoint", want);
		else
			assert_null(header(&c, "x-outfall-checkpoint"));
		if (i % 2 == 0)
			assert_int_equal(header(&c, "x-outfall-crashes")->value.i64, 2);
		else
			assert_null(header(&c, "x-outfall-crashes"));
		drop(&c);
		job_destroy(job);
	}
}

static void test_a_checkpoint_may_be_any_bytes(void **state)
{
	(void)state;
	static char large[96 * 1024];
	memset(large, 0xff, sizeof large);
	amqp_basic_properties_t bare = {0};
	struct job *job = job_from(&bare, "m1");
	struct copied c;
	copy_with(&c, job, COPY_FOR_RETURN, span_of(large, sizeof large));
	const amqp_field_value_t *value = header(&c, "x-outfall-checkpoint");
	assert_int_equal(value->kind, AMQP_FIELD_KIND_BYTES);
	struct span read = rabbitmq_message_read(c.properties, "mail", false).checkpoint;
	assert_true(span_equal(read, span_of(large, sizeof large)));
	drop(&c);
	copy_with(&c, job, COPY_FOR_RETURN, span_text("{\"page\":3}"));
	assert_int_equal(header(&c, "x-outfall-checkpoint")->kind, AMQP_FIELD_KIND_UTF8);
	drop(&c);
	job_destroy(job);
}

static void test_every_failed_allocation_is_reported(void **state)
{
	(void)state;
	amqp_basic_properties_t bare = {0};
	struct job *job = job_from(&bare, "m1");
	struct span untouched = span_of("before", 6), encoded = untouched;
	(void)memory_fail_at(1);
	assert_int_equal(
	    rabbitmq_message_copy(job, COPY_FOR_DEAD, "mail", span_of("c", 1), &encoded, NULL),
	    ST_NOMEM);
	(void)memory_fail_at(0);
	assert_ptr_equal(encoded.ptr, untouched.ptr);
	job_destroy(job);
}

/* --- retry queues ------------------------------------------------------------------------------ */

/* So a handler's own delays make some tens of queues, and none of them is shorter than it asked. */
static void test_a_handlers_own_delays_are_few(void **state)
{
	(void)state;
	static const struct {
		uint64_t asked_ms, expected_ms;
	} rows[] = {
	    {1,             1            },
	    {99,            99           },
	    {100,           100          },
	    {101,           110          },
	    {995,           1000         },
	    {30000,         30000        },
	    {30001,         31000        },
	    {99999,         100000       },
	    {3600000,       3600000      },
	    {3600001,       3700000      },
	    {RETRY_MOST_MS, RETRY_MOST_MS},
	    {UINT64_MAX,    RETRY_MOST_MS},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(rabbitmq_retry_delay_ms(rows[i].asked_ms), rows[i].expected_ms);
}

static void test_retry_queues_are_named_after_queue_delay_and_week(void **state)
{
	(void)state;
	char name[RABBITMQ_NAME_ROOM], other[RABBITMQ_NAME_ROOM], queue[256];
	struct retry_queue it = {.of = "mail", .delay_ms = 5000, .kind = RETRY_QUEUE_QUORUM};
	it.week = rabbitmq_retry_week(1796000461); /* a Monday, 30 November 2026 */
	rabbitmq_retry_queue_name(name, &it);
	assert_string_equal(name, "mail.retry.5000.2026-11-26");
	it.kind = RETRY_QUEUE_CLASSIC; /* of the same week when a broker learns more */
	rabbitmq_retry_queue_name(name, &it);
	assert_string_equal(name, "mail.retry.5000.2026-11-26.classic");
	memset(queue, 'q', sizeof queue);
	queue[255] = '\0'; /* the longest that the protocol allows */
	it = (struct retry_queue){.of = queue, .delay_ms = RETRY_MOST_MS, .week = it.week};
	rabbitmq_retry_queue_name(name, &it);
	assert_true(strlen(name) <= 255);
	queue[254] = 'r';
	rabbitmq_retry_queue_name(other, &it);
	assert_string_not_equal(name, other); /* cut, but told apart */
}

static void test_a_week_begins_with_thursday(void **state)
{
	(void)state;
	static const time_t thursday = 1795651200; /* 26 November 2026, 00:00 UTC */
	assert_int_equal(rabbitmq_retry_week(thursday) - rabbitmq_retry_week(thursday - 1), 1);
	assert_int_equal(rabbitmq_retry_week(thursday + 7 * 86400 - 1),
			 rabbitmq_retry_week(thursday));
}

/* --- the same message again --------------------------------------------------------------------- */

static struct span encode(const amqp_basic_properties_t *p)
{
	struct span encoded;
	struct error why;
	assert_int_equal(rabbitmq_message_encode(p, 512, &encoded, &why), ST_OK);
	return encoded;
}

/* One letter for each header. */
static int headers_of(const char *letters, amqp_table_entry_t *e)
{
	int n = 0;
	for (const char *c = letters; *c != '\0'; c++) {
		switch (*c) {
		case 't':
			e[n++] = text("task", "charge");
			break;
		case 'o':
			e[n++] = text("task", "cleanup");
			break;
		case 'x':
			e[n++] = text("x-death", "emails");
			break;
		case 'd':
			e[n++] = rabbitmq_number_entry("x-delivery-count", 2);
			break;
		case 'a':
			e[n++] = rabbitmq_number_entry("x-acquired-count", 3);
			break;
		case 'n':
			e[n++] = rabbitmq_number_entry("x-outfall-attempt", 2);
			break;
		default:
			fail();
		}
	}
	return n;
}

/* What a broker counts does not tell two deliveries apart; anything else does. */
static void test_two_deliveries_of_one_message(void **state)
{
	(void)state;
	static const struct {
		const char *first, *again;
		bool same;
	} rows[] = {
	    {"t",  "t",   true },
            {"t",  "td",  true },
            {"td", "atd", true },
            {"",   "d",   true },
	    {"t",  "o",   false},
            {"t",  "",    false},
            {"t",  "tx",  false},
            {"t",  "tn",  false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		amqp_table_entry_t e[2][4];
		amqp_basic_properties_t p = with_headers(e[0], headers_of(rows[i].first, e[0]));
		amqp_basic_properties_t q = with_headers(e[1], headers_of(rows[i].again, e[1]));
		if (rows[i].first[0] == '\0')
			p._flags = 0;
		struct span first = encode(&p), again = encode(&q);
		if (rabbitmq_message_is_again(first, again) != rows[i].same)
			fail_msg("row %zu", i);
		q._flags |= AMQP_BASIC_TYPE_FLAG;
		q.type = amqp_cstring_bytes("t");
		struct span typed = encode(&q);
		assert_false(rabbitmq_message_is_again(first, typed));
		memory_free((char *)first.ptr);
		memory_free((char *)again.ptr);
		memory_free((char *)typed.ptr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_two_deliveries_of_one_message),
	    cmocka_unit_test(test_a_bare_message_is_a_first_attempt),
	    cmocka_unit_test(test_what_is_left_of_an_expiration_travels),
	    cmocka_unit_test(test_only_flagged_properties_count),
	    cmocka_unit_test(test_attempts_and_interruptions),
	    cmocka_unit_test(test_headers_of_another_type_are_not_counts),
	    cmocka_unit_test(test_what_was_dead_starts_over),
	    cmocka_unit_test(test_a_copy_of_a_bare_message),
	    cmocka_unit_test(test_why_it_failed_goes_along),
	    cmocka_unit_test(test_a_copy_keeps_what_does_not_change_its_way),
	    cmocka_unit_test(test_checkpoints_and_crashes_travel),
	    cmocka_unit_test(test_a_checkpoint_may_be_any_bytes),
	    cmocka_unit_test(test_every_failed_allocation_is_reported),
	    cmocka_unit_test(test_a_handlers_own_delays_are_few),
	    cmocka_unit_test(test_retry_queues_are_named_after_queue_delay_and_week),
	    cmocka_unit_test(test_a_week_begins_with_thursday),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
