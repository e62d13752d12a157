/* One array for all children: the lasting part is laid out once, each job fills the slots behind it.
 *
 * The lasting part is what the settings give a value to, then whose process it is, then what is let
 * through of the worker's own; of one name only the first counts. Variables that describe a job are never
 * let through, because a worker that is itself somebody's job must not pass on that job's id or
 * trace as its own child's. */
#include "executors/child/environment.h"

#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "settings/identity.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const job_names[] = {
    "OUTFALL_JOB_ID",     "OUTFALL_SOURCE",        "OUTFALL_QUEUE",
    "OUTFALL_ATTEMPT",    "OUTFALL_INTERRUPTIONS", "OUTFALL_REDELIVERED",
    "OUTFALL_TIMEOUT_MS", "OUTFALL_CONTENT_TYPE",  "TRACEPARENT",
};
enum { JOB_NAMES = sizeof job_names / sizeof job_names[0] };

struct environment {
	char **envp; /* `lasting` texts, then the job's, then NULL */
	size_t lasting;
	char *lasting_text, *next; /* `next`: where the next lasting text goes */
	char *job_text;
	size_t job_text_bytes;
	size_t used, entries; /* while the job's part is filled */
};

static size_t name_length(const char *entry)
{
	return strcspn(entry, "=");
}

static bool same_name(const char *a, const char *b)
{
	size_t len = name_length(a);
	return len == name_length(b) && strncmp(a, b, len) == 0;
}

static bool describes_job(const char *entry)
{
	for (size_t i = 0; i < JOB_NAMES; i++)
		if (same_name(entry, job_names[i]))
			return true;
	return false;
}

/* --- the lasting part ------------------------------------------------------------------------------ */

static bool is_value(const char *wanted)
{
	return strchr(wanted, '=') != NULL;
}

/* "NAME", or "PREFIX_*". */
static bool lets_through(const char *wanted, const char *entry)
{
	size_t len = strlen(wanted);
	if (len > 0 && wanted[len - 1] == '*')
		return strncmp(wanted, entry, len - 1) == 0;
	return !is_value(wanted) && same_name(wanted, entry);
}

static bool is_named(const char *const *names, const char *entry)
{
	for (; names != NULL && *names != NULL; names++)
		if (!is_value(*names) && same_name(*names, entry))
			return true;
	return false;
}

/* A pattern that happens to fit is no wish for a password. */
static bool is_wanted(const char *const *wanted, const char *const *withheld, const char *entry)
{
	if (is_named(withheld, entry))
		return is_named(wanted, entry);
	if (wanted == NULL)
		return true;
	for (; *wanted != NULL; wanted++)
		if (!is_value(*wanted) && lets_through(*wanted, entry))
			return true;
	return false;
}

static bool is_there(const struct environment *env, const char *entry)
{
	for (size_t i = 0; i < env->lasting; i++)
		if (same_name(env->envp[i], entry))
			return true;
	return false;
}

static void keep(struct environment *env, const char *name, const char *equals, const char *value)
{
	char *to = env->next;
	env->next = stpcpy(stpcpy(stpcpy(to, name), equals), value) + 1;
	if (describes_job(to) || is_there(env, to))
		env->next = to;
	else
		env->envp[env->lasting++] = to;
}

/* As a log-in would; the worker's own would send an unprivileged program to root's files. */
static const struct {
	const char *name;
	size_t from; /* where the identity has it */
} identity_names[] = {
    {"USER",    offsetof(struct identity, name)},
    {"LOGNAME", offsetof(struct identity, name)},
    {"HOME",    offsetof(struct identity, home)},
};
enum { IDENTITY_NAMES = sizeof identity_names / sizeof identity_names[0] };

static const char *identity_value(const struct identity *as, size_t i)
{
	return *(char *const *)((const char *)as + identity_names[i].from);
}

static void keep_all(struct environment *env, char *const *inherited, const char *const *wanted,
		     const char *const *withheld, const struct identity *as)
{
	for (const char *const *value = wanted; value != NULL && *value != NULL; value++)
		if (is_value(*value))
			keep(env, *value, "", "");
	for (size_t i = 0; i < IDENTITY_NAMES && as->name != NULL; i++)
		keep(env, identity_names[i].name, "=", identity_value(as, i));
	for (; *inherited != NULL; inherited++)
		if (is_wanted(wanted, withheld, *inherited))
			keep(env, *inherited, "", "");
}

/* No less than keep_all() needs. */
static void measure(char *const *inherited, const char *const *wanted, const struct identity *as,
		    size_t *ret_entries, size_t *ret_bytes)
{
	size_t entries = 0, bytes = 0;
	for (; *inherited != NULL; inherited++, entries++)
		bytes += strlen(*inherited) + 1;
	for (; wanted != NULL && *wanted != NULL; wanted++, entries++)
		bytes += strlen(*wanted) + 1;
	for (size_t i = 0; i < IDENTITY_NAMES && as->name != NULL; i++, entries++)
		bytes += strlen(identity_names[i].name) + strlen(identity_value(as, i)) + 2;
	*ret_entries = entries;
	*ret_bytes = bytes;
}

struct environment *environment_create(char *const *inherited, const char *const *wanted,
				       const char *const *withheld, const struct identity *as)
{
	size_t entries, bytes;
	measure(inherited, wanted, as, &entries, &bytes);
	struct environment *env = memory_clear(1, sizeof *env);
	if (env == NULL)
		return NULL;
	env->envp = memory_clear(entries + JOB_NAMES + 1, sizeof *env->envp);
	env->lasting_text = env->next = memory_take(bytes + 1);
	if (env->envp == NULL || env->lasting_text == NULL) {
		environment_destroy(env);
		return NULL;
	}
	keep_all(env, inherited, wanted, withheld, as);
	return env;
}

void environment_destroy(struct environment *env)
{
	if (env == NULL)
		return;
	memory_free(env->envp);
	memory_free(env->lasting_text);
	memory_free(env->job_text);
	memory_free(env);
}

/* --- the job's part --------------------------------------------------------------------------------- */

static bool make_room(struct environment *env, size_t bytes)
{
	if (bytes <= env->job_text_bytes)
		return true;
	char *text = memory_grow(env->job_text, bytes);
	if (text == NULL)
		return false;
	env->job_text = text;
	env->job_text_bytes = bytes;
	return true;
}

static void put(struct environment *env, const char *name, const char *value)
{
	char *to = env->job_text + env->used;
	int bytes = snprintf(to, env->job_text_bytes - env->used, "%s=%s", name, value);
	must(bytes > 0 && (size_t)bytes < env->job_text_bytes - env->used);
	env->used += (size_t)bytes + 1;
	env->envp[env->lasting + env->entries++] = to;
}

static void put_number(struct environment *env, const char *name, uint64_t number)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%" PRIu64, number);
	put(env, name, text);
}

char *const *environment_for(struct environment *env, const struct job *job, uint64_t timeout_ms)
{
	const char *queue = job->route->name;
	const char *source = job->route->source_name;
	size_t texts = strlen(job->id) + strlen(source) + strlen(queue) +
		       strlen(job->content_type) + strlen(job->traceparent);
	if (!make_room(env, texts + JOB_NAMES * 48)) /* a name, '=', a number, NUL */
		return NULL;
	env->used = env->entries = 0;
	put(env, "OUTFALL_JOB_ID", job->id);
	put(env, "OUTFALL_SOURCE", source);
	put(env, "OUTFALL_QUEUE", queue);
	put_number(env, "OUTFALL_ATTEMPT", job->attempt);
	put_number(env, "OUTFALL_INTERRUPTIONS", job->interruptions);
	put_number(env, "OUTFALL_REDELIVERED", job_may_have_run(job) ? 1 : 0);
	put_number(env, "OUTFALL_TIMEOUT_MS", timeout_ms);
	put(env, "OUTFALL_CONTENT_TYPE", job->content_type);
	if (job->traceparent[0] != '\0')
		put(env, "TRACEPARENT", job->traceparent);
	must(env->entries <= JOB_NAMES);
	env->envp[env->lasting + env->entries] = NULL;
	return env->envp;
}

char *const *environment_without_job(struct environment *env)
{
	env->envp[env->lasting] = NULL;
	return env->envp;
}
