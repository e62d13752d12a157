/* One allocation fails, once; and whatever it was for, the worker goes on or ends in order: nothing is
 * acknowledged that has not run, nothing is settled twice (the core looks), the
 * drain ends in time, and all memory comes back. Then the next one, until a whole life needs no more.
 *
 *     faults_memory amqp|redis FOLDER     of recorded sessions
 *
 * First our own allocations (base/memory.h), in every build: under a sanitizer that finds what is left.
 * Then every malloc there is, rabbitmq-c's and hiredis' included, where the heap is ours. */
#include "heap.h"
#include "small_worker.h"

#include "base/memory.h"
#include "base/must.h"
#include "wire/amqp_codec.h"
#include "wire/amqp_frame.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Two queues, and each of them removed and added again. */
enum { SESSION_MOST = 1 << 16, RUNS_MOST = 100000, CHANNELS = 4, TAGS_MOST = 32 };

/* See small_worker.h; twice the time at which queues go and come. */
static const uint8_t reload_turns[] = {10, 40, 80, 120};

struct session {
	const struct small_source *of;
	char path[512];
	uint8_t bytes[SESSION_MOST];
	size_t size;
};

/* What is being tried, for whoever reads the last words of a run that died. */
static char trying[700];

static void died(int signum)
{
	(void)!write(STDERR_FILENO, trying, strlen(trying));
	(void)signal(signum, SIG_DFL);
	(void)raise(signum);
}

/* --- what RabbitMQ hears --------------------------------------------------------------------------- */

/* Tags of a session begin at 1. Only the first connection of one delivers, on the channels 1 and 2. */
static bool answered[CHANNELS][TAGS_MOST];

static uint64_t number_at(const char *from, int bytes)
{
	uint64_t number = 0;
	for (int i = 0; i < bytes; i++)
		number = number << 8 | (unsigned char)from[i];
	return number;
}

/* A job is acknowledged when its effect is there, and not before. */
static void hear_answer(const struct small_worker *w, uint64_t method, unsigned channel,
			const char *arguments)
{
	uint64_t tag = number_at(arguments, 8);
	bool up_to = method != AMQP_BASIC_REJECT_METHOD && (arguments[8] & 1) != 0;
	must(channel >= 1 && channel <= CHANNELS && tag >= 1 && tag < TAGS_MOST);
	for (uint64_t t = up_to ? 1 : tag; t <= tag; t++) {
		bool before = answered[channel - 1][t];
		must(!before || up_to); /* twice closes the channel */
		if (!before && method != AMQP_BASIC_NACK_METHOD && channel <= 2)
			must(small_worker_may_ack(w, channel - 1, t));
		answered[channel - 1][t] = true;
	}
}

static void hear(const struct small_worker *w, unsigned stream, struct span bytes)
{
	if (stream != 0 || bytes.len != AMQP_ACK_BYTES || bytes.ptr[0] != AMQP_FRAME_METHOD)
		return;
	uint64_t method = number_at(bytes.ptr + AMQP_HEAD_BYTES, 4);
	if (method == AMQP_BASIC_ACK_METHOD || method == AMQP_BASIC_NACK_METHOD ||
	    method == AMQP_BASIC_REJECT_METHOD)
		hear_answer(w, method, (unsigned)number_at(bytes.ptr + 1, 2),
			    bytes.ptr + AMQP_HEAD_BYTES + 4);
}

/* --- one after the other ---------------------------------------------------------------------------- */

static bool run(const struct session *session)
{
	struct small_source of = *session->of;
	memset(answered, 0, sizeof answered);
	if (session->of == &small_rabbitmq)
		of.heard = hear;
	return small_worker_run(&of, session->bytes, session->size);
}

static unsigned long fail_ours(const struct session *session)
{
	unsigned long n = 0, seen;
	do {
		n++;
		(void)snprintf(trying, sizeof trying, "our allocation %lu, %s\n", n, session->path);
		long before = heap_blocks();
		(void)memory_fail_at(n);
		(void)run(session);
		seen = memory_fail_at(0);
		must(heap_blocks() == before);
		must(n < RUNS_MOST);
	} while (seen >= n);
	return n - 1;
}

/* rabbitmq-c 0.11 forgets a block when the allocation behind it fails: amqp_new_connection() its output
 * buffer, amqp_pool_alloc() what it could not write down. */
static long forgotten(const void *failed_for)
{
	Dl_info in;
	if (failed_for == NULL || dladdr(failed_for, &in) == 0 || in.dli_fname == NULL)
		return 0;
	return strstr(in.dli_fname, "librabbitmq") != NULL ? 1 : 0;
}

static unsigned long fail_any(const struct session *session)
{
	unsigned long n = 0;
	const void *failed;
	do {
		n++;
		(void)snprintf(trying, sizeof trying, "malloc %lu, %s\n", n, session->path);
		long before = heap_blocks();
		if (!heap_fail_at(n))
			return 0;
		(void)run(session);
		failed = heap_failed_for();
		(void)heap_fail_at(0);
		long left = heap_blocks() - before;
		must(left == 0 || left == forgotten(failed));
		must(n < RUNS_MOST);
	} while (failed != NULL);
	return n - 1;
}

static void read_session(struct session *session)
{
	FILE *file = fopen(session->path, "re");
	must(file != NULL);
	session->size = fread(session->bytes, 1, sizeof session->bytes, file);
	must(session->size < sizeof session->bytes);
	(void)fclose(file);
}

static void try_session(struct session *session, const char *name)
{
	must(run(session));
	unsigned long ours = fail_ours(session);
	unsigned long any = fail_any(session);
	unsigned said = session->bytes[1], turns = said & ~(unsigned)SMALL_RELOADS;
	printf("%s, %u turns%s: %lu allocations of ours, %lu in all\n", name, turns,
	       said != turns ? ", reloaded" : "", ours, any);
}

static unsigned try_folder(struct session *session, const char *folder)
{
	unsigned sessions = 0;
	DIR *dir = opendir(folder);
	must(dir != NULL);
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(session->path, sizeof session->path, "%s/%s", folder, entry->d_name);
		read_session(session);
		try_session(session, entry->d_name);
		for (size_t i = 0; i < sizeof reload_turns; i++) {
			session->bytes[1] = SMALL_RELOADS | reload_turns[i];
			try_session(session, entry->d_name);
		}
		sessions++;
	}
	(void)closedir(dir);
	return sessions;
}

int main(int argc, char **argv)
{
	static struct session session;
	if (argc != 3) {
		fprintf(stderr, "usage: %s amqp|redis FOLDER\n", argv[0]);
		return 64;
	}
	(void)signal(SIGABRT, died);
	(void)signal(SIGSEGV, died);
	session.of = strcmp(argv[1], "amqp") == 0 ? &small_rabbitmq : &small_redis;
	return try_folder(&session, argv[2]) > 0 ? 0 : 1;
}
