#include "executors/plugin/plugin_words.h"

#include "base/log.h"
#include "base/memory.h"
#include "executors/executor.h"
#include "job/job.h"

#include <stdio.h>
#include <string.h>

struct plugin_words *plugin_words_create(struct outfall_context *speaker, struct job *job)
{
	struct plugin_words *words = memory_clear(1, sizeof *words);
	if (words == NULL)
		return NULL;
	list_init(&words->place);
	words->speaker = speaker;
	words->job = job;
	words->progress = -1;
	return words;
}

void plugin_words_destroy(struct plugin_words *words)
{
	if (words == NULL)
		return;
	memory_free((char *)words->checkpoint.ptr);
	memory_free(words);
}

void plugin_words_progress(struct plugin_words *words, double done, const char *note)
{
	if (done >= 0) /* NaN is not */
		words->progress = done < 1 ? done : 1;
	if (note != NULL)
		(void)snprintf(words->note, sizeof words->note, "%s", note);
}

bool plugin_words_checkpoint(struct plugin_words *words, struct span bytes)
{
	char *copy = memory_take(bytes.len + 1);
	if (copy == NULL)
		return false;
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	memory_free((char *)words->checkpoint.ptr);
	words->checkpoint = span_of(copy, bytes.len);
	words->has_checkpoint = true;
	return true;
}

void plugin_words_extend(struct plugin_words *words, uint64_t more_ms)
{
	words->has_extend = true;
	if (more_ms > words->extend_ms)
		words->extend_ms = more_ms;
}

void plugin_words_tell(const struct plugin_words *words, struct executor_host *host,
		       struct log *log)
{
	if (words == NULL)
		return;
	if (words->progress >= 0 || words->note[0] != '\0')
		host->progress(host, words->job, words->progress, span_text(words->note));
	if (words->has_extend)
		host->extend(host, words->job, words->extend_ms);
	if (words->has_checkpoint && !host->checkpoint(host, words->job, words->checkpoint))
		log_say(log, LOG_WARN, "checkpoint refused, keeping the one before",
			KV_JOB(words->job), kv_int("bytes", (int64_t)words->checkpoint.len));
}
