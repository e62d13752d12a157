/* A worker is a member of a list while its lease runs. The lease is renewed every third of it, by
 * the turn script and by a tick; whoever finds it run out brings back what the worker held. A member
 * that finds its lease gone ("shut out") has lost its claims: what it holds unbegun goes, what runs
 * goes on and ends in SETTLED_LOST, and it joins again under a new name, so that nothing that is
 * still under way in the old name can touch the new claims. struct job.source_epoch tells which of
 * the names a job belongs to.
 *
 * By our own clock a lease is good for as long as the last renewal that was answered makes it, counted
 * from when that was asked for. Then nothing unbegun may begin any more, whether the link is down, or
 * silent, or it was we who stood still: it is let go of, and the server is told what we still know
 * before anything else.
 *
 * After a broken connection the calls without a reply are in doubt. Settles are sent again, which is
 * harmless (redis_turn.lua tells why). Claims are not asked for again: redis_undo.lua is told which
 * jobs we know, and puts back all others. The same step cleans up what we let go of when the lease
 * ran out in the meantime and nobody had noticed.
 *
 * A server that goes back
 *
 * Replication is asynchronous, so a new master may not know of our latest claims and settles, nor even
 * of our membership; and so is a disk, or there is none. No address tells that: it may be the same. But ids
 * only ever count up, so a server that has given out none as high as ours has lost some of its time.
 * We are a member under the same name then, and what we know and it does not is claimed again
 * (redis_reclaim.lua), running and finished jobs included, as if nothing had happened. What somebody else has
 * been given meanwhile is let go of; of those that run we only remember how they end. */
#include "sources/redis/redis_list_member.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/moves.h"
#include "base/must.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/redis/redis_list_keys.h"
#include "sources/redis/redis_list_known.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/redis/redis_list_turn.h"
#include "sources/redis/redis_settings.h"
#include "sources/source.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum membership {
	MEMBER_OUT,
	MEMBER_JOINING,
	MEMBER_REJOINING, /* a server that went back */
	MEMBER_UNDOING,
	MEMBER_RECLAIMING,
	MEMBER_IN,
	MEMBER_LEAVING,
	MEMBER_LEFT,
};

#define MAY_END (MAY(MEMBER_OUT) | MAY(MEMBER_LEAVING)) /* at any time but the last */

static const struct moves_row memberships[] = {
    [MEMBER_OUT] = {"out",           MAY(MEMBER_JOINING) | MAY(MEMBER_UNDOING) | MAY(MEMBER_LEAVING)                      },
    [MEMBER_JOINING] = {"joining",       MAY(MEMBER_IN) | MAY_END							     },
    [MEMBER_REJOINING] = {"joining again", MAY(MEMBER_UNDOING) | MAY_END                                                        },
    [MEMBER_UNDOING] = {"undoing",       MAY(MEMBER_UNDOING) | MAY(MEMBER_RECLAIMING) | MAY(MEMBER_IN) |
				       MAY(MEMBER_JOINING) | MAY(MEMBER_REJOINING) | MAY_END},
    [MEMBER_RECLAIMING] = {"reclaiming",    MAY(MEMBER_UNDOING) | MAY(MEMBER_JOINING) |
					     MAY(MEMBER_REJOINING) | MAY_END             },
    [MEMBER_IN] = {"member",
		    MAY(MEMBER_UNDOING) | MAY(MEMBER_JOINING) | MAY(MEMBER_REJOINING) | MAY_END                           },
    [MEMBER_LEAVING] = {"leaving",       MAY(MEMBER_LEFT)								     },
    [MEMBER_LEFT] = {"left",          0										    },
};

struct redis_member {
	struct redis_shared *shared;
	const struct list_settings *settings;
	const struct redis_member_events *events;
	void *arg;
	struct redis_keys keys;

	enum membership membership;
	bool joined;       /* the name in `keys` is, or was, known to the server */
	uint64_t epoch;    /* counts the names */
	uint64_t last_id;  /* the highest that was claimed, in any name */
	bool renewing;     /* a renewal is without its reply */
	uint64_t asked_ns; /* when a renewal, joining, undoing or reclaiming was asked for last */
	uint64_t
	    lease_until_ns; /* by our clock, and a little before it is by the server's; 0: none */
	uint64_t heard;     /* bytes that had come by the last tick */
	uint64_t back_ns;   /* since when we have been a member without a break */
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
	must(moves_may(memberships, before, next));
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

/* --- the lease by our own clock --------------------------------------------------------------- */

static uint64_t lease_ns(const struct redis_member *m)
{
	return m->settings->lease_ms * 1000000;
}

/* Good for so long after `asked_ns`, less what it takes to stop beginning jobs. */
static void lease_is_good(struct redis_member *m, uint64_t asked_ns, uint64_t for_ns)
{
	uint64_t until_ns = asked_ns + for_ns - lease_ns(m) / 20;
	if (until_ns > m->lease_until_ns)
		m->lease_until_ns = until_ns;
	redis_shared_check_leases_at(m->shared, m->lease_until_ns);
}

void redis_member_heard(struct redis_member *m, uint64_t asked_ns)
{
	lease_is_good(m, asked_ns, lease_ns(m) / 10 * 9); /* see redis_turn.lua */
}

static void lapse(struct redis_member *m)
{
	say(m, LOG_WARN, "lease ran out without an answer, what has not begun is let go of",
	    "lease_ms", (int64_t)m->settings->lease_ms);
	m->lease_until_ns = 0;
	m->events->lapsed(m->arg);
	if (m->membership != MEMBER_IN)
		return; /* on its way to be one again, which tells the server what we know */
	m->events->interrupted(m->arg);
	redis_member_undo(m);
	m->shared->changed(m->shared);
}

/* An answer that is still coming, and long, keeps other answers back. The server hears us all the same. */
static bool is_hearing(const struct redis_member *m)
{
	return m->shared->redis != NULL && resp_bytes_in(m->shared->redis) != m->heard;
}

uint64_t redis_member_check_lease(struct redis_member *m, uint64_t now_ns)
{
	if (m->lease_until_ns == 0 || redis_member_is_stopping(m))
		return UINT64_MAX;
	if (now_ns >= m->lease_until_ns) {
		if (is_hearing(m))
			m->lease_until_ns = now_ns + lease_ns(m) / 20;
		else
			lapse(m);
	}
	return m->lease_until_ns != 0 ? m->lease_until_ns : UINT64_MAX;
}

/* --- joining, renewing ------------------------------------------------------------------------ */

static void become_member(struct redis_member *m)
{
	move(m, MEMBER_IN);
	m->back_ns = now_ns(m);
	m->events->joined(m->arg);
	m->shared->changed(m->shared);
}

enum {
	RENEW_DUE = 2,
	RENEW_BROUGHT_BACK,
	RENEW_FROM_WORKERS,
	RENEW_MORE,
	RENEW_ITEMS,
};

static void take_news(struct redis_member *m, const struct reply *reply)
{
	int64_t brought_back = redis_reply_number(reply, RENEW_BROUGHT_BACK);
	if (brought_back > 0)
		say(m, LOG_WARN, "jobs of a dead worker brought back", "jobs", brought_back);
	lease_is_good(m, m->asked_ns, lease_ns(m));
	m->events->renewed(m->arg, redis_reply_number(reply, RENEW_DUE), brought_back);
}

static void send_renewal(struct redis_member *m, const char *how, resp_answered *answered);

/* A reply to a name that we have given up meanwhile says nothing any more; requests are answered in
 * order, so it comes before the answer to the joining that followed. */
static void renew_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	if (!is_answer(m, reply, RENEW_ITEMS) || m->membership == MEMBER_JOINING ||
	    m->membership == MEMBER_REJOINING || redis_member_is_stopping(m))
		return;
	m->renewing = false;
	if (redis_reply_number(reply, 0) == 0) {
		redis_member_shut_out(m, redis_reply_last_id(reply));
		return;
	}
	take_news(m, reply);
	if (redis_reply_number(reply, RENEW_MORE) != 0 && m->membership == MEMBER_IN)
		send_renewal(m, "bring back", renew_answered);
}

static void join_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	bool again = m->membership == MEMBER_REJOINING;
	if (!is_answer(m, reply, RENEW_ITEMS) || (!again && m->membership != MEMBER_JOINING))
		return;
	m->renewing = false;
	m->joined = true;
	take_news(m, reply);
	if (again)
		redis_member_undo(m);
	else
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
	const char *keys[] = {k->list,    k->workers, k->delayed, k->returned,
			      k->clients, k->held,    k->wake,    k->seq};
	struct resp *redis = m->shared->redis;
	redis_shared_call(m->shared, SCRIPT_RENEW, keys, COUNT_OF(keys), 6, answered, m);
	resp_arg_text(redis, redis_member_name(m));
	resp_arg_number(redis, (int64_t)m->settings->lease_ms);
	resp_arg_text(redis, how);
	tell_others(m);
	resp_arg_text(redis, k->held_of);
	resp_arg_text(redis, k->wake_of);
	m->renewing = true;
	m->asked_ns = now_ns(m); /* the server counts from later than this */
}

void redis_member_renew(struct redis_member *m)
{
	if (m->membership == MEMBER_IN && !m->renewing && m->shared->redis != NULL)
		send_renewal(m, "renew", renew_answered);
}

static void join(struct redis_member *m, enum membership how)
{
	move(m, how);
	send_renewal(m, "join", join_answered);
}

static void rejoin(struct redis_member *m)
{
	say(m, LOG_WARN, "the server has lost what it knew of this list, joining it again",
	    "last_id", (int64_t)m->last_id);
	m->events->interrupted(m->arg);
	join(m, MEMBER_REJOINING);
	m->shared->changed(m->shared);
}

static void join_under_new_name(struct redis_member *m)
{
	struct error why;
	say(m, LOG_WARN, "lease lost, joining the list again", "lease_ms",
	    (int64_t)m->settings->lease_ms);
	if (take_new_name(m) != ST_OK) {
		(void)error_set(&why, ST_NOMEM, "list \"%s\": out of memory", m->settings->name);
		m->shared->link_failed(m->shared, &why);
		return;
	}
	m->events->shut_out(m->arg);
	join(m, MEMBER_JOINING);
	m->shared->changed(m->shared);
}

void redis_member_shut_out(struct redis_member *m, uint64_t last_id)
{
	m->lease_until_ns = 0;
	if (last_id < m->last_id)
		rejoin(m);
	else
		join_under_new_name(m);
}

/* --- what we know and what the server knows ----------------------------------------------------- */

static void count_one(void *to, const struct job *job)
{
	(void)job;
	++*(size_t *)to;
}

static void write_field(void *to, const struct job *job)
{
	resp_arg(to, job->origin);
}

static void undone(struct redis_member *m, int64_t put_back)
{
	if (put_back > 0)
		say(m, LOG_INFO, "jobs put back that were claimed but never arrived", "jobs",
		    put_back);
	become_member(m);
}

static void reclaim(struct redis_member *m, const struct redis_unknown *unknown);

enum { UNDO_PUT_BACK = 2, UNDO_UNKNOWN };

static void undo_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	uint64_t last_id = redis_reply_last_id(reply);
	if (!is_answer(m, reply, UNDO_UNKNOWN) || m->membership != MEMBER_UNDOING)
		return;
	if (redis_reply_number(reply, 0) == 0) {
		redis_member_shut_out(m, last_id);
		return;
	}
	lease_is_good(m, m->asked_ns, lease_ns(m));
	struct redis_unknown unknown = {reply->items + UNDO_UNKNOWN, reply->n_items - UNDO_UNKNOWN,
					last_id};
	if (redis_unknown_newest(&unknown) > last_id)
		reclaim(m, &unknown);
	else
		undone(m, redis_reply_number(reply, UNDO_PUT_BACK));
}

/* The fields of jobs that we know, behind the arguments of a call. */
static size_t count_known(struct redis_member *m)
{
	size_t n = 0;
	m->events->each_known(m->arg, count_one, &n);
	return n;
}

void redis_member_undo(struct redis_member *m)
{
	const struct redis_keys *k = &m->keys;
	const char *keys[] = {k->list, k->held, k->workers, k->returned, k->wake, k->seq};
	move(m, MEMBER_UNDOING);
	m->asked_ns = now_ns(m);
	redis_shared_call(m->shared, SCRIPT_UNDO, keys, COUNT_OF(keys), 2 + count_known(m),
			  undo_answered, m);
	resp_arg_text(m->shared->redis, redis_member_name(m));
	resp_arg_number(m->shared->redis, (int64_t)m->settings->lease_ms);
	m->events->each_known(m->arg, write_field, m->shared->redis);
}

/* --- a server that went back --------------------------------------------------------------------- */

/* A portion of the jobs that the server is to be asked for, counted and then written. */
struct reclaiming {
	const struct redis_unknown *unknown;
	struct resp *redis; /* NULL: only count */
	size_t jobs, bytes;
};

static void reclaim_one(void *arg, const struct job *job)
{
	enum { JOBS_MOST = 500, BYTES_MOST = 4 << 20 };
	struct reclaiming *r = arg;
	if (r->jobs >= JOBS_MOST || r->bytes >= BYTES_MOST ||
	    redis_id_of(job->origin) <= r->unknown->last_id || !redis_is_unknown(r->unknown, job))
		return;
	r->jobs++;
	r->bytes += job->body.len;
	if (r->redis == NULL)
		return;
	resp_arg(r->redis, job->origin);
	resp_arg(r->redis, job->body);
}

enum { RECLAIM_GONE = 2 };

static void reclaim_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	if (!is_answer(m, reply, RECLAIM_GONE) || m->membership != MEMBER_RECLAIMING)
		return;
	if (redis_reply_number(reply, 0) == 0) {
		redis_member_shut_out(m, redis_reply_last_id(reply));
		return;
	}
	lease_is_good(m, m->asked_ns, lease_ns(m));
	struct redis_unknown gone = {reply->items + RECLAIM_GONE, reply->n_items - RECLAIM_GONE, 0};
	if (gone.n_fields > 0)
		m->events->forget(m->arg, &gone);
	redis_member_undo(m); /* there may be more of them */
}

static void reclaim(struct redis_member *m, const struct redis_unknown *unknown)
{
	const struct redis_keys *k = &m->keys;
	const char *keys[] = {k->list, k->held, k->workers, k->returned,
			      k->wake, k->seq,  k->delayed};
	struct reclaiming count = {.unknown = unknown};
	m->events->each_known(m->arg, reclaim_one, &count);
	say(m, LOG_WARN, "claims that the server has forgotten, claiming them again", "jobs",
	    (int64_t)count.jobs);
	move(m, MEMBER_RECLAIMING);
	m->asked_ns = now_ns(m);
	redis_shared_call(m->shared, SCRIPT_RECLAIM, keys, COUNT_OF(keys), 2 + 2 * count.jobs,
			  reclaim_answered, m);
	resp_arg_text(m->shared->redis, redis_member_name(m));
	resp_arg_number(m->shared->redis, (int64_t)m->settings->lease_ms);
	struct reclaiming write = {.unknown = unknown, .redis = m->shared->redis};
	m->events->each_known(m->arg, reclaim_one, &write);
}

/* --- the link ------------------------------------------------------------------------------------ */

void redis_member_link_up(struct redis_member *m)
{
	must(m->membership == MEMBER_OUT);
	if (m->joined)
		redis_member_undo(m);
	else
		join(m, MEMBER_JOINING);
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
	return nothing_came && now_ns(m) - m->asked_ns >= lease_ns(m) / 6;
}

void redis_member_tick(struct redis_member *m)
{
	struct error why;
	if (redis_member_is_stopping(m) || m->membership == MEMBER_OUT)
		return;
	bool in_vain = waits_in_vain(m);
	if (in_vain && (m->renewing || m->membership == MEMBER_UNDOING ||
			m->membership == MEMBER_RECLAIMING)) {
		(void)error_set(&why, ST_TIMEOUT, "no answer for a third of a lease");
		m->shared->link_failed(m->shared, &why);
		return;
	}
	if (m->membership != MEMBER_IN || m->renewing)
		return; /* its reply renews the lease */
	bool settled_in = now_ns(m) - m->back_ns > lease_ns(m);
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

void redis_member_vanish(struct redis_member *m)
{
	move(m, MEMBER_LEAVING);
	move(m, MEMBER_LEFT);
}

enum { LEAVE_PUT_BACK = 1, LEAVE_WAKES };

static void leave_answered(void *arg, const struct reply *reply)
{
	struct redis_member *m = arg;
	bool answered = reply->kind == REPLY_ARRAY && reply->n_items >= LEAVE_WAKES;
	if (m->membership != MEMBER_LEAVING)
		return;
	/* Where it still held jobs it stays a member, and another worker brings them back. */
	m->joined = !answered || redis_reply_number(reply, 0) == 0;
	if (answered && redis_reply_number(reply, LEAVE_PUT_BACK) > 0)
		say(m, LOG_WARN, "jobs put back that were claimed but never arrived", "jobs",
		    redis_reply_number(reply, LEAVE_PUT_BACK));
	move(m, MEMBER_LEFT);
	if (answered)
		m->events->wake(m->arg, reply->items + LEAVE_WAKES, reply->n_items - LEAVE_WAKES);
	m->shared->changed(m->shared);
}

void redis_member_leave(struct redis_member *m)
{
	const struct redis_keys *k = &m->keys;
	const char *keys[] = {k->list,    k->held,     k->workers, k->wake,
			      k->clients, k->returned, k->delayed};
	move(m, MEMBER_LEAVING);
	redis_shared_call(m->shared, SCRIPT_LEAVE, keys, COUNT_OF(keys), 1 + count_known(m),
			  leave_answered, m);
	resp_arg_text(m->shared->redis, redis_member_name(m));
	m->events->each_known(m->arg, write_field, m->shared->redis);
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

uint64_t *redis_member_last_id(struct redis_member *m)
{
	return &m->last_id;
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
