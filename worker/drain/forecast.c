/* The past is all we have: the histogram of how long jobs of the queue ran. For a job that has run
 * for a while only those count that ran at least as long, which is why the answer may grow while a
 * job runs: the short ones among its kind have been ruled out. Bounds are coarse, so the answer is
 * up to a bound's width too long, and that is the side to be wrong on.
 *
 * Beyond the last bound, or where no job has run that long, there is no past. A handler's timeout
 * still says when it ends at the latest; without one nobody knows, and we say so. */
#include "drain/forecast.h"

#include "base/histogram.h"
#include "dispatch/routes.h"
#include "executors/executor.h"
#include "job/ledger.h"

/* The bound within which nine of ten runs ended, of those that took longer than `age_ns`. */
static uint64_t usual_end_ns(const struct histogram *runs, uint64_t age_ns)
{
	size_t first = 0;
	while (first < HISTOGRAM_BOUNDS && histogram_bounds_ns[first] <= age_ns)
		first++;
	uint64_t longer = 0, within = 0;
	for (size_t i = first; i <= HISTOGRAM_BOUNDS; i++)
		longer += runs->counts[i];
	if (longer == 0)
		return FORECAST_UNKNOWN;
	for (size_t i = first; i < HISTOGRAM_BOUNDS; i++) {
		within += runs->counts[i];
		if (within * 10 >= longer * 9)
			return histogram_bounds_ns[i];
	}
	return FORECAST_UNKNOWN;
}

uint64_t forecast_left_ns(const struct route *route, uint64_t age_ns)
{
	uint64_t end_ns = usual_end_ns(route_runs(route), age_ns);
	uint64_t timeout_ns = route->lane->timeout_ns;
	if (timeout_ns != 0 && timeout_ns < end_ns)
		end_ns = timeout_ns;
	if (end_ns == FORECAST_UNKNOWN)
		return FORECAST_UNKNOWN;
	return end_ns > age_ns ? end_ns - age_ns : 0;
}

struct forecast_runs forecast_longer(const struct route *route, uint64_t than_ns)
{
	struct forecast_runs runs = {0};
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		runs.all += route->runs.counts[i];
		if (i > 0 && histogram_bounds_ns[i - 1] >= than_ns)
			runs.longer += route->runs.counts[i];
	}
	return runs;
}

uint64_t forecast_age_ns(const struct job *job, uint64_t now_ns)
{
	const struct executor *executor = job->route->lane->executor;
	uint64_t begun_ns = executor->ops->begun_ns(executor, job);
	return begun_ns != 0 && begun_ns < now_ns ? now_ns - begun_ns : 0;
}

struct forecast forecast_drain(const struct ledger *ledger, uint64_t now_ns)
{
	struct forecast forecast = {0};
	list_each (it, &ledger->lists[JOB_RUNNING]) {
		const struct job *job = list_entry(it, struct job, in_ledger);
		uint64_t left_ns = forecast_left_ns(job->route, forecast_age_ns(job, now_ns));
		if (left_ns == FORECAST_UNKNOWN)
			forecast.unknown++;
		else if (left_ns > forecast.left_ns)
			forecast.left_ns = left_ns;
	}
	return forecast;
}
