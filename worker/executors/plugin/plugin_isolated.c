/* The pool does not care what it runs, so there is little to do here: a command line that starts our
 * own program as a plugin process. /proc/self/exe is this very build, whatever has been installed over
 * it meanwhile, so both sides always speak the same language.
 *
 * One thing would be lost. A shared object that cannot be loaded, or was built for another ABI, keeps
 * a worker from starting; a pool would start it again and again, and its jobs would wait for ever. So
 * a process that does nothing but load it goes ahead. It is not the worker that loads it, because that
 * runs code of the plugin's, from which the worker is to be kept. An init() that fails is another
 * matter: what it did not find may be there a little later, so it is tried again. */
#include "executors/plugin/plugin_isolated.h"

#include "base/memory.h"
#include "executors/child/children.h"
#include "executors/child/environment.h"
#include "executors/child/spawn_profile.h"
#include "executors/pool/pool.h"
#include "loop/loop.h"
#include "settings/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char program[] = "/proc/self/exe";

enum { NUMBER_BYTES = 24 };

struct plugin_isolated {
	struct handler_settings settings; /* as the pool gets them */
	char *words[PLUGIN_PROCESS_WORDS + 3];
	char *path; /* absolute, or a name for dlopen() to look up */
	char threads[NUMBER_BYTES], timeout[NUMBER_BYTES], checkpoint[NUMBER_BYTES],
	    level[NUMBER_BYTES];
};

void plugin_isolated_close(struct plugin_isolated *isolated)
{
	if (isolated == NULL)
		return;
	memory_free(isolated->path);
	memory_free(isolated);
}

/* Its folder may be another than ours. */
static char *whole_path(const char *path)
{
	char folder[PATH_MAX], whole[PATH_MAX * 2];
	if (path[0] == '/' || strchr(path, '/') == NULL || getcwd(folder, sizeof folder) == NULL)
		return memory_text(path);
	(void)snprintf(whole, sizeof whole, "%s/%s", folder, path);
	return memory_text(whole);
}

static void put_number(char text[NUMBER_BYTES], uint64_t number)
{
	(void)snprintf(text, NUMBER_BYTES, "%" PRIu64, number);
}

static bool fill_in(struct plugin_isolated *isolated, const struct handler_settings *settings,
		    const struct worker_settings *worker, enum log_level level)
{
	char **words = isolated->words;
	isolated->settings = *settings;
	isolated->settings.command = (const char **)words;
	isolated->path = whole_path(settings->path);
	put_number(isolated->threads, settings->threads);
	put_number(isolated->timeout, settings->timeout_ms);
	put_number(isolated->checkpoint, worker->max_checkpoint_bytes);
	put_number(isolated->level, level);
	*words++ = program;
	*words++ = (char *)PLUGIN_PROCESS_COMMAND;
	words[PLUGIN_PROCESS_NAME] = (char *)settings->name;
	words[PLUGIN_PROCESS_PATH] = isolated->path;
	words[PLUGIN_PROCESS_THREADS] = isolated->threads;
	words[PLUGIN_PROCESS_TIMEOUT_MS] = isolated->timeout;
	words[PLUGIN_PROCESS_MAX_CHECKPOINT] = isolated->checkpoint;
	words[PLUGIN_PROCESS_LOG_LEVEL] = isolated->level;
	words[PLUGIN_PROCESS_WORDS] = NULL;
	return isolated->path != NULL;
}

/* --- the one that goes ahead ----------------------------------------------------------------------- */

static void went(struct child *child, int status, const struct rusage *usage)
{
	(void)child, (void)status, (void)usage; /* it is waited for by name */
}

/* All that it says until it ends, cut. */
static void read_until(struct loop *loop, int fd, uint64_t until_ns, char *text, size_t size)
{
	size_t len = 0;
	for (uint64_t now_ns; len + 1 < size && (now_ns = loop_now_ns(loop)) < until_ns;) {
		struct pollfd pipe = {.fd = fd, .events = POLLIN};
		(void)poll(&pipe, 1, (int)((until_ns - now_ns) / 1000000) + 1);
		ssize_t n = read(fd, text + len, size - 1 - len);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
}

static enum status judge(struct loop *loop, struct children *children, int fd, struct child *child,
			 const struct handler_settings *settings, struct error *why)
{
	char refusal[400];
	uint64_t until_ns = loop_now_ns(loop) + settings->ready_timeout_ms * UINT64_C(1000000);
	read_until(loop, fd, until_ns, refusal, sizeof refusal);
	if (!children_reap(children, child, until_ns)) {
		children_signal(child, SIGKILL);
		children_forget(children, child);
		return error_set(why, ST_INVALID, "%s: not loaded in time", settings->path);
	}
	if (refusal[0] != '\0')
		return error_set(why, ST_INVALID, "%s", refusal);
	return ST_OK; /* or it crashed, but not us: the pool will say so */
}

static enum status send_ahead(struct loop *loop, struct children *children,
			      const struct plugin_isolated *isolated, struct spawn *how,
			      struct error *why)
{
	int pipe[2], null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct child child = {.ended = went};
	if (null_fd < 0)
		return error_system(why, errno, "/dev/null");
	if (pipe2(pipe, O_CLOEXEC) != 0) {
		(void)close(null_fd);
		return error_system(why, errno, "pipe");
	}
	(void)fcntl(pipe[0], F_SETFL, O_NONBLOCK);
	how->fds[0] = how->fds[2] = null_fd;
	how->fds[1] = pipe[1];
	how->n_fds = 3;
	enum status st = children_spawn(children, how, &child, why);
	(void)close(pipe[1]);
	(void)close(null_fd);
	if (st == ST_OK)
		st = judge(loop, children, pipe[0], &child, &isolated->settings, why);
	(void)close(pipe[0]);
	return st;
}

static enum status try_to_load(struct loop *loop, struct children *children,
			       const struct plugin_isolated *isolated, struct error *why)
{
	char *const argv[] = {program, (char *)PLUGIN_PROCESS_TRY, isolated->path, NULL};
	struct spawn_profile profile = {0};
	enum status st = spawn_profile_init(&profile, &isolated->settings, why);
	if (st != ST_OK)
		return st;
	struct environment *environment = environment_create(
	    environ, isolated->settings.environment, isolated->settings.withheld, &profile.as);
	if (environment != NULL) {
		struct spawn how = {
		    .path = program,
		    .argv = argv,
		    .envp = environment_without_job(environment),
		    .profile = &profile,
		};
		st = send_ahead(loop, children, isolated, &how, why);
	} else {
		st = error_set(why, ST_NOMEM, "out of memory");
	}
	environment_destroy(environment);
	spawn_profile_fini(&profile);
	return st;
}

enum status plugin_isolated_open(struct loop *loop, struct log *log, enum log_level level,
				 struct children *children, const struct handler_settings *settings,
				 const struct worker_settings *worker, struct executor_host *host,
				 struct plugin_isolated **ret_isolated,
				 struct executor **ret_executor, struct error *why)
{
	struct plugin_isolated *isolated = memory_clear(1, sizeof *isolated);
	if (isolated == NULL || !fill_in(isolated, settings, worker, level)) {
		plugin_isolated_close(isolated);
		return error_set(why, ST_NOMEM, "out of memory");
	}
	enum status st = try_to_load(loop, children, isolated, why);
	if (st == ST_OK)
		st = pool_executor_create(loop, log, children, &isolated->settings, worker, host,
					  ret_executor, why);
	if (st != ST_OK) {
		plugin_isolated_close(isolated);
		return st;
	}
	*ret_isolated = isolated;
	return ST_OK;
}
