/* What a plugin's jobs and hooks may call: the functions of plugin/outfall.h. They run on threads
 * that are not ours to trust: the handler's own, or one that a pending job has wandered to.
 *
 * What a job says (progress, checkpoint, extension) waits in its task's words, under the lock, until
 * the loop comes for it; the bell is rung at once, so that an extension is heard before the timeout
 * that it puts off.
 *
 * Handles. A job of an asynchronous plugin ends when somebody says outfall_complete(), and nothing
 * keeps a plugin from saying it twice. By then its task may serve another job, which must not be
 * acknowledged for that. So the context that a job gets is no plain address: its highest bits, which
 * no address in user space has, are the low bits of the task's generation, and a handle of an older
 * generation is recognised under the lock. A generation ends with the job, under the lock as well. Tasks are used in turn, so the 16 bits come round after
 * 65,536 generations of at least a thousand tasks. The alternative, a ticket that the plugin passes
 * beside the context, would be the same bits in a place where they can be mixed up.
 *
 * Ringing is done under the lock here, and only here: a thread of the plugin's own is not joined
 * before the bell is taken down, so whoever holds the lock must find it hanging. A call for a job
 * that was given up in the meantime finds its task lost, and touches nothing else. */
#include "executors/plugin/plugin_inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "dispatch/routes.h"
#include "job/job.h"

#include <stdio.h>
#include <string.h>

#if UINTPTR_MAX > UINT32_MAX
enum { TAG_SHIFT = 48 };
#define TAG_BITS ((uintptr_t)0xffff)
#else /* no bits to spare: a late second call goes unnoticed if its task has a new job */
enum { TAG_SHIFT = 0 };
#define TAG_BITS ((uintptr_t)0)
#endif

/* --- handles ------------------------------------------------------------------------------------- */

static uintptr_t tag_of(const struct outfall_context *task)
{
	return atomic_load_explicit(&task->generation, memory_order_relaxed) & TAG_BITS;
}

struct outfall_context *plugin_handle_of(struct outfall_context *task)
{
	return (struct outfall_context *)((uintptr_t)task | tag_of(task) << TAG_SHIFT);
}

static struct outfall_context *task_of(const struct outfall_context *handle)
{
	return (struct outfall_context *)((uintptr_t)handle & ~(TAG_BITS << TAG_SHIFT));
}

static bool is_current(const struct outfall_context *handle)
{
	return plugin_handle_of(task_of(handle)) == handle;
}

static bool is_hook(const struct outfall_context *task)
{
	return task->job == NULL;
}

/* Locked. The job has not ended, and nobody has given it up. */
static bool is_at_work(const struct outfall_context *handle)
{
	const struct outfall_context *task = task_of(handle);
	return is_current(handle) && task->state == TASK_RUNNING && !task->completed;
}

/* --- asking -------------------------------------------------------------------------------------- */

int outfall_should_stop(const struct outfall_context *ctx)
{
	return atomic_load_explicit(&task_of(ctx)->stop, memory_order_relaxed) || !is_current(ctx);
}

static uint64_t timeout_at_ns(const struct outfall_context *task)
{
	if (task->plugin->timeout_ms == 0)
		return UINT64_MAX;
	uint64_t begun_ns = atomic_load_explicit(&task->begun_ns, memory_order_relaxed);
	uint64_t extended_ns = atomic_load_explicit(&task->extended_ns, memory_order_relaxed);
	uint64_t at_ns = begun_ns + task->plugin->timeout_ms * UINT64_C(1000000);
	return extended_ns > at_ns ? extended_ns : at_ns;
}

int64_t outfall_time_left_ms(const struct outfall_context *ctx)
{
	const struct outfall_context *task = task_of(ctx);
	if (!is_current(ctx))
		return 0;
	if (is_hook(task))
		return -1;
	uint64_t by_ns = atomic_load_explicit(&task->plugin->drain_by_ns, memory_order_relaxed);
	uint64_t timeout_ns = timeout_at_ns(task);
	if (timeout_ns < by_ns)
		by_ns = timeout_ns;
	if (by_ns == UINT64_MAX)
		return -1;
	uint64_t at_ns = plugin_now_ns();
	return at_ns < by_ns ? (int64_t)((by_ns - at_ns) / 1000000) : 0;
}

void outfall_set_state(struct outfall_context *ctx, void *state)
{
	task_of(ctx)->plugin->state = state;
}

void *outfall_state(const struct outfall_context *ctx)
{
	return task_of(ctx)->plugin->state;
}

/* --- saying -------------------------------------------------------------------------------------- */

static enum log_level level_of(enum outfall_log_level level)
{
	static const enum log_level levels[] = {
	    [OUTFALL_LOG_ERROR] = LOG_ERROR,
	    [OUTFALL_LOG_WARN] = LOG_WARN,
	    [OUTFALL_LOG_INFO] = LOG_INFO,
	    [OUTFALL_LOG_DEBUG] = LOG_DEBUG,
	};
	return (unsigned)level <= OUTFALL_LOG_DEBUG ? levels[level] : LOG_INFO;
}

static void write_to_log(struct plugin *plugin, const struct job *job, enum log_level level,
			 const char *text)
{
	if (job == NULL)
		log_say(plugin->log, level, "plugin wrote", kv_text("handler", plugin->base.name),
			kv_text("line", text));
	else
		log_say(plugin->log, level, "job wrote", KV_RUN(job, plugin->base.name),
			kv_text("line", text));
}

void outfall_log(struct outfall_context *ctx, enum outfall_log_level level, const char *text)
{
	const struct outfall_context *task = task_of(ctx);
	struct plugin *plugin = task->plugin;
	struct executor_host *host = plugin->base.host;
	const struct job *job = is_current(ctx) ? task->job : NULL;
	if (host->wrote != NULL)
		host->wrote(host, job, level_of(level), text);
	else
		write_to_log(plugin, job, level_of(level), text);
}

/* Locked. Without memory what was said before stands, and the reason has to do. */
static void keep_failure(struct outfall_context *task, const struct failure *said)
{
	struct failure *failure = failure_create(said);
	if (failure == NULL)
		return;
	failure_destroy(task->failure);
	task->failure = failure;
}

/* Locked. A hook has nothing but its reason. */
static void set_reason(struct outfall_context *task, const char *text)
{
	(void)snprintf(task->outcome.reason, sizeof task->outcome.reason, "%s", text);
	if (!is_hook(task) && task->failure == NULL && strlen(text) >= sizeof task->outcome.reason)
		keep_failure(task, &(struct failure){.message = span_text(text)});
}

void outfall_set_reason(struct outfall_context *ctx, const char *text)
{
	struct outfall_context *task = task_of(ctx);
	struct plugin *plugin = task->plugin;
	(void)pthread_mutex_lock(&plugin->lock);
	if (is_at_work(ctx) || (is_current(ctx) && is_hook(task)))
		set_reason(task, text);
	(void)pthread_mutex_unlock(&plugin->lock);
}

static void put_lines(struct text *text, const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n && text->len < FAILURE_BACKTRACE_BYTES; i++) {
		if (text->len > 0)
			text_put_literal(text, "\n");
		if (lines[i] != NULL)
			text_put(text, span_text(lines[i]));
	}
}

void outfall_set_error(struct outfall_context *ctx, const char *class_name, const char *message,
		       const char *const *backtrace, size_t lines)
{
	struct outfall_context *task = task_of(ctx);
	struct plugin *plugin = task->plugin;
	struct text text = {0};
	put_lines(&text, backtrace, lines);
	struct failure said = {
	    .class = span_text(class_name != NULL ? class_name : ""),
	    .message = span_text(message != NULL ? message : ""),
	    .backtrace = text_span(&text),
	};
	(void)pthread_mutex_lock(&plugin->lock);
	if (is_at_work(ctx))
		keep_failure(task, &said);
	if (message != NULL && (is_at_work(ctx) || (is_current(ctx) && is_hook(task))))
		set_reason(task, message);
	(void)pthread_mutex_unlock(&plugin->lock);
	text_fini(&text);
}

void outfall_set_retry_after_ms(struct outfall_context *ctx, uint64_t after_ms)
{
	struct outfall_context *task = task_of(ctx);
	struct plugin *plugin = task->plugin;
	(void)pthread_mutex_lock(&plugin->lock);
	if (is_at_work(ctx))
		task->outcome.after_ms = after_ms;
	(void)pthread_mutex_unlock(&plugin->lock);
}

/* Locked. */
static void ring(struct plugin *plugin)
{
	if (!plugin->rung && !plugin->closing)
		doorbell_ring(plugin->bell);
	plugin->rung = true;
}

/* Returns with the lock held and words to add to, or with NULL, when nobody would hear them. */
static struct plugin_words *begin_words(struct outfall_context *ctx)
{
	struct outfall_context *task = task_of(ctx);
	struct plugin *plugin = task->plugin;
	(void)pthread_mutex_lock(&plugin->lock);
	if (is_at_work(ctx) && task->words == NULL) {
		task->words = plugin_words_create(task, task->job);
		if (task->words != NULL)
			list_append(&plugin->speaking, &task->words->place);
	}
	if (is_at_work(ctx) && task->words != NULL)
		return task->words;
	(void)pthread_mutex_unlock(&plugin->lock);
	return NULL;
}

static void end_words(struct plugin *plugin)
{
	ring(plugin);
	(void)pthread_mutex_unlock(&plugin->lock);
}

void outfall_progress(struct outfall_context *ctx, double fraction, const char *note)
{
	struct plugin_words *words = begin_words(ctx);
	if (words == NULL)
		return;
	plugin_words_progress(words, fraction, note);
	end_words(task_of(ctx)->plugin);
}

int outfall_checkpoint(struct outfall_context *ctx, const void *bytes, size_t len)
{
	if (len > task_of(ctx)->plugin->max_checkpoint_bytes)
		return -1;
	struct plugin_words *words = begin_words(ctx);
	if (words == NULL)
		return -1;
	bool kept = plugin_words_checkpoint(words, span_of(bytes, len));
	end_words(task_of(ctx)->plugin);
	return kept ? 0 : -1;
}

void outfall_extend_ms(struct outfall_context *ctx, uint64_t more_ms)
{
	struct outfall_context *task = task_of(ctx);
	uint64_t now_ns = plugin_now_ns();
	uint64_t until_ns =
	    now_ns + (more_ms < LONGEST_WAIT_MS ? more_ms : LONGEST_WAIT_MS) * UINT64_C(1000000);
	struct plugin_words *words = begin_words(ctx);
	if (words == NULL)
		return;
	if (until_ns > atomic_load_explicit(&task->extended_ns, memory_order_relaxed))
		atomic_store_explicit(&task->extended_ns, until_ns, memory_order_relaxed);
	plugin_words_extend(words, more_ms);
	end_words(task->plugin);
}

/* --- ending -------------------------------------------------------------------------------------- */

/* Locked. Why the job cannot be completed now; NULL: it can. What the loop writes without the lock is not
 * looked at for a handle that is not current: it may be doing so. */
static const char *why_not(const struct outfall_context *handle)
{
	const struct outfall_context *task = task_of(handle);
	if (!task->plugin->asynchronous)
		return "outfall_complete() of a plugin that does not set .concurrency";
	if (is_current(handle) && is_hook(task))
		return "outfall_complete() of a hook's context";
	if (!is_current(handle) || task->completed ||
	    (task->state != TASK_RUNNING && task->state != TASK_LOST))
		return "outfall_complete() of a job that had ended";
	return NULL;
}

void outfall_complete(struct outfall_context *ctx, enum outfall_outcome outcome)
{
	struct outfall_context *task = task_of(ctx);
	struct plugin *plugin = task->plugin;
	struct list chosen;
	list_init(&chosen);
	(void)pthread_mutex_lock(&plugin->lock);
	const char *wrong = why_not(ctx);
	if (wrong == NULL) {
		task->completed = true;
		plugin_take_word(task, outcome);
	} else {
		log_say(plugin->log, LOG_ERROR, "plugin is wrong, ignoring the call",
			kv_text("handler", plugin->base.name), kv_text("why", wrong));
	}
	if (wrong == NULL && !task->in_run) { /* else run()'s thread goes on with it */
		if (plugin_post(task))
			ring(plugin);
		plugin_choose(plugin, &chosen); /* there is a place for one that was staged */
	}
	(void)pthread_mutex_unlock(&plugin->lock);
	plugin_wake(&chosen);
}
