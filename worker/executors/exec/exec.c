/* A job runs in a slot. The slot is free again when two things have ended: the process with its group
 * (process.h), and what it wrote.
 *
 *     idle --start--> running --gone--> draining --all read--> idle
 *                                   \---- nothing left ---------^
 *
 * A job that ended by itself, and is done or dead, is told at once, and what it left running has the grace.
 * One that will run again is not told before nobody of its group is left: two runs at once of one job are
 * what its author counts on not to see.
 *
 * What it wrote is read to its end (output.c), also on descriptor 4: what a job said last counts before its
 * end does.
 *
 * Five pipes for each job. A socket pair would be one pair of descriptors for both 3 and 4, but a
 * shell could not open /dev/fd/3 then, and end-of-file on one would be that of the other. So they must be
 * cheap: a job of half a millisecond pays for making and closing them, and that is nearly all. Pipes
 * that it writes to are not watched while it is a short job: what such a job writes fits into them and
 * is read when it is reaped. One timer looks after SHORT_MS who is still there; a longer job's are
 * watched from then on. Watching goes by an epoll set of our own, nested in the loop's, and not by a watch
 * each: a libuv watch costs two allocations and five system calls, and the set lets a turn stop after a
 * fixed number of events. What is left waits for the next turn.
 *
 * Reused pipes would be cheaper still, and wrong: a grandchild that outlives its job would write into the
 * next one's. */
#include "executors/exec/exec.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/child/child_says.h"
#include "executors/child/environment.h"
#include "executors/child/program.h"
#include "executors/exec/exec_heard.h"
#include "executors/exec/exec_pipes.h"
#include "executors/exec/exec_probe.h"
#include "executors/exec/exec_slot.h"
#include "executors/exec/exec_told.h"
#include "executors/width.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

enum {
	EVENTS = 8,           /* a turn: of 4 kB in two-byte lines each, 16 ms of logging */
	SHORT_MS = 10,        /* a job whose output may wait until it ends */
	SLOT_DESCRIPTORS = 5, /* our ends */
};

static struct exec *exec_of(struct executor *executor)
{
	return (struct exec *)executor; /* its first member */
}

/* --- the end of a job ---------------------------------------------------------------------------- */

static void release(struct slot *slot)
{
	slot->job = NULL;
	list_remove(&slot->in_unwatched);
	list_append(&slot->exec->idle, &slot->in_idle);
}

/* Nothing of the job has begun: it goes back uncounted, and its handler is paused. */
static void could_not_begin(struct slot *slot, const char *why)
{
	struct executor *executor = &slot->exec->base;
	struct job *job = slot->job;
	told_end(slot);
	heard_end(slot);
	release(slot);
	executor->host->could_not_begin(executor->host, job, why);
}

static void finish(struct slot *slot)
{
	struct executor *executor = &slot->exec->base;
	struct job *job = slot->job;
	struct outcome outcome = slot->outcome;
	told_end(slot);
	heard_end(slot);
	release(slot);
	executor->host->finished(executor->host, job, &outcome);
}

/* It said nothing of its failure on descriptor 4: then its last words on stderr may. */
static void explain(struct slot *slot)
{
	struct executor_host *host = slot->exec->base.host;
	const struct outcome *outcome = &slot->outcome;
	bool failed = outcome->kind == OUTCOME_RETRY || outcome->kind == OUTCOME_REJECT;
	char words[sizeof outcome->reason + sizeof slot->last_words + 2];
	if (!failed || slot->job->failure != NULL || slot->last_words[0] == '\0')
		return;
	(void)snprintf(words, sizeof words, "%s%s%s", outcome->reason,
		       outcome->reason[0] != '\0' ? ": " : "", slot->last_words);
	host->explain(host, slot->job, &(struct failure){.message = span_text(words)});
}

static void finish_if_drained(struct slot *slot)
{
	if (process_is_there(&slot->process) || !heard_all(slot))
		return;
	explain(slot);
	finish(slot);
}

static uint64_t ns_of(struct timeval time)
{
	return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_usec * 1000;
}

/* The highest our own memory ever was. getrusage() would say what whoever started us had, if that was
 * more. */
static uint64_t read_own_peak(void)
{
	char line[128];
	unsigned long long kb = 0;
	FILE *status = fopen("/proc/self/status", "re");
	if (status == NULL)
		return 0;
	while (fgets(line, sizeof line, status) != NULL && sscanf(line, "VmHWM: %llu", &kb) != 1)
		continue;
	(void)fclose(status);
	return (uint64_t)kb * 1024;
}

/* A process begins its life in our memory, and the kernel counts that as its own peak. So a peak is only
 * known where it is higher than ours, which is asked for when it matters: it only grows. */
static uint64_t known_peak(struct exec *exec, uint64_t peak_bytes)
{
	if (peak_bytes > exec->own_peak_bytes)
		exec->own_peak_bytes = read_own_peak();
	return peak_bytes > exec->own_peak_bytes ? peak_bytes : 0;
}

static enum child_stop how_stopped(const struct slot *slot)
{
	if (slot->process.state == PROCESS_KILLED)
		return CHILD_KILLED;
	return slot->process.state == PROCESS_ASKED ? CHILD_ASKED : CHILD_LEFT_ALONE;
}

static struct slot *slot_of(struct process *process)
{
	return list_entry(process, struct slot, process);
}

static enum process_rest leader_ended(struct process *process, int status,
				      const struct rusage *usage)
{
	struct slot *slot = slot_of(process);
	slot->outcome =
	    outcome_of_exit(slot->exec->settings->exit_codes, status, how_stopped(slot));
	slot->outcome.usage = (struct usage){
	    .cpu_ns = ns_of(usage->ru_utime) + ns_of(usage->ru_stime),
	    .peak_bytes = known_peak(slot->exec, (uint64_t)usage->ru_maxrss * 1024),
	};
	told_end(slot);
	bool last_run = slot->outcome.kind == OUTCOME_DONE || slot->outcome.kind == OUTCOME_REJECT;
	return last_run ? REST_MAY_STAY : REST_MUST_END;
}

/* On a dead disk, for instance. We will not wait for that, and the job is not done. */
static void give_up_kept(struct slot *slot)
{
	struct outcome *outcome = &slot->outcome;
	if (outcome->kind == OUTCOME_DONE || outcome->kind == OUTCOME_REJECT)
		return; /* its own word; it was some other of its group */
	outcome->kind = OUTCOME_ABANDONED;
	(void)snprintf(outcome->reason, sizeof outcome->reason, "killed, but the kernel keeps it");
}

static void process_gone(struct process *process, enum process_end end)
{
	struct slot *slot = slot_of(process);
	const struct spawn how = {.path = slot->exec->settings->command[0],
				  .profile = &slot->exec->profile};
	struct error why;
	if (children_never_ran(&process->child, &how, &why)) {
		could_not_begin(slot, why.text);
		return;
	}
	if (end == PROCESS_IS_KEPT)
		give_up_kept(slot);
	heard_last(slot);
	finish_if_drained(slot);
}

static const struct process_ops process_ops = {leader_ended, process_gone};

/* --- its pipes ------------------------------------------------------------------------------------ */

static void serve_event(struct exec *exec, uint64_t mark)
{
	enum pipe_end end;
	struct slot *slot = pipe_of_mark(exec, mark, &end);
	if (slot == NULL)
		return;
	if (end == PIPE_STDIN || end == PIPE_TOLD)
		told_ready(slot, end);
	else
		heard_ready(slot, end);
	finish_if_drained(slot);
}

static void serve_pipes(void *arg, unsigned ready)
{
	(void)ready;
	struct exec *exec = arg;
	struct epoll_event events[EVENTS];
	/* The kernel moves what it told of to the end of its list, so all get their turn. */
	int n = epoll_wait(exec->epoll_fd, events, EVENTS, 0);
	for (int i = 0; i < n; i++)
		serve_event(exec, events[i].data.u64);
}

/* Those that have run for long enough are watched; they stand in the order in which they began. */
static void look_after(void *arg)
{
	struct exec *exec = arg;
	uint64_t now_ns = loop_now_ns(exec->loop);
	while (!list_empty(&exec->unwatched)) {
		struct slot *slot = list_entry(exec->unwatched.next, struct slot, in_unwatched);
		uint64_t due_ns = slot->job->begun_ns + SHORT_MS * MS_NS;
		if (due_ns > now_ns || !heard_watch(slot)) {
			uint64_t wait_ms =
			    due_ns > now_ns ? (due_ns - now_ns) / MS_NS + 1 : SHORT_MS;
			timer_start(exec->look, wait_ms);
			return;
		}
		list_remove(&slot->in_unwatched);
	}
}

static void look_later(struct slot *slot)
{
	struct exec *exec = slot->exec;
	list_append(&exec->unwatched, &slot->in_unwatched);
	if (!timer_armed(exec->look))
		timer_start(exec->look, SHORT_MS);
}

/* --- starting ------------------------------------------------------------------------------------ */

static enum status find_program(struct exec *exec, struct error *why)
{
	if (exec->path != NULL)
		return ST_OK;
	return program_find(exec->settings->command[0], &exec->path, why);
}

/* Without a body there is no pipe for stdin. */
static enum status open_pipes(struct slot *slot, int childs[PIPES], struct error *why)
{
	for (int end = PIPE_STDIN; end < PIPES; end++) {
		if (end == PIPE_STDIN && slot->job->body.len == 0)
			continue;
		enum status st = pipe_open(slot, (enum pipe_end)end, &childs[end], why);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

static void close_childs(int childs[PIPES])
{
	for (int end = PIPE_STDIN; end < PIPES; end++)
		if (childs[end] >= 0)
			(void)close(childs[end]);
}

static enum status spawn(struct slot *slot, const int childs[PIPES], struct error *why)
{
	struct exec *exec = slot->exec;
	enum status st = find_program(exec, why);
	if (st != ST_OK)
		return st;
	char *const *envp =
	    environment_for(exec->environment, slot->job, exec->settings->timeout_ms);
	if (envp == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	struct spawn how = {
	    .path = exec->path,
	    .argv = (char *const *)exec->settings->command,
	    .envp = envp,
	    .profile = &exec->profile,
	    .n_fds = PIPES,
	};
	for (int end = PIPE_STDIN; end < PIPES; end++)
		how.fds[end] = childs[end] >= 0 ? childs[end] : exec->null_fd;
	st = process_start(&slot->process, &how, why);
	if (st != ST_OK) { /* it may have moved */
		memory_free(exec->path);
		exec->path = NULL;
	}
	return st;
}

/* What the job itself brings along may be too large for any process. All else is no fault of its. */
static void not_started(struct slot *slot, const struct error *why)
{
	if (why->status == ST_INVALID) {
		struct outcome *outcome = &slot->outcome;
		*outcome = (struct outcome){.kind = OUTCOME_RETRY};
		(void)snprintf(outcome->reason, sizeof outcome->reason, "cannot start: %.70s",
			       why->text);
		finish(slot);
		return;
	}
	could_not_begin(slot, why->text);
}

static struct slot *take_slot(struct exec *exec, struct job *job)
{
	struct list *node = list_take_first(&exec->idle);
	must(node != NULL); /* the core keeps to our depth */
	struct slot *slot = list_entry(node, struct slot, in_idle);
	slot->job = job;
	slot->round++;
	slot->outcome = (struct outcome){.kind = OUTCOME_ABANDONED};
	heard_begin(slot);
	job->executor_ref = slot;
	job->begun_ns = loop_now_ns(exec->loop);
	return slot;
}

static void exec_start(struct executor *executor, struct job *job)
{
	struct slot *slot = take_slot(exec_of(executor), job);
	int childs[PIPES] = {-1, -1, -1, -1, -1};
	struct error why;
	enum status st = open_pipes(slot, childs, &why);
	if (st == ST_OK)
		st = told_begin(slot, &why);
	if (st == ST_OK)
		st = spawn(slot, childs, &why);
	close_childs(childs);
	if (st == ST_OK)
		look_later(slot);
	else
		not_started(slot, &why);
}

static void exec_probe(struct executor *executor)
{
	struct exec *exec = exec_of(executor);
	struct error why;
	enum status st = find_program(exec, &why);
	if (st == ST_OK)
		st = probe_process(exec->path, exec->settings->directory, PIPES, &why);
	executor->host->probed(executor->host, executor, st == ST_OK ? NULL : why.text);
}

/* --- stopping ------------------------------------------------------------------------------------ */

static void exec_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct slot *slot = job->executor_ref;
	must(slot->exec == exec_of(executor) && slot->job == job);
	if (slot->process.state == PROCESS_RUNS && how == STOP_ASK)
		told_cancel(slot);
	if (how == STOP_ASK)
		process_ask(&slot->process);
	else
		process_kill(&slot->process);
}

static void exec_retract(struct executor *executor)
{
	(void)executor; /* nothing is ever staged: depth is width */
}

static uint64_t exec_begun_ns(const struct executor *executor, const struct job *job)
{
	(void)executor;
	return job->begun_ns;
}

static void exec_drain_notice(struct executor *executor, uint64_t remaining_ms)
{
	struct exec *exec = exec_of(executor);
	for (unsigned i = 0; i < exec->n_slots; i++)
		if (exec->slots[i]->job != NULL)
			told_drain(exec->slots[i], remaining_ms);
}

/* --- slots --------------------------------------------------------------------------------------- */

/* As many jobs as the worker or the handler runs at once; but more children than descriptors would fail
 * jobs that did nothing wrong. */
static unsigned width_for(const struct handler_settings *settings,
			  const struct worker_settings *worker, struct log *log)
{
	unsigned wanted = width_wanted(settings, worker);
	unsigned width = width_affordable(wanted, SLOT_DESCRIPTORS);
	if (width == wanted)
		return width;
	log_say(log, LOG_WARN, "fewer processes than wanted, the limit on open files is low",
		kv_text("handler", settings->name), kv_int("processes", width));
	return width;
}

static bool add_slot(struct exec *exec)
{
	struct slot *slot = memory_clear(1, sizeof *slot);
	if (slot == NULL)
		return false;
	slot->exec = exec;
	slot->number = exec->n_slots;
	for (int end = 0; end < PIPES; end++)
		slot->pipes[end].fd = -1;
	if (process_init(&slot->process, &process_ops, exec->loop, exec->children, NULL) != ST_OK) {
		memory_free(slot);
		return false;
	}
	heard_init(slot, exec->settings->output_line_bytes, exec->said_bytes);
	list_init(&slot->in_unwatched);
	list_init(&slot->in_idle);
	list_append(&exec->idle, &slot->in_idle);
	exec->slots[exec->n_slots++] = slot;
	return true;
}

/* A job may still be here when the drain ran out of time and the core gave it up. */
static void destroy_slot(struct slot *slot)
{
	process_fini(&slot->process);
	if (slot->job != NULL) {
		told_end(slot);
		heard_end(slot);
	}
	heard_fini(slot);
	list_remove(&slot->in_idle);
	list_remove(&slot->in_unwatched);
	memory_free(slot);
}

static void drop_slots(struct exec *exec, unsigned from)
{
	while (exec->n_slots > from)
		destroy_slot(exec->slots[--exec->n_slots]);
}

/* All of them or none. */
static bool add_slots(struct exec *exec, unsigned width)
{
	unsigned before = exec->n_slots;
	struct slot **slots = memory_grow(exec->slots, width * sizeof(struct slot *));
	if (slots == NULL)
		return false;
	exec->slots = slots;
	while (exec->n_slots < width) {
		if (!add_slot(exec)) {
			drop_slots(exec, before);
			return false;
		}
	}
	return true;
}

static void set_width(struct exec *exec, unsigned width)
{
	exec->base.width = exec->base.widest = exec->base.depth = width;
}

/* Slots that are too many stay, for the next time. */
static void exec_resize(struct executor *executor, const struct worker_settings *worker)
{
	struct exec *exec = exec_of(executor);
	unsigned width = width_for(exec->settings, worker, exec->log);
	if (width == executor->width)
		return;
	if (width > exec->n_slots && !add_slots(exec, width)) {
		log_say(exec->log, LOG_ERROR, "no more processes than before, out of memory",
			kv_text("handler", executor->name), kv_int("processes", executor->width));
		return;
	}
	set_width(exec, width);
	executor->host->resized(executor->host, executor);
}

/* --- creating ------------------------------------------------------------------------------------ */

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static void exec_destroy(struct executor *executor)
{
	struct exec *exec = exec_of(executor);
	drop_slots(exec, 0);
	watch_destroy(exec->ready);
	timer_destroy(exec->look);
	close_fd(exec->epoll_fd);
	close_fd(exec->null_fd);
	environment_destroy(exec->environment);
	spawn_profile_fini(&exec->profile);
	text_fini(&exec->line);
	memory_free(exec->slots);
	memory_free(exec->path);
	memory_free(exec);
}

static const struct executor_ops exec_ops = {
    .kind = "exec",
    .start = exec_start,
    .retract = exec_retract,
    .begun_ns = exec_begun_ns,
    .stop = exec_stop,
    .probe = exec_probe,
    .drain_notice = exec_drain_notice,
    .resize = exec_resize,
    .destroy = exec_destroy,
};

static enum status acquire(struct exec *exec, unsigned width, struct error *why)
{
	enum status st = spawn_profile_init(&exec->profile, exec->settings, why);
	if (st != ST_OK)
		return st;
	exec->environment = environment_create(environ, exec->settings->environment,
					       exec->settings->withheld, &exec->profile.as);
	exec->look = timer_create_on(exec->loop, look_after, exec);
	if (exec->environment == NULL || exec->look == NULL || !add_slots(exec, width))
		return error_set(why, ST_NOMEM, "out of memory");
	exec->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (exec->null_fd < 0)
		return error_system(why, errno, "open /dev/null");
	exec->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (exec->epoll_fd < 0)
		return error_system(why, errno, "epoll");
	exec->ready = watch_create(exec->loop, exec->epoll_fd, serve_pipes, exec);
	if (exec->ready == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	return ST_OK;
}

enum status exec_executor_create(struct loop *loop, struct log *log, struct children *children,
				 const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct executor **ret_executor, struct error *why)
{
	struct exec *exec = memory_clear(1, sizeof *exec);
	if (exec == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	exec->base = (struct executor){
	    .ops = &exec_ops,
	    .host = host,
	    .name = settings->name,
	    .can_kill = true,
	};
	exec->loop = loop;
	exec->log = log;
	exec->children = children;
	exec->settings = settings;
	exec->said_bytes = child_says_longest(worker->max_checkpoint_bytes);
	exec->null_fd = exec->epoll_fd = -1;
	list_init(&exec->idle);
	list_init(&exec->unwatched);
	enum status st = acquire(exec, width_for(settings, worker, log), why);
	if (st != ST_OK) {
		exec_destroy(&exec->base);
		return st;
	}
	children_guard(children);
	set_width(exec, exec->n_slots);
	watch_set(exec->ready, WATCH_READ);
	*ret_executor = &exec->base;
	return ST_OK;
}
