/* A thread and not a timer's signal: what holds the main thread may be deep in the kernel, where no handler
 * runs, while _exit() from another thread ends it there, too.
 *
 * The line in the log is written by yet another thread, which is not waited for long: stderr may be a file on
 * the very file system that hangs. */
#include "commands/exit_guard.h"

#include "base/log.h"
#include "base/memory.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define MS_NS     UINT64_C(1000000)
#define SECOND_NS (1000 * MS_NS)

enum { SAY_MS = 100, STACK_BYTES = 256 * 1024 };

struct exit_guard {
	pthread_mutex_t lock;
	struct log *log; /* NULL: muted */
	uint64_t at_ns;
	int code;
	int news;                 /* eventfd: something here has changed */
	int signals;              /* signalfd; -1: they are the loop's */
	uint64_t signals_from_ns; /* since when they are ours */
};

static uint64_t guard_now_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static int start_thread(void *(*run)(void *arg), void *arg)
{
	pthread_t thread;
	pthread_attr_t attr;
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&thread, &attr, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return err;
}

static void ring(const struct exit_guard *guard)
{
	uint64_t one = 1;
	ssize_t size = write(guard->news, &one, sizeof one);
	(void)size; /* it would be full only after 2^64 of them */
}

/* It only wakes. */
static void take_news(const struct exit_guard *guard)
{
	uint64_t n;
	ssize_t size = read(guard->news, &n, sizeof n);
	(void)size;
}

static void *say_it(void *arg)
{
	struct exit_guard *guard = arg;
	log_say(guard->log, LOG_ERROR,
		"exit forced: something behind the drain did not end by its deadline");
	ring(guard);
	return NULL;
}

/* Whoever waits for the lock now waits for the end. */
static _Noreturn void end_process(struct exit_guard *guard)
{
	struct pollfd said = {.fd = guard->news, .events = POLLIN};
	(void)pthread_mutex_lock(&guard->lock);
	take_news(guard);
	if (guard->log != NULL && start_thread(say_it, guard) == 0)
		(void)poll(&said, 1, SAY_MS);
	_exit(guard->code);
}

static int time_left_ms(uint64_t at_ns)
{
	uint64_t now_ns = guard_now_ns();
	if (at_ns == UINT64_MAX)
		return -1;
	uint64_t left_ms = at_ns > now_ns ? (at_ns - now_ns + MS_NS - 1) / MS_NS : 0;
	return left_ms < 60000 ? (int)left_ms : 60000;
}

static bool is_insisted(const struct exit_guard *guard)
{
	struct signalfd_siginfo info;
	if (read(guard->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return false;
	return info.ssi_signo == SIGQUIT || guard_now_ns() - guard->signals_from_ns >= SECOND_NS;
}

static void *guard_exit(void *arg)
{
	struct exit_guard *guard = arg;
	for (;;) {
		(void)pthread_mutex_lock(&guard->lock);
		struct pollfd news = {.fd = guard->news, .events = POLLIN};
		struct pollfd fds[] = {
		    news, {.fd = guard->signals, .events = POLLIN}
                };
		int left_ms = time_left_ms(guard->at_ns);
		(void)pthread_mutex_unlock(&guard->lock);
		if (left_ms == 0)
			end_process(guard);
		if (poll(fds, 2, left_ms) <= 0)
			continue;
		if (fds[0].revents != 0)
			take_news(guard);
		if (fds[1].revents != 0 && is_insisted(guard))
			end_process(guard);
	}
	return NULL;
}

static sigset_t stop_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGQUIT);
	return set;
}

struct exit_guard *exit_guard_start(struct log *log)
{
	struct exit_guard *guard = memory_clear(1, sizeof *guard);
	if (guard == NULL)
		return NULL;
	(void)pthread_mutex_init(&guard->lock, NULL);
	guard->log = log;
	guard->at_ns = UINT64_MAX;
	guard->signals = -1;
	guard->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (guard->news >= 0 && start_thread(guard_exit, guard) == 0)
		return guard;
	if (guard->news >= 0)
		(void)close(guard->news);
	(void)pthread_mutex_destroy(&guard->lock);
	memory_free(guard);
	return NULL;
}

void exit_guard_set(struct exit_guard *guard, uint64_t at_ns, int code)
{
	if (guard == NULL)
		return;
	(void)pthread_mutex_lock(&guard->lock);
	bool moved = guard->at_ns != at_ns;
	guard->at_ns = at_ns;
	guard->code = code;
	(void)pthread_mutex_unlock(&guard->lock);
	if (moved)
		ring(guard);
}

/* Blocked first: a signalfd takes them from any thread that does not block them. */
void exit_guard_take_signals(struct exit_guard *guard)
{
	if (guard == NULL || guard->signals >= 0)
		return;
	sigset_t signals = stop_signals();
	(void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
	(void)pthread_mutex_lock(&guard->lock);
	guard->signals_from_ns = guard_now_ns();
	guard->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	(void)pthread_mutex_unlock(&guard->lock);
	ring(guard);
}

void exit_guard_mute(struct exit_guard *guard)
{
	if (guard == NULL)
		return;
	(void)pthread_mutex_lock(&guard->lock);
	guard->log = NULL;
	(void)pthread_mutex_unlock(&guard->lock);
}
