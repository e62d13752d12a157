/* plugin_inside - what plugin.c, who runs a plugin's jobs, and plugin_calls.c, what these jobs may
 * call, share. Nobody else includes it. The essays stand in the two.
 *
 * Thread: as said at each field.
 * Owns:   see plugin.h.
 * Units:  monotonic nanoseconds. */
#ifndef OUTFALL_EXECUTORS_PLUGIN_INSIDE_H
#define OUTFALL_EXECUTORS_PLUGIN_INSIDE_H

#include "base/list.h"
#include "executors/executor.h"
#include "executors/plugin/plugin_library.h"
#include "executors/plugin/plugin_words.h"
#include "job/failure.h"
#include "job/outcome.h"
#include "loop/loop.h"
#include "plugin/outfall.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct handler_settings;
struct log;
struct plugin;

/*  idle --start--> incoming --hand over--> staged --taken--> running --posted--> ended --told--> idle
 *                      \------------------/--retract--> idle     \--killed--> lost
 *
 * Running is a job from the thread that takes it to the word that ends it: run()'s own or, if that
 * left it pending, outfall_complete()'s. */
enum task_state {
	TASK_IDLE,
	TASK_INCOMING,
	TASK_STAGED,
	TASK_RUNNING,
	TASK_ENDED,
	TASK_LOST,
};

/* A job's stay in here; what the handler knows, by its handle, as its context. That of a hook is one
 * that never had a job. */
struct outfall_context {
	struct list place; /* on the list of its state; on none while running */
	struct plugin *plugin;
	struct job *job;
	enum task_state state;   /* from staged to ended under the lock, else the loop's */
	bool in_run;             /* a thread is in run() with it; under the lock */
	bool completed;          /* by outfall_complete(), maybe before run() returned; the same */
	struct outcome outcome;  /* under the lock while running, else the loop's */
	struct failure *failure; /* why it will have failed; NULL: not said; as outcome */
	struct plugin_words *words; /* said and not yet on their way; under the lock; or NULL */
	_Atomic uint64_t begun_ns;
	_Atomic uint64_t extended_ns; /* its timeout does not come before */
	atomic_bool stop;
	_Atomic uint32_t generation; /* how many jobs it has had; see handle_of() */
	struct outfall_job seen;     /* for a job that may outlive its run() */
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
	struct plugin_library library;
	void *state; /* the plugin's own */
	bool asynchronous;
	size_t max_checkpoint_bytes;
	uint64_t timeout_ms;          /* of each job; 0 = none */
	_Atomic uint64_t drain_by_ns; /* running jobs will be asked to stop; UINT64_MAX: never */
	struct worker_thread *threads;
	unsigned n_threads;
	unsigned started; /* of the threads */
	bool initialized; /* init() went well, or there is none */

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
	unsigned n_running; /* also those lost, until the plugin's code lets go of them */
	struct list results;
	struct list speaking; /* struct plugin_words.place */
	bool rung;            /* and not answered yet */
	struct list sleepers;
	unsigned n_sleepers;
	unsigned detained; /* threads awake, but in a job that takes its time; about so many */
	uint64_t usual_ns; /* how long run() takes, the recent ones counting most */
	bool closing;
	char hook_why[96]; /* what a hook that failed has said */

	/* What the creator waits for, once for each thread, if there is a thread_init(). */
	sem_t thread_ready;
	atomic_bool thread_failed;
};

static inline uint64_t plugin_now_ns(void) /* the loop's clock, from any thread */
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* What a job is given for its context; a synchronous plugin's is the task itself. */
struct outfall_context *plugin_handle_of(struct outfall_context *task);

/* Locked. What the plugin said is the job's outcome. */
void plugin_take_word(struct outfall_context *task, enum outfall_outcome word);

/* Locked. The plugin's code has let go of the task, and handles of it mean nothing from here on. Returns
 * whether the loop has a result of it. */
static inline bool plugin_post(struct outfall_context *task)
{
	struct plugin *plugin = task->plugin;
	if (plugin->asynchronous)
		atomic_fetch_add_explicit(&task->generation, 1, memory_order_relaxed);
	plugin->n_running--;
	if (task->state == TASK_LOST)
		return false; /* the core was told already, and may be gone */
	task->state = TASK_ENDED;
	list_append(&plugin->results, &task->place);
	return true;
}

/* Locked. Takes off the sleepers those that the staged jobs are worth; plugin_wake() does the rest
 * when the lock is free, or they would wake up only to wait for it. */
void plugin_choose(struct plugin *plugin, struct list *ret_chosen);
void plugin_wake(struct list *chosen);

#endif
