/* A job belongs to our present name by its epoch; what is held always does, because with a name all that
 * is held is given up. Unknown fields are looked for one by one: there are none but after a failover, and
 * then no more than had been claimed ahead. */
#include "sources/redis/redis_list_known.h"

#include "dispatch/routes.h"
#include "job/job.h"
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
	list_each (it, &known->route->lane->running) {
		const struct job *job = list_entry(it, struct job, in_lane);
		if (is_ours(known, job))
			each(arg, job);
	}
	list_each (it, known->finished) {
		each(arg, list_entry(it, struct job, in_source));
	}
}

static bool is_unknown(const struct redis_unknown *unknown, const struct job *job)
{
	for (size_t i = 0; i < unknown->n_fields; i++)
		if (unknown->fields[i].kind == REPLY_TEXT &&
		    span_equal(unknown->fields[i].text, job->origin))
			return true;
	return false;
}

bool redis_known_holds_any(const struct redis_known *known, const struct redis_unknown *unknown)
{
	list_each (it, &known->route->held_jobs) {
		if (is_unknown(unknown, list_entry(it, struct job, in_route)))
			return true;
	}
	return false;
}

size_t redis_known_disown_running(const struct redis_known *known,
				  const struct redis_unknown *unknown)
{
	size_t n = 0;
	list_each (it, &known->route->lane->running) {
		struct job *job = list_entry(it, struct job, in_lane);
		if (!is_ours(known, job) || !is_unknown(unknown, job))
			continue;
		job->source_epoch = 0; /* no name ever has that */
		n++;
	}
	return n;
}

void redis_known_take_finished(const struct redis_known *known, const struct redis_unknown *unknown,
			       struct list *to)
{
	struct list jobs, *it;
	list_init(&jobs);
	list_splice(&jobs, known->finished);
	while ((it = list_take_first(&jobs)) != NULL) {
		bool goes = is_unknown(unknown, list_entry(it, struct job, in_source));
		list_append(goes ? to : known->finished, it);
	}
}
