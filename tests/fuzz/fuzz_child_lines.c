/* What a handler's process writes, as exec hears it on descriptor 4 and a pool on stdout: cut into lines,
 * and each whole line parsed. The first three bytes of an input say how long a line may be and into which
 * pieces the rest is torn; however it is torn, the same lines must come out. */
#include "fuzz.h"

#include "base/must.h"
#include "executors/child/child_says.h"
#include "executors/child/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 3, LIMITS = 512, PIECE_MOST = 64 };

/* Lines in few words, to compare two ways of reading. */
struct heard {
	size_t limit;
	uint64_t hash;
	bool parses; /* else only looks */
	bool goes_on;
};

static uint64_t mix(uint64_t hash, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* Reads all of it, which a sanitizer watches; text of JSON has no NUL. */
static void check_text(struct span text)
{
	must(text.len == 0 || memchr(text.ptr, '\0', text.len) == NULL);
}

static void check_facts(const struct child_says *says)
{
	must(says->progress < 0 || says->progress <= 1);
	check_text(says->note);
	if (says->has_checkpoint)
		(void)mix(0, says->checkpoint.ptr, says->checkpoint.len);
	else
		must(says->checkpoint.len == 0);
}

static void check_says(const struct child_says *says)
{
	check_text(says->id);
	switch (says->type) {
	case SAYS_READY:
		must(says->concurrency >= 1);
		return;
	case SAYS_LOG:
		check_text(says->text);
		must(says->level >= LOG_ERROR && says->level <= LOG_DEBUG);
		return;
	case SAYS_RESULT:
		must(says->id.len > 0);
		must(says->outcome.kind != OUTCOME_ABANDONED && !says->outcome.crashed);
		must(strlen(says->outcome.reason) < sizeof says->outcome.reason);
		check_facts(says);
		return;
	case SAYS_FACTS:
		check_facts(says);
		return;
	}
	must(false && "a type");
}

static void parse(struct span line)
{
	struct child_says says;
	struct error why = {0};
	if (child_says_parse(line, &says, &why)) {
		check_says(&says);
		child_says_fini(&says);
	} else {
		must(why.text[0] != '\0' && strlen(why.text) < sizeof why.text);
	}
}

static void hear(void *arg, struct span line, enum line_part part)
{
	struct heard *heard = arg;
	must(line.len <= heard->limit);
	must(line.len > 0 || heard->goes_on);
	must(line.len == 0 || memchr(line.ptr, '\n', line.len) == NULL);
	heard->hash = mix(mix(heard->hash, &part, sizeof part), line.ptr, line.len);
	must((part == LINE_MIDDLE || part == LINE_TAIL) == heard->goes_on);
	if (heard->parses && part == LINE_WHOLE)
		parse(line);
	heard->goes_on = line_goes_on(part);
}

/* In a copy of its own size, so that a sanitizer sees a look beyond. */
static void feed(struct lines *lines, const uint8_t *bytes, size_t size, struct heard *heard)
{
	char *copy = malloc(size);
	must(copy != NULL);
	memcpy(copy, bytes, size);
	lines_feed(lines, span_of(copy, size), hear, heard);
	free(copy);
}

static void read_whole(const uint8_t *bytes, size_t size, struct heard *heard)
{
	struct lines lines;
	lines_init(&lines, heard->limit);
	if (size > 0)
		feed(&lines, bytes, size, heard);
	lines_flush(&lines, hear, heard);
	lines_fini(&lines);
}

static void read_torn(const uint8_t *bytes, size_t size, unsigned seed, struct heard *heard)
{
	struct lines lines;
	lines_init(&lines, heard->limit);
	for (size_t at = 0; at < size;) {
		seed = seed * 1103515245 + 12345;
		size_t piece = 1 + (seed >> 16) % PIECE_MOST;
		if (piece > size - at)
			piece = size - at;
		feed(&lines, bytes + at, piece, heard);
		at += piece;
	}
	lines_flush(&lines, hear, heard);
	lines_fini(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < HEAD_BYTES)
		return 0;
	struct heard whole = {.limit = 1 + (bytes[0] + bytes[1] * 256u) % LIMITS, .parses = true};
	struct heard torn = {.limit = whole.limit};
	read_whole(bytes + HEAD_BYTES, size - HEAD_BYTES, &whole);
	read_torn(bytes + HEAD_BYTES, size - HEAD_BYTES, bytes[2], &torn);
	must(whole.hash == torn.hash);
	return 0;
}
