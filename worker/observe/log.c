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
#include "observe/log.h"

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

/* How long the UTF-8 sequence at text.ptr[at] is; 0 when it is none. JSON must be valid UTF-8. */
static size_t utf8_length(struct span text, size_t at)
{
	const unsigned char *p = (const unsigned char *)text.ptr + at;
	size_t left = text.len - at;
	size_t len = p[0] < 0x80                   ? 1
		     : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		     : (p[0] & 0xf0) == 0xe0       ? 3
		     : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						   : 0;
	if (len == 0 || len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((len == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))) ||
	    (len == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))))
		return 0;
	return len;
}

/* Between quotes, in a form that is good JSON and harmless on a terminal. */
static void put_quoted(struct line *line, struct span text)
{
	put(line, "\"", 1);
	for (size_t i = 0; i < text.len;) {
		unsigned char c = (unsigned char)text.ptr[i];
		size_t len = utf8_length(text, i);
		char esc[8];
		if (!fits(line, 12)) {
			put(line, "...", 3);
			break;
		}
		if (c == '"' || c == '\\') {
			put(line, (char[]){'\\', (char)c}, 2);
		} else if (c == '\n') {
			put(line, "\\n", 2);
		} else if (c < ' ' || c == 0x7f ||
			   (len == 2 && c == 0xc2 && (text.ptr[i + 1] & 0x60) == 0)) {
			unsigned code = len == 2 ? (unsigned char)text.ptr[i + 1] : c;
			put(line, esc, (size_t)snprintf(esc, sizeof esc, "\\u%04x", code));
		} else if (len == 0) {
			put_text(line, "\\ufffd");
		} else {
			put(line, text.ptr + i, len);
		}
		i += len ? len : 1;
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

static void build_json(struct line *line, enum log_level level, const char *event,
		       const struct log_fact *facts)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	put_text(line, "{\"time\":\"");
	put_time(line);
	put_text(line, "\",\"level\":\"");
	put_text(line, names[level]);
	put_text(line, "\",\"event\":");
	put_quoted(line, span_text(event));
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
		build_json(line, level, event, facts);
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
