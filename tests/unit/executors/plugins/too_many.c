#include "plugin/outfall.h"

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	(void)ctx;
	return OUTFALL_DONE;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run, .concurrency = 65537};
