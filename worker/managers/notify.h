/* notify - datagrams to the service manager that started us, in the words of sd_notify(3).
 *
 * Thread: the loop's.
 * Owns:   its descriptor, from notify_open() with ST_OK until notify_close().
 * Fails:  notify_open() with ST_INVALID for an address that cannot be one, ST_SYSTEM without a
 *         descriptor. Sending never waits: it returns false, and who has something to say says it
 *         again later. */
#ifndef OUTFALL_MANAGERS_NOTIFY_H
#define OUTFALL_MANAGERS_NOTIFY_H

#include "base/error.h"
#include "base/span.h"
#include "base/text.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd;
	struct sockaddr_un to;
	socklen_t to_bytes;
};

/* `where`: the path of a socket, or "@name" in the abstract namespace. */
enum status notify_open(struct notify *notify, const char *where, struct error *why);
void notify_close(struct notify *notify);

bool notify_send(const struct notify *notify, struct span lines);

/* "STATUS=sentence\n". A sentence may name jobs, whose ids others chose: what would begin a line of its
 * own in the protocol becomes a space. */
void notify_put_status(struct text *lines, struct span sentence);

#endif
