/* pool_child - the least a pool process can do: each job is done when it has been read.
 *
 *     pool_child CONCURRENCY
 *
 * The answers to what one read brought leave in one write. Lines are not parsed but searched, so what
 * is measured with it is the other end of the pipes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

static char in[ROOM], out[ROOM];
static size_t have, answered;

static void flush(void)
{
	for (size_t at = 0; at < answered;) {
		ssize_t n = write(1, out + at, answered - at);
		if (n <= 0)
			_exit(1);
		at += (size_t)n;
	}
	answered = 0;
}

/* The text between `key` and the next quote, or nothing. */
static const char *find(const char *line, size_t len, const char *key, size_t *ret_len)
{
	const char *at = memmem(line, len, key, strlen(key));
	if (at == NULL)
		return NULL;
	at += strlen(key);
	const char *end = memchr(at, '"', (size_t)(line + len - at));
	*ret_len = end != NULL ? (size_t)(end - at) : 0;
	return at;
}

static void answer(const char *id, size_t len)
{
	static const char head[] = "{\"type\":\"result\",\"id\":\"";
	static const char tail[] = "\",\"outcome\":\"done\"}\n";
	if (answered + sizeof head + len + sizeof tail > sizeof out)
		flush();
	memcpy(out + answered, head, sizeof head - 1);
	answered += sizeof head - 1;
	memcpy(out + answered, id, len);
	answered += len;
	memcpy(out + answered, tail, sizeof tail - 1);
	answered += sizeof tail - 1;
}

/* Bytes of the line and body at the front that are all there; 0: wait for more. */
static size_t take_one(const char *at, size_t len)
{
	const char *end = memchr(at, '\n', len);
	size_t line, unused, id_len, bytes = 0;
	if (end == NULL)
		return 0;
	line = (size_t)(end - at) + 1;
	const char *id = find(at, line, "\"id\":\"", &id_len);
	const char *number = find(at, line, "\"bytes\":", &unused);
	if (number != NULL)
		bytes = strtoul(number, NULL, 10);
	if (line + bytes > len)
		return 0;
	if (number != NULL)
		answer(id, id_len);
	return line + bytes;
}

int main(int argc, char **argv)
{
	printf("{\"type\":\"ready\",\"concurrency\":%s}\n", argc > 1 ? argv[1] : "1");
	fflush(stdout);
	for (;;) {
		ssize_t n = read(0, in + have, sizeof in - have);
		size_t at = 0, taken;
		if (n <= 0)
			return 0;
		have += (size_t)n;
		while ((taken = take_one(in + at, have - at)) > 0)
			at += taken;
		memmove(in, in + at, have - at);
		have -= at;
		flush();
	}
}
