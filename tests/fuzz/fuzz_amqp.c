/* What a RabbitMQ says: frames of every kind, in any order, whole or torn, on the consuming connection
 * and on the publishing one, to a worker with two queues. The second has a queue for the dead, so its
 * copies take the long way. */
#include "fuzz.h"
#include "small_worker.h"

#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	must(small_worker_run(&small_rabbitmq, bytes, size));
	return 0;
}
