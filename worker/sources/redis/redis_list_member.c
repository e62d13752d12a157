/* A worker is a member of a list while its lease runs. The lease is renewed every third of it, by
 * the turn script and by a tick; whoever finds it run out brings back what the worker held. A member
 * that finds its lease gone ("shut out") has lost its claims: what it holds unbegun goes, what runs
 * goes on and ends in SETTLED_LOST, and it joins again under a new name, so that nothing that is
 * still under way in the old name can touch the new claims. struct job.source_epoch tells which of
 * the names a job belongs to.
 *
 * After a broken connection the calls without a reply are in doubt. Settles are sent again, which is
 * harmless (redis_turn.lua tells why). Claims are not asked for again: redis_undo.lua is told which
 * jobs we know, and puts back all others. The same step cleans up what we let go of when the lease
 * ran out in the meantime and nobody had noticed.
 *
 * After a failover
 *
 * Replication is asynchronous, so a new master may not know of our latest claims and settles, nor even
 * of our membership. redis_undo.lua tells which claims it does not have. Their jobs still lie in its list,
 * and somebody will be given them, so we let go of those that have not begun, and of those that run we
 * only remember how they end. None of them may be settled any more: the counter of ids has been set back,
 * too, and the same field may soon be another job's. When something was let go of, the server is told
 * once more what we know. What the old master had confirmed and the new one has not heard of runs again;
 * no worker can help that. */
#include "sources/redis/redis_list_member.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "settings/settings.h"
#include "sources/redis/redis_list_keys.h"
#include "sources/redis/redis_list_known.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/source.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum membership {
	MEMBER_OUT,
	MEMBER_JOINING,
	MEMBER_UNDOING,
	MEMBER_IN,
	MEMBER_LEAVING,
	MEMBER_LEFT,
};

#define MAY(state) (1u << (state))

static const struct {
	const char *name;
	unsigned may_become;
} memberships[] = {
    [MEMBER_OUT] = {"out",     MAY(MEMBER_JOINING) | MAY(MEMBER_UNDOING) | MAY(MEMBER_LEAVING)            },
    [MEMBER_JOINING] = {"joining", MAY(MEMBER_IN) | MAY(MEMBER_OUT) | MAY(MEMBER_LEAVING)                     },
    [MEMBER_UNDOING] = {"undoing", MAY(MEMBER_UNDOING) | MAY(MEMBER_IN) | MAY(MEMBER_JOINING) |
				       MAY(MEMBER_OUT) | MAY(MEMBER_LEAVING)},
    [MEMBER_IN] = {"member",  MAY(MEMBER_UNDOING) | MAY(MEMBER_JOINING) | MAY(MEMBER_OUT) |
				 MAY(MEMBER_LEAVING)                         },
    [MEMBER_LEAVING] = {"leaving", MAY(MEMBER_LEFT)							   },
    [MEMBER_LEFT] = {"left",    0									  },
};

struct redis_member {
	struct redis_shared *shared;
	const struct list_settings *settings;
	const struct redis_member_events *events;
	void *arg;
	struct redis_keys keys;

	enum membership membership;
	bool joined;         /* the name in `keys` is, or was, known to the server */
	uint64_t epoch;      /* counts the names */
	bool renewing;       /* a renewal is without its reply */
	uint64_t renewed_ns; /* when a renewal, joining or undoing was asked for last */
	uint64_t heard;      /* bytes that had come by the last tick */
	uint64_t back_ns;    /* since when we have been a member without a break */
	unsigned place;      /* redis_shared.login->place of the server we joined */
	bool moved;          /* the server is another one, and has yet to say what it knows of us */
	bool lapsed;         /* the lease has run out by our own clock: nothing is held any more */
};

static uint64_t now_ns(const struct redis_member *m)
{
	return loop_now_ns(m->shared->loop);
}

static void say(const struct redis_member *m, enum log_level level, const char *event,
		const char *key, int64_t number)
{
	log_say(m->shared->log, level, event, kv_text("source", m->shared->source->name),
		kv_text("queue", m->settings->name), kv_int(key, number));
}

/* The only place that assigns the membership. */
static void move(struct redis_member *m, enum membership next)
{
	enum membership before = m->membership;
	must((memberships[before].may_become & MAY(next)) != 0);
	m->membership = next;
	log_say(m->shared->log, LOG_DEBUG, "list membership moved",
		kv_text("source", m->shared->source->name), kv_text("queue", m->settings->name),
		kv_text("from", memberships[before].name), kv_text("to", memberships[next].name));
}

static bool is_answer(struct redis_member *m, const struct reply *reply, size_t n_items)
{
	return redis_shared_is_answer(m->shared, m->settings->name, reply, n_items);
}

/* --- names ----------------------------------------------------------------------------------- */

/* A name that no worker has had before. */
static enum status take_new_name(struct redis_member *m)
{
	uint32_t random = (uint32_t)now_ns(m); /* if there were no getrandom() */
	(void)!getrandom(&random, sizeof random, 0);
	char name[300];
	(void)snprintf(name, sizeof name, "%.280s:%08x", m->shared->worker, random);
	struct redis_keys keys;
	enum status st = redis_keys_init(&keys, m->settings->name, m->settings->dead, name);
	if (st != ST_OK)
		return st;
	redis_keys_fini(&m->keys);
	m->keys = keys;
	m->joined = false;
	m->epoch++;
	return ST_OK;
}

const char *redis_member_name(const struct redis_member *m)
{
	return m->keys.held + strlen(m->keys.held_of);
}

/* --- joining, renewing ------------------------------------------------------------------------ */

static void become_member(struct redis_member *m)
{
	move(m, MEMBER_IN);
	m->joined = true;
	m->place = m->shared->login->place;
	m->moved = false;
	m->back_ns = now_ns(m);
	m->lapsed = false;
	m->events->joined(m->arg);
	m->shared->changed(m->shared);
}

static void take_news(struct redis_member *m, const struct reply *reply)
{
	int64_t brought_back = redis_reply_number(reply, 2);
	if (brought_back > 0)
		say(m, LOG_WARN, "jobs of a dead worker brought back", "jobs", brought_back);
	m->events->renewed(m->arg, redis_reply_number(reply, 1), brought_back);
}

/* A reply to a name that we have given up meanwhile says nothing any more; requests are answered in
 * order, so it comes before the answer to the joining that followed. */
static void renew_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	if (!is_answer(m, reply, 4) || m->membership == MEMBER_JOINING ||
	    m->membership == MEMBER_LEAVING)
		return;
	m->renewing = false;
	if (redis_reply_number(reply, 0) == 0)
		redis_member_shut_out(m);
	else
		take_news(m, reply);
}

static void join_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	if (!is_answer(m, reply, 4) || m->membership != MEMBER_JOINING)
		return;
	m->renewing = false;
	take_news(m, reply);
	become_member(m);
}

static void tell_others(struct redis_member *m)
{
	int64_t client = m->events->blocked_client(m->arg);
	if (!m->events->takes(m->arg))
		resp_arg_text(m->shared->redis, "quiet");
	else if (client != 0)
		resp_arg_number(m->shared->redis, client);
	else
		resp_arg_text(m->shared->redis, "");
}

static void send_renewal(struct redis_member *m, const char *how, resp_answered *answered)
{
	const struct redis_keys *k = &m->keys;
	const char *keys[] = {k->list,    k->workers, k->delayed,
			      k->history, k->clients, k->checkpoints};
	struct resp *redis = m->shared->redis;
	redis_shared_call(m->shared, SCRIPT_RENEW, keys, COUNT_OF(keys), 6, answered, m);
	resp_arg_text(redis, redis_member_name(m));
	resp_arg_number(redis, (int64_t)m->settings->lease_ms);
	resp_arg_text(redis, how);
	tell_others(m);
	resp_arg_text(redis, k->held_of);
	resp_arg_text(redis, k->wake_of);
	m->renewing = true;
	m->renewed_ns = now_ns(m); /* the server counts from later than this */
}

void redis_member_renew(struct redis_member *m)
{
	if (m->membership == MEMBER_IN && !m->renewing && m->shared->redis != NULL)
		send_renewal(m, "renew", renew_answered);
}

static void join(struct redis_member *m)
{
	move(m, MEMBER_JOINING);
	send_renewal(m, "join", join_answered);
}

void redis_member_shut_out(struct redis_member *m)
{
	say(m, LOG_WARN, "lease lost, joining the list again", "lease_ms",
	    (int64_t)m->settings->lease_ms);
	if (take_new_name(m) != ST_OK) {
		struct error why;
		(void)error_set(&why, ST_NOMEM, "list \"%s\": out of memory", m->settings->name);
		m->shared->link_failed(m->shared, &why);
		return;
	}
	m->events->shut_out(m->arg);
	join(m);
	m->shared->changed(m->shared);
}

/* --- after a broken connection ------------------------------------------------------------------ */

static void count_one(void *to, struct span field)
{
	(void)field;
	++*(size_t *)to;
}

static void write_one(void *to, struct span field)
{
	resp_arg(to, field);
}

static void undo_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	if (!is_answer(m, reply, 2) || m->membership != MEMBER_UNDOING)
		return;
	if (redis_reply_number(reply, 0) == 0) {
		redis_member_shut_out(m);
		return;
	}
	int64_t put_back = redis_reply_number(reply, 1);
	if (put_back > 0)
		say(m, LOG_INFO, "jobs put back that were claimed but never arrived", "jobs",
		    put_back);
	struct redis_unknown unknown = {reply->items + 2, reply->n_items - 2};
	if (unknown.n_fields > 0 && m->events->forget(m->arg, &unknown))
		redis_member_undo(m);
	else
		become_member(m);
}

void redis_member_undo(struct redis_member *m)
{
	const struct redis_keys *k = &m->keys;
	const char *keys[] = {k->list, k->held, k->workers, k->history, k->wake, k->checkpoints};
	size_t n_known = 0;
	m->events->name_known(m->arg, count_one, &n_known);
	move(m, MEMBER_UNDOING);
	m->renewed_ns = now_ns(m);
	redis_shared_call(m->shared, SCRIPT_UNDO, keys, COUNT_OF(keys), 2 + n_known, undo_answered,
			  m);
	resp_arg_text(m->shared->redis, redis_member_name(m));
	resp_arg_number(m->shared->redis, (int64_t)m->settings->lease_ms);
	m->events->name_known(m->arg, write_one, m->shared->redis);
}

void redis_member_link_up(struct redis_member *m)
{
	must(m->membership == MEMBER_OUT);
	m->moved = m->joined && m->place != m->shared->login->place;
	if (m->joined)
		redis_member_undo(m);
	else
		join(m);
}

bool redis_member_link_lost(struct redis_member *m)
{
	if (m->membership == MEMBER_OUT || m->membership == MEMBER_LEFT)
		return false;
	move(m, m->membership == MEMBER_LEAVING ? MEMBER_LEFT : MEMBER_OUT);
	m->renewing = false;
	return true;
}

/* --- as time passes ----------------------------------------------------------------------------- */

/* Whether what was asked for has waited too long for its reply. Replies come in order, and a large one
 * takes its time on a slow line: as long as bytes come, the link is alive, both ways, because the server
 * sends no more than we acknowledge. */
static bool waits_in_vain(struct redis_member *m)
{
	uint64_t heard = resp_bytes_in(m->shared->redis);
	bool nothing_came = heard == m->heard;
	m->heard = heard;
	return nothing_came && now_ns(m) - m->renewed_ns >= m->settings->lease_ms / 6 * 1000000;
}

static void see_whether_lapsed(struct redis_member *m, uint64_t lease_ns)
{
	if (!m->joined || m->lapsed || now_ns(m) - m->renewed_ns <= lease_ns)
		return;
	m->lapsed = true;
	say(m, LOG_WARN, "lease ran out while the link is down", "lease_ms",
	    (int64_t)m->settings->lease_ms);
	m->events->lapsed(m->arg);
}

void redis_member_tick(struct redis_member *m)
{
	struct error why;
	uint64_t lease_ns = m->settings->lease_ms * 1000000;
	if (redis_member_is_stopping(m))
		return;
	see_whether_lapsed(m, lease_ns);
	if (m->membership == MEMBER_OUT)
		return;
	bool in_vain = waits_in_vain(m);
	if (in_vain && (m->renewing || m->membership == MEMBER_UNDOING)) {
		(void)error_set(&why, ST_TIMEOUT, "no answer for a third of a lease");
		m->shared->link_failed(m->shared, &why);
		return;
	}
	if (m->membership != MEMBER_IN)
		return; /* its reply renews the lease */
	bool settled_in = now_ns(m) - m->back_ns > lease_ns;
	send_renewal(m, settled_in ? "bring back" : "renew", renew_answered);
}

bool redis_member_count(struct redis_member *m, resp_answered *answered, void *arg)
{
	const char *keys[] = {m->keys.workers, m->keys.clients};
	if (m->membership != MEMBER_IN || m->shared->redis == NULL)
		return false;
	redis_shared_call(m->shared, SCRIPT_CENSUS, keys, COUNT_OF(keys), 1, answered, arg);
	resp_arg_text(m->shared->redis, redis_member_name(m));
	return true;
}

/* --- leaving ------------------------------------------------------------------------------------ */

void redis_member_stop(struct redis_member *m)
{
	move(m, MEMBER_LEAVING);
}

void redis_member_vanish(struct redis_member *m)
{
	move(m, MEMBER_LEFT);
}

static void leave_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	/* Where it still held jobs it stays a member, and another worker brings them back. */
	m->joined = reply->kind != REPLY_NUMBER || reply->number == 0;
	move(m, MEMBER_LEFT);
	m->shared->changed(m->shared);
}

void redis_member_leave(struct redis_member *m)
{
	const struct redis_keys *k = &m->keys;
	const char *keys[] = {k->list, k->held, k->workers, k->wake, k->clients};
	must(m->membership == MEMBER_LEAVING);
	redis_shared_call(m->shared, SCRIPT_LEAVE, keys, COUNT_OF(keys), 1, leave_answered, m);
	resp_arg_text(m->shared->redis, redis_member_name(m));
}

/* --- what others ask ---------------------------------------------------------------------------- */

const struct redis_keys *redis_member_keys(const struct redis_member *m)
{
	return &m->keys;
}

uint64_t redis_member_epoch(const struct redis_member *m)
{
	return m->epoch;
}

bool redis_member_is_out(const struct redis_member *m)
{
	return m->membership == MEMBER_OUT;
}

bool redis_member_has_joined(const struct redis_member *m)
{
	return m->joined;
}

bool redis_member_is_in(const struct redis_member *m)
{
	return m->membership == MEMBER_IN;
}

bool redis_member_has_moved(const struct redis_member *m)
{
	return m->moved;
}

bool redis_member_is_stopping(const struct redis_member *m)
{
	return m->membership >= MEMBER_LEAVING;
}

bool redis_member_may_hold(const struct redis_member *m)
{
	return m->joined;
}

bool redis_member_has_left(const struct redis_member *m)
{
	return m->membership == MEMBER_LEFT;
}

/* --- life --------------------------------------------------------------------------------------- */

struct redis_member *redis_member_create(struct redis_shared *shared,
					 const struct list_settings *settings,
					 const struct redis_member_events *events, void *arg)
{
	struct redis_member *m = memory_clear(1, sizeof *m);
	if (m == NULL)
		return NULL;
	m->shared = shared;
	m->settings = settings;
	m->events = events;
	m->arg = arg;
	if (take_new_name(m) != ST_OK) {
		redis_member_destroy(m);
		return NULL;
	}
	return m;
}

void redis_member_destroy(struct redis_member *m)
{
	if (m == NULL)
		return;
	redis_keys_fini(&m->keys);
	memory_free(m);
}
