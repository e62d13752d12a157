/* One list, in the order of the tags, holds every delivery that has no answer; a "multiple" answer
 * for tag T speaks of all of them up to T, so it may be used exactly for a run of finished jobs at
 * the head of that list. Runs alternate: three to acknowledge, two to requeue, one to acknowledge
 * are three frames.
 *
 * What is finished behind an unfinished one has to be named tag by tag. Those are found in an array
 * of the ready, because walking the list would cost as much as a channel holds.
 *
 * Dropped: a ring indexed by tag. The tags outstanding are few, but one slow job keeps its low tag
 * while a million others pass, and the ring would have to span them all. */
#include "sources/rabbitmq/rabbitmq_tags.h"

#include "base/memory.h"
#include "base/must.h"
#include "job/job.h"

enum step { STEP_OUTSTANDING, STEP_TOLD, STEP_READY }; /* READY, and the answer on top of it */

void tags_init(struct tags *tags)
{
	*tags = (struct tags){0};
	list_init(&tags->outstanding);
	list_init(&tags->told);
	list_init(&tags->proving);
}

void tags_fini(struct tags *tags)
{
	must(list_empty(&tags->outstanding) && list_empty(&tags->told) &&
	     list_empty(&tags->proving));
	memory_free(tags->ready);
	tags->ready = NULL;
}

static bool make_room(struct tags *tags)
{
	if (tags->n_outstanding < tags->room)
		return true;
	size_t room = tags->room ? 2 * tags->room : 16;
	struct job **ready = memory_grow(tags->ready, room * sizeof(struct job *));
	if (ready == NULL)
		return false;
	tags->ready = ready;
	tags->room = room;
	return true;
}

enum status tags_take(struct tags *tags, struct job *job)
{
	if (!make_room(tags))
		return ST_NOMEM;
	must(!list_linked(&job->in_source));
	list_append(&tags->outstanding, &job->in_source);
	job->source_step = STEP_OUTSTANDING;
	tags->n_outstanding++;
	return ST_OK;
}

void tags_finish(struct tags *tags, struct job *job, enum tag_answer answer)
{
	must(job->source_step == STEP_OUTSTANDING && list_linked(&job->in_source));
	must(tags->n_ready < tags->n_outstanding);
	job->source_step = STEP_READY + (unsigned)answer;
	tags->ready[tags->n_ready++] = job;
}

static bool is_ready(const struct job *job)
{
	return job->source_step >= STEP_READY;
}

static enum tag_answer answer_to(const struct job *job)
{
	must(is_ready(job));
	return (enum tag_answer)(job->source_step - STEP_READY);
}

static struct job *first_outstanding(const struct tags *tags)
{
	if (list_empty(&tags->outstanding))
		return NULL;
	return list_entry(tags->outstanding.next, struct job, in_source);
}

static void leave_outstanding(struct tags *tags, struct job *job)
{
	must(tags->n_outstanding > 0);
	list_remove(&job->in_source);
	tags->n_outstanding--;
}

static void become_told(struct tags *tags, struct job *job)
{
	leave_outstanding(tags, job);
	job->source_step = STEP_TOLD;
	list_append(&tags->told, &job->in_source);
	tags->told_bytes += job->body.len;
}

/* basic.reject cannot speak of several. */
static bool joins_run(const struct job *job, enum tag_answer answer)
{
	return job != NULL && is_ready(job) && answer <= ANSWER_REQUEUE && answer_to(job) == answer;
}

static void tell_run(struct tags *tags, const struct tag_sink *sink)
{
	struct job *job = first_outstanding(tags);
	enum tag_answer answer = answer_to(job);
	enum amqp_reach reach = AMQP_ONE;
	uint64_t tag = job->source_tag;
	become_told(tags, job);
	while (joins_run(job = first_outstanding(tags), answer)) {
		tag = job->source_tag;
		reach = AMQP_UP_TO;
		become_told(tags, job);
	}
	sink->tell(sink->arg, answer, tag, reach);
}

/* Returns how many answers are left of `most`. */
static size_t tell_prefix(struct tags *tags, size_t most, const struct tag_sink *sink)
{
	const struct job *job;
	for (; most > 0 && (job = first_outstanding(tags)) != NULL && is_ready(job); most--)
		tell_run(tags, sink);
	return most;
}

static void forget_told(struct tags *tags)
{
	size_t kept = 0;
	for (size_t i = 0; i < tags->n_ready; i++)
		if (is_ready(tags->ready[i]))
			tags->ready[kept++] = tags->ready[i];
	tags->n_ready = kept;
}

static void tell_singly(struct tags *tags, size_t most, const struct tag_sink *sink)
{
	size_t n = tags->n_ready < most ? tags->n_ready : most;
	for (size_t i = 0; i < n; i++) {
		struct job *job = tags->ready[i];
		enum tag_answer answer = answer_to(job);
		become_told(tags, job);
		sink->tell(sink->arg, answer, job->source_tag, AMQP_ONE);
	}
	forget_told(tags);
}

void tags_tell(struct tags *tags, enum tags_which which, size_t most, const struct tag_sink *sink)
{
	most = tell_prefix(tags, most, sink);
	forget_told(tags);
	if (which == TAGS_ALL)
		tell_singly(tags, most, sink);
}

size_t tags_count_ready(const struct tags *tags, enum tag_answer answer)
{
	size_t n = 0;
	for (size_t i = 0; i < tags->n_ready; i++)
		n += answer_to(tags->ready[i]) == answer;
	return n;
}

void tags_begin_proof(struct tags *tags)
{
	list_splice(&tags->proving, &tags->told);
	tags->told_bytes = 0;
}

void tags_doubt(struct tags *tags)
{
	list_splice(&tags->proving, &tags->told);
	list_splice(&tags->told, &tags->proving);
}

struct job *tags_take_proved(struct tags *tags)
{
	struct list *it = list_take_first(&tags->proving);
	return it != NULL ? list_entry(it, struct job, in_source) : NULL;
}

struct job *tags_take_outstanding(struct tags *tags)
{
	struct job *job = first_outstanding(tags);
	tags->n_ready = 0; /* they are outstanding too, and go with the rest */
	if (job != NULL)
		leave_outstanding(tags, job);
	return job;
}
