/* The guardian is a fork of the worker that never runs a program: it sleeps in one system call, and what
 * it maps it shares with the worker. It is forked before the worker has grown.
 *
 * How it learns of the worker's death. A pipe would be held open by whoever inherited its other end, a
 * plugin's own children for instance. So it asks for a signal (PR_SET_PDEATHSIG), blocks all signals, and
 * takes one after the other; each is only an occasion to look whether its parent is another one now.
 * In a worker with threads the signal comes with the main thread's end and again with the last one's, and
 * only then is the parent another one.
 *
 * Numbers. An entry is the process group's, which is also its leader's process id. While the leader is
 * not reaped the number is its own, also as a zombie; afterwards see group.h. A child enters
 * itself, in the moment before it runs its program, so there is none that can have children and is not in
 * the table. An entry is cleared only after its group was seen to be empty. The worker may be killed in
 * between; for a mistake the numbers would have to come round in that moment.
 *
 * What leaves its group by setsid() is not found, as it would not be by a stop. */
#include "executors/child/guardian.h"

#include "base/memory.h"
#include "base/must.h"
#include "executors/child/group.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	PLACES = 16384
}; /* children at once; more are not guarded. What is not used costs no memory */

/* Shared. An entry is 0 when free, the group's number, or that negated when its leader was reaped. */
struct table {
	_Atomic uint32_t used; /* no entry from here on was ever taken; the first is nobody's */
	_Atomic int32_t groups[PLACES];
};

struct guardian {
	struct table *table;
	uint32_t n_free;
	uint32_t free[PLACES]; /* places that were taken and are free again */
};

struct guardian *guardian_create(void)
{
	struct guardian *guardian = memory_clear(1, sizeof *guardian);
	if (guardian == NULL)
		return NULL;
	void *shared = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		memory_free(guardian);
		return NULL;
	}
	guardian->table = shared;
	atomic_store(&guardian->table->used, GUARDIAN_NO_PLACE + 1);
	return guardian;
}

void guardian_destroy(struct guardian *guardian)
{
	if (guardian == NULL)
		return;
	(void)munmap(guardian->table, sizeof(struct table));
	memory_free(guardian);
}

/* --- the table ------------------------------------------------------------------------------------- */

uint32_t guardian_take_place(struct guardian *guardian)
{
	if (guardian->n_free > 0)
		return guardian->free[--guardian->n_free];
	uint32_t place = atomic_load_explicit(&guardian->table->used, memory_order_relaxed);
	if (place == PLACES)
		return GUARDIAN_NO_PLACE;
	atomic_store(&guardian->table->used, place + 1);
	return place;
}

void guardian_enter(struct guardian *guardian, uint32_t place, pid_t group)
{
	if (place != GUARDIAN_NO_PLACE)
		atomic_store(&guardian->table->groups[place], group);
}

void guardian_note_leaderless(struct guardian *guardian, uint32_t place)
{
	int32_t group = atomic_load(&guardian->table->groups[place]);
	if (group > 0)
		atomic_store(&guardian->table->groups[place], -group);
}

void guardian_leave(struct guardian *guardian, uint32_t place)
{
	if (place == GUARDIAN_NO_PLACE)
		return;
	atomic_store(&guardian->table->groups[place], 0);
	must(guardian->n_free < PLACES);
	guardian->free[guardian->n_free++] = place;
}

static void kill_entry(int32_t entry)
{
	if (entry > 0)
		(void)kill(-entry, SIGKILL);
	else if (entry < 0 && group_has_number(-entry))
		(void)kill(entry, SIGKILL);
}

static void kill_all(const struct table *table)
{
	uint32_t used = atomic_load(&table->used);
	for (uint32_t place = GUARDIAN_NO_PLACE + 1; place < used; place++)
		kill_entry(atomic_load(&table->groups[place]));
}

void guardian_kill_all(const struct guardian *guardian)
{
	kill_all(guardian->table);
}

/* --- its process ------------------------------------------------------------------------------------ */

/* A terminal, a folder that cannot be unmounted, the worker's log: nothing is kept. */
static void let_go_of_all(void)
{
	(void)setsid();
	(void)!chdir("/");
	(void)close_range(0, ~0U, 0);
	(void)prctl(PR_SET_NAME, "outfall-guard");
	(void)prctl(PR_SET_DUMPABLE, 0); /* the worker's secrets are in its memory, too */
}

static _Noreturn void stand_guard(const struct table *table, pid_t worker)
{
	sigset_t all;
	(void)sigfillset(&all);
	let_go_of_all();
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	while (getppid() == worker)
		(void)sigwaitinfo(&all, NULL);
	kill_all(table);
	_exit(0);
}

pid_t guardian_start(const struct guardian *guardian)
{
	sigset_t all, before;
	pid_t worker = getpid();
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours runs in there */
	pid_t pid = fork();
	if (pid == 0)
		stand_guard(guardian->table, worker);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}
