#include "small_worker.h"

#include "sources/kind.h"
#include "sources/rabbitmq/rabbitmq.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp_frame.h"

static const char *urls[] = {"amqp://guest:guest@localhost:5672/fuzz"};

static struct queue_settings jobs = {.name = "jobs", .retry = &small_retry, .prefetch = 8};
static struct queue_settings more = {
    .name = "more", .retry = &small_retry, .dead = "more.dead", .priority = 3};
static struct source_queue_settings *queues[] = {&jobs.source, &more.source};

static const struct rabbitmq_settings settings = {
    .name = "mq",
    .broker = {.urls = urls, .n_urls = 1, .connect_timeout_ms = 5000},
    .queues = queues,
    .n_queues = sizeof queues / sizeof *queues,
    .heartbeat_ms = 10000,
    .consumer_check_ms = 30000,
};

static size_t frame(struct span left)
{
	if (left.len < AMQP_HEAD_BYTES)
		return left.len;
	size_t whole = (size_t)amqp_head_read(left.ptr).size + AMQP_AROUND_BYTES;
	return whole < left.len ? whole : left.len;
}

const struct small_source small_rabbitmq = {
    .kind = &rabbitmq_kind,
    .settings = &settings.source,
    .piece = frame,
};
