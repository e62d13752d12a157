/* test_plugin - a plugin that does what the job's body says and leaves a record, like test_handler.
 * Built twice: with ASYNCHRONOUS, as test_pending, each job goes on in a thread of the plugin's own.
 *
 * The record is the file named by OUTFALL_TEST_RECORD in the worker's environment, opened when the
 * library is loaded; hooks go there too. Verbs beside those of instruction.h:
 *
 *     retry, reject, return
 *     error:TEXT      fails with a class, TEXT and a backtrace
 *     stubborn:GATE   like gate, but does not ask whether to stop: what nobody can kill looks like
 *     watch           waits for a drain to be known, then for the stop, and records what it saw
 *     leave:TEXT      leaves a checkpoint and waits to be stopped; done if it finds one
 *     say:TEXT        on stdout, which is not the place for it
 *     crash:N         of signal N
 *     crash-once:N    only if no earlier run has
 *     twice           completes its job once more when it has ended */
#include "plugin/outfall.h"

#include "instruction.h"

#include <pthread.h>
#include <signal.h>

enum { AT_ONCE = 32 };

__attribute__((constructor)) static void open_record(void)
{
	const char *path = getenv("OUTFALL_TEST_RECORD");
	if (path == NULL || !record_open(path))
		abort();
}

static enum outfall_outcome wait_for_gate(const struct instruction *todo,
					  struct outfall_context *ctx)
{
	while (!gate_is_open(todo->argument)) {
		if (outfall_should_stop(ctx)) {
			record("stopped %s", todo->tag);
			return OUTFALL_RETURN;
		}
		sleep_ms(2);
	}
	return OUTFALL_DONE;
}

static enum outfall_outcome wait_for_stop(const struct instruction *todo,
					  struct outfall_context *ctx)
{
	while (!outfall_should_stop(ctx))
		sleep_ms(2);
	record("stopped %s", todo->tag);
	return OUTFALL_RETURN;
}

static enum outfall_outcome watch(const struct instruction *todo, struct outfall_context *ctx)
{
	int64_t left_ms;
	while ((left_ms = outfall_time_left_ms(ctx)) < 0)
		sleep_ms(2);
	record("left %s %lld", todo->tag, (long long)left_ms);
	return wait_for_stop(todo, ctx);
}

static enum outfall_outcome leave(const struct instruction *todo, const struct outfall_job *job,
				  struct outfall_context *ctx)
{
	if (job->checkpoint_bytes > 0) {
		record("found %s %.*s", todo->tag, (int)job->checkpoint_bytes,
		       (const char *)job->checkpoint);
		return OUTFALL_DONE;
	}
	outfall_progress(ctx, 0.5, "half");
	if (outfall_checkpoint(ctx, todo->argument, strlen(todo->argument)) != 0)
		return OUTFALL_REJECT;
	record("left %s %s", todo->tag, todo->argument);
	return wait_for_stop(todo, ctx);
}

static enum outfall_outcome fail(const struct instruction *todo, struct outfall_context *ctx)
{
	static const char *const backtrace[] = {"a.c:1", "b.c:2"};
	outfall_set_error(ctx, "std::out_of_range", todo->argument, backtrace, 2);
	return OUTFALL_RETRY;
}

static enum outfall_outcome carry_out(const struct instruction *todo, const struct outfall_job *job,
				      struct outfall_context *ctx)
{
	if (todo->verb == NULL || strcmp(todo->verb, "done") == 0)
		return OUTFALL_DONE;
	if (strcmp(todo->verb, "retry") == 0)
		return OUTFALL_RETRY;
	if (strcmp(todo->verb, "reject") == 0)
		return OUTFALL_REJECT;
	if (strcmp(todo->verb, "return") == 0)
		return OUTFALL_RETURN;
	if (strcmp(todo->verb, "error") == 0)
		return fail(todo, ctx);
	if (strcmp(todo->verb, "watch") == 0)
		return watch(todo, ctx);
	if (strcmp(todo->verb, "leave") == 0)
		return leave(todo, job, ctx);
	if (strcmp(todo->verb, "gate") == 0)
		return wait_for_gate(todo, ctx);
	if (strcmp(todo->verb, "ms") == 0)
		sleep_ms(atol(todo->argument));
	else if (strcmp(todo->verb, "stubborn") == 0)
		while (!gate_is_open(todo->argument))
			sleep_ms(2);
	else if (strcmp(todo->verb, "say") == 0)
		printf("%s\n", todo->argument), fflush(stdout);
	else if (strcmp(todo->verb, "crash") == 0 ||
		 (strcmp(todo->verb, "crash-once") == 0 && job->crashes == 0))
		raise(atoi(todo->argument));
	else
		outfall_set_reason(ctx, "a verb that the test plugin does not know");
	return OUTFALL_DONE;
}

struct task {
	const struct outfall_job *job;
	struct outfall_context *ctx;
};

/* From the begin of a job to its end, on whatever thread. */
static enum outfall_outcome work_on(const struct task *task, bool *ret_twice)
{
	const struct outfall_job *job = task->job;
	char body[512];
	size_t len = job->body_bytes < sizeof body - 1 ? job->body_bytes : sizeof body - 1;
	memcpy(body, job->body, len);
	body[len] = '\0';
	struct instruction todo = instruction_parse(body);
	record("begin %s attempt=%u interruptions=%u redelivered=%d queue=%s id=%s pid=%d "
	       "bytes=%zu crashes=%u source=%s timeout=%llu",
	       todo.tag, job->attempt, job->interruptions, job->redelivered, job->queue, job->id,
	       (int)getpid(), job->body_bytes, job->crashes, job->source,
	       (unsigned long long)job->timeout_ms);
	*ret_twice = todo.verb != NULL && strcmp(todo.verb, "twice") == 0;
	enum outfall_outcome outcome = *ret_twice ? OUTFALL_DONE : carry_out(&todo, job, task->ctx);
	if (outcome == OUTFALL_DONE)
		record("end %s", todo.tag);
	return outcome;
}

#ifdef ASYNCHRONOUS

static void *work_on_thread(void *arg)
{
	struct task *task = arg;
	bool twice;
	enum outfall_outcome outcome = work_on(task, &twice);
	outfall_complete(task->ctx, outcome);
	if (twice)
		outfall_complete(task->ctx, OUTFALL_RETRY);
	free(task);
	return NULL;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	struct task *task = malloc(sizeof *task);
	pthread_t thread;
	if (task == NULL)
		abort();
	*task = (struct task){job, ctx};
	if (pthread_create(&thread, NULL, work_on_thread, task) != 0)
		abort();
	pthread_detach(thread);
	return OUTFALL_PENDING;
}

/* No exit(): the code stays, for what a thread does after it has completed its job. */
const struct outfall_plugin outfall_plugin = {
    .abi = OUTFALL_ABI, .run = run, .concurrency = AT_ONCE};

#else

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	bool twice;
	return work_on(&(struct task){job, ctx}, &twice);
}

static int init(struct outfall_context *ctx)
{
	record("init");
	if (getenv("OUTFALL_TEST_INIT_FAILS") == NULL)
		return 0;
	outfall_set_reason(ctx, "no such database");
	return 1;
}

/* As one that closes a connection to a database which does not answer. */
static void hang_in(const char *hook)
{
	const char *where = getenv("OUTFALL_TEST_HANG_IN");
	while (where != NULL && strcmp(where, hook) == 0)
		pause();
}

static void end(struct outfall_context *ctx)
{
	(void)ctx;
	record("exit");
	hang_in("exit");
}

static int thread_init(struct outfall_context *ctx)
{
	(void)ctx;
	record("thread-init");
	return 0;
}

static void thread_exit(struct outfall_context *ctx)
{
	(void)ctx;
	record("thread-exit");
	hang_in("thread-exit");
}

const struct outfall_plugin outfall_plugin = {
    .abi = OUTFALL_ABI,
    .run = run,
    .init = init,
    .exit = end,
    .thread_init = thread_init,
    .thread_exit = thread_exit,
};

#endif
