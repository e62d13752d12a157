/* An id goes out in a JSON string and comes back in one. Where the producer's is no UTF-8, the child
 * gets, and says, U+FFFD for what cannot be written; that is the id to find its job by. Two ids that
 * look alike then are one id to the pool, which never gives both to one process at once. */
#include "executors/pool/pool_jobs.h"

#include "base/memory.h"
#include "base/must.h"
#include "base/text.h"
#include "job/job.h"

#include <string.h>

enum { LEAST_BUCKETS = 8, MOST_BUCKETS = 4096 };

bool pool_jobs_init(struct pool_jobs *jobs, unsigned expected)
{
	uint32_t n = LEAST_BUCKETS;
	while (n < expected && n < MOST_BUCKETS)
		n *= 2;
	*jobs = (struct pool_jobs){.mask = n - 1};
	list_init(&jobs->all);
	jobs->buckets = memory_take(n * sizeof *jobs->buckets);
	for (uint32_t i = 0; jobs->buckets != NULL && i < n; i++)
		list_init(&jobs->buckets[i]);
	return jobs->buckets != NULL;
}

void pool_jobs_fini(struct pool_jobs *jobs)
{
	memory_free(jobs->buckets);
	jobs->buckets = NULL;
}

/* FNV-1a. Ids come from producers, but one process has few of them at once, so a bad one costs
 * little. */
uint32_t pool_jobs_hash(struct span id)
{
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < id.len; i++)
		hash = (hash ^ (unsigned char)id.ptr[i]) * 16777619u;
	return hash;
}

static size_t character_len(struct span text)
{
	for (size_t len = 1; len <= 4 && len <= text.len; len++)
		if (text_is_utf8(span_of(text.ptr, len)))
			return len;
	return 0;
}

/* The same replacement as in text_put_json(). */
static struct span as_written(struct span id, char *copy)
{
	static const char replacement[] = "\xef\xbf\xbd";
	size_t len = 0;
	while (id.len > 0) {
		size_t n = character_len(id);
		size_t put = n > 0 ? n : sizeof replacement - 1;
		memcpy(copy + len, n > 0 ? id.ptr : replacement, put);
		len += put;
		id = span_of(id.ptr + (n > 0 ? n : 1), id.len - (n > 0 ? n : 1));
	}
	return span_of(copy, len);
}

bool pool_task_name(struct pool_task *task)
{
	task->id = span_text(task->job->id);
	task->id_copy = NULL;
	if (!text_is_utf8(task->id)) {
		task->id_copy = memory_take(task->id.len * 3);
		if (task->id_copy == NULL)
			return false;
		task->id = as_written(task->id, task->id_copy);
	}
	task->hash = pool_jobs_hash(task->id);
	return true;
}

void pool_task_unname(struct pool_task *task)
{
	memory_free(task->id_copy);
	task->id_copy = NULL;
}

struct pool_task *pool_jobs_find(const struct pool_jobs *jobs, struct span id, uint32_t hash)
{
	if (jobs->buckets == NULL)
		return NULL;
	list_each (it, &jobs->buckets[hash & jobs->mask]) {
		struct pool_task *task = list_entry(it, struct pool_task, in_bucket);
		if (task->hash == hash && span_equal(task->id, id))
			return task;
	}
	return NULL;
}

void pool_jobs_add(struct pool_jobs *jobs, struct pool_task *task)
{
	must(jobs->buckets != NULL);
	list_append(&jobs->all, &task->place);
	list_append(&jobs->buckets[task->hash & jobs->mask], &task->in_bucket);
	jobs->count++;
}

void pool_jobs_remove(struct pool_jobs *jobs, struct pool_task *task)
{
	must(jobs->count > 0);
	list_remove(&task->place);
	list_remove(&task->in_bucket);
	jobs->count--;
}
