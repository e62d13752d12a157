/* A line is put together on the stack and leaves in one write(2). Two things are easy to get wrong.
 *
 * The reader may be slow: stderr is often a pipe to a supervisor, and a blocking write there would
 * hold heartbeats and the drain clock. A pipe that poll(2) calls writable has room for PIPE_BUF
 * (4096) bytes, so a line of at most that never blocks; when there is no room it is dropped and
 * counted. The lock keeps another of our threads from taking that room between the two calls.
 * O_NONBLOCK would be simpler, but it belongs to the open file, and thereby to everyone who shares
 * our stderr.
 *
 * And values come from strangers (queue names, output of jobs): whatever would break the line, the
 * JSON or the terminal is escaped. */
#include "base/log.h"

#include "base/letter.h"
#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 }; /* PIPE_BUF on Linux: what one write keeps whole */

struct log {
	int fd;
	_Atomic int level;
	enum log_format format;
	bool journal;          /* it is systemd's: lines begin with a priority */
	const char *worker;    /* whose lines they are; borrowed, NULL: nobody has said */
	pthread_mutex_t lock;  /* around poll and write; held for no longer */
	unsigned long dropped; /* since the last line that got through; under the lock */
};

struct line {
	char buf[LINE_BYTES];
	size_t len;
};

/* systemd says which file the journal's stream is, because stderr may have been redirected since. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	return stream != NULL && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
	       fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

struct log *log_create(int fd, enum log_level level, enum log_format format)
{
	struct log *log = memory_clear(1, sizeof *log);
	if (log == NULL)
		return NULL;
	log->fd = fd;
	log->level = (int)level;
	log->format = format;
	log->journal = is_journal(fd);
	(void)pthread_mutex_init(&log->lock, NULL); /* cannot fail without attributes */
	return log;
}

void log_destroy(struct log *log)
{
	if (log == NULL)
		return;
	(void)pthread_mutex_destroy(&log->lock); /* nobody writes any more */
	memory_free(log);
}

void log_set_worker(struct log *log, const char *name)
{
	log->worker = name;
}

void log_set_level(struct log *log, enum log_level level)
{
	atomic_store(&log->level, (int)level);
}

bool log_wants(const struct log *log, enum log_level level)
{
	return log != NULL && (int)level <= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* Room is kept for what closes the line: `"}\n`. */
static bool fits(const struct line *line, size_t bytes)
{
	return line->len + bytes <= sizeof line->buf - 3;
}

static void put(struct line *line, const char *text, size_t len)
{
	if (!fits(line, len))
		return;
	memcpy(line->buf + line->len, text, len);
	line->len += len;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

/* Readable without quotes: printable ASCII in one piece. */
static bool is_plain(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
			return false;
	}
	return text.len > 0;
}

/* Between quotes, in a form that is good JSON and harmless on a terminal. */
static void put_quoted(struct line *line, struct span text)
{
	char buf[LETTER_ESCAPE_BYTES];
	put(line, "\"", 1);
	while (text.len > 0) {
		struct letter letter = letter_read(text);
		if (!fits(line, 12)) {
			put(line, "...", 3);
			break;
		}
		if (letter.code == '"' || letter.code == '\\') {
			put(line, (char[]){'\\', text.ptr[0]}, 2);
		} else if (letter.code == '\n') {
			put(line, "\\n", 2);
		} else if (letter.kind != LETTER_PLAIN) {
			struct span escape = letter_escape(&letter, buf);
			put(line, escape.ptr, escape.len);
		} else {
			put(line, text.ptr, letter.len);
		}
		text = span_of(text.ptr + letter.len, text.len - letter.len);
	}
	put(line, "\"", 1);
}

static void put_value(struct line *line, const struct log_fact *fact, bool json)
{
	char number[32];
	switch (fact->kind) {
	case FACT_TEXT:
		if (!json && is_plain(fact->text) && fits(line, fact->text.len))
			put(line, fact->text.ptr, fact->text.len);
		else
			put_quoted(line, fact->text);
		return;
	case FACT_INT:
		(void)snprintf(number, sizeof number, "%" PRId64, fact->number);
		break;
	case FACT_FLAG:
		put_text(line, json ? (fact->number != 0 ? "true" : "false")
				    : (fact->number != 0 ? "yes" : "no"));
		return;
	case FACT_FRACTION:
		if (isfinite(fact->fraction) && fabs(fact->fraction) < 1e15)
			(void)snprintf(number, sizeof number, "%.3f", fact->fraction);
		else
			(void)snprintf(number, sizeof number, "null"); /* JSON has no other */
		break;
	}
	put_text(line, number);
}

static void put_facts(struct line *line, const struct log_fact *facts, bool json)
{
	for (; facts->key != NULL; facts++) {
		if (facts->kind == FACT_TEXT && facts->text.ptr == NULL)
			continue;
		/* A key without its value would be worse than a line cut short. */
		if (!fits(line, strlen(facts->key) + 40))
			return;
		put_text(line, json ? ",\"" : " ");
		put_text(line, facts->key);
		put_text(line, json ? "\":" : "=");
		put_value(line, facts, json);
	}
}

static void put_time(struct line *line)
{
	struct timespec now;
	struct tm utc;
	char text[32], full[40];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
	(void)snprintf(full, sizeof full, "%s.%03dZ", text, (int)(now.tv_nsec / 1000000));
	put_text(line, full);
}

static void build_json(struct line *line, const char *worker, enum log_level level,
		       const char *event, const struct log_fact *facts)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	put_text(line, "{\"time\":\"");
	put_time(line);
	put_text(line, "\",\"level\":\"");
	put_text(line, names[level]);
	put_text(line, "\",\"event\":");
	put_quoted(line, span_text(event));
	if (worker != NULL)
		put_facts(line, (struct log_fact[]){kv_text("worker", worker), {0}}, true);
	put_facts(line, facts, true);
	line->buf[line->len++] = '}';
}

static void build_text(struct line *line, enum log_level level, const char *event,
		       const struct log_fact *facts)
{
	static const char *const names[] = {" error ", " warn  ", " info  ", " debug "};
	put_time(line);
	put_text(line, names[level]);
	put_text(line, event);
	put_facts(line, facts, false);
}

/* See sd-daemon(3). The journal takes it off again. */
static void put_priority(struct line *line, enum log_level level)
{
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
	put_text(line, priorities[level]);
}

static void build(struct line *line, const struct log *log, enum log_level level, const char *event,
		  const struct log_fact *facts)
{
	line->len = 0;
	if (log->journal)
		put_priority(line, level);
	if (log->format == LOG_JSON)
		build_json(line, log->worker, level, event, facts);
	else
		build_text(line, level, event, facts);
	line->buf[line->len++] = '\n';
}

static bool has_room(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

static bool emit(const struct log *log, const struct line *line)
{
	return has_room(log->fd) && write(log->fd, line->buf, line->len) == (ssize_t)line->len;
}

/* False: there is still no room. */
static bool tell_dropped(struct log *log)
{
	struct line line;
	if (log->dropped == 0)
		return true;
	build(&line, log, LOG_WARN, "log lines dropped, the reader was too slow",
	      (struct log_fact[]){kv_int("lines", (int64_t)log->dropped), {0}});
	if (!emit(log, &line))
		return false;
	log->dropped = 0;
	return true;
}

void log_write(struct log *log, enum log_level level, const char *event,
	       const struct log_fact *facts)
{
	if (!log_wants(log, level))
		return;
	struct line line;
	build(&line, log, level, event, facts);
	(void)pthread_mutex_lock(&log->lock); /* fails only when it is used wrongly */
	if (!tell_dropped(log) || !emit(log, &line))
		log->dropped++;
	(void)pthread_mutex_unlock(&log->lock);
}
