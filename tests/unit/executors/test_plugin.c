/* plugin, with real threads: each job ends once, whoever races whom; no job waits without need; and
 * a thread that nobody can kill harms nobody. */
#include "fake_host.h"

#include "executors/plugin/plugin.h"
#include "plugins/hooks.h"
#include "plugins/pending.h"
#include "plugins/scripted.h"

#include <pthread.h>
#include <time.h>

static const struct worker_settings worker = {.max_checkpoint_bytes = 1000};

struct fixture {
	struct fake_host fake;
	struct handler_settings handler;
};

static void open_plugin(struct fixture *f, const char *path, unsigned threads, uint64_t timeout_ms)
{
	*f = (struct fixture){0};
	f->handler = (struct handler_settings){
	    .name = "count",
	    .path = path,
	    .threads = threads,
	    .timeout_ms = timeout_ms,
	};
	struct error why = {0};
	fake_host_open(&f->fake);
	if (plugin_executor_create(f->fake.loop, f->fake.log, &f->handler, &worker, &f->fake.host,
				   &f->fake.executor, &why) != ST_OK)
		fail_msg("%s", why.text);
}

static void open_limited(struct fixture *f, unsigned threads, uint64_t timeout_ms)
{
	open_plugin(f, PLUGINS "/scripted.so", threads, timeout_ms);
}

static void open_fixture(struct fixture *f, unsigned threads)
{
	open_limited(f, threads, 0);
}

static void close_fixture(struct fixture *f)
{
	f->fake.executor->ops->destroy(f->fake.executor);
	fake_host_close(&f->fake);
}

static struct job *start(struct fixture *f, struct script *script)
{
	struct job *job = fake_job(&f->fake, &script, script ? sizeof script : 0);
	fake_start(&f->fake, job);
	return job;
}

static void stop(struct fixture *f, struct job *job, enum stop_how how)
{
	f->fake.executor->ops->stop(f->fake.executor, job, how);
}

static bool is_set(void *flag)
{
	return atomic_load((atomic_int *)flag) != 0;
}

static void run_until_set(struct fixture *f, atomic_int *flag)
{
	fake_run_while_not(&f->fake, is_set, flag);
}

/* --- loading -------------------------------------------------------------------------------------- */

static void what_is_no_plugin_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *path, *says;
	} rows[] = {
	    {PLUGINS "/other_abi.so",
	     "other_abi.so: built for plugin ABI 4, this worker has 1 to 3: compile it again" },
	    {PLUGINS "/no_symbol.so", "does not export outfall_plugin"                        },
	    {PLUGINS "/no_run.so",    "outfall_plugin.run is not set"                         },
	    {PLUGINS "/too_many.so",  "outfall_plugin.concurrency is 65537, the most is 65536"},
	    {PLUGINS "/not_there.so", "not_there.so: cannot open shared object"               },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct handler_settings handler = {
		    .name = "count", .path = rows[i].path, .threads = 2};
		struct executor *executor = NULL;
		struct fake_host fake;
		struct error why;
		fake_host_open(&fake);
		assert_int_equal(plugin_executor_create(fake.loop, fake.log, &handler, &worker,
							&fake.host, &executor, &why),
				 ST_INVALID);
		assert_null(executor);
		assert_non_null(strstr(why.text, rows[i].says));
		fake_host_close(&fake);
	}
}

static void creating_survives_every_failed_allocation(void **state)
{
	(void)state;
	struct handler_settings handler = {
	    .name = "count", .path = PLUGINS "/scripted.so", .threads = 2};
	enum status st = ST_NOMEM;
	for (unsigned long n = 1; st != ST_OK; n++) {
		struct executor *executor = NULL;
		struct fake_host fake;
		fake_host_open(&fake);
		(void)memory_fail_at(n);
		st = plugin_executor_create(fake.loop, fake.log, &handler, &worker, &fake.host,
					    &executor, NULL);
		(void)memory_fail_at(0);
		assert_int_equal(st, executor != NULL ? ST_OK : ST_NOMEM);
		if (executor != NULL)
			executor->ops->destroy(executor);
		fake_host_close(&fake);
		assert_true(n < 50);
	}
}

static void an_older_abi_runs(void **state)
{
	(void)state;
	struct fixture f;
	open_plugin(&f, PLUGINS "/abi_1.so", 2, 0);
	assert_int_equal(f.fake.executor->width, 2);
	start(&f, NULL);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	assert_string_equal(f.fake.last.reason,
			    "the plugin returned 4, pending, but does not set .concurrency");
	close_fixture(&f);
}

static void the_abi_before_this_one_runs(void **state)
{
	(void)state;
	struct fixture f;
	open_plugin(&f, PLUGINS "/abi_2.so", 2, 0);
	assert_int_equal(f.fake.executor->width, 3); /* its fields are read */
	start(&f, NULL);
	fake_run_until(&f.fake, 1);
	assert_string_equal(f.fake.last.reason, "no disk");
	close_fixture(&f);
}

/* --- hooks ---------------------------------------------------------------------------------------- */

static void remember(struct hook_record *record)
{
	char address[32];
	(void)pthread_mutex_init(&record->lock, NULL);
	(void)snprintf(address, sizeof address, "%p", (void *)record);
	assert_int_equal(setenv("OUTFALL_TEST_HOOKS", address, 1), 0);
}

static void hooks_are_called_in_order(void **state)
{
	(void)state;
	struct hook_record record = {0};
	struct fixture f;
	remember(&record);
	open_plugin(&f, PLUGINS "/hooks.so", 3, 0);
	assert_string_equal(record.calls, "iIII"); /* before any job */
	start(&f, NULL);
	start(&f, NULL);
	fake_run_until(&f.fake, 2);
	fake_assert_logged(&f.fake, "info  plugin wrote handler=count line=hello");
	close_fixture(&f);
	assert_string_equal(record.calls, "iIIIrrEEEe");
	assert_int_equal(record.wrong_threads, 0);
}

static void a_hook_that_fails_keeps_the_worker_from_starting(void **state)
{
	(void)state;
	static const struct {
		struct hook_record record;
		const char *says, *calls;
	} rows[] = {
	    {{.init_fails = 1},					     "the plugin's init() failed", "i"      },
	    {{.init_fails = -7, .reason = "no database"},
	     "the plugin's init() failed: no database",						   "i"      },
	    {{.thread_init_fails_at = 2, .reason = "too many connections"},
	     "the plugin's thread_init() failed: too many connections",				   "iIIIEEe"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct handler_settings handler = {
		    .name = "count", .path = PLUGINS "/hooks.so", .threads = 3};
		struct hook_record record = rows[i].record;
		struct executor *executor = NULL;
		struct fake_host fake;
		struct error why;
		remember(&record);
		fake_host_open(&fake);
		assert_int_equal(plugin_executor_create(fake.loop, fake.log, &handler, &worker,
							&fake.host, &executor, &why),
				 ST_INVALID);
		assert_null(executor);
		assert_string_equal(why.text, rows[i].says);
		assert_int_equal(strlen(record.calls), strlen(rows[i].calls));
		assert_int_equal(record.calls[0], 'i');
		assert_int_equal(strchr(record.calls, 'e') != NULL, i == 2);
		fake_host_close(&fake);
	}
}

/* --- outcomes ------------------------------------------------------------------------------------- */

static void the_plugins_word_is_the_outcome(void **state)
{
	(void)state;
	static const struct {
		int returns;
		const char *reason;
		enum outcome_kind kind;
		const char *told;
	} rows[] = {
	    {OUTFALL_DONE,   NULL,       OUTCOME_DONE,   ""                      },
	    {OUTFALL_RETRY,  "no disk",  OUTCOME_RETRY,  "no disk"               },
	    {OUTFALL_REJECT, "nonsense", OUTCOME_REJECT, "nonsense"              },
	    {OUTFALL_RETURN, NULL,       OUTCOME_RETURN, ""                      },
	    {17,             NULL,       OUTCOME_RETRY,  "the plugin returned 17"},
	    {-1,             NULL,       OUTCOME_RETRY,  "the plugin returned -1"},
	};
	struct fixture f;
	open_fixture(&f, 1);
	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct script script = {.returns = rows[i].returns, .reason = rows[i].reason};
		start(&f, &script);
		fake_run_until(&f.fake, i + 1);
		assert_int_equal(f.fake.last.kind, rows[i].kind);
		assert_string_equal(f.fake.last.reason, rows[i].told);
		assert_false(f.fake.last.crashed);
	}
	fake_assert_logged(&f.fake, "warn  job wrote job=job-2 source=main queue=emails "
				    "handler=count attempt=1 line=\"no disk\"");
	close_fixture(&f);
}

/* What the last job to end has told of its failure, if anything. */
static struct heard_failure {
	bool any;
	char class[FAILURE_CLASS_BYTES + 1], message[FAILURE_MESSAGE_BYTES + 1];
	char backtrace[FAILURE_BACKTRACE_BYTES + 1];
} heard;

static void keep_text(char *to, struct span from)
{
	if (from.len > 0)
		memcpy(to, from.ptr, from.len);
	to[from.len] = '\0';
}

static void hear_failure(struct fake_host *fake, struct job *job)
{
	(void)fake;
	heard = (struct heard_failure){.any = job->failure != NULL};
	if (!heard.any)
		return;
	keep_text(heard.class, job->failure->class);
	keep_text(heard.message, job->failure->message);
	keep_text(heard.backtrace, job->failure->backtrace);
}

static void a_long_reason_is_kept_whole_beside_the_short_one(void **state)
{
	(void)state;
	char reason[300];
	memset(reason, 'x', sizeof reason);
	reason[sizeof reason - 1] = '\0';
	struct script script = {.returns = OUTFALL_RETRY, .reason = reason};
	struct fixture f;
	open_fixture(&f, 1);
	f.fake.on_finished = hear_failure;
	start(&f, &script);
	fake_run_until(&f.fake, 1);
	assert_int_equal(strlen(f.fake.last.reason), 95);
	assert_string_equal(heard.message, reason);
	close_fixture(&f);
}

static void an_error_travels_with_its_job(void **state)
{
	(void)state;
	static const char *const lines[] = {"parse() at a.c:1", NULL, "run() at b.c:2"};
	static char huge[10000];
	static const char *const huge_lines[] = {huge, huge};
	memset(huge, 'x', sizeof huge - 1);
	static const struct {
		struct said_error error;
		const char *reason;       /* set after it */
		const char *short_reason; /* of the outcome */
		size_t class_bytes, message_bytes, backtrace_bytes;
		const char *backtrace;
	} rows[] = {
	    {{"io", "no disk", lines, 3},
	     NULL,					"no disk",
	     2,							      7,
	     32,											"parse() at a.c:1\n\nrun() at b.c:2"},
	    {{"io", NULL, NULL, 0},       "no disk",      "no disk",      2, 0,                     0,  ""                                  },
	    {{"io", "no disk", NULL, 0},  "cannot go on", "cannot go on", 2, 7,                     0,  ""                                  },
	    {{NULL, NULL, lines, 1},      NULL,           "",             0, 0,                     16, "parse() at a.c:1"                  },
	    {{huge, huge, huge_lines, 2},
	     "",					  "",
	     FAILURE_CLASS_BYTES,					    FAILURE_MESSAGE_BYTES,
	     FAILURE_BACKTRACE_BYTES,								   NULL				},
	};
	struct fixture f;
	open_fixture(&f, 1);
	f.fake.on_finished = hear_failure;
	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct script script = {
		    .returns = OUTFALL_RETRY, .reason = rows[i].reason, .error = &rows[i].error};
		start(&f, &script);
		fake_run_until(&f.fake, 2 * i + 1);
		assert_true(heard.any);
		assert_string_equal(f.fake.last.reason, rows[i].short_reason);
		assert_int_equal(strlen(heard.class), rows[i].class_bytes);
		assert_int_equal(strlen(heard.message), rows[i].message_bytes);
		assert_int_equal(strlen(heard.backtrace), rows[i].backtrace_bytes);
		if (rows[i].backtrace != NULL)
			assert_string_equal(heard.backtrace, rows[i].backtrace);
		start(&f, NULL); /* the next one in its place has none */
		fake_run_until(&f.fake, 2 * i + 2);
		assert_false(heard.any);
	}
	close_fixture(&f);
}

static void check_begun(struct fake_host *fake, struct job *job)
{
	(void)fake;
	assert_true(job->begun_ns > 0 && job->begun_ns <= loop_now_ns(fake->loop));
}

static void the_plugin_sees_the_job(void **state)
{
	(void)state;
	struct script script = {.waits_for_gate = 1};
	struct fixture f;
	open_fixture(&f, 1);
	f.fake.on_finished = check_begun;
	struct job *job = fake_job(&f.fake, &(struct script *){&script}, sizeof(struct script *));
	job->attempt = 4;
	job->interruptions = 2;
	job->redelivered = true;
	job->traceparent = "00-aa-bb-01";
	job->crashes = 3;
	job->checkpoint = span_text("half");
	fake_start(&f.fake, job);
	assert_int_equal(f.fake.executor->ops->begun_ns(f.fake.executor, job), 0);
	run_until_set(&f, &script.begun);
	assert_true(f.fake.executor->ops->begun_ns(f.fake.executor, job) > 0);
	assert_int_equal(script.seen.size, sizeof script.seen);
	assert_string_equal(script.seen.id, "job-1");
	assert_string_equal(script.seen.source, "main");
	assert_string_equal(script.seen.queue, "emails");
	assert_string_equal(script.seen.content_type, "text/plain");
	assert_string_equal(script.seen.traceparent, "00-aa-bb-01");
	assert_int_equal(script.seen.attempt, 4);
	assert_int_equal(script.seen.interruptions, 2);
	assert_int_equal(script.seen.redelivered, 1);
	assert_int_equal(script.seen.crashes, 3);
	assert_int_equal(script.seen.checkpoint_bytes, 4);
	assert_memory_equal(script.seen.checkpoint, "half", 4);
	assert_int_equal(script.seen.timeout_ms, 0);
	atomic_store(&script.gate, 1);
	fake_run_until(&f.fake, 1);
	close_fixture(&f);
}

/* --- many jobs ------------------------------------------------------------------------------------ */

/* Keeps `window` jobs in the executor until `total` have been started. */
struct feeder {
	struct fixture f; /* first: found again from the host */
	struct turn_hook hook;
	unsigned total, window;
	unsigned char *ends; /* of each job, by its serial */
};

static void feed(void *arg)
{
	struct feeder *feeder = arg;
	struct fake_host *fake = &feeder->f.fake;
	while (fake->serial < feeder->total &&
	       fake->serial - fake->finished - fake->retracted < feeder->window)
		start(&feeder->f, NULL);
}

static void count_end(struct fake_host *fake, struct job *job)
{
	struct feeder *feeder = (struct feeder *)fake;
	feeder->ends[job->serial]++;
}

static void open_feeder_of(struct feeder *feeder, const char *path, unsigned threads,
			   unsigned total, unsigned window)
{
	open_plugin(&feeder->f, path, threads, 0);
	feeder->total = total;
	feeder->window = window;
	feeder->ends = calloc(total + 1, 1);
	assert_non_null(feeder->ends);
	feeder->f.fake.on_finished = count_end;
	feeder->hook = (struct turn_hook){.run = feed, .arg = feeder};
	loop_add_hook(feeder->f.fake.loop, TURN_DISPATCH, &feeder->hook);
}

static void open_feeder(struct feeder *feeder, unsigned threads, unsigned total, unsigned window)
{
	open_feeder_of(feeder, PLUGINS "/scripted.so", threads, total, window);
}

static void close_feeder(struct feeder *feeder)
{
	for (unsigned i = 1; i <= feeder->total; i++)
		assert_int_equal(feeder->ends[i], 1);
	free(feeder->ends);
	loop_remove_hook(&feeder->hook);
	close_fixture(&feeder->f);
}

static void each_of_many_jobs_ends_once(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 8; threads *= 2) {
		struct feeder feeder;
		open_feeder(&feeder, threads, 100000, 1000);
		fake_run_until(&feeder.f.fake, feeder.total);
		assert_int_equal(feeder.f.fake.kinds[OUTCOME_DONE], feeder.total);
		close_feeder(&feeder);
	}
}

static void nobody_waits_behind_a_slow_job(void **state)
{
	(void)state;
	enum { QUICK = 2000 };
	struct feeder feeder;
	struct script slow = {.waits_for_gate = 1};
	open_feeder(&feeder, 2, QUICK, 100); /* so that jobs are thought short */
	fake_run_until(&feeder.f.fake, QUICK);
	feeder.f.fake.on_finished = NULL;
	start(&feeder.f, &slow);
	for (int i = 0; i < 10; i++)
		start(&feeder.f, NULL);
	fake_run_until(&feeder.f.fake, QUICK + 10);
	assert_int_equal(slow.ended, 0);
	atomic_store(&slow.gate, 1);
	fake_run_until(&feeder.f.fake, QUICK + 11);
	close_feeder(&feeder);
}

/* With a thread in a long job and the others asleep, a short job must wake one at once. Left to the
 * relief timer each of these would take a millisecond. */
static void short_jobs_beside_a_long_one_are_not_late(void **state)
{
	(void)state;
	enum { LONE = 1000 };
	struct script slow = {.waits_for_gate = 1};
	struct fixture f;
	open_fixture(&f, 2);
	start(&f, &slow);
	run_until_set(&f, &slow.begun);
	uint64_t begun_ns = loop_now_ns(f.fake.loop);
	for (unsigned n = 1; n <= LONE; n++) {
		start(&f, NULL);
		fake_run_until(&f.fake, n);
	}
	uint64_t took_ms = (loop_now_ns(f.fake.loop) - begun_ns) / 1000000;
	assert_true(took_ms < LONE * 7 / 10);
	atomic_store(&slow.gate, 1);
	fake_run_until(&f.fake, LONE + 1);
	close_fixture(&f);
}

/* --- retracting ----------------------------------------------------------------------------------- */

static void what_has_not_begun_comes_back_last_first(void **state)
{
	(void)state;
	struct script slow[2] = {{.waits_for_gate = 1}, {.waits_for_gate = 1}};
	struct fixture f;
	open_fixture(&f, 2);
	start(&f, &slow[0]);
	start(&f, &slow[1]);
	run_until_set(&f, &slow[0].begun);
	run_until_set(&f, &slow[1].begun);
	for (int i = 0; i < 5; i++)
		start(&f, NULL); /* job-3 to job-7; handed over by the time the loop has turned */
	struct script staged = {.waits_for_gate = 1};
	fake_run_while_not(&f.fake, is_set, &slow[0].begun);
	start(&f, &staged); /* job-8, not handed over yet */
	f.fake.executor->ops->retract(f.fake.executor);
	assert_int_equal(f.fake.retracted, 6);
	assert_int_equal(f.fake.last_serial, 3);
	assert_int_equal(f.fake.finished, 0);
	atomic_store(&slow[0].gate, 1);
	atomic_store(&slow[1].gate, 1);
	fake_run_until(&f.fake, 8);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 2);
	assert_int_equal(staged.begun, 0);
	close_fixture(&f);
}

struct chaos {
	struct feeder feeder; /* first */
	struct turn_hook retract;
	unsigned turn;
};

static void retract_sometimes(void *arg)
{
	struct chaos *chaos = arg;
	struct executor *executor = chaos->feeder.f.fake.executor;
	if (++chaos->turn % 3 == 0)
		executor->ops->retract(executor);
	loop_turn_again(chaos->feeder.f.fake.loop); /* there may be room for more */
}

static void count_retracted(struct executor_host *host, struct job *job)
{
	count_end(fake_of(host), job);
	fake_retracted(host, job);
}

static void retracting_races_with_beginning(void **state)
{
	(void)state;
	struct chaos chaos = {
	    .retract = {.run = retract_sometimes, .arg = &chaos}
        };
	open_feeder(&chaos.feeder, 4, 50000, 200);
	struct fake_host *fake = &chaos.feeder.f.fake;
	fake->host.retracted = count_retracted;
	loop_add_hook(fake->loop, TURN_WRITE, &chaos.retract);
	fake_run_until(fake, chaos.feeder.total);
	loop_remove_hook(&chaos.retract);
	assert_true(fake->retracted > 0);
	assert_int_equal(fake->finished + fake->retracted, chaos.feeder.total);
	close_feeder(&chaos.feeder);
}

/* --- stopping ------------------------------------------------------------------------------------- */

static void a_job_hears_that_it_should_stop(void **state)
{
	(void)state;
	struct script patient = {.waits_for_stop = 1, .returns = OUTFALL_RETURN};
	struct fixture f;
	open_fixture(&f, 1);
	struct job *job = start(&f, &patient);
	run_until_set(&f, &patient.begun);
	assert_int_equal(f.fake.finished, 0);
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETURN);
	close_fixture(&f);
}

static bool knows_the_end(void *arg)
{
	struct script *script = arg;
	int64_t left_ms = atomic_load(&script->left_ms);
	return left_ms >= 0 && left_ms <= 5000;
}

static void time_left_shrinks_with_a_drain(void **state)
{
	(void)state;
	struct script patient = {.waits_for_stop = 1};
	struct fixture f;
	open_fixture(&f, 1);
	struct job *job = start(&f, &patient);
	run_until_set(&f, &patient.begun);
	assert_int_equal(patient.left_ms, -1);
	f.fake.executor->ops->drain_notice(f.fake.executor, 5000);
	fake_run_while_not(&f.fake, knows_the_end, &patient);
	stop(&f, job, STOP_ASK);
	fake_run_until(&f.fake, 1);
	f.fake.executor->ops->drain_notice(f.fake.executor, UINT64_MAX);
	struct script quick = {0};
	start(&f, &quick);
	fake_run_until(&f.fake, 2);
	assert_int_equal(quick.left_ms, -1);
	close_fixture(&f);
}

static void time_left_knows_the_timeout(void **state)
{
	(void)state;
	struct fixture f;
	open_limited(&f, 1, 60000);
	struct script quick = {0};
	start(&f, &quick);
	fake_run_until(&f.fake, 1);
	assert_int_in_range(quick.left_ms, 30000, 60000);
	close_fixture(&f);
}

/* Left to the exit; leak checkers find them here. */
static struct executor *volatile left_behind[2];
static struct job *volatile left_job;

static void a_thread_that_does_not_stop_is_given_up(void **state)
{
	(void)state;
	static struct script stubborn = {.waits_for_gate = 1}; /* outlives the test */
	struct script staged = {0};
	struct fixture f;
	open_fixture(&f, 1);
	struct job *running = start(&f, &stubborn);
	run_until_set(&f, &stubborn.begun);
	struct job *waiting = start(&f, &staged);
	stop(&f, running, STOP_ASK);
	stop(&f, running, STOP_KILL);
	assert_int_equal(f.fake.finished, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_ABANDONED);
	assert_true(running->stuck);
	stop(&f, waiting, STOP_KILL);
	assert_int_equal(f.fake.finished, 2);
	left_behind[0] = f.fake.executor;
	close_fixture(&f); /* returns though the thread does not */

	atomic_store(&stubborn.gate, 1);
	struct fake_host fake;
	fake_host_open(&fake);
	fake_run_while_not(&fake, is_set, &stubborn.ended);
	fake_host_close(&fake);
	assert_int_equal(staged.begun, 0);
}

static void a_late_result_is_dropped(void **state)
{
	(void)state;
	struct script stubborn = {.waits_for_gate = 1}, next = {0};
	struct fixture f;
	open_fixture(&f, 1);
	struct job *job = start(&f, &stubborn);
	run_until_set(&f, &stubborn.begun);
	stop(&f, job, STOP_KILL);
	atomic_store(&stubborn.gate, 1);
	start(&f, &next); /* the thread goes on with it */
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.kinds[OUTCOME_ABANDONED], 1);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 1);
	close_fixture(&f);
	job->stuck = false;
	job_destroy(job);
}

static void a_result_that_is_there_counts(void **state)
{
	(void)state;
	struct script first = {.waits_for_gate = 1}, second = {.waits_for_gate = 1};
	struct fixture f;
	open_fixture(&f, 1);
	struct job *job = start(&f, &first);
	run_until_set(&f, &first.begun);
	start(&f, &second);
	run_until_set(&f, &first.begun); /* a turn: hands it over */
	/* From here the loop does not turn. The thread has left a result when it begins the next. */
	atomic_store(&first.gate, 1);
	while (!atomic_load(&second.begun))
		(void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	stop(&f, job, STOP_KILL);
	assert_int_equal(f.fake.finished, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	atomic_store(&second.gate, 1);
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 2);
	close_fixture(&f);
}

/* --- what a job says of itself ------------------------------------------------------------------- */

static void check_said(struct fake_host *fake, struct job *job)
{
	(void)fake;
	assert_true(job->progress > 0.24 && job->progress < 0.26);
	assert_string_equal(job->note, "a quarter");
	assert_int_equal(job->left.len, 3);
	assert_memory_equal(job->left.bytes, "a\0b", 3);
}

static void what_a_job_says_is_told_before_its_end(void **state)
{
	(void)state;
	struct script script = {
	    .returns = OUTFALL_RETRY,
	    .progress = 0.25,
	    .note = "a quarter",
	    .extend_ms = 7000,
	    .retry_after_ms = 1234,
	    .checkpoint = "a\0b",
	    .checkpoint_bytes = 3,
	    .checkpoint_kept = 17,
	};
	struct script next = {.returns = OUTFALL_RETRY};
	struct fixture f;
	open_fixture(&f, 1);
	f.fake.on_finished = check_said;
	start(&f, &script);
	fake_run_until(&f.fake, 1);
	assert_int_equal(script.checkpoint_kept, 0);
	assert_int_equal(f.fake.progressed, 1);
	assert_int_equal(f.fake.extended_ms, 7000);
	assert_int_equal(f.fake.last.after_ms, 1234);
	f.fake.on_finished = NULL;
	start(&f, &next); /* in the same task */
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.last.after_ms, 0);
	close_fixture(&f);
}

static bool has_extended(void *arg)
{
	struct fake_host *fake = arg;
	return fake->extended_ms > 0;
}

/* The loop hears of it while the job runs, and the job sees its own time grow. */
static void an_extension_counts_at_once(void **state)
{
	(void)state;
	struct script script = {.extend_ms = 60000, .waits_for_gate = 1};
	struct fixture f;
	open_limited(&f, 1, 1000);
	start(&f, &script);
	fake_run_while_not(&f.fake, has_extended, &f.fake);
	assert_int_equal(f.fake.finished, 0);
	atomic_store(&script.gate, 1);
	fake_run_until(&f.fake, 1);
	assert_int_in_range(script.left_ms, 30000, 60000);
	close_fixture(&f);
}

static void check_no_checkpoint(struct fake_host *fake, struct job *job)
{
	(void)fake;
	assert_false(job->left.set);
}

static void a_checkpoint_that_is_too_large_is_refused(void **state)
{
	(void)state;
	char bytes[1001] = "";
	struct script script = {.checkpoint = bytes, .checkpoint_bytes = sizeof bytes};
	struct fixture f;
	open_fixture(&f, 1);
	f.fake.on_finished = check_no_checkpoint;
	start(&f, &script);
	fake_run_until(&f.fake, 1);
	assert_int_equal(script.checkpoint_kept, -1);
	close_fixture(&f);
}

static void words_survive_every_failed_allocation(void **state)
{
	(void)state;
	struct fixture f;
	open_fixture(&f, 1);
	static const char *const lines[] = {"a.c:1"};
	static const struct said_error error = {"io", "no disk", lines, 1};
	for (unsigned n = 1; n < 10; n++) {
		struct script script = {.note = "x",
					.extend_ms = 1,
					.checkpoint = "y",
					.checkpoint_bytes = 1,
					.error = &error};
		start(&f, &script);
		(void)memory_fail_at(n);
		fake_run_until(&f.fake, n);
		(void)memory_fail_at(0);
		assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	}
	close_fixture(&f);
}

static void what_a_stubborn_job_left_counts(void **state)
{
	(void)state;
	static const struct said_error error = {.class_name = "io"};
	struct script stubborn = {
	    .waits_for_gate = 1, .checkpoint = "half", .checkpoint_bytes = 4, .error = &error};
	struct fixture f;
	open_fixture(&f, 1);
	struct job *job = start(&f, &stubborn);
	run_until_set(&f, &stubborn.begun);
	stop(&f, job, STOP_KILL);
	assert_int_equal(f.fake.finished, 1);
	assert_true(span_equal(job_next_checkpoint(job), span_text("half")));
	assert_non_null(job->failure);
	assert_true(span_equal(job->failure->class, span_text("io")));
	atomic_store(&stubborn.gate, 1);
	struct script next = {0};
	start(&f, &next);
	fake_run_until(&f.fake, 2);
	close_fixture(&f);
	job->stuck = false;
	job_destroy(job);
}

/* --- asynchronous --------------------------------------------------------------------------------- */

static void open_pending(struct fixture *f, unsigned threads)
{
	open_plugin(f, PLUGINS "/pending.so", threads, 0);
	assert_int_equal(f->fake.executor->width, PENDING_AT_ONCE);
	assert_true(f->fake.executor->depth > PENDING_AT_ONCE);
}

static struct job *start_pending(struct fixture *f, struct pending *pending)
{
	struct job *job = fake_job(&f->fake, &pending, sizeof pending);
	fake_start(&f->fake, job);
	return job;
}

static bool has_begun(void *arg)
{
	struct pending *pending = arg;
	return atomic_load(&pending->ctx) != NULL;
}

static void run_until_pending(struct fixture *f, struct pending *pending)
{
	fake_run_while_not(&f->fake, has_begun, pending);
	run_until_set(f, &pending->returned);
}

static void a_pending_job_ends_with_its_completion(void **state)
{
	(void)state;
	static const enum outcome_kind kinds[] = {
	    [OUTFALL_DONE] = OUTCOME_DONE,     [OUTFALL_RETRY] = OUTCOME_RETRY,
	    [OUTFALL_REJECT] = OUTCOME_REJECT, [OUTFALL_RETURN] = OUTCOME_RETURN,
	    [OUTFALL_PENDING] = OUTCOME_RETRY, /* which is no end */
	};
	struct fixture f;
	open_pending(&f, 1);
	for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		struct pending pending = {.returns = OUTFALL_PENDING};
		start_pending(&f, &pending);
		run_until_pending(&f, &pending);
		assert_int_equal(f.fake.finished, i);
		assert_string_equal(pending.job->queue, "emails"); /* still there */
		outfall_set_reason(pending.ctx, "said later");
		outfall_progress(pending.ctx, 0.5, NULL);
		outfall_complete(pending.ctx, (enum outfall_outcome)i);
		fake_run_until(&f.fake, i + 1);
		assert_int_equal(f.fake.last.kind, kinds[i]);
		assert_int_equal(f.fake.progressed, i + 1);
		if (i < OUTFALL_PENDING)
			assert_string_equal(f.fake.last.reason, "said later");
	}
	close_fixture(&f);
}

/* The thread is free as soon as run() has returned; the place is not. */
static void a_pending_job_keeps_its_place_and_no_thread(void **state)
{
	(void)state;
	struct pending jobs[PENDING_AT_ONCE + 2];
	struct fixture f;
	open_pending(&f, 1);
	for (int i = 0; i < PENDING_AT_ONCE + 2; i++) {
		jobs[i] = (struct pending){.returns = OUTFALL_PENDING};
		start_pending(&f, &jobs[i]);
	}
	for (int i = 0; i < PENDING_AT_ONCE; i++)
		run_until_pending(&f, &jobs[i]);
	f.fake.executor->ops->retract(f.fake.executor); /* the last comes back: it has not begun */
	assert_int_equal(f.fake.retracted, 2);
	struct pending late = {.returns = OUTFALL_PENDING};
	start_pending(&f, &late);
	fake_run_while_not(&f.fake, has_begun, &jobs[0]); /* turns: it is staged */
	assert_false(has_begun(&late));
	outfall_complete(jobs[1].ctx, OUTFALL_DONE);
	while (!has_begun(&late)) /* the loop does not turn: who completes wakes the thread */
		(void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	run_until_set(&f, &late.returned);
	outfall_complete(jobs[0].ctx, OUTFALL_DONE);
	outfall_complete(jobs[2].ctx, OUTFALL_DONE);
	outfall_complete(late.ctx, OUTFALL_DONE);
	fake_run_until(&f.fake, PENDING_AT_ONCE + 3);
	close_fixture(&f);
}

static void a_completion_may_overtake_the_return(void **state)
{
	(void)state;
	struct pending pending = {.completes_in_run = 1, .returns = OUTFALL_PENDING};
	struct pending slow = {.returns = OUTFALL_PENDING, .waits_for_gate = 1};
	struct fixture f;
	open_pending(&f, 1);
	start_pending(&f, &pending);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_REJECT);

	start_pending(&f, &slow);
	fake_run_while_not(&f.fake, has_begun, &slow);
	outfall_complete(slow.ctx, OUTFALL_RETURN);
	fake_run_while_not(&f.fake, has_begun, &slow);
	assert_int_equal(f.fake.finished, 1); /* run() still reads it */
	assert_string_equal(slow.job->queue, "emails");
	atomic_store(&slow.gate, 1);
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETURN);
	close_fixture(&f);
}

static void a_job_may_end_in_run_all_the_same(void **state)
{
	(void)state;
	struct pending quick = {.returns = OUTFALL_REJECT};
	struct pending wrong = {.completes_in_run = 1, .returns = OUTFALL_DONE};
	struct fixture f;
	open_pending(&f, 1);
	start_pending(&f, &quick);
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_REJECT);
	start_pending(&f, &wrong);
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.last.kind, OUTCOME_REJECT); /* the first word counts */
	fake_assert_logged(&f.fake, "completed a job and did not return OUTFALL_PENDING");
	close_fixture(&f);
}

static void completing_twice_is_recognised(void **state)
{
	(void)state;
	struct pending pending = {.returns = OUTFALL_PENDING};
	struct fixture f;
	open_pending(&f, 1);
	start_pending(&f, &pending);
	run_until_pending(&f, &pending);
	outfall_complete(pending.ctx, OUTFALL_DONE);
	outfall_complete(pending.ctx, OUTFALL_RETRY); /* its result is on the way */
	fake_run_until(&f.fake, 1);
	assert_int_equal(f.fake.last.kind, OUTCOME_DONE);
	outfall_complete(pending.ctx, OUTFALL_RETRY); /* its task is idle */
	fake_assert_logged(&f.fake, "outfall_complete() of a job that had ended");
	close_fixture(&f);
}

static bool count_end_of(struct fake_host *fake, unsigned ends)
{
	return fake->finished == ends;
}

/* The worst of it: the task has another job by then, which must not be taken for done. */
static void a_late_second_completion_hits_no_other_job(void **state)
{
	(void)state;
	enum { REUSES = 1100 }; /* more than there are tasks */
	struct pending first = {.returns = OUTFALL_PENDING};
	struct fixture f;
	open_pending(&f, 1);
	start_pending(&f, &first);
	run_until_pending(&f, &first);
	outfall_complete(first.ctx, OUTFALL_DONE);
	for (unsigned i = 1; i <= REUSES; i++) {
		struct pending next = {.returns = OUTFALL_PENDING};
		struct job *job = start_pending(&f, &next);
		run_until_pending(&f, &next);
		assert_true(outfall_should_stop(first.ctx));
		assert_false(outfall_should_stop(next.ctx));
		outfall_complete(first.ctx, OUTFALL_REJECT);
		outfall_set_reason(first.ctx, "not this one");
		outfall_progress(first.ctx, 1, NULL);
		assert_int_equal(outfall_checkpoint(first.ctx, "x", 1), -1);
		assert_int_equal(job->state, 0);
		assert_true(count_end_of(&f.fake, i));
		outfall_complete(next.ctx, OUTFALL_RETRY);
		fake_run_until(&f.fake, i + 1);
		assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
		assert_string_equal(f.fake.last.reason, "");
	}
	assert_int_equal(f.fake.progressed, 0);
	close_fixture(&f);
}

static void a_pending_job_that_is_given_up_may_still_end(void **state)
{
	(void)state;
	struct pending pending = {.returns = OUTFALL_PENDING}, next = {.returns = OUTFALL_PENDING};
	struct fixture f;
	open_pending(&f, 1);
	struct job *job = start_pending(&f, &pending);
	run_until_pending(&f, &pending);
	stop(&f, job, STOP_ASK);
	assert_true(outfall_should_stop(pending.ctx));
	assert_int_equal(outfall_checkpoint(pending.ctx, "half", 4), 0);
	stop(&f, job, STOP_KILL);
	assert_true(span_equal(job_next_checkpoint(job), span_text("half")));
	assert_int_equal(outfall_checkpoint(pending.ctx, "late", 4), -1);
	assert_int_equal(f.fake.last.kind, OUTCOME_ABANDONED);
	assert_true(job->stuck);
	start_pending(&f, &next);
	run_until_pending(&f, &next);
	assert_string_equal(pending.job->queue,
			    "emails"); /* it may look at it as long as it likes */
	outfall_complete(pending.ctx, OUTFALL_DONE);
	outfall_complete(next.ctx, OUTFALL_RETRY);
	fake_run_until(&f.fake, 2);
	assert_int_equal(f.fake.last.kind, OUTCOME_RETRY);
	assert_int_equal(f.fake.kinds[OUTCOME_DONE], 0);
	close_fixture(&f); /* nothing is at work: its exit() is called */
	job->stuck = false;
	job_destroy(job);
}

static void a_job_pending_for_ever_is_left_to_the_exit(void **state)
{
	(void)state;
	struct pending pending = {.returns = OUTFALL_PENDING};
	struct fixture f;
	open_pending(&f, 2);
	struct job *job = start_pending(&f, &pending);
	run_until_pending(&f, &pending);
	left_behind[1] = f.fake.executor;
	f.fake.executor->ops->destroy(f.fake.executor);
	fake_assert_logged(&f.fake, "exit hook left out, a job is still at work handler=count");
	outfall_complete(pending.ctx, OUTFALL_DONE); /* rings no bell that is gone */
	outfall_progress(pending.ctx, 1, NULL);
	fake_host_close(&f.fake);
	left_job = job;
}

static void each_of_many_pending_jobs_ends_once(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 4; threads *= 2) {
		struct feeder feeder;
		open_feeder_of(&feeder, PLUGINS "/pending.so", threads, 50000, 200);
		fake_run_until(&feeder.f.fake, feeder.total);
		assert_int_equal(feeder.f.fake.kinds[OUTCOME_DONE], feeder.total);
		close_feeder(&feeder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_no_plugin_is_refused),
	    cmocka_unit_test(an_older_abi_runs),
	    cmocka_unit_test(the_abi_before_this_one_runs),
	    cmocka_unit_test(hooks_are_called_in_order),
	    cmocka_unit_test(a_hook_that_fails_keeps_the_worker_from_starting),
	    cmocka_unit_test(creating_survives_every_failed_allocation),
	    cmocka_unit_test(the_plugins_word_is_the_outcome),
	    cmocka_unit_test(a_long_reason_is_kept_whole_beside_the_short_one),
	    cmocka_unit_test(an_error_travels_with_its_job),
	    cmocka_unit_test(the_plugin_sees_the_job),
	    cmocka_unit_test(each_of_many_jobs_ends_once),
	    cmocka_unit_test(nobody_waits_behind_a_slow_job),
	    cmocka_unit_test(short_jobs_beside_a_long_one_are_not_late),
	    cmocka_unit_test(what_has_not_begun_comes_back_last_first),
	    cmocka_unit_test(retracting_races_with_beginning),
	    cmocka_unit_test(a_job_hears_that_it_should_stop),
	    cmocka_unit_test(time_left_shrinks_with_a_drain),
	    cmocka_unit_test(time_left_knows_the_timeout),
	    cmocka_unit_test(a_thread_that_does_not_stop_is_given_up),
	    cmocka_unit_test(a_late_result_is_dropped),
	    cmocka_unit_test(a_result_that_is_there_counts),
	    cmocka_unit_test(what_a_job_says_is_told_before_its_end),
	    cmocka_unit_test(an_extension_counts_at_once),
	    cmocka_unit_test(a_checkpoint_that_is_too_large_is_refused),
	    cmocka_unit_test(words_survive_every_failed_allocation),
	    cmocka_unit_test(what_a_stubborn_job_left_counts),
	    cmocka_unit_test(a_pending_job_ends_with_its_completion),
	    cmocka_unit_test(a_pending_job_keeps_its_place_and_no_thread),
	    cmocka_unit_test(a_completion_may_overtake_the_return),
	    cmocka_unit_test(a_job_may_end_in_run_all_the_same),
	    cmocka_unit_test(completing_twice_is_recognised),
	    cmocka_unit_test(a_late_second_completion_hits_no_other_job),
	    cmocka_unit_test(a_pending_job_that_is_given_up_may_still_end),
	    cmocka_unit_test(a_job_pending_for_ever_is_left_to_the_exit),
	    cmocka_unit_test(each_of_many_pending_jobs_ends_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
