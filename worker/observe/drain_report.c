#include "observe/drain_report.h"

#include "base/log.h"
#include "base/memory.h"
#include "drain/report.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

static const enum phase stopping_phases[] = {PHASE_CLOSING, PHASE_FINISHING, PHASE_HURRYING,
					     PHASE_FLUSHING};

static uint64_t took_ns(const struct report *report)
{
	return report->ended_ns - report->began_ns;
}

static const char *hurry_name(enum hurry hurry)
{
	switch (hurry) {
	case HURRY_NOT:
		return "no";
	case HURRY_DEADLINE:
		return "deadline";
	case HURRY_ASKED:
		return "asked";
	}
	return "no";
}

void drain_report_log(struct log *log, const struct report *report)
{
	const uint64_t *fates = report->fates;
	for (size_t i = 0; i < report->n_entries; i++) {
		const struct report_entry *e = &report->entries[i];
		log_say(log, e->duplicate_possible ? LOG_WARN : LOG_INFO, "drained job",
			kv_text("job", e->id), kv_text("source", e->source),
			kv_text("queue", e->queue), kv_text("fate", fate_name(e->fate)),
			kv_int("attempt", e->attempt), kv_ns("ran_ms", e->ran_ns),
			kv_known(kv_ns("cpu_ms", e->usage.cpu_ns)),
			kv_known(kv_int("peak_kb", (int64_t)(e->usage.peak_bytes / 1024))),
			kv_flag("interrupted", e->interrupted),
			kv_flag("duplicate_possible", e->duplicate_possible));
	}
	log_say(log, LOG_INFO, "drain report", kv_text("why", report->why),
		kv_int("exit", report_exit_code(report)), kv_ns("took_ms", took_ns(report)),
		kv_text("hurry", hurry_name(report->hurry)),
		kv_ns("closing_ms", report->spent_ns[PHASE_CLOSING]),
		kv_ns("finishing_ms", report->spent_ns[PHASE_FINISHING]),
		kv_ns("hurrying_ms", report->spent_ns[PHASE_HURRYING]),
		kv_ns("flushing_ms", report->spent_ns[PHASE_FLUSHING]),
		kv_int("done", (int64_t)fates[FATE_DONE]),
		kv_int("retried", (int64_t)fates[FATE_RETRIED]),
		kv_int("dead", (int64_t)fates[FATE_DEAD]),
		kv_int("returned", (int64_t)fates[FATE_RETURNED]),
		kv_int("interrupted", (int64_t)report->interrupted),
		kv_int("unsettled", (int64_t)fates[FATE_UNSETTLED]));
}

/* A job's id comes from strangers: what is not UTF-8 is replaced, not refused. */
static json_t *text_of(const char *text)
{
	json_t *value = json_string(text);
	if (value != NULL)
		return value;
	char *clean = memory_text(text);
	for (char *p = clean; p != NULL && *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	value = json_string(clean != NULL ? clean : "");
	memory_free(clean);
	return value;
}

static json_t *time_of(const struct timespec *when)
{
	char text[40], full[48];
	struct tm utc;
	gmtime_r(&when->tv_sec, &utc);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
	(void)snprintf(full, sizeof full, "%s.%03dZ", text, (int)(when->tv_nsec / 1000000));
	return json_string(full);
}

static struct timespec before(struct timespec when, uint64_t ns)
{
	int64_t at = (int64_t)when.tv_sec * 1000000000 + when.tv_nsec - (int64_t)ns;
	return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

static json_t *fates_of(const uint64_t fates[FATE_COUNT])
{
	json_t *object = json_object();
	for (int fate = 0; fate < FATE_COUNT; fate++)
		json_object_set_new(object, fate_name((enum fate)fate),
				    json_integer((json_int_t)fates[fate]));
	return object;
}

static json_t *phases_of(const struct report *report)
{
	json_t *object = json_object();
	for (size_t i = 0; i < sizeof stopping_phases / sizeof *stopping_phases; i++) {
		enum phase phase = stopping_phases[i];
		json_object_set_new(object, phase_name(phase),
				    json_integer((json_int_t)(report->spent_ns[phase] / MS_NS)));
	}
	return object;
}

/* Only where it is known: a plugin's jobs share a process. */
static void add_usage(json_t *job, const struct usage *usage)
{
	if (usage->cpu_ns == 0 && usage->peak_bytes == 0)
		return;
	json_object_set_new(job, "cpu_ms", json_integer((json_int_t)(usage->cpu_ns / MS_NS)));
	json_object_set_new(job, "peak_bytes", json_integer((json_int_t)usage->peak_bytes));
}

static json_t *jobs_of(const struct report *report)
{
	json_t *array = json_array();
	for (size_t i = 0; i < report->n_entries; i++) {
		const struct report_entry *e = &report->entries[i];
		json_t *job = json_pack(
		    "{s:o, s:s, s:s, s:i, s:I, s:s, s:b, s:b}", "id", text_of(e->id), "source",
		    e->source, "queue", e->queue, "attempt", (int)e->attempt, "ran_ms",
		    (json_int_t)(e->ran_ns / MS_NS), "fate", fate_name(e->fate), "interrupted",
		    e->interrupted, "duplicate_possible", e->duplicate_possible);
		add_usage(job, &e->usage);
		json_array_append_new(array, job);
	}
	return array;
}

/* NULL: no memory. jansson passes a NULL part on to the whole. */
static json_t *report_of(const struct report *report, const char *worker)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct timespec began = before(now, took_ns(report));
	return json_pack(
	    "{s:o, s:s, s:i, s:s, s:s, s:i, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:o, s:I}", "worker",
	    text_of(worker), "version", OUTFALL_VERSION, "pid", (int)getpid(), "why", report->why,
	    "hurry", hurry_name(report->hurry), "exit_code", report_exit_code(report), "began_at",
	    time_of(&began), "ended_at", time_of(&now), "took_ms",
	    (json_int_t)(took_ns(report) / MS_NS), "phases", phases_of(report), "fates",
	    fates_of(report->fates), "since_start", fates_of(report->since_start), "interrupted",
	    (json_int_t)report->interrupted, "jobs", jobs_of(report), "jobs_omitted",
	    (json_int_t)report->omitted);
}

static enum status write_all(int fd, const char *text, size_t len, const char *path,
			     struct error *why)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_system(why, errno, "drain report: write %s", path);
		text += n;
		len -= (size_t)n;
	}
	return ST_OK;
}

static enum status replace_file(const char *path, const char *text, size_t len, struct error *why)
{
	size_t size = strlen(path) + 8;
	char *temporary = memory_take(size);
	if (temporary == NULL)
		return error_set(why, ST_NOMEM, "drain report: out of memory");
	(void)snprintf(temporary, size, "%s.XXXXXX", path);
	enum status st = ST_OK;
	int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		st = error_system(why, errno, "drain report: create %s", temporary);
	} else {
		(void)fchmod(fd, 0644); /* worst case: only our user can read it */
		st = write_all(fd, text, len, temporary, why);
		/* On NFS, or with a quota, only this tells that something is missing. */
		if (close(fd) != 0 && st == ST_OK)
			st = error_system(why, errno, "drain report: close %s", temporary);
		if (st == ST_OK && rename(temporary, path) != 0)
			st = error_system(why, errno, "drain report: rename to %s", path);
		if (st != ST_OK)
			(void)unlink(temporary);
	}
	memory_free(temporary);
	return st;
}

enum status drain_report_write(const struct report *report, const char *path, const char *worker,
			       struct error *why)
{
	json_t *object = report_of(report, worker);
	char *text = object != NULL ? json_dumps(object, JSON_INDENT(2)) : NULL;
	json_decref(object);
	if (text == NULL)
		return error_set(why, ST_NOMEM, "drain report: out of memory");
	size_t len = strlen(text);
	text[len] = '\n'; /* in the place of the NUL: the length is known */
	enum status st = replace_file(path, text, len + 1, why);
	free(text);
	return st;
}
