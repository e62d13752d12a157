/* handler_clock - an exec handler that waits for a file and says when it ended.
 *
 *     handler_clock GATE RESULT
 *
 * Appends one line to RESULT when it begins and one with the monotonic time, in seconds, as the last
 * thing it does. run.py takes the latest of these as "the last job's end". */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void append(int fd, const char *word)
{
	char line[64];
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	int len = snprintf(line, sizeof line, "%s %.6f\n", word,
			   (double)t.tv_sec + (double)t.tv_nsec / 1e9);
	if (write(fd, line, (size_t)len) != len)
		_exit(1);
}

int main(int argc, char **argv)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	int fd = argc == 3 ? open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
	if (fd < 0)
		return 64;
	append(fd, "begin");
	while (access(argv[1], F_OK) != 0)
		nanosleep(&pause, NULL);
	append(fd, "end");
	return 0;
}
