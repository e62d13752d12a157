/* A no-op job must cost about a microsecond here, and waking a sleeper costs twenty-five to sixty.
 * So everything is about waking nobody without need.
 *
 *     start() -> incoming --end of turn, one lock--> staged -> thread -> results --doorbell--> host
 *
 * Jobs started in a turn are handed over together. A thread takes one at a time: the lock is held
 * for a few instructions and taken once for each job, to post the last result and take the next
 * task. Batches of its own would save half of that, but a job in a batch waits behind a slow one
 * while another thread is idle, and retract() would have to reach into them.
 *
 * Who is woken. The stage knows how long jobs lasted of late. Short ones (SHORT_NS) get as many
 * threads as the work is worth (WORTH_NS each), those awake included; long ones get a thread each.
 * The guess may be wrong, a slow job among short ones: therefore whenever jobs are staged and a
 * thread sleeps, `relief` looks again a millisecond later, wakes them all, and does not count on
 * those that were awake until they are back (`detained`). The loop is rung for only when it has
 * collected what it was last rung for. Sleepers are woken last in, first out: the one whose cache
 * is warm works, the others stay asleep.
 *
 * Killing. There is no way to end a thread. STOP_KILL marks the task as lost, tells the core that
 * the job is abandoned and its memory must stay (job->stuck), and the thread, should it ever come
 * back, finds the mark and drops its result. This happens at the end of a drain only, so what is
 * leaked is leaked to the exit. */
#include "executors/plugin.h"

#include "base/list.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "plugin/outfall.h"
#include "settings/settings.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum {
	LEAST_DEPTH = 1024,
	SHORT_NS = 20 * 1000, /* jobs below are worked off in series */
	WORTH_NS = 50 * 1000, /* work that pays for waking a thread */
	MANY = 32,            /* jobs that are worth waking a thread for, however short */
	PATIENCE_NS = 100000, /* longest wait for that many */
	RELIEF_MS = 1,        /* longest wait behind a job that was thought short */
};

/*  idle --start--> incoming --hand over--> staged --taken--> running --posted--> ended --told--> idle
 *                      \------------------/--retract--> idle     \--killed--> lost        */
enum task_state { TASK_IDLE, TASK_INCOMING, TASK_STAGED, TASK_RUNNING, TASK_ENDED, TASK_LOST };

/* A job's stay in here; what the handler knows as its context. */
struct outfall_context {
	struct list place; /* on the list of its state; on none while running */
	struct plugin *plugin;
	struct job *job;
	enum task_state state;  /* from staged to ended under the lock, else the loop's */
	struct outcome outcome; /* its thread's while running, else the loop's */
	_Atomic uint64_t begun_ns;
	atomic_bool stop;
};

struct worker_thread {
	struct plugin *plugin;
	pthread_t thread;
	struct outfall_context *task; /* that it runs, NULL: none; under the lock */
	struct list in_sleepers;      /* linked while it sleeps */
	sem_t wake;
};

struct plugin {
	struct executor base;
	struct loop *loop;
	struct log *log;
	void *library;
	const struct outfall_plugin *code;
	uint64_t timeout_ns;           /* of each job; 0 = none */
	_Atomic uint64_t drain_by_ns;  /* running jobs will be asked to stop; UINT64_MAX: never */
	struct worker_thread *threads; /* base.width of them */
	unsigned started;              /* of the threads */

	/* The loop's. */
	struct outfall_context *tasks; /* base.depth of them */
	unsigned n_used; /* of the tasks; the rest was never touched, and costs nothing */
	struct list idle;
	struct list incoming;
	struct turn_hook hand_over;
	struct doorbell *bell;
	struct timer *relief;
	bool waiting; /* staged jobs for more of them, before anybody is woken */
	uint64_t waiting_since_ns;

	/* Under the lock. */
	pthread_mutex_t lock;
	struct list staged;
	unsigned n_staged;
	struct list results;
	bool rung; /* and not answered yet */
	struct list sleepers;
	unsigned n_sleepers;
	unsigned detained; /* threads awake, but in a job that takes its time; about so many */
	uint64_t usual_ns; /* how long jobs last, the recent ones counting most */
	bool closing;
};

static struct plugin *plugin_of(struct executor *executor)
{
	return (struct plugin *)executor; /* its first member */
}

static struct outfall_context *task_at(struct list *place)
{
	return list_entry(place, struct outfall_context, place);
}

static uint64_t now_ns(void) /* the loop's clock, from any thread */
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- what the handler may call, on its thread ---------------------------------------------------- */

void outfall_log(struct outfall_context *ctx, enum outfall_log_level level, const char *text)
{
	static const enum log_level levels[] = {
	    [OUTFALL_LOG_ERROR] = LOG_ERROR,
	    [OUTFALL_LOG_WARN] = LOG_WARN,
	    [OUTFALL_LOG_INFO] = LOG_INFO,
	    [OUTFALL_LOG_DEBUG] = LOG_DEBUG,
	};
	unsigned known = (unsigned)level <= OUTFALL_LOG_DEBUG ? level : OUTFALL_LOG_INFO;
	log_say(ctx->plugin->log, levels[known], "job wrote", kv_text("job", ctx->job->id),
		kv_text("queue", ctx->job->route->name), kv_text("line", text));
}

int outfall_should_stop(const struct outfall_context *ctx)
{
	return atomic_load_explicit(&ctx->stop, memory_order_relaxed);
}

int64_t outfall_time_left_ms(const struct outfall_context *ctx)
{
	const struct plugin *plugin = ctx->plugin;
	uint64_t by_ns = atomic_load_explicit(&plugin->drain_by_ns, memory_order_relaxed);
	if (plugin->timeout_ns != 0) {
		uint64_t begun_ns = atomic_load_explicit(&ctx->begun_ns, memory_order_relaxed);
		if (begun_ns + plugin->timeout_ns < by_ns)
			by_ns = begun_ns + plugin->timeout_ns;
	}
	if (by_ns == UINT64_MAX)
		return -1;
	uint64_t at_ns = now_ns();
	return at_ns < by_ns ? (int64_t)((by_ns - at_ns) / 1000000) : 0;
}

void outfall_set_reason(struct outfall_context *ctx, const char *text)
{
	(void)snprintf(ctx->outcome.reason, sizeof ctx->outcome.reason, "%s", text);
}

/* --- the threads --------------------------------------------------------------------------------- */

static void take_word(struct outcome *outcome, enum outfall_outcome word)
{
	static const enum outcome_kind kinds[] = {
	    [OUTFALL_DONE] = OUTCOME_DONE,
	    [OUTFALL_RETRY] = OUTCOME_RETRY,
	    [OUTFALL_REJECT] = OUTCOME_REJECT,
	    [OUTFALL_RETURN] = OUTCOME_RETURN,
	};
	if ((unsigned)word < sizeof kinds / sizeof kinds[0]) {
		outcome->kind = kinds[word];
		return;
	}
	outcome->kind = OUTCOME_RETRY;
	(void)snprintf(outcome->reason, sizeof outcome->reason, "the plugin returned %d",
		       (int)word);
}

static void run(struct outfall_context *task)
{
	const struct job *job = task->job;
	const struct outfall_job seen = {
	    .size = sizeof seen,
	    .id = job->id,
	    .source = job->route->source_name,
	    .queue = job->route->name,
	    .content_type = job->content_type,
	    .traceparent = job->traceparent,
	    .body = job->body.ptr,
	    .body_bytes = job->body.len,
	    .attempt = job->attempt,
	    .interruptions = job->interruptions,
	    .redelivered = job->redelivered,
	};
	take_word(&task->outcome, task->plugin->code->run(&seen, task));
}

/* Locked, but not while it sleeps. */
static void sleep_until_woken(struct worker_thread *self)
{
	struct plugin *plugin = self->plugin;
	list_prepend(&plugin->sleepers, &self->in_sleepers);
	plugin->n_sleepers++;
	if (plugin->n_sleepers + plugin->detained > plugin->base.width)
		plugin->detained--; /* it was this one */
	(void)pthread_mutex_unlock(&plugin->lock);
	while (sem_wait(&self->wake) != 0)
		; /* EINTR only */
	(void)pthread_mutex_lock(&plugin->lock);
}

/* Locked. Returns with a task that is the thread's, or NULL when there will be none. */
static struct outfall_context *wait_for_task(struct worker_thread *self)
{
	struct plugin *plugin = self->plugin;
	while (!plugin->closing && list_empty(&plugin->staged))
		sleep_until_woken(self);
	if (plugin->closing)
		return NULL;
	struct outfall_context *task = task_at(list_take_first(&plugin->staged));
	plugin->n_staged--;
	task->state = TASK_RUNNING;
	self->task = task;
	return task;
}

/* Locked. Returns whether the loop must be rung for. */
static bool post_result(struct worker_thread *self, struct outfall_context *task, uint64_t ran_ns)
{
	struct plugin *plugin = self->plugin;
	self->task = NULL;
	if (task->state == TASK_LOST)
		return false; /* the core was told already, and may be gone */
	task->state = TASK_ENDED;
	list_append(&plugin->results, &task->place);
	plugin->usual_ns += ran_ns / 8 - plugin->usual_ns / 8;
	if (ran_ns > RELIEF_MS * 1000000 && plugin->detained > 0)
		plugin->detained--;
	bool ring = !plugin->rung;
	plugin->rung = true;
	return ring;
}

static void *work(void *arg)
{
	struct worker_thread *self = arg;
	struct plugin *plugin = self->plugin;
	struct outfall_context *task;
	(void)pthread_mutex_lock(&plugin->lock);
	while ((task = wait_for_task(self)) != NULL) {
		(void)pthread_mutex_unlock(&plugin->lock);
		uint64_t begun_ns = now_ns();
		atomic_store_explicit(&task->begun_ns, begun_ns, memory_order_relaxed);
		run(task);
		uint64_t ran_ns = now_ns() - begun_ns;
		(void)pthread_mutex_lock(&plugin->lock);
		if (!post_result(self, task, ran_ns))
			continue;
		(void)pthread_mutex_unlock(&plugin->lock);
		doorbell_ring(plugin->bell);
		(void)pthread_mutex_lock(&plugin->lock);
	}
	(void)pthread_mutex_unlock(&plugin->lock);
	return NULL;
}

/* --- handing over -------------------------------------------------------------------------------- */

/* Locked. Threads that will come for what is staged without being woken. */
static unsigned count_helpers(const struct plugin *plugin)
{
	unsigned awake = plugin->base.width - plugin->n_sleepers;
	return awake > plugin->detained ? awake - plugin->detained : 0;
}

/* Locked. */
static unsigned useful_sleepers(const struct plugin *plugin)
{
	unsigned helpers = count_helpers(plugin);
	unsigned useful = plugin->n_staged;
	if (useful > 0 && plugin->usual_ns < SHORT_NS) {
		uint64_t worth = plugin->n_staged * plugin->usual_ns / WORTH_NS + 1;
		useful = worth > helpers ? (unsigned)worth - helpers : 0; /* worth < n_staged */
	}
	return useful < plugin->n_sleepers ? useful : plugin->n_sleepers;
}

/* Locked. Takes them off the sleepers: wake() does the rest when the lock is free, or they would
 * wake up only to wait for it. */
static void choose(struct plugin *plugin, unsigned count, struct list *ret_chosen)
{
	list_init(ret_chosen);
	plugin->n_sleepers -= count;
	while (count-- > 0)
		list_append(ret_chosen, list_take_first(&plugin->sleepers));
}

static void wake(struct list *chosen)
{
	struct list *it;
	while ((it = list_take_first(chosen)) != NULL)
		(void)sem_post(&list_entry(it, struct worker_thread, in_sleepers)->wake);
}

/* Locked. Short jobs that came just now may be the first of more: while each turn brings some, it is
 * cheaper to wake a sleeper for many at once. */
static bool may_wait(struct plugin *plugin, bool more_came)
{
	if (!more_came || plugin->usual_ns >= SHORT_NS || plugin->n_staged >= MANY ||
	    count_helpers(plugin) > 0)
		return false;
	uint64_t at_ns = loop_now_ns(plugin->loop);
	if (!plugin->waiting)
		plugin->waiting_since_ns = at_ns;
	return at_ns - plugin->waiting_since_ns < PATIENCE_NS;
}

static void stage_incoming(struct plugin *plugin)
{
	list_each (it, &plugin->incoming) {
		task_at(it)->state = TASK_STAGED;
		plugin->n_staged++;
	}
	list_splice(&plugin->staged, &plugin->incoming);
}

static void hand_over(void *arg)
{
	struct plugin *plugin = arg;
	bool more_came = !list_empty(&plugin->incoming);
	struct list chosen;
	if (!more_came && !plugin->waiting)
		return;
	(void)pthread_mutex_lock(&plugin->lock);
	stage_incoming(plugin);
	plugin->waiting = may_wait(plugin, more_came);
	choose(plugin, plugin->waiting ? 0 : useful_sleepers(plugin), &chosen);
	bool asleep = plugin->n_sleepers > 0;
	(void)pthread_mutex_unlock(&plugin->lock);
	wake(&chosen);
	if (plugin->waiting)
		loop_turn_again(plugin->loop);
	else if (asleep && !timer_armed(plugin->relief))
		timer_start(plugin->relief, RELIEF_MS);
}

/* Jobs were staged a moment ago and threads slept: if both is still so, the guess was wrong. */
static void relieve(void *arg)
{
	struct plugin *plugin = arg;
	struct list chosen;
	(void)pthread_mutex_lock(&plugin->lock);
	unsigned count = plugin->n_staged;
	if (count > 0)
		plugin->detained = plugin->base.width - plugin->n_sleepers;
	choose(plugin, count < plugin->n_sleepers ? count : plugin->n_sleepers, &chosen);
	(void)pthread_mutex_unlock(&plugin->lock);
	wake(&chosen);
}

static struct outfall_context *take_task(struct plugin *plugin)
{
	struct list *place = list_take_first(&plugin->idle);
	if (place != NULL)
		return task_at(place);
	must(plugin->n_used < plugin->base.depth); /* the core keeps to it */
	struct outfall_context *task = &plugin->tasks[plugin->n_used++];
	task->plugin = plugin;
	list_init(&task->place);
	return task;
}

static void plugin_start(struct executor *executor, struct job *job)
{
	struct plugin *plugin = plugin_of(executor);
	struct outfall_context *task = take_task(plugin);
	task->job = job;
	task->state = TASK_INCOMING;
	task->outcome.reason[0] = '\0';
	atomic_store_explicit(&task->begun_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&task->stop, false, memory_order_relaxed);
	job->executor_ref = task;
	list_append(&plugin->incoming, &task->place);
}

/* --- and back ------------------------------------------------------------------------------------ */

/* The task is idle before the host hears, who may start the next job at once. */
static struct job *release(struct outfall_context *task)
{
	struct job *job = task->job;
	job->begun_ns = atomic_load_explicit(&task->begun_ns, memory_order_relaxed);
	job->executor_ref = NULL;
	task->job = NULL;
	task->state = TASK_IDLE;
	list_prepend(&task->plugin->idle, &task->place); /* the warm one first */
	return job;
}

static void tell(struct outfall_context *task)
{
	struct executor_host *host = task->plugin->base.host;
	struct outcome outcome = task->outcome;
	host->finished(host, release(task), &outcome);
}

static void collect(void *arg)
{
	struct plugin *plugin = arg;
	struct list ended, *place;
	list_init(&ended);
	(void)pthread_mutex_lock(&plugin->lock);
	list_splice(&ended, &plugin->results);
	plugin->rung = false;
	(void)pthread_mutex_unlock(&plugin->lock);
	while ((place = list_take_first(&ended)) != NULL)
		tell(task_at(place));
}

static void plugin_retract(struct executor *executor)
{
	struct plugin *plugin = plugin_of(executor);
	struct executor_host *host = executor->host;
	struct list back;
	list_init(&back);
	(void)pthread_mutex_lock(&plugin->lock);
	list_splice(&back, &plugin->staged);
	plugin->n_staged = 0;
	(void)pthread_mutex_unlock(&plugin->lock);
	list_splice(&back, &plugin->incoming);
	while (!list_empty(&back)) {
		struct outfall_context *last = task_at(back.prev);
		list_remove(&last->place);
		host->retracted(host, release(last));
	}
}

static uint64_t plugin_begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	const struct outfall_context *task = job->executor_ref;
	if (task == NULL)
		return job->begun_ns;
	return atomic_load_explicit(&task->begun_ns, memory_order_relaxed);
}

/* Takes the task off the threads; afterwards it is the loop's, unless it is lost. Its result counts
 * if it is there already. */
static enum task_state take_away(struct plugin *plugin, struct outfall_context *task)
{
	(void)pthread_mutex_lock(&plugin->lock);
	enum task_state was = task->state;
	if (was == TASK_STAGED)
		plugin->n_staged--;
	if (was == TASK_RUNNING)
		task->state = TASK_LOST;
	else
		list_remove(&task->place);
	(void)pthread_mutex_unlock(&plugin->lock);
	return was;
}

static void plugin_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct outfall_context *task = job->executor_ref;
	atomic_store_explicit(&task->stop, true, memory_order_relaxed);
	if (how == STOP_ASK)
		return;
	struct outcome abandoned = {.kind = OUTCOME_ABANDONED, .reason = "its thread did not stop"};
	switch (take_away(plugin_of(executor), task)) {
	case TASK_ENDED:
		tell(task);
		return;
	case TASK_RUNNING:
		job->begun_ns = plugin_begun_ns(executor, job);
		job->executor_ref = NULL;
		job->stuck = true;
		executor->host->finished(executor->host, job, &abandoned);
		return;
	case TASK_INCOMING:
	case TASK_STAGED:
		executor->host->finished(executor->host, release(task), &abandoned);
		return;
	case TASK_IDLE:
	case TASK_LOST:
		must(false); /* neither has a job */
	}
}

static void plugin_drain_notice(struct executor *executor, uint64_t remaining_ms)
{
	uint64_t by_ns = UINT64_MAX;
	if (remaining_ms < UINT64_MAX / 1000000 - now_ns() / 1000000)
		by_ns = now_ns() + remaining_ms * 1000000;
	atomic_store_explicit(&plugin_of(executor)->drain_by_ns, by_ns, memory_order_relaxed);
}

/* --- creating and closing ------------------------------------------------------------------------ */

/* Ends the threads that can end; returns whether all did. One that is still in its handler has lost
 * its task, whether anybody said so or not. */
static bool end_threads(struct plugin *plugin)
{
	bool all = true;
	struct list chosen;
	(void)pthread_mutex_lock(&plugin->lock);
	plugin->closing = true;
	choose(plugin, plugin->n_sleepers, &chosen);
	for (unsigned i = 0; i < plugin->started; i++)
		if (plugin->threads[i].task != NULL)
			plugin->threads[i].task->state = TASK_LOST;
	(void)pthread_mutex_unlock(&plugin->lock);
	wake(&chosen);
	for (unsigned i = 0; i < plugin->started; i++) {
		struct worker_thread *thread = &plugin->threads[i];
		(void)pthread_mutex_lock(&plugin->lock);
		bool lost = thread->task != NULL;
		(void)pthread_mutex_unlock(&plugin->lock);
		if (lost)
			(void)pthread_detach(thread->thread);
		else
			(void)pthread_join(thread->thread, NULL);
		all = all && !lost;
	}
	return all;
}

static void plugin_destroy(struct executor *executor)
{
	struct plugin *plugin = plugin_of(executor);
	bool all_ended = end_threads(plugin);
	if (plugin->hand_over.run != NULL)
		loop_remove_hook(&plugin->hand_over);
	timer_destroy(plugin->relief);
	doorbell_destroy(plugin->bell);
	if (!all_ended)
		return; /* their stack holds our addresses: left to the exit */
	for (unsigned i = 0; plugin->threads != NULL && i < plugin->base.width; i++)
		(void)sem_destroy(&plugin->threads[i].wake);
	(void)pthread_mutex_destroy(&plugin->lock);
	if (plugin->library != NULL)
		(void)dlclose(plugin->library);
	memory_free(plugin->threads);
	memory_free(plugin->tasks);
	memory_free(plugin);
}

static const struct executor_ops plugin_ops = {
    .kind = "plugin",
    .start = plugin_start,
    .retract = plugin_retract,
    .begun_ns = plugin_begun_ns,
    .stop = plugin_stop,
    .drain_notice = plugin_drain_notice,
    .destroy = plugin_destroy,
};

static enum status load(struct plugin *plugin, const char *path, struct error *why)
{
	plugin->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (plugin->library == NULL)
		return error_set(why, ST_INVALID, "%s", dlerror()); /* names the path itself */
	plugin->code = dlsym(plugin->library, "outfall_plugin");
	if (plugin->code == NULL)
		return error_set(why, ST_INVALID,
				 "%s: does not export outfall_plugin (see outfall/outfall.h)",
				 path);
	if (plugin->code->abi != OUTFALL_ABI)
		return error_set(why, ST_INVALID, "%s: built for plugin ABI %u, this worker has %u",
				 path, (unsigned)plugin->code->abi, OUTFALL_ABI);
	if (plugin->code->run == NULL)
		return error_set(why, ST_INVALID, "%s: outfall_plugin.run is not set", path);
	return ST_OK;
}

static enum status acquire(struct plugin *plugin, struct error *why)
{
	plugin->tasks = memory_clear(plugin->base.depth, sizeof *plugin->tasks);
	plugin->threads = memory_clear(plugin->base.width, sizeof *plugin->threads);
	plugin->bell = doorbell_create(plugin->loop, collect, plugin);
	plugin->relief = timer_create_on(plugin->loop, relieve, plugin);
	if (plugin->tasks == NULL || plugin->threads == NULL || plugin->bell == NULL ||
	    plugin->relief == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	return ST_OK;
}

/* Signals are the loop's: threads are born with all of them blocked. Their stacks have the usual
 * size, because plugins are written for it and what is not touched costs no memory. */
static enum status start_threads(struct plugin *plugin, struct error *why)
{
	sigset_t all, before;
	int err = 0;
	(void)sigfillset(&all);
	for (unsigned i = 0; i < plugin->base.width; i++) {
		struct worker_thread *thread = &plugin->threads[i];
		thread->plugin = plugin;
		list_init(&thread->in_sleepers);
		(void)sem_init(&thread->wake, 0, 0);
	}
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	while (plugin->started < plugin->base.width && err == 0) {
		struct worker_thread *thread = &plugin->threads[plugin->started];
		err = pthread_create(&thread->thread, NULL, work, thread);
		if (err == 0)
			plugin->started++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err == 0 ? ST_OK : error_system(why, err, "thread %u", plugin->started + 1);
}

static void init(struct plugin *plugin)
{
	pthread_mutexattr_t spins;
	(void)pthread_mutexattr_init(&spins);
	(void)pthread_mutexattr_settype(&spins, PTHREAD_MUTEX_ADAPTIVE_NP); /* held so briefly */
	(void)pthread_mutex_init(&plugin->lock, &spins);
	(void)pthread_mutexattr_destroy(&spins);
	list_init(&plugin->idle);
	list_init(&plugin->incoming);
	list_init(&plugin->staged);
	list_init(&plugin->results);
	list_init(&plugin->sleepers);
	atomic_store(&plugin->drain_by_ns, UINT64_MAX);
}

enum status plugin_executor_create(struct loop *loop, struct log *log,
				   const struct handler_settings *settings,
				   struct executor_host *host, struct executor **ret_executor,
				   struct error *why)
{
	struct plugin *plugin = memory_clear(1, sizeof *plugin);
	if (plugin == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	unsigned width = settings->threads;
	plugin->base = (struct executor){
	    .ops = &plugin_ops,
	    .host = host,
	    .name = settings->name,
	    .width = width,
	    .widest = width,
	    .depth = width > LEAST_DEPTH / 4 ? width * 4 : LEAST_DEPTH,
	    .can_kill = false,
	};
	plugin->loop = loop;
	plugin->log = log;
	plugin->timeout_ns = settings->timeout_ms * UINT64_C(1000000);
	init(plugin);
	enum status st = load(plugin, settings->path, why);
	if (st == ST_OK)
		st = acquire(plugin, why);
	if (st == ST_OK)
		st = start_threads(plugin, why);
	if (st != ST_OK) {
		plugin_destroy(&plugin->base);
		return st;
	}
	plugin->hand_over.run = hand_over;
	plugin->hand_over.arg = plugin;
	loop_add_hook(loop, TURN_HAND_OVER, &plugin->hand_over);
	*ret_executor = &plugin->base;
	return ST_OK;
}
