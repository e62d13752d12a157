/* What makes two deliveries one job. An id that came with the job is compared, and the body on top, so
 * that a producer who uses an id twice loses nothing. The attempt is compared too: the copy for the next
 * one has the id and the body of the one that ended, and is all that is left of the job when the
 * broker has taken our answer after all. Without an id there is the body alone: jobs with
 * the same body are interchangeable, as long as each end kept here stands for a job that is still the
 * broker's. That is so when the broker was never told. When it was told and only the proof is missing,
 * the job may be gone, and its twin tomorrow is another job; so the core keeps such ends only for jobs
 * with ids.
 *
 * Why not keep hashes: a job that is taken for another is lost, so only equality will do. What a kept
 * job may cost is bounded by number and bytes. The time is bounded too, because a broker gives out again
 * at once what it was not told of; if it gave it to another worker, waiting for it is in vain. */
#include "job/recall.h"

#include "dispatch/routes.h"
#include "job/job.h"

#include <string.h>

enum {
	KEPT_MOST = 10000,
	KEPT_BYTES_MOST = 32 << 20,
};

#define KEPT_NS (UINT64_C(600) * 1000 * 1000 * 1000)

void recall_init(struct recall *recall)
{
	list_init(&recall->by_age);
	for (int i = 0; i < RECALL_BUCKETS; i++)
		list_init(&recall->buckets[i]);
	recall->count = recall->bytes = 0;
}

static struct job *of_age(struct list *node)
{
	return list_entry(node, struct job, in_ledger);
}

static void let_go(struct recall *recall, struct job *job)
{
	list_remove(&job->in_ledger);
	list_remove(&job->in_route);
	recall->count--;
	recall->bytes -= job->body.len;
}

static void forget(struct recall *recall, struct job *job)
{
	let_go(recall, job);
	job_destroy(job);
}

static void forget_first(struct recall *recall)
{
	forget(recall, of_age(recall->by_age.next));
}

void recall_fini(struct recall *recall)
{
	while (recall->count > 0)
		forget_first(recall);
}

static struct span key_of(const struct job *job)
{
	return job->id_made_up ? job->body : span_text(job->id);
}

/* FNV-1a over the ends of the key: it only spreads, and a body may be long. */
static struct list *bucket_of(struct recall *recall, const struct job *job)
{
	enum { LOOK_AT = 64 };
	struct span key = key_of(job);
	uint32_t hash = UINT32_C(2166136261) ^ (uint32_t)key.len;
	for (size_t i = 0; i < key.len && i < LOOK_AT; i++)
		hash = (hash ^ (unsigned char)key.ptr[i]) * UINT32_C(16777619);
	for (size_t i = key.len > LOOK_AT ? key.len - LOOK_AT : key.len; i < key.len; i++)
		hash = (hash ^ (unsigned char)key.ptr[i]) * UINT32_C(16777619);
	return &recall->buckets[hash % RECALL_BUCKETS];
}

static void forget_old(struct recall *recall, uint64_t now_ns)
{
	while (recall->count > 0 && now_ns - of_age(recall->by_age.next)->finished_ns > KEPT_NS)
		forget_first(recall);
}

void recall_keep(struct recall *recall, struct job **kept, uint64_t now_ns)
{
	struct job *job = *kept;
	*kept = NULL;
	forget_old(recall, now_ns);
	if (job->body.len > KEPT_BYTES_MOST) {
		job_destroy(job);
		return;
	}
	job->finished_ns = now_ns;
	list_append(&recall->by_age, &job->in_ledger);
	list_append(bucket_of(recall, job), &job->in_route);
	recall->count++;
	recall->bytes += job->body.len;
	while (recall->count > KEPT_MOST || recall->bytes > KEPT_BYTES_MOST)
		forget_first(recall);
}

bool recall_is_same(const struct job *a, const struct job *b)
{
	if (!route_is_same_queue(a->route, b->route) || a->id_made_up != b->id_made_up ||
	    a->attempt != b->attempt || !span_equal(a->body, b->body))
		return false;
	return a->id_made_up || strcmp(a->id, b->id) == 0;
}

struct job *recall_take(struct recall *recall, const struct job *job, uint64_t now_ns)
{
	forget_old(recall, now_ns);
	if (recall->count == 0)
		return NULL;
	list_each (it, bucket_of(recall, job)) {
		struct job *kept = list_entry(it, struct job, in_route);
		if (!recall_is_same(kept, job))
			continue;
		let_go(recall, kept);
		return kept;
	}
	return NULL;
}

void recall_part(struct recall *recall, const struct route *route, struct route *heir)
{
	list_each_safe (it, &recall->by_age) {
		struct job *job = of_age(it);
		if (job->route != route)
			continue;
		if (heir != NULL)
			job->route = heir;
		else
			forget(recall, job);
	}
}
