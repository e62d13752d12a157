/* A pool has as many places as the settings say processes. Each place is filled by one process:
 *
 *     place:   child   starting, or ready and serves   (or none)
 *              again   when to start the next           (armed while there is none)
 *
 * A process that ended leaves its place empty, and another is started after a wait that doubles with
 * each failure in a row. One that has had its share (max_jobs, max_memory) retires at once: gets no more
 * jobs, finishes what it has, sees the end of its stdin. Its place is another's from that moment on, and that
 * one is started without a wait, whatever the other places do. A limit is a limit: who sets one of one
 * job wants no process to see two.
 *
 * Width is what the ready processes can have at once, and on top of that what the retiring ones still
 * have, so that their last jobs take no place from the new one.
 *
 * Who gets the next job: the one with the fewest, and of those that are idle the one that was idle
 * last, whose caches are warm. The search ends at the first idle one, so it is long only when all of
 * many processes are busy with room for more.
 *
 * Ids are unique in a queue, not in a handler: two queues may have a job of the same id. A process
 * could not say which of them it means, so it never has both. The second one goes to another process,
 * or waits here (`waiting`) until it can; it counts as not begun.
 *
 * Jobs of one turn leave in one write for each process, at its end. */
#include "executors/pool/pool.h"

#include "base/backoff.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "executors/child/child_says.h"
#include "executors/child/environment.h"
#include "executors/child/program.h"
#include "executors/child/spawn_profile.h"
#include "executors/pool/pool_child.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/settings.h"

#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define FAREWELL_NS UINT64_C(3000000) /* for one that was killed, or never served: to be reaped */
#define STEADY_NS                                                                                  \
	UINT64_C(5000000000) /* ready for so long, it did not end because it cannot start */

struct pool_place {
	struct pool *pool;
	struct pool_child *child; /* NULL: none */
	struct reconnect backoff;
	struct timer *again;
};

struct pool {
	struct executor base;
	struct pool_shared shared;
	struct handler_settings settings;
	struct spawn_profile profile;
	struct environment *environment;
	struct pool_place *places; /* settings.processes of them */
	unsigned most_said;        /* the largest concurrency a process has told */
	struct list all;           /* struct pool_child.in_all */
	struct list open;    /* struct pool_child.in_open: those with room, the latest first */
	struct list waiting; /* struct pool_task.place: for a process that may have them */
	struct list spare;   /* struct pool_task.place */
	struct turn_hook hand_over;
	bool closing; /* the host is to hear nothing more */
};

static struct pool *pool_of(struct executor *executor)
{
	return (struct pool *)executor; /* its first member */
}

static struct pool *pool_that(struct pool_shared *shared)
{
	return list_entry(shared, struct pool, shared);
}

static struct pool_child *child_at(struct list *in_all)
{
	return list_entry(in_all, struct pool_child, in_all);
}

/* --- how much it can do ---------------------------------------------------------------------------- */

static unsigned most_of_one(const struct pool *pool)
{
	unsigned allowed = pool->settings.per_process;
	if (allowed == 0 || (pool->most_said != 0 && pool->most_said < allowed))
		allowed = pool->most_said;
	return allowed != 0 ? allowed : 1;
}

static void recount(struct pool *pool)
{
	unsigned width = 0;
	list_each (it, &pool->all) {
		const struct pool_child *child = child_at(it);
		width += pool_child_capacity(child);
		if (child->concurrency > pool->most_said)
			pool->most_said = child->concurrency;
	}
	pool->base.widest = pool->settings.processes * most_of_one(pool);
	if (width == pool->base.width)
		return;
	pool->base.width = pool->base.depth = width;
	pool->base.host->resized(pool->base.host, &pool->base);
}

static void note_room(struct pool *pool, struct pool_child *child)
{
	bool open = pool_child_is_open(child);
	if (!open)
		list_remove(&child->in_open);
	else if (!list_linked(&child->in_open))
		list_prepend(&pool->open, &child->in_open);
}

/* --- tasks ----------------------------------------------------------------------------------------- */

static struct pool_task *take_task(struct pool *pool, struct job *job)
{
	struct list *spare = list_take_first(&pool->spare);
	struct pool_task *task = spare != NULL ? pool_task_at(spare) : memory_take(sizeof *task);
	if (task == NULL)
		return NULL;
	*task = (struct pool_task){.job = job};
	list_init(&task->place);
	list_init(&task->in_bucket);
	list_init(&task->in_unbegun);
	list_init(&task->letter.in_outbox);
	if (!pool_task_name(task)) {
		memory_free(task);
		return NULL;
	}
	job->executor_ref = task;
	return task;
}

/* Room for as many as there ever were at once; that is bounded by the width. */
static struct job *drop_task(struct pool *pool, struct pool_task *task)
{
	struct job *job = task->job;
	pool_task_unname(task);
	list_remove(&task->in_unbegun);
	list_remove(&task->place);
	list_prepend(&pool->spare, &task->place);
	return job;
}

static void no_memory(struct pool *pool, struct job *job)
{
	pool->base.host->could_not_begin(pool->base.host, job, "out of memory");
}

static struct pool_child *choose(const struct pool *pool, const struct pool_task *task)
{
	struct pool_child *best = NULL;
	list_each (it, &pool->open) {
		struct pool_child *child = list_entry(it, struct pool_child, in_open);
		if (pool_jobs_find(&child->jobs, task->id, task->hash) != NULL)
			continue;
		if (best == NULL || child->jobs.count < best->jobs.count)
			best = child;
		if (best->jobs.count == 0)
			break;
	}
	return best;
}

static void give(struct pool *pool, struct pool_child *child, struct pool_task *task)
{
	list_remove(&task->place);
	if (!pool_child_give(child, task)) {
		no_memory(pool, drop_task(pool, task));
		return;
	}
	note_room(pool, child);
}

static struct pool_task *first_that_can_go(const struct pool *pool, struct pool_child **ret_child)
{
	list_each (it, &pool->waiting) {
		struct pool_task *task = pool_task_at(it);
		*ret_child = choose(pool, task);
		if (*ret_child != NULL)
			return task;
	}
	return NULL;
}

/* A process has room, or lost the job whose id was in the way. What is told of one may take others back. */
static void give_waiting(struct pool *pool)
{
	struct pool_child *child;
	struct pool_task *task;
	while ((task = first_that_can_go(pool, &child)) != NULL) {
		give(pool, child, task);
		loop_turn_again(pool->shared.loop);
	}
}

static void pool_start(struct executor *executor, struct job *job)
{
	struct pool *pool = pool_of(executor);
	struct pool_task *task = take_task(pool, job);
	if (task == NULL) {
		no_memory(pool, job);
		return;
	}
	list_append(&pool->shared.unbegun, &task->in_unbegun);
	struct pool_child *child = choose(pool, task);
	if (child != NULL)
		give(pool, child, task);
	else
		list_append(&pool->waiting, &task->place);
}

static void hand_over(void *arg)
{
	struct pool *pool = arg;
	struct list *it;
	while ((it = list_take_first(&pool->shared.to_write)) != NULL)
		pool_child_write(list_entry(it, struct pool_child, in_to_write));
}

/* --- what its processes tell ----------------------------------------------------------------------- */

static void task_finished(struct pool_shared *shared, struct pool_child *child,
			  struct pool_task *task, const struct outcome *outcome)
{
	struct pool *pool = pool_that(shared);
	struct job *job = drop_task(pool, task);
	if (child->state == POOL_RETIRING || pool->settings.max_jobs != 0)
		recount(pool);
	note_room(pool, child);
	pool->base.host->finished(pool->base.host, job, outcome);
	if (!list_empty(&pool->waiting))
		give_waiting(pool);
}

static void take_back(struct pool *pool, struct pool_task *task)
{
	if (task->child != NULL) {
		struct pool_child *child = task->child;
		pool_child_take_back(child, task);
		note_room(pool, child);
	}
	pool->base.host->retracted(pool->base.host, drop_task(pool, task));
}

static void task_not_begun(struct pool_shared *shared, struct pool_task *task)
{
	struct pool *pool = pool_that(shared);
	take_back(pool, task);
	loop_turn_again(shared->loop);
}

/* What ends as soon as it is ready has not started any better than what never got ready. One that
 * has had its share, or ended by itself after some jobs, and well, renews itself, and is not made to wait. */
static uint64_t wait_before_next(struct pool_place *place, const struct pool_child *child)
{
	uint32_t random = (uint32_t)child->started_ns;
	uint64_t now_ns = loop_now_ns(child->shared->loop);
	bool steady = child->ready_ns != 0 && now_ns - child->ready_ns >= STEADY_NS;
	bool had_enough = child->state == POOL_RETIRING && child->cause == CAUSE_NONE;
	bool ended_well = child->state == POOL_GONE && child->status == 0 && child->results > 0 &&
			  child->jobs.count == 0;
	bool renews = had_enough || ended_well;
	(void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
	if (steady || renews)
		reconnect_worked(&place->backoff);
	return renews ? 0 : reconnect_failed(&place->backoff, random);
}

static void expect_next(struct pool_place *place, uint64_t wait_ms)
{
	struct pool *pool = place->pool;
	if (pool->shared.draining)
		return;
	log_say(pool->shared.log, LOG_INFO, "process will be started again",
		kv_text("handler", pool->settings.name), kv_int("wait_ms", (int64_t)wait_ms));
	timer_start(place->again, wait_ms);
}

static void vacate(struct pool_place *place, struct pool_child *child)
{
	must(place->child == child && !timer_armed(place->again));
	child->place = NULL;
	place->child = NULL;
	expect_next(place, wait_before_next(place, child));
}

static void process_changed(struct pool_shared *shared, struct pool_child *child)
{
	struct pool *pool = pool_that(shared);
	struct pool_place *place = child->place;
	if (pool->closing)
		return;
	note_room(pool, child);
	bool by_itself = child->state == POOL_MUTE ||
			 (child->state == POOL_LEAVING && child->cause == CAUSE_ITS_OWN);
	if (place != NULL && by_itself)
		; /* how it ends says whether another is to wait */
	else if (place != NULL && child->state > POOL_READY)
		vacate(place, child);
	recount(pool);
	give_waiting(pool);
}

static void process_ended(struct pool_shared *shared, struct pool_child *child)
{
	(void)shared;
	must(child->jobs.count == 0 && child->place == NULL);
	pool_child_destroy(child);
}

static void start_process(void *arg)
{
	struct pool_place *place = arg;
	struct pool *pool = place->pool;
	struct error why;
	must(place->child == NULL);
	char *path = NULL;
	enum status st = program_find(pool->settings.command[0], &path, &why);
	pool->shared.path = path;
	if (st == ST_OK)
		st = pool_child_start(&pool->shared, place, &place->child, &why);
	memory_free(path);
	if (st == ST_OK) {
		list_append(&pool->all, &place->child->in_all);
		return;
	}
	log_say(pool->shared.log, LOG_ERROR, "process not started",
		kv_text("handler", pool->settings.name), kv_why(&why));
	expect_next(place,
		    reconnect_failed(&place->backoff, (uint32_t)loop_now_ns(pool->shared.loop)));
}

/* --- the contract ---------------------------------------------------------------------------------- */

static void pool_retract(struct executor *executor)
{
	struct pool *pool = pool_of(executor);
	struct list *unbegun = &pool->shared.unbegun;
	while (!list_empty(unbegun))
		take_back(pool, list_entry(unbegun->prev, struct pool_task, in_unbegun));
}

static uint64_t pool_begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static void pool_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct pool *pool = pool_of(executor);
	struct pool_task *task = job->executor_ref;
	struct pool_child *child = task->child;
	static const struct outcome not_begun = {.kind = OUTCOME_ABANDONED, .reason = "not begun"};
	must(task->job == job);
	if (pool_task_is_unbegun(task)) {
		if (child != NULL)
			pool_child_take_back(child, task);
		if (child != NULL)
			note_room(pool, child);
		executor->host->finished(executor->host, drop_task(pool, task), &not_begun);
	} else if (how == STOP_ASK) {
		pool_child_cancel(child, task);
	} else {
		pool_child_kill_for(child, task);
	}
}

static void pool_drain_notice(struct executor *executor, uint64_t remaining_ms)
{
	struct pool *pool = pool_of(executor);
	pool->shared.draining = true;
	for (unsigned i = 0; i < pool->settings.processes; i++)
		timer_stop(pool->places[i].again);
	list_each_safe (it, &pool->all) {
		pool_child_notify(child_at(it), remaining_ms);
	}
}

/* --- life ------------------------------------------------------------------------------------------ */

static void forget_tasks(struct pool *pool, struct pool_child *child)
{
	list_each_safe (it, &child->jobs.all) {
		struct pool_task *task = pool_task_at(it);
		pool_jobs_remove(&child->jobs, task);
		(void)drop_task(pool, task);
	}
}

/* Those that are idle have seen the end of their stdin since the drain began, in all pools, so the time that
 * each has passes for all of them at once; and the last one that goes ends the waiting. The jobs of the others
 * have been given up. */
static void end_process(struct pool *pool, struct pool_child *child)
{
	bool served = child->ready_ns != 0 && child->state != POOL_KILLED;
	uint64_t patience_ns =
	    served ? pool->settings.leave_timeout_ms * UINT64_C(1000000) : FAREWELL_NS;
	(void)pool_child_bury(child, patience_ns);
	pool_child_destroy(child); /* kills it if it is still there */
}

static void end_processes(struct pool *pool)
{
	pool->closing = true;
	list_each (it, &pool->all) {
		struct pool_child *child = child_at(it);
		if (child->jobs.count > 0)
			pool_child_kill(child);
		forget_tasks(pool, child);
		pool_child_dismiss(child);
	}
	list_each_safe (it, &pool->all) {
		end_process(pool, child_at(it));
	}
}

static void pool_destroy(struct executor *executor)
{
	struct pool *pool = pool_of(executor);
	struct list *it;
	end_processes(pool);
	while ((it = list_take_first(&pool->waiting)) != NULL)
		(void)drop_task(pool, pool_task_at(it));
	while ((it = list_take_first(&pool->spare)) != NULL)
		memory_free(pool_task_at(it));
	for (unsigned i = 0; pool->places != NULL && i < pool->settings.processes; i++)
		timer_destroy(pool->places[i].again);
	loop_remove_hook(&pool->hand_over);
	environment_destroy(pool->environment);
	spawn_profile_fini(&pool->profile);
	memory_free(pool->places);
	memory_free(pool);
}

static const struct executor_ops pool_ops = {
    .kind = "pool",
    .start = pool_start,
    .retract = pool_retract,
    .begun_ns = pool_begun_ns,
    .stop = pool_stop,
    .drain_notice = pool_drain_notice,
    .destroy = pool_destroy,
};

static enum status acquire(struct pool *pool, struct error *why)
{
	enum status st = spawn_profile_init(&pool->profile, &pool->settings, why);
	if (st != ST_OK)
		return st;
	pool->environment = environment_create(environ, pool->settings.environment,
					       pool->settings.withheld, &pool->profile.as);
	pool->places = memory_clear(pool->settings.processes, sizeof *pool->places);
	if (pool->environment == NULL || pool->places == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	pool->shared.envp = environment_without_job(pool->environment);
	for (unsigned i = 0; i < pool->settings.processes; i++) {
		struct pool_place *place = &pool->places[i];
		place->pool = pool;
		place->again = timer_create_on(pool->shared.loop, start_process, place);
		if (place->again == NULL)
			return error_set(why, ST_NOMEM, "out of memory");
	}
	return ST_OK;
}

static void init(struct pool *pool, struct loop *loop, struct log *log, struct children *children,
		 const struct worker_settings *worker, struct executor_host *host)
{
	list_init(&pool->all);
	list_init(&pool->open);
	list_init(&pool->waiting);
	list_init(&pool->spare);
	pool->base = (struct executor){
	    .ops = &pool_ops,
	    .host = host,
	    .name = pool->settings.name,
	    .widest = pool->settings.processes * most_of_one(pool),
	    .can_kill = true,
	};
	pool->shared = (struct pool_shared){
	    .loop = loop,
	    .log = log,
	    .children = children,
	    .settings = &pool->settings,
	    .profile = &pool->profile,
	    .line_limit = child_says_longest(worker->max_checkpoint_bytes),
	    .host = host,
	    .changed = process_changed,
	    .finished = task_finished,
	    .not_begun = task_not_begun,
	    .ended = process_ended,
	};
	list_init(&pool->shared.unbegun);
	list_init(&pool->shared.to_write);
	pool->hand_over = (struct turn_hook){.run = hand_over, .arg = pool};
	loop_add_hook(loop, TURN_HAND_OVER, &pool->hand_over);
}

enum status pool_executor_create(struct loop *loop, struct log *log, struct children *children,
				 const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct executor **ret_executor, struct error *why)
{
	struct pool *pool = memory_clear(1, sizeof *pool);
	if (pool == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	pool->settings = *settings;
	init(pool, loop, log, children, worker, host);
	enum status st = acquire(pool, why);
	if (st != ST_OK) {
		pool_destroy(&pool->base);
		return st;
	}
	for (unsigned i = 0; i < pool->settings.processes; i++)
		start_process(&pool->places[i]);
	*ret_executor = &pool->base;
	return ST_OK;
}
