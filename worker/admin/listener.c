#include "admin/listener.h"

#include "base/must.h"
#include "settings/listen_address.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	BACKLOG = 64,
	LOCK_TRIES = 200, /* two seconds; it is held for some system calls */
};

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

/* 0: somebody answers behind this file; else why nobody did. */
static int knock(const struct sockaddr_un *un)
{
	int fd = open_socket(AF_UNIX);
	if (fd < 0)
		return errno;
	int errnum = connect(fd, (const struct sockaddr *)un, sizeof *un) != 0 ? errno : 0;
	(void)close(fd);                      /* a probe */
	return errnum == EAGAIN ? 0 : errnum; /* its queue is full, so it has one */
}

static const char *owner_of(const struct stat *st, char *buf, size_t size)
{
	const struct passwd *user = getpwuid(st->st_uid);
	(void)snprintf(buf, size, "%s", user != NULL ? user->pw_name : "");
	if (user == NULL)
		(void)snprintf(buf, size, "user %u", (unsigned)st->st_uid);
	return buf;
}

/* A worker that was killed leaves its file behind. */
static enum status remove_left_behind(const struct sockaddr_un *un, struct error *why)
{
	struct stat st;
	char owner[64];
	if (lstat(un->sun_path, &st) != 0) /* gone meanwhile */
		return errno == ENOENT ? ST_OK : not_had(why, "admin.socket", un->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(why, ST_REFUSED,
				 "admin.socket %s: there is a file that is no socket",
				 un->sun_path);
	int errnum = knock(un);
	if (errnum == 0)
		return error_set(why, ST_REFUSED, "admin.socket %s: somebody answers there already",
				 un->sun_path);
	if (errnum != ECONNREFUSED && errnum != ENOENT)
		return error_set(why, ST_REFUSED,
				 "admin.socket %s: a socket of %s is there, which this user may "
				 "not connect to: %s; remove it if its worker has gone",
				 un->sun_path, owner_of(&st, owner, sizeof owner),
				 strerror(errnum));
	if (unlink(un->sun_path) == 0 || errno == ENOENT)
		return ST_OK;
	return error_set(why, ST_REFUSED,
			 "admin.socket %s: %s has left it behind, and it cannot be removed: %s",
			 un->sun_path, owner_of(&st, owner, sizeof owner), strerror(errno));
}

/* --- one at a time ---
 * Between finding a file left behind and taking its place another worker may do the same, and the later
 * one would take the place of a socket that is in use. So it is done under a lock, which is a file
 * beside for as long as that takes. */

static void lock_name(const struct sockaddr_un *un, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s.lock", un->sun_path);
}

/* Whoever had it before may have removed the file that we have locked. */
static bool is_the_file(int fd, const char *path)
{
	struct stat ours, there;
	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	       ours.st_ino == there.st_ino;
}

static int try_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_the_file(fd, path))
		return fd;
	(void)close(fd);
	errno = EWOULDBLOCK;
	return -1;
}

static enum status lock(const struct sockaddr_un *un, int *ret_fd, struct error *why)
{
	const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
	char path[sizeof un->sun_path + sizeof ".lock"];
	lock_name(un, path, sizeof path);
	for (int i = 0; i < LOCK_TRIES; i++) {
		*ret_fd = try_lock(path);
		if (*ret_fd >= 0)
			return ST_OK;
		if (errno != EWOULDBLOCK)
			return not_had(why, "admin.socket", un->sun_path);
		(void)nanosleep(&moment, NULL); /* a signal makes it shorter */
	}
	return error_set(why, ST_REFUSED, "admin.socket %s: %s is locked by another process",
			 un->sun_path, path);
}

static void unlock(const struct sockaddr_un *un, int fd)
{
	char path[sizeof un->sun_path + sizeof ".lock"];
	lock_name(un, path, sizeof path);
	(void)unlink(path); /* what stays is locked by the next */
	(void)close(fd);
}

static enum status listen_on(int fd, const char *key, const char *what, struct error *why)
{
	if (listen(fd, BACKLOG) == 0)
		return ST_OK;
	return not_had(why, key, what);
}

static enum status bind_unix(int fd, const struct sockaddr_un *un, unsigned mode, struct error *why)
{
	enum status st = remove_left_behind(un, why);
	if (st != ST_OK)
		return st;
	if (bind_with_mode(fd, un, mode) != 0)
		return not_had(why, "admin.socket", un->sun_path);
	return listen_on(fd, "admin.socket", un->sun_path, why);
}

static enum status open_unix(int fd, const struct sockaddr_un *un, unsigned mode, struct error *why)
{
	int locked;
	enum status st = lock(un, &locked, why);
	if (st != ST_OK)
		return st;
	st = bind_unix(fd, un, mode, why);
	unlock(un, locked);
	return st;
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
	enum status result = open_unix(fd, &un, mode, why);
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
	if (fd < 0 && errno == EAFNOSUPPORT && text[0] == '*') {
		listen_address_any_ipv4(
		    &address); /* a host without IPv6 has these interfaces only */
		fd = open_socket(address.at.ss_family);
	}
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
