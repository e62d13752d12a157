/* plugin_library - a plugin's shared object, and what it exports, whatever ABI it was built for.
 *
 * Thread: the loop's, while it opens and closes; `code` may be read by any meanwhile.
 * Owns:   the library, from open() to close().
 * Fails:  opening, with ST_INVALID: no such object, no such symbol, an ABI that is not ours, a field
 *         that cannot be. */
#ifndef OUTFALL_EXECUTORS_PLUGIN_LIBRARY_H
#define OUTFALL_EXECUTORS_PLUGIN_LIBRARY_H

#include "base/error.h"
#include "plugin/outfall.h"

struct plugin_library {
	void *object;               /* dlopen's; NULL: not open */
	struct outfall_plugin code; /* what its ABI does not have is zero */
};

enum status plugin_library_open(struct plugin_library *library, const char *path,
				struct error *why);
void plugin_library_close(struct plugin_library *library); /* one that is not open is fine */

#endif
