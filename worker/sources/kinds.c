/* Another kind of source is a folder beside this file, and a line in it. */
#include "sources/kind.h"

#include "sources/rabbitmq/rabbitmq.h"
#include "sources/redis/redis_list.h"

const struct source_schema *const source_kinds[] = {
    &rabbitmq_kind.schema,
    &redis_kind.schema,
    NULL,
};
