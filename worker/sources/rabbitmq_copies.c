/* A copy either arrives or rests: one that bounced (its queue does not exist, the broker had no
 * room) waits on the resting list, and all that rest are sent again together, after a wait that
 * doubles to ten seconds and starts over when one arrives. The job stays unsettled meanwhile, which
 * the drain shows by name. When it cannot wait any longer, the broker still has the original. */
#include "sources/rabbitmq_copies.h"

#include "base/list.h"
#include "base/memory.h"
#include "base/must.h"
#include "job/job.h"
#include "loop/loop.h"
#include "observe/log.h"
#include "settings/settings.h"
#include "sources/rabbitmq_link.h"
#include "sources/rabbitmq_message.h"
#include "sources/rabbitmq_publisher.h"

#include <stdio.h>

struct copy {
	struct publication publication;
	struct list in_all;
	struct list in_resting;
	struct job *job;
};

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
};

static struct copy *of_publication(struct publication *publication)
{
	return list_entry(publication, struct copy, publication);
}

static void drop(struct rabbitmq_copies *copies, struct copy *copy)
{
	publisher_withdraw(&copy->publication);
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
	drop(copies, copy);
	reconnect_worked(&copies->backoff);
	copies->events->arrived(copies->arg, job);
}

static void on_bounced(void *arg, struct publication *publication, const struct error *why)
{
	struct rabbitmq_copies *copies = arg;
	struct copy *copy = of_publication(publication);
	if (list_empty(
		&copies->resting)) { /* else the others' wait is its too, and has been told */
		uint64_t wait_ms = reconnect_failed(&copies->backoff, rabbitmq_random());
		timer_start(copies->again, wait_ms);
		log_say(copies->log, LOG_WARN, "copy of a job could not be placed, trying again",
			kv_text("source", copies->settings->name), kv_text("job", copy->job->id),
			kv_text("to", publication->queue), kv_int("wait_ms", (int64_t)wait_ms),
			kv_why(why));
	}
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

enum status rabbitmq_copies_begin(struct rabbitmq_copies *copies, struct job *job,
				  const struct queue_settings *queue, struct error *why)
{
	bool dead = job->verdict.fate == FATE_DEAD;
	must(dead ? queue->dead != NULL : job->verdict.fate == FATE_RETRIED);
	struct copy *copy = memory_clear(1, sizeof *copy);
	if (copy == NULL)
		return error_set(why, ST_NOMEM, "copy of a job: out of memory");
	struct publication *to = &copy->publication;
	enum status st = rabbitmq_message_copy(job, dead ? COPY_FOR_DEAD : COPY_FOR_RETRY,
					       queue->name, &to->encoded, why);
	if (st != ST_OK) {
		memory_free(copy);
		return st;
	}
	to->queue = dead ? queue->dead : queue->name;
	to->delay_ms = dead ? 0 : job->verdict.delay_ms;
	to->id = span_text(job->id);
	to->body = job->body;
	copy->job = job;
	list_init(&to->node);
	list_init(&copy->in_resting);
	list_init(&copy->in_all);
	list_append(&copies->all, &copy->in_all);
	copies->count++;
	publisher_send(copies->publisher, to);
	return ST_OK;
}

void rabbitmq_copies_forget(struct rabbitmq_copies *copies, const struct route *route)
{
	list_each_safe (it, &copies->all) {
		struct copy *copy = list_entry(it, struct copy, in_all);
		if (copy->job->route == route)
			drop(copies, copy);
	}
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
	if (copies->again == NULL)
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
	memory_free(copies);
}
