/* A copy either arrives or rests: one that bounced (its queue does not exist or is refused, the broker
 * had no room) waits on the resting list, and all that rest are sent again together, after a wait that
 * doubles to ten seconds and starts over when one of them arrives. The job stays unsettled meanwhile,
 * which the drain shows by name. When it cannot wait any longer, the broker still has the original.
 *
 * A copy that goes back into its own queue saves a checkpoint, and that is worth less than the job and
 * than the time of a drain. So it never rests: if the broker will not have it, the original is given
 * back instead, without the new checkpoint. The same while somebody waits and the publishing connection
 * is not there; but only what was never sent, else the job could be in the queue
 * twice. And it is not sent before our own consumer has gone from the queue (released): on this other
 * connection it could overtake basic.cancel, come back to us, and count as one interruption more.
 *
 * While the broker has blocked us (connection.blocked, an alarm) it confirms nothing, and that can take hours. A
 * drain that waited for it would sit out its deadline, and then the originals go back anyway: so they go back
 * at once, unsettled, sent or not. What was sent may be read after the alarm, and then the job is there twice. */
#include "sources/rabbitmq/rabbitmq_copies.h"

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/must.h"
#include "job/job.h"
#include "loop/loop.h"
#include "sources/rabbitmq/rabbitmq_link.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_publisher.h"
#include "sources/rabbitmq/rabbitmq_queue.h"
#include "sources/rabbitmq/rabbitmq_settings.h"

#include <stdio.h>

struct copy {
	struct publication publication;
	struct list in_all;
	struct list in_resting;
	struct job *job;
	enum rabbitmq_copy_for purpose;
	const char *from; /* the queue it was taken from */
	bool has_rested;
	bool has_checkpoint;
	bool waits_for_release;
};

enum { HURRY_MS = 1000 };

struct rabbitmq_copies {
	struct log *log;
	const struct rabbitmq_settings *settings;
	const struct rabbitmq_copies_events *events;
	void *arg;
	struct publisher *publisher;
	struct list all;
	size_t count;
	struct list resting;
	struct timer *again;
	struct reconnect backoff;
	struct timer *hurry;
};

static struct copy *of_publication(struct publication *publication)
{
	return list_entry(publication, struct copy, publication);
}

static void drop(struct rabbitmq_copies *copies, struct copy *copy)
{
	publisher_withdraw(copies->publisher, &copy->publication);
	list_remove(&copy->in_resting);
	list_remove(&copy->in_all);
	copies->count--;
	memory_free((char *)(uintptr_t)copy->publication.encoded.ptr);
	memory_free(copy);
}

static void on_arrived(void *arg, struct publication *publication)
{
	struct rabbitmq_copies *copies = arg;
	struct copy *copy = of_publication(publication);
	struct job *job = copy->job;
	if (copy->has_rested)
		reconnect_worked(&copies->backoff);
	drop(copies, copy);
	copies->events->arrived(copies->arg, job);
}

static const char *how_it_goes_back(const struct copy *copy)
{
	if (copy->purpose != COPY_FOR_RETURN)
		return "job goes back unsettled, its copy was not confirmed";
	return job_left_new_checkpoint(copy->job)
		   ? "job goes back without its new checkpoint"
		   : "job goes back as it is, and its queue's delivery limit counts that";
}

static void give_up(struct rabbitmq_copies *copies, struct copy *copy, const struct error *why)
{
	struct job *job = copy->job;
	log_say(copies->log, LOG_WARN, how_it_goes_back(copy),
		kv_text("source", copies->settings->name), kv_text("queue", copy->from),
		KV_JOB(job), kv_why(why));
	drop(copies, copy);
	copies->events->gave_up(copies->arg, job);
}

static void refuse(struct rabbitmq_copies *copies, struct copy *copy, const struct error *why)
{
	struct job *job = copy->job;
	log_say(copies->log, LOG_ERROR, "job is rejected, no copy of it can be made",
		kv_text("source", copies->settings->name), kv_text("queue", copy->from),
		KV_JOB(job), kv_why(why));
	drop(copies, copy);
	copies->events->refused(copies->arg, job);
}

/* Properties and headers have to fit into one frame. Whether this is possible at all. */
static bool leave_checkpoint_out(struct rabbitmq_copies *copies, struct copy *copy)
{
	struct publication *it = &copy->publication;
	struct span encoded;
	if (!copy->has_checkpoint ||
	    rabbitmq_message_copy(copy->job, copy->purpose, copy->from, span_of(NULL, 0), &encoded,
				  NULL) != ST_OK)
		return false;
	log_say(copies->log, LOG_WARN, "checkpoint left out, it does not fit into the message",
		kv_text("source", copies->settings->name), kv_text("queue", copy->from),
		KV_JOB(copy->job), kv_int("bytes", (int64_t)job_next_checkpoint(copy->job).len));
	memory_free((char *)(uintptr_t)it->encoded.ptr);
	it->encoded = encoded;
	copy->has_checkpoint = false;
	return true;
}

static void on_bounced(void *arg, struct publication *publication, const struct error *why)
{
	struct rabbitmq_copies *copies = arg;
	struct copy *copy = of_publication(publication);
	if (copy->purpose == COPY_FOR_RETURN) {
		give_up(copies, copy, why);
		return;
	}
	if (why->status == ST_INVALID && leave_checkpoint_out(copies, copy)) {
		publisher_send(copies->publisher, publication);
		return;
	}
	if (why->status == ST_INVALID || why->status == ST_FULL) { /* it never will fit */
		refuse(copies, copy, why);
		return;
	}
	if (list_empty(
		&copies->resting)) { /* else the others' wait is its too, and has been told */
		uint64_t wait_ms = reconnect_failed(&copies->backoff, rabbitmq_random());
		timer_start(copies->again, wait_ms);
		log_say(copies->log, LOG_WARN, "copy of a job could not be placed, trying again",
			kv_text("source", copies->settings->name), KV_JOB(copy->job),
			kv_text("to", publication->queue), kv_int("wait_ms", (int64_t)wait_ms),
			kv_why(why));
	}
	copy->has_rested = true;
	list_append(&copies->resting, &copy->in_resting);
}

static void send_again(void *arg)
{
	struct rabbitmq_copies *copies = arg;
	struct list due;
	list_init(&due);
	list_splice(&due, &copies->resting); /* what bounces at once rests anew */
	struct list *it;
	while ((it = list_take_first(&due)) != NULL)
		publisher_send(copies->publisher,
			       &list_entry(it, struct copy, in_resting)->publication);
}

/* An alarm may last for hours, and nothing is confirmed before its end. Whether there is one is asked first: what is
 * withdrawn in the middle of its body takes the connection along. */
static void give_up_hopeless(void *arg)
{
	struct rabbitmq_copies *copies = arg;
	bool blocked = rabbitmq_copies_are_blocked(copies);
	struct error why;
	(void)error_set(&why, ST_TIMEOUT,
			blocked ? "publishing is blocked by the broker"
				: "its copy could not be sent in time");
	list_each_safe (it, &copies->all) {
		struct copy *copy = list_entry(it, struct copy, in_all);
		if (blocked || (copy->purpose == COPY_FOR_RETURN && !copy->publication.sent))
			give_up(copies, copy, &why);
	}
	rabbitmq_copies_hurry(copies);
}

void rabbitmq_copies_hurry(struct rabbitmq_copies *copies)
{
	if (!timer_armed(copies->hurry) && !list_empty(&copies->all))
		timer_start(copies->hurry, HURRY_MS);
}

static void on_closed(void *arg)
{
	struct rabbitmq_copies *copies = arg;
	copies->events->closed(copies->arg);
}

static const struct publisher_events on_publisher = {
    .arrived = on_arrived,
    .bounced = on_bounced,
    .closed = on_closed,
};

static enum rabbitmq_copy_for purpose_of(const struct job *job)
{
	switch (job->verdict.fate) {
	case FATE_RETRIED:
		return COPY_FOR_RETRY;
	case FATE_RETURNED:
		return COPY_FOR_RETURN;
	case FATE_DEAD:
		return COPY_FOR_DEAD;
	case FATE_DONE:
	case FATE_UNSETTLED:
	case FATE_COUNT:
		break;
	}
	must(false && "a fate that takes a copy");
}

static uint64_t delay_of(const struct verdict *verdict)
{
	return verdict->delay_asked ? rabbitmq_retry_delay_ms(verdict->delay_ms)
				    : verdict->delay_ms;
}

enum status rabbitmq_copies_begin(struct rabbitmq_copies *copies, struct job *job,
				  const struct queue_settings *queue, enum rabbitmq_copy_when when,
				  struct error *why)
{
	enum rabbitmq_copy_for purpose = purpose_of(job);
	struct span checkpoint = job_next_checkpoint(job);
	must(purpose != COPY_FOR_DEAD || queue->dead != NULL);
	struct copy *copy = memory_clear(1, sizeof *copy);
	if (copy == NULL)
		return error_set(why, ST_NOMEM, "copy of a job: out of memory");
	struct publication *to = &copy->publication;
	enum status st =
	    rabbitmq_message_copy(job, purpose, queue->name, checkpoint, &to->encoded, why);
	if (st != ST_OK) {
		memory_free(copy);
		return st;
	}
	to->queue = purpose == COPY_FOR_DEAD ? queue->dead : queue->name;
	to->delay_ms = purpose == COPY_FOR_RETRY ? delay_of(&job->verdict) : 0;
	to->id = span_text(job->id);
	to->body = job->body;
	copy->job = job;
	copy->purpose = purpose;
	copy->from = queue->name;
	copy->has_checkpoint = checkpoint.len > 0;
	list_init(&to->node);
	list_init(&copy->in_resting);
	list_init(&copy->in_all);
	list_append(&copies->all, &copy->in_all);
	copies->count++;
	copy->waits_for_release = when == COPY_WHEN_RELEASED;
	if (!copy->waits_for_release)
		publisher_send(copies->publisher, to);
	return ST_OK;
}

void rabbitmq_copies_release(struct rabbitmq_copies *copies, const struct route *route)
{
	list_each_safe (it, &copies->all) {
		struct copy *copy = list_entry(it, struct copy, in_all);
		if (copy->job->route != route || !copy->waits_for_release)
			continue;
		copy->waits_for_release = false;
		publisher_send(copies->publisher, &copy->publication);
	}
}

void rabbitmq_copies_forget(struct rabbitmq_copies *copies, const struct route *route)
{
	list_each_safe (it, &copies->all) {
		struct copy *copy = list_entry(it, struct copy, in_all);
		if (copy->job->route == route)
			drop(copies, copy);
	}
}

bool rabbitmq_copies_are_blocked(const struct rabbitmq_copies *copies)
{
	return publisher_is_blocked(copies->publisher);
}

size_t rabbitmq_copies_count(const struct rabbitmq_copies *copies)
{
	return copies->count;
}

enum status rabbitmq_copies_create(struct loop *loop, struct log *log,
				   const struct rabbitmq_settings *settings, const char *worker,
				   const struct rabbitmq_copies_events *events, void *arg,
				   struct rabbitmq_copies **ret_copies, struct error *why)
{
	char name[128];
	(void)snprintf(name, sizeof name, "%.100s (publishing)", worker);
	struct rabbitmq_copies *copies = memory_clear(1, sizeof *copies);
	if (copies == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	copies->log = log;
	copies->settings = settings;
	copies->events = events;
	copies->arg = arg;
	list_init(&copies->all);
	list_init(&copies->resting);
	copies->again = timer_create_on(loop, send_again, copies);
	enum status st = ST_NOMEM;
	copies->hurry = timer_create_on(loop, give_up_hopeless, copies);
	if (copies->again == NULL || copies->hurry == NULL)
		(void)error_set(why, st, "out of memory");
	else
		st = publisher_create(loop, log, settings, name, NULL, PUBLISHER_COMES_BACK,
				      &on_publisher, copies, &copies->publisher, why);
	if (st != ST_OK) {
		rabbitmq_copies_destroy(copies);
		return st;
	}
	*ret_copies = copies;
	return ST_OK;
}

void rabbitmq_copies_close(struct rabbitmq_copies *copies)
{
	timer_stop(copies->again);
	timer_stop(copies->hurry);
	publisher_close(copies->publisher);
}

void rabbitmq_copies_destroy(struct rabbitmq_copies *copies)
{
	if (copies == NULL)
		return;
	list_each_safe (it, &copies->all) {
		drop(copies, list_entry(it, struct copy, in_all));
	}
	publisher_destroy(copies->publisher);
	timer_destroy(copies->again);
	timer_destroy(copies->hurry);
	memory_free(copies);
}
