/* Everything that settles or claims goes through redis_turn.lua, in one step, and there is never more
 * than one such call under way for a list. That gives order: what is returned goes back in one call,
 * behind which no older claim can lie. And it gives batches: a call takes along whatever has gathered
 * while the last one was under way. The next claim is made while half of what was claimed ahead has
 * not begun, so handlers need not wait for a round trip, and that claim takes the finished half along.
 * When no claim is due, short jobs await each other for a millisecond; slow ones, and the last one
 * here, are settled at once.
 *
 * Where a settle is, until the core hears of its end:
 *
 *     pending --a call--> telling --its reply, and replicas--> settled
 *        ^-- link lost, --'   \--lease lost--> SETTLED_LOST
 *
 * and a claimed job is in `arrived` from the call's reply until that is believed.
 *
 * Whether we are a member, and what the server knows of us, is the matter of redis_list_member.h;
 * when a connection breaks, it asks here what we hold, and tells what to let go of.
 *
 * A settle that the server has nothing of was carried out by an earlier call whose reply was lost: so
 * each job remembers whether it was in a call before (struct job.source_step). If it was not, somebody
 * has taken its body away, and it is not settled. */
#include "sources/redis/redis_list_queue.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/census.h"
#include "sources/redis/redis_list_keys.h"
#include "sources/redis/redis_list_known.h"
#include "sources/redis/redis_list_member.h"
#include "sources/redis/redis_list_pace.h"
#include "sources/redis/redis_list_replicas.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/redis/redis_list_turn.h"
#include "sources/redis/redis_list_wait.h"
#include "sources/redis/redis_settings.h"
#include "sources/source.h"

#include <stdio.h>

enum { COMPANY_MS = 1, PASSED_BY_MS = 500, TOLD_ONCE = 1 };

#define STARVED_NS UINT64_C(1000000000) /* how long not to claim after an allocation failed */

struct redis_queue {
	struct list in_work; /* redis_shared.work */
	struct redis_shared *shared;
	const struct list_settings *settings;
	struct route *route;
	struct redis_member *member;
	struct pace pace;
	struct redis_wait *wait;
	struct redis_replicas replicas;
	struct timer *due;     /* the next delayed job */
	struct timer *company; /* for how long finished jobs await others */

	bool open;           /* the core wants jobs */
	bool retired;        /* ... and never will again */
	bool suspended;      /* ... and may again later; see source.h */
	bool calling;        /* a turn call is without its reply */
	size_t claiming;     /* ... and asks for so many */
	uint64_t asked_ns;   /* when it was made */
	bool passes_by;      /* the last claim found jobs whose worker died, and not for us now */
	bool holds_suspects; /* one of those was claimed here, and may still be here */
	bool more;           /* there may be jobs that we have not asked for: set_more() */
	bool counted;        /* in the lane's `asking` */
	bool woken;          /* a BLMOVE has ended: there may be one in the wake list */
	uint64_t unsure_until_ns; /* until then a BLMOVE that we lost sight of may move one there */
	uint64_t starved_until_ns; /* an allocation failed: claim nothing until then */
	bool troubled;             /* the last claim was answered with an error of the list's own */

	uint64_t
	    lost_ns; /* when what we held was, last; 0: not, or all of it has been given out again */

	unsigned census_round; /* that we were asked in last */

	bool overdue;        /* what is pending has waited long enough */
	struct list pending; /* struct job.in_source, in the order settled */
	struct list telling; /* those in the call */
	int64_t next_due_ms; /* what that reply said */
	struct list arrived; /* claimed by it: neither the core nor name_known() knows of them */
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

/* --- the end of a turn, asked for ---------------------------------------------------------------- */

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

/* --- whether there is more ------------------------------------------------------------------------ */

static void count_in_lane(struct redis_queue *queue)
{
	bool counts = queue->open && queue->more;
	struct lane *lane = queue->route->lane;
	if (counts == queue->counted)
		return;
	queue->counted = counts;
	if (counts) {
		lane->asking++;
		return;
	}
	must(lane->asking > 0);
	lane->asking--;
}

static void set_more(struct redis_queue *queue, bool more)
{
	queue->more = more;
	count_in_lane(queue);
}

/* --- what the membership tells -------------------------------------------------------------------- */

static void expect_due(struct redis_queue *queue, int64_t due_ms)
{
	if (due_ms > 0)
		timer_start(queue->due, (uint64_t)due_ms);
	else
		timer_stop(queue->due);
	if (due_ms == 0)
		set_more(queue, true);
}

static void joined(void *arg)
{
	struct redis_queue *queue = arg;
	set_more(queue, true);
	redis_queue_look(queue);
}

static void renewed(void *arg, int64_t due_ms, int64_t brought_back)
{
	struct redis_queue *queue = arg;
	if (brought_back > 0)
		set_more(queue, true);
	expect_due(queue, due_ms);
	redis_queue_look(queue);
}

/* What we held may be given out again, once somebody has brought it back. */
static void let_go(struct redis_queue *queue)
{
	queue->lost_ns = now_ns(queue);
	host_of(queue)->took_back(host_of(queue), queue->route);
}

static void lapsed(void *arg)
{
	let_go(arg);
}

static int64_t blocked_client(void *arg)
{
	const struct redis_queue *queue = arg;
	return redis_wait_client_id(queue->wait);
}

static bool takes(void *arg)
{
	const struct redis_queue *queue = arg;
	return queue->open;
}

/* Nobody has seen them: the server puts them back, undone or brought back. */
static void drop_arrived(struct redis_queue *queue)
{
	struct list *it;
	while ((it = list_take_first(&queue->arrived)) != NULL)
		job_destroy(list_entry(it, struct job, in_source));
	redis_replicas_give_up(&queue->replicas);
}

static void end_settles(struct redis_queue *queue, struct list *jobs, enum settled how)
{
	struct list *it;
	while ((it = list_take_first(jobs)) != NULL)
		host_of(queue)->settled(host_of(queue), list_entry(it, struct job, in_source), how);
}

static void lose_settles(struct redis_queue *queue)
{
	list_splice(&queue->telling, &queue->pending);
	end_settles(queue, &queue->telling, SETTLED_LOST);
}

static void give_up_call(struct redis_queue *queue)
{
	queue->calling = false;
	queue->claiming = 0;
	drop_arrived(queue);
}

/* What was in the call goes first again. */
static void interrupted(void *arg)
{
	struct redis_queue *queue = arg;
	give_up_call(queue);
	list_splice(&queue->telling, &queue->pending);
	list_splice(&queue->pending, &queue->telling);
}

/* Another worker has brought back what we held. */
static void shut_out(void *arg)
{
	struct redis_queue *queue = arg;
	give_up_call(queue);
	lose_settles(queue);
	let_go(queue);
}

/* Of this membership: held, running, being settled. */
static struct redis_known known_jobs(struct redis_queue *queue)
{
	return (struct redis_known){
	    .route = queue->route,
	    .epoch = redis_member_epoch(queue->member),
	    .finished = {&queue->telling, &queue->pending},
	};
}

static void each_known(void *arg, redis_job_known *each, void *to)
{
	struct redis_known known = known_jobs(arg);
	redis_known_walk(&known, each, to);
}

/* What runs goes on, and ends in SETTLED_LOST. */
static void forget(void *arg, const struct redis_unknown *gone)
{
	struct redis_queue *queue = arg;
	struct redis_known known = known_jobs(queue);
	struct list lost;
	list_init(&lost);
	say(queue, LOG_WARN, "claims unknown to the server, letting go of them", "jobs",
	    (int64_t)gone->n_fields);
	size_t running = redis_known_disown_running(&known, gone);
	redis_known_take_finished(&known, gone, &lost);
	end_settles(queue, &lost, SETTLED_LOST);
	if (running > 0 || redis_known_holds_any(&known, gone))
		let_go(queue);
}

static void unblock(void *arg, int64_t client_id);

/* Others do not see what has come, and their blocked pop does not end by itself. */
static void wake(void *arg, const struct reply *ids, size_t n_ids)
{
	for (size_t i = 0; i < n_ids; i++)
		if (ids[i].kind == REPLY_NUMBER)
			unblock(arg, ids[i].number);
}

static const struct redis_member_events member_events = {
    .joined = joined,
    .renewed = renewed,
    .lapsed = lapsed,
    .interrupted = interrupted,
    .shut_out = shut_out,
    .each_known = each_known,
    .forget = forget,
    .wake = wake,
    .blocked_client = blocked_client,
    .takes = takes,
};

/* --- the link ----------------------------------------------------------------------------------- */

/* A BLMOVE of which we shall not hear may still move a job. */
static void drop_wait(struct redis_queue *queue)
{
	if (redis_wait_blocks(queue->wait))
		queue->unsure_until_ns = now_ns(queue) + queue->settings->lease_ms / 3 * 1000000;
	redis_wait_drop(queue->wait);
}

/* Out, though the link is up. */
static bool is_aside(const struct redis_queue *queue)
{
	return redis_member_is_out(queue->member) && queue->shared->redis != NULL;
}

void redis_queue_link_up(struct redis_queue *queue)
{
	if (redis_member_has_left(queue->member))
		return;
	if (redis_wait_is_elsewhere(queue->wait))
		drop_wait(queue); /* nobody pushes there any more */
	redis_member_link_up(queue->member);
}

void redis_queue_link_lost(struct redis_queue *queue)
{
	if (!redis_member_link_lost(queue->member))
		return;
	interrupted(queue);
	if (!queue->open)
		drop_wait(queue); /* nobody could unblock it now */
}

void redis_queue_tick(struct redis_queue *queue)
{
	redis_member_tick(queue->member);
	if (is_aside(queue))
		redis_queue_link_up(queue);
}

uint64_t redis_queue_check_lease(struct redis_queue *queue, uint64_t now_ns)
{
	return redis_member_check_lease(queue->member, now_ns);
}

void redis_queue_set_aside(struct redis_queue *queue, const struct error *why)
{
	log_say(queue->shared->log, LOG_WARN, "list refused, trying again",
		kv_text("source", queue->shared->source->name),
		kv_text("queue", queue->settings->name), kv_why(why));
	redis_queue_link_lost(queue);
	queue->shared->changed(queue->shared);
}

/* --- claiming ---------------------------------------------------------------------------------- */

/* What comes back comes to the head. Within one more lease somebody has noticed that ours has ended, so
 * behind the first job after that which is new nothing of it comes. */
static void note_new(struct redis_queue *queue)
{
	uint64_t lease_ns = queue->settings->lease_ms * UINT64_C(1000000);
	if (queue->lost_ns == 0 || now_ns(queue) - queue->lost_ns < lease_ns)
		return;
	queue->lost_ns = 0;
	host_of(queue)->redelivered_all(host_of(queue), queue->route);
}

static void deliver(struct redis_queue *queue, struct list *jobs)
{
	struct list *it;
	while ((it = list_take_first(jobs)) != NULL) {
		struct job *job = list_entry(it, struct job, in_source);
		if (!job->redelivered)
			note_new(queue);
		host_of(queue)->deliver(host_of(queue), &job);
	}
}

static void note_trouble(struct redis_queue *queue, struct span why)
{
	bool troubled = why.len > 0;
	if (troubled && !queue->troubled)
		log_say(queue->shared->log, LOG_ERROR, "list not as it should be",
			kv_text("source", queue->shared->source->name),
			kv_text("queue", queue->settings->name), kv_span("why", why));
	queue->troubled = troubled;
}

static void note_claim(struct redis_queue *queue, const struct redis_turn_news *news)
{
	set_more(queue, !news->dry);
	pace_claimed(&queue->pace, now_ns(queue), !news->dry);
	queue->passes_by = news->passed_by > 0;
	if (news->buried > 0) {
		say(queue, LOG_WARN, "jobs dead without a run, see the notes beside the dead list",
		    "jobs", news->buried);
		host_of(queue)->buried(host_of(queue), queue->route, (uint64_t)news->buried);
	}
}

static void note_suspects(struct redis_queue *queue)
{
	list_each (it, &queue->arrived) {
		if (list_entry(it, struct job, in_source)->lost > 0)
			queue->holds_suspects = true;
	}
}

static void take_claimed(struct redis_queue *queue, const struct reply *reply, size_t n_claimed)
{
	struct redis_claimer claimer = {
	    .route = queue->route,
	    .host = host_of(queue),
	    .epoch = redis_member_epoch(queue->member),
	    .last_id = redis_member_last_id(queue->member),
	};
	if (redis_turn_take_claimed(reply, &claimer, &queue->arrived) == ST_OK) {
		note_suspects(queue);
		return;
	}
	say(queue, LOG_ERROR, "claimed jobs put back, out of memory", "jobs", (int64_t)n_claimed);
	interrupted(queue);
	redis_member_undo(queue->member);
	queue->starved_until_ns = now_ns(queue) + STARVED_NS; /* the next tick looks again */
}

static bool is_among(const struct redis_texts *fields, const struct job *job)
{
	for (size_t i = 0; i < fields->n; i++)
		if (fields->items[i].kind == REPLY_TEXT &&
		    span_equal(fields->items[i].text, job->origin))
			return true;
	return false;
}

/* Told for the first time, and not there: see the top. */
static void lose_missing(struct redis_queue *queue, const struct redis_texts *missing)
{
	struct list jobs, lost, *it;
	if (missing->n == 0)
		return;
	list_init(&jobs);
	list_init(&lost);
	list_splice(&jobs, &queue->telling);
	while ((it = list_take_first(&jobs)) != NULL) {
		const struct job *job = list_entry(it, struct job, in_source);
		bool goes = job->source_step == TOLD_ONCE && is_among(missing, job);
		list_append(goes ? &lost : &queue->telling, it);
	}
	if (!list_empty(&lost))
		log_say(
		    queue->shared->log, LOG_ERROR,
		    "jobs are not where they were claimed to, or their dead list cannot be written",
		    kv_text("source", queue->shared->source->name),
		    kv_text("queue", queue->settings->name));
	end_settles(queue, &lost, SETTLED_LOST);
}

/* A blocked pop would be given what was just passed by, again and again: so the list is looked at instead. */
static int64_t look_again_ms(const struct redis_queue *queue)
{
	bool sooner = queue->next_due_ms < 0 || queue->next_due_ms > PASSED_BY_MS;
	return queue->passes_by && sooner ? PASSED_BY_MS : queue->next_due_ms;
}

/* The reply may be believed. */
static void end_call(void *arg)
{
	struct redis_queue *queue = arg;
	queue->calling = false;
	end_settles(queue, &queue->telling, SETTLED);
	deliver(queue, &queue->arrived);
	queue->claiming = 0; /* only now may the intake be called shut */
	expect_due(queue, look_again_ms(queue));
	redis_queue_look(queue);
	queue->shared->changed(queue->shared);
}

static void turn_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	if (!redis_turn_is_answer(queue->shared, queue->settings->name, reply) ||
	    !redis_member_is_in(queue->member))
		return;
	struct redis_turn_news news = redis_turn_news(reply);
	if (!news.member) {
		redis_member_shut_out(queue->member, news.last_id);
		return;
	}
	reconnect_worked(&queue->shared->reconnect);
	redis_member_heard(queue->member, queue->asked_ns);
	queue->next_due_ms = news.due_ms;
	note_trouble(queue, news.trouble);
	lose_missing(queue, &news.missing);
	if (queue->claiming > 0) {
		note_claim(queue, &news);
		take_claimed(queue, reply, news.n_claimed);
	}
	if (!redis_replicas_await(&queue->replicas))
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

/* --- suspects (redis_turn.lua) --- */

struct suspects {
	size_t once, often; /* here, by how many workers they were lost with */
};

static void count_suspect(void *to, const struct job *job)
{
	struct suspects *found = to;
	found->once += job->lost == 1;
	found->often += job->lost > 1;
}

static struct suspects suspects_here(struct redis_queue *queue)
{
	struct suspects found = {0};
	if (queue->holds_suspects)
		each_known(queue, count_suspect, &found);
	queue->holds_suspects = found.once + found.often > 0;
	return found;
}

static enum redis_suspects suspects_wanted(struct redis_queue *queue)
{
	struct suspects here = suspects_here(queue);
	if (queue->route->held > 0 || here.often > 0)
		return SUSPECTS_NONE;
	return here.once > 0 ? SUSPECTS_LOST_ONCE : SUSPECTS_ANY;
}

/* While one is here, or waits for its turn, nothing is claimed ahead: who never begins is not to be blamed. */
static bool has_suspects(struct redis_queue *queue)
{
	struct suspects here = suspects_here(queue);
	return queue->passes_by || here.once + here.often > 0;
}

static size_t wanted(struct redis_queue *queue)
{
	struct pace_facts facts = pace_facts_of(queue->route, now_ns(queue));
	facts.room = room_after_settling(queue);
	facts.only_idle = has_suspects(queue);
	if (!queue->open || facts.now_ns < queue->starved_until_ns ||
	    lane_width(queue->route->lane) == 0) /* nobody could run it now */
		return 0;
	if (pause_takes_one(&queue->route->lane->pause))
		return facts.unbegun == 0 && facts.idle > 0 && facts.room > 0; /* the trial */
	return pace_wanted(&queue->pace, &facts);
}

/* --- settling ----------------------------------------------------------------------------------- */

static void send_turn(struct redis_queue *queue, size_t claim)
{
	list_splice(&queue->telling, &queue->pending);
	list_each (it, &queue->telling) {
		list_entry(it, struct job, in_source)->source_step++;
	}
	struct redis_turn turn = {
	    .keys = redis_member_keys(queue->member),
	    .name = redis_member_name(queue->member),
	    .lease_ms = queue->settings->lease_ms,
	    .claim = claim,
	    .lost_most = queue->route->retry->lost,
	    .suspects = claim > 0 ? suspects_wanted(queue) : SUSPECTS_NONE,
	    .settles = &queue->telling,
	};
	redis_turn_send(queue->shared, &turn, turn_answered, queue);
	redis_replicas_ask(&queue->replicas);
	queue->calling = true;
	queue->claiming = claim;
	queue->asked_ns = now_ns(queue);
	queue->woken = false;
	queue->overdue = false;
	timer_stop(queue->company);
}

void redis_queue_settle(struct redis_queue *queue, struct job *job)
{
	if (job->source_epoch != redis_member_epoch(queue->member) ||
	    redis_member_is_stopping(queue->member)) {
		host_of(queue)->settled(host_of(queue), job, SETTLED_LOST);
		return;
	}
	list_append(&queue->pending, &job->in_source);
	if (job->lost > 0)
		set_more(queue, true); /* others of its kind may be for us now */
	pace_job_ended(&queue->pace);
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
	if (!redis_member_is_in(queue->member))
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
	if (!queue->more && claim > 0 && !queue->passes_by)
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
	set_more(queue, true);
	redis_queue_look(queue);
	queue->shared->changed(queue->shared);
}

static void wait_connected(void *arg)
{
	struct redis_queue *queue = arg;
	redis_member_renew(queue->member); /* tells others which connection to unblock */
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

static void wait_troubled(void *arg, const char *why)
{
	const struct redis_queue *queue = arg;
	if (queue->shared->redis == NULL)
		return; /* that is told already */
	log_say(queue->shared->log, LOG_WARN,
		"cannot wait for jobs, looking for them now and then instead",
		kv_text("source", queue->shared->source->name),
		kv_text("queue", queue->settings->name), kv_text("why", why));
}

static const struct redis_wait_events wait_events = {
    .ended = wait_ended,
    .connected = wait_connected,
    .troubled = wait_troubled,
    .unblock = unblock,
};

static void due_fired(void *arg)
{
	struct redis_queue *queue = arg;
	set_more(queue, true);
	redis_queue_look(queue);
}

/* --- intake ------------------------------------------------------------------------------------- */

void redis_queue_open(struct redis_queue *queue)
{
	if (queue->retired || queue->suspended)
		return;
	queue->open = true;
	set_more(queue, true);
	redis_member_renew(queue->member); /* others want to know that we take something */
	redis_queue_look(queue);
}

void redis_queue_shut(struct redis_queue *queue)
{
	queue->open = false;
	count_in_lane(queue);
	redis_queue_look(queue); /* nothing awaits company any more */
	if (queue->shared->redis != NULL)
		redis_wait_end(queue->wait);
	else
		drop_wait(queue);
	redis_member_renew(queue->member); /* ... or nothing */
}

static void count_answered(void *arg, const struct reply *reply)
{
	struct redis_queue *queue = arg;
	census_tell(queue->shared->census, queue->census_round, queue->route,
		    reply->kind == REPLY_NUMBER ? (long)reply->number : CENSUS_NOT_KNOWN);
}

void redis_queue_count(struct redis_queue *queue, unsigned round)
{
	if (redis_member_count(queue->member, count_answered, queue))
		queue->census_round = round;
	else
		census_tell(queue->shared->census, round, queue->route, CENSUS_NOT_KNOWN);
}

bool redis_queue_is_taking(const struct redis_queue *queue)
{
	return queue->open && redis_member_is_in(queue->member);
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
	queue->replicas = (struct redis_replicas){
	    .shared = shared, .list = settings->name, .confirmed = end_call, .arg = queue};
	queue->member = redis_member_create(shared, settings, &member_events, queue);
	if (queue->member != NULL)
		queue->wait =
		    redis_wait_create(shared->loop, shared->login, redis_member_keys(queue->member),
				      settings->lease_ms / 3, &wait_events, queue);
	if (queue->due == NULL || queue->company == NULL || queue->wait == NULL) {
		redis_queue_destroy(queue);
		return NULL;
	}
	return queue;
}

void redis_queue_destroy(struct redis_queue *queue)
{
	if (queue == NULL)
		return;
	if (queue->member != NULL && redis_member_may_hold(queue->member))
		say(queue, LOG_WARN,
		    "list not left in order, what was claimed and not settled comes back when the "
		    "lease has run out",
		    "lease_ms", (int64_t)queue->settings->lease_ms);
	drop_arrived(queue);
	lose_settles(queue);
	list_remove(&queue->in_work);
	redis_wait_destroy(queue->wait);
	timer_destroy(queue->due);
	timer_destroy(queue->company);
	redis_member_destroy(queue->member);
	memory_free(queue);
}

void redis_queue_bind(struct redis_queue *queue, struct route *route)
{
	queue->route = route;
	route->source_ref = queue;
	route->dead_to = redis_member_keys(queue->member)->dead;
	route->hold_limit = queue->settings->prefetch; /* as on RabbitMQ: running ones included */
}

void redis_queue_leave(struct redis_queue *queue)
{
	bool was_in = redis_member_is_in(queue->member) || is_aside(queue);
	if (redis_member_is_stopping(queue->member))
		return;
	drop_wait(queue);
	timer_stop(queue->due);
	timer_stop(queue->company);
	queue->open = false;
	count_in_lane(queue);
	if (was_in && now_ns(queue) >= queue->unsure_until_ns)
		redis_member_leave(queue->member);
	else
		redis_member_vanish(queue->member);
	give_up_call(queue);
	lose_settles(queue);
}

void redis_queue_suspend(struct redis_queue *queue)
{
	queue->suspended = true;
	redis_queue_shut(queue);
	queue->shared->changed(queue->shared);
}

void redis_queue_take_up(struct redis_queue *queue, bool open)
{
	queue->suspended = false;
	if (open)
		redis_queue_open(queue);
	queue->shared->changed(queue->shared);
}

bool redis_queue_is_suspended(const struct redis_queue *queue)
{
	return queue->suspended;
}

void redis_queue_retire(struct redis_queue *queue)
{
	queue->retired = true;
	redis_queue_shut(queue);
	queue->shared->changed(queue->shared);
}

bool redis_queue_is_retired(const struct redis_queue *queue)
{
	return queue->retired;
}

const struct list_settings *redis_queue_settings(const struct redis_queue *queue)
{
	return queue->settings;
}

/* Not while a claim may be the server's that we do not know of: whoever is a member again after a broken
 * connection has put those back, and a BLMOVE that we lost sight of has ended by then. And not
 * while anything is without its answer, except behind which our leaving is answered. */
static bool may_leave(const struct redis_queue *queue)
{
	if (redis_member_is_out(queue->member) && !redis_member_has_joined(queue->member))
		return true;
	if (queue->shared->redis == NULL || now_ns(queue) < queue->unsure_until_ns)
		return false;
	return is_aside(queue) ||
	       (redis_member_is_in(queue->member) && !queue->calling && !queue->woken);
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
	return redis_queue_has_left(queue) ? LEAVING_GONE : LEAVING_JOBS;
}

bool redis_queue_has_left(const struct redis_queue *queue)
{
	return redis_member_has_left(queue->member);
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
