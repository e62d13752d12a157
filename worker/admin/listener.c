#include "admin/listener.h"

#include "base/must.h"
#include "settings/listen_address.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

static int open_socket(int family)
{
	return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* As errno has it. */
static enum status not_had(struct error *why, const char *key, const char *what)
{
	return error_set(why, ST_REFUSED, "%s %s: %s", key, what, strerror(errno));
}

/* --- Unix --- */

/* Nobody answers behind this file. */
static bool is_left_behind(const struct sockaddr_un *un)
{
	int fd = open_socket(AF_UNIX);
	if (fd < 0)
		return false;
	bool refused =
	    connect(fd, (const struct sockaddr *)un, sizeof *un) != 0 && errno == ECONNREFUSED;
	(void)close(fd); /* a probe */
	return refused;
}

/* Born with its mode: between bind and a chmod anybody could have come in. */
static int bind_with_mode(int fd, const struct sockaddr_un *un, unsigned mode)
{
	mode_t before = umask((mode_t)(0777 & ~mode));
	int result = bind(fd, (const struct sockaddr *)un, sizeof *un);
	int errnum = errno;
	(void)umask(before);
	errno = errnum;
	return result;
}

static enum status bind_unix(int fd, const struct sockaddr_un *un, unsigned mode, struct error *why)
{
	struct stat st;
	if (bind_with_mode(fd, un, mode) == 0)
		return ST_OK;
	if (errno != EADDRINUSE)
		return not_had(why, "admin.socket", un->sun_path);
	if (lstat(un->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return error_set(why, ST_REFUSED,
				 "admin.socket %s: there is a file that is no socket",
				 un->sun_path);
	if (!is_left_behind(un))
		return error_set(why, ST_REFUSED, "admin.socket %s: somebody answers there already",
				 un->sun_path);
	if (unlink(un->sun_path) != 0 || bind_with_mode(fd, un, mode) != 0)
		return not_had(why, "admin.socket", un->sun_path);
	return ST_OK;
}

static enum status listen_on(int fd, const char *key, const char *what, struct error *why)
{
	if (listen(fd, BACKLOG) == 0)
		return ST_OK;
	return not_had(why, key, what);
}

enum status listener_open_unix(const char *path, unsigned mode, int *ret_fd,
			       struct listener_file *ret_file, struct error *why)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat st;
	must(strlen(path) < sizeof un.sun_path); /* check_admin.c has seen to it */
	memcpy(un.sun_path, path, strlen(path) + 1);
	int fd = open_socket(AF_UNIX);
	if (fd < 0)
		return not_had(why, "admin.socket", path);
	enum status result = bind_unix(fd, &un, mode, why);
	if (result == ST_OK)
		result = listen_on(fd, "admin.socket", path, why);
	if (result == ST_OK && stat(path, &st) != 0)
		result = not_had(why, "admin.socket", path);
	if (result != ST_OK) {
		(void)close(fd);
		return result;
	}
	*ret_file = (struct listener_file){path, st.st_dev, st.st_ino};
	*ret_fd = fd;
	return ST_OK;
}

void listener_remove_file(const struct listener_file *file)
{
	struct stat st;
	if (file->path == NULL || lstat(file->path, &st) != 0)
		return;
	if (st.st_dev == file->device && st.st_ino == file->inode)
		(void)unlink(file->path); /* what stays is replaced by the next worker */
}

/* --- TCP --- */

static enum status bind_tcp(int fd, const struct listen_address *address, const char *key,
			    const char *text, struct error *why)
{
	int yes = 1, no = 0;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (address->at.ss_family == AF_INET6) /* "*" is both; fails where there is no IPv4 */
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
	if (bind(fd, (const struct sockaddr *)&address->at, address->len) != 0)
		return not_had(why, key, text);
	return listen_on(fd, key, text, why);
}

enum status listener_open_tcp(const char *key, const char *text, int *ret_fd, char *ret_bound,
			      size_t size, struct error *why)
{
	struct listen_address address;
	bool good = listen_address_parse(text, &address);
	must(good); /* check_admin.c has seen to it */
	int fd = open_socket(address.at.ss_family);
	if (fd < 0)
		return not_had(why, key, text);
	enum status result = bind_tcp(fd, &address, key, text, why);
	if (result != ST_OK) {
		(void)close(fd);
		return result;
	}
	if (getsockname(fd, (struct sockaddr *)&address.at, &address.len) == 0)
		listen_address_print(&address, ret_bound, size);
	else
		(void)snprintf(ret_bound, size, "%s", text);
	*ret_fd = fd;
	return ST_OK;
}
