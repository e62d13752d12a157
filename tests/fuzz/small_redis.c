#include "reply_piece.h"
#include "small_worker.h"

#include "sources/redis/redis_list.h"

static const char *urls[] = {"redis://user:secret@localhost:6379/2"};

static struct list_settings lists[] = {
    {.name = "jobs",         .retry = &small_retry, .lease_ms = 15000},
    { .name = "more", .retry = &small_retry,     .lease_ms = 15000,     .prefetch = 8},
};

static const struct redis_settings settings = {
    .name = "cache",
    .broker = {.urls = urls, .n_urls = 1, .connect_timeout_ms = 5000},
    .lists = lists,
    .n_lists = sizeof lists / sizeof *lists,
};

static enum status create(struct loop *loop, struct log *log, const struct worker_settings *worker,
			  struct source_host *host, struct source **ret_source)
{
	return redis_list_source_create(loop, log, &settings, worker, host, ret_source, NULL);
}

static enum status add(struct source *source, size_t index, struct route *route)
{
	return redis_list_source_add(source, &lists[index], route, NULL);
}

static const char *const names[] = {"jobs", "more", NULL};

const struct small_kind small_redis = {
    .create = create,
    .bind = redis_list_source_bind,
    .add = add,
    .queues = names,
    .piece = reply_piece,
    .answers = true,
};
