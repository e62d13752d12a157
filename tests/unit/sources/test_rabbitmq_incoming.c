/* Messages in pieces, as a channel brings them, and what becomes of them. */
#include "sources/rabbitmq/rabbitmq_incoming.h"

#include "base/log.h"
#include "job/job.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "sources/source.h"
#include "wire/amqp.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t next_serial(struct source_host *host)
{
	(void)host;
	return 7;
}

static struct source_host host = {.next_serial = next_serial, .run = 0xabc};
static const struct source source = {.host = &host, .name = "mq"};
static const struct worker_settings worker = {.name = "w1", .max_body_bytes = 8};
static const struct queue_settings queue = {.name = "emails"};
static const amqp_basic_properties_t no_properties;

struct bench {
	int fd;
	struct log *log;
	struct rabbitmq_incoming *in;
};

static int set_up(void **state)
{
	static struct bench bench;
	bench.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bench.log = log_create(bench.fd, LOG_INFO, LOG_TEXT);
	bench.in = rabbitmq_incoming_create(bench.log, &source, &worker, &queue);
	*state = &bench;
	return bench.in == NULL;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	rabbitmq_incoming_destroy(bench->in);
	log_destroy(bench->log);
	(void)close(bench->fd);
	return 0;
}

static enum incoming_step header(struct rabbitmq_incoming *in, uint64_t bytes, struct job **ret_job)
{
	struct amqp_header it = {.properties = &no_properties, .body_bytes = bytes};
	return rabbitmq_incoming_header(in, NULL, &it, ret_job);
}

static enum incoming_step body(struct rabbitmq_incoming *in, const char *text, struct job **ret_job)
{
	return rabbitmq_incoming_body(in, span_text(text), ret_job);
}

static void test_a_body_comes_in_pieces(void **state)
{
	struct rabbitmq_incoming *in = ((struct bench *)*state)->in;
	struct job *job = NULL;
	rabbitmq_incoming_begin(in, 3, true);
	assert_false(rabbitmq_incoming_is_idle(in));
	assert_int_equal(header(in, 5, &job), INCOMING_MORE);
	assert_int_equal(body(in, "ab", &job), INCOMING_MORE);
	assert_null(job);
	assert_int_equal(body(in, "cde", &job), INCOMING_WHOLE);
	assert_true(rabbitmq_incoming_is_idle(in));
	assert_true(span_equal(job->body, span_text("abcde")));
	assert_int_equal(job->source_tag, 3);
	assert_true(job->redelivered);
	assert_string_equal(job->id, "w1-00000abc-7"); /* it came without one */
	job_destroy(job);
}

static void test_an_empty_body_needs_none(void **state)
{
	struct rabbitmq_incoming *in = ((struct bench *)*state)->in;
	struct job *job = NULL;
	for (int i = 0; i < 2; i++) { /* and the next one may begin */
		rabbitmq_incoming_begin(in, 1, false);
		assert_int_equal(header(in, 0, &job), INCOMING_WHOLE);
		job_destroy(job);
	}
}

static void test_what_is_not_due_is_out_of_step(void **state)
{
	struct rabbitmq_incoming *in = ((struct bench *)*state)->in;
	struct job *job = NULL;
	assert_int_equal(header(in, 1, &job), INCOMING_OUT_OF_STEP);
	assert_int_equal(body(in, "a", &job), INCOMING_OUT_OF_STEP);
	rabbitmq_incoming_begin(in, 1, false);
	assert_int_equal(body(in, "a", &job), INCOMING_OUT_OF_STEP);
	assert_int_equal(header(in, 2, &job), INCOMING_MORE);
	assert_int_equal(header(in, 2, &job), INCOMING_OUT_OF_STEP);
	assert_int_equal(body(in, "abc", &job), INCOMING_OUT_OF_STEP);
	assert_null(job);
}

static void test_an_unfit_one_is_read_past(void **state)
{
	struct rabbitmq_incoming *in = ((struct bench *)*state)->in;
	struct amqp_header nested = {.properties = NULL, .body_bytes = 0};
	struct job *job = NULL;
	rabbitmq_incoming_begin(in, 1, false);
	assert_int_equal(header(in, 9, &job), INCOMING_UNFIT);
	assert_int_equal(rabbitmq_incoming_tag(in), 1);
	assert_int_equal(body(in, "12345", &job), INCOMING_MORE);
	assert_false(rabbitmq_incoming_is_idle(in));
	assert_int_equal(body(in, "6789", &job), INCOMING_MORE);
	assert_true(rabbitmq_incoming_is_idle(in));

	rabbitmq_incoming_begin(in, 2, false);
	assert_int_equal(rabbitmq_incoming_header(in, NULL, &nested, &job), INCOMING_UNFIT);
	assert_true(rabbitmq_incoming_is_idle(in));
	assert_int_equal(rabbitmq_incoming_tag(in), 2);
	assert_null(job);
}

/* Where there is a dead letter queue it is for the caller to pass on; its rest is read past here. */
static void test_one_too_large_passes_by(void **state)
{
	struct bench *bench = *state;
	static const struct queue_settings with_dead = {.name = "emails", .dead = "emails.dead"};
	struct rabbitmq_incoming *in =
	    rabbitmq_incoming_create(bench->log, &source, &worker, &with_dead);
	struct amqp_header nested = {.properties = NULL, .body_bytes = 9};
	struct job *job = NULL;
	rabbitmq_incoming_begin(in, 5, false);
	assert_int_equal(header(in, 9, &job), INCOMING_TOO_LARGE);
	assert_int_equal(job->source_tag, 5);
	assert_true(job->passes_by);
	assert_int_equal(job->body.len, 0);
	job_destroy(job);
	job = NULL;
	assert_int_equal(body(in, "12345678", &job), INCOMING_MORE);
	assert_false(rabbitmq_incoming_is_idle(in));
	assert_int_equal(body(in, "9", &job), INCOMING_MORE);
	assert_true(rabbitmq_incoming_is_idle(in));

	rabbitmq_incoming_begin(in, 6, false); /* no copy without its headers */
	assert_int_equal(rabbitmq_incoming_header(in, NULL, &nested, &job), INCOMING_UNFIT);
	assert_int_equal(body(in, "123456789", &job), INCOMING_MORE);
	rabbitmq_incoming_begin(in, 7, false);
	rabbitmq_incoming_skip(in);
	assert_int_equal(header(in, 9, &job), INCOMING_MORE);
	assert_null(job);
	rabbitmq_incoming_destroy(in);
}

/* At any point: before its header, before its body, within it. */
static void test_a_skipped_one_is_read_past(void **state)
{
	struct rabbitmq_incoming *in = ((struct bench *)*state)->in;
	struct job *job = NULL;
	rabbitmq_incoming_skip(in); /* none is coming */
	for (int at = 0; at < 3; at++) {
		rabbitmq_incoming_begin(in, 1, false);
		if (at == 0)
			rabbitmq_incoming_skip(in);
		assert_int_equal(header(in, 4, &job), INCOMING_MORE);
		if (at == 1)
			rabbitmq_incoming_skip(in);
		assert_int_equal(body(in, "ab", &job), INCOMING_MORE);
		if (at == 2)
			rabbitmq_incoming_skip(in);
		assert_int_equal(body(in, "cd", &job), INCOMING_MORE);
		assert_true(rabbitmq_incoming_is_idle(in));
	}
	rabbitmq_incoming_begin(in, 1, false);
	rabbitmq_incoming_skip(in);
	assert_int_equal(header(in, 0, &job), INCOMING_MORE);
	assert_true(rabbitmq_incoming_is_idle(in));
	rabbitmq_incoming_begin(in, 2, false); /* the next one counts again */
	assert_int_equal(header(in, 0, &job), INCOMING_WHOLE);
	job_destroy(job);
}

static void test_a_dropped_one_leaves_room_for_the_next(void **state)
{
	struct rabbitmq_incoming *in = ((struct bench *)*state)->in;
	struct job *job = NULL;
	rabbitmq_incoming_begin(in, 1, false);
	assert_int_equal(header(in, 4, &job), INCOMING_MORE);
	assert_int_equal(body(in, "ab", &job), INCOMING_MORE);
	rabbitmq_incoming_drop(in);
	assert_true(rabbitmq_incoming_is_idle(in));
	rabbitmq_incoming_begin(in, 1, false);
	assert_int_equal(header(in, 2, &job), INCOMING_MORE);
	assert_int_equal(body(in, "xy", &job), INCOMING_WHOLE);
	assert_true(span_equal(job->body, span_text("xy")));
	job_destroy(job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_body_comes_in_pieces, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_an_empty_body_needs_none, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_what_is_not_due_is_out_of_step, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_an_unfit_one_is_read_past, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_one_too_large_passes_by, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_skipped_one_is_read_past, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_dropped_one_leaves_room_for_the_next, set_up,
					    tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
