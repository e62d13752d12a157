/* It says so without ever waiting: a full pipe at stderr must not keep us from the abort, which is what makes
 * the broker redeliver. A pipe that poll(2) calls writable has room for a line of PIPE_BUF bytes. */
#include "base/must.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void must_failed(const char *file, int line, const char *func, const char *cond)
{
	char text[1024];
	struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
	int len = snprintf(text, sizeof text, "outfall: internal error: %s:%d: %s: must(%s)\n",
			   file, line, func, cond);
	size_t size = len < (int)sizeof text ? (size_t)len : sizeof text - 1;
	if (len > 0 && poll(&err, 1, 0) == 1 && write(STDERR_FILENO, text, size) < 0)
		abort();
	abort();
}
