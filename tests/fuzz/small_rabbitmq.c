#include "small_worker.h"

#include "sources/rabbitmq/rabbitmq.h"
#include "wire/amqp_frame.h"

static const char *urls[] = {"amqp://guest:guest@localhost:5672/fuzz"};

static struct queue_settings queues[] = {
    {.name = "jobs",         .retry = &small_retry, .prefetch = 8},
    { .name = "more", .retry = &small_retry,   .dead = "more.dead", .priority = 3},
};

static const struct rabbitmq_settings settings = {
    .name = "mq",
    .broker = {.urls = urls, .n_urls = 1, .connect_timeout_ms = 5000},
    .heartbeat_ms = 10000,
    .consumer_check_ms = 30000,
    .queues = queues,
    .n_queues = sizeof queues / sizeof *queues,
};

static enum status create(struct loop *loop, struct log *log, const struct worker_settings *worker,
			  struct source_host *host, struct source **ret_source)
{
	return rabbitmq_source_create(loop, log, &settings, worker, host, ret_source, NULL);
}

static enum status add(struct source *source, size_t index, struct route *route)
{
	return rabbitmq_source_add(source, &queues[index], route, NULL);
}

static size_t frame(struct span left)
{
	if (left.len < AMQP_HEAD_BYTES)
		return left.len;
	size_t whole = (size_t)amqp_head_read(left.ptr).size + AMQP_AROUND_BYTES;
	return whole < left.len ? whole : left.len;
}

static const char *const names[] = {"jobs", "more", NULL};

const struct small_kind small_rabbitmq = {
    .create = create,
    .bind = rabbitmq_source_bind,
    .add = add,
    .queues = names,
    .piece = frame,
};
