/* withheld - variables whose values the configuration has put into passwords: no handler gets them unless its key
 * `environment` names them.
 *
 * Thread: the one that loads; withheld_hide() main's, before any other.
 * Owns:   names live in the region.
 * Fails:  never. */
#ifndef OUTFALL_SETTINGS_WITHHELD_H
#define OUTFALL_SETTINGS_WITHHELD_H

#include "settings/document.h"

/* NULL-terminated. */
const char **withheld_find(const struct document *document, struct region *region);

/* Takes them out of what /proc/PID/environ shows to each process of our user; getenv() still knows them. */
void withheld_hide(const char *const *names);

#endif
