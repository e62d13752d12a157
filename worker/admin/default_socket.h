/* default_socket - where a worker listens, and `outfall ctl` asks, when nobody has said.
 *
 *     $RUNTIME_DIRECTORY/admin.sock           what systemd has made for this unit
 *     $XDG_RUNTIME_DIR/outfall/admin.sock     a user's own; not for root
 *     /run/outfall/admin.sock
 *
 * A worker takes the first whose folder is there or can be made, and which it may write to; ctl the first that
 * is there.
 *
 * Thread: main's, before any other.
 * Owns:   nothing.
 * Fails:  with a sentence where none can be had; a path that is too long is none. */
#ifndef OUTFALL_ADMIN_DEFAULT_SOCKET_H
#define OUTFALL_ADMIN_DEFAULT_SOCKET_H

#include "base/error.h"

#include <stdbool.h>

struct default_socket {
	char path[108];   /* as sockaddr_un has it */
	char folder[108]; /* that was made for it, to be removed when it is empty; "" none */
};

enum status default_socket_make(struct default_socket *ret_socket, struct error *why);
void default_socket_remove_folder(const struct default_socket *socket);

/* Falls back to the last one, for the message that nobody answers there. */
void default_socket_find(struct default_socket *ret_socket);

#endif
