/* The source is the sum of its parts: a link that comes back (rabbitmq_link), a channel for each
 * queue (rabbitmq_channel), the copies (rabbitmq_copies), and what only passes by (rabbitmq_passage).
 * Here is what concerns all of them: the state of the link and of the intake, which follow from theirs,
 * and the order of closing.
 *
 *     pause()   basic.cancel on each channel; shut once every cancel-ok is in
 *     close()   channel.close on all channels in one write, each close-ok proving its answers;
 *               then connection.close; the publishing connections beside it
 *
 * All channels that have something to tell are on one list, so a turn costs what the busy ones cost,
 * however many are quiet. */
#include "sources/rabbitmq/rabbitmq.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/rabbitmq/rabbitmq_channel.h"
#include "sources/rabbitmq/rabbitmq_copies.h"
#include "sources/rabbitmq/rabbitmq_describe.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_pace.h"
#include "sources/rabbitmq/rabbitmq_passage.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "sources/source.h"
#include "wire/amqp.h"

#include <stdio.h>

/* net_ticktime until a silent node counts as dead, and from 4.3 on consumer_disconnected_timeout on top. */
enum { NODE_DEAD_MS = 150 * 1000 };

struct rabbitmq {
	struct source base;
	struct rabbitmq_link link;
	struct rabbitmq_channels all;
	struct rabbitmq_channel **channels; /* number i + 1 is at i; NULL: that number is free */
	size_t n_channels, channels_room;   /* how far that goes, and how far it may */
	size_t first_free;                  /* all before it are in use */
	struct turn_hook turn;
	struct timer *wake; /* answers may not wait longer */
	uint64_t wake_at_ns;
	struct pace pace;
	struct timer *read_on; /* armed while reading waits */
	unsigned least_prefetch;
	bool started, has_been_up;
	unsigned place;  /* which node it was, last; see hosts.h */
	bool refused;    /* for good: nothing is tried any more */
	size_t refusals; /* addresses that have refused us since the last that did not */
	bool held;       /* by the passage: nothing is read until its output has left */
	bool copies_closed, passage_closed; /* by close() */
};

static struct rabbitmq *of(struct source *source)
{
	return list_entry(source, struct rabbitmq, base);
}

/* The first of those from number *at + 1 on that are in use. */
static struct rabbitmq_channel *next_channel(const struct rabbitmq *s, size_t *at)
{
	while (*at < s->n_channels) {
		struct rabbitmq_channel *ch = s->channels[(*at)++];
		if (ch != NULL)
			return ch;
	}
	return NULL;
}

static struct rabbitmq_channel *channel_of(const struct rabbitmq *s, uint16_t number)
{
	return number <= s->n_channels ? s->channels[number - 1] : NULL; /* 0 never comes here */
}

/* --- link and intake --------------------------------------------------------------------------- */

static enum intake intake_now(const struct rabbitmq *s)
{
	size_t idle = 0, may_deliver = 0;
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;) {
		idle += !rabbitmq_channel_consumes(ch) && !rabbitmq_channel_is_retired(ch) &&
			!rabbitmq_channel_is_suspended(ch);
		may_deliver += rabbitmq_channel_may_deliver(ch);
	}
	if (s->all.intake_wanted)
		return idle == 0 ? INTAKE_OPEN : INTAKE_OPENING;
	bool passes = rabbitmq_passage_count(s->all.passage) > 0;
	return may_deliver > 0 || passes ? INTAKE_SHUTTING : INTAKE_SHUT;
}

static void update(struct rabbitmq *s, enum link_state link)
{
	enum intake intake = intake_now(s);
	if (s->base.link == link && s->base.intake == intake)
		return;
	s->base.link = link;
	s->base.intake = intake;
	s->base.host->changed(s->base.host, &s->base);
}

static bool all_channels_closed(const struct rabbitmq *s)
{
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		if (!rabbitmq_channel_is_closed(ch))
			return false;
	return true;
}

static void close_further(struct rabbitmq *s)
{
	if (!all_channels_closed(s))
		return;
	if (s->link.conn != NULL)
		amqp_conn_close(s->link.conn); /* again is harmless */
	else if (s->copies_closed && s->passage_closed)
		update(s, LINK_CLOSED);
}

/* A channel may just have been given another limit. */
static void find_least_prefetch(struct rabbitmq *s)
{
	s->least_prefetch = UINT16_MAX;
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;) {
		unsigned prefetch = rabbitmq_channel_limit(ch);
		if (prefetch != 0 && prefetch < s->least_prefetch)
			s->least_prefetch = prefetch;
	}
}

static void channel_moved(struct source *source)
{
	struct rabbitmq *s = of(source);
	find_least_prefetch(s);
	update(s, s->base.link);
	if (s->base.link == LINK_CLOSING)
		close_further(s);
}

static void access_refused(struct source *source)
{
	rabbitmq_link_doubt(&of(source)->link);
}

static void refused_for_good(struct source *source, const struct error *why)
{
	struct rabbitmq *s = of(source);
	if (s->refused)
		return;
	s->refused = true;
	struct error full = *why;
	(void)error_add(&full, why->status, "rabbitmq source \"%s\"", s->base.name);
	s->base.host->refused(s->base.host, &s->base, &full);
}

/* --- the connection ---------------------------------------------------------------------------- */

static void on_dialing(void *arg)
{
	struct rabbitmq *s = arg;
	update(s, LINK_CONNECTING);
}

/* Beyond what we had asked for at the start the broker may allow fewer than the one before. */
static void open_channel(struct rabbitmq *s, struct rabbitmq_channel *ch, size_t number)
{
	if (amqp_conn_use_channel(s->all.conn, (uint16_t)number)) {
		rabbitmq_channel_open(ch);
		return;
	}
	log_say(s->all.log, LOG_ERROR, "broker allows no channel more, queue not consumed",
		kv_text("source", s->base.name), kv_text("queue", rabbitmq_channel_queue(ch)));
}

static void open_channels(struct rabbitmq *s)
{
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		if (!rabbitmq_channel_is_retired(ch))
			open_channel(s, ch, at);
}

/* So long the broker may hold what it gave to an earlier connection. */
static void expect_held(struct rabbitmq *s, uint64_t for_ms)
{
	uint64_t until_ns = loop_now_ns(s->all.loop) + for_ms * UINT64_C(1000000);
	if (until_ns > s->all.held_until_ns)
		s->all.held_until_ns = until_ns;
}

/* Where the node of the connection before has died, the others may take their time to find out. */
static void note_place(struct rabbitmq *s)
{
	if (s->has_been_up && s->place != s->link.hosts.place)
		expect_held(s, NODE_DEAD_MS);
	s->place = s->link.hosts.place;
}

static void on_opened(void *arg)
{
	struct rabbitmq *s = arg;
	char url[256];
	s->all.conn = s->link.conn;
	rabbitmq_link_worked(&s->link);
	note_place(s);
	if (s->has_been_up)
		s->base.reconnects++;
	s->has_been_up = true;
	hosts_redacted(&s->link.hosts, url, sizeof url);
	log_say(s->all.log, LOG_INFO, "rabbitmq connected", kv_text("source", s->base.name),
		kv_text("url", url), kv_text("server", amqp_conn_server(s->link.conn)),
		kv_text("tls", amqp_conn_tls(s->link.conn)));
	open_channels(s);
	update(s, LINK_UP);
}

/* The number above those of the queues says whose second channel it is; see rabbitmq_single_active.h. */
static void question_answered(struct rabbitmq *s, uint16_t channel, amqp_method_number_t id,
			      const void *decoded)
{
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		if (rabbitmq_channel_answered(ch, channel, id, decoded))
			return;
}

static void on_method(void *arg, uint16_t channel, amqp_method_number_t id, const void *decoded)
{
	struct rabbitmq *s = arg;
	struct rabbitmq_channel *ch = channel_of(s, channel);
	if (ch != NULL)
		rabbitmq_channel_method(ch, id, decoded);
	else
		question_answered(s, channel, id, decoded);
}

static void on_header(void *arg, uint16_t channel, const struct amqp_header *header)
{
	struct rabbitmq *s = arg;
	struct rabbitmq_channel *ch = channel_of(s, channel);
	if (ch != NULL)
		rabbitmq_channel_header(ch, header);
}

static void on_body(void *arg, uint16_t channel, struct span piece)
{
	struct rabbitmq *s = arg;
	struct rabbitmq_channel *ch = channel_of(s, channel);
	if (ch != NULL)
		rabbitmq_channel_body(ch, piece);
}

static void on_blocked(void *arg, const char *reason)
{
	struct rabbitmq *s = arg; /* never published here, so the broker goes on reading us */
	log_say(s->all.log, LOG_INFO,
		reason ? "broker has blocked publishers" : "broker has unblocked publishers",
		kv_text("source", s->base.name), kv_text("why", reason));
}

/* Only at the start, and when each address has said so: one node that is out of order is no reason. */
static bool is_for_good(struct rabbitmq *s, const struct error *why)
{
	bool refused = why->status == ST_AUTH || why->status == ST_MISSING ||
		       why->status == ST_REFUSED || why->status == ST_INVALID;
	s->refusals = refused ? s->refusals + 1 : 0;
	return !s->has_been_up && s->refusals >= s->link.settings->broker.n_urls;
}

/* It closes a connection two to three heartbeats after the last that it heard. */
static void note_silence(struct rabbitmq *s, const struct error *why)
{
	if (s->all.conn != NULL && why != NULL && why->status == ST_TIMEOUT)
		expect_held(s, 3 * s->link.settings->heartbeat_ms);
}

static void on_closed(void *arg, const struct error *why)
{
	struct rabbitmq *s = arg;
	note_silence(s, why);
	bool closing = s->base.link == LINK_CLOSING;
	s->all.conn = NULL;
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;) {
		if (why != NULL && why->status == ST_PROTO)
			rabbitmq_channel_blame(ch, why);
		rabbitmq_channel_lose(ch);
	}
	if (closing) {
		rabbitmq_link_stop(&s->link);
		update(s, LINK_CLOSING);
		close_further(s);
		return;
	}
	must(why != NULL);
	if (is_for_good(s, why)) {
		rabbitmq_link_stop(&s->link);
		update(s, LINK_DOWN);
		refused_for_good(&s->base, why);
		return;
	}
	rabbitmq_link_lost(&s->link, why);
	update(s, LINK_DOWN);
}

static const struct amqp_events on_connection = {
    .opened = on_opened,
    .method = on_method,
    .header = on_header,
    .body = on_body,
    .blocked = on_blocked,
    .closed = on_closed,
};

/* --- copies ------------------------------------------------------------------------------------ */

static void copy_arrived(void *arg, struct job *job)
{
	(void)arg;
	rabbitmq_channel_copied(job->route->source_ref, job);
}

static void copy_given_up(void *arg, struct job *job)
{
	(void)arg;
	rabbitmq_channel_not_copied(job->route->source_ref, job);
}

static void copy_refused(void *arg, struct job *job)
{
	(void)arg;
	rabbitmq_channel_copy_refused(job->route->source_ref, job);
}

static void copies_closed(void *arg)
{
	struct rabbitmq *s = arg;
	s->copies_closed = true;
	close_further(s);
}

static const struct rabbitmq_copies_events on_copies = {
    .arrived = copy_arrived,
    .gave_up = copy_given_up,
    .refused = copy_refused,
    .closed = copies_closed,
};

/* --- what is too large ------------------------------------------------------------------------- */

static void read_on(void *arg)
{
	struct rabbitmq *s = arg;
	timer_stop(s->read_on);
	if (s->all.conn != NULL && !s->held)
		amqp_conn_read_start(s->all.conn);
}

static void hold_reading(void *arg)
{
	struct rabbitmq *s = arg;
	s->held = true;
	if (s->all.conn != NULL)
		amqp_conn_read_stop(s->all.conn);
}

static void let_read(void *arg)
{
	struct rabbitmq *s = arg;
	s->held = false;
	read_on(s);
}

/* A drain waits for the last one as it does for what still comes in. */
static void passage_moved(struct rabbitmq *s)
{
	if (!s->all.intake_wanted)
		update(s, s->base.link);
}

static void message_passed(void *arg, struct job *job)
{
	rabbitmq_channel_copied(job->route->source_ref, job);
	passage_moved(arg);
}

static void message_not_passed(void *arg, struct job *job)
{
	rabbitmq_channel_not_copied(job->route->source_ref, job);
	passage_moved(arg);
}

static void message_refused(void *arg, struct job *job)
{
	rabbitmq_channel_copy_refused(job->route->source_ref, job);
	passage_moved(arg);
}

static void passage_closed(void *arg)
{
	struct rabbitmq *s = arg;
	s->passage_closed = true;
	close_further(s);
}

static const struct rabbitmq_passage_events on_passage = {
    .passed = message_passed,
    .not_passed = message_not_passed,
    .refused = message_refused,
    .hold = hold_reading,
    .let_flow = let_read,
    .closed = passage_closed,
};

/* --- the end of a turn ------------------------------------------------------------------------- */

static void wake_only(void *arg)
{
	(void)arg; /* a timer that fires is a turn, and the turn is what is needed */
}

static void wake_in(struct rabbitmq *s, uint64_t wait_ms, uint64_t now_ns)
{
	uint64_t at_ns = now_ns + wait_ms * 1000000;
	if (timer_armed(s->wake) && s->wake_at_ns <= at_ns)
		return;
	s->wake_at_ns = at_ns;
	timer_start(s->wake, wait_ms);
}

static void pace_reading(struct rabbitmq *s, uint64_t now_ns)
{
	if (!pace_turn(&s->pace, s->all.delivered, s->least_prefetch, now_ns))
		return;
	if (s->all.conn == NULL || s->all.urgent || !s->all.intake_wanted)
		return;
	amqp_conn_read_stop(s->all.conn);
	timer_start(s->read_on, PACE_WAIT_MS);
}

static void settle_busy(struct rabbitmq *s, uint64_t now_ns)
{
	uint64_t soonest_ms = UINT64_MAX;
	struct list due, *it;
	list_init(&due);
	list_splice(&due, &s->all.busy);
	while ((it = list_take_first(&due)) != NULL) { /* what one proves may reset another */
		list_append(&s->all.busy, it);
		uint64_t wait_ms = rabbitmq_channel_turn(rabbitmq_channel_of_busy(it), now_ns);
		if (wait_ms < soonest_ms)
			soonest_ms = wait_ms;
	}
	if (soonest_ms != UINT64_MAX)
		wake_in(s, soonest_ms, now_ns);
}

static void turn_ends(void *arg)
{
	struct rabbitmq *s = arg;
	bool settles = !list_empty(&s->all.busy);
	/* What was urgent has been told and proved, but for copies that are still under way. */
	if (!settles)
		s->all.urgent = s->all.urgent && rabbitmq_copies_count(s->all.copies) > 0;
	if (!settles && s->all.delivered == s->pace.seen)
		return;
	uint64_t now_ns = loop_now_ns(s->all.loop);
	settle_busy(s, now_ns);
	pace_reading(s, now_ns);
}

/* --- the contract ------------------------------------------------------------------------------ */

static void start(struct source *source)
{
	struct rabbitmq *s = of(source);
	s->started = true;
	s->all.intake_wanted = true;
	rabbitmq_link_dial(&s->link);
}

static void want_intake(struct rabbitmq *s, bool wanted)
{
	if (s->all.intake_wanted == wanted)
		return;
	s->all.intake_wanted = wanted;
	read_on(s);
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		rabbitmq_channel_follow(ch);
	rabbitmq_passage_follow(s->all.passage, wanted);
	update(s, s->base.link);
}

static void pause_intake(struct source *source)
{
	want_intake(of(source), false);
}

static void resume_intake(struct source *source)
{
	want_intake(of(source), true);
}

static void settle(struct source *source, struct job *job)
{
	(void)source;
	rabbitmq_channel_settle(job->route->source_ref, job);
}

static void flush(struct source *source)
{
	struct rabbitmq *s = of(source);
	s->all.urgent = true;
	rabbitmq_copies_hurry(s->all.copies);
	read_on(s);
	loop_turn_again(s->all.loop);
}

static void limits_changed(struct source *source)
{
	struct rabbitmq *s = of(source);
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		rabbitmq_channel_limits_changed(ch);
}

static void suspend(struct source *source, struct route *route)
{
	(void)source;
	rabbitmq_channel_suspend(route->source_ref, true);
}

static void take_up(struct source *source, struct route *route)
{
	(void)source;
	rabbitmq_channel_suspend(route->source_ref, false);
}

static bool is_suspended(const struct source *source, const struct route *route)
{
	(void)source;
	return !rabbitmq_channel_may_deliver(route->source_ref);
}

static void retire(struct source *source, struct route *route)
{
	(void)source;
	rabbitmq_channel_retire(route->source_ref);
}

static void free_number(struct rabbitmq *s, size_t i)
{
	s->channels[i] = NULL;
	if (i < s->first_free)
		s->first_free = i;
}

/* Its number is free again: with close-ok nothing more comes on it. */
static enum leaving leave(struct source *source, struct route *route)
{
	struct rabbitmq *s = of(source);
	struct rabbitmq_channel *ch = route->source_ref;
	enum leaving leaving = rabbitmq_channel_leave(ch);
	if (leaving != LEAVING_GONE)
		return leaving;
	for (size_t i = 0; i < s->n_channels; i++)
		if (s->channels[i] == ch)
			free_number(s, i);
	rabbitmq_channel_destroy(ch);
	find_least_prefetch(s);
	return leaving;
}

static void close_in_order(struct source *source)
{
	struct rabbitmq *s = of(source);
	if (s->base.link == LINK_CLOSING || s->base.link == LINK_CLOSED)
		return;
	s->all.intake_wanted = false;
	read_on(s);
	s->base.link = LINK_CLOSING; /* told below, with what follows from it */
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		rabbitmq_channel_close(ch);
	if (s->all.conn == NULL)
		rabbitmq_link_stop(&s->link);
	s->base.intake = intake_now(s);
	s->base.host->changed(s->base.host, source);
	close_further(s);
	rabbitmq_passage_close(s->all.passage);
	rabbitmq_copies_close(s->all.copies);
}

static void destroy(struct source *source)
{
	struct rabbitmq *s = of(source);
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		rabbitmq_channel_destroy(ch);
	memory_free(s->channels);
	rabbitmq_copies_destroy(s->all.copies);
	rabbitmq_passage_destroy(s->all.passage);
	rabbitmq_link_fini(&s->link);
	timer_destroy(s->wake);
	timer_destroy(s->read_on);
	loop_remove_hook(&s->turn);
	memory_free(s);
}

static void append(char *buf, size_t size, size_t *len, const char *what, const char *queue)
{
	const char *between = *len > 0 ? ", " : "";
	int n = queue != NULL
		    ? snprintf(buf + *len, size - *len, "%s%s of \"%s\"", between, what, queue)
		    : snprintf(buf + *len, size - *len, "%s%s", between, what);
	if (n > 0)
		*len = *len + (size_t)n < size ? *len + (size_t)n : size - 1;
}

static void describe(const struct source *source, const struct job *job, struct text *to)
{
	(void)source;
	rabbitmq_describe(job->origin, to);
}

static void count_others(struct source *source, struct census *census, unsigned round)
{
	struct rabbitmq *s = of(source);
	s->all.census = census;
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;)
		if (!rabbitmq_channel_is_retired(ch))
			rabbitmq_channel_count(ch, round);
}

static bool is_again(const struct source *source, const struct job *first, const struct job *again)
{
	(void)source;
	return rabbitmq_message_is_again(first->origin, again->origin);
}

static bool is_blocked(const struct source *source)
{
	const struct rabbitmq *s = list_entry(source, const struct rabbitmq, base);
	return rabbitmq_copies_are_blocked(s->all.copies) ||
	       rabbitmq_passage_is_blocked(s->all.passage);
}

static size_t waiting_for(const struct source *source, char *buf, size_t size)
{
	const struct rabbitmq *s = list_entry(source, const struct rabbitmq, base);
	size_t len = 0;
	char copies[64];
	if (size == 0)
		return 0;
	struct rabbitmq_channel *ch;
	for (size_t at = 0; (ch = next_channel(s, &at)) != NULL;) {
		const char *what = rabbitmq_channel_waits_for(ch);
		if (what[0] != '\0')
			append(buf, size, &len, what, rabbitmq_channel_queue(ch));
	}
	size_t n = rabbitmq_copies_count(s->all.copies);
	(void)snprintf(copies, sizeof copies, "confirms of %zu copies", n);
	if (n > 0)
		append(buf, size, &len, copies, NULL);
	n = rabbitmq_passage_count(s->all.passage);
	(void)snprintf(copies, sizeof copies, "%zu large messages on their way", n);
	if (n > 0)
		append(buf, size, &len, copies, NULL);
	if (s->base.link == LINK_CLOSING && all_channels_closed(s))
		append(buf, size, &len, "connection.close-ok", NULL);
	return len;
}

static const struct source_ops ops = {
    .kind = "rabbitmq",
    .start = start,
    .pause = pause_intake,
    .resume = resume_intake,
    .settle = settle,
    .flush = flush,
    .limits_changed = limits_changed,
    .suspend = suspend,
    .take_up = take_up,
    .is_suspended = is_suspended,
    .retire = retire,
    .leave = leave,
    .close = close_in_order,
    .destroy = destroy,
    .is_again = is_again,
    .describe = describe,
    .count_others = count_others,
    .is_blocked = is_blocked,
    .waiting_for = waiting_for,
};

/* --- life -------------------------------------------------------------------------------------- */

static enum status create_parts(struct rabbitmq *s, struct error *why)
{
	enum status st =
	    rabbitmq_copies_create(s->all.loop, s->all.log, s->link.settings, s->all.worker->name,
				   &on_copies, s, &s->all.copies, why);
	if (st == ST_OK)
		st = rabbitmq_passage_create(s->all.loop, s->all.log, s->link.settings,
					     s->all.worker->name, &on_passage, s, &s->all.passage,
					     why);
	if (st != ST_OK)
		return st;
	s->wake = timer_create_on(s->all.loop, wake_only, s);
	s->read_on = timer_create_on(s->all.loop, read_on, s);
	if (s->wake == NULL || s->read_on == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	s->channels_room = s->link.settings->n_queues;
	s->channels = memory_clear(s->channels_room, sizeof(struct rabbitmq_channel *));
	if (s->channels == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	return rabbitmq_link_init(&s->link, why);
}

static void init(struct rabbitmq *s, struct loop *loop, struct log *log,
		 const struct rabbitmq_settings *settings, const struct worker_settings *worker,
		 struct source_host *host)
{
	s->base = (struct source){
	    .ops = &ops,
	    .host = host,
	    .name = settings->name,
	    .link = LINK_DOWN,
	    .intake = INTAKE_SHUT,
	};
	list_init(&s->base.in_roster);
	s->link = (struct rabbitmq_link){
	    .loop = loop,
	    .log = log,
	    .settings = settings,
	    .name = worker->name,
	    .channels = (uint16_t)settings->n_queues,
	    .dialing = on_dialing,
	    .events = &on_connection,
	    .arg = s,
	};
	s->all = (struct rabbitmq_channels){
	    .loop = loop,
	    .log = log,
	    .source = &s->base,
	    .worker = worker,
	    .check_ms = settings->consumer_check_ms,
	    .doubted = access_refused,
	    .moved = channel_moved,
	    .refused = refused_for_good,
	};
	list_init(&s->all.busy);
	s->least_prefetch = UINT16_MAX;
	s->turn = (struct turn_hook){.run = turn_ends, .arg = s};
	loop_add_hook(loop, TURN_SETTLE, &s->turn);
}

enum status rabbitmq_source_create(struct loop *loop, struct log *log,
				   const struct rabbitmq_settings *settings,
				   const struct worker_settings *worker, struct source_host *host,
				   struct source **ret_source, struct error *why)
{
	if (settings->n_queues > UINT16_MAX)
		return error_set(why, ST_INVALID,
				 "rabbitmq source \"%s\": a connection has 65535 channels at most",
				 settings->name);
	struct rabbitmq *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return error_set(why, ST_NOMEM, "rabbitmq source \"%s\": out of memory",
				 settings->name);
	init(s, loop, log, settings, worker, host);
	enum status st = create_parts(s, why);
	if (st != ST_OK) {
		destroy(&s->base);
		return error_add(why, st, "rabbitmq source \"%s\"", settings->name);
	}
	*ret_source = &s->base;
	return ST_OK;
}

static enum status make_room(struct rabbitmq *s, size_t n, struct error *why)
{
	if (n > s->channels_room) {
		struct rabbitmq_channel **channels =
		    memory_grow(s->channels, n * sizeof(struct rabbitmq_channel *));
		if (channels == NULL)
			return error_set(why, ST_NOMEM, "out of memory");
		s->channels = channels;
		s->channels_room = n;
	}
	s->channels[n - 1] = NULL;
	s->all.n_numbers = s->n_channels = n;
	return ST_OK;
}

/* The lowest number that is free, whose place in `channels` is made. */
static enum status find_number(struct rabbitmq *s, size_t *ret_number, struct error *why)
{
	size_t i = s->first_free;
	while (i < s->n_channels && s->channels[i] != NULL)
		i++;
	s->first_free = i;
	if (i >= UINT16_MAX ||
	    (s->all.conn != NULL && !amqp_conn_use_channel(s->all.conn, (uint16_t)(i + 1))))
		return error_set(why, ST_REFUSED,
				 "the broker allows %zu channels on a connection, and each has its "
				 "queue",
				 i);
	*ret_number = i + 1;
	return i < s->n_channels ? ST_OK : make_room(s, i + 1, why);
}

enum status rabbitmq_source_add(struct source *source, const struct queue_settings *queue,
				struct route *route, struct error *why)
{
	struct rabbitmq *s = of(source);
	struct rabbitmq_channel *ch;
	size_t number = 0;
	must(source->ops == &ops);
	enum status st = find_number(s, &number, why);
	if (st == ST_OK)
		st = rabbitmq_channel_create(&s->all, queue, (uint16_t)number, &ch, why);
	if (st != ST_OK)
		return st;
	s->channels[number - 1] = ch;
	rabbitmq_channel_bind(ch, route);
	if (!s->started)
		return ST_OK;
	rabbitmq_channel_forgive(ch);
	if (s->all.conn != NULL)
		open_channel(s, ch, number);
	update(s, s->base.link);
	return ST_OK;
}
