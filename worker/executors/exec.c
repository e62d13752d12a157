/* A job runs in a slot. The slot is free again when two things have ended: the process, which the
 * loop hears of by SIGCHLD, and its output.
 *
 *     idle --start--> running --reaped--> draining --output read--> idle
 *                                    \------ nothing left ---------^
 *
 * The awkward part is the end of output. End-of-file comes when the last writer closes, and that
 * may be a grandchild which outlives the job by hours. But all that the process itself wrote is in
 * the pipe by the time it is reaped: so we ask how many bytes are there (FIONREAD), read these,
 * and close. End-of-file plays no part, and is even kept from us, by holding the writing ends open
 * as well: it would wake the loop while the child is still busy dying.
 *
 * Pipes go by an epoll set of our own, nested in the loop's, and not by a watch each: a libuv watch
 * costs two allocations and five system calls, which a job of half a millisecond would feel, and
 * the set lets a turn stop after a fixed number of bytes. What is left waits for the next turn, so a
 * handler that writes without end takes its share and no more, and blocks on a full pipe meanwhile.
 *
 * stdin: a body that fits into the pipe is written before the child exists, an empty one is
 * /dev/null; most children never trouble the loop about it. */
#include "executors/exec.h"

#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "executors/children.h"
#include "executors/environment.h"
#include "executors/exit_codes.h"
#include "executors/lines.h"
#include "executors/program.h"
#include "executors/spawn_profile.h"
#include "job/job.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "settings/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	READ_BYTES = 4096,    /* from one pipe at a time */
	EVENTS = 8,           /* a turn: with READ_BYTES of two-byte lines each, 16 ms of logging */
	KILL_WAIT_MS = 500,   /* killed and not reaped by then: stuck in the kernel */
	SLOT_DESCRIPTORS = 5, /* stdin; both ends of stdout and stderr */
	SPARE_DESCRIPTORS = 64 /* left to connections, log, plugins */
};

/* Which of a slot's pipes an event is about. */
enum pipe_end { PIPE_STDIN, PIPE_STDOUT, PIPE_STDERR, PIPES };

struct output {
	int fd;        /* -1: closed */
	int childs_fd; /* the other end */
	size_t left;   /* read no more than this; unlimited while the process runs */
	struct lines lines;
};

struct slot {
	struct list in_idle;
	struct exec *exec;
	struct child child;
	struct job *job; /* NULL: idle */
	bool ended;      /* reaped; `status` is valid */
	int status;
	enum child_stop stop;
	int stdin_fd; /* -1: closed */
	size_t body_written;
	struct output out[PIPES]; /* by enum pipe_end; that of stdin stays unused */
};

struct exec {
	struct executor base;
	struct loop *loop;
	struct log *log;
	struct children *children;
	const struct handler_settings *settings;
	char *path; /* of the program; NULL: look for it again */
	struct environment *environment;
	struct spawn_profile profile;
	int null_fd;
	int epoll_fd;
	struct watch *ready;
	struct timer *stuck;
	struct slot *slots;
	struct list idle;
};

static struct exec *exec_of(struct executor *executor)
{
	return (struct exec *)executor; /* its first member */
}

/* --- pipes -------------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* Taken off the set by name: closing alone does not, if a fork elsewhere holds a copy. */
static void close_watched(struct exec *exec, int *fd)
{
	if (*fd >= 0)
		(void)epoll_ctl(exec->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
	close_fd(fd);
}

static bool watch_pipe(struct slot *slot, enum pipe_end end, int fd, uint32_t events)
{
	struct exec *exec = slot->exec;
	size_t number = (size_t)(slot - exec->slots);
	struct epoll_event event = {.events = events, .data.u64 = number * PIPES + end};
	return epoll_ctl(exec->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Ours never blocks; the child's does, as programs expect. */
static bool open_pipe(int *ret_ours, int *ret_childs, bool child_reads)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	*ret_ours = ends[child_reads ? 1 : 0];
	*ret_childs = ends[child_reads ? 0 : 1];
	return fcntl(*ret_ours, F_SETFL, O_NONBLOCK) == 0;
}

/* --- stdin -------------------------------------------------------------------------------------- */

/* As much as the pipe takes now, in one call: a child that reads as fast as we write must not keep
 * the loop. */
static void write_body(struct slot *slot)
{
	const struct span body = slot->job->body;
	if (slot->stdin_fd < 0)
		return;
	ssize_t n =
	    write(slot->stdin_fd, body.ptr + slot->body_written, body.len - slot->body_written);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		slot->body_written += (size_t)n;
	/* Any other error: it reads no more, which is its right. */
	if (n < 0 || slot->body_written == body.len)
		close_watched(slot->exec, &slot->stdin_fd);
}

/* --- stdout and stderr --------------------------------------------------------------------------- */

struct stream {
	struct slot *slot;
	const char *name;
};

static void log_line(void *arg, struct span line, enum line_end end)
{
	const struct stream *stream = arg;
	const struct job *job = stream->slot->job;
	log_say(stream->slot->exec->log, LOG_INFO, "job wrote", kv_text("job", job->id),
		kv_text("queue", job->route->name), kv_text("stream", stream->name),
		kv_span("line", line),
		kv_text("cut", end == LINE_SPLIT ? "goes on in the next line" : NULL));
}

static struct stream stream_of(struct slot *slot, enum pipe_end end)
{
	return (struct stream){slot, end == PIPE_STDOUT ? "stdout" : "stderr"};
}

static void end_output(struct slot *slot, enum pipe_end end)
{
	struct stream stream = stream_of(slot, end);
	struct output *out = &slot->out[end];
	if (out->fd < 0)
		return;
	lines_flush(&out->lines, log_line, &stream);
	close_watched(slot->exec, &out->fd);
	close_fd(&out->childs_fd);
}

/* One piece. Closes when that was all. */
static void read_output(struct slot *slot, enum pipe_end end)
{
	struct stream stream = stream_of(slot, end);
	struct output *out = &slot->out[end];
	char bytes[READ_BYTES];
	if (out->fd < 0)
		return;
	ssize_t n = read(out->fd, bytes, out->left < sizeof bytes ? out->left : sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		lines_feed(&out->lines, span_of(bytes, (size_t)n), log_line, &stream);
		out->left -= (size_t)n;
	}
	if (n <= 0 || out->left == 0)
		end_output(slot, end);
}

/* The process is gone: what it wrote is in the pipe, what comes later is not its word. */
static void limit_output(struct slot *slot, enum pipe_end end)
{
	struct output *out = &slot->out[end];
	int there = 0;
	if (out->fd < 0)
		return;
	(void)ioctl(out->fd, FIONREAD, &there); /* 0 on failure is a fine answer */
	out->left = (size_t)there;
	if (out->left == 0)
		end_output(slot, end);
}

/* --- the life of a slot -------------------------------------------------------------------------- */

static void release(struct slot *slot)
{
	slot->job = NULL;
	list_append(&slot->exec->idle, &slot->in_idle);
}

static void close_pipes(struct slot *slot)
{
	close_watched(slot->exec, &slot->stdin_fd);
	end_output(slot, PIPE_STDOUT);
	end_output(slot, PIPE_STDERR);
}

static void finish(struct slot *slot, const struct outcome *outcome)
{
	struct executor *executor = &slot->exec->base;
	struct job *job = slot->job;
	close_pipes(slot);
	release(slot);
	executor->host->finished(executor->host, job, outcome);
}

static void finish_if_drained(struct slot *slot)
{
	if (!slot->ended || slot->out[PIPE_STDOUT].fd >= 0 || slot->out[PIPE_STDERR].fd >= 0)
		return;
	struct outcome outcome = outcome_of_exit(slot->status, slot->stop);
	finish(slot, &outcome);
}

static void child_ended(struct child *child, int status, const struct rusage *usage)
{
	struct slot *slot = list_entry(child, struct slot, child);
	(void)usage;
	slot->ended = true;
	slot->status = status;
	close_watched(slot->exec, &slot->stdin_fd);
	limit_output(slot, PIPE_STDOUT);
	limit_output(slot, PIPE_STDERR);
	finish_if_drained(slot);
}

/* A late event may be about a pipe closed a moment ago, or the slot's next job; both are harmless,
 * because no read or write here can block. */
static void serve_event(struct exec *exec, uint64_t mark)
{
	struct slot *slot = &exec->slots[mark / PIPES];
	enum pipe_end end = (enum pipe_end)(mark % PIPES);
	if (slot->job == NULL)
		return;
	if (end == PIPE_STDIN)
		write_body(slot);
	else
		read_output(slot, end);
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

/* --- starting ------------------------------------------------------------------------------------ */

static enum status find_program(struct exec *exec, struct error *why)
{
	if (exec->path != NULL)
		return ST_OK;
	return program_find(exec->settings->command[0], &exec->path, why);
}

/* Without a body *ret_stdin stays -1; else it is the child's end, and the caller's to close. */
static enum status open_stdio(struct slot *slot, int *ret_stdin, struct error *why)
{
	if (slot->job->body.len > 0 && !open_pipe(&slot->stdin_fd, ret_stdin, true))
		return error_system(why, errno, "stdin");
	write_body(slot);
	for (int i = PIPE_STDOUT; i < PIPES; i++) {
		struct output *out = &slot->out[i];
		out->left = SIZE_MAX;
		if (!open_pipe(&out->fd, &out->childs_fd, false) ||
		    !watch_pipe(slot, (enum pipe_end)i, out->fd, EPOLLIN))
			return error_system(why, errno, "output pipe");
	}
	if (slot->stdin_fd >= 0 && !watch_pipe(slot, PIPE_STDIN, slot->stdin_fd, EPOLLOUT))
		return error_system(why, errno, "stdin");
	return ST_OK;
}

static enum status spawn(struct slot *slot, int stdin_fd, struct error *why)
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
	    .fds = {stdin_fd, slot->out[PIPE_STDOUT].childs_fd, slot->out[PIPE_STDERR].childs_fd},
	    .n_fds = 3,
	};
	st = children_spawn(exec->children, &how, &slot->child, why);
	if (st != ST_OK) { /* it may have moved */
		memory_free(exec->path);
		exec->path = NULL;
	}
	return st;
}

static void not_started(struct slot *slot, const struct error *why)
{
	struct outcome outcome = {.kind = OUTCOME_RETRY};
	(void)snprintf(outcome.reason, sizeof outcome.reason, "cannot start: %.70s", why->text);
	log_say(slot->exec->log, LOG_ERROR, "handler not started, job will be retried",
		kv_text("handler", slot->exec->base.name), kv_text("job", slot->job->id),
		kv_text("queue", slot->job->route->name), kv_why(why));
	finish(slot, &outcome);
}

static struct slot *take_slot(struct exec *exec, struct job *job)
{
	struct list *node = list_take_first(&exec->idle);
	must(node != NULL); /* the core keeps to our depth */
	struct slot *slot = list_entry(node, struct slot, in_idle);
	slot->job = job;
	slot->ended = false;
	slot->stop = CHILD_LEFT_ALONE;
	slot->body_written = 0;
	job->executor_ref = slot;
	job->begun_ns = loop_now_ns(exec->loop);
	return slot;
}

static void exec_start(struct executor *executor, struct job *job)
{
	struct slot *slot = take_slot(exec_of(executor), job);
	struct error why;
	int childs_stdin = -1;
	enum status st = open_stdio(slot, &childs_stdin, &why);
	if (st == ST_OK)
		st = spawn(slot, childs_stdin >= 0 ? childs_stdin : slot->exec->null_fd, &why);
	close_fd(&childs_stdin);
	if (st != ST_OK)
		not_started(slot, &why);
}

/* --- stopping ------------------------------------------------------------------------------------ */

/* Not reaped, so its number is still its own. It may have left its group, which does not save it. */
static void signal_group(const struct slot *slot, int signum)
{
	if (kill(-slot->child.pid, signum) != 0)
		(void)kill(slot->child.pid, signum);
}

static void exec_stop(struct executor *executor, struct job *job, enum stop_how how)
{
	struct slot *slot = job->executor_ref;
	must(slot->exec == exec_of(executor) && slot->job == job);
	if (slot->ended)
		return; /* only its output is still being read */
	if (how == STOP_ASK) {
		slot->stop = CHILD_ASKED;
		signal_group(slot, SIGTERM);
		signal_group(slot, SIGCONT); /* a stopped process would never hear of it */
		return;
	}
	slot->stop = CHILD_KILLED;
	signal_group(slot, SIGKILL);
	timer_start(slot->exec->stuck, KILL_WAIT_MS);
}

/* Killed and still not gone: it hangs in the kernel, on a dead disk for instance. We will not wait
 * for that, and the job it holds is not done. */
static void give_up_stuck(void *arg)
{
	struct exec *exec = arg;
	for (unsigned i = 0; i < exec->base.width; i++) {
		struct slot *slot = &exec->slots[i];
		if (slot->job == NULL || slot->ended || slot->stop != CHILD_KILLED)
			continue;
		struct outcome outcome = {.kind = OUTCOME_ABANDONED,
					  .reason = "killed, but the kernel keeps it"};
		children_forget(&slot->child);
		finish(slot, &outcome);
	}
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
	(void)executor; /* children have no ear for it but SIGTERM, which is not for now */
	(void)remaining_ms;
}

/* --- creating ------------------------------------------------------------------------------------ */

/* A job may still be here when the drain ran out of time and the core gave it up. */
static void fini_slot(struct slot *slot)
{
	if (slot->job != NULL) {
		if (!slot->ended) {
			signal_group(slot, SIGKILL);
			children_forget(&slot->child);
		}
		close_pipes(slot);
	}
	lines_fini(&slot->out[PIPE_STDOUT].lines);
	lines_fini(&slot->out[PIPE_STDERR].lines);
}

static void exec_destroy(struct executor *executor)
{
	struct exec *exec = exec_of(executor);
	for (unsigned i = 0; exec->slots != NULL && i < exec->base.width; i++)
		fini_slot(&exec->slots[i]);
	watch_destroy(exec->ready);
	timer_destroy(exec->stuck);
	close_fd(&exec->epoll_fd);
	close_fd(&exec->null_fd);
	environment_destroy(exec->environment);
	spawn_profile_fini(&exec->profile);
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
    .drain_notice = exec_drain_notice,
    .destroy = exec_destroy,
};

/* More children than descriptors would fail jobs that did nothing wrong. */
static unsigned affordable_width(unsigned concurrency)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
		return concurrency;
	rlim_t width = 1;
	if (files.rlim_cur > SPARE_DESCRIPTORS + SLOT_DESCRIPTORS)
		width = (files.rlim_cur - SPARE_DESCRIPTORS) / SLOT_DESCRIPTORS;
	return width < concurrency ? (unsigned)width : concurrency;
}

static void init_slots(struct exec *exec)
{
	list_init(&exec->idle);
	for (unsigned i = 0; i < exec->base.width; i++) {
		struct slot *slot = &exec->slots[i];
		slot->exec = exec;
		slot->child.ended = child_ended;
		slot->stdin_fd = -1;
		for (int end = 0; end < PIPES; end++) {
			slot->out[end].fd = slot->out[end].childs_fd = -1;
			lines_init(&slot->out[end].lines, exec->settings->output_line_bytes);
		}
		list_init(&slot->in_idle);
		list_append(&exec->idle, &slot->in_idle);
	}
}

static enum status acquire(struct exec *exec, struct error *why)
{
	enum status st = spawn_profile_init(&exec->profile, exec->settings, why);
	if (st != ST_OK)
		return st;
	exec->environment =
	    environment_create(environ, exec->settings->environment, &exec->profile.as);
	exec->slots = memory_clear(exec->base.width, sizeof *exec->slots);
	exec->stuck = timer_create_on(exec->loop, give_up_stuck, exec);
	if (exec->environment == NULL || exec->slots == NULL || exec->stuck == NULL)
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
	unsigned width = affordable_width(worker->concurrency);
	if (width < worker->concurrency)
		log_say(log, LOG_WARN,
			"fewer processes than wanted, the limit on open files is low",
			kv_text("handler", settings->name), kv_int("processes", width));
	exec->base = (struct executor){
	    .ops = &exec_ops,
	    .host = host,
	    .name = settings->name,
	    .width = width,
	    .widest = width,
	    .depth = width,
	    .can_kill = true,
	};
	exec->loop = loop;
	exec->log = log;
	exec->children = children;
	exec->settings = settings;
	exec->null_fd = exec->epoll_fd = -1;
	enum status st = acquire(exec, why);
	if (st != ST_OK) {
		exec_destroy(&exec->base);
		return st;
	}
	init_slots(exec);
	watch_set(exec->ready, WATCH_READ);
	*ret_executor = &exec->base;
	return ST_OK;
}
