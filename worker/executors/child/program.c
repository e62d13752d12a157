/* As execvp() would find it, but in the worker and not in the child, where it could not. */
#include "executors/child/program.h"

#include "base/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_program(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* NULL: nowhere. */
static char *look_up(const char *name)
{
	char path[PATH_MAX];
	const char *dir = getenv("PATH");
	if (strchr(name, '/') != NULL)
		return memory_text(name);
	if (dir == NULL)
		dir = "/usr/local/bin:/usr/bin:/bin";
	for (;;) {
		int len = (int)strcspn(dir, ":");
		int n = snprintf(path, sizeof path, "%.*s/%s", len, len ? dir : ".", name);
		if (n > 0 && (size_t)n < sizeof path && is_program(path))
			return memory_text(path);
		if (dir[len] == '\0')
			return NULL;
		dir += len + 1;
	}
}

enum status program_find(const char *name, char **ret_path, struct error *why)
{
	char *path = look_up(name);
	if (path == NULL)
		return error_set(why, ST_SYSTEM, "%s: not found in PATH", name);
	*ret_path = path;
	return ST_OK;
}
