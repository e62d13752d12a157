/* count - a plugin to start from: counts the words of a job's body.
 *
 *     cc -shared -fPIC -O2 -o libcount.so count.c
 *     handler "count" { type = "plugin"  path = "/usr/lib/outfall/libcount.so"  threads = 4 }
 *
 * run() is called by several threads at once, so what they share is atomic. */
#include <outfall/outfall.h>

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Between two looks at the clock of others: large enough to cost nothing, small enough that a stop
 * is obeyed within a millisecond. */
enum { SLICE_BYTES = 64 * 1024 };

static atomic_ulong words_of_all_jobs;

static unsigned long count_words(const char *text, size_t bytes, int *in_word)
{
	unsigned long words = 0;
	for (size_t i = 0; i < bytes; i++) {
		int blank = isspace((unsigned char)text[i]) != 0;
		words += !blank && !*in_word;
		*in_word = !blank;
	}
	return words;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	const char *text = job->body;
	unsigned long words = 0;
	int in_word = 0;
	if (job->body_bytes > 0 && memchr(text, '\0', job->body_bytes) != NULL) {
		outfall_set_reason(ctx, "the body is not text");
		return OUTFALL_REJECT;
	}
	for (size_t done = 0; done < job->body_bytes; done += SLICE_BYTES) {
		size_t left = job->body_bytes - done;
		if (outfall_should_stop(ctx))
			return OUTFALL_RETURN; /* nothing of it counts yet: somebody else may */
		words +=
		    count_words(text + done, left < SLICE_BYTES ? left : SLICE_BYTES, &in_word);
	}
	unsigned long all =
	    atomic_fetch_add(&words_of_all_jobs, words) + words; /* the effect, last */
	char line[96];
	(void)snprintf(line, sizeof line, "%lu words, %lu in all", words, all);
	outfall_log(ctx, OUTFALL_LOG_DEBUG, line);
	return OUTFALL_DONE;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};
