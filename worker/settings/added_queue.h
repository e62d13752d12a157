/* added_queue - a queue that comes to a configuration in use, and those that leave it.
 *
 * What it says is copied, so that the configuration it was read in may go. Its handler is the one that is in
 * use under that name. Its retry policy is a copy of its own: the section may be new as well.
 *
 * Thread: the loop's.
 * Owns:   all that is below it, until added_queue_destroy() or settings_destroy(). While it is part of the
 *         settings, it is compared and adopted like what was there from the start.
 * Fails:  added_queue_create() with ST_MISSING and a sentence that says what it lacks. */
#ifndef OUTFALL_SETTINGS_ADDED_QUEUE_H
#define OUTFALL_SETTINGS_ADDED_QUEUE_H

#include "base/error.h"

struct block;
struct added_queue;
struct settings;

/* `block` is another configuration's; its section and its handler have to be in `settings`, too. */
enum status added_queue_create(struct settings *settings, const struct block *block,
			       struct added_queue **ret_added, struct error *why);
const struct block *added_queue_block(const struct added_queue *added);
void added_queue_join(struct added_queue *added);    /* part of the settings from now on */
void added_queue_destroy(struct added_queue *added); /* is no part of the settings; NULL is fine */

/* The block is one of theirs, added or not, and is no part of them any more. It can still be read, until
 * added_queue_destroy() or settings_destroy(). */
void settings_drop(struct settings *settings, struct block *block);

/* What is live in the retry policies of `after` holds for added queues, too. */
void added_queue_adopt_retries(struct settings *settings, const struct settings *after);

/* Of settings_destroy(). */
void added_queue_destroy_all(struct settings *settings);

#endif
