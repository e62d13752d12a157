/* Built when the struct ended with run: what lies behind it then is not the worker's to read. */
#include "plugin/outfall.h"

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	(void)ctx;
	return OUTFALL_PENDING; /* not yet an outcome then */
}

static int not_a_hook(struct outfall_context *ctx)
{
	(void)ctx;
	return 1;
}

const struct outfall_plugin outfall_plugin = {
    .abi = 1, .run = run, .concurrency = 1u << 31, .init = not_a_hook};
