/* What a Redis answers to a worker with two lists: to logins, scripts and blocked pops. It answers when
 * it was asked; what it says too much comes with the last answer. */
#include "fuzz.h"
#include "small_worker.h"

#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	must(small_worker_run(&small_redis, bytes, size));
	return 0;
}
