/* count - a plugin to start from: counts the words of a job's body.
 *
 *     cc $(pkg-config --cflags outfall) -shared -fPIC -O2 -o libcount.so count.c
 *     handler "count" { type = "plugin"  path = "/usr/lib/outfall/libcount.so"  threads = 4 }
 *
 * run() is called by several threads at once, so what they share is atomic. A count that is
 * interrupted leaves how far it came, and the next run of the job goes on from there. */
#include <outfall/outfall.h>

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Between two looks at the clock of others: large enough to cost nothing, small enough that a stop
 * is obeyed within a millisecond. */
enum { SLICE_BYTES = 64 * 1024 };

static atomic_ulong words_of_all_jobs;

struct count {
	size_t bytes; /* counted so far */
	unsigned long words;
	int in_word;
};

static void count_words(struct count *count, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		int blank = isspace((unsigned char)text[i]) != 0;
		count->words += !blank && !count->in_word;
		count->in_word = !blank;
	}
	count->bytes += bytes;
}

/* As text: the next run may be another machine's. */
static void leave(const struct count *count, struct outfall_context *ctx)
{
	char text[96];
	int len = snprintf(text, sizeof text, "%zu bytes %lu words %d", count->bytes, count->words,
			   count->in_word);
	(void)outfall_checkpoint(ctx, text, (size_t)len); /* without it we begin again: no harm */
}

static struct count take_up(const struct outfall_job *job)
{
	struct count count;
	char text[96];
	if (job->checkpoint_bytes == 0 || job->checkpoint_bytes >= sizeof text)
		return (struct count){0};
	memcpy(text, job->checkpoint, job->checkpoint_bytes);
	text[job->checkpoint_bytes] = '\0';
	if (sscanf(text, "%zu bytes %lu words %d", &count.bytes, &count.words, &count.in_word) !=
		3 ||
	    count.bytes > job->body_bytes)
		return (struct count){0};
	return count;
}

/* The class is what somebody who looks through dead jobs sorts them by. */
static enum outfall_outcome refuse(struct outfall_context *ctx, const char *class_name,
				   const char *message)
{
	const char *where[] = {"run() at " __FILE__};
	outfall_set_error(ctx, class_name, message, where, 1);
	return OUTFALL_REJECT;
}

static enum outfall_outcome run(const struct outfall_job *job, struct outfall_context *ctx)
{
	const char *text = job->body;
	struct count count = take_up(job);
	if (job->body_bytes > 0 && memchr(text, '\0', job->body_bytes) != NULL)
		return refuse(ctx, "NotText", "the body has a NUL in it");
	while (count.bytes < job->body_bytes) {
		size_t left = job->body_bytes - count.bytes;
		if (outfall_should_stop(ctx)) {
			leave(&count, ctx);
			return OUTFALL_RETURN;
		}
		count_words(&count, text + count.bytes, left < SLICE_BYTES ? left : SLICE_BYTES);
	}
	unsigned long all =
	    atomic_fetch_add(&words_of_all_jobs, count.words) + count.words; /* the effect, last */
	char line[96];
	(void)snprintf(line, sizeof line, "%lu words, %lu in all", count.words, all);
	outfall_log(ctx, OUTFALL_LOG_DEBUG, line);
	return OUTFALL_DONE;
}

const struct outfall_plugin outfall_plugin = {.abi = OUTFALL_ABI, .run = run};
