/* One array for all children: the inherited part is laid out once, each job fills the slots behind
 * it. Variables that describe a job are taken out of the inherited part, because a worker that is
 * itself somebody's job must not pass on that job's id or trace as its own child's. */
#include "executors/environment.h"

#include "base/memory.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const job_names[] = {
    "OUTFALL_JOB_ID",     "OUTFALL_SOURCE",        "OUTFALL_QUEUE",
    "OUTFALL_ATTEMPT",    "OUTFALL_INTERRUPTIONS", "OUTFALL_REDELIVERED",
    "OUTFALL_TIMEOUT_MS", "OUTFALL_CONTENT_TYPE",  "TRACEPARENT",
};
enum { JOB_NAMES = sizeof job_names / sizeof job_names[0] };

struct environment {
	char **envp; /* `inherited` texts, then the job's, then NULL */
	size_t inherited;
	char *inherited_text;
	char *job_text;
	size_t job_text_bytes;
	size_t used, entries; /* while the job's part is filled */
};

static bool describes_job(const char *entry)
{
	for (size_t i = 0; i < JOB_NAMES; i++) {
		size_t len = strlen(job_names[i]);
		if (strncmp(entry, job_names[i], len) == 0 && entry[len] == '=')
			return true;
	}
	return false;
}

static void measure(char *const *inherited, size_t *ret_entries, size_t *ret_bytes)
{
	size_t entries = 0, bytes = 0;
	for (; *inherited != NULL; inherited++, entries++)
		bytes += strlen(*inherited) + 1;
	*ret_entries = entries;
	*ret_bytes = bytes;
}

static void copy_inherited(struct environment *env, char *const *inherited)
{
	char *to = env->inherited_text;
	for (; *inherited != NULL; inherited++) {
		if (describes_job(*inherited))
			continue;
		size_t bytes = strlen(*inherited) + 1;
		memcpy(to, *inherited, bytes);
		env->envp[env->inherited++] = to;
		to += bytes;
	}
}

struct environment *environment_create(char *const *inherited)
{
	size_t entries, bytes;
	measure(inherited, &entries, &bytes);
	struct environment *env = memory_clear(1, sizeof *env);
	if (env == NULL)
		return NULL;
	env->envp = memory_clear(entries + JOB_NAMES + 1, sizeof *env->envp);
	env->inherited_text = memory_take(bytes);
	if (env->envp == NULL || env->inherited_text == NULL) {
		environment_destroy(env);
		return NULL;
	}
	copy_inherited(env, inherited);
	return env;
}

void environment_destroy(struct environment *env)
{
	if (env == NULL)
		return;
	memory_free(env->envp);
	memory_free(env->inherited_text);
	memory_free(env->job_text);
	memory_free(env);
}

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
	env->envp[env->inherited + env->entries++] = to;
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
	put_number(env, "OUTFALL_REDELIVERED", job->redelivered ? 1 : 0);
	put_number(env, "OUTFALL_TIMEOUT_MS", timeout_ms);
	put(env, "OUTFALL_CONTENT_TYPE", job->content_type);
	if (job->traceparent[0] != '\0')
		put(env, "TRACEPARENT", job->traceparent);
	must(env->entries <= JOB_NAMES);
	env->envp[env->inherited + env->entries] = NULL;
	return env->envp;
}
