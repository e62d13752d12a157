#include "reply_piece.h"
#include "small_worker.h"

#include "sources/kind.h"
#include "sources/redis/redis_list.h"
#include "sources/redis/redis_settings.h"

static const char *urls[] = {"redis://user:secret@localhost:6379/2"};

static struct list_settings jobs = {.name = "jobs", .retry = &small_retry, .lease_ms = 15000};
static struct list_settings more = {
    .name = "more", .retry = &small_retry, .prefetch = 8, .lease_ms = 15000};
static struct source_queue_settings *lists[] = {&jobs.source, &more.source};

static const struct redis_settings settings = {
    .name = "cache",
    .broker = {.urls = urls, .n_urls = 1, .connect_timeout_ms = 5000},
    .queues = lists,
    .n_queues = sizeof lists / sizeof *lists,
};

const struct small_source small_redis = {
    .kind = &redis_kind,
    .settings = &settings.source,
    .piece = reply_piece,
    .answers = true,
};
