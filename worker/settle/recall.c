/* One table, keyed by queue and id, for what runs and what has ended alike: whichever it is that comes
 * back, it is looked for once, and an exact match cannot lose to a similar one.
 *
 * Why only by an id that somebody else gave. Jobs with the same body may be different jobs: what tells them
 * apart stands in their headers, or nowhere. And of jobs without an id an end that we keep may stand for
 * one that another worker has run meanwhile, while the job that comes was never run by anybody. A job that
 * is taken for another is lost; a job that is not recognised runs twice, for which handlers are written.
 *
 * For the same reason an end is kept only as long as the broker may still have the job: sources tell when
 * all that they lost has been given out again, to whomever (recall_over). The time is bounded besides, should
 * they never come to know. What the kept ones may cost is bounded by number and bytes, whatever it is that
 * came with them or that they left.
 *
 * The attempt is compared because a copy for the next one has the id and the body of the job that has ended,
 * and is all that is left of it when the broker has taken our answer after all. */
#include "settle/recall.h"

#include "base/moves.h"
#include "base/must.h"
#include "dispatch/routes.h"
#include "job/job.h"
#include "sources/source.h"

#include <string.h>

enum {
	KEPT_MOST = 10000,
	KEPT_BYTES_MOST = 32 << 20,
};

#define KEPT_NS (UINT64_C(600) * 1000 * 1000 * 1000)

static const struct moves_row states[] = {
    [RECALL_NONE] = {"none",     MAY(RECALL_EXPECTED) | MAY(RECALL_WAITING) | MAY(RECALL_OVER) |
				 MAY(RECALL_KEPT)                },
    [RECALL_EXPECTED] = {"expected",
                     MAY(RECALL_MET) | MAY(RECALL_OVER) | MAY(RECALL_KEPT) | MAY(RECALL_NONE)},
    [RECALL_MET] = {"met",      MAY(RECALL_EXPECTED) | MAY(RECALL_NONE)                     },
    [RECALL_WAITING] = {"waiting",  MAY(RECALL_NONE)                                            },
    [RECALL_OVER] = {"over",     MAY(RECALL_NONE)                                            },
    [RECALL_KEPT] = {"kept",     MAY(RECALL_NONE)                                            },
};

void recall_init(struct recall *recall)
{
	for (int i = 0; i < RECALL_BUCKETS; i++)
		list_init(&recall->buckets[i]);
	list_init(&recall->kept);
	recall->n_kept = recall->kept_bytes = recall->n_expected = 0;
}

/* FNV-1a: it only spreads. */
static uint32_t hash_text(uint32_t hash, const char *text)
{
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * UINT32_C(16777619);
	return hash;
}

/* The source is told apart when jobs are compared: names of queues differ more. */
static struct list *bucket_of(struct recall *recall, const struct job *job)
{
	uint32_t hash = hash_text(hash_text(UINT32_C(2166136261), job->route->name), job->id);
	return &recall->buckets[hash % RECALL_BUCKETS];
}

static bool is_in_table(enum recall_state state)
{
	return state == RECALL_EXPECTED || state == RECALL_KEPT;
}

static void count(struct recall *recall, const struct job *job, bool comes)
{
	size_t *number = job->recall.state == RECALL_KEPT ? &recall->n_kept : &recall->n_expected;
	size_t bytes = job->recall.state == RECALL_KEPT ? job_bytes(job) : 0;
	*number += comes ? 1 : (size_t)-1;
	recall->kept_bytes += comes ? bytes : -bytes;
}

/* The only place that assigns the state: being in the table and being in such a state are one act. */
static void move(struct recall *recall, struct job *job, enum recall_state next)
{
	must(moves_may(states, job->recall.state, next));
	if (is_in_table(job->recall.state)) {
		count(recall, job, false);
		list_remove(&job->recall.in_table);
	}
	job->recall.state = next;
	if (is_in_table(next)) {
		count(recall, job, true);
		list_append(bucket_of(recall, job), &job->recall.in_table);
	}
}

/* --- what runs ----------------------------------------------------------------------------------- */

/* Any other has lost it before. What waits for a met one may be another route's, and is not lost with it. */
void recall_lose(struct recall *recall, struct job *job)
{
	if (job->recall.state == RECALL_NONE)
		move(recall, job, job->id_made_up ? RECALL_OVER : RECALL_EXPECTED);
}

void recall_meet(struct recall *recall, struct job *expected, struct job *again)
{
	move(recall, expected, RECALL_MET);
	move(recall, again, RECALL_WAITING);
	expected->recall.other = again;
	again->recall.other = expected;
}

static void unlink_both(struct job *one)
{
	one->recall.other->recall.other = NULL;
	one->recall.other = NULL;
}

struct job *recall_end_waiting(struct recall *recall, struct job *met)
{
	struct job *again = met->recall.other;
	unlink_both(met);
	move(recall, met, RECALL_NONE);
	move(recall, again, RECALL_NONE);
	return again;
}

void recall_leave(struct recall *recall, struct job *job)
{
	must(job->recall.state != RECALL_MET);
	if (job->recall.state == RECALL_WAITING) {
		move(recall, job->recall.other, RECALL_EXPECTED);
		unlink_both(job);
	}
	if (job->recall.state != RECALL_NONE)
		move(recall, job, RECALL_NONE);
}

/* --- what has ended ------------------------------------------------------------------------------ */

static struct job *of_kept(struct list *node)
{
	return list_entry(node, struct job, in_ledger);
}

void recall_release(struct recall *recall, struct job *kept)
{
	list_remove(&kept->in_ledger);
	move(recall, kept, RECALL_NONE);
}

static void forget(struct recall *recall, struct job *kept)
{
	recall_release(recall, kept);
	job_destroy(kept);
}

static void forget_first(struct recall *recall)
{
	forget(recall, of_kept(recall->kept.next));
}

static void forget_old(struct recall *recall, uint64_t now_ns)
{
	while (recall->n_kept > 0 && now_ns - of_kept(recall->kept.next)->recall.kept_ns > KEPT_NS)
		forget_first(recall);
}

bool recall_may_keep(const struct job *job)
{
	return !job->id_made_up && job->recall.state != RECALL_OVER;
}

void recall_keep(struct recall *recall, struct job **kept, uint64_t now_ns)
{
	struct job *job = *kept;
	*kept = NULL;
	must(recall_may_keep(job));
	forget_old(recall, now_ns);
	job->recall.kept_ns = now_ns;
	list_append(&recall->kept, &job->in_ledger);
	move(recall, job, RECALL_KEPT);
	while (recall->n_kept > KEPT_MOST || recall->kept_bytes > KEPT_BYTES_MOST)
		forget_first(recall);
}

/* --- what comes ---------------------------------------------------------------------------------- */

static bool is_second_of(const struct job *again, const struct job *first)
{
	const struct source *source = first->route->source;
	return route_is_same_queue(first->route, again->route) &&
	       strcmp(first->id, again->id) == 0 && first->attempt == again->attempt &&
	       span_equal(first->body, again->body) &&
	       (source->ops->is_again == NULL || source->ops->is_again(source, first, again));
}

struct job *recall_find(struct recall *recall, const struct job *again, uint64_t now_ns)
{
	forget_old(recall, now_ns);
	if (!again->redelivered || again->id_made_up || recall->n_kept + recall->n_expected == 0)
		return NULL;
	list_each (it, bucket_of(recall, again)) {
		struct job *first = list_entry(it, struct job, recall.in_table);
		if (is_second_of(again, first))
			return first;
	}
	return NULL;
}

/* --- what will not come any more ----------------------------------------------------------------- */

static void give_up(struct recall *recall, struct job *job)
{
	if (job->recall.state == RECALL_KEPT)
		forget(recall, job);
	else
		move(recall, job, RECALL_OVER);
}

static void over_in_bucket(struct recall *recall, struct list *bucket, const struct route *route)
{
	list_each_safe (it, bucket) {
		struct job *job = list_entry(it, struct job, recall.in_table);
		if (route_is_same_queue(job->route, route))
			give_up(recall, job);
	}
}

void recall_over(struct recall *recall, const struct route *route)
{
	if (recall->n_kept + recall->n_expected == 0)
		return;
	for (int i = 0; i < RECALL_BUCKETS; i++)
		over_in_bucket(recall, &recall->buckets[i], route);
}

void recall_part(struct recall *recall, const struct route *route, struct route *heir)
{
	list_each_safe (it, &recall->kept) {
		struct job *job = of_kept(it);
		if (job->route != route)
			continue;
		if (heir != NULL)
			job->route = heir;
		else
			forget(recall, job);
	}
}

void recall_fini(struct recall *recall)
{
	while (recall->n_kept > 0)
		forget_first(recall);
	must(recall->n_expected == 0);
}
