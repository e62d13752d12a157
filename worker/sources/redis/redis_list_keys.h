/* redis_list_keys - the names of all keys that belong to one list.
 *
 *     thumbnails                    LIST  raw bodies: producers LPUSH, the right end is the head
 *     {thumbnails}:held:<worker>    HASH  jobs claimed by that worker
 *     {thumbnails}:wake:<worker>    LIST  at most one body, moved by the BLMOVE that worker waits in
 *     {thumbnails}:workers          ZSET  worker -> when its lease runs out
 *     {thumbnails}:clients          HASH  worker -> id of the connection on which it blocks, or "quiet"
 *     {thumbnails}:seq              the last job id given out
 *     {thumbnails}:delayed          ZSET  jobs not yet due
 *     {thumbnails}:returned         ZSET  what is known of bodies that went back to the list
 *     {thumbnails}:checkpoints      HASH  job id -> what its last run left for the next
 *     {thumbnails}:dead             LIST  raw bodies that were rejected, or tried too often
 *     {thumbnails}:dead:notes       LIST  why, as JSON
 *
 * What each holds exactly is told by the scripts that use it, redis_turn.lua first.
 *
 * A cluster places a key by the text in its first braces, so all keys of a list are in one slot. A
 * list whose own name has such a tag keeps it: "{img}thumbs" leads to "{img}thumbs::seq", with two
 * colons, so that lists named "x" and "{x}" do not meet. A dead list of another name is used as it is;
 * in a cluster its name must carry the list's tag.
 *
 * Thread: any; the struct belongs to its caller.
 * Owns:   the names, in one allocation until redis_keys_fini().
 * Fails:  redis_keys_init() with ST_NOMEM. */
#ifndef OUTFALL_SOURCES_REDIS_LIST_KEYS_H
#define OUTFALL_SOURCES_REDIS_LIST_KEYS_H

#include "base/error.h"

struct redis_keys {
	const char *list, *dead, *notes;
	const char *seq, *delayed, *returned, *checkpoints, *workers, *clients;
	const char *spare;             /* the list's own dead list, whatever `dead` is */
	const char *held_of, *wake_of; /* to which the name of any worker is appended */
	const char *held, *wake;       /* those of the worker given */
	char *text;
};

/* `dead` may be NULL: the list's own. A producer has no worker: NULL. */
enum status redis_keys_init(struct redis_keys *keys, const char *list, const char *dead,
			    const char *worker);
void redis_keys_fini(struct redis_keys *keys); /* fine on a zeroed one */

#endif
