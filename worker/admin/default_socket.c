#include "admin/default_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLACES = 3 };

/* The folder of the n-th place; false: there is none, or its path is too long. */
static bool folder_of(int n, char *buf, size_t size)
{
	static const char fixed[] = "/run/outfall", leaf[] = "/admin.sock";
	const char *base = n == 0 ? getenv("RUNTIME_DIRECTORY") : getenv("XDG_RUNTIME_DIR");
	int len;
	if (n == PLACES - 1)
		len = snprintf(buf, size, "%s", fixed);
	else if (base == NULL || base[0] != '/' || (n == 1 && geteuid() == 0))
		return false;
	else /* systemd puts several between colons */
		len = snprintf(buf, size, "%.*s%s", (int)strcspn(base, ":"), base,
			       n == 1 ? "/outfall" : "");
	return len > 0 && (size_t)len + sizeof leaf <= size;
}

static void put_path(struct default_socket *socket, const char *folder)
{
	(void)snprintf(socket->path, sizeof socket->path, "%.95s/admin.sock", folder);
}

static bool may_write(const char *folder)
{
	return access(folder, W_OK | X_OK) == 0;
}

enum status default_socket_make(struct default_socket *ret_socket, struct error *why)
{
	char folder[sizeof ret_socket->path];
	int errnum = ENOENT;
	*ret_socket = (struct default_socket){0};
	for (int n = 0; n < PLACES; n++) {
		if (!folder_of(n, folder, sizeof folder))
			continue;
		bool made = mkdir(folder, n == 1 ? 0700 : 0755) == 0;
		if (may_write(folder)) {
			put_path(ret_socket, folder);
			if (made)
				memcpy(ret_socket->folder, folder, sizeof folder);
			return ST_OK;
		}
		errnum = errno;
	}
	return error_system(why, errnum, "%s", folder);
}

void default_socket_remove_folder(const struct default_socket *socket)
{
	if (socket->folder[0] != '\0')
		(void)rmdir(socket->folder); /* somebody else's socket may be in it */
}

void default_socket_find(struct default_socket *ret_socket)
{
	char folder[sizeof ret_socket->path];
	*ret_socket = (struct default_socket){0};
	for (int n = 0; n < PLACES; n++) {
		if (!folder_of(n, folder, sizeof folder))
			continue;
		put_path(ret_socket, folder);
		if (access(ret_socket->path, F_OK) == 0)
			return;
	}
}
