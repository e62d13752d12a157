/* The handlers in config/handlers do what their README says. */
#include "fake_host.h"

#include "executors/child/children.h"
#include "executors/exec/exec.h"
#include "executors/plugin/plugin.h"

static const struct worker_settings worker = {.concurrency = 2, .max_checkpoint_bytes = 1000};

struct shell {
	struct fake_host fake;
	struct children *children;
	struct handler_settings handler;
	char folder[32], album[48];
};

static void open_shell(struct shell *s, const char *seconds)
{
	static const char *command[] = {HANDLERS "/resize.sh", NULL};
	*s = (struct shell){.folder = "/tmp/outfall-test-XXXXXX"};
	s->handler = (struct handler_settings){
	    .name = "thumbs", .command = command, .output_line_bytes = 2048};
	assert_non_null(mkdtemp(s->folder));
	(void)snprintf(s->album, sizeof s->album, "%s/album", s->folder);
	setenv("ALBUM", s->album, 1);
	setenv("WORK_SECONDS", seconds, 1);
	fake_host_open(&s->fake);
	assert_int_equal(children_create(s->fake.loop, s->fake.log, &s->children, NULL), ST_OK);
	assert_int_equal(exec_executor_create(s->fake.loop, s->fake.log, s->children, &s->handler,
					      &worker, &s->fake.host, &s->fake.executor, NULL),
			 ST_OK);
}

static void close_shell(struct shell *s)
{
	s->fake.executor->ops->destroy(s->fake.executor);
	children_destroy(s->children);
	fake_host_close(&s->fake);
	(void)unlink(s->album);
	assert_int_equal(rmdir(s->folder), 0); /* nothing half done is left */
}

static void resize_adds_to_the_album(void **state)
{
	(void)state;
	struct shell s;
	open_shell(&s, "0");
	fake_start(&s.fake, fake_job(&s.fake, "cat.png", 7));
	fake_run_until(&s.fake, 1);
	assert_int_equal(s.fake.last.kind, OUTCOME_DONE);
	char text[16] = "";
	int fd = open(s.album, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof text), 8);
	assert_string_equal(text, "cat.png\n");
	close(fd);
	fake_assert_logged(&s.fake,
			   "line=\"resizing cat.png, attempt 1 of job job-1 from emails\"");
	close_shell(&s);
}

static void resize_rejects_nonsense(void **state)
{
	(void)state;
	struct shell s;
	open_shell(&s, "0");
	fake_start(&s.fake, fake_job(&s.fake, "../etc", 6));
	fake_run_until(&s.fake, 1);
	assert_int_equal(s.fake.last.kind, OUTCOME_REJECT);
	close_shell(&s);
}

static bool has_begun(void *arg)
{
	struct shell *s = arg;
	return lseek(s->fake.log_fd, 0, SEEK_END) > 0;
}

static void resize_gives_up_when_asked(void **state)
{
	(void)state;
	struct shell s;
	open_shell(&s, "60");
	struct job *job = fake_job(&s.fake, "cat.png", 7);
	fake_start(&s.fake, job);
	fake_run_while_not(&s.fake, has_begun, &s);
	s.fake.executor->ops->stop(s.fake.executor, job, STOP_ASK);
	fake_run_until(&s.fake, 1);
	assert_int_equal(s.fake.last.kind, OUTCOME_RETRY);
	assert_string_equal(s.fake.last.reason, "exit status 75");
	assert_int_equal(access(s.album, F_OK), -1);
	close_shell(&s);
}

static void count_counts(void **state)
{
	(void)state;
	static const struct {
		struct span body;
		enum outcome_kind kind;
		const char *line;
	} rows[] = {
	    {{"two words", 9}, OUTCOME_DONE,   "line=\"2 words, 2 in all\""},
	    {{"", 0},          OUTCOME_DONE,   "line=\"0 words, 2 in all\""},
	    {{" a  b\nc ", 8}, OUTCOME_DONE,   "line=\"3 words, 5 in all\""},
	    {{"\0\1\2", 3},    OUTCOME_REJECT, NULL                        },
	};
	struct handler_settings handler = {.name = "count", .path = COUNT_PLUGIN, .threads = 1};
	struct fake_host fake;
	fake_host_open(&fake);
	log_set_level(fake.log, LOG_DEBUG);
	assert_int_equal(plugin_executor_create(fake.loop, fake.log, &handler, &worker, &fake.host,
						&fake.executor, NULL),
			 ST_OK);
	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		fake_start(&fake, fake_job(&fake, rows[i].body.ptr, rows[i].body.len));
		fake_run_until(&fake, i + 1);
		assert_int_equal(fake.last.kind, rows[i].kind);
		if (rows[i].line != NULL)
			fake_assert_logged(&fake, rows[i].line);
	}
	fake.executor->ops->destroy(fake.executor);
	fake_host_close(&fake);
}

static void note_checkpoint(struct fake_host *fake, struct job *job)
{
	struct span *left = fake->route.source_ref;
	if (!job->left.set)
		return;
	assert_true(job->left.len < 32);
	*left = span_of(memcpy((char *)left->ptr, job->left.bytes, job->left.len), job->left.len);
}

/* Ten million words, of which an earlier run has counted all but two; this one is stopped at once. */
static void count_goes_on_where_it_was_stopped(void **state)
{
	(void)state;
	enum { BYTES = 20 * 1000 * 1000 };
	char checkpoint[32] = "", *body = malloc(BYTES);
	struct span left = span_of(checkpoint, 0);
	assert_non_null(body);
	for (size_t i = 0; i < BYTES; i++)
		body[i] = i % 2 == 0 ? 'a' : ' ';
	struct handler_settings handler = {.name = "count", .path = COUNT_PLUGIN, .threads = 1};
	struct fake_host fake;
	fake_host_open(&fake);
	fake.route.source_ref = &left;
	fake.on_finished = note_checkpoint;
	log_set_level(fake.log, LOG_DEBUG);
	assert_int_equal(plugin_executor_create(fake.loop, fake.log, &handler, &worker, &fake.host,
						&fake.executor, NULL),
			 ST_OK);
	const struct span nearly = span_text("19999996 bytes 9999998 words 0");
	struct job *job = fake_job(&fake, body, BYTES);
	job->checkpoint = nearly;
	fake_start(&fake, job);
	fake.executor->ops->stop(fake.executor, job, STOP_ASK);
	fake_run_until(&fake, 1);
	assert_int_equal(fake.last.kind, OUTCOME_RETURN);
	assert_true(span_equal(left, nearly));
	job = fake_job(&fake, body, BYTES);
	job->checkpoint = nearly;
	fake_start(&fake, job);
	fake_run_until(&fake, 2);
	assert_int_equal(fake.last.kind, OUTCOME_DONE);
	fake_assert_logged(&fake, "line=\"10000000 words,");
	fake.executor->ops->destroy(fake.executor);
	fake_host_close(&fake);
	free(body);
}

static void later_completes_when_it_is_time(void **state)
{
	(void)state;
	enum { JOBS = 500 };
	char checkpoint[32] = "";
	struct span left = span_of(checkpoint, 0);
	struct handler_settings handler = {.name = "later", .path = LATER_PLUGIN, .threads = 1};
	struct fake_host fake;
	fake_host_open(&fake);
	fake.route.source_ref = &left;
	assert_int_equal(plugin_executor_create(fake.loop, fake.log, &handler, &worker, &fake.host,
						&fake.executor, NULL),
			 ST_OK);
	assert_int_equal(fake.executor->width, 1000);
	uint64_t begun_ns = loop_now_ns(fake.loop);
	for (int i = 0; i < JOBS; i++)
		fake_start(&fake, fake_job(&fake, "300", 3));
	fake_run_until(&fake, JOBS);
	uint64_t took_ms = (loop_now_ns(fake.loop) - begun_ns) / 1000000;
	assert_int_equal(fake.kinds[OUTCOME_DONE], JOBS);
	assert_int_in_range(took_ms, 299, 60000);
	fake_start(&fake, fake_job(&fake, "soon", 4));
	fake_run_until(&fake, JOBS + 1);
	assert_int_equal(fake.last.kind, OUTCOME_REJECT);

	fake.on_finished = note_checkpoint;
	struct job *job = fake_job(&fake, "600000", 6);
	fake_start(&fake, job);
	fake.executor->ops->stop(fake.executor, job, STOP_ASK);
	fake_run_until(&fake, JOBS + 2);
	assert_int_equal(fake.last.kind, OUTCOME_RETURN);
	assert_int_in_range(strtol(checkpoint, NULL, 10), 400000, 600000);
	job = fake_job(&fake, "600000", 6);
	job->checkpoint = span_text("1");
	fake_start(&fake, job);
	fake_run_until(&fake, JOBS + 3);
	assert_int_equal(fake.last.kind, OUTCOME_DONE);
	fake.executor->ops->destroy(fake.executor);
	fake_host_close(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(resize_adds_to_the_album),
	    cmocka_unit_test(resize_rejects_nonsense),
	    cmocka_unit_test(resize_gives_up_when_asked),
	    cmocka_unit_test(count_counts),
	    cmocka_unit_test(count_goes_on_where_it_was_stopped),
	    cmocka_unit_test(later_completes_when_it_is_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
