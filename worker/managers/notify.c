/* Why not libsystemd? It brings five libraries for one sendto(2). Each datagram carries its address
 * with it, because a manager that starts anew makes a new socket in the same place. */
#include "managers/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum status notify_open(struct notify *notify, const char *where, struct error *why)
{
	size_t len = strlen(where);
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	if ((where[0] != '/' && where[0] != '@') || len < 2)
		return error_set(why, ST_INVALID, "\"%.100s\" is neither a path nor @name", where);
	if (len >= sizeof to.sun_path)
		return error_set(why, ST_INVALID, "\"%.100s\" is too long for a socket", where);
	memcpy(to.sun_path, where, len);
	if (where[0] == '@')
		to.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_system(why, errno, "socket");
	*notify = (struct notify){
	    .fd = fd,
	    .to = to,
	    .to_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len),
	};
	return ST_OK;
}

void notify_close(struct notify *notify)
{
	(void)close(notify->fd); /* a datagram that was sent has arrived */
	notify->fd = -1;
}

bool notify_send(const struct notify *notify, struct span lines)
{
	ssize_t sent = sendto(notify->fd, lines.ptr, lines.len, MSG_NOSIGNAL,
			      (const struct sockaddr *)&notify->to, notify->to_bytes);
	return sent == (ssize_t)lines.len;
}

void notify_put_status(struct text *lines, struct span sentence)
{
	text_put_literal(lines, "STATUS=");
	text_put_tame(lines, sentence);
	text_put_literal(lines, "\n");
}
