/* fake_host - the core as an executor sees it: one queue of one source, and every end written down.
 *
 * Thread: the loop's, which is the test's.
 * Owns:   the loop, the log's pipe, and each job made here, until fake_host_close().
 * Fails:  the test, by assertion. */
#ifndef OUTFALL_TESTS_FAKE_HOST_H
#define OUTFALL_TESTS_FAKE_HOST_H

#include "base/log.h"
#include "base/memory.h"
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "job/job.h"
#include "loop/loop.h"
#include "settings/settings.h"
#include "sources/source.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../cmocka_names.h"

struct fake_host {
	struct executor_host host;
	struct loop *loop;
	struct log *log;
	int log_fd; /* a file in memory */
	struct executor *executor;
	struct source source;
	struct route route;
	uint64_t serial;
	unsigned finished, retracted, not_begun;
	unsigned could, could_not; /* answers to probe() */
	char why_not[160];         /* of the last that could not */
	struct outcome last;       /* the outcome told last */
	uint64_t last_serial;
	unsigned kinds[OUTCOME_ABANDONED + 1];
	unsigned progressed, resized; /* how often */
	uint64_t extended_ms;         /* in all */
	size_t max_checkpoint_bytes;
	unsigned stop_at; /* loop_stop() when so many jobs have finished or were retracted */
	bool turns;       /* the loop runs: else there is nothing to stop */
	bool late;
	struct timer *deadline;
	/* Called for each end before the job is freed; may be NULL. */
	void (*on_finished)(struct fake_host *host, struct job *job);
};

static inline struct fake_host *fake_of(struct executor_host *host)
{
	return list_entry(host, struct fake_host, host);
}

static inline void fake_count(struct fake_host *fake, struct job *job)
{
	if (fake->turns && fake->finished + fake->retracted + fake->not_begun >= fake->stop_at)
		loop_stop(fake->loop);
	if (!job->stuck)
		job_destroy(job);
}

static inline void fake_finished(struct executor_host *host, struct job *job,
				 const struct outcome *outcome)
{
	struct fake_host *fake = fake_of(host);
	fake->finished++;
	fake->last = *outcome;
	fake->last_serial = job->serial;
	fake->kinds[outcome->kind]++;
	if (fake->on_finished != NULL)
		fake->on_finished(fake, job);
	fake_count(fake, job);
}

static inline void fake_retracted(struct executor_host *host, struct job *job)
{
	struct fake_host *fake = fake_of(host);
	fake->retracted++;
	fake->last_serial = job->serial;
	fake_count(fake, job);
}

static inline void fake_could_not_begin(struct executor_host *host, struct job *job,
					const char *why)
{
	struct fake_host *fake = fake_of(host);
	fake->not_begun++;
	fake->last_serial = job->serial;
	(void)snprintf(fake->why_not, sizeof fake->why_not, "%s", why);
	fake_count(fake, job);
}

static inline void fake_probed(struct executor_host *host, struct executor *executor,
			       const char *why)
{
	struct fake_host *fake = fake_of(host);
	(void)executor;
	fake->could += why == NULL;
	fake->could_not += why != NULL;
	(void)snprintf(fake->why_not, sizeof fake->why_not, "%s", why != NULL ? why : "");
	if (fake->turns)
		loop_stop(fake->loop);
}

static inline void fake_progress(struct executor_host *host, struct job *job, double done,
				 struct span note)
{
	fake_of(host)->progressed++;
	job_note(job, done, note);
}

static inline void fake_extend(struct executor_host *host, struct job *job, uint64_t more_ms)
{
	(void)job;
	fake_of(host)->extended_ms += more_ms;
}

static inline bool fake_checkpoint(struct executor_host *host, struct job *job, struct span bytes)
{
	if (bytes.len > fake_of(host)->max_checkpoint_bytes)
		return false;
	job_leave_checkpoint(job, bytes);
	return true;
}

static inline void fake_explain(struct executor_host *host, struct job *job,
				const struct failure *said)
{
	(void)host;
	job_explain(job, said);
}

static inline void fake_resized(struct executor_host *host, struct executor *executor)
{
	(void)executor;
	fake_of(host)->resized++;
}

static inline void fake_too_late(void *arg)
{
	struct fake_host *fake = arg;
	fake->late = true;
	loop_stop(fake->loop);
}

static inline void fake_host_open(struct fake_host *fake)
{
	*fake = (struct fake_host){
	    .host = {.finished = fake_finished,
		     .retracted = fake_retracted,
		     .could_not_begin = fake_could_not_begin,
		     .probed = fake_probed,
		     .progress = fake_progress,
		     .extend = fake_extend,
		     .checkpoint = fake_checkpoint,
		     .explain = fake_explain,
		     .resized = fake_resized},
	    .stop_at = 1,
	    .max_checkpoint_bytes = 1 << 16,
	};
	assert_int_equal(loop_create(&fake->loop, NULL), ST_OK);
	fake->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(fake->log_fd >= 0);
	fake->log = log_create(fake->log_fd, LOG_INFO, LOG_TEXT);
	fake->source.name = "main";
	fake->route.name = "emails";
	fake->route.source = &fake->source;
	fake->route.source_name = fake->source.name;
	fake->deadline = timer_create_on(fake->loop, fake_too_late, fake);
}

static inline void fake_host_close(struct fake_host *fake)
{
	timer_destroy(fake->deadline);
	loop_destroy(fake->loop);
	log_destroy(fake->log);
	close(fake->log_fd);
}

static inline struct job *fake_job(struct fake_host *fake, const void *body, size_t bytes)
{
	char id[24];
	(void)snprintf(id, sizeof id, "job-%u", (unsigned)++fake->serial);
	struct job_facts facts = {
	    .route = &fake->route,
	    .serial = fake->serial,
	    .attempt = 1,
	    .id = span_text(id),
	    .content_type = span_text("text/plain"),
	    .body_bytes = bytes,
	};
	struct job *job = job_create(&facts);
	assert_non_null(job);
	if (bytes > 0)
		memcpy(job_body(job), body, bytes);
	return job;
}

static inline void fake_start(struct fake_host *fake, struct job *job)
{
	fake->executor->ops->start(fake->executor, job);
}

static inline void fake_turn(struct fake_host *fake)
{
	fake->turns = true;
	loop_run(fake->loop);
	fake->turns = false;
}

/* Turns until `ends` jobs in all have ended. */
static inline void fake_run_until(struct fake_host *fake, unsigned ends)
{
	fake->stop_at = ends;
	fake->late = false;
	timer_start(fake->deadline,
		    120000); /* a thousand forks under a sanitizer, on a busy machine */
	if (fake->finished + fake->retracted + fake->not_begun < ends)
		fake_turn(fake);
	timer_stop(fake->deadline);
	assert_false(fake->late);
}

struct fake_wait {
	struct fake_host *fake;
	bool (*until)(void *arg);
	void *arg;
	struct timer *again;
};

static inline void fake_look(void *arg)
{
	struct fake_wait *wait = arg;
	if (wait->until(wait->arg))
		loop_stop(wait->fake->loop);
	else
		timer_start(wait->again, 1);
}

/* Turns until `until` says so. */
static inline void fake_run_while_not(struct fake_host *fake, bool (*until)(void *arg), void *arg)
{
	struct fake_wait wait = {fake, until, arg, NULL};
	wait.again = timer_create_on(fake->loop, fake_look, &wait);
	fake->late = false;
	timer_start(fake->deadline, 20000);
	timer_start(wait.again, 0);
	fake->stop_at = UINT_MAX;
	fake_turn(fake);
	timer_destroy(wait.again);
	timer_stop(fake->deadline);
	assert_false(fake->late);
}

/* What was logged so far, NUL-terminated; the caller frees it. */
static inline char *fake_log_text(struct fake_host *fake)
{
	off_t bytes = lseek(fake->log_fd, 0, SEEK_END);
	char *text = malloc((size_t)bytes + 1);
	assert_non_null(text);
	assert_int_equal(pread(fake->log_fd, text, (size_t)bytes, 0), bytes);
	text[bytes] = '\0';
	return text;
}

static inline void fake_assert_logged(struct fake_host *fake, const char *words)
{
	char *text = fake_log_text(fake);
	if (strstr(text, words) == NULL)
		fail_msg("not in the log: %s\n--- log:\n%s", words, text);
	free(text);
}

#endif
