/* load - what load.c and load_part.c share: blocks to structs, for the whole of a configuration or for as much
 * of it as a command uses.
 *
 * Thread: the one that loads.
 * Owns:   nothing: everything lives in the region of the loading.
 * Fails:  by reporting. */
#ifndef OUTFALL_SETTINGS_LOAD_H
#define OUTFALL_SETTINGS_LOAD_H

#include "settings/loaded.h"
#include "settings/parse.h"

struct loading {
	struct loaded *loaded;
	struct settings *settings; /* of `loaded` */
	struct region *region;     /* the same */
	struct files files;
	struct problems *problems;
	struct document document;
	source_schemas kinds;
};

/* NULL: no memory. */
struct loaded *load_begin(struct loading *ret_loading, source_schemas kinds,
			  const struct settings_kept *before, struct problems *problems);
/* Frees it, or completes it and sets *ret_settings. */
enum status load_end(struct loading *l, const char *path, struct settings **ret_settings);

enum parse_result load_parse(struct loading *l, const char *path, struct problems *syntax,
			     struct problems *values);

/* What was said for admin's socket, which may be "none", or NULL: nothing. */
void load_socket(struct admin_settings *admin, const char *said);

/* A struct for the block, filled. */
void load_fields(struct loading *l, struct block *block);

/* The sources as settings->sources, each with room for its queues; a queue to its source, after it. */
void load_sources(struct loading *l);
void load_place_queue(struct block *queue);

/* Its addresses, its certificates. */
void load_broker(struct loading *l, const struct block *source);

#endif
