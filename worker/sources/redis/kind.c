/* What a Redis server is to the rest of the worker: its keys, its checks, its addresses, and how a source and a producer
 * are made of them. */
#include "sources/kind.h"

#include "base/must.h"
#include "base/span.h"
#include "settings/document.h"
#include "settings/problems.h"
#include "settings/rows.h"
#include "settings/rules.h"
#include "sources/redis/redis_list.h"
#include "sources/redis/redis_producer.h"
#include "sources/redis/redis_settings.h"
#include "wire/url.h"

#include <string.h>

/* --- keys ----------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct choice formats[] = {
    {"list", 0}, {"bullmq", CHOICE_LATER}, {"sidekiq", CHOICE_LATER}, {"celery", CHOICE_LATER}, {0}};

static const struct key_row source_keys[] = {
    {"url", VALUE_TEXT, NO_FIELD, SECRET(URL),
     .help = "redis://user:password@host:port/database, rediss:// for TLS, unix:///path/to/socket, or "
	     "redis+sentinel://user:password@sentinel:26379,sentinel:26379/MASTER/database with "
	     "?sentinel_user=USER&sentinel_password=PASSWORD where the Sentinels want them; "
	     "redis+cluster://user:password@node:6379,node:6379 for a cluster. One of url and url_file is needed."},
    {"wait_replicas", VALUE_COUNT, FIELD(redis_settings, wait_replicas),
     .preset = "none", .zero = "none", RANGE(1, 100),
     .help = "Jobs begin, and count as settled, when so many replicas have confirmed it (WAIT): then a "
	     "failover to one of them runs fewer jobs twice. Costs a round trip to the replicas for each call."},
    {"wait_timeout", VALUE_DURATION, FIELD(redis_settings, wait_timeout_ms),
     .preset = "1s", RANGE(1, 1 HOURS),
     .help = "How long replicas are waited for; then the work goes on without them, and the log says so. "
	     "Less than a sixth of each list's lease."},
};

static const struct key_row list_keys[] = {
    {"prefetch", VALUE_COUNT, FIELD(list_settings, prefetch),
     .preset = "auto", .zero = "auto", RANGE(1, 65535),
     .help = "Most jobs of the list here at once, running ones included. \"auto\" claims more or fewer "
	     "ahead with the time that jobs take: of slow ones only those that can begin, and one that "
	     "waits for its turn while other queues have the handler's places or the worker's."},
    {"lease", VALUE_DURATION, FIELD(list_settings, lease_ms),
     .preset = "15s", RANGE(1 SECONDS, 1 HOURS),
     .help = "How long a worker that died keeps its jobs. A living one renews it."},
    {"format", VALUE_CHOICE, NO_FIELD, .preset = "list", .choices = formats,
     .help = "What producers put there. \"list\": any bytes, with LPUSH."},
    {"dead", VALUE_TEXT, FIELD(list_settings, dead),
     .help = "The list where rejected jobs go. Default: {NAME}:dead."},
};
/* clang-format on */

/* --- addresses ------------------------------------------------------------------------------------ */

static bool is_cluster(enum url_scheme scheme)
{
	return scheme == URL_CLUSTER || scheme == URL_CLUSTERS;
}

static bool is_redis(enum url_scheme scheme)
{
	return scheme == URL_REDIS || scheme == URL_REDISS || scheme == URL_UNIX ||
	       scheme == URL_SENTINEL || scheme == URL_SENTINELS || is_cluster(scheme);
}

static bool is_database(const char *path)
{
	return path == NULL || (strspn(path, "0123456789") == strlen(path) && strlen(path) <= 5);
}

/* Of redis:// it is the path or "?db=", of unix:// only the latter. */
static bool is_query(const char *query)
{
	return query == NULL || (strncmp(query, "db=", 3) == 0 && is_database(query + 3));
}

static const char *wrong_url(const struct url *url)
{
	if (!is_redis(url->scheme))
		return "a redis section needs a redis://, rediss://, unix://, redis+sentinel:// or "
		       "redis+cluster:// address";
	if (url->scheme != URL_UNIX && !is_database(url->path))
		return url->service != NULL
			   ? "behind the name of the master stands the number of a database"
			   : "the path of a redis:// address is the number of a database";
	if (is_cluster(url->scheme) && url->path != NULL &&
	    strspn(url->path, "0") != strlen(url->path))
		return "a cluster has no database but 0";
	if (is_cluster(url->scheme) && url->query != NULL)
		return "nothing is understood after the nodes of a cluster";
	if (!is_query(url->query))
		return "only \"?db=<number>\" is understood after the path";
	return NULL;
}

/* --- what must fit together ----------------------------------------------------------------------- */

static const struct redis_settings *settings_of(const struct source_settings *source)
{
	return list_entry(source, const struct redis_settings, source);
}

static const struct list_settings *list_of(const struct source_queue_settings *queue)
{
	return list_entry(queue, const struct list_settings, source);
}

/* What stands behind a WAIT on the connection is answered later by that much, renewals of leases too; a
 * server that says nothing for a sixth of a lease is given up. */
static void check_wait(const struct rules *rules, const struct block *block,
		       const struct redis_settings *redis)
{
	if (redis->wait_replicas == 0) {
		if (block_said(block, "wait_timeout")->n > 0)
			problems_warn(
			    rules->problems, block_place(block, "wait_timeout"),
			    "redis \"%s\": wait_timeout has no effect without wait_replicas",
			    block->title);
		return;
	}
	for (size_t i = 0; i < redis->n_queues; i++) {
		if (redis->wait_timeout_ms < list_of(redis->queues[i])->lease_ms / 6)
			continue;
		problems_error(
		    rules->problems, block_place(block, "wait_timeout"),
		    "redis \"%s\": wait_timeout must be less than a sixth of the lease of "
		    "list \"%s\"",
		    block->title, redis->queues[i]->name);
		return;
	}
}

/* By which a cluster places a key: what is in its first braces, or all of it. */
static struct span hash_tag(const char *key)
{
	const char *open = strchr(key, '{');
	const char *close = open != NULL ? strchr(open, '}') : NULL;
	if (close == NULL || close == open + 1)
		return span_text(key);
	return span_of(open + 1, (size_t)(close - open - 1));
}

static void check_dead_slot(const struct rules *rules, const struct source_queue_settings *list)
{
	if (list->dead == NULL || span_equal(hash_tag(list->dead), hash_tag(list->name)))
		return;
	struct span tag = hash_tag(list->name);
	problems_error(
	    rules->problems, list->place,
	    "list \"%s\": in a cluster `dead` must be in its slot, so carry its hash tag: "
	    "\"{%.*s}...\"",
	    list->name, (int)tag.len, tag.ptr);
}

/* Each list has its slot, and each slot its node; a section is one connection. */
static void check_cluster(const struct rules *rules, const struct block *block,
			  const struct redis_settings *redis)
{
	if (redis->broker.n_urls == 0 || strstr(redis->broker.urls[0], "+cluster://") == NULL)
		return;
	for (size_t i = 0; i < redis->n_queues; i++)
		check_dead_slot(rules, redis->queues[i]);
	if (redis->n_queues < 2)
		return;
	problems_error(
	    rules->problems, redis->queues[1]->place,
	    "redis \"%s\": in a cluster each list has a node of its own: give list \"%s\" a "
	    "section of its own",
	    block->title, redis->queues[1]->name);
}

static void check(const struct rules *rules, const struct block *block)
{
	const struct redis_settings *redis = block->fields;
	check_wait(rules, block, redis);
	check_cluster(rules, block, redis);
}

/* --- life ----------------------------------------------------------------------------------------- */

static enum status create(const struct source_parts *parts, const struct source_settings *settings,
			  struct source **ret_source, struct error *why)
{
	return redis_list_source_create(parts->loop, parts->log, settings_of(settings),
					parts->worker, parts->host, ret_source, why);
}

static enum status add(struct source *source, const struct source_queue_settings *list,
		       struct route *route, struct error *why)
{
	return redis_list_source_add(source, list_of(list), route, why);
}

static struct producer *open_producer(struct loop *loop, struct log *log,
				      const struct source_settings *settings,
				      const struct source_queue_settings *list,
				      const struct producer_events *events, void *arg)
{
	return redis_producer_open(loop, log, settings_of(settings), list_of(list), events, arg);
}

/* clang-format off */
const struct source_kind redis_kind = {
    .schema = {
	.section = {
	    .name = "redis", TITLED(redis_settings), .schema = &redis_kind.schema,
	    .keys = {KEY_ROWS(source_keys), TABLE_SOURCE_KEYS},
	    .help = "A Redis server; the title is yours to choose.",
	},
	.queue = {
	    .name = "list", TITLED(list_settings), .schema = &redis_kind.schema,
	    .inside = &redis_kind.schema.section, .keys = {KEY_ROWS(list_keys), TABLE_QUEUE_KEYS},
	    .help = "A list to take jobs from; the title is the key that producers LPUSH to.",
	},
	.tls_scheme = "rediss://",
	.wrong_url = wrong_url,
	.check = check,
    },
    .create = create,
    .add = add,
    .open_producer = open_producer,
    .cannot = KIND_NO_HEADERS,
};
/* clang-format on */
