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
 * Asynchronous plugins. run() may return OUTFALL_PENDING, if the plugin has set .concurrency: that is
 * the executor's width then, and no longer the number of threads. The job keeps its place (n_running)
 * until somebody calls outfall_complete(); its thread is free at once, and takes the next staged
 * job only if there is a place for it. There is no second entry point for such jobs, because a
 * plugin often knows only half-way that it has to wait. outfall_complete() may overtake run()'s
 * return; the result is then posted by the thread that comes out of run(), since the job is read
 * there up to that moment. plugin_calls.c tells how a call that comes too late is recognised.
 *
 * Killing. There is no way to end a thread, nor to make a plugin forget a pending job. STOP_KILL marks
 * the task as lost, tells the core that the job is abandoned and its memory must stay (job->stuck),
 * and whoever should come back with a result finds the mark and drops it. This happens at the end of
 * a drain only, so what is leaked is leaked to the exit. */
#include "executors/plugin/plugin.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/plugin/plugin_inside.h"
#include "job/job.h"
#include "settings/settings.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

enum {
	LEAST_DEPTH = 1024,
	SHORT_NS = 20 * 1000, /* jobs below are worked off in series */
	WORTH_NS = 50 * 1000, /* work that pays for waking a thread */
	MANY = 32,            /* jobs that are worth waking a thread for, however short */
	PATIENCE_NS = 100000, /* longest wait for that many */
	RELIEF_MS = 1,        /* longest wait behind a job that was thought short */
};

static struct plugin *plugin_of(struct executor *executor)
{
	return (struct plugin *)executor; /* its first member */
}

static struct outfall_context *task_at(struct list *place)
{
	return list_entry(place, struct outfall_context, place);
}

/* --- hooks --------------------------------------------------------------------------------------- */

static struct outfall_context hook_context(struct plugin *plugin)
{
	return (struct outfall_context){.plugin = plugin};
}

/* Returns whether it went well; `hook_why` has what it said if not. NULL is no hook, and fine. */
static bool call_hook(struct plugin *plugin, int (*hook)(struct outfall_context *ctx))
{
	struct outfall_context ctx = hook_context(plugin);
	if (hook == NULL || hook(&ctx) == 0)
		return true;
	(void)pthread_mutex_lock(&plugin->lock);
	(void)snprintf(plugin->hook_why, sizeof plugin->hook_why, "%s", ctx.outcome.reason);
	(void)pthread_mutex_unlock(&plugin->lock);
	return false;
}

static void call_exit_hook(struct plugin *plugin, void (*hook)(struct outfall_context *ctx))
{
	struct outfall_context ctx = hook_context(plugin);
	if (hook != NULL)
		hook(&ctx);
}

static enum status hook_failed(struct plugin *plugin, const char *name, struct error *why)
{
	return error_set(why, ST_INVALID, "the plugin's %s failed%s%s", name,
			 plugin->hook_why[0] != '\0' ? ": " : "", plugin->hook_why);
}

static bool enter_thread(struct plugin *plugin)
{
	int (*hook)(struct outfall_context *) = plugin->library.code.thread_init;
	if (hook == NULL)
		return true;
	bool entered = call_hook(plugin, hook);
	if (!entered)
		atomic_store(&plugin->thread_failed, true);
	(void)sem_post(&plugin->thread_ready);
	return entered;
}

static void leave_thread(struct plugin *plugin)
{
	call_exit_hook(plugin, plugin->library.code.thread_exit);
}

/* --- the threads --------------------------------------------------------------------------------- */

void plugin_take_word(struct outfall_context *task, enum outfall_outcome word)
{
	static const enum outcome_kind kinds[] = {
	    [OUTFALL_DONE] = OUTCOME_DONE,
	    [OUTFALL_RETRY] = OUTCOME_RETRY,
	    [OUTFALL_REJECT] = OUTCOME_REJECT,
	    [OUTFALL_RETURN] = OUTCOME_RETURN,
	};
	struct outcome *outcome = &task->outcome;
	if ((unsigned)word < sizeof kinds / sizeof kinds[0]) {
		outcome->kind = kinds[word];
		return;
	}
	outcome->kind = OUTCOME_RETRY;
	failure_destroy(task->failure); /* it told of something else */
	task->failure = NULL;
	(void)snprintf(outcome->reason, sizeof outcome->reason, "the plugin returned %d%s",
		       (int)word,
		       word == OUTFALL_PENDING && !task->plugin->asynchronous
			   ? ", pending, but does not set .concurrency"
			   : "");
}

static void show(struct outfall_job *seen, const struct outfall_context *task)
{
	const struct job *job = task->job;
	*seen = (struct outfall_job){
	    .size = sizeof *seen,
	    .id = job->id,
	    .source = job->route->source_name,
	    .queue = job->route->name,
	    .content_type = job->content_type,
	    .traceparent = job->traceparent,
	    .body = job->body.ptr,
	    .body_bytes = job->body.len,
	    .attempt = job->attempt,
	    .interruptions = job->interruptions,
	    .redelivered = job_may_have_run(job),
	    .crashes = job->crashes,
	    .checkpoint = job->checkpoint.ptr,
	    .checkpoint_bytes = job->checkpoint.len,
	    .timeout_ms = task->plugin->timeout_ms,
	};
}

/* What a synchronous job sees may lie on the stack, where it is warm. */
static enum outfall_outcome run(struct outfall_context *task)
{
	const struct plugin *plugin = task->plugin;
	struct outfall_job on_stack;
	struct outfall_job *seen = plugin->asynchronous ? &task->seen : &on_stack;
	show(seen, task);
	return plugin->library.code.run(seen, plugin->asynchronous ? plugin_handle_of(task) : task);
}

/* Locked. Staged jobs for which there is a place. Where each keeps its thread, a thread that comes
 * for them brings it. */
static unsigned count_beginnable(const struct plugin *plugin)
{
	unsigned places = plugin->base.width - plugin->n_running;
	return !plugin->asynchronous || plugin->n_staged < places ? plugin->n_staged : places;
}

/* Locked, but not while it sleeps. */
static void sleep_until_woken(struct worker_thread *self)
{
	struct plugin *plugin = self->plugin;
	list_prepend(&plugin->sleepers, &self->in_sleepers);
	plugin->n_sleepers++;
	if (plugin->n_sleepers + plugin->detained > plugin->n_threads)
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
	while (!plugin->closing && count_beginnable(plugin) == 0)
		sleep_until_woken(self);
	if (plugin->closing)
		return NULL;
	struct outfall_context *task = task_at(list_take_first(&plugin->staged));
	plugin->n_staged--;
	plugin->n_running++;
	task->state = TASK_RUNNING;
	task->in_run = true;
	self->task = task;
	return task;
}

/* Locked. */
static void note_duration(struct plugin *plugin, uint64_t ran_ns)
{
	plugin->usual_ns += ran_ns / 8 - plugin->usual_ns / 8;
	if (ran_ns > RELIEF_MS * 1000000 && plugin->detained > 0)
		plugin->detained--;
}

/* Locked. run() has returned this. Returns whether the loop has something to collect. */
static bool leave_run(struct worker_thread *self, struct outfall_context *task,
		      enum outfall_outcome word, uint64_t ran_ns)
{
	struct plugin *plugin = self->plugin;
	self->task = NULL;
	task->in_run = false;
	if (task->state == TASK_RUNNING)
		note_duration(plugin, ran_ns);
	if (!task->completed && word == OUTFALL_PENDING && plugin->asynchronous)
		return false;
	if (!task->completed)
		plugin_take_word(task, word);
	else if (word != OUTFALL_PENDING)
		log_say(plugin->log, LOG_ERROR,
			"plugin is wrong, it completed a job and did not return OUTFALL_PENDING",
			kv_text("handler", plugin->base.name), kv_int("returned", word));
	return plugin_post(task);
}

static void *work(void *arg)
{
	struct worker_thread *self = arg;
	struct plugin *plugin = self->plugin;
	struct outfall_context *task;
	if (!enter_thread(plugin))
		return NULL;
	(void)pthread_mutex_lock(&plugin->lock);
	while ((task = wait_for_task(self)) != NULL) {
		(void)pthread_mutex_unlock(&plugin->lock);
		uint64_t begun_ns = plugin_now_ns();
		atomic_store_explicit(&task->begun_ns, begun_ns, memory_order_relaxed);
		enum outfall_outcome word = run(task);
		uint64_t ran_ns = plugin_now_ns() - begun_ns;
		(void)pthread_mutex_lock(&plugin->lock);
		if (!leave_run(self, task, word, ran_ns) || plugin->rung)
			continue;
		plugin->rung = true;
		(void)pthread_mutex_unlock(&plugin->lock);
		doorbell_ring(plugin->bell);
		(void)pthread_mutex_lock(&plugin->lock);
	}
	(void)pthread_mutex_unlock(&plugin->lock);
	leave_thread(plugin);
	return NULL;
}

/* --- handing over -------------------------------------------------------------------------------- */

/* Locked. Threads that will come for what is staged without being woken. */
static unsigned count_helpers(const struct plugin *plugin)
{
	unsigned awake = plugin->n_threads - plugin->n_sleepers;
	return awake > plugin->detained ? awake - plugin->detained : 0;
}

/* Locked. */
static unsigned useful_sleepers(const struct plugin *plugin)
{
	unsigned helpers = count_helpers(plugin);
	unsigned useful = count_beginnable(plugin);
	if (useful > 0 && plugin->usual_ns < SHORT_NS) {
		uint64_t worth = useful * plugin->usual_ns / WORTH_NS + 1;
		useful = worth > helpers ? (unsigned)worth - helpers : 0; /* worth <= useful */
	}
	return useful < plugin->n_sleepers ? useful : plugin->n_sleepers;
}

/* Locked. Takes so many off the sleepers, for plugin_wake(). */
static void choose(struct plugin *plugin, unsigned count, struct list *ret_chosen)
{
	list_init(ret_chosen);
	plugin->n_sleepers -= count;
	while (count-- > 0)
		list_append(ret_chosen, list_take_first(&plugin->sleepers));
}

void plugin_choose(struct plugin *plugin, struct list *ret_chosen)
{
	choose(plugin, useful_sleepers(plugin), ret_chosen);
}

void plugin_wake(struct list *chosen)
{
	struct list *it;
	while ((it = list_take_first(chosen)) != NULL)
		(void)sem_post(&list_entry(it, struct worker_thread, in_sleepers)->wake);
}

/* Locked. Short jobs that came just now may be the first of more: while each turn brings some, it is
 * cheaper to wake a sleeper for many at once. */
static bool may_wait(struct plugin *plugin, bool more_came)
{
	unsigned beginnable = count_beginnable(plugin);
	if (!more_came || plugin->usual_ns >= SHORT_NS || beginnable >= MANY || beginnable == 0 ||
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
	bool asleep = plugin->n_sleepers > 0 && plugin->n_staged > 0;
	(void)pthread_mutex_unlock(&plugin->lock);
	plugin_wake(&chosen);
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
	unsigned count = count_beginnable(plugin);
	if (count > 0)
		plugin->detained = plugin->n_threads - plugin->n_sleepers;
	choose(plugin, count < plugin->n_sleepers ? count : plugin->n_sleepers, &chosen);
	(void)pthread_mutex_unlock(&plugin->lock);
	plugin_wake(&chosen);
}

/* The warm one first; but an asynchronous plugin's tasks are used in turn (see plugin_calls.c). */
static struct outfall_context *take_task(struct plugin *plugin)
{
	bool in_turn = plugin->asynchronous && plugin->n_used < LEAST_DEPTH;
	struct list *place = in_turn ? NULL : list_take_first(&plugin->idle);
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
	task->completed = false;
	task->outcome.reason[0] = '\0';
	task->outcome.after_ms = 0;
	atomic_store_explicit(&task->begun_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&task->extended_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&task->stop, false, memory_order_relaxed);
	job->executor_ref = task;
	list_append(&plugin->incoming, &task->place);
}

/* --- and back ------------------------------------------------------------------------------------ */

/* The task is idle before the host hears, who may start the next job at once. */
static struct job *release(struct outfall_context *task)
{
	struct job *job = task->job;
	struct plugin *plugin = task->plugin;
	must(task->words == NULL && task->failure == NULL);
	job->begun_ns = atomic_load_explicit(&task->begun_ns, memory_order_relaxed);
	job->executor_ref = NULL;
	task->job = NULL;
	task->state = TASK_IDLE;
	if (plugin->asynchronous)
		list_append(&plugin->idle, &task->place);
	else
		list_prepend(&plugin->idle, &task->place);
	return job;
}

static void tell_failure(struct executor_host *host, struct job *job, struct failure *failure)
{
	if (failure == NULL)
		return;
	host->explain(host, job, failure);
	failure_destroy(failure);
}

static void tell(struct outfall_context *task)
{
	struct executor_host *host = task->plugin->base.host;
	struct outcome outcome = task->outcome;
	tell_failure(host, task->job, task->failure);
	task->failure = NULL;
	host->finished(host, release(task), &outcome);
}

/* Locked. Takes the words off the task: what is said from here on are others. */
static void take_words(struct plugin_words *words, struct list *to)
{
	words->speaker->words = NULL;
	list_remove(&words->place);
	list_append(to, &words->place);
}

static void tell_words(struct plugin *plugin, struct list *spoken)
{
	struct list *place;
	while ((place = list_take_first(spoken)) != NULL) {
		struct plugin_words *words = list_entry(place, struct plugin_words, place);
		plugin_words_tell(words, plugin->base.host, plugin->log);
		plugin_words_destroy(words);
	}
}

/* What a job said goes before its end. */
static void collect(void *arg)
{
	struct plugin *plugin = arg;
	struct list ended, spoken, *place;
	list_init(&ended);
	list_init(&spoken);
	(void)pthread_mutex_lock(&plugin->lock);
	list_splice(&ended, &plugin->results);
	list_each_safe (it, &plugin->speaking) {
		take_words(list_entry(it, struct plugin_words, place), &spoken);
	}
	plugin->rung = false;
	/* Jobs that were completed made room, and the threads thought to come for it may not. */
	bool late = plugin->asynchronous && plugin->n_sleepers > 0 && plugin->n_staged > 0;
	(void)pthread_mutex_unlock(&plugin->lock);
	if (late && !timer_armed(plugin->relief))
		timer_start(plugin->relief, RELIEF_MS);
	tell_words(plugin, &spoken);
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
 * if it is there already, and so does what it said. */
static enum task_state take_away(struct plugin *plugin, struct outfall_context *task)
{
	struct list spoken;
	list_init(&spoken);
	(void)pthread_mutex_lock(&plugin->lock);
	enum task_state was = task->state;
	if (task->words != NULL)
		take_words(task->words, &spoken);
	if (was == TASK_STAGED)
		plugin->n_staged--;
	struct failure *failure = was == TASK_RUNNING ? task->failure : NULL;
	if (was == TASK_RUNNING) {
		task->state = TASK_LOST;
		task->failure = NULL;
	} else {
		list_remove(&task->place);
	}
	(void)pthread_mutex_unlock(&plugin->lock);
	tell_words(plugin, &spoken);
	tell_failure(plugin->base.host, task->job, failure);
	return was;
}

/* Asking is all that can be done to a job whose time is up: whoever wonders where its place has gone
 * must be told now. A drain asks it once more, and tells of its jobs itself. */
static void tell_it_goes_on(struct plugin *plugin, struct outfall_context *task)
{
	static const char in_thread[] =
	    "a thread cannot be killed; with isolate = true it is a process, which can";
	static const char pending[] = "what a plugin has pending cannot be taken from it; with "
				      "isolate = true its process can be killed";
	const struct job *job = task->job;
	uint64_t begun_ns = atomic_load_explicit(&task->begun_ns, memory_order_relaxed);
	(void)pthread_mutex_lock(&plugin->lock);
	bool goes_on = task->state == TASK_RUNNING;
	bool in_run = task->in_run;
	(void)pthread_mutex_unlock(&plugin->lock);
	if (!goes_on)
		return;
	log_say(plugin->log, LOG_WARN,
		"job past its timeout goes on until it asks outfall_should_stop()", KV_JOB(job),
		kv_text("queue", job->route->name), kv_text("handler", plugin->base.name),
		kv_ns("ran_ms", plugin_now_ns() - begun_ns),
		kv_int("timeout_ms", (int64_t)plugin->timeout_ms),
		kv_text("why", in_run ? in_thread : pending));
}

static void ask_to_stop(struct plugin *plugin, struct outfall_context *task)
{
	bool asked = atomic_exchange_explicit(&task->stop, true, memory_order_relaxed);
	if (!asked && task->job->stop == JOB_STOPPED_BY_TIMEOUT)
		tell_it_goes_on(plugin, task);
}

static void plugin_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct outfall_context *task = job->executor_ref;
	ask_to_stop(plugin_of(executor), task);
	if (how == STOP_ASK)
		return;
	struct outcome abandoned = {.kind = OUTCOME_ABANDONED, .reason = "it did not stop"};
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
	if (remaining_ms < UINT64_MAX / 1000000 - plugin_now_ns() / 1000000)
		by_ns = plugin_now_ns() + remaining_ms * 1000000;
	atomic_store_explicit(&plugin_of(executor)->drain_by_ns, by_ns, memory_order_relaxed);
}

/* --- creating and closing ------------------------------------------------------------------------ */

/* Locked. Whoever still works on one of them has lost it, whether anybody said so or not. */
static void lose_tasks(struct plugin *plugin)
{
	for (unsigned i = 0; i < plugin->n_used; i++)
		if (plugin->tasks[i].state == TASK_RUNNING)
			plugin->tasks[i].state = TASK_LOST;
}

/* Ends the threads that can end; returns whether all did, and no job is pending. */
static bool end_threads(struct plugin *plugin)
{
	bool all = true;
	struct list chosen;
	(void)pthread_mutex_lock(&plugin->lock);
	plugin->closing = true;
	choose(plugin, plugin->n_sleepers, &chosen);
	lose_tasks(plugin);
	(void)pthread_mutex_unlock(&plugin->lock);
	plugin_wake(&chosen);
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
	(void)pthread_mutex_lock(&plugin->lock);
	all = all && plugin->n_running == 0;
	(void)pthread_mutex_unlock(&plugin->lock);
	return all;
}

/* Threads that an asynchronous plugin has started are in its code until its exit() has ended them; if
 * it has none, the code stays. */
static void close_library(struct plugin *plugin)
{
	const struct outfall_plugin *code = &plugin->library.code;
	if (plugin->initialized)
		call_exit_hook(plugin, code->exit);
	if (!plugin->asynchronous || code->exit != NULL)
		plugin_library_close(&plugin->library);
}

static void destroy_failures(struct plugin *plugin)
{
	for (unsigned i = 0; i < plugin->n_used; i++)
		failure_destroy(plugin->tasks[i].failure);
}

static void destroy_words(struct plugin *plugin)
{
	struct list *place;
	while ((place = list_take_first(&plugin->speaking)) != NULL)
		plugin_words_destroy(list_entry(place, struct plugin_words, place));
}

static void leave_to_the_exit(struct plugin *plugin)
{
	if (plugin->library.code.exit != NULL)
		log_say(plugin->log, LOG_WARN, "exit hook left out, a job is still at work",
			kv_text("handler", plugin->base.name));
}

static void plugin_destroy(struct executor *executor)
{
	struct plugin *plugin = plugin_of(executor);
	bool all_ended = end_threads(plugin);
	if (plugin->hand_over.run != NULL)
		loop_remove_hook(&plugin->hand_over);
	timer_destroy(plugin->relief);
	doorbell_destroy(plugin->bell);
	if (!all_ended) { /* their stack holds our addresses */
		leave_to_the_exit(plugin);
		return;
	}
	close_library(plugin);
	destroy_words(plugin);
	destroy_failures(plugin);
	for (unsigned i = 0; plugin->threads != NULL && i < plugin->n_threads; i++)
		(void)sem_destroy(&plugin->threads[i].wake);
	(void)sem_destroy(&plugin->thread_ready);
	(void)pthread_mutex_destroy(&plugin->lock);
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

static enum status initialize(struct plugin *plugin, struct error *why)
{
	if (!call_hook(plugin, plugin->library.code.init))
		return hook_failed(plugin, "init()", why);
	plugin->initialized = true;
	return ST_OK;
}

static enum status acquire(struct plugin *plugin, struct error *why)
{
	plugin->tasks = memory_clear(plugin->base.depth, sizeof *plugin->tasks);
	plugin->threads = memory_clear(plugin->n_threads, sizeof *plugin->threads);
	plugin->bell = doorbell_create(plugin->loop, collect, plugin);
	plugin->relief = timer_create_on(plugin->loop, relieve, plugin);
	if (plugin->tasks == NULL || plugin->threads == NULL || plugin->bell == NULL ||
	    plugin->relief == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	return ST_OK;
}

/* What a thread brings on itself stays with it: a runtime or a sanitizer inside the plugin may live by
 * these, and a crash must be one at once. */
static void spare_faults(sigset_t *blocked)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		(void)sigdelset(blocked, faults[i]);
}

/* All other signals are the loop's: threads are born with them blocked. Their stacks have the usual
 * size, because plugins are written for it and what is not touched costs no memory. */
static enum status start_threads(struct plugin *plugin, struct error *why)
{
	sigset_t blocked, before;
	int err = 0;
	(void)sigfillset(&blocked);
	spare_faults(&blocked);
	for (unsigned i = 0; i < plugin->n_threads; i++) {
		struct worker_thread *thread = &plugin->threads[i];
		thread->plugin = plugin;
		list_init(&thread->in_sleepers);
		(void)sem_init(&thread->wake, 0, 0);
	}
	(void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
	while (plugin->started < plugin->n_threads && err == 0) {
		struct worker_thread *thread = &plugin->threads[plugin->started];
		err = pthread_create(&thread->thread, NULL, work, thread);
		if (err == 0)
			plugin->started++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err == 0 ? ST_OK : error_system(why, err, "thread %u", plugin->started + 1);
}

/* A thread_init() that fails is found before the first job, not by it. */
static enum status await_threads(struct plugin *plugin, struct error *why)
{
	if (plugin->library.code.thread_init == NULL)
		return ST_OK;
	for (unsigned i = 0; i < plugin->started; i++)
		while (sem_wait(&plugin->thread_ready) != 0)
			; /* EINTR only */
	if (!atomic_load(&plugin->thread_failed))
		return ST_OK;
	return hook_failed(plugin, "thread_init()", why);
}

static void init(struct plugin *plugin)
{
	pthread_mutexattr_t spins;
	(void)pthread_mutexattr_init(&spins);
	(void)pthread_mutexattr_settype(&spins, PTHREAD_MUTEX_ADAPTIVE_NP); /* held so briefly */
	(void)pthread_mutex_init(&plugin->lock, &spins);
	(void)pthread_mutexattr_destroy(&spins);
	(void)sem_init(&plugin->thread_ready, 0, 0);
	list_init(&plugin->idle);
	list_init(&plugin->incoming);
	list_init(&plugin->staged);
	list_init(&plugin->results);
	list_init(&plugin->speaking);
	list_init(&plugin->sleepers);
	atomic_store(&plugin->drain_by_ns, UINT64_MAX);
}

/* A synchronous plugin runs as many jobs as it has threads, an asynchronous one as many as it says. */
static void set_width(struct plugin *plugin)
{
	uint32_t concurrency = plugin->library.code.concurrency;
	unsigned width = concurrency != 0 ? concurrency : plugin->n_threads;
	plugin->asynchronous = concurrency != 0;
	plugin->base.width = width;
	plugin->base.widest = width;
	plugin->base.depth = width > LEAST_DEPTH / 4 ? width * 4 : LEAST_DEPTH;
}

enum status plugin_executor_create(struct loop *loop, struct log *log,
				   const struct handler_settings *settings,
				   const struct worker_settings *worker, struct executor_host *host,
				   struct executor **ret_executor, struct error *why)
{
	struct plugin *plugin = memory_clear(1, sizeof *plugin);
	if (plugin == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	plugin->base = (struct executor){
	    .ops = &plugin_ops,
	    .host = host,
	    .name = settings->name,
	    .can_kill = false,
	};
	plugin->loop = loop;
	plugin->log = log;
	plugin->n_threads = settings->threads;
	plugin->timeout_ms = settings->timeout_ms;
	plugin->max_checkpoint_bytes = worker->max_checkpoint_bytes;
	init(plugin);
	enum status st = plugin_library_open(&plugin->library, settings->path, why);
	if (st == ST_OK) {
		set_width(plugin);
		st = acquire(plugin, why);
	}
	if (st == ST_OK)
		st = initialize(plugin, why);
	if (st == ST_OK)
		st = start_threads(plugin, why);
	if (st == ST_OK)
		st = await_threads(plugin, why);
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
