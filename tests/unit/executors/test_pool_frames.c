/* pool_frames: what child_told.h writes is read back the same, in whatever pieces it arrives. */
#include "fake_host.h"

#include "executors/child/child_told.h"
#include "executors/pool/pool_frames.h"

enum { MOST = 8 };

struct seen {
	struct pool_reader reader;
	struct pool_frames frames;
	struct job *jobs[MOST];
	unsigned n_jobs, without_memory;
	uint64_t remaining_ms;
	char cancelled[64];
};

static struct seen *seen_of(struct pool_reader *reader)
{
	return list_entry(reader, struct seen, reader);
}

static void see_job(struct pool_reader *reader, struct job **job)
{
	struct seen *seen = seen_of(reader);
	assert_true(seen->n_jobs < MOST);
	seen->jobs[seen->n_jobs++] = *job;
	*job = NULL;
}

static void see_no_memory(struct pool_reader *reader, struct span id)
{
	assert_true(span_equal(id, span_text("job-1")));
	seen_of(reader)->without_memory++;
}

static void see_drain(struct pool_reader *reader, uint64_t remaining_ms)
{
	seen_of(reader)->remaining_ms = remaining_ms;
}

static void see_cancel(struct pool_reader *reader, struct span id)
{
	struct seen *seen = seen_of(reader);
	(void)snprintf(seen->cancelled, sizeof seen->cancelled, "%.*s", (int)id.len, id.ptr);
}

static void begin(struct seen *seen)
{
	*seen = (struct seen){
	    .reader = {.job = see_job,
		       .no_memory = see_no_memory,
		       .drain = see_drain,
		       .cancel = see_cancel}
        };
	pool_frames_init(&seen->frames, &seen->reader);
}

static void end(struct seen *seen)
{
	for (unsigned i = 0; i < seen->n_jobs; i++)
		job_destroy(seen->jobs[i]);
	pool_frames_fini(&seen->frames);
}

static void feed(struct seen *seen, struct span bytes, size_t piece)
{
	for (size_t at = 0; at < bytes.len; at += piece) {
		struct error why;
		size_t len = bytes.len - at < piece ? bytes.len - at : piece;
		/* A copy of its own, so that a sanitizer sees who reads beyond it. */
		char *copy = malloc(len);
		assert_non_null(copy);
		memcpy(copy, bytes.ptr + at, len);
		if (pool_frames_feed(&seen->frames, span_of(copy, len), &why) != ST_OK)
			fail_msg("%s", why.text);
		free(copy);
	}
}

static void write_job(struct text *text, struct fake_host *fake, struct span body,
		      struct span checkpoint)
{
	struct job *job = fake_job(fake, body.ptr, body.len);
	job->attempt = 3;
	job->interruptions = 2;
	job->crashes = 1;
	job->redelivered = true;
	job->checkpoint = checkpoint;
	child_told_job(text, job, 5000);
	text_put(text, body);
	job_destroy(job);
}

static void check_job(const struct job *job, const char *id, struct span body,
		      struct span checkpoint)
{
	assert_string_equal(job->id, id);
	assert_string_equal(job->route->source_name, "main");
	assert_string_equal(job->route->name, "emails");
	assert_string_equal(job->content_type, "text/plain");
	assert_string_equal(job->traceparent, "");
	assert_int_equal(job->attempt, 3);
	assert_int_equal(job->interruptions, 2);
	assert_int_equal(job->crashes, 1);
	assert_true(job->redelivered);
	assert_true(span_equal(job->body, body));
	assert_true(span_equal(job->checkpoint, checkpoint));
}

static void what_is_written_is_read_in_any_pieces(void **state)
{
	(void)state;
	const struct span bodies[] = {
	    {"{\"type\":\"job\"}\n\n\0x", 18},
            {"",                          0 },
            {"\n",                        1 }
        };
	const struct span checkpoints[] = {
	    {"page 7",   6},
            {"\0\xff\n", 3},
            {"",         0}
        };
	struct fake_host fake;
	struct text text = {0};
	fake_host_open(&fake);
	for (int i = 0; i < 3; i++)
		write_job(&text, &fake, bodies[i], checkpoints[i]);
	struct job *last = fake_job(&fake, NULL, 0);
	child_told_drain(&text, 25000);
	child_told_cancel(&text, last);
	job_destroy(last);
	for (size_t piece = 1; piece <= text.len; piece++) {
		struct seen seen;
		begin(&seen);
		feed(&seen, text_span(&text), piece);
		assert_int_equal(seen.n_jobs, 3);
		check_job(seen.jobs[0], "job-1", bodies[0], checkpoints[0]);
		check_job(seen.jobs[1], "job-2", bodies[1], checkpoints[1]);
		check_job(seen.jobs[2], "job-3", bodies[2], checkpoints[2]);
		assert_ptr_equal(seen.jobs[0]->route, seen.jobs[2]->route);
		assert_int_equal(seen.remaining_ms, 25000);
		assert_string_equal(seen.cancelled, "job-4");
		end(&seen);
	}
	text_clear(&text);
	child_told_drain(&text, UINT64_MAX);
	struct seen seen;
	begin(&seen);
	feed(&seen, text_span(&text), text.len);
	assert_true(seen.remaining_ms == UINT64_MAX);
	end(&seen);
	text_fini(&text);
	fake_host_close(&fake);
}

/* The quick way to read a line and the thorough one agree; which one it is shows in nothing. */
static void each_way_to_write_a_job_is_read(void **state)
{
	(void)state;
#define HEAD                                                                                       \
	"{\"type\":\"job\",\"id\":\"a\",\"source\":\"s\",\"queue\":\"q\",\"attempt\":4294967295,"
#define TAIL "\"interruptions\":2,\"crashes\":0,\"redelivered\":false,\"timeout_ms\":0"
	static const struct {
		const char *line, *id, *content_type, *traceparent;
	} rows[] = {
  /* clang-format off */
		{HEAD TAIL ",\"bytes\":2}\n", "a", "", ""},
		{HEAD TAIL ",\"content_type\":\"text/x\",\"traceparent\":\"00-1\",\"bytes\":2}\n", "a", "text/x", "00-1"},
		{HEAD TAIL ",\"traceparent\":\"00-1\",\"bytes\":2,\"headers\":{\"x\":[1,\"}\"]}}\n", "a", "", "00-1"},
		{HEAD TAIL ",\"bytes\":2,\"properties\":{\"x\":1}}\n", "a", "", ""},
		{HEAD TAIL ",\"content_type\":\"a\\\"b\",\"bytes\":2}\n", "a", "a\"b", ""},
		{HEAD TAIL ",\"content_type\":\"\\u00fc\\\\\",\"bytes\":2}\n", "a", "\u00fc\\", ""},
		{HEAD TAIL ", \"bytes\": 2}\n", "a", "", ""},
		{"{\"bytes\":2,\"queue\":\"q\",\"source\":\"s\",\"type\":\"job\",\"id\":\"z\",\"attempt\":4294967295,\"interruptions\":2}\n", "z", "", ""},
  /* clang-format on */
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct seen seen;
		begin(&seen);
		feed(&seen, span_text(rows[i].line), 1000);
		assert_int_equal(seen.n_jobs, 0);
		feed(&seen, span_text("xy"), 1000);
		assert_int_equal(seen.n_jobs, 1);
		const struct job *job = seen.jobs[0];
		assert_string_equal(job->id, rows[i].id);
		assert_string_equal(job->route->source_name, "s");
		assert_string_equal(job->route->name, "q");
		assert_string_equal(job->content_type, rows[i].content_type);
		assert_string_equal(job->traceparent, rows[i].traceparent);
		assert_int_equal(job->attempt, 4294967295);
		assert_int_equal(job->interruptions, 2);
		assert_int_equal(job->crashes, 0);
		assert_false(job->redelivered);
		assert_true(span_equal(job->body, span_text("xy")));
		end(&seen);
	}
}

/* A job for which there is no memory is passed over, and the one behind it is read right. */
static void a_job_without_memory_is_passed_over(void **state)
{
	(void)state;
	const struct span body = span_text("a body\n"), none = {0};
	struct fake_host fake;
	struct text text = {0};
	fake_host_open(&fake);
	write_job(&text, &fake, body, none);
	write_job(&text, &fake, body, none);
	enum { ALLOCATIONS = 2 }; /* its origin; itself */
	for (unsigned long n = 1; n <= ALLOCATIONS; n++) {
		struct seen seen;
		begin(&seen);
		(void)memory_fail_at(n);
		assert_int_equal(pool_frames_feed(&seen.frames, text_span(&text), NULL), ST_OK);
		(void)memory_fail_at(0);
		assert_int_equal(seen.without_memory, 1);
		assert_int_equal(seen.n_jobs, 1);
		check_job(seen.jobs[0], "job-2", body, none);
		end(&seen);
	}
	text_fini(&text);
	fake_host_close(&fake);
}

static void what_no_worker_writes_is_the_end(void **state)
{
	(void)state;
	static const char *const lines[] = {
	    "\n", "hello\n", "[]\n", "7\n", "{}\n", "{\"type\":\"result\"}\n", "{\"type\":7}\n"};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct seen seen;
		begin(&seen);
		assert_int_equal(pool_frames_feed(&seen.frames, span_text(lines[i]), NULL),
				 ST_PROTO);
		end(&seen);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_written_is_read_in_any_pieces),
	    cmocka_unit_test(each_way_to_write_a_job_is_read),
	    cmocka_unit_test(a_job_without_memory_is_passed_over),
	    cmocka_unit_test(what_no_worker_writes_is_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
