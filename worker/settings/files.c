#include "settings/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_BYTES = 4096 };

static enum status read_whole(int fd, size_t size, size_t most, struct region *region,
			      struct span *ret_bytes, struct error *why)
{
	size_t room = size + 1, len = 0;
	char *bytes = region_take(region, room + 1);
	for (;;) {
		ssize_t n = read(fd, bytes + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(why, ST_SYSTEM, "%s", strerror(errno));
		len += (size_t)n;
		if (n == 0 || len > most)
			break;
		if (len < room)
			continue;
		char *larger = region_take(region, 2 * room + 1);
		memcpy(larger, bytes, len);
		bytes = larger;
		room *= 2;
	}
	if (len > most)
		return error_set(why, ST_FULL, "too long");
	bytes[len] = '\0';
	*ret_bytes = span_of(bytes, len);
	return ST_OK;
}

static bool can_be_read_again(const struct stat *st)
{
	return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode); /* of which reading says why not */
}

static void keep_in(struct region *region, struct kept_file **list, const char *path,
		    struct span bytes)
{
	struct kept_file *kept = region_take(region, sizeof *kept);
	kept->path = region_text(region, path, strlen(path));
	kept->bytes = span_of(region_text(region, bytes.ptr, bytes.len), bytes.len);
	kept->next = *list;
	*list = kept;
}

static void keep(struct files *files, const char *path, struct span bytes)
{
	keep_in(files->region, &files->kept, path, bytes);
}

struct kept_file *files_kept_copy(const struct kept_file *kept, struct region *region)
{
	struct kept_file *copy = NULL;
	for (; kept != NULL; kept = kept->next)
		keep_in(region, &copy, kept->path, kept->bytes);
	return copy;
}

static enum status read_open(struct files *files, int fd, const char *path, size_t most,
			     struct region *region, struct span *ret_bytes, struct error *why)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return error_set(why, ST_SYSTEM, "%s", strerror(errno));
	size_t size =
	    st.st_size > 0 && (size_t)st.st_size <= most ? (size_t)st.st_size : FIRST_BYTES;
	enum status status = read_whole(fd, size, most, region, ret_bytes, why);
	if (status == ST_OK && !can_be_read_again(&st))
		keep(files, path, *ret_bytes);
	return status;
}

static enum status read_path(struct files *files, const char *path, size_t most,
			     struct region *region, struct span *ret_bytes, struct error *why)
{
	/* At the start a pipe is waited for: who has not written into it by then will. */
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(why, ST_SYSTEM, "%s", strerror(errno));
	enum status st = read_open(files, fd, path, most, region, ret_bytes, why);
	(void)close(fd); /* only read from */
	return st;
}

static const struct kept_file *find_kept(const struct kept_file *kept, const char *path)
{
	while (kept != NULL && strcmp(kept->path, path) != 0)
		kept = kept->next;
	return kept;
}

/* Of a worker that runs. A pipe that has become a file is like any other file from then on. */
static enum status read_path_again(struct files *files, const char *path, size_t most,
				   struct region *region, struct span *ret_bytes, struct error *why)
{
	const struct kept_file *before = find_kept(files->before, path);
	struct stat st;
	bool there = stat(path, &st) == 0;
	if (before != NULL && !(there && S_ISREG(st.st_mode))) {
		keep(files, path, before->bytes);
		*ret_bytes = files->kept->bytes;
		return ST_OK;
	}
	if (there && !can_be_read_again(&st))
		return error_set(why, ST_AGAIN,
				 "it is a pipe or a device, which is read only when the worker "
				 "starts");
	return read_path(files, path, most, region, ret_bytes, why);
}

enum status files_read(struct files *files, const char *path, size_t most, struct region *region,
		       struct span *ret_bytes, struct error *why)
{
	if (files->again)
		return read_path_again(files, path, most, region, ret_bytes, why);
	return read_path(files, path, most, region, ret_bytes, why);
}

const char *files_beside(struct region *region, const char *file, const char *name)
{
	const char *slash = strrchr(file, '/');
	if (name[0] == '/' || slash == NULL)
		return name;
	return region_print(region, "%.*s/%s", (int)(slash - file), file, name);
}
