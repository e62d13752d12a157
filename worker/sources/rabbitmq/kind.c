/* What a RabbitMQ broker is to the rest of the worker: its keys, its checks, its addresses, and how a source and a
 * producer are made of them. */
#include "sources/kind.h"

#include "base/must.h"
#include "settings/document.h"
#include "settings/problems.h"
#include "settings/region.h"
#include "settings/rows.h"
#include "settings/rules.h"
#include "sources/rabbitmq/rabbitmq.h"
#include "sources/rabbitmq/rabbitmq_producer.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/url.h"

#include <string.h>

/* --- keys ----------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct choice auths[] = {
    {"plain", RABBITMQ_AUTH_PLAIN}, {"external", RABBITMQ_AUTH_EXTERNAL}, {0}};
static const struct choice declares[] = {
    {"passive", DECLARE_PASSIVE}, {"durable", DECLARE_DURABLE}, {"quorum", DECLARE_QUORUM}, {0}};
static const struct choice single_actives[] = {
    {"auto", SINGLE_ACTIVE_AUTO}, {"false", SINGLE_ACTIVE_NOT}, {"true", SINGLE_ACTIVE_YES}, {0}};
static const struct choice missings[] = {
    {"fail", MISSING_FAIL}, {"wait", MISSING_WAIT}, {0}};
static const struct choice dlxs[] = {{"false", DLX_NOT_KNOWN}, {"true", DLX_OWN}, {0}};

static const struct key_row source_keys[] = {
    {"url", VALUE_TEXT, NO_FIELD, SECRET(URL),
     .help = "amqp://user:password@host:port/vhost, or amqps:// for TLS. One of url, urls and url_file is "
	     "needed."},
    {"urls", VALUE_LIST, NO_FIELD, SECRET(URL),
     .help = "The nodes of a cluster, {\"amqp://...\", \"amqp://...\"}: in an order drawn at the start, so "
	     "that a fleet spreads; after a failure the next one, and a wait once all have failed."},
    {"auth", VALUE_CHOICE, FIELD(rabbitmq_settings, auth),
     .preset = "plain", .choices = auths,
     .help = "\"plain\": the user and password of the URL. \"external\": the certificate in cert_file says who "
	     "we are (rabbitmq_auth_mechanism_ssl)."},
    {"heartbeat", VALUE_DURATION, FIELD(rabbitmq_settings, heartbeat_ms),
     .preset = "10s", .zero = "none", RANGE(1 SECONDS, 1 HOURS),
     .help = "A peer silent for two of them is dead. Whole seconds; the broker may want less."},
    {"consumer_check", VALUE_DURATION, FIELD(rabbitmq_settings, consumer_check_ms),
     .preset = "30s", .zero = "none", RANGE(100, 24 HOURS),
     .help = "How often each queue is asked whether it still knows of a consumer; if not, ours "
	     "subscribes again."},
};

static const struct key_row queue_keys[] = {
    {"prefetch", VALUE_COUNT, FIELD(queue_settings, prefetch),
     .preset = "auto", .zero = "auto", RANGE(1, 65535),
     .help = "Most jobs of the queue here at once, running ones included. \"auto\" follows from what the "
	     "handler can run at once."},
    {"priority", VALUE_NUMBER, FIELD(queue_settings, priority),
     .preset = "0", RANGE(-INT32_MAX, INT32_MAX),
     .help = "The consumer's priority: of several workers, the highest is served first."},
    {"consumer_timeout", VALUE_DURATION, FIELD(queue_settings, consumer_timeout_ms),
     .preset = "broker", .zero = "broker", RANGE(60 SECONDS, 576 HOURS),
     .help = "How long RabbitMQ waits for a job's end before it takes the job back, the job's wait in the "
	     "worker included (x-consumer-timeout, RabbitMQ 3.12 and newer; from 4.3 on quorum queues "
	     "only). \"broker\": what is set there, "
	     "30m by default."},
    {"delivery_limit", VALUE_COUNT, FIELD(queue_settings, delivery_limit),
     .preset = "auto", .zero = "auto", RANGE(1, 1000000),
     .help = "The delivery limit that a quorum queue has, by policy or argument. Before RabbitMQ 4.3 it counts "
	     "what a worker gives back, too. So, with \"auto\", a job goes back to the head of its queue once, "
	     "and after that as a copy, to the tail, whose count starts over. With a number a job goes back to "
	     "the head half as often; where the policy is delivery-limit = -1, say 1000000."},
    {"declare", VALUE_CHOICE, FIELD(queue_settings, declare),
     .preset = "passive", .choices = declares,
     .help = "\"passive\": the queue must exist, and the one that `dead` names. The others create what "
	     "does not."},
    {"single_active", VALUE_CHOICE, FIELD(queue_settings, single_active),
     .preset = "auto", .choices = single_actives,
     .help = "Whether the queue has a single active consumer (x-single-active-consumer). Such a one is "
	     "released when its running jobs have ended, so that the next consumer cannot overtake them. "
	     "\"auto\": the broker is asked by a declaration when jobs are given back; that takes the right to "
	     "configure the queue, and each argument that the queue has may cost two error lines in the "
	     "broker's log, once in the worker's life. \"true\": it has, and declare creates it so."},
    {"missing", VALUE_CHOICE, FIELD(queue_settings, missing),
     .preset = "fail", .choices = missings,
     .help = "Where the queue, or the one that `dead` names, is not there at the start. \"fail\": the "
	     "worker ends, with 69. \"wait\": it looks again until it is; other queues go on. A queue "
	     "that is lost later is always awaited; one that `dead` names only by the jobs that end there."},
    {"dead", VALUE_TEXT, FIELD(queue_settings, dead),
     .help = "The queue where dead jobs go: confirmed there before they leave this one. Default: QUEUE.dead "
	     "where `declare` creates the queue, and creates that as well; else basic.reject, and the broker "
	     "discards them unless the queue has a dead letter exchange."},
    {"dlx", VALUE_CHOICE, FIELD(queue_settings, dlx), .preset = "false",
     .choices = dlxs,
     .help = "\"true\": instead of `dead`, the queue has a dead letter exchange of its own, by argument or "
	     "policy. Dead jobs are rejected, for it."},
};
/* clang-format on */

/* --- addresses ------------------------------------------------------------------------------------ */

static const char *wrong_url(const struct url *url)
{
	if (url->scheme != URL_AMQP && url->scheme != URL_AMQPS)
		return "a rabbitmq section needs an amqp:// or amqps:// address";
	if (url->query != NULL)
		return "nothing is understood behind the virtual host: heartbeat and the like are "
		       "keys of this section";
	return NULL;
}

/* --- what must fit together ----------------------------------------------------------------------- */

static const struct rabbitmq_settings *settings_of(const struct source_settings *source)
{
	return list_entry(source, const struct rabbitmq_settings, source);
}

static const struct queue_settings *queue_of(const struct source_queue_settings *queue)
{
	return list_entry(queue, const struct queue_settings, source);
}

static void complete(struct source_queue_settings *queue, struct region *region)
{
	const struct queue_settings *of = queue_of(queue);
	if (queue->dead == NULL && of->dlx != DLX_OWN && of->declare != DECLARE_PASSIVE)
		queue->dead = region_print(region, "%s.dead", queue->name);
}

static void check_external(const struct rules *rules, const struct block *block,
			   const struct broker_settings *broker)
{
	struct place place = block_place(block, "auth");
	if (broker->n_urls > 0 && rules_count_tls(broker) < broker->n_urls)
		problems_error(rules->problems, place,
			       "rabbitmq \"%s\": auth \"external\" takes TLS: amqps://",
			       block->title);
	if (broker->tls.cert_file == NULL)
		problems_error(
		    rules->problems, place,
		    "rabbitmq \"%s\": auth \"external\" needs a cert_file: it says who we "
		    "are",
		    block->title);
	if (broker->password_file != NULL)
		problems_warn(rules->problems, block_place(block, "password_file"),
			      "rabbitmq \"%s\": with auth \"external\" no password is sent",
			      block->title);
}

static void check(const struct rules *rules, const struct block *block)
{
	const struct rabbitmq_settings *rabbitmq = block->fields;
	if (rabbitmq->auth == RABBITMQ_AUTH_EXTERNAL)
		check_external(rules, block, &rabbitmq->broker);
	if (rabbitmq->heartbeat_ms % 1000 != 0)
		problems_error(rules->problems, block_place(block, "heartbeat"),
			       "heartbeat: RabbitMQ counts in whole seconds");
}

static void check_queue_name(const struct rules *rules, struct place place, const char *name)
{
	if (name != NULL && strlen(name) > 255)
		problems_error(rules->problems, place,
			       "the name of a RabbitMQ queue has at most 255 bytes");
}

/* The default of RabbitMQ 3.8 to 4.2, after which it closes the channel. */
enum { CONSUMER_TIMEOUT_MS = 30 * 60 * 1000 };

static void check_consumer_timeout(const struct rules *rules, const struct block *block,
				   const struct queue_settings *queue)
{
	const struct handler_settings *handler = queue->handler;
	uint64_t own_ms = queue->consumer_timeout_ms;
	if (handler == NULL || handler->timeout_ms <= (own_ms != 0 ? own_ms : CONSUMER_TIMEOUT_MS))
		return;
	if (own_ms == 0)
		problems_warn(
		    rules->problems, block_place(block, "handler"),
		    "queue \"%s\": handler \"%s\" may run longer than the 30m after which "
		    "RabbitMQ takes a job back: set consumer_timeout, or raise the broker's",
		    block->title, handler->name);
	else
		problems_warn(rules->problems, block_place(block, "consumer_timeout"),
			      "queue \"%s\": handler \"%s\" may run longer than "
			      "consumer_timeout, after which RabbitMQ takes a job back",
			      block->title, handler->name);
}

/* Only the broker's management knows of its dead letter exchange. */
static void check_dead_letters(const struct rules *rules, const struct block *block,
			       const struct queue_settings *queue)
{
	bool has_own = queue->dlx == DLX_OWN;
	if (has_own && queue->dead != NULL)
		problems_error(
		    rules->problems, block_place(block, "dlx"),
		    "queue \"%s\": its dead jobs go to the queue that dead names, or to its "
		    "dead letter exchange: name one of dead and dlx",
		    block->title);
	else if (!has_own && queue->dead == NULL)
		problems_warn(
		    rules->problems, block->place,
		    "queue \"%s\": its dead jobs are lost unless it has a dead letter "
		    "exchange: name a queue for them, dead = \"%s.dead\", or say that it has "
		    "one, dlx = \"true\"",
		    block->title, block->title);
}

static void check_queue(const struct rules *rules, const struct block *block)
{
	const struct queue_settings *queue = block->fields;
	check_dead_letters(rules, block, queue);
	check_queue_name(rules, block->place, queue->name);
	check_queue_name(rules, block_place(block, "dead"), queue->dead);
	if (queue->missing == MISSING_WAIT && queue->declare != DECLARE_PASSIVE)
		problems_warn(rules->problems, block_place(block, "missing"),
			      "queue \"%s\": declare creates it where it is missing, so missing = "
			      "\"wait\" says nothing",
			      block->title);
	check_consumer_timeout(rules, block, queue);
}

/* --- life ----------------------------------------------------------------------------------------- */

static enum status create(const struct source_parts *parts, const struct source_settings *settings,
			  struct source **ret_source, struct error *why)
{
	return rabbitmq_source_create(parts->loop, parts->log, settings_of(settings), parts->worker,
				      parts->host, ret_source, why);
}

static enum status add(struct source *source, const struct source_queue_settings *queue,
		       struct route *route, struct error *why)
{
	return rabbitmq_source_add(source, queue_of(queue), route, why);
}

static struct producer *open_producer(struct loop *loop, struct log *log,
				      const struct source_settings *settings,
				      const struct source_queue_settings *queue,
				      const struct producer_events *events, void *arg)
{
	return rabbitmq_producer_open(loop, log, settings_of(settings), queue_of(queue), events,
				      arg);
}

/* clang-format off */
const struct source_kind rabbitmq_kind = {
    .schema = {
	.section = {
	    .name = "rabbitmq", TITLED(rabbitmq_settings), .schema = &rabbitmq_kind.schema,
	    .keys = {KEY_ROWS(source_keys), TABLE_SOURCE_KEYS},
	    .help = "A RabbitMQ broker; the title is yours to choose.",
	},
	.queue = {
	    .name = "queue", TITLED(queue_settings), .schema = &rabbitmq_kind.schema,
	    .inside = &rabbitmq_kind.schema.section, .keys = {KEY_ROWS(queue_keys), TABLE_QUEUE_KEYS},
	    .help = "A queue to take jobs from; the title is its name on the broker.",
	},
	.tls_scheme = "amqps://",
	.needs_user = "amqp://user@host",
	.wrong_url = wrong_url,
	.complete = complete,
	.check = check,
	.check_queue = check_queue,
    },
    .create = create,
    .add = add,
    .open_producer = open_producer,
};
/* clang-format on */
