/* worker/sources/kinds.c as it would be with one kind more: a line. */
#include "memory.h"
#include "sources/kind.h"
#include "sources/rabbitmq/rabbitmq.h"
#include "sources/redis/redis_list.h"

const struct source_schema *const source_kinds[] = {
    &rabbitmq_kind.schema,
    &redis_kind.schema,
    &memory_kind.schema,
    NULL,
};
