/*  idle --ask--> asking --address--> idle, the conversation stays
 *                  |  ^ next Sentinel
 *                  +--+ closed, refused, knows no such master, silent for too long
 *                  +--all were asked--> idle
 *
 * The Sentinel that answered last is asked first. That saves connecting, and it saves going back and
 * forth: right after a failover some know of it and some do not yet, but none of them forgets it again.
 *
 * A Sentinel often lives on the master's own machine and goes down with it, without a word. So each has
 * only a short time, whatever the deadline for connecting is.
 *
 * Subscribing to +switch-master would tell a moment earlier. It takes a connection to every Sentinel,
 * and asking is needed all the same, for what was said before one subscribed. */
#include "sources/redis/redis_sentinel.h"

#include "base/memory.h"
#include "loop/loop.h"
#include "sources/hosts.h"
#include "wire/resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PATIENCE_MOST_MS = 1000,
	REPLY_LIMIT = 64 << 10, /* an address, or an error */
};

struct redis_sentinel {
	struct loop *loop;
	const struct hosts *hosts;
	uint64_t patience_ms;
	const struct redis_sentinel_events *events;
	void *arg;

	size_t at; /* the one that is asked first */
	bool asking;
	bool ready;   /* `redis` is logged in */
	size_t tried; /* for this question, the present one included */
	struct error why;
	struct resp *redis;  /* with the one at `at`; NULL: none */
	struct timer *timer; /* asking: its patience ends */
};

static void ask_one(struct redis_sentinel *s);

static void hang_up(struct redis_sentinel *s)
{
	resp_close(s->redis);
	s->redis = NULL;
	s->ready = false;
}

/* The present one cannot tell; `s->why` says why. */
static void ask_next(struct redis_sentinel *s)
{
	struct url_node there;
	hang_up(s);
	s->at++;
	bool last = !url_node(&s->hosts->url, s->at, &there);
	if (last)
		s->at = 0;
	size_t n = 1;
	while (url_node(&s->hosts->url, n, &there))
		n++;
	if (s->tried < n) {
		ask_one(s);
		return;
	}
	s->asking = false;
	timer_stop(s->timer);
	struct error why = s->why;
	s->events->failed(s->arg, &why);
}

static void blame(struct redis_sentinel *s, enum status st, struct span what)
{
	struct url_node there = {.host = "?"};
	(void)url_node(&s->hosts->url, s->at, &there);
	(void)error_set(&s->why, st, "sentinel %s:%u: %.*s", there.host, there.port, (int)what.len,
			what.ptr);
}

static bool read_port(struct span text, unsigned *ret_port)
{
	unsigned port = 0;
	for (size_t i = 0; i < text.len && port <= 65535; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		port = port * 10 + (unsigned)(text.ptr[i] - '0');
	}
	*ret_port = port;
	return port > 0 && port <= 65535;
}

static bool read_master(const struct reply *reply, struct url_node *ret_master)
{
	if (reply->kind != REPLY_ARRAY || reply->n_items != 2 ||
	    reply->items[0].kind != REPLY_TEXT || reply->items[1].kind != REPLY_TEXT)
		return false;
	struct span host = reply->items[0].text;
	if (host.len == 0 || host.len >= sizeof ret_master->host ||
	    memchr(host.ptr, '\0', host.len) != NULL)
		return false;
	(void)snprintf(ret_master->host, sizeof ret_master->host, "%.*s", (int)host.len, host.ptr);
	return read_port(reply->items[1].text, &ret_master->port);
}

static void master_answered(void *arg, const struct reply *reply)
{
	struct redis_sentinel *s = arg;
	struct url_node master;
	if (!s->asking)
		return;
	if (read_master(reply, &master)) {
		s->asking = false;
		timer_stop(s->timer);
		s->events->found(s->arg, &master);
		return;
	}
	/* Of no kind that lasts: Sentinels are told of new masters while they run. */
	if (reply->kind == REPLY_ERROR)
		blame(s, resp_error_status(reply->text) == ST_AUTH ? ST_AUTH : ST_AGAIN,
		      reply->text);
	else if (reply->kind == REPLY_NIL)
		blame(s, ST_AGAIN, span_text("knows no master of that name"));
	else
		blame(s, ST_PROTO, span_text("a reply that makes no sense"));
	ask_next(s);
}

static void put_question(struct redis_sentinel *s)
{
	resp_begin(s->redis, 3, master_answered, s);
	resp_arg_text(s->redis, "SENTINEL");
	resp_arg_text(s->redis, "get-master-addr-by-name");
	resp_arg_text(s->redis, s->hosts->url.service);
}

static void connection_ready(void *arg)
{
	struct redis_sentinel *s = arg;
	s->ready = true;
	if (s->asking)
		put_question(s);
}

static void connection_closed(void *arg, const struct error *why)
{
	struct redis_sentinel *s = arg;
	if (!s->asking) {
		hang_up(s); /* the next question makes another */
		return;
	}
	blame(s, why->status, span_text(why->text));
	ask_next(s);
}

static const struct resp_events connection_events = {connection_ready, connection_closed};

static void dial(struct redis_sentinel *s)
{
	struct url_node there;
	if (!url_node(&s->hosts->url, s->at, &there)) { /* the URL's file names fewer by now */
		s->at = 0;
		(void)url_node(&s->hosts->url, 0, &there);
	}
	const struct url *url = &s->hosts->url;
	struct resp_login login = {
	    .address = hosts_address_of(s->hosts, there.host, there.port),
	    .user = url->sentinel_user,
	    .password = url->sentinel_password,
	    .sentinel = true,
	    .client_name = "outfall",
	    .deadline_ms = s->patience_ms,
	    .reply_limit = REPLY_LIMIT,
	};
	s->redis = resp_open(s->loop, &login, &connection_events, s);
	if (s->redis == NULL)
		timer_start(s->timer, 0); /* no memory: as if it had not answered */
}

/* Asks the one at `at`. */
static void ask_one(struct redis_sentinel *s)
{
	s->tried++;
	timer_start(s->timer, s->patience_ms);
	if (s->redis == NULL)
		dial(s);
	else if (s->ready)
		put_question(s);
}

static void patience_ended(void *arg)
{
	struct redis_sentinel *s = arg;
	blame(s, ST_TIMEOUT, span_text("no answer in time"));
	ask_next(s);
}

void redis_sentinel_ask(struct redis_sentinel *s)
{
	if (s->asking)
		return;
	s->asking = true;
	s->tried = 0;
	ask_one(s);
}

struct redis_sentinel *redis_sentinel_create(struct loop *loop, const struct hosts *hosts,
					     uint64_t patience_ms,
					     const struct redis_sentinel_events *events, void *arg)
{
	struct redis_sentinel *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return NULL;
	*s = (struct redis_sentinel){
	    .loop = loop,
	    .hosts = hosts,
	    .patience_ms = patience_ms < PATIENCE_MOST_MS ? patience_ms : PATIENCE_MOST_MS,
	    .events = events,
	    .arg = arg,
	};
	s->timer = timer_create_on(loop, patience_ended, s);
	if (s->timer == NULL) {
		memory_free(s);
		return NULL;
	}
	return s;
}

void redis_sentinel_destroy(struct redis_sentinel *s)
{
	if (s == NULL)
		return;
	hang_up(s);
	timer_destroy(s->timer);
	memory_free(s);
}
