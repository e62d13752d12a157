/* log - events in past tense with facts, one line each, to stderr.
 *
 *     log_say(log, LOG_INFO, "job settled", kv_text("job", id), kv_int("attempt", 3));
 *     2026-11-22T13:50:38.123Z info  job settled job=8f2 attempt=3
 *
 * Thread: any. A line is built on the caller's stack and leaves in one write(2) of at most 4096
 *         bytes, which Linux keeps whole on pipes; there is no buffer to lose, and the lock is
 *         held for that write only, which does not block.
 * Owns:   the struct only; the descriptor stays the caller's.
 * Units:  kv_ns() takes nanoseconds and prints milliseconds.
 * Journal: where stderr is systemd's journal (JOURNAL_STREAM), each line begins with its priority, "<3>".
 * Fails:  never: a reader that does not read must not stop a drain, so a line that would block is
 *         dropped and counted, and the count is printed when there is room again. */
#ifndef OUTFALL_BASE_LOG_H
#define OUTFALL_BASE_LOG_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log;
struct log *log_create(int fd, enum log_level level, enum log_format format); /* NULL: no memory */
void log_destroy(struct log *log);
/* JSON lines, which may be collected from many workers, say whose they are. Borrowed; before others write. */
void log_set_worker(struct log *log, const char *name);
void log_set_level(struct log *log, enum log_level level);
bool log_wants(const struct log *log, enum log_level level);

struct log_fact {
	const char *key; /* NULL ends the list */
	enum { FACT_TEXT, FACT_INT, FACT_FLAG, FACT_FRACTION } kind;
	struct span text;
	int64_t number;
	double fraction;
};

static inline struct log_fact kv_span(const char *key, struct span text)
{
	return (struct log_fact){.key = key, .kind = FACT_TEXT, .text = text};
}
static inline struct log_fact kv_text(const char *key, const char *text)
{
	return kv_span(key, span_text(text));
}
static inline struct log_fact kv_int(const char *key, int64_t number)
{
	return (struct log_fact){.key = key, .kind = FACT_INT, .number = number};
}
/* JSON's true and false; yes and no for people. */
static inline struct log_fact kv_flag(const char *key, bool flag)
{
	return (struct log_fact){.key = key, .kind = FACT_FLAG, .number = flag};
}
static inline struct log_fact kv_fraction(const char *key, double fraction)
{
	return (struct log_fact){.key = key, .kind = FACT_FRACTION, .fraction = fraction};
}
static inline struct log_fact kv_ns(const char *key_ms, uint64_t ns)
{
	return kv_int(key_ms, (int64_t)(ns / 1000000));
}
/* The same, left out when the number is 0: not known. */
static inline struct log_fact kv_known(struct log_fact number)
{
	return number.number != 0 ? number : kv_text(number.key, NULL);
}
static inline struct log_fact kv_why(const struct error *why)
{
	return kv_text("why", why->text);
}

/* Of a W3C traceparent ("00-TRACE-SPAN-FLAGS"): the trace's id, so that its lines can be found. */
static inline struct log_fact kv_trace(const char *traceparent)
{
	enum { AT = 3, LEN = 32 };
	bool whole = strlen(traceparent) > AT + LEN && traceparent[AT + LEN] == '-';
	return kv_span("trace", whole ? span_of(traceparent + AT, LEN) : (struct span){0});
}
/* Which job a line is about: each line about one has this. */
#define KV_JOB(job) kv_text("job", (job)->id), kv_trace((job)->traceparent)
/* ... and where it comes from, which run it is: what its own output is looked for by. */
#define KV_RUN(job, handler_name)                                                                  \
	KV_JOB(job), kv_text("source", (job)->route->source_name),                                 \
	    kv_text("queue", (job)->route->name), kv_text("handler", (handler_name)),              \
	    kv_int("attempt", (job)->attempt)

/* `log` may be NULL (a test that does not care). Facts whose text is NULL are left out. */
#define log_say(log, level, event, ...)                                                            \
	log_write((log), (level), (event), (struct log_fact[]){__VA_ARGS__ __VA_OPT__(, ){0}})
void log_write(struct log *log, enum log_level level, const char *event,
	       const struct log_fact *facts);

#endif
