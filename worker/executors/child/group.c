#include "executors/child/group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_somebody(pid_t pid)
{
	return kill(pid, 0) == 0 || errno == EPERM;
}

bool group_has_number(pid_t group)
{
	return is_somebody(-group) && !is_somebody(group);
}

/* "PID (NAME) STATE PARENT GROUP ..."; a name may have anything in it. */
static bool lives_in(pid_t group, const char *pid)
{
	char path[64], text[256];
	char state;
	int in_group;
	(void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *behind = strrchr(text, ')');
	return behind != NULL && sscanf(behind, ") %c %*d %d", &state, &in_group) == 2 &&
	       in_group == group && state != 'Z' && state != 'X';
}

static bool pid_lives_in(pid_t group, pid_t pid)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%d", (int)pid);
	return lives_in(group, text);
}

/* 0: nobody; -1: it cannot be known. */
static pid_t find_member(pid_t group)
{
	pid_t found = 0;
	struct dirent *entry;
	DIR *all = opendir("/proc");
	if (all == NULL)
		return -1;
	while (found == 0 && (entry = readdir(all)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    lives_in(group, entry->d_name))
			found = atoi(entry->d_name);
	(void)closedir(all);
	return found;
}

bool group_lives(pid_t group, pid_t *witness)
{
	if (!group_has_number(group))
		return false;
	if (*witness > 0 && pid_lives_in(group, *witness))
		return true;
	*witness = find_member(group);
	if (*witness ==
	    0) /* one may have begun another behind our back, and ended before it was read */
		*witness = find_member(group);
	return *witness != 0;
}
