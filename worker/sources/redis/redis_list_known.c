/* A job belongs to our present name by its epoch; what is held always does, because with a name all that
 * is held is given up, and so does what waits for an earlier run of the same job (settle/recall.h). Unknown fields are looked for one by one: there are none but after a failover, and
 * then no more than had been claimed ahead. */
#include "sources/redis/redis_list_known.h"

#include "dispatch/routes.h"
#include "job/job.h"
#include "sources/redis/redis_list_shared.h"
#include "sources/redis/redis_list_turn.h"
#include "wire/resp.h"

static bool is_ours(const struct redis_known *known, const struct job *job)
{
	return job->route == known->route && job->source_epoch == known->epoch;
}

void redis_known_walk(const struct redis_known *known,
		      void (*each)(void *arg, const struct job *job), void *arg)
{
	list_each (it, &known->route->held_jobs) {
		each(arg, list_entry(it, struct job, in_route));
	}
	list_each (it, &known->route->parked) {
		each(arg, list_entry(it, struct job, in_route));
	}
	list_each (it, &known->route->lane->running) {
		const struct job *job = list_entry(it, struct job, in_lane);
		if (is_ours(known, job))
			each(arg, job);
	}
	for (size_t i = 0; i < COUNT_OF(known->finished); i++)
		list_each (it, known->finished[i]) {
			each(arg, list_entry(it, struct job, in_source));
		}
}

bool redis_is_unknown(const struct redis_unknown *unknown, const struct job *job)
{
	for (size_t i = 0; i < unknown->n_fields; i++)
		if (unknown->fields[i].kind == REPLY_TEXT &&
		    span_equal(unknown->fields[i].text, job->origin))
			return true;
	return false;
}

static bool has_unknown(const struct list *jobs, const struct redis_unknown *unknown)
{
	list_each (it, jobs) {
		if (redis_is_unknown(unknown, list_entry(it, struct job, in_route)))
			return true;
	}
	return false;
}

bool redis_known_holds_any(const struct redis_known *known, const struct redis_unknown *unknown)
{
	return has_unknown(&known->route->held_jobs, unknown) ||
	       has_unknown(&known->route->parked, unknown);
}

size_t redis_known_disown_running(const struct redis_known *known,
				  const struct redis_unknown *unknown)
{
	size_t n = 0;
	list_each (it, &known->route->lane->running) {
		struct job *job = list_entry(it, struct job, in_lane);
		if (!is_ours(known, job) || !redis_is_unknown(unknown, job))
			continue;
		job->source_epoch = 0; /* no name ever has that */
		n++;
	}
	return n;
}

uint64_t redis_unknown_newest(const struct redis_unknown *unknown)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < unknown->n_fields; i++) {
		const struct reply *field = &unknown->fields[i];
		uint64_t id = field->kind == REPLY_TEXT ? redis_id_of(field->text) : 0;
		newest = id > newest ? id : newest;
	}
	return newest;
}

static void take_unknown(struct list *from, const struct redis_unknown *unknown, struct list *to)
{
	struct list jobs, *it;
	list_init(&jobs);
	list_splice(&jobs, from);
	while ((it = list_take_first(&jobs)) != NULL) {
		bool goes = redis_is_unknown(unknown, list_entry(it, struct job, in_source));
		list_append(goes ? to : from, it);
	}
}

void redis_known_take_finished(const struct redis_known *known, const struct redis_unknown *unknown,
			       struct list *to)
{
	for (size_t i = 0; i < COUNT_OF(known->finished); i++)
		take_unknown(known->finished[i], unknown, to);
}
