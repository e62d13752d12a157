/* Numbers that mean time are printed as people say it: 850ms, 12.3s, 4m 05s. */
#include "commands/ctl_tables.h"

#include "commands/columns.h"

#include <string.h>
#include <time.h>

/* --- what the object holds --- */

static json_t *at(json_t *object, const char *key)
{
	return json_object_get(object, key);
}

static const char *text_at(json_t *object, const char *key)
{
	const char *text = json_string_value(at(object, key));
	return text != NULL ? text : "-";
}

static long long number_at(json_t *object, const char *key)
{
	return json_integer_value(at(object, key));
}

static bool is_known(json_t *object, const char *key)
{
	return json_is_number(at(object, key));
}

struct duration { /* as text, by value: it is an argument of printf */
	char text[24];
};

static struct duration say_ms(long long ms)
{
	struct duration d;
	if (ms < 1000)
		(void)snprintf(d.text, sizeof d.text, "%lldms", ms);
	else if (ms < 60000)
		(void)snprintf(d.text, sizeof d.text, "%.1fs", (double)ms / 1000);
	else if (ms < 3600000)
		(void)snprintf(d.text, sizeof d.text, "%lldm %02llds", ms / 60000, ms / 1000 % 60);
	else
		(void)snprintf(d.text, sizeof d.text, "%lldh %02lldm", ms / 3600000,
			       ms / 60000 % 60);
	return d;
}

static struct duration duration_at(json_t *object, const char *key)
{
	if (is_known(object, key))
		return say_ms(number_at(object, key));
	return (struct duration){"-"};
}

static long long unix_ms(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now); /* that clock is always there */
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A moment of the past. */
static struct duration since(json_t *object, const char *key)
{
	long long ms = unix_ms() - number_at(object, key);
	return say_ms(ms > 0 ? ms : 0);
}

/* --- status --- */

static void print_drain(json_t *status, FILE *out)
{
	json_t *drain = at(status, "drain");
	if (json_is_null(at(drain, "why")))
		return;
	(void)fprintf(out, "draining (%s), waiting for: %s\n", text_at(drain, "why"),
		      text_at(drain, "waiting_for"));
	(void)fprintf(out, "jobs have %s, exit in %s at the latest, expected in %s\n",
		      duration_at(drain, "jobs_have_ms").text, duration_at(drain, "left_ms").text,
		      number_at(drain, "unknown") > 0 ? "-" : duration_at(drain, "eta_ms").text);
}

static void print_head(json_t *status, FILE *out)
{
	json_t *worker = at(status, "worker"), *jobs = at(status, "jobs"),
	       *fates = at(status, "fates"), *process = at(status, "process");
	(void)fprintf(out, "%s (pid %lld, outfall %s) has been %s for %s", text_at(worker, "name"),
		      number_at(worker, "pid"), text_at(worker, "version"),
		      text_at(status, "state"), since(status, "since_unix_ms").text);
	if (json_is_true(at(status, "ready")))
		(void)fprintf(out, ", ready\n");
	else
		(void)fprintf(out, ", not ready: %s\n", text_at(status, "not_ready_because"));
	print_drain(status, out);
	(void)fprintf(out, "%lld of %lld running, %lld held, %lld to settle; %.1f MB, up %s\n",
		      number_at(jobs, "running"), number_at(worker, "concurrency"),
		      number_at(jobs, "held"), number_at(jobs, "settling"),
		      (double)number_at(process, "resident_bytes") / 1e6,
		      duration_at(process, "uptime_ms").text);
	(void)fprintf(out,
		      "since the start: %lld done, %lld retried, %lld dead, %lld returned, "
		      "%lld unsettled\n",
		      number_at(fates, "done"), number_at(fates, "retried"),
		      number_at(fates, "dead"), number_at(fates, "returned"),
		      number_at(fates, "unsettled"));
}

static void print_sources(json_t *status, FILE *out)
{
	static const char *const names[] = {"SOURCE",     "KIND",        "LINK", "INTAKE",
					    "RECONNECTS", "WAITING FOR", NULL};
	struct columns table;
	size_t i;
	json_t *source;
	columns_init(&table, 1u << 4, names);
	json_array_foreach(at(status, "sources"), i, source)
	{
		columns_put(&table, "%s", text_at(source, "name"));
		columns_put(&table, "%s", text_at(source, "kind"));
		columns_put(&table, "%s", text_at(source, "link"));
		columns_put(&table, "%s%s", text_at(source, "intake"),
			    json_is_true(at(source, "blocked")) ? ", publishing blocked" : "");
		columns_put(&table, "%lld", number_at(source, "reconnects"));
		columns_put(&table, "%s", text_at(source, "waiting_for"));
	}
	if (table.count > table.n)
		(void)fputc('\n', out);
	columns_print(&table, out);
	columns_fini(&table);
}

static long long left_of(json_t *queue)
{
	long long left = 0;
	const char *fate;
	json_t *count;
	json_object_foreach(at(queue, "fates"), fate, count) left += json_integer_value(count);
	return left;
}

static bool is_removed(json_t *queue)
{
	return json_is_true(at(queue, "removed"));
}

static bool is_same_queue(json_t *a, json_t *b)
{
	return strcmp(text_at(a, "source"), text_at(b, "source")) == 0 &&
	       strcmp(text_at(a, "name"), text_at(b, "name")) == 0 &&
	       is_removed(a) == is_removed(b);
}

/* Queues come and go, so its place is the same most of the time only. NULL: it was not there. */
static json_t *queue_before(json_t *before, json_t *queue, size_t i)
{
	json_t *then = json_array_get(at(before, "queues"), i);
	if (then == NULL || is_same_queue(then, queue))
		return then;
	json_array_foreach(at(before, "queues"), i,
			   then) if (is_same_queue(then, queue)) return then;
	return NULL;
}

/* Jobs that left the queue in the second between the two, or "-". */
static void put_rate(struct columns *table, json_t *status, json_t *before, size_t i)
{
	json_t *queue = json_array_get(at(status, "queues"), i);
	json_t *then = queue_before(before, queue, i);
	double ms = (double)(number_at(at(status, "process"), "uptime_ms") -
			     number_at(at(before, "process"), "uptime_ms"));
	if (then == NULL || ms <= 0)
		columns_put(table, "-");
	else
		columns_put(table, "%.1f", (double)(left_of(queue) - left_of(then)) * 1000 / ms);
}

static void print_queues(json_t *status, json_t *before, FILE *out)
{
	static const char *const names[] = {"QUEUE",    "HANDLER",   "HELD",    "RUNNING",
					    "JOBS/S",   "DONE",      "RETRIED", "DEAD",
					    "RETURNED", "UNSETTLED", NULL};
	struct columns table;
	size_t i;
	json_t *queue;
	columns_init(&table, 0x3fcu, names);
	json_array_foreach(at(status, "queues"), i, queue)
	{
		json_t *fates = at(queue, "fates");
		columns_put(&table, "%s/%s%s", text_at(queue, "source"), text_at(queue, "name"),
			    is_removed(queue) ? " (removed)" : "");
		columns_put(&table, "%s", text_at(queue, "handler"));
		columns_put(&table, "%lld", number_at(queue, "held"));
		columns_put(&table, "%lld", number_at(queue, "running"));
		put_rate(&table, status, before, i);
		for (size_t fate = 5; fate < table.n; fate++) {
			static const char *const keys[] = {"done", "retried", "dead", "returned",
							   "unsettled"};
			columns_put(&table, "%lld", number_at(fates, keys[fate - 5]));
		}
	}
	(void)fputc('\n', out);
	columns_print(&table, out);
	columns_fini(&table);
}

static void print_handlers(json_t *status, FILE *out)
{
	static const char *const names[] = {"HANDLER",    "KIND",    "RUNNING",        "WIDTH",
					    "OF AT MOST", "TIMEOUT", "PAUSED BECAUSE", NULL};
	struct columns table;
	size_t i;
	json_t *handler;
	columns_init(&table, 0x3cu, names);
	json_array_foreach(at(status, "handlers"), i, handler)
	{
		columns_put(&table, "%s", text_at(handler, "name"));
		columns_put(&table, "%s", text_at(handler, "kind"));
		columns_put(&table, "%lld", number_at(handler, "assigned"));
		columns_put(&table, "%lld", number_at(handler, "width"));
		columns_put(&table, "%lld", number_at(handler, "widest"));
		columns_put(&table, "%s", duration_at(handler, "timeout_ms").text);
		columns_put(&table, "%s", text_at(handler, "paused_because"));
	}
	(void)fputc('\n', out);
	columns_print(&table, out);
	columns_fini(&table);
}

static void put_failure(struct columns *table, json_t *queue, json_t *failure)
{
	const char *class = json_string_value(at(failure, "class"));
	columns_put(table, "%s/%s", text_at(queue, "source"), text_at(queue, "name"));
	columns_put(table, "%s", since(failure, "unix_ms").text);
	columns_put(table, "%s", text_at(failure, "job"));
	columns_put(table, "%lld", number_at(failure, "attempt"));
	columns_put(table, "%s", text_at(failure, "fate"));
	columns_put(table, "%s%s%s", class != NULL ? class : "", class != NULL ? ": " : "",
		    text_at(failure, "message"));
}

static void print_failures(json_t *status, FILE *out)
{
	static const char *const names[] = {"LAST FAILURE", "AGO", "JOB", "ATTEMPT",
					    "FATE",         "WHY", NULL};
	struct columns table;
	size_t i;
	json_t *queue;
	columns_init(&table, 1u << 1 | 1u << 3, names);
	json_array_foreach(at(status, "queues"), i, queue)
	{
		json_t *failure = at(queue, "last_failure");
		if (json_is_object(failure))
			put_failure(&table, queue, failure);
	}
	if (table.count > table.n)
		(void)fputc('\n', out);
	columns_print(&table, out);
	columns_fini(&table);
}

void ctl_print_status(json_t *status, json_t *before, FILE *out)
{
	print_head(status, out);
	print_sources(status, out);
	print_queues(status, before, out);
	print_handlers(status, out);
	print_failures(status, out);
}

/* --- jobs --- */

static void put_job(struct columns *table, json_t *job)
{
	double progress = json_number_value(at(job, "progress"));
	columns_put(table, "%s", text_at(job, "id"));
	columns_put(table, "%s/%s", text_at(job, "source"), text_at(job, "queue"));
	columns_put(table, "%s", text_at(job, "handler"));
	columns_put(table, "%lld", number_at(job, "attempt"));
	columns_put(table, "%s", duration_at(job, "age_ms").text);
	columns_put(table, "%s", duration_at(job, "timeout_left_ms").text);
	columns_put(table, "%s", duration_at(job, "eta_ms").text);
	if (progress > 0)
		columns_put(table, "%.0f%%", progress * 100);
	else
		columns_put(table, "-");
	columns_put(table, "%s%s", json_is_true(at(job, "asked_to_stop")) ? "asked to stop; " : "",
		    text_at(job, "note"));
}

static void job_columns(struct columns *table)
{
	static const char *const names[] = {"JOB",       "QUEUE",    "HANDLER",  "ATTEMPT", "AGE",
					    "TIME LEFT", "EXPECTED", "PROGRESS", "NOTE",    NULL};
	columns_init(table, 0xf8u, names);
}

void ctl_print_jobs(json_t *status, FILE *out)
{
	struct columns table;
	size_t i;
	json_t *job;
	job_columns(&table);
	json_array_foreach(at(status, "running"), i, job) put_job(&table, job);
	columns_print(&table, out);
	columns_fini(&table);
	if (number_at(status, "running_omitted") > 0)
		(void)fprintf(out, "and %lld more\n", number_at(status, "running_omitted"));
}

/* --- a drain that was only asked about --- */

static bool makes_it(json_t *job, json_t *drain)
{
	if (!is_known(drain, "time_for_jobs_ms"))
		return true;
	return is_known(job, "eta_ms") &&
	       number_at(job, "eta_ms") <= number_at(drain, "time_for_jobs_ms");
}

size_t ctl_print_dry_run(json_t *status, FILE *out)
{
	json_t *drain = at(status, "drain"), *job;
	struct columns table;
	size_t i, late = 0;
	long long unknown = number_at(drain, "unknown");
	(void)fprintf(out, "a drain now would give %lld jobs back and wait for %lld",
		      number_at(at(status, "jobs"), "held"),
		      number_at(at(status, "jobs"), "running"));
	(void)fprintf(out, ", expected: %s%s; jobs have %s\n", duration_at(drain, "eta_ms").text,
		      unknown > 0 ? " or longer" : "",
		      is_known(drain, "time_for_jobs_ms")
			  ? duration_at(drain, "time_for_jobs_ms").text
			  : "as long as they take");
	job_columns(&table);
	json_array_foreach(at(status, "running"), i, job)
	{
		if (makes_it(job, drain))
			continue;
		late++;
		put_job(&table, job);
	}
	if (late > 0)
		(void)fprintf(out, "\n%zu may not make it and would be interrupted:\n", late);
	columns_print(&table, out);
	columns_fini(&table);
	return late;
}

void ctl_print_goodbye(json_t *status, FILE *out)
{
	json_t *goodbye = at(status, "goodbye"), *fates = at(status, "fates");
	(void)fprintf(
	    out,
	    "drained, exit code %lld; since its start: %lld done, %lld retried, %lld dead, "
	    "%lld returned, %lld unsettled\n",
	    number_at(goodbye, "exit_code"), number_at(fates, "done"), number_at(fates, "retried"),
	    number_at(fates, "dead"), number_at(fates, "returned"), number_at(fates, "unsettled"));
}
