/* A plugin whose helpers are named like functions of the worker, or (LIBRARIES) of libraries that the worker
 * has loaded, are not static, and do something else. Done: it has called its own. */
#include "plugin/outfall.h"

int url_parse(int n);
int text_put(int n);
int log_write(int n);
int uv_run(int n);
int json_loads(int n);
int redisCommand(int n);

#ifdef LIBRARIES
#define FIRST  uv_run
#define SECOND json_loads
#define THIRD  redisCommand
#else
#define FIRST  url_parse
#define SECOND text_put
#define THIRD  log_write
#endif

int FIRST(int n)
{
	return n + 1;
}

int SECOND(int n)
{
	return FIRST(n) + 1;
}

int THIRD(int n)
{
	return SECOND(n) + 1;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	(void)job;
	(void)ctx;
	return THIRD(1) == 4 ? OUTFALL_DONE : OUTFALL_REJECT;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};
