/* listener - the sockets that operators come in by.
 *
 * Thread: any, before others run: the mode of a Unix socket goes by way of the umask.
 * Owns:   the descriptor is the caller's; a Unix socket's file is removed with listener_remove_file().
 * Fails:  with ST_REFUSED and a sentence: the address or path cannot be had now, most often because somebody
 *         answers there. */
#ifndef OUTFALL_ADMIN_LISTENER_H
#define OUTFALL_ADMIN_LISTENER_H

#include "base/error.h"

#include <sys/types.h>

/* Which file it was: by the time it is to be removed another may have taken its name. */
struct listener_file {
	const char *path; /* borrowed */
	dev_t device;
	ino_t inode;
};

/* A file that a worker left behind when it was killed is replaced, by one of those that try at once; one
 * that answers is not. */
enum status listener_open_unix(const char *path, unsigned mode, int *ret_fd,
			       struct listener_file *ret_file, struct error *why);
/* While it still listens: nobody takes its place before, so it is the right file that goes. */
void listener_remove_file(const struct listener_file *file);

/* `key` is what asked for it, for errors. `ret_bound`: the address with the port that the kernel chose, for people; at least 64 bytes. */
enum status listener_open_tcp(const char *key, const char *address, int *ret_fd, char *ret_bound,
			      size_t size, struct error *why);

#endif
