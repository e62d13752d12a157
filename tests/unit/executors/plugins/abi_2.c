/* Built when there was no outfall_set_error(): it tells why with what there was. */
#include "plugin/outfall.h"

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	outfall_set_reason(ctx, "no disk");
	return OUTFALL_RETRY;
}

const struct outfall_plugin outfall_plugin = {.abi = 2, .run = run, .concurrency = 3};
