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
};

/* NULL: no memory. */
struct loaded *load_begin(struct loading *ret_loading, const struct settings_kept *before,
			  struct problems *problems);
/* Frees it, or completes it and sets *ret_settings. */
enum status load_end(struct loading *l, const char *path, struct settings **ret_settings);

enum parse_result load_parse(struct loading *l, const char *path, struct problems *syntax,
			     struct problems *values);

/* What was said for admin's socket, which may be "none", or NULL: nothing. */
void load_socket(struct admin_settings *admin, const char *said);

/* A struct for the block, filled. */
void load_fields(struct loading *l, struct block *block);
void *load_array(struct loading *l, enum section section, size_t n);
void load_move_fields(struct block *block, void *array, size_t at);
void *load_collect(struct loading *l, enum section section, size_t *ret_n);

/* Its addresses, its certificates, room for its queues. */
void load_broker(struct loading *l, const struct block *block);
void load_room(struct loading *l, const struct block *block);

#endif
