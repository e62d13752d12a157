/* A small worker around plugin.c: the same executor, with a host that writes lines where the core
 * would count, and one pipe where the sources would be.
 *
 *     stdin -> frames -> executor -> threads -> host -> lines -> stdout
 *
 * It says that it can have as many jobs as run at once, so that none is staged here, and a crash
 * costs only what had begun. When it stops is the worker's business: signals that mean to stop that
 * one (a process manager may send them to each process of a service) are caught and ignored.
 *
 * Lines come from two sides. What jobs log is written by their threads, at any moment; the rest by the
 * loop. Both end up in one text in the order they came about: before the loop adds a line, it fetches
 * what the threads have written. If the worker does not read, what was logged beyond ROOM is counted
 * and left out; the rest is bounded by the jobs that are here. */
#include "executors/plugin/plugin_process.h"

#include "base/base64.h"
#include "base/log.h"
#include "base/must.h"
#include "base/text.h"
#include "executors/executor.h"
#include "executors/plugin/plugin.h"
#include "executors/plugin/plugin_library.h"
#include "executors/pool/pool_frames.h"
#include "job/failure.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	PIECE = 64 * 1024, /* of stdin a turn: what a pipe holds */
	ROOM = 1024 * 1024 /* for what threads have logged and nobody reads */
};

static const int ignored[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGUSR1, SIGUSR2};
enum { IGNORED = sizeof ignored / sizeof ignored[0] };

struct process {
	struct executor_host host;
	struct pool_reader reader;
	struct loop *loop;
	struct log *log;
	struct executor *executor;
	struct pool_frames frames;
	int in_fd, out_fd; /* what stdin and stdout were */
	struct watch *in, *out;
	struct signal_watch *signals[IGNORED];
	struct turn_hook write;
	struct list jobs;    /* struct job.in_executor is the plugin's; this is in_source */
	struct text to_tell; /* lines on their way out */
	struct text error;   /* of the job that ends, as JSON; empty: none */
	bool at_end;         /* of stdin */
	bool broken;         /* nobody reads us, or what we read makes no sense */

	pthread_mutex_t lock;
	struct text logged; /* by threads; under the lock */
	unsigned left_out;  /* lines; the same */
	struct doorbell *bell;
};

static struct process *of_host(struct executor_host *host)
{
	return list_entry(host, struct process, host);
}

static struct process *of_reader(struct pool_reader *reader)
{
	return list_entry(reader, struct process, reader);
}

/* --- lines out ------------------------------------------------------------------------------------- */

static void fetch_logged(struct process *process)
{
	(void)pthread_mutex_lock(&process->lock);
	text_put(&process->to_tell, text_span(&process->logged));
	text_clear(&process->logged);
	unsigned left_out = process->left_out;
	process->left_out = 0;
	(void)pthread_mutex_unlock(&process->lock);
	if (left_out > 0)
		log_say(process->log, LOG_WARN, "lines of jobs left out, nobody read them",
			kv_int("lines", left_out));
}

static struct text *begin_line(struct process *process, const char *type, struct span id)
{
	struct text *text = &process->to_tell;
	fetch_logged(process);
	text_put_literal(text, "{\"type\":\"");
	text_put(text, span_text(type));
	text_put_literal(text, "\",\"id\":");
	text_put_json(text, id);
	return text;
}

static void end_line(struct text *text)
{
	text_put_literal(text, "}\n");
	must(!text->failed); /* an answer that is lost would be waited for: better all of us is */
}

static void say_result(struct process *process, struct span id, const struct outcome *outcome)
{
	struct text *text = begin_line(process, "result", id);
	text_put_literal(text, ",\"outcome\":");
	text_put_json(text, span_text(outcome_name(outcome->kind)));
	if (outcome->after_ms != 0) {
		text_put_literal(text, ",\"after_ms\":");
		text_put_number(text, outcome->after_ms);
	}
	if (outcome->reason[0] != '\0') {
		text_put_literal(text, ",\"reason\":");
		text_put_json(text, span_text(outcome->reason));
	}
	if (process->error.len > 0) {
		text_put_literal(text, ",\"error\":");
		text_put(text, text_span(&process->error));
		text_clear(&process->error);
	}
	end_line(text);
}

static void say_ready(struct process *process, unsigned concurrency)
{
	struct text *text = &process->to_tell;
	text_put_literal(text, "{\"type\":\"ready\",\"concurrency\":");
	text_put_number(text, concurrency);
	end_line(text);
}

static void write_out(struct process *process)
{
	struct text *text = &process->to_tell;
	fetch_logged(process);
	while (text->len > 0 && !process->broken) {
		ssize_t n = write(process->out_fd, text->bytes, text->len);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			process->broken = true; /* the worker is gone */
		text_drop(text, n > 0 ? (size_t)n : 0);
	}
}

/* A write at the end of the turn, for all that it brought. */
static void end_turn(void *arg)
{
	struct process *process = arg;
	write_out(process);
	bool all_told = process->to_tell.len == 0;
	watch_set(process->out, all_told ? 0 : WATCH_WRITE);
	if (process->broken || (process->at_end && list_empty(&process->jobs) && all_told))
		loop_stop(process->loop);
}

static void has_room(void *arg, unsigned events)
{
	(void)arg, (void)events; /* end_turn() does it */
}

static void rung(void *arg)
{
	(void)arg; /* the same */
}

/* --- what the executor tells ----------------------------------------------------------------------- */

static void finished(struct executor_host *host, struct job *job, const struct outcome *outcome)
{
	say_result(of_host(host), span_text(job->id), outcome);
	list_remove(&job->in_source);
	job_destroy(job);
}

static void progress(struct executor_host *host, struct job *job, double done, struct span note)
{
	char number[32];
	struct text *text = begin_line(of_host(host), "progress", span_text(job->id));
	if (done >= 0) {
		(void)snprintf(number, sizeof number, ",\"progress\":%.6f", done);
		text_put(text, span_text(number));
	}
	if (note.len > 0) {
		text_put_literal(text, ",\"note\":");
		text_put_json(text, note);
	}
	end_line(text);
}

static void extend(struct executor_host *host, struct job *job, uint64_t more_ms)
{
	struct text *text = begin_line(of_host(host), "extend", span_text(job->id));
	text_put_literal(text, ",\"extend_ms\":");
	text_put_number(text, more_ms <= INT64_MAX ? more_ms : INT64_MAX);
	end_line(text);
}

/* Its size was looked at when the plugin left it. */
static bool checkpoint(struct executor_host *host, struct job *job, struct span bytes)
{
	struct text *text = begin_line(of_host(host), "checkpoint", span_text(job->id));
	if (text_is_utf8(bytes) && memchr(bytes.ptr, '\0', bytes.len) == NULL) {
		text_put_literal(text, ",\"checkpoint\":");
		text_put_json(text, bytes);
	} else {
		text_put_literal(text, ",\"checkpoint_base64\":\"");
		base64_put(text, bytes);
		text_put_literal(text, "\"");
	}
	end_line(text);
	return true;
}

static void put_part(struct text *text, const char *key, struct span part)
{
	if (part.len == 0)
		return;
	text_put(text, span_text(text->len > 1 ? ",\"" : "\""));
	text_put(text, span_text(key));
	text_put_literal(text, "\":");
	text_put_json(text, part);
}

/* finished() comes with the same breath. */
static void explain(struct executor_host *host, struct job *job, const struct failure *said)
{
	struct text *error = &of_host(host)->error;
	(void)job;
	text_clear(error);
	text_put_literal(error, "{");
	put_part(error, "class", said->class);
	put_part(error, "message", said->message);
	put_part(error, "backtrace", said->backtrace);
	text_put_literal(error, "}");
	if (error->failed)
		text_clear(error); /* the reason has to do */
}

/* Any thread. `job` may be NULL: a hook's. */
static void wrote(struct executor_host *host, const struct job *job, enum log_level level,
		  const char *line)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	struct process *process = of_host(host);
	struct text *text = &process->logged;
	if (!log_wants(process->log, level))
		return;
	(void)pthread_mutex_lock(&process->lock);
	bool ring = text->len == 0;
	if (text->len < ROOM) {
		text_put_literal(text, "{\"type\":\"log\",\"level\":");
		text_put_json(text, span_text(names[level]));
		text_put_literal(text, ",\"id\":");
		text_put_json(text, span_text(job != NULL ? job->id : ""));
		text_put_literal(text, ",\"text\":");
		text_put_json(text, span_text(line));
		text_put_literal(text, "}\n");
		must(!text->failed);
	} else {
		process->left_out++;
	}
	(void)pthread_mutex_unlock(&process->lock);
	if (ring)
		doorbell_ring(process->bell);
}

/* --- what the worker tells ------------------------------------------------------------------------- */

static void job_came(struct pool_reader *reader, struct job **came)
{
	struct process *process = of_reader(reader);
	struct job *job = *came;
	*came = NULL;
	list_append(&process->jobs, &job->in_source);
	process->executor->ops->start(process->executor, job);
}

static void job_did_not_fit(struct pool_reader *reader, struct span id)
{
	struct outcome outcome = {.kind = OUTCOME_RETRY, .reason = "out of memory"};
	say_result(of_reader(reader), id, &outcome);
}

static void drain_began(struct pool_reader *reader, uint64_t remaining_ms)
{
	struct executor *executor = of_reader(reader)->executor;
	executor->ops->drain_notice(executor, remaining_ms);
}

/* One that has ended meanwhile is not here. */
static void job_cancelled(struct pool_reader *reader, struct span id)
{
	struct process *process = of_reader(reader);
	list_each (it, &process->jobs) {
		struct job *job = list_entry(it, struct job, in_source);
		if (!span_equal(span_text(job->id), id))
			continue;
		process->executor->ops->stop(process->executor, job, STOP_ASK);
		return;
	}
}

static void has_bytes(void *arg, unsigned events)
{
	struct process *process = arg;
	char bytes[PIECE];
	struct error why;
	(void)events;
	ssize_t n = read(process->in_fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		process->at_end = true;
		watch_set(process->in, 0);
	} else if (pool_frames_feed(&process->frames, span_of(bytes, (size_t)n), &why) != ST_OK) {
		log_say(process->log, LOG_ERROR, "plugin process ends", kv_why(&why));
		process->broken = true;
	}
}

static void ignore(void *arg, int signum)
{
	(void)arg, (void)signum;
}

/* --- its descriptors ------------------------------------------------------------------------------- */

static int move_away(int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (moved >= 0 && fcntl(moved, F_SETFL, fcntl(moved, F_GETFL) | O_NONBLOCK) != 0)
		return -1;
	return moved;
}

/* A plugin that prints must not be taken for one that answers, nor one that reads get our jobs. */
static enum status take_pipes(struct process *process, struct error *why)
{
	process->in_fd = move_away(STDIN_FILENO);
	process->out_fd = move_away(STDOUT_FILENO);
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (process->in_fd < 0 || process->out_fd < 0 || null_fd < 0 ||
	    dup2(null_fd, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return error_system(why, errno, "stdin and stdout");
	(void)close(null_fd);
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* it is a log now: line by line */
	return ST_OK;
}

static enum status watch_all(struct process *process, struct error *why)
{
	struct loop *loop = process->loop;
	bool all = true;
	process->in = watch_create(loop, process->in_fd, has_bytes, process);
	process->out = watch_create(loop, process->out_fd, has_room, process);
	process->bell = doorbell_create(loop, rung, process);
	for (int i = 0; i < IGNORED; i++) {
		process->signals[i] = signal_watch_create(loop, ignored[i], ignore, process);
		all = all && process->signals[i] != NULL;
	}
	if (!all || process->in == NULL || process->out == NULL || process->bell == NULL)
		return error_set(why, ST_NOMEM, "watch stdin and stdout");
	process->write = (struct turn_hook){.run = end_turn, .arg = process};
	loop_add_hook(loop, TURN_WRITE, &process->write);
	return ST_OK;
}

/* --- life ------------------------------------------------------------------------------------------ */

static void init(struct process *process, struct log *log)
{
	*process = (struct process){
	    .host =
		{
		       .finished = finished,
		       .progress = progress,
		       .extend = extend,
		       .checkpoint = checkpoint,
		       .explain = explain,
		       .wrote = wrote,
		       },
	    .reader =
		{
		       .job = job_came,
		       .no_memory = job_did_not_fit,
		       .drain = drain_began,
		       .cancel = job_cancelled,
		       },
	    .log = log,
	    .in_fd = -1,
	    .out_fd = -1,
	};
	(void)pthread_mutex_init(&process->lock, NULL);
	list_init(&process->jobs);
	pool_frames_init(&process->frames, &process->reader);
}

static void fini(struct process *process)
{
	if (process->write.run != NULL)
		loop_remove_hook(&process->write);
	for (int i = 0; i < IGNORED; i++)
		if (process->signals[i] != NULL)
			signal_watch_destroy(process->signals[i]);
	doorbell_destroy(process->bell);
	watch_destroy(process->in);
	watch_destroy(process->out);
	loop_destroy(process->loop);
	pool_frames_fini(&process->frames);
	text_fini(&process->to_tell);
	text_fini(&process->error);
	text_fini(&process->logged);
	(void)pthread_mutex_destroy(&process->lock);
}

static enum status build(struct process *process, const struct handler_settings *settings,
			 const struct worker_settings *worker, struct error *why)
{
	enum status st = take_pipes(process, why);
	if (st == ST_OK)
		st = loop_create(&process->loop, why);
	if (st == ST_OK)
		st = watch_all(process, why);
	if (st == ST_OK)
		st = plugin_executor_create(process->loop, process->log, settings, worker,
					    &process->host, &process->executor, why);
	return st;
}

/* What exit hooks log still leaves, if the pipe takes it. */
static int end(struct process *process)
{
	bool at_work = !list_empty(&process->jobs);
	if (at_work) /* the worker is gone, and with it whoever these jobs were for */
		_exit(EX_IOERR);
	process->executor->ops->destroy(process->executor);
	write_out(process);
	return process->broken ? EX_IOERR : EX_OK;
}

int plugin_process_serve(const struct handler_settings *settings,
			 const struct worker_settings *worker, struct log *log)
{
	struct process process;
	struct error why;
	int code;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_NAME, "outfall-plugin");
	init(&process, log);
	enum status st = build(&process, settings, worker, &why);
	if (st == ST_OK) {
		watch_set(process.in, WATCH_READ);
		say_ready(&process, process.executor->width);
		loop_run(process.loop);
		code = end(&process);
	} else {
		if (process.write.run != NULL)
			write_out(&process); /* what its init() has logged */
		log_say(log, LOG_ERROR, "plugin process not started", kv_why(&why));
		code = st == ST_INVALID ? EX_CONFIG : EX_OSERR;
	}
	fini(&process);
	return code;
}

int plugin_process_try(const char *path)
{
	struct plugin_library library;
	struct error why;
	int out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (out_fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return EX_OSERR;
	if (plugin_library_open(&library, path, &why) == ST_OK) {
		plugin_library_close(&library);
		return EX_OK;
	}
	size_t len = strlen(why.text);
	return write(out_fd, why.text, len) == (ssize_t)len ? EX_CONFIG : EX_IOERR;
}
