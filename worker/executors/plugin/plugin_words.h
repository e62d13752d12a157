/* plugin_words - what a plugin's job says of itself while it runs, on its way from the thread that
 * said it to the loop. Later words replace earlier ones of their kind that are still on the way.
 *
 * Thread: whoever holds the plugin's lock, until they are off its list; then the loop's.
 * Owns:   its copy of the checkpoint.
 * Units:  milliseconds, bytes.
 * Fails:  without memory: creation with NULL, a checkpoint with false. */
#ifndef OUTFALL_EXECUTORS_PLUGIN_WORDS_H
#define OUTFALL_EXECUTORS_PLUGIN_WORDS_H

#include "base/list.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct executor_host;
struct job;
struct log;
struct outfall_context;

enum { PLUGIN_NOTE_BYTES = 200 };

struct plugin_words {
	struct list place; /* among those on the way */
	struct outfall_context *speaker;
	struct job *job;
	double progress; /* less than 0: not said */
	char note[PLUGIN_NOTE_BYTES + 1];
	bool has_extend, has_checkpoint;
	uint64_t extend_ms;
	struct span checkpoint;
};

struct plugin_words *plugin_words_create(struct outfall_context *speaker, struct job *job);
void plugin_words_destroy(struct plugin_words *words); /* NULL is fine */

void plugin_words_progress(struct plugin_words *words, double done, const char *note);
bool plugin_words_checkpoint(struct plugin_words *words, struct span bytes);
void plugin_words_extend(struct plugin_words *words, uint64_t more_ms);

/* Tells the host; NULL says nothing. */
void plugin_words_tell(const struct plugin_words *words, struct executor_host *host,
		       struct log *log);

#endif
