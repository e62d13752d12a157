/* The status object, read back with a JSON library, and the two questions that load balancers ask. */
#include "observe/status.h"

#include "../small_core.h"
#include "observe/health.h"
#include "observe/view.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct view view_of(const struct small_core *s)
{
	return (struct view){.core = &s->core,
			     .name = "w \"1\"",
			     .now_ns = s->now_ns,
			     .started_ns = 990 * SMALL_S,
			     .epoch_ns = 500 * SMALL_S};
}

static json_t *read_back(const struct text *text)
{
	json_error_t why;
	json_t *object = json_loadb(text->bytes, text->len, JSON_REJECT_DUPLICATES, &why);
	if (object == NULL)
		fail_msg("%s at %d: %.*s", why.text, why.position, (int)text->len, text->bytes);
	return object;
}

/* "drain.why", "running.0.id": what the path leads to. */
static json_t *at(json_t *object, const char *path)
{
	char *words = strdup(path), *rest = words, *word;
	while (object != NULL && (word = strsep(&rest, ".")) != NULL)
		object = json_is_array(object) ? json_array_get(object, (size_t)atoi(word))
					       : json_object_get(object, word);
	free(words);
	if (object == NULL)
		fail_msg("there is no %s", path);
	return object;
}

static const char *text_at(json_t *object, const char *path)
{
	return json_string_value(at(object, path));
}

static int64_t number_at(json_t *object, const char *path)
{
	assert_true(json_is_integer(at(object, path)));
	return json_integer_value(at(object, path));
}

static void test_busy(void **state)
{
	(void)state;
	struct small_core s;
	struct text text = {0};
	small_core_init(&s, 60000, "emails");
	small_run(&s, 2 * SMALL_S);
	struct job *a = small_deliver(&s, "a\"\xff");
	(void)small_deliver(&s, "b");
	(void)small_deliver(&s, "c");
	core_begin_jobs(&s.core);
	s.core.executor_host.progress(&s.core.executor_host, a, 0.25, span_text("page 3"));
	s.now_ns += SMALL_S;
	struct view view = view_of(&s);
	(void)status_put(&text, &view, CONTROL_TOKEN);
	json_t *status = read_back(&text);
	assert_string_equal(text_at(status, "worker.name"), "w \"1\"");
	assert_int_equal(number_at(status, "worker.started_unix_ms"), 1490000);
	assert_string_equal(text_at(status, "control"), "token");
	assert_string_equal(text_at(status, "state"), "open");
	assert_true(json_is_true(at(status, "ready")));
	assert_true(json_is_null(at(status, "drain.why")));
	assert_true(json_is_null(at(status, "drain.left_ms")));
	assert_int_equal(number_at(status, "drain.time_for_jobs_ms"), 23000);
	assert_int_equal(number_at(status, "drain.eta_ms"), 1500); /* 2 s were within 2.5 */
	assert_int_equal(number_at(status, "jobs.running"), 2);
	assert_int_equal(number_at(status, "jobs.held"), 1);
	assert_int_equal(number_at(status, "fates.done"), 1);
	assert_string_equal(text_at(status, "sources.0.link"), "up");
	assert_string_equal(text_at(status, "sources.0.intake"), "open");
	assert_string_equal(text_at(status, "queues.0.handler"), "mailer");
	assert_int_equal(number_at(status, "queues.0.in_worker"), 3);
	assert_int_equal(number_at(status, "queues.0.fates.done"), 1);
	assert_int_equal(number_at(status, "handlers.0.width"), 2);
	assert_string_equal(text_at(status, "running.0.id"), "a\"\xef\xbf\xbd");
	assert_string_equal(text_at(status, "running.0.note"), "page 3");
	assert_int_equal(number_at(status, "running.0.age_ms"), 1000);
	assert_int_equal(number_at(status, "running.0.timeout_left_ms"), 59000);
	assert_true(json_real_value(at(status, "running.0.progress")) == 0.25);
	assert_int_equal(json_array_size(at(status, "running")), 2);
	json_decref(status);
	text_fini(&text);
	small_core_fini(&s);
}

/* Also of a handler that names no class; what is done since does not hide it, nor what was given back. */
static void the_last_failure_of_a_queue(void **state)
{
	(void)state;
	static char huge[FAILURE_MESSAGE_BYTES];
	memset(huge, 'x', sizeof huge - 1);
	static const struct {
		struct outcome outcome;
		struct failure said;
		const char *fate, *class, *message;
	} rows[] = {
	    {{.kind = OUTCOME_RETRY, .reason = "no"},
	     {.class = {"IOError", 7}, .message = {"no disk", 7}},
	     "retried", "IOError",
	     "no disk"       },
	    {{.kind = OUTCOME_REJECT, .reason = "exit status 65"},
	     {.class = {0}},
	     "dead",    NULL,
	     "exit status 65"},
	    {{.kind = OUTCOME_REJECT},
	     {.class = {huge, 500}, .message = {huge, 2000}},
	     "dead",    huge,
	     huge            },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct small_core s;
		struct text text = {0};
		struct executor_host *host = &s.core.executor_host;
		small_core_init(&s, 0, "emails");
		struct view view = view_of(&s);
		(void)status_put(&text, &view, CONTROL_ALL);
		json_t *status = read_back(&text);
		assert_true(json_is_null(at(status, "queues.0.last_failure")));
		json_decref(status);
		struct job *job = small_deliver(&s, "a");
		core_begin_jobs(&s.core);
		host->explain(host, job, &rows[i].said);
		host->finished(host, job, &rows[i].outcome);
		small_run(&s, 2 * SMALL_S);
		view = view_of(&s);
		text_clear(&text);
		(void)status_put(&text, &view, CONTROL_ALL);
		status = read_back(&text);
		const char *class = text_at(status, "queues.0.last_failure.class");
		const char *message = text_at(status, "queues.0.last_failure.message");
		assert_int_equal(number_at(status, "queues.0.last_failure.unix_ms"), 1500000);
		assert_int_equal(number_at(status, "queues.0.last_failure.attempt"), 1);
		assert_string_equal(text_at(status, "queues.0.last_failure.job"), "a");
		assert_string_equal(text_at(status, "queues.0.last_failure.fate"), rows[i].fate);
		assert_int_equal(class != NULL, rows[i].class != NULL);
		if (class != NULL)
			assert_int_equal(strncmp(class, rows[i].class, 79), 0);
		assert_true(strlen(message) == strlen(rows[i].message) || strlen(message) == 239);
		assert_int_equal(strncmp(message, rows[i].message, 239), 0);
		json_decref(status);
		text_fini(&text);
		small_core_fini(&s);
	}
}

static void test_goodbye(void **state)
{
	(void)state;
	struct small_core s;
	struct text text = {0};
	small_core_init(&s, 0, "emails");
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	core_drain_turn(&s.core);
	struct view view = view_of(&s);
	status_put_goodbye(&text, &view, CONTROL_NONE);
	json_t *status = read_back(&text);
	assert_string_equal(text_at(status, "state"), "closed");
	assert_string_equal(text_at(status, "drain.why"), "SIGTERM");
	assert_string_equal(text_at(status, "goodbye.why"), "SIGTERM");
	assert_int_equal(number_at(status, "goodbye.exit_code"), 0);
	json_decref(status);
	text_fini(&text);
	small_core_fini(&s);
}

/* What a feed compares to see whether there is news. */
static void test_what_lasts(void **state)
{
	(void)state;
	struct small_core s;
	struct text before = {0}, after = {0};
	small_core_init(&s, 0, "emails");
	struct view view = view_of(&s);
	size_t lasts = status_put(&before, &view, CONTROL_ALL);
	s.now_ns += 3 * SMALL_S;
	view = view_of(&s);
	assert_int_equal(status_put(&after, &view, CONTROL_ALL), lasts);
	assert_memory_equal(before.bytes, after.bytes, lasts);
	s.source.reconnects++;
	text_clear(&after);
	lasts = status_put(&after, &view, CONTROL_ALL);
	assert_int_not_equal(memcmp(before.bytes, after.bytes, lasts), 0);
	text_fini(&before);
	text_fini(&after);
	small_core_fini(&s);
}

static void assert_not_ready(const struct small_core *s, const char *because)
{
	struct text why = {0};
	struct view view = view_of(s);
	assert_false(health_is_ready(&view, &why));
	text_put(&why, span_of("", 1));
	if (strstr(why.bytes, because) == NULL)
		fail_msg("not \"%s\" but \"%s\"", because, why.bytes);
	text_fini(&why);
}

static void test_ready(void **state)
{
	(void)state;
	struct small_core s;
	struct text why = {0};
	small_core_init(&s, 0, "emails");
	struct view view = view_of(&s);
	struct executor_host *host = &s.core.executor_host;
	assert_true(health_is_ready(&view, &why));
	assert_int_equal(why.len, 0);
	s.source.intake = INTAKE_OPENING;
	assert_not_ready(&s, "rabbitmq \"main\" is not consuming yet");
	s.source.link = LINK_DOWN;
	assert_not_ready(&s, "rabbitmq \"main\" is not connected");
	s.executor.width = 0;
	host->resized(host, &s.executor);
	assert_not_ready(&s, "handler \"mailer\" is paused: none of its processes is ready");
	s.executor.width = 2;
	host->resized(host, &s.executor);
	struct job *job = small_deliver(&s, "8f2");
	core_begin_jobs(&s.core);
	host->could_not_begin(host, job, "/bin/mail: No such file or directory");
	assert_not_ready(&s, "handler \"mailer\" is paused: /bin/mail: No such file or directory");
	core_event(&s.core, EVENT_QUIET, "SIGTSTP");
	assert_not_ready(&s, "it is quiet");
	text_fini(&why);
	small_core_fini(&s);
}

static void assert_alive(const struct small_core *s, bool alive)
{
	struct text why = {0};
	struct view view = view_of(s);
	assert_int_equal(health_is_alive(&view, &why), alive);
	assert_int_equal(why.len == 0, alive);
	text_fini(&why);
}

static void test_alive(void **state)
{
	(void)state;
	struct small_core s;
	small_core_init(&s, 10000, "emails");
	struct job *a = small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	s.now_ns += 60 * SMALL_S;
	assert_alive(&s, true); /* one of two places is lost: the other goes on */
	struct job *b = small_deliver(&s, "b");
	core_begin_jobs(&s.core);
	assert_alive(&s, true);
	s.now_ns += 19 * SMALL_S; /* timeout 10 s, grace 5 s, and 5 s for the kernel */
	assert_alive(&s, true);
	s.now_ns += 2 * SMALL_S;
	assert_alive(&s, false);
	b->extended_ns = s.now_ns + SMALL_S;
	assert_alive(&s, true);
	b->extended_ns = 0;
	core_event(&s.core, EVENT_STOP, "SIGTERM");
	assert_alive(&s, true); /* the drain has a deadline of its own */
	small_finish(&s, a);
	small_finish(&s, b);
	small_core_fini(&s);
}

/* A moment where a time was meant, or a number that came round, must not put the timeout off for ever. */
static void an_extension_has_a_bound(void **state)
{
	(void)state;
	static const uint64_t rows[] = {60000, LONGEST_WAIT_MS + 1, INT64_MAX, UINT64_MAX};
	struct small_core s;
	small_core_init(&s, 10000, "emails");
	struct job *job = small_deliver(&s, "a");
	core_begin_jobs(&s.core);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t ms = i == 0 ? rows[0] : LONGEST_WAIT_MS;
		s.core.executor_host.extend(&s.core.executor_host, job, rows[i]);
		assert_int_equal(job->extended_ns, s.now_ns + ms * 1000000);
	}
	small_finish(&s, job);
	small_core_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_failure_of_a_queue),
	    cmocka_unit_test(test_busy),
	    cmocka_unit_test(test_goodbye),
	    cmocka_unit_test(test_what_lasts),
	    cmocka_unit_test(test_ready),
	    cmocka_unit_test(test_alive),
	    cmocka_unit_test(an_extension_has_a_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
