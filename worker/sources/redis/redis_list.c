/* One connection for everything that does not block, shared by all lists of the section. What a list
 * does with it is told in redis_list_queue.c, how it keeps its lease in redis_list_member.c, how it
 * waits in redis_list_wait.c, how much it claims in redis_list_pace.c, and what happens in the server
 * in redis_turn.lua and its neighbours. This file keeps the connection: it logs in, loads the scripts,
 * hands it to the lists, and gets it back.
 *
 *   down --retry--> connecting --(Sentinels,) login, master, scripts--> up --close()--> closing --> closed
 *     ^--------- refused, lost, silent, cannot serve ------+
 *
 * A server that cannot serve just now (a replica, loading, busy with another's script) is one more way of
 * being down: what was asked of it was not done, and a new login, later or elsewhere, sorts it out. A
 * replica would let us in and load our scripts, so ROLE is asked before the link counts as up; where an
 * ACL forbids that, the first script is told READONLY, a moment later.
 *
 * Where Sentinels know the master they are asked before each try, and again every second while the
 * link is up: an old master that is cut off from the rest, but not from us, or that only stands still,
 * does not say of itself that another has been elected.
 *
 * In a cluster the section has one list, the list has one slot (redis_list_keys.h), and the slot has
 * one node: so there is one connection here, too. Any node is asked for the length of the list, which it
 * either tells or answers with MOVED and the node to dial instead; should the slot move later, a script is
 * answered with MOVED, and the same happens again. ASK leads nowhere for a script: while a slot is on its
 * way, one that names a key which does not exist is told TRYAGAIN by either node, with ASKING or without,
 * and a few of ours never exist all at once. (It could name one key and keep quiet about the rest. Then
 * it would be refused in its middle, with half of a claim done.) So the list stands still until its slot has
 * arrived, as it does when a server is loading.
 *
 * Claims survive a lost connection, so lists are not told that their jobs are gone, only that nobody
 * can be told of them for a while. */
#include "sources/redis/redis_list.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/hosts.h"
#include "sources/redis/redis_list_queue.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/redis/redis_sentinel.h"
#include "sources/redis/redis_server.h"
#include "sources/redis/redis_settings.h"
#include "sources/source.h"
#include "wire/resp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	CLAIM_BYTES =
	    4 << 20, /* of one claim: it takes a while to arrive, and so long nothing else */
	REPLY_SPARE = 16 << 20, /* what a reply has besides bodies: fields, bookkeeping */
	DEAD_AFTER_MOST_MS = 60 * 1000,
	/* What an old master is told after another was promoted is lost, so this is short; and one small
	 * question on a connection that stands is cheap. */
	ASK_AGAIN_MS = 1000,
};

struct redis_source {
	struct source source; /* first: the core's view */
	struct redis_shared shared;
	const struct redis_settings *settings;
	struct hosts hosts;
	struct timer *ask_again;
	struct redis_sentinel *sentinel; /* asked only where the address says so */
	struct url_node master;          /* with Sentinels and in a cluster: the one dialled last */
	size_t next_node;        /* in a cluster: 0: the master, else 1 + which node of the URL */
	unsigned redirects;      /* since a try was last awaited */
	unsigned moves;          /* how often that was another one */
	struct resp_login login; /* for the address dialled last: waiting connections follow it */
	char worker[280];        /* as it may appear in keys and in CLIENT LIST */

	struct resp *redis; /* from connecting on; shared.redis only while the link is up */
	int loading;        /* scripts without an answer */
	bool was_open; /* every list was taken from once: from then on no refusal is for good */
	bool started, wants_open;
	bool was_looked_at; /* operators were told of how the server is set up */
	struct timer *retry;
	bool
	    awaits_files; /* to dial, when the files of the address have been read, or it is time */
	struct timer *tick;
	uint64_t tick_ms;
	struct turn_hook lease_hook, settle_hook;

	struct redis_queue **queues;
	size_t n_queues, queues_room;
};

static struct redis_source *of_source(const struct source *source)
{
	return list_entry(source, struct redis_source, source);
}

static struct redis_source *of_shared(struct redis_shared *shared)
{
	return list_entry(shared, struct redis_source, shared);
}

/* --- what the core sees ----------------------------------------------------------------------- */

static bool all_queues(const struct redis_source *s, bool (*ask)(const struct redis_queue *queue))
{
	for (size_t i = 0; i < s->n_queues; i++)
		if (!ask(s->queues[i]))
			return false;
	return true;
}

static bool is_as_wanted(const struct redis_queue *queue)
{
	return redis_queue_is_taking(queue) || redis_queue_is_retired(queue) ||
	       redis_queue_is_suspended(queue);
}

static enum intake intake_now(const struct redis_source *s)
{
	if (s->wants_open)
		return all_queues(s, is_as_wanted) ? INTAKE_OPEN : INTAKE_OPENING;
	return all_queues(s, redis_queue_is_shut) ? INTAKE_SHUT : INTAKE_SHUTTING;
}

static void show(struct redis_source *s, enum link_state link)
{
	enum intake intake = intake_now(s);
	if (link == s->source.link && intake == s->source.intake)
		return;
	s->source.link = link;
	s->source.intake = intake;
	s->was_open |= link == LINK_UP && intake == INTAKE_OPEN; /* open without a list, too */
	s->source.host->changed(s->source.host, &s->source);
}

static void let_go_of_link(struct redis_source *s)
{
	resp_close(s->redis);
	s->redis = NULL;
	s->shared.redis = NULL;
	s->awaits_files = false;
	timer_stop(s->retry);
}

static void queue_changed(struct redis_shared *shared)
{
	struct redis_source *s = of_shared(shared);
	if (s->source.link == LINK_CLOSING && all_queues(s, redis_queue_has_left)) {
		let_go_of_link(s);
		timer_stop(s->tick);
		show(s, LINK_CLOSED);
		return;
	}
	show(s, s->source.link);
}

/* --- the link --------------------------------------------------------------------------------- */

static bool is_lasting(enum status st)
{
	return st == ST_AUTH || st == ST_MISSING || st == ST_REFUSED;
}

static void say_link(const struct redis_source *s, enum log_level level, const char *event,
		     const struct error *why, uint64_t retry_ms)
{
	char url[256];
	hosts_redacted(&s->hosts, url, sizeof url);
	char place[URL_HOST_BYTES + 8];
	const char *master = NULL;
	if (s->redis != NULL && (hosts_ask_sentinels(&s->hosts) || hosts_is_cluster(&s->hosts))) {
		(void)snprintf(place, sizeof place, "%s:%u", s->master.host, s->master.port);
		master = place;
	}
	log_say(s->shared.log, level, event, kv_text("source", s->source.name), kv_text("url", url),
		kv_text("master", master),
		kv_text("tls", s->redis != NULL ? resp_tls(s->redis) : NULL),
		kv_text("why", why != NULL ? why->text : NULL),
		kv_int(why != NULL ? "retry_ms" : "lists",
		       why != NULL ? (int64_t)retry_ms : (int64_t)s->n_queues));
}

static void plan_retry(struct redis_source *s, const struct error *why)
{
	uint64_t random = loop_now_ns(s->shared.loop) * UINT64_C(0x9E3779B97F4A7C15) >> 32;
	uint64_t wait_ms = reconnect_failed(&s->shared.reconnect, (uint32_t)random);
	if (wait_ms > s->tick_ms) /* a server that is back must be found while leases last */
		wait_ms = s->tick_ms / 2 + random % (s->tick_ms / 2 + 1);
	say_link(s, LOG_WARN, "redis link down, reconnecting", why, wait_ms);
	s->redirects = 0;
	timer_start(s->retry, wait_ms);
}

static void link_failed(struct redis_shared *shared, const struct error *why)
{
	struct redis_source *s = of_shared(shared);
	bool closing = s->source.link == LINK_CLOSING;
	let_go_of_link(s);
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_link_lost(s->queues[i]);
	if (closing) {
		queue_changed(shared);
		return;
	}
	if (!s->was_open && is_lasting(why->status)) {
		show(s, LINK_DOWN);
		s->source.host->refused(s->source.host, &s->source, why);
		return;
	}
	plan_retry(s, why);
	show(s, LINK_DOWN);
}

/* At the very start it ends the worker, as a missing queue does. Later the other lists go on. */
static bool list_refused(struct redis_shared *shared, const char *list, const struct error *why)
{
	struct redis_source *s = of_shared(shared);
	for (size_t i = 0; i < s->n_queues && s->was_open; i++) {
		if (redis_queue_settings(s->queues[i])->name != list)
			continue;
		redis_queue_set_aside(s->queues[i], why);
		return true;
	}
	return false;
}

static void link_closed(void *arg, const struct error *why)
{
	struct redis_source *s = arg;
	link_failed(&s->shared, why);
}

static void link_up(struct redis_source *s)
{
	s->shared.redis = s->redis;
	if (s->was_open)
		s->source.reconnects++;
	say_link(s, LOG_INFO, s->was_open ? "redis link restored" : "redis connected", NULL, 0);
	if (hosts_ask_sentinels(&s->hosts))
		timer_start(s->ask_again, ASK_AGAIN_MS);
	s->next_node = 0;
	show(s, LINK_UP);
	for (size_t i = 0; i < s->n_queues && s->shared.redis != NULL; i++)
		redis_queue_link_up(s->queues[i]);
}

static void script_answered(void *arg, const struct reply *reply)
{
	struct redis_source *s = arg;
	struct error why;
	enum redis_script script = (enum redis_script)(LIST_SCRIPTS - s->loading);
	if (redis_script_loaded(reply, &s->shared.scripts[script], &why) != ST_OK) {
		link_failed(&s->shared, &why);
		return;
	}
	s->loading--;
	if (s->loading == 0)
		link_up(s);
}

static void role_answered(void *arg, const struct reply *reply)
{
	struct redis_source *s = arg;
	struct error why;
	if (reply->kind != REPLY_ARRAY || reply->n_items < 3 || /* an ACL may forbid to ask */
	    reply->items[0].kind != REPLY_TEXT ||
	    !span_equal(reply->items[0].text, span_text("slave")))
		return;
	struct span master = span_of("", 0);
	if (reply->items[1].kind == REPLY_TEXT)
		master = reply->items[1].text;
	(void)error_set(&why, ST_AGAIN, "this is a replica, of %.*s:%" PRId64, (int)master.len,
			master.ptr,
			reply->items[2].kind == REPLY_NUMBER ? reply->items[2].number : 0);
	link_failed(&s->shared, &why);
}

/* --- is it fit to keep jobs? --- */

static void warn_of_server(struct redis_source *s, const char *event, const char *what)
{
	log_say(s->shared.log, LOG_WARN, event, kv_text("source", s->source.name),
		kv_text("setting", what));
}

static void save_answered(void *arg, const struct reply *reply)
{
	struct redis_source *s = arg;
	bool keeps_nothing = reply->kind == REPLY_ARRAY && reply->n_items == 2 &&
			     reply->items[1].kind == REPLY_TEXT && reply->items[1].text.len == 0;
	if (keeps_nothing)
		warn_of_server(
		    s, "redis keeps nothing on disk, a restart of it loses all waiting jobs",
		    "appendonly no, save \"\"");
}

static void info_answered(void *arg, const struct reply *reply)
{
	struct redis_source *s = arg;
	struct error why;
	if (reply->kind != REPLY_TEXT)
		return; /* an ACL may forbid to ask */
	struct redis_server server = redis_server_read(reply->text);
	if (redis_server_check(&server, &why) != ST_OK) {
		link_failed(&s->shared, &why);
		return;
	}
	if (s->was_looked_at)
		return;
	s->was_looked_at = true;
	if (redis_server_evicts(&server))
		warn_of_server(s,
			       "redis throws away jobs when its memory is full, set "
			       "maxmemory-policy noeviction",
			       server.policy);
	if (server.append_only)
		return;
	resp_begin(s->redis, 3, save_answered, s);
	resp_arg_text(s->redis, "CONFIG");
	resp_arg_text(s->redis, "GET");
	resp_arg_text(s->redis, "save");
}

static void ask_what_it_is(struct redis_source *s)
{
	resp_begin(s->redis, 1, info_answered, s);
	resp_arg_text(s->redis, "INFO");
}

static void length_answered(void *arg, const struct reply *reply);

/* Whether this is the server to be spoken to. */
static void probe(struct redis_source *s)
{
	if (hosts_is_cluster(&s->hosts) && s->settings->n_queues > 0) {
		resp_begin(s->redis, 2, length_answered, s);
		resp_arg_text(s->redis, "LLEN");
		resp_arg_text(s->redis, s->settings->queues[0]->name);
		return;
	}
	resp_begin(s->redis, 1, role_answered, s);
	resp_arg_text(s->redis, "ROLE");
}

static void logged_in(void *arg)
{
	struct redis_source *s = arg;
	ask_what_it_is(s);
	probe(s);
	s->loading = LIST_SCRIPTS;
	for (int script = 0; script < LIST_SCRIPTS; script++) {
		if (redis_script_load(s->redis, (enum redis_script)script, script_answered, s) ==
		    ST_OK)
			continue;
		struct error why;
		(void)error_set(&why, ST_NOMEM, "load script: out of memory");
		link_failed(&s->shared, &why);
		return;
	}
}

static const struct resp_events link_events = {.ready = logged_in, .closed = link_closed};

/* The login for the address as it is now. */
static void aim(struct redis_source *s, struct address to)
{
	struct error why;
	/* secrets.c lets no other URL through */
	must(resp_login_from_url(&s->hosts.url, &s->login, &why) == ST_OK);
	s->login.address = to;
	s->login.place = s->hosts.place + s->moves; /* neither ever goes back */
	s->login.client_name = s->worker;
	s->login.deadline_ms = s->settings->broker.connect_timeout_ms;
	s->login.reply_limit = s->shared.max_body_bytes + CLAIM_BYTES + REPLY_SPARE;
}

static void try_failed(struct redis_source *s, const struct error *why)
{
	show(s, LINK_DOWN);
	plan_retry(s, why);
}

static void dial(struct redis_source *s, struct address to)
{
	struct error why;
	aim(s, to);
	s->redis = resp_open(s->shared.loop, &s->login, &link_events, s);
	if (s->redis != NULL) {
		show(s, LINK_CONNECTING);
		return;
	}
	(void)error_set(&why, ST_NOMEM, "connect: out of memory");
	try_failed(s, &why);
}

static bool is_master(const struct redis_source *s, const struct url_node *there)
{
	return s->master.port == there->port && strcmp(s->master.host, there->host) == 0;
}

static void dial_master(struct redis_source *s, const struct url_node *master)
{
	if (!is_master(s, master)) {
		s->moves++;
		s->master = *master;
	}
	dial(s, hosts_address_of(&s->hosts, s->master.host, s->master.port));
}

/* The master as last known, then the nodes of the URL in turn. */
static void dial_next_node(struct redis_source *s)
{
	struct url_node node = s->master;
	if (s->next_node == 0 && node.host[0] == '\0')
		s->next_node = 1;
	if (s->next_node > 0 && !url_node(&s->hosts.url, s->next_node - 1, &node)) {
		s->next_node = 1;
		(void)url_node(&s->hosts.url, 0, &node); /* it has at least one */
	}
	s->next_node++;
	dial_master(s, &node);
}

static void length_answered(void *arg, const struct reply *reply)
{
	enum { REDIRECTS_MOST = 5 }; /* nodes that disagree will agree in a while */
	struct redis_source *s = arg;
	struct url_node node;
	struct error why;
	if (reply->kind != REPLY_ERROR ||
	    resp_error_status(reply->text) == ST_REFUSED) /* no list at all: the scripts tell */
		return;
	if (s->redirects < REDIRECTS_MOST && s->source.link == LINK_CONNECTING &&
	    resp_redirect(reply->text, s->master.host, &node) == REDIRECT_MOVED) {
		s->redirects++;
		let_go_of_link(s);
		dial_master(s, &node);
		return;
	}
	(void)error_set(&why, resp_error_status(reply->text), "%.*s", (int)reply->text.len,
			reply->text.ptr);
	link_failed(&s->shared, &why);
}

static void connect_further(struct redis_source *s)
{
	const struct url *url;
	struct error why;
	if (hosts_next(&s->hosts, &url, &why) != ST_OK) {
		try_failed(s, &why);
		return;
	}
	s->shared.is_cluster = hosts_is_cluster(&s->hosts);
	if (s->shared.is_cluster) {
		dial_next_node(s);
		return;
	}
	if (!hosts_ask_sentinels(&s->hosts)) {
		dial(s, hosts_address(&s->hosts));
		return;
	}
	/* Waiting connections may look at the login meanwhile, and its texts were the last URL's. */
	aim(s, hosts_address_of(&s->hosts, s->master.host, s->master.port));
	show(s, LINK_CONNECTING);
	redis_sentinel_ask(s->sentinel);
}

static void files_read(void *arg, enum hosts_news news)
{
	struct redis_source *s = arg;
	(void)news; /* hosts_next() hands out what is new */
	if (!s->awaits_files)
		return;
	s->awaits_files = false;
	timer_stop(s->retry);
	connect_further(s);
}

/* Again while files are being read: it is time to go on without them. */
static void connect_now(void *arg)
{
	struct redis_source *s = arg;
	bool waited = s->awaits_files;
	if (waited)
		log_say(s->shared.log, LOG_WARN,
			"secret not read again in time, using the last one",
			kv_text("source", s->source.name));
	s->awaits_files = !waited && hosts_read(&s->hosts, s->shared.loop, files_read, s);
	if (s->awaits_files)
		timer_start(s->retry, s->settings->broker.connect_timeout_ms);
	else
		connect_further(s);
}

/* --- Sentinels -------------------------------------------------------------------------------- */

static void master_found(void *arg, const struct url_node *master)
{
	struct redis_source *s = arg;
	struct error why;
	if (s->source.link == LINK_CONNECTING && s->redis == NULL)
		dial_master(s, master);
	if (s->source.link != LINK_UP || is_master(s, master))
		return;
	(void)error_set(&why, ST_AGAIN, "the sentinels say that the master is %s:%u now",
			master->host, master->port);
	link_failed(&s->shared, &why);
}

static void master_not_found(void *arg, const struct error *why)
{
	struct redis_source *s = arg;
	if (s->source.link == LINK_CONNECTING && s->redis == NULL)
		link_failed(&s->shared, why);
	/* While the link is up, it is all that we need. */
}

static const struct redis_sentinel_events sentinel_events = {master_found, master_not_found};

static void ask_again(void *arg)
{
	struct redis_source *s = arg;
	if (s->source.link != LINK_UP)
		return;
	timer_start(s->ask_again, ASK_AGAIN_MS);
	redis_sentinel_ask(s->sentinel);
}

static void ticked(void *arg)
{
	struct redis_source *s = arg;
	timer_start(s->tick, s->tick_ms);
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_tick(s->queues[i]);
}

/* At the beginning of what a turn does, and not only by the timer: a worker that stood still finds work before
 * it is told that time has passed. */
static void check_leases(void *arg)
{
	struct redis_source *s = arg;
	uint64_t now_ns = loop_now_ns(s->shared.loop);
	if (now_ns < s->shared.lease_check_ns)
		return;
	uint64_t next_ns = UINT64_MAX;
	for (size_t i = 0; i < s->n_queues; i++) {
		uint64_t until_ns = redis_queue_check_lease(s->queues[i], now_ns);
		next_ns = until_ns < next_ns ? until_ns : next_ns;
	}
	s->shared.lease_check_ns = next_ns;
	if (next_ns != UINT64_MAX)
		redis_shared_check_leases_at(&s->shared, next_ns);
}

static void lease_timer_fired(void *arg)
{
	struct redis_source *s = arg;
	check_leases(s);
	if (s->shared.lease_check_ns != UINT64_MAX)
		redis_shared_check_leases_at(&s->shared, s->shared.lease_check_ns);
}

static void attend_all(void *arg)
{
	struct redis_source *s = arg;
	struct list *it;
	while ((it = list_take_first(&s->shared.work)) != NULL)
		redis_queue_attend(redis_queue_of_work(it));
}

/* --- operations ------------------------------------------------------------------------------- */

/* Each lease is to be renewed in time. A lease that nobody can renew is lost, so a server need not be
 * waited for longer than that. */
static void find_tick(struct redis_source *s)
{
	uint64_t least_ms = s->n_queues > 0 ? UINT64_MAX : 3 * DEAD_AFTER_MOST_MS;
	for (size_t i = 0; i < s->n_queues; i++) {
		uint64_t lease_ms = redis_queue_settings(s->queues[i])->lease_ms;
		if (lease_ms < least_ms)
			least_ms = lease_ms;
	}
	s->tick_ms = least_ms / 3;
	least_ms = 3 * s->tick_ms;
	s->hosts.dead_after_ms = least_ms < DEAD_AFTER_MOST_MS ? least_ms : DEAD_AFTER_MOST_MS;
}

static void redis_start(struct source *source)
{
	struct redis_source *s = of_source(source);
	s->started = true;
	s->wants_open = true;
	find_tick(s);
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_open(s->queues[i]);
	timer_start(s->tick, s->tick_ms);
	connect_now(s);
}

static void redis_pause(struct source *source)
{
	struct redis_source *s = of_source(source);
	s->wants_open = false;
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_shut(s->queues[i]);
	show(s, source->link);
}

static void redis_resume(struct source *source)
{
	struct redis_source *s = of_source(source);
	s->wants_open = true;
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_open(s->queues[i]);
	show(s, source->link);
}

static void redis_settle(struct source *source, struct job *job)
{
	(void)source;
	redis_queue_settle(job->route->source_ref, job);
}

static void redis_flush(struct source *source)
{
	struct redis_source *s = of_source(source);
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_flush(s->queues[i]);
}

static void redis_room_came(struct source *source, struct route *route)
{
	(void)source;
	redis_queue_look(route->source_ref);
}

static void redis_suspend(struct source *source, struct route *route)
{
	(void)source;
	redis_queue_suspend(route->source_ref);
}

static void redis_take_up(struct source *source, struct route *route)
{
	redis_queue_take_up(route->source_ref, of_source(source)->wants_open);
}

static bool redis_is_suspended(const struct source *source, const struct route *route)
{
	(void)source;
	return redis_queue_is_shut(route->source_ref);
}

static void redis_retire(struct source *source, struct route *route)
{
	(void)source;
	redis_queue_retire(route->source_ref);
}

static enum leaving redis_leave(struct source *source, struct route *route)
{
	struct redis_source *s = of_source(source);
	struct redis_queue *queue = route->source_ref;
	enum leaving leaving = redis_queue_part(queue);
	if (leaving != LEAVING_GONE)
		return leaving;
	size_t i = 0;
	while (s->queues[i] != queue)
		i++;
	s->queues[i] = s->queues[--s->n_queues];
	redis_queue_destroy(queue);
	find_tick(s);
	return leaving;
}

static void redis_close(struct source *source)
{
	struct redis_source *s = of_source(source);
	must(source->link != LINK_CLOSING && source->link != LINK_CLOSED);
	s->wants_open = false;
	source->link = LINK_CLOSING;
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_leave(s->queues[i]);
	queue_changed(&s->shared);
}

static void redis_destroy(struct source *source)
{
	struct redis_source *s = of_source(source);
	loop_remove_hook(&s->lease_hook);
	loop_remove_hook(&s->settle_hook);
	for (size_t i = 0; i < s->n_queues; i++)
		redis_queue_destroy(s->queues[i]);
	resp_close(s->redis);
	redis_sentinel_destroy(s->sentinel);
	timer_destroy(s->retry);
	timer_destroy(s->tick);
	timer_destroy(s->ask_again);
	timer_destroy(s->shared.lease_timer);
	if (s->hosts.settings != NULL)
		hosts_fini(&s->hosts);
	memory_free(s->queues);
	memory_free(s);
}

static void redis_count_others(struct source *source, struct census *census, unsigned round)
{
	struct redis_source *s = of_source(source);
	s->shared.census = census;
	for (size_t i = 0; i < s->n_queues; i++)
		if (!redis_queue_is_retired(s->queues[i]))
			redis_queue_count(s->queues[i], round);
}

static size_t redis_waiting_for(const struct source *source, char *buf, size_t size)
{
	const struct redis_source *s = of_source(source);
	size_t used = 0;
	for (size_t i = 0; i < s->n_queues && used + 3 < size; i++) {
		size_t comma = used > 0 ? 2 : 0;
		size_t len =
		    redis_queue_waiting_for(s->queues[i], buf + used + comma, size - used - comma);
		if (len == 0)
			continue;
		memcpy(buf + used, ", ", comma);
		used += comma + len;
	}
	if (source->link == LINK_CLOSING && used == 0 && size > 0) {
		int len = snprintf(buf, size, "leaving the lists of \"%s\"", source->name);
		used = len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
	}
	return used;
}

static const struct source_ops redis_list_ops = {
    .kind = "redis",
    .start = redis_start,
    .pause = redis_pause,
    .resume = redis_resume,
    .settle = redis_settle,
    .flush = redis_flush,
    .room_came = redis_room_came,
    .suspend = redis_suspend,
    .take_up = redis_take_up,
    .is_suspended = redis_is_suspended,
    .retire = redis_retire,
    .leave = redis_leave,
    .close = redis_close,
    .destroy = redis_destroy,
    .count_others = redis_count_others,
    .waiting_for = redis_waiting_for,
};

/* --- life ------------------------------------------------------------------------------------- */

/* CLIENT SETNAME takes no blanks, and braces in a key would be a cluster's hash tag. */
static void name_worker(struct redis_source *s, const char *name)
{
	size_t i = 0;
	for (; name[i] != '\0' && i < sizeof s->worker - 1; i++) {
		char c = name[i];
		bool plain = c > ' ' && c < 0x7f && c != '{' && c != '}';
		s->worker[i] = plain ? c : '-';
	}
	s->worker[i] = '\0';
}

static enum status build(struct redis_source *s, struct error *why)
{
	s->retry = timer_create_on(s->shared.loop, connect_now, s);
	s->tick = timer_create_on(s->shared.loop, ticked, s);
	s->ask_again = timer_create_on(s->shared.loop, ask_again, s);
	s->shared.lease_timer = timer_create_on(s->shared.loop, lease_timer_fired, s);
	s->shared.lease_check_ns = UINT64_MAX;
	s->queues_room = s->settings->n_queues;
	s->queues = memory_clear(s->queues_room, sizeof *s->queues);
	s->sentinel = redis_sentinel_create(
	    s->shared.loop, &s->hosts, s->settings->broker.connect_timeout_ms, &sentinel_events, s);
	if (s->retry == NULL || s->tick == NULL || s->sentinel == NULL || s->ask_again == NULL ||
	    s->shared.lease_timer == NULL || s->queues == NULL ||
	    hosts_init(&s->hosts, &s->settings->broker, s->shared.log, s->source.name, 0) != ST_OK)
		return error_set(why, ST_NOMEM, "out of memory");
	return ST_OK;
}

enum status redis_list_source_create(struct loop *loop, struct log *log,
				     const struct redis_settings *settings,
				     const struct worker_settings *worker, struct source_host *host,
				     struct source **ret_source, struct error *why)
{
	struct redis_source *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	s->source = (struct source){
	    .ops = &redis_list_ops,
	    .host = host,
	    .name = settings->name,
	    .link = LINK_DOWN,
	    .intake = INTAKE_SHUT,
	};
	list_init(&s->source.in_roster);
	s->settings = settings;
	name_worker(s, worker->name);
	s->shared = (struct redis_shared){
	    .loop = loop,
	    .log = log,
	    .source = &s->source,
	    .login = &s->login,
	    .worker = s->worker,
	    .max_body_bytes = worker->max_body_bytes,
	    .claim_bytes = CLAIM_BYTES,
	    .wait_replicas = settings->wait_replicas,
	    .wait_timeout_ms = settings->wait_timeout_ms,
	    .refused = list_refused,
	    .link_failed = link_failed,
	    .changed = queue_changed,
	};
	list_init(&s->shared.work);
	s->lease_hook = (struct turn_hook){.run = check_leases, .arg = s};
	loop_add_hook(loop, TURN_LET_GO, &s->lease_hook);
	s->settle_hook = (struct turn_hook){.run = attend_all, .arg = s};
	loop_add_hook(loop, TURN_SETTLE, &s->settle_hook);
	enum status st = build(s, why);
	if (st != ST_OK) {
		redis_destroy(&s->source);
		return st;
	}
	*ret_source = &s->source;
	return ST_OK;
}

/* A cluster was searched for the node of the one list it had at the start. */
static enum status check_node(const struct redis_source *s, const char *list, struct error *why)
{
	const struct redis_settings *settings = s->settings;
	if (!hosts_is_cluster(&s->hosts) ||
	    (settings->n_queues > 0 && strcmp(list, settings->queues[0]->name) == 0))
		return ST_OK;
	return error_set(why, ST_REFUSED,
			 "in a cluster another list may be on another node: this takes a new "
			 "worker");
}

static void begin_queue(struct redis_source *s, struct redis_queue *queue)
{
	uint64_t tick_ms = s->tick_ms;
	find_tick(s);
	if (s->wants_open)
		redis_queue_open(queue);
	if (s->shared.redis != NULL)
		redis_queue_link_up(queue);
	if (s->tick_ms < tick_ms && timer_armed(s->tick))
		ticked(s); /* and not merely begun anew: others wait for it, too */
}

static bool make_room(struct redis_source *s, size_t n)
{
	if (n <= s->queues_room)
		return true;
	struct redis_queue **queues = memory_grow(s->queues, n * sizeof *queues);
	if (queues == NULL)
		return false;
	s->queues = queues;
	s->queues_room = n;
	return true;
}

enum status redis_list_source_add(struct source *source, const struct list_settings *list,
				  struct route *route, struct error *why)
{
	struct redis_source *s = of_source(source);
	must(source->ops == &redis_list_ops);
	enum status st = check_node(s, list->name, why);
	if (st != ST_OK)
		return st;
	if (!make_room(s, s->n_queues + 1))
		return error_set(why, ST_NOMEM, "out of memory");
	struct redis_queue *queue = redis_queue_create(&s->shared, list);
	if (queue == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	s->queues[s->n_queues++] = queue;
	redis_queue_bind(queue, route);
	if (!s->started)
		return ST_OK;
	begin_queue(s, queue);
	show(s, source->link);
	return ST_OK;
}
