/* instruction - what a test's job asks its handler to do, and the record of what was done.
 *
 * A body is TAG, TAG:VERB or TAG:VERB:ARGUMENT. Verbs of both handlers: done, ms (sleep so long),
 * gate (until that file exists). The others stand with the handler that knows them.
 *
 * Thread: any; the record's descriptor is shared and each line is one append.
 * Owns:   the descriptor, for the life of the process.
 * Units:  milliseconds.
 * Fails:  record_open() with false. */
#ifndef OUTFALL_TEST_INSTRUCTION_H
#define OUTFALL_TEST_INSTRUCTION_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct instruction {
	const char *tag, *verb, *argument; /* point into the body; verb and argument may be NULL */
};

static inline struct instruction instruction_parse(char *body)
{
	char *rest = body;
	struct instruction todo = {.tag = strsep(&rest, ":")};
	todo.verb = strsep(&rest, ":");
	todo.argument = rest;
	if (todo.tag[0] == '\0')
		todo.tag = "-";
	return todo;
}

static inline void sleep_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

static inline bool gate_is_open(const char *path)
{
	return access(path, F_OK) == 0;
}

enum { RECORD_FD = 200 }; /* a number nobody else uses, instead of a variable */

static inline bool record_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	return fd >= 0 && dup3(fd, RECORD_FD, O_CLOEXEC) == RECORD_FD && close(fd) == 0;
}

__attribute__((format(printf, 1, 2))) static inline void record(const char *format, ...)
{
	char line[1024];
	va_list ap;
	va_start(ap, format);
	int len = vsnprintf(line, sizeof line - 1, format, ap);
	va_end(ap);
	if (len < 0)
		abort();
	if (len > (int)sizeof line - 2)
		len = (int)sizeof line - 2;
	line[len++] = '\n';
	if (write(RECORD_FD, line, (size_t)len) != len)
		abort();
}

#endif
