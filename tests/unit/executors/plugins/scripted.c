#include "scripted.h"

#include <string.h>
#include <unistd.h>

static void wait_a_little(void)
{
	(void)usleep(200);
}

static void say(struct script *script, struct outfall_context *ctx)
{
	if (script->note != NULL)
		outfall_progress(ctx, script->progress, script->note);
	if (script->extend_ms != 0)
		outfall_extend_ms(ctx, script->extend_ms);
	if (script->retry_after_ms != 0)
		outfall_set_retry_after_ms(ctx, script->retry_after_ms);
	if (script->error != NULL)
		outfall_set_error(ctx, script->error->class_name, script->error->message,
				  script->error->backtrace, script->error->lines);
	if (script->checkpoint != NULL)
		script->checkpoint_kept =
		    outfall_checkpoint(ctx, script->checkpoint, script->checkpoint_bytes);
}

static enum outfall_outcome act(struct script *script, const struct outfall_job *job,
				struct outfall_context *ctx)
{
	script->seen = *job;
	say(script, ctx);
	atomic_store(&script->left_ms, outfall_time_left_ms(ctx));
	atomic_store(&script->begun, 1);
	while (script->waits_for_gate && !atomic_load(&script->gate))
		wait_a_little();
	while (script->waits_for_stop && !outfall_should_stop(ctx)) {
		atomic_store(&script->left_ms, outfall_time_left_ms(ctx));
		wait_a_little();
	}
	if (script->reason != NULL) {
		outfall_set_reason(ctx, script->reason);
		outfall_log(ctx, OUTFALL_LOG_WARN, script->reason);
	}
	enum outfall_outcome outcome = (enum outfall_outcome)script->returns;
	atomic_store(&script->ended, 1);
	return outcome;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	struct script *script;
	if (job->body_bytes != sizeof script)
		return OUTFALL_DONE;
	memcpy(&script, job->body, sizeof script);
	return act(script, job, ctx);
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};
