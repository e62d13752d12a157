/* late - a queue that comes to a configuration in use, and those that leave it.
 *
 * What it says is copied, so that the configuration it was read in may go. Its handler is the one that is in
 * use under that name. Its retry policy is a copy of its own: the section may be new as well.
 *
 * Thread: the loop's.
 * Owns:   all that is below it, until late_destroy() or settings_destroy(). While it is part of the
 *         settings, it is compared and adopted like what was there from the start.
 * Fails:  late_create() with ST_MISSING and a sentence that says what it lacks. */
#ifndef OUTFALL_SETTINGS_LATE_H
#define OUTFALL_SETTINGS_LATE_H

#include "base/error.h"

struct block;
struct late;
struct settings;

/* `block` is another configuration's; its section and its handler have to be in `settings`, too. */
enum status late_create(struct settings *settings, const struct block *block,
			struct late **ret_late, struct error *why);
const struct block *late_block(const struct late *late);
void late_join(struct late *late);    /* part of the settings from now on */
void late_destroy(struct late *late); /* is no part of the settings; NULL is fine */

/* The block is one of theirs, late or not, and is no part of them any more. It can still be read, until
 * late_destroy() or settings_destroy(). */
void settings_drop(struct settings *settings, struct block *block);

/* What is live in the retry policies of `after` holds for late queues, too. */
void late_adopt_retries(struct settings *settings, const struct settings *after);

/* Of settings_destroy(). */
void late_destroy_all(struct settings *settings);

#endif
