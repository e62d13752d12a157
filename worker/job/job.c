/* One allocation holds the struct, its texts and its body: one malloc and one free for each job,
 * and nothing that can be left behind. Only what a running job says of itself is apart, because few
 * do and nobody knows how long it will be. The body comes last, because it is the part that the source
 * fills after the fact, frame by frame. */
#include "job/job.h"

#include "base/memory.h"

#include <string.h>

const char *outcome_name(enum outcome_kind kind)
{
	static const char *const names[] = {
	    [OUTCOME_DONE] = "done",           [OUTCOME_RETRY] = "retry",
	    [OUTCOME_REJECT] = "reject",       [OUTCOME_RETURN] = "return",
	    [OUTCOME_ABANDONED] = "abandoned",
	};
	return names[kind];
}

const char *fate_name(enum fate fate)
{
	static const char *const names[FATE_COUNT] = {
	    [FATE_DONE] = "done",         [FATE_RETRIED] = "retried",     [FATE_DEAD] = "dead",
	    [FATE_RETURNED] = "returned", [FATE_UNSETTLED] = "unsettled",
	};
	return names[fate];
}

/* Copies `text` to *at, NUL-terminated, and moves *at behind it. */
static char *place_text(char **at, struct span text)
{
	char *placed = *at;
	if (text.len > 0)
		memcpy(placed, text.ptr, text.len);
	placed[text.len] = '\0';
	*at += text.len + 1;
	return placed;
}

static struct span place_bytes(char **at, struct span bytes)
{
	struct span placed = span_of(*at, bytes.len);
	if (bytes.len > 0)
		memcpy(*at, bytes.ptr, bytes.len);
	*at += bytes.len;
	return placed;
}

struct job *job_create(const struct job_facts *facts)
{
	size_t texts = facts->id.len + facts->content_type.len + facts->traceparent.len + 3;
	size_t bytes = sizeof(struct job) + texts + facts->origin.len + facts->checkpoint.len;
	if (facts->body_bytes > SIZE_MAX - bytes - 1)
		return NULL;
	struct job *job = memory_take(bytes + facts->body_bytes + 1);
	if (job == NULL)
		return NULL;
	memset(job, 0, sizeof *job);
	list_init(&job->in_ledger);
	list_init(&job->in_lane);
	list_init(&job->in_route);
	list_init(&job->in_source);
	list_init(&job->in_executor);
	list_init(&job->recall.in_table);
	job->route = facts->route;
	job->serial = facts->serial;
	job->attempt = facts->attempt;
	job->interruptions = facts->interruptions;
	job->crashes = facts->crashes;
	job->lost = facts->lost;
	job->redelivered = facts->redelivered;
	job->id_made_up = facts->id_made_up;
	job->expired = facts->expired;

	char *at = (char *)(job + 1);
	job->id = place_text(&at, facts->id);
	job->content_type = place_text(&at, facts->content_type);
	job->traceparent = place_text(&at, facts->traceparent);
	job->origin = place_bytes(&at, facts->origin);
	job->checkpoint = place_bytes(&at, facts->checkpoint);
	at[facts->body_bytes] = '\0'; /* a handler that forgets the length reads no further */
	job->body = span_of(at, facts->body_bytes);
	return job;
}

size_t job_bytes(const struct job *job)
{
	size_t note = job->note != NULL ? strlen(job->note) + 1 : 0;
	size_t own = (size_t)(job->body.ptr - (const char *)job) + job->body.len + 1;
	return own + note + job->left.len;
}

char *job_body(struct job *job)
{
	return (char *)job->body.ptr;
}

static char *copy_of(struct span bytes)
{
	char *copy = memory_take(bytes.len + 1);
	if (copy == NULL)
		return NULL;
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	copy[bytes.len] = '\0';
	return copy;
}

void job_note(struct job *job, double progress, struct span note)
{
	if (progress >= 0)
		job->progress = progress < 1 ? progress : 1;
	if (note.len == 0)
		return;
	memory_free(job->note);
	job->note = copy_of(note);
}

void job_leave_checkpoint(struct job *job, struct span bytes)
{
	char *copy = copy_of(bytes);
	if (copy == NULL)
		return; /* an older one is better than none */
	memory_free(job->left.bytes);
	job->left = (struct left_checkpoint){copy, bytes.len, true};
}

void job_explain(struct job *job, const struct failure *said)
{
	struct failure *failure = failure_create(said);
	if (failure == NULL)
		return;
	failure_destroy(job->failure);
	job->failure = failure;
}

struct span job_reason(const struct job *job)
{
	if (job->failure != NULL && job->failure->message.len > 0 && !job->verdict.poisonous)
		return job->failure->message;
	return span_text(job->outcome.reason);
}

struct span job_next_checkpoint(const struct job *job)
{
	return job->left.set ? span_of(job->left.bytes, job->left.len) : job->checkpoint;
}

bool job_left_new_checkpoint(const struct job *job)
{
	return !span_equal(job_next_checkpoint(job), job->checkpoint);
}

void job_destroy(struct job *job)
{
	if (job == NULL)
		return;
	memory_free(job->note);
	memory_free(job->left.bytes);
	failure_destroy(job->failure);
	memory_free(job);
}
