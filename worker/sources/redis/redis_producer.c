/* Puts jobs into a list. Without a delay that is LPUSH and nothing else, and takes no other right: a
 * producer in any language does the same. With a delay redis_delay.lua adds to the delayed set, where only workers look, and
 * tells which of them sleep: they are unblocked, so that a short delay is not overslept.
 *
 * Where Sentinels know the master, they are asked first: the producer connects when they have told. In a
 * cluster any node is asked for the length of the list, and says where else to connect; while the slot
 * is on its way that may be the node to come, which wants ASKING in front of each request. A slot that
 * begins to move while jobs are put into it ends in a failure: what was confirmed is there, the rest is not.
 *
 * Replies come in the order of the requests, so each one confirms the oldest message. Where the list waits
 * for replicas so does its producer, but a job that too few of them have in time is not called safe. */
#include "sources/redis/redis_producer.h"

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "sources/hosts.h"
#include "sources/redis/redis_list_keys.h"
#include "sources/redis/redis_script.h"
#include "sources/redis/redis_sentinel.h"
#include "sources/redis/redis_settings.h"
#include "wire/resp.h"

enum { REPLY_LIMIT = 1 << 20 }; /* nothing that is asked here has a long answer */

enum producer_state {
	PRODUCER_CONNECTING,
	PRODUCER_READY,
	PRODUCER_CLOSING, /* the last replies are awaited */
	PRODUCER_ENDED,   /* failed or closed; the timer tells, unless it has been told */
};

struct redis_producer {
	struct producer producer; /* first: the caller's view */
	struct loop *loop;
	const struct redis_settings *settings;
	struct hosts hosts;
	size_t next_node;      /* in a cluster, of the URL's: to be tried after this one */
	unsigned redirects;    /* in a cluster */
	bool asking;           /* in a cluster: the slot is on its way to where we are */
	struct url_node there; /* in a cluster: the one dialled last */
	struct redis_sentinel *sentinel; /* NULL: the address is the server's own */
	struct redis_keys keys;
	enum producer_state state;
	bool failed;
	struct error why;
	struct resp *redis;
	struct timer *tell; /* from a clean stack, not from within a call of the owner */
};

static struct redis_producer *of_producer(struct producer *producer)
{
	return list_entry(producer, struct redis_producer, producer);
}

static void fail(struct redis_producer *p, const struct error *why)
{
	if (p->state == PRODUCER_ENDED)
		return;
	p->state = PRODUCER_ENDED;
	p->failed = true;
	p->why = *why;
	timer_start(p->tell, 0);
}

static void tell_end(void *arg)
{
	struct redis_producer *p = arg;
	if (p->failed)
		p->producer.events->failed(p->producer.arg, &p->why);
	else
		p->producer.events->closed(p->producer.arg);
}

static void end_if_all_told(struct redis_producer *p)
{
	if (p->state != PRODUCER_CLOSING || (p->redis != NULL && resp_unanswered(p->redis) > 0))
		return;
	p->state = PRODUCER_ENDED;
	resp_close(p->redis);
	p->redis = NULL;
	timer_start(p->tell, 0);
}

/* --- connecting ------------------------------------------------------------------------------- */

static void get_ready(struct redis_producer *p)
{
	p->state = PRODUCER_READY;
	p->producer.events->ready(p->producer.arg);
}

static void asking_answered(void *arg, const struct reply *reply)
{
	(void)arg;
	(void)reply; /* should it be refused, so is what follows */
}

/* In front of each request: it holds for one. */
static void ask_if_need_be(struct redis_producer *p)
{
	if (!p->asking)
		return;
	resp_begin(p->redis, 1, asking_answered, p);
	resp_arg_text(p->redis, "ASKING");
}

static void dial_node(struct redis_producer *p, const struct url_node *node);

static void length_answered(void *arg, const struct reply *reply)
{
	enum { REDIRECTS_MOST = 5 };
	struct redis_producer *p = arg;
	struct url_node node;
	enum redirect how = REDIRECT_NONE;
	if (reply->kind == REPLY_ERROR && p->redirects < REDIRECTS_MOST)
		how = resp_redirect(reply->text, p->there.host, &node);
	if (how == REDIRECT_NONE) {
		get_ready(p);
		return;
	}
	p->redirects++;
	p->asking = how == REDIRECT_ASK;
	dial_node(p, &node);
}

static void logged_in(void *arg)
{
	struct redis_producer *p = arg;
	if (!hosts_is_cluster(&p->hosts)) {
		get_ready(p);
		return;
	}
	ask_if_need_be(p);
	resp_begin(p->redis, 2, length_answered, p);
	resp_arg_text(p->redis, "LLEN");
	resp_arg_text(p->redis, p->keys.list);
}

static void link_closed(void *arg, const struct error *why)
{
	struct redis_producer *p = arg;
	struct url_node node;
	if (p->state == PRODUCER_CONNECTING && hosts_is_cluster(&p->hosts) &&
	    url_node(&p->hosts.url, p->next_node, &node)) {
		p->next_node++;
		p->asking = false;
		dial_node(p, &node);
		return;
	}
	fail(p, why);
}

static const struct resp_events link_events = {.ready = logged_in, .closed = link_closed};

/* --- sending ---------------------------------------------------------------------------------- */

static bool is_refused(struct redis_producer *p, const struct reply *reply)
{
	struct error why;
	if (reply->kind != REPLY_ERROR)
		return false;
	(void)error_set(&why, resp_error_status(reply->text), "list \"%s\": %.*s", p->keys.list,
			(int)reply->text.len, reply->text.ptr);
	fail(p, &why);
	return true;
}

/* The owner comes last: it may close or destroy the producer. */
static void confirm_one(struct redis_producer *p)
{
	if (p->state == PRODUCER_ENDED)
		return; /* after a failure nothing more is said */
	end_if_all_told(p);
	p->producer.events->confirmed(p->producer.arg, 1);
}

static void replicas_answered(void *arg, const struct reply *reply)
{
	struct redis_producer *p = arg;
	struct error why;
	if (is_refused(p, reply))
		return;
	if (reply->kind == REPLY_NUMBER && reply->number >= (int64_t)p->settings->wait_replicas) {
		confirm_one(p);
		return;
	}
	(void)error_set(
	    &why, ST_TIMEOUT,
	    "list \"%s\": the job is there, but not on %u replicas (wait_replicas) after %u ms",
	    p->keys.list, p->settings->wait_replicas, (unsigned)p->settings->wait_timeout_ms);
	fail(p, &why);
}

/* In front of its reply: requests are answered in order. */
static void await_replicas(struct redis_producer *p)
{
	if (p->settings->wait_replicas == 0)
		return;
	resp_begin(p->redis, 3, replicas_answered, p);
	resp_arg_text(p->redis, "WAIT");
	resp_arg_number(p->redis, p->settings->wait_replicas);
	resp_arg_number(p->redis, (int64_t)p->settings->wait_timeout_ms);
}

static void is_in(struct redis_producer *p)
{
	if (p->settings->wait_replicas == 0)
		confirm_one(p);
}

static void push_answered(void *arg, const struct reply *reply)
{
	if (!is_refused(arg, reply))
		is_in(arg);
}

static void unblock_answered(void *arg, const struct reply *reply)
{
	(void)
	    reply; /* that worker was not asleep, or an ACL forbids it: it looks by itself later */
	end_if_all_told(arg);
}

static void delay_answered(void *arg, const struct reply *reply)
{
	struct redis_producer *p = arg;
	if (is_refused(p, reply))
		return;
	for (size_t i = 0; reply->kind == REPLY_ARRAY && i < reply->n_items; i++) {
		if (reply->items[i].kind != REPLY_NUMBER)
			continue;
		resp_begin(p->redis, 3, unblock_answered, p);
		resp_arg_text(p->redis, "CLIENT");
		resp_arg_text(p->redis, "UNBLOCK");
		resp_arg_number(p->redis, reply->items[i].number);
	}
	is_in(p);
}

static enum status redis_send(struct producer *producer, const struct producer_message *message,
			      struct error *why)
{
	struct redis_producer *p = of_producer(producer);
	if (message->n_headers > 0)
		return error_set(why, ST_INVALID,
				 "list \"%s\": a job in a Redis list has no headers", p->keys.list);
	if (p->state == PRODUCER_ENDED)
		return error_set(why, ST_CLOSED, "list \"%s\": the connection is gone",
				 p->keys.list);
	must(p->state == PRODUCER_READY);
	ask_if_need_be(p);
	if (message->delay_ms == 0) {
		resp_begin(p->redis, 3, push_answered, p);
		resp_arg_text(p->redis, "LPUSH");
		resp_arg_text(p->redis, p->keys.list);
		resp_arg(p->redis, message->body);
		await_replicas(p);
		return ST_OK;
	}
	const char *keys[] = {p->keys.delayed, p->keys.seq, p->keys.clients};
	if (redis_script_eval(p->redis, SCRIPT_DELAY, keys, 3, 2, delay_answered, p) != ST_OK)
		return error_set(why, ST_NOMEM, "list \"%s\": out of memory", p->keys.list);
	resp_arg_number(p->redis, (int64_t)message->delay_ms);
	resp_arg(p->redis, message->body);
	await_replicas(p);
	return ST_OK;
}

/* --- life ------------------------------------------------------------------------------------- */

static void redis_producer_close(struct producer *producer)
{
	struct redis_producer *p = of_producer(producer);
	if (p->state == PRODUCER_CONNECTING) {
		resp_close(p->redis);
		p->redis = NULL;
		redis_sentinel_destroy(p->sentinel);
		p->sentinel = NULL;
	} else if (p->state == PRODUCER_ENDED) {
		p->failed = false; /* told already, or of no interest any more */
		timer_start(p->tell, 0);
		return;
	}
	p->state = PRODUCER_CLOSING;
	end_if_all_told(p);
}

static void redis_producer_destroy(struct producer *producer)
{
	struct redis_producer *p = of_producer(producer);
	resp_close(p->redis);
	redis_sentinel_destroy(p->sentinel);
	timer_destroy(p->tell);
	redis_keys_fini(&p->keys);
	if (p->hosts.settings != NULL)
		hosts_fini(&p->hosts);
	memory_free(p);
}

static const struct producer_ops redis_producer_ops = {
    .kind = "redis",
    .send = redis_send,
    .close = redis_producer_close,
    .destroy = redis_producer_destroy,
};

static void dial(struct redis_producer *p, struct address to)
{
	struct resp_login login;
	struct error why;
	if (resp_login_from_url(&p->hosts.url, &login, &why) != ST_OK) {
		fail(p, &why);
		return;
	}
	login.address = to;
	login.client_name = "outfall-enqueue";
	login.deadline_ms = p->settings->broker.connect_timeout_ms;
	login.reply_limit = REPLY_LIMIT;
	p->redis = resp_open(p->loop, &login, &link_events, p);
	if (p->redis == NULL) {
		(void)error_set(&why, ST_NOMEM, "connect: out of memory");
		fail(p, &why);
	}
}

static void dial_node(struct redis_producer *p, const struct url_node *node)
{
	resp_close(p->redis);
	p->redis = NULL;
	p->there = *node;
	dial(p, hosts_address_of(&p->hosts, p->there.host, p->there.port));
}

static void master_found(void *arg, const struct url_node *master)
{
	struct redis_producer *p = arg;
	dial(p, hosts_address_of(&p->hosts, master->host, master->port));
}

static void master_not_found(void *arg, const struct error *why)
{
	fail(arg, why);
}

static const struct redis_sentinel_events sentinel_events = {master_found, master_not_found};

static enum status connect_to(struct redis_producer *p, struct log *log, struct error *why)
{
	const struct url *url;
	enum status st = hosts_init(&p->hosts, &p->settings->broker, log, p->settings->name, 0);
	if (st != ST_OK)
		return error_set(why, st, "connect: out of memory");
	hosts_read_now(&p->hosts);
	st = hosts_next(&p->hosts, &url, why);
	if (st != ST_OK)
		return st;
	if (hosts_is_cluster(&p->hosts)) {
		struct url_node node;
		(void)url_node(&p->hosts.url, p->next_node++, &node); /* there is at least one */
		dial_node(p, &node);
		return ST_OK;
	}
	if (!hosts_ask_sentinels(&p->hosts)) {
		dial(p, hosts_address(&p->hosts));
		return ST_OK;
	}
	p->sentinel = redis_sentinel_create(
	    p->loop, &p->hosts, p->settings->broker.connect_timeout_ms, &sentinel_events, p);
	if (p->sentinel == NULL)
		return error_set(why, ST_NOMEM, "connect: out of memory");
	redis_sentinel_ask(p->sentinel);
	return ST_OK;
}

struct producer *redis_producer_open(struct loop *loop, struct log *log,
				     const struct redis_settings *settings,
				     const struct list_settings *list,
				     const struct producer_events *events, void *arg)
{
	struct error why;
	struct redis_producer *p = memory_clear(1, sizeof *p);
	if (p == NULL)
		return NULL;
	p->producer = (struct producer){.ops = &redis_producer_ops, .events = events, .arg = arg};
	p->loop = loop;
	p->settings = settings;
	p->tell = timer_create_on(loop, tell_end, p);
	if (p->tell == NULL || redis_keys_init(&p->keys, list->name, list->dead, NULL) != ST_OK) {
		redis_producer_destroy(&p->producer);
		return NULL;
	}
	if (connect_to(p, log, &why) != ST_OK)
		fail(p, &why);
	return &p->producer;
}
