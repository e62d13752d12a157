/* Membership
 *
 *   out --link up--> joining --joined--> member --leave--> leaving --> left
 *    ^  \                ^                | ^                            ^
 *    |   \               | no lease      | | put back                   |
 *    |    \--link up, was a member--> undoing                           |
 *    +----- link lost (from any) ----------+      link lost while leaving +
 *
 * A worker is a member of a list while its lease runs. The lease is renewed every third of it, by
 * the turn script and by a tick; whoever finds it run out brings back what the worker held. A member
 * that finds its lease gone ("shut out") has lost its claims: what it holds unbegun goes, what runs
 * goes on and ends in SETTLED_LOST, and it joins again under a new name, so that nothing that is
 * still under way in the old name can touch the new claims. struct job.source_epoch tells which of
 * the names a job belongs to.
 *
 * One call at a time
 *
 * Everything goes through redis_turn.lua: it settles and claims in one step, and there is never more
 * than one such call under way for a list. That gives order: what is returned goes back in one call,
 * behind which no older claim can lie. And it gives batches: a call takes along whatever has gathered
 * while the last one was under way. The next claim is made while half of what was claimed ahead has
 * not begun, so handlers need not wait for a round trip, and that claim takes the finished half along.
 * When no claim is due, short jobs await each other for a millisecond; slow ones, and the last one
 * here, are settled at once.
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
 * too, and the same field may soon be another job's. An id that comes a second time says that the job may
 * have begun here before, which is what `redelivered` means. What the old master had confirmed
 * and the new one has not heard of runs again; no worker can help that.
 *
 * With wait_replicas each call is followed by WAIT, and nothing of its reply is believed before so many
 * replicas have confirmed: claimed jobs do not begin, settled ones are not called settled. Until then the
 * call is under way, and a connection that breaks leaves it in doubt like any other. When the replicas do
 * not answer in time the work goes on without them, and hardly waits for the next calls until they do: the option makes duplicates rarer, it cannot make a
 * failover exact, and work that stands still helps nobody.
 *
 * BLMOVE and the lease
 *
 * A BLMOVE may go on without us: its connection half dead, the server has yet to notice. If it moved
 * a job into the wake list of a worker that has already been brought back, nobody would ever look
 * there. So no BLMOVE may outlive the lease under which it was issued. A silent link is found at the
 * second tick at the latest, two thirds of the lease after the last renewal: what is left is a third,
 * and that is the longest a BLMOVE may take. */
#include "sources/redis/redis_list_queue.h"

#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "settings/settings.h"
#include "sources/census.h"
#include "sources/redis/redis_list_keys.h"
#include "sources/redis/redis_list_pace.h"
#include "sources/redis/redis_list_wait.h"
#include "sources/source.h"
#include "wire/resp.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
	COMPANY_MS = 1,
	/* For replicas that did not confirm the last time: enough for those that are back, and little for
	 * each call as long as they are not. */
	ALONE_WAIT_MS = 10,
};

#define STARVED_NS UINT64_C(1000000000) /* how long not to claim after an allocation failed */

enum membership {
	QUEUE_OUT,
	QUEUE_JOINING,
	QUEUE_UNDOING,
	QUEUE_MEMBER,
	QUEUE_LEAVING,
	QUEUE_LEFT,
};

#define MAY(state) (1u << (state))

static const struct {
	const char *name;
	unsigned may_become;
} memberships[] = {
    [QUEUE_OUT] = {"out",     MAY(QUEUE_JOINING) | MAY(QUEUE_UNDOING) | MAY(QUEUE_LEAVING)            },
    [QUEUE_JOINING] = {"joining", MAY(QUEUE_MEMBER) | MAY(QUEUE_OUT) | MAY(QUEUE_LEAVING)                 },
    [QUEUE_UNDOING] = {"undoing", MAY(QUEUE_UNDOING) | MAY(QUEUE_MEMBER) | MAY(QUEUE_JOINING) |
				      MAY(QUEUE_OUT) | MAY(QUEUE_LEAVING)},
    [QUEUE_MEMBER] = {"member",  MAY(QUEUE_UNDOING) | MAY(QUEUE_JOINING) | MAY(QUEUE_OUT) |
				    MAY(QUEUE_LEAVING)                    },
    [QUEUE_LEAVING] = {"leaving", MAY(QUEUE_LEFT)							 },
    [QUEUE_LEFT] = {"left",    0								       },
};

struct redis_queue {
	struct list in_work; /* redis_shared.work */
	struct redis_shared *shared;
	const struct list_settings *settings;
	struct route *route;
	struct redis_keys keys;
	struct pace pace;
	struct redis_wait *wait;
	struct timer *due;     /* the next delayed job */
	struct timer *company; /* for how long finished jobs await others */

	enum membership membership;
	bool joined; /* the name in `keys` is, or was, known to the server */
	uint64_t epoch;
	bool renewing;         /* a renewal is without its reply */
	unsigned census_round; /* that we were asked in last */
	uint64_t renewed_ns;   /* when a renewal, joining or undoing was asked for last */
	uint64_t heard;        /* bytes that had come by the last tick */
	uint64_t back_ns;      /* since when we have been a member without a break */
	unsigned place;        /* redis_shared.login->place of the server we joined */
	bool moved;        /* the server is another one, and has yet to say what it knows of us */
	uint64_t last_id;  /* the highest claimed so far */
	uint64_t used_ids; /* ids up to this one may be given out a second time: 0: none */
	bool lapsed;       /* the lease has run out by our own clock: nothing is held any more */

	bool open;                /* the core wants jobs */
	bool retired;             /* ... and never will again */
	bool forgiven;            /* a refusal is this list's own, not the link's */
	bool calling;             /* a turn call is without its reply */
	size_t claiming;          /* ... and asks for so many */
	bool more;                /* there may be jobs that we have not asked for */
	bool woken;               /* a BLMOVE has ended: there may be one in the wake list */
	uint64_t unsure_until_ns; /* until then a BLMOVE that we lost sight of may move one there */
	uint64_t starved_until_ns; /* an allocation failed: claim nothing until then */
	bool troubled;             /* the last claim was answered with an error of the list's own */

	bool overdue;        /* what is pending has waited long enough */
	struct list pending; /* struct job.in_source, in the order settled */
	struct list telling; /* those in the call */
	bool replicating;    /* its reply is in, and the replicas have yet to confirm */
	bool alone;          /* the last time they did not */
	int64_t next_due_ms; /* what that reply said */
	struct list
	    arrived; /* struct job.in_source: claimed by it, unknown to the core and to undo() */
};

static struct source_host *host_of(const struct redis_queue *queue)
{
	return queue->shared->source->host;
}

static uint64_t now_ns(const struct redis_queue *queue)
{
	return loop_now_ns(queue->shared->loop);
}

static void say(const struct redis_queue *queue, enum log_level level, const char *event,
		const char *key, int64_t number)
{
	log_say(queue->shared->log, level, event, kv_text("source", queue->shared->source->name),
		kv_text("queue", queue->settings->name), kv_int(key, number));
}

/* The only place that assigns the membership. */
static void move(struct redis_queue *queue, enum membership next)
{
	enum membership before = queue->membership;
	must((memberships[before].may_become & MAY(next)) != 0);
	queue->membership = next;
	log_say(queue->shared->log, LOG_DEBUG, "list membership moved",
		kv_text("source", queue->shared->source->name),
		kv_text("queue", queue->settings->name), kv_text("from", memberships[before].name),
		kv_text("to", memberships[next].name));
}

/* --- names ----------------------------------------------------------------------------------- */

/* A name that no worker has had before. */
static enum status take_new_name(struct redis_queue *queue)
{
	uint32_t random = (uint32_t)now_ns(queue); /* if there were no getrandom() */
	(void)!getrandom(&random, sizeof random, 0);
	char name[300];
	(void)snprintf(name, sizeof name, "%.280s:%08x", queue->shared->worker, random);
	struct redis_keys keys;
	enum status st = redis_keys_init(&keys, queue->settings->name, queue->settings->dead, name);
	if (st != ST_OK)
		return st;
	redis_keys_fini(&queue->keys);
	queue->keys = keys;
	queue->joined = false;
	queue->epoch++;
	return ST_OK;
}

static const char *own_name(const struct redis_queue *queue)
{
	return queue->keys.held + strlen(queue->keys.held_of);
}

/* --- calls ----------------------------------------------------------------------------------- */

void redis_queue_look(struct redis_queue *queue)
{
	if (list_linked(&queue->in_work))
		return;
	list_append(&queue->shared->work, &queue->in_work);
	loop_turn_again(queue->shared->loop);
}

struct redis_queue *redis_queue_of_work(struct list *node)
{
	return list_entry(node, struct redis_queue, in_work);
}

static void begin_script(struct redis_queue *queue, enum redis_script script,
			 const char *const *keys, size_t n_keys, size_t n_args,
			 resp_answered *answered)
{
	struct redis_shared *shared = queue->shared;
	redis_script_call(shared->redis, &shared->scripts[script], keys, n_keys, n_args, answered,
			  queue);
}

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

void redis_queue_forgive(struct redis_queue *queue)
{
	queue->forgiven = true;
}

/* Out, though the link is up; the tick tries again. */
static void set_aside(struct redis_queue *queue, const struct error *why)
{
	log_say(queue->shared->log, LOG_WARN, "list refused, trying again",
		kv_text("source", queue->shared->source->name),
		kv_text("queue", queue->settings->name), kv_why(why));
	redis_queue_link_lost(queue);
	queue->shared->changed(queue->shared);
}

/* Whatever a script answers besides an array of numbers is trouble with the link: a server that is
 * loading or a replica, scripts flushed, an ACL. A new connection and its login sort that out. */
static bool is_answer(struct redis_queue *queue, const struct reply *reply, size_t n_items)
{
	struct error why;
	if (reply->kind == REPLY_ARRAY && reply->n_items >= 1 &&
	    reply->items[0].kind == REPLY_NUMBER &&
	    (reply->items[0].number == 0 || reply->n_items >= n_items))
		return true;
	if (reply->kind == REPLY_ERROR)
		(void)error_set(&why, resp_error_status(reply->text), "list \"%s\": %.*s",
				queue->settings->name, (int)reply->text.len, reply->text.ptr);
	else
		(void)error_set(&why, ST_PROTO, "list \"%s\": a reply that makes no sense",
				queue->settings->name);
	if (queue->forgiven && (why.status == ST_REFUSED || why.status == ST_AUTH))
		set_aside(queue, &why);
	else
		queue->shared->link_failed(queue->shared, &why);
	return false;
}

static int64_t number_at(const struct reply *reply, size_t i)
{
	return reply->items[i].kind == REPLY_NUMBER ? reply->items[i].number : 0;
}

/* --- joining, renewing ------------------------------------------------------------------------ */

static void expect_due(struct redis_queue *queue, int64_t due_ms)
{
	if (due_ms > 0)
		timer_start(queue->due, (uint64_t)due_ms);
	else
		timer_stop(queue->due);
	if (due_ms == 0)
		queue->more = true;
}

static void became_member(struct redis_queue *queue)
{
	move(queue, QUEUE_MEMBER);
	queue->joined = true;
	queue->place = queue->shared->login->place;
	queue->moved = false;
	queue->back_ns = now_ns(queue);
	queue->lapsed = false;
	queue->more = true;
	redis_queue_look(queue);
	queue->shared->changed(queue->shared);
}

static void shut_out(struct redis_queue *queue);

/* What a renewal tells besides that the lease runs. */
static void take_news(struct redis_queue *queue, const struct reply *reply)
{
	int64_t brought_back = number_at(reply, 2);
	if (brought_back > 0) {
		say(queue, LOG_WARN, "jobs of a dead worker brought back", "jobs", brought_back);
		queue->more = true;
	}
	expect_due(queue, number_at(reply, 1));
	redis_queue_look(queue);
}

/* A reply to a name that we have given up meanwhile says nothing any more; requests are answered in
 * order, so it comes before the answer to the joining that followed. */
static void renew_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	if (!is_answer(queue, reply, 4) || queue->membership == QUEUE_JOINING ||
	    queue->membership == QUEUE_LEAVING)
		return;
	queue->renewing = false;
	if (number_at(reply, 0) == 0)
		shut_out(queue);
	else
		take_news(queue, reply);
}

static void join_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	if (!is_answer(queue, reply, 4) || queue->membership != QUEUE_JOINING)
		return;
	queue->renewing = false;
	take_news(queue, reply);
	became_member(queue);
}

static void send_renewal(struct redis_queue *queue, const char *how, resp_answered *answered)
{
	const struct redis_keys *k = &queue->keys;
	const char *keys[] = {k->list,    k->workers, k->delayed,
			      k->history, k->clients, k->checkpoints};
	struct resp *redis = queue->shared->redis;
	int64_t client = queue->open ? redis_wait_client_id(queue->wait) : 0;
	begin_script(queue, SCRIPT_RENEW, keys, COUNT_OF(keys), 6, answered);
	resp_arg_text(redis, own_name(queue));
	resp_arg_number(redis, (int64_t)queue->settings->lease_ms);
	resp_arg_text(redis, how);
	if (client != 0)
		resp_arg_number(redis, client);
	else
		resp_arg_text(redis, queue->open ? "" : "quiet");
	resp_arg_text(redis, k->held_of);
	resp_arg_text(redis, k->wake_of);
	queue->renewing = true;
	queue->renewed_ns = now_ns(queue); /* the server counts from later than this */
}

static void join(struct redis_queue *queue)
{
	move(queue, QUEUE_JOINING);
	send_renewal(queue, "join", join_answered);
}

/* Nobody has seen them: the server puts them back, undone or brought back. */
static void drop_arrived(struct redis_queue *queue)
{
	struct list *it;
	while ((it = list_take_first(&queue->arrived)) != NULL)
		job_destroy(list_entry(it, struct job, in_source));
	queue->replicating = false;
}

static void lose_settles(struct redis_queue *queue)
{
	struct list *it;
	list_splice(&queue->telling, &queue->pending);
	while ((it = list_take_first(&queue->telling)) != NULL)
		host_of(queue)->settled(host_of(queue), list_entry(it, struct job, in_source),
					SETTLED_LOST);
}

/* Our lease ran out and another worker has brought back what we held. */
static void shut_out(struct redis_queue *queue)
{
	say(queue, LOG_WARN, "lease lost, joining the list again", "lease_ms",
	    (int64_t)queue->settings->lease_ms);
	if (take_new_name(queue) != ST_OK) {
		struct error why;
		(void)error_set(&why, ST_NOMEM, "list \"%s\": out of memory",
				queue->settings->name);
		queue->shared->link_failed(queue->shared, &why);
		return;
	}
	queue->calling = false;
	queue->claiming = 0;
	if (queue->moved)
		queue->used_ids = queue->last_id;
	drop_arrived(queue);
	lose_settles(queue);
	host_of(queue)->took_back(host_of(queue), queue->route);
	join(queue);
	queue->shared->changed(queue->shared);
}

/* --- after a broken connection ------------------------------------------------------------------ */

/* A BLMOVE of which we shall not hear may still move a job. */
static void drop_wait(struct redis_queue *queue)
{
	if (redis_wait_blocks(queue->wait))
		queue->unsure_until_ns = now_ns(queue) + queue->settings->lease_ms / 3 * 1000000;
	redis_wait_drop(queue->wait);
}

static bool is_ours(const struct redis_queue *queue, const struct job *job)
{
	return job->route == queue->route && job->source_epoch == queue->epoch;
}

/* Calls `each` for every job of this membership: held, running, being settled. */
static void walk_known(struct redis_queue *queue, void (*each)(void *arg, const struct job *job),
		       void *arg)
{
	list_each (it, &queue->route->held_jobs) {
		each(arg, list_entry(it, struct job, in_route));
	}
	list_each (it, &queue->route->lane->running) {
		const struct job *job = list_entry(it, struct job, in_lane);
		if (is_ours(queue, job))
			each(arg, job);
	}
	list_each (it, &queue->pending) {
		each(arg, list_entry(it, struct job, in_source));
	}
}

static void count_one(void *arg, const struct job *job)
{
	(void)job;
	++*(size_t *)arg;
}

static void name_one(void *arg, const struct job *job)
{
	resp_arg(arg, job->origin);
}

static void undo_answered(void *arg, const struct reply *reply);

static void undo(struct redis_queue *queue)
{
	const struct redis_keys *k = &queue->keys;
	const char *keys[] = {k->list, k->held, k->workers, k->history, k->wake, k->checkpoints};
	struct resp *redis = queue->shared->redis;
	size_t n_known = 0;
	walk_known(queue, count_one, &n_known);
	move(queue, QUEUE_UNDOING);
	queue->renewed_ns = now_ns(queue);
	begin_script(queue, SCRIPT_UNDO, keys, COUNT_OF(keys), 2 + n_known, undo_answered);
	resp_arg_text(redis, own_name(queue));
	resp_arg_number(redis, (int64_t)queue->settings->lease_ms);
	walk_known(queue, name_one, redis);
}

struct unknown { /* fields that the server does not have */
	const struct reply *fields;
	size_t n_fields;
};

static bool is_unknown(const struct unknown *unknown, const struct job *job)
{
	for (size_t i = 0; i < unknown->n_fields; i++)
		if (unknown->fields[i].kind == REPLY_TEXT &&
		    span_equal(unknown->fields[i].text, job->origin))
			return true;
	return false;
}

/* Their claims are gone. They go on, and end in SETTLED_LOST. */
static size_t lose_running(struct redis_queue *queue, const struct unknown *unknown)
{
	size_t n = 0;
	list_each (it, &queue->route->lane->running) {
		struct job *job = list_entry(it, struct job, in_lane);
		if (!is_ours(queue, job) || !is_unknown(unknown, job))
			continue;
		job->source_epoch = 0; /* no name ever has that */
		n++;
	}
	return n;
}

/* Finished, and either settled by a call without a reply or never claimed in this server's view. Where
 * it is the same server it can only be the former, and telling it again does no harm. */
static void lose_finished(struct redis_queue *queue, const struct unknown *unknown)
{
	struct list jobs, *it;
	list_init(&jobs);
	list_splice(&jobs, &queue->pending);
	while ((it = list_take_first(&jobs)) != NULL) {
		struct job *job = list_entry(it, struct job, in_source);
		if (is_unknown(unknown, job))
			host_of(queue)->settled(host_of(queue), job, SETTLED_LOST);
		else
			list_append(&queue->pending, it);
	}
}

static bool holds_unknown(const struct redis_queue *queue, const struct unknown *unknown)
{
	list_each (it, &queue->route->held_jobs) {
		if (is_unknown(unknown, list_entry(it, struct job, in_route)))
			return true;
	}
	return false;
}

/* True: what was unbegun is given up, and the server is being told once more what we know. */
static bool let_go_of_unknown(struct redis_queue *queue, const struct reply *reply)
{
	struct unknown unknown = {reply->items + 2, reply->n_items - 2};
	if (unknown.n_fields == 0)
		return false;
	size_t running = lose_running(queue, &unknown);
	bool held = holds_unknown(queue, &unknown);
	if (queue->moved)
		lose_finished(queue, &unknown);
	if (running == 0 && !held)
		return false;
	say(queue, LOG_WARN, "claims unknown to the server, letting go of them", "jobs",
	    (int64_t)unknown.n_fields);
	queue->used_ids = queue->last_id;
	host_of(queue)->took_back(host_of(queue), queue->route);
	undo(queue);
	return true;
}

static void undo_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	if (!is_answer(queue, reply, 2) || queue->membership != QUEUE_UNDOING)
		return;
	if (number_at(reply, 0) == 0) {
		shut_out(queue);
		return;
	}
	if (number_at(reply, 1) > 0)
		say(queue, LOG_INFO, "jobs put back that were claimed but never arrived", "jobs",
		    number_at(reply, 1));
	if (!let_go_of_unknown(queue, reply))
		became_member(queue);
}

void redis_queue_link_up(struct redis_queue *queue)
{
	if (queue->membership == QUEUE_LEFT)
		return;
	must(queue->membership == QUEUE_OUT);
	queue->moved = queue->joined && queue->place != queue->shared->login->place;
	if (redis_wait_is_elsewhere(queue->wait))
		drop_wait(queue); /* nobody pushes there any more */
	if (queue->joined)
		undo(queue);
	else
		join(queue);
}

void redis_queue_link_lost(struct redis_queue *queue)
{
	if (queue->membership == QUEUE_OUT || queue->membership == QUEUE_LEFT)
		return;
	move(queue, queue->membership == QUEUE_LEAVING ? QUEUE_LEFT : QUEUE_OUT);
	queue->calling = false;
	queue->claiming = 0;
	queue->renewing = false;
	drop_arrived(queue);
	list_splice(&queue->telling, &queue->pending); /* what was in the call goes first again */
	list_splice(&queue->pending, &queue->telling);
	if (!queue->open)
		drop_wait(queue); /* nobody could unblock it now */
}

/* Whether what was asked for has waited too long for its reply. Replies come in order, and a large one
 * takes its time on a slow line: as long as bytes come, the link is alive, both ways, because the server
 * sends no more than we acknowledge. */
static bool waits_in_vain(struct redis_queue *queue)
{
	uint64_t heard = resp_bytes_in(queue->shared->redis);
	bool nothing_came = heard == queue->heard;
	queue->heard = heard;
	return nothing_came &&
	       now_ns(queue) - queue->renewed_ns >= queue->settings->lease_ms / 6 * 1000000;
}

void redis_queue_tick(struct redis_queue *queue)
{
	struct error why;
	uint64_t lease_ns = queue->settings->lease_ms * 1000000;
	if (queue->membership == QUEUE_LEAVING || queue->membership == QUEUE_LEFT)
		return;
	if (queue->joined && !queue->lapsed && now_ns(queue) - queue->renewed_ns > lease_ns) {
		queue->lapsed = true;
		say(queue, LOG_WARN, "lease ran out while the link is down", "lease_ms",
		    (int64_t)queue->settings->lease_ms);
		host_of(queue)->took_back(host_of(queue), queue->route);
	}
	if (queue->membership == QUEUE_OUT) {
		if (queue->shared->redis != NULL) /* set aside */
			redis_queue_link_up(queue);
		return;
	}
	bool in_vain = waits_in_vain(queue);
	if (in_vain && (queue->renewing || queue->membership == QUEUE_UNDOING)) {
		(void)error_set(&why, ST_TIMEOUT, "no answer for a third of a lease");
		queue->shared->link_failed(queue->shared, &why);
		return;
	}
	if (queue->membership != QUEUE_MEMBER)
		return; /* its reply renews the lease */
	bool settled_in = now_ns(queue) - queue->back_ns > lease_ns;
	send_renewal(queue, settled_in ? "bring back" : "renew", renew_answered);
}

/* --- claiming ---------------------------------------------------------------------------------- */

static bool parse_number(struct span *text, uint32_t *ret_number)
{
	uint64_t number = 0;
	size_t i = 0;
	for (; i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9'; i++) {
		number = number * 10 + (uint64_t)(text->ptr[i] - '0');
		if (number > UINT32_MAX)
			return false;
	}
	if (i == 0)
		return false;
	*ret_number = (uint32_t)number;
	*text = span_of(text->ptr + i, text->len - i);
	return true;
}

static bool parse_byte(struct span *text, char byte)
{
	if (text->len == 0 || *text->ptr != byte)
		return false;
	*text = span_of(text->ptr + 1, text->len - 1);
	return true;
}

/* "id:attempt:interruptions", and ".crashes" once there are any (redis_put_back.lua). */
static bool parse_field(struct span field, struct job_facts *facts)
{
	const char *colon = memchr(field.ptr, ':', field.len);
	if (colon == NULL || colon == field.ptr)
		return false;
	facts->id = span_of(field.ptr, (size_t)(colon - field.ptr));
	struct span rest = span_of(colon + 1, field.len - facts->id.len - 1);
	if (!parse_number(&rest, &facts->attempt) || !parse_byte(&rest, ':') ||
	    !parse_number(&rest, &facts->interruptions))
		return false;
	if (parse_byte(&rest, '.') && !parse_number(&rest, &facts->crashes))
		return false;
	return rest.len == 0;
}

/* What has been claimed: pairs of texts, first of fields and checkpoints, then of fields and
 * bodies. The first are in the order of the second, so both are read from the front. */
struct claimed {
	const struct reply *checkpoint, *job;
	size_t n_checkpoints, n_jobs;
};

/* The checkpoint of the job with that field, if the next one is its. */
static struct span take_checkpoint(struct claimed *claimed, struct span field)
{
	const struct reply *pair = claimed->checkpoint;
	if (claimed->n_checkpoints == 0 || pair[0].kind != REPLY_TEXT ||
	    pair[1].kind != REPLY_TEXT || !span_equal(pair[0].text, field))
		return span_of("", 0);
	claimed->checkpoint += 2;
	claimed->n_checkpoints--;
	return pair[1].text;
}

static uint64_t id_number(struct span id)
{
	uint64_t number = 0;
	for (size_t i = 0; i < id.len && id.ptr[i] >= '0' && id.ptr[i] <= '9'; i++)
		number = number * 10 + (uint64_t)(id.ptr[i] - '0');
	return number;
}

/* Notes the id; says whether another job here, or the same one, may have had it before. */
static bool was_used(struct redis_queue *queue, struct span id)
{
	uint64_t number = id_number(id);
	if (number > queue->last_id)
		queue->last_id = number;
	return number <= queue->used_ids;
}

static enum status make_job(struct redis_queue *queue, struct claimed *claimed, struct list *jobs)
{
	const struct reply *field = &claimed->job[0], *body = &claimed->job[1];
	struct job_facts facts = {.route = queue->route};
	if (field->kind != REPLY_TEXT || body->kind != REPLY_TEXT ||
	    !parse_field(field->text, &facts))
		return ST_PROTO;
	facts.serial = host_of(queue)->next_serial(host_of(queue));
	facts.redelivered = facts.interruptions > 0 || was_used(queue, facts.id);
	facts.checkpoint = take_checkpoint(claimed, field->text);
	facts.origin = field->text;
	facts.body_bytes = body->text.len;
	struct job *job = job_create(&facts);
	if (job == NULL)
		return ST_NOMEM;
	if (body->text.len > 0)
		memcpy(job_body(job), body->text.ptr, body->text.len);
	job->source_epoch = queue->epoch;
	list_append(jobs, &job->in_source);
	return ST_OK;
}

/* All of them or none, so that what we do not know is exactly what redis_undo.lua puts back. */
static enum status make_jobs(struct redis_queue *queue, struct claimed *claimed, struct list *jobs)
{
	for (; claimed->n_jobs > 0; claimed->n_jobs--, claimed->job += 2) {
		enum status st = make_job(queue, claimed, jobs);
		if (st == ST_OK)
			continue;
		struct list *it;
		while ((it = list_take_first(jobs)) != NULL)
			job_destroy(list_entry(it, struct job, in_source));
		return st;
	}
	return ST_OK;
}

static void deliver(struct redis_queue *queue, struct list *jobs)
{
	struct list *it;
	while ((it = list_take_first(jobs)) != NULL) {
		struct job *job = list_entry(it, struct job, in_source);
		host_of(queue)->deliver(host_of(queue), &job);
	}
}

/* Places in its reply. */
enum { TURN_DUE = 1, TURN_DRY, TURN_BURIED, TURN_TROUBLE, TURN_CHECKPOINTS, TURN_CLAIMED };

static enum status read_claimed(const struct reply *reply, struct claimed *ret_claimed)
{
	size_t n_pairs = (reply->n_items - TURN_CLAIMED) / 2;
	int64_t n_checkpoints = number_at(reply, TURN_CHECKPOINTS);
	if (n_checkpoints < 0 || (uint64_t)n_checkpoints > n_pairs)
		return ST_PROTO;
	const struct reply *pairs = reply->items + TURN_CLAIMED;
	*ret_claimed = (struct claimed){
	    .checkpoint = pairs,
	    .n_checkpoints = (size_t)n_checkpoints,
	    .job = pairs + 2 * n_checkpoints,
	    .n_jobs = n_pairs - (size_t)n_checkpoints,
	};
	return ST_OK;
}

static void note_trouble(struct redis_queue *queue, const struct reply *trouble)
{
	bool troubled = trouble->kind == REPLY_TEXT && trouble->text.len > 0;
	if (troubled && !queue->troubled)
		log_say(queue->shared->log, LOG_ERROR, "list cannot be read, trying now and then",
			kv_text("source", queue->shared->source->name),
			kv_text("queue", queue->settings->name), kv_span("why", trouble->text));
	queue->troubled = troubled;
}

static void take_claimed(struct redis_queue *queue, const struct reply *reply)
{
	struct claimed claimed;
	enum status st = read_claimed(reply, &claimed);
	if (st == ST_OK)
		st = make_jobs(queue, &claimed, &queue->arrived);
	if (st == ST_OK)
		return;
	say(queue, LOG_ERROR, "claimed jobs put back, out of memory", "jobs",
	    (int64_t)(reply->n_items - TURN_CLAIMED) / 2);
	undo(queue);
	queue->starved_until_ns = now_ns(queue) + STARVED_NS; /* the next tick looks again */
}

static void confirm_told(struct redis_queue *queue)
{
	struct list *it;
	while ((it = list_take_first(&queue->telling)) != NULL)
		host_of(queue)->settled(host_of(queue), list_entry(it, struct job, in_source),
					SETTLED);
}

static void note_claim(struct redis_queue *queue, const struct reply *reply)
{
	bool dry = number_at(reply, TURN_DRY) != 0;
	queue->more = !dry;
	pace_claimed(&queue->pace, now_ns(queue), !dry);
	if (number_at(reply, TURN_BURIED) > 0)
		say(queue, LOG_WARN, "jobs dead, larger than max_body", "jobs",
		    number_at(reply, TURN_BURIED));
	note_trouble(queue, &reply->items[TURN_TROUBLE]);
}

/* The reply may be believed. */
static void end_call(struct redis_queue *queue)
{
	queue->calling = false;
	queue->replicating = false;
	confirm_told(queue);
	deliver(queue, &queue->arrived);
	queue->claiming = 0; /* only now may the intake be called shut */
	expect_due(queue, queue->next_due_ms);
	redis_queue_look(queue);
	queue->shared->changed(queue->shared);
}

static void note_replicas(struct redis_queue *queue, int64_t confirmed)
{
	bool alone = confirmed < (int64_t)queue->shared->wait_replicas;
	if (alone && !queue->alone)
		say(queue, LOG_WARN, "too few replicas confirmed in time, going on without",
		    "replicas", confirmed);
	if (!alone && queue->alone)
		say(queue, LOG_INFO, "replicas confirm again", "replicas", confirmed);
	queue->alone = alone;
}

/* A reply to a call that we have given up meanwhile says nothing any more. */
static void replicas_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	struct error why;
	if (!queue->replicating)
		return;
	if (reply->kind == REPLY_NUMBER) {
		note_replicas(queue, reply->number);
		end_call(queue);
		return;
	}
	if (reply->kind == REPLY_ERROR) /* "UNBLOCKED": not the master any more */
		(void)error_set(&why, resp_error_status(reply->text), "wait for replicas: %.*s",
				(int)reply->text.len, reply->text.ptr);
	else
		(void)error_set(&why, ST_PROTO, "wait for replicas: a reply that makes no sense");
	queue->shared->link_failed(queue->shared, &why);
}

static void wait_for_replicas(struct redis_queue *queue)
{
	struct resp *redis = queue->shared->redis;
	uint64_t timeout_ms = queue->shared->wait_timeout_ms;
	if (queue->alone && timeout_ms > ALONE_WAIT_MS)
		timeout_ms = ALONE_WAIT_MS;
	resp_begin(redis, 3, replicas_answered, queue);
	resp_arg_text(redis, "WAIT");
	resp_arg_number(redis, queue->shared->wait_replicas);
	resp_arg_number(redis, (int64_t)timeout_ms);
}

static void turn_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	if (!is_answer(queue, reply, TURN_CLAIMED) || queue->membership != QUEUE_MEMBER)
		return;
	if (number_at(reply, 0) == 0) {
		shut_out(queue);
		return;
	}
	reconnect_worked(&queue->shared->reconnect);
	queue->next_due_ms = number_at(reply, TURN_DUE);
	if (queue->claiming > 0) {
		note_claim(queue, reply);
		take_claimed(queue, reply);
	}
	queue->replicating = queue->shared->wait_replicas > 0;
	if (!queue->replicating)
		end_call(queue);
}

/* What is settled in the same call that claims is gone before the claimed jobs arrive. */
static size_t room_after_settling(struct redis_queue *queue)
{
	size_t room = host_of(queue)->room(host_of(queue), queue->route);
	if (queue->route->hold_limit == 0)
		return room;
	list_each (it, &queue->pending) {
		room++;
	}
	return room;
}

/* Jobs of this list that no handler has begun: held, or staged at the executor. */
static size_t unbegun(const struct redis_queue *queue)
{
	const struct route *route = queue->route;
	unsigned width = lane_width(route->lane);
	unsigned staged = route->lane->assigned > width ? route->lane->assigned - width : 0;
	return route->held + (staged < route->assigned ? staged : route->assigned);
}

/* A process that comes up says so (room_came), and its places count then. */
static unsigned idle_places(const struct redis_queue *queue)
{
	const struct route *route = queue->route;
	unsigned most = lane_width(route->lane);
	if (route->lane->assigned >= most)
		return 0;
	most -= route->lane->assigned;
	if (route->limit == 0)
		return most;
	unsigned left = route->limit > route->assigned ? route->limit - route->assigned : 0;
	return left < most ? left : most;
}

static size_t wanted(struct redis_queue *queue)
{
	struct pace_facts facts = {
	    .now_ns = now_ns(queue),
	    .unbegun = unbegun(queue),
	    .idle = idle_places(queue),
	    .room = room_after_settling(queue),
	};
	if (!list_empty(&queue->route->held_jobs))
		facts.oldest_taken_ns =
		    list_entry(queue->route->held_jobs.next, struct job, in_route)->taken_ns;
	if (!queue->open || facts.now_ns < queue->starved_until_ns ||
	    lane_width(queue->route->lane) == 0) /* nobody could run it now */
		return 0;
	return pace_wanted(&queue->pace, &facts);
}

/* --- settling ----------------------------------------------------------------------------------- */

enum { GROUP_DONE, GROUP_RETRIED, GROUP_DEAD, GROUP_RETURNED, GROUPS };

static const struct {
	enum fate fate;
	size_t n_args;
} groups[GROUPS] = {
    [GROUP_DONE] = {FATE_DONE,     1},
    [GROUP_RETRIED] = {FATE_RETRIED,  3},
    [GROUP_DEAD] = {FATE_DEAD,     2},
    [GROUP_RETURNED] = {FATE_RETURNED, 2},
};

/* "attempt:interruptions", and ".crashes" once there are any. */
static void tell_counts(struct resp *redis, const struct verdict *verdict)
{
	char counts[40];
	int len = snprintf(counts, sizeof counts, "%u:%u", (unsigned)verdict->attempt,
			   (unsigned)verdict->interruptions);
	if (verdict->crashes > 0)
		(void)snprintf(counts + len, sizeof counts - (size_t)len, ".%u",
			       (unsigned)verdict->crashes);
	resp_arg_text(redis, counts);
}

static void tell_one(struct resp *redis, const struct job *job)
{
	const struct verdict *verdict = &job->verdict;
	resp_arg(redis, job->origin);
	switch (verdict->fate) {
	case FATE_DEAD:
		resp_arg_text(redis, job->outcome.reason);
		return;
	case FATE_RETRIED:
	case FATE_RETURNED:
		tell_counts(redis, verdict);
		if (verdict->fate == FATE_RETRIED)
			resp_arg_number(redis, (int64_t)verdict->delay_ms);
		return;
	case FATE_DONE:
		return;
	case FATE_UNSETTLED:
	case FATE_COUNT:
		break;
	}
	must(!"a verdict says how to settle");
}

static bool ends(const struct job *job)
{
	return job->verdict.fate == FATE_DONE || job->verdict.fate == FATE_DEAD;
}

/* Whether the hash of checkpoints must learn of it: a job that ends takes its own along. */
static bool changes_checkpoint(const struct job *job)
{
	return ends(job) ? job->checkpoint.len > 0 : job_left_new_checkpoint(job);
}

static void tell_checkpoints(struct resp *redis, struct list *jobs)
{
	list_each (it, jobs) {
		const struct job *job = list_entry(it, struct job, in_source);
		if (!changes_checkpoint(job))
			continue;
		resp_arg(redis, job->origin);
		resp_arg(redis, ends(job) ? span_of("", 0) : job_next_checkpoint(job));
	}
}

static void send_turn(struct redis_queue *queue, size_t claim)
{
	const struct redis_keys *k = &queue->keys;
	const char *keys[] = {k->list, k->held,  k->workers, k->seq,  k->delayed,
			      k->dead, k->notes, k->history, k->wake, k->checkpoints};
	struct resp *redis = queue->shared->redis;
	size_t counts[FATE_COUNT] = {0};
	size_t n_args = 6 + GROUPS, n_checkpoints = 0;
	list_splice(&queue->telling, &queue->pending);
	list_each (it, &queue->telling) {
		const struct job *job = list_entry(it, struct job, in_source);
		counts[job->verdict.fate]++;
		n_checkpoints += changes_checkpoint(job);
	}
	n_args += 2 * n_checkpoints;
	for (int g = 0; g < GROUPS; g++)
		n_args += counts[groups[g].fate] * groups[g].n_args;

	begin_script(queue, SCRIPT_TURN, keys, COUNT_OF(keys), n_args, turn_answered);
	resp_arg_text(redis, own_name(queue));
	resp_arg_number(redis, (int64_t)queue->settings->lease_ms);
	resp_arg_number(redis, (int64_t)claim);
	resp_arg_number(redis, (int64_t)queue->shared->claim_bytes);
	resp_arg_number(redis, (int64_t)queue->shared->max_body_bytes);
	for (int g = 0; g < GROUPS; g++)
		resp_arg_number(redis, (int64_t)counts[groups[g].fate]);
	resp_arg_number(redis, (int64_t)n_checkpoints);
	if (n_checkpoints > 0)
		tell_checkpoints(redis, &queue->telling);
	for (int g = 0; g < GROUPS; g++) {
		if (counts[groups[g].fate] == 0)
			continue;
		list_each (it, &queue->telling) {
			const struct job *job = list_entry(it, struct job, in_source);
			if (job->verdict.fate == groups[g].fate)
				tell_one(redis, job);
		}
	}
	if (queue->shared->wait_replicas > 0)
		wait_for_replicas(queue);
	queue->calling = true;
	queue->claiming = claim;
	queue->woken = false;
	queue->overdue = false;
	timer_stop(queue->company);
}

void redis_queue_settle(struct redis_queue *queue, struct job *job)
{
	if (job->source_epoch != queue->epoch || queue->membership >= QUEUE_LEAVING) {
		host_of(queue)->settled(host_of(queue), job, SETTLED_LOST);
		return;
	}
	list_append(&queue->pending, &job->in_source);
	redis_queue_look(queue);
}

/* Short jobs settle in company: those still here will be through in a moment, and a call for each
 * would cost more than the jobs do. */
static bool awaits_company(const struct redis_queue *queue)
{
	const struct route *route = queue->route;
	return queue->open && !queue->overdue && queue->pace.ahead > 0 &&
	       route->held + route->assigned > 0;
}

void redis_queue_attend(struct redis_queue *queue)
{
	if (queue->membership != QUEUE_MEMBER)
		return;
	/* Looked at during a call, too: handlers that run dry meanwhile tell how much to claim next. */
	size_t claim = wanted(queue);
	if (queue->calling)
		return;
	bool settles = !list_empty(&queue->pending);
	if (queue->woken || (queue->more && claim > 0) || (settles && !awaits_company(queue))) {
		send_turn(queue, claim);
		return;
	}
	if (settles && !timer_armed(queue->company))
		timer_start(queue->company, COMPANY_MS);
	if (!queue->more && claim > 0)
		redis_wait_begin(queue->wait);
}

void redis_queue_flush(struct redis_queue *queue)
{
	queue->overdue = true;
	redis_queue_look(queue);
}

static void company_fired(void *arg)
{
	redis_queue_flush(arg);
}

/* --- waiting ------------------------------------------------------------------------------------ */

static void wait_ended(void *arg)
{
	struct redis_queue *queue = arg;
	queue->woken = true;
	queue->more = true;
	redis_queue_look(queue);
	queue->shared->changed(queue->shared);
}

/* Which connection to unblock, or that we take nothing: what others want to know. While another renewal
 * is under way they hear of it with the next tick. */
static void tell_others(struct redis_queue *queue)
{
	if (queue->membership == QUEUE_MEMBER && !queue->renewing && queue->shared->redis != NULL)
		send_renewal(queue, "renew", renew_answered);
}

static void wait_connected(void *arg)
{
	tell_others(arg);
}

static void unblock_answered(void *arg, const struct reply *reply)
{
	(void)arg;
	(void)reply; /* see redis_list_wait.c: the BLMOVE's own reply is what counts */
}

static void unblock(void *arg, int64_t client_id)
{
	struct redis_queue *queue = arg;
	struct resp *redis = queue->shared->redis;
	if (redis == NULL)
		return;
	resp_begin(redis, 3, unblock_answered, queue);
	resp_arg_text(redis, "CLIENT");
	resp_arg_text(redis, "UNBLOCK");
	resp_arg_number(redis, client_id);
}

static const struct redis_wait_events wait_events = {wait_ended, wait_connected, unblock};

static void due_fired(void *arg)
{
	struct redis_queue *queue = arg;
	queue->more = true;
	redis_queue_look(queue);
}

/* --- intake ------------------------------------------------------------------------------------- */

void redis_queue_open(struct redis_queue *queue)
{
	if (queue->retired)
		return;
	queue->open = true;
	queue->more = true;
	tell_others(queue);
	redis_queue_look(queue);
}

void redis_queue_shut(struct redis_queue *queue)
{
	queue->open = false;
	redis_queue_look(queue); /* nothing awaits company any more */
	if (queue->shared->redis != NULL)
		redis_wait_end(queue->wait);
	else
		drop_wait(queue);
	tell_others(queue);
}

static void count_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	census_tell(queue->shared->census, queue->census_round, queue->route,
		    reply->kind == REPLY_NUMBER ? (long)reply->number : CENSUS_NOT_KNOWN);
}

void redis_queue_count(struct redis_queue *queue, unsigned round)
{
	const char *keys[] = {queue->keys.workers, queue->keys.clients};
	if (queue->membership != QUEUE_MEMBER || queue->shared->redis == NULL) {
		census_tell(queue->shared->census, round, queue->route, CENSUS_NOT_KNOWN);
		return;
	}
	queue->census_round = round;
	begin_script(queue, SCRIPT_CENSUS, keys, COUNT_OF(keys), 1, count_answered);
	resp_arg_text(queue->shared->redis, own_name(queue));
}

bool redis_queue_is_taking(const struct redis_queue *queue)
{
	return queue->open && queue->membership == QUEUE_MEMBER;
}

bool redis_queue_is_shut(const struct redis_queue *queue)
{
	return !queue->open && queue->claiming == 0 && !redis_wait_blocks(queue->wait);
}

/* --- life --------------------------------------------------------------------------------------- */

struct redis_queue *redis_queue_create(struct redis_shared *shared,
				       const struct list_settings *settings)
{
	struct redis_queue *queue = memory_clear(1, sizeof *queue);
	if (queue == NULL)
		return NULL;
	queue->shared = shared;
	queue->settings = settings;
	list_init(&queue->in_work);
	list_init(&queue->pending);
	list_init(&queue->telling);
	list_init(&queue->arrived);
	pace_init(&queue->pace, settings->prefetch);
	queue->due = timer_create_on(shared->loop, due_fired, queue);
	queue->company = timer_create_on(shared->loop, company_fired, queue);
	queue->wait = redis_wait_create(shared->loop, shared->login, &queue->keys,
					settings->lease_ms / 3, &wait_events, queue);
	if (queue->due == NULL || queue->company == NULL || queue->wait == NULL ||
	    take_new_name(queue) != ST_OK) {
		redis_queue_destroy(queue);
		return NULL;
	}
	return queue;
}

void redis_queue_destroy(struct redis_queue *queue)
{
	if (queue == NULL)
		return;
	drop_arrived(queue);
	lose_settles(queue);
	list_remove(&queue->in_work);
	redis_wait_destroy(queue->wait);
	timer_destroy(queue->due);
	timer_destroy(queue->company);
	redis_keys_fini(&queue->keys);
	memory_free(queue);
}

void redis_queue_bind(struct redis_queue *queue, struct route *route)
{
	queue->route = route;
	route->source_ref = queue;
	route->hold_limit = queue->settings->prefetch; /* as on RabbitMQ: running ones included */
}

static void leave_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	(void)reply; /* still a member: then another worker brings back what is held */
	move(queue, QUEUE_LEFT);
	queue->shared->changed(queue->shared);
}

void redis_queue_leave(struct redis_queue *queue)
{
	const struct redis_keys *k = &queue->keys;
	const char *keys[] = {k->list, k->held, k->workers, k->wake, k->clients};
	bool set_aside = queue->membership == QUEUE_OUT && queue->shared->redis != NULL;
	bool member = queue->membership == QUEUE_MEMBER || set_aside;
	if (queue->membership == QUEUE_LEAVING || queue->membership == QUEUE_LEFT)
		return;
	drop_wait(queue);
	timer_stop(queue->due);
	timer_stop(queue->company);
	queue->open = false;
	queue->calling = false;
	queue->claiming = 0;
	move(queue, QUEUE_LEAVING);
	drop_arrived(queue);
	lose_settles(queue);
	if (!member || now_ns(queue) < queue->unsure_until_ns) {
		move(queue, QUEUE_LEFT);
		return;
	}
	begin_script(queue, SCRIPT_LEAVE, keys, COUNT_OF(keys), 1, leave_answered);
	resp_arg_text(queue->shared->redis, own_name(queue));
}

void redis_queue_retire(struct redis_queue *queue)
{
	queue->retired = true;
	redis_queue_shut(queue);
	queue->shared->changed(queue->shared);
}

uint64_t redis_queue_lease_ms(const struct redis_queue *queue)
{
	return queue->settings->lease_ms;
}

bool redis_queue_is_retired(const struct redis_queue *queue)
{
	return queue->retired;
}

/* Not while a claim may be the server's that we do not know of: whoever is a member again after a broken
 * connection has put those back, and a BLMOVE that we lost sight of has ended by then. And not
 * while anything is without its answer, except behind which our leaving is answered. */
static bool may_leave(const struct redis_queue *queue)
{
	if (queue->membership == QUEUE_OUT && !queue->joined)
		return true;
	if (queue->shared->redis == NULL || now_ns(queue) < queue->unsure_until_ns)
		return false;
	return queue->membership == QUEUE_OUT || /* set aside */
	       (queue->membership == QUEUE_MEMBER && !queue->calling && !queue->woken);
}

enum leaving redis_queue_part(struct redis_queue *queue)
{
	must(queue->retired);
	if (!redis_queue_is_shut(queue))
		return LEAVING_INTAKE;
	if (queue->route->in_ledger > 0)
		return LEAVING_JOBS;
	if (may_leave(queue))
		redis_queue_leave(queue);
	return queue->membership == QUEUE_LEFT ? LEAVING_GONE : LEAVING_JOBS;
}

bool redis_queue_has_left(const struct redis_queue *queue)
{
	return queue->membership == QUEUE_LEFT;
}

size_t redis_queue_waiting_for(const struct redis_queue *queue, char *buf, size_t size)
{
	const char *what = NULL;
	if (redis_wait_blocks(queue->wait) && !queue->open)
		what = "the end of a blocked pop from";
	else if (queue->claiming > 0 && !queue->open)
		what = "the last claim from";
	else if (!list_empty(&queue->telling))
		what = "the answer to settling in";
	else if (!list_empty(&queue->pending))
		what = "a connection to settle in";
	if (what == NULL || size == 0)
		return 0;
	int len = snprintf(buf, size, "%s \"%s\"", what, queue->settings->name);
	return len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
}
