/* What a Redis answers to a worker with two lists: to logins, scripts and blocked pops. It answers when
 * it was asked; what it says too much comes with the last answer. */
#include "fuzz.h"
#include "reply_piece.h"
#include "small_worker.h"

#include "sources/redis_list.h"

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

static const char *const names[] = {"jobs", "more", NULL};

static const struct small_kind redis = {
    .create = create,
    .bind = redis_list_source_bind,
    .queues = names,
    .piece = reply_piece,
    .answers = true,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	small_worker_run(&redis, bytes, size);
	return 0;
}
