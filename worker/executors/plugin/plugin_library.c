/* The struct that a plugin exports says only its ABI, not its size: an author writes `.abi =
 * OUTFALL_ABI` and cannot get it wrong, and the table below knows how long the struct was then.
 * What lies behind belongs to whatever the linker put there, and is not read. A size field, the other
 * way, would let a plugin run in a worker that is older than its header and does not know half of
 * its hooks; we would rather refuse it, because a hook that is never called is found too late.
 *
 * A plugin's own functions come before those of the libraries that we have loaded (RTLD_DEEPBIND): one
 * that brings a hiredis of its own must not call ours. Ours do not get in its way, the linker hides them.
 * Where somebody has put another malloc before libc's (LD_PRELOAD, a sanitizer) that is not done: the
 * plugin would take libc's, and one would free what the other has given. */
#include "executors/plugin/plugin_library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

enum { CONCURRENCY_MOST = 65536 };

/* Bytes of struct outfall_plugin in each ABI. */
static const size_t bytes_in_abi[] = {
    [1] = offsetof(struct outfall_plugin, concurrency),
    [2] = sizeof(struct outfall_plugin),
    [3] = sizeof(struct outfall_plugin),
};
_Static_assert(sizeof bytes_in_abi / sizeof bytes_in_abi[0] == OUTFALL_ABI + 1,
	       "each ABI has its row");

static enum status take_code(struct plugin_library *library, const void *exported, const char *path,
			     struct error *why)
{
	uint32_t abi;
	memcpy(&abi, exported, sizeof abi);
	if (abi < 1 || abi > OUTFALL_ABI)
		return error_set(why, ST_INVALID,
				 "%s: built for plugin ABI %u, this worker has 1 to %u: compile it "
				 "again with the <outfall/outfall.h> of this worker",
				 path, (unsigned)abi, OUTFALL_ABI);
	memcpy(&library->code, exported, bytes_in_abi[abi]);
	if (library->code.run == NULL)
		return error_set(why, ST_INVALID, "%s: outfall_plugin.run is not set", path);
	if (library->code.concurrency > CONCURRENCY_MOST)
		return error_set(why, ST_INVALID,
				 "%s: outfall_plugin.concurrency is %u, the most is %d", path,
				 (unsigned)library->code.concurrency, CONCURRENCY_MOST);
	return ST_OK;
}

static bool is_malloc_of_libc(void)
{
	const void *allocator = dlsym(RTLD_DEFAULT, "malloc");
	const void *libc = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
	Dl_info of_allocator, of_libc;
	return allocator != NULL && libc != NULL && dladdr(allocator, &of_allocator) != 0 &&
	       dladdr(libc, &of_libc) != 0 && of_allocator.dli_fbase == of_libc.dli_fbase;
}

enum status plugin_library_open(struct plugin_library *library, const char *path, struct error *why)
{
	int own_first = is_malloc_of_libc() ? RTLD_DEEPBIND : 0;
	*library =
	    (struct plugin_library){.object = dlopen(path, RTLD_NOW | RTLD_LOCAL | own_first)};
	if (library->object == NULL)
		return error_set(why, ST_INVALID, "%s", dlerror()); /* names the path itself */
	const void *exported = dlsym(library->object, "outfall_plugin");
	enum status st =
	    exported != NULL
		? take_code(library, exported, path, why)
		: error_set(why, ST_INVALID,
			    "%s: does not export outfall_plugin (see outfall/outfall.h)", path);
	if (st != ST_OK)
		plugin_library_close(library);
	return st;
}

void plugin_library_close(struct plugin_library *library)
{
	if (library->object != NULL)
		(void)dlclose(library->object);
	library->object = NULL;
}
