/* With wait_replicas each call is followed by WAIT, and nothing of its reply is believed before so many
 * replicas have confirmed: claimed jobs do not begin, settled ones are not called settled. Until then the
 * call is under way, and a connection that breaks leaves it in doubt like any other. When the replicas do
 * not answer in time the work goes on without them, and hardly waits for the next calls until they do:
 * the option makes duplicates rarer, it cannot make a failover exact, and work that stands still helps
 * nobody. */
#include "sources/redis/redis_list_replicas.h"

#include "base/log.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/source.h"

enum {
	/* For replicas that did not confirm the last time: enough for those that are back, and little for
	 * each call as long as they are not. */
	ALONE_WAIT_MS = 10,
};

static void say(const struct redis_replicas *r, enum log_level level, const char *event,
		int64_t confirmed)
{
	log_say(r->shared->log, level, event, kv_text("source", r->shared->source->name),
		kv_text("queue", r->list), kv_int("replicas", confirmed));
}

static void note_number(struct redis_replicas *r, int64_t confirmed)
{
	bool alone = confirmed < (int64_t)r->shared->wait_replicas;
	if (alone && !r->alone)
		say(r, LOG_WARN, "too few replicas confirmed in time, going on without", confirmed);
	if (!alone && r->alone)
		say(r, LOG_INFO, "replicas confirm again", confirmed);
	r->alone = alone;
}

/* A reply to a call that we have given up meanwhile says nothing any more. */
static void answered(void *arg, const struct reply *reply)
{
	struct redis_replicas *r = arg;
	struct error why;
	if (!r->waiting)
		return;
	if (reply->kind == REPLY_NUMBER) {
		note_number(r, reply->number);
		r->waiting = false;
		r->confirmed(r->arg);
		return;
	}
	if (reply->kind == REPLY_ERROR) /* "UNBLOCKED": not the master any more */
		(void)error_set(&why, resp_error_status(reply->text), "wait for replicas: %.*s",
				(int)reply->text.len, reply->text.ptr);
	else
		(void)error_set(&why, ST_PROTO, "wait for replicas: a reply that makes no sense");
	r->shared->link_failed(r->shared, &why);
}

void redis_replicas_ask(struct redis_replicas *r)
{
	struct resp *redis = r->shared->redis;
	uint64_t timeout_ms = r->shared->wait_timeout_ms;
	if (r->shared->wait_replicas == 0)
		return;
	if (r->alone && timeout_ms > ALONE_WAIT_MS)
		timeout_ms = ALONE_WAIT_MS;
	resp_begin(redis, 3, answered, r);
	resp_arg_text(redis, "WAIT");
	resp_arg_number(redis, r->shared->wait_replicas);
	resp_arg_number(redis, (int64_t)timeout_ms);
}

bool redis_replicas_await(struct redis_replicas *r)
{
	r->waiting = r->shared->wait_replicas > 0;
	return r->waiting;
}

void redis_replicas_give_up(struct redis_replicas *r)
{
	r->waiting = false;
}
