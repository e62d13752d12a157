/* test_plugin - a plugin that does what the job's body says and leaves a record, like test_handler.
 *
 * The record is the file named by OUTFALL_TEST_RECORD in the worker's environment, opened when the
 * library is loaded. Verbs beside those of instruction.h: retry, reject, return, and stubborn (like
 * gate, but does not ask whether to stop: what a thread that nobody can kill looks like). */
#include "plugin/outfall.h"

#include "instruction.h"

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

static enum outfall_outcome carry_out(const struct instruction *todo, struct outfall_context *ctx)
{
	if (todo->verb == NULL || strcmp(todo->verb, "done") == 0)
		return OUTFALL_DONE;
	if (strcmp(todo->verb, "retry") == 0)
		return OUTFALL_RETRY;
	if (strcmp(todo->verb, "reject") == 0)
		return OUTFALL_REJECT;
	if (strcmp(todo->verb, "return") == 0)
		return OUTFALL_RETURN;
	if (strcmp(todo->verb, "ms") == 0)
		sleep_ms(atol(todo->argument));
	else if (strcmp(todo->verb, "gate") == 0)
		return wait_for_gate(todo, ctx);
	else if (strcmp(todo->verb, "stubborn") == 0)
		while (!gate_is_open(todo->argument))
			sleep_ms(2);
	else
		outfall_set_reason(ctx, "a verb that the test plugin does not know");
	return OUTFALL_DONE;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	char body[512];
	size_t len = job->body_bytes < sizeof body - 1 ? job->body_bytes : sizeof body - 1;
	memcpy(body, job->body, len);
	body[len] = '\0';
	struct instruction todo = instruction_parse(body);
	record(
	    "begin %s attempt=%u interruptions=%u redelivered=%d queue=%s id=%s pid=%d bytes=%zu",
	    todo.tag, job->attempt, job->interruptions, job->redelivered, job->queue, job->id,
	    (int)getpid(), job->body_bytes);
	enum outfall_outcome outcome = carry_out(&todo, ctx);
	if (outcome == OUTFALL_DONE)
		record("end %s", todo.tag);
	return outcome;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};
