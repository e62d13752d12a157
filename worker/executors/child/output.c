/* The awkward part is the end. End-of-file comes when the last writer closes, and that may be a grandchild
 * which outlives the process by hours. But all that the process itself wrote is in the pipe by the time it
 * has gone: so we ask how many bytes are there (FIONREAD) and read these.
 *
 * That something is there, as a set or FIONREAD said, is no promise: a job can open its own stdout by name and
 * take it back. So the pipe must be one that never blocks us (process_pipe()). */
#include "executors/child/output.h"

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

void output_init(struct output *output, size_t line_limit)
{
	lines_init(&output->lines, line_limit);
	output_begin(output);
}

void output_fini(struct output *output)
{
	lines_fini(&output->lines);
}

void output_begin(struct output *output)
{
	output->left = SIZE_MAX;
}

void output_is_last(struct output *output, int fd)
{
	int there = 0;
	(void)ioctl(fd, FIONREAD, &there); /* 0 on failure is a fine answer */
	output->left = (size_t)there;
}

enum output_came output_read(struct output *output, int fd, char *bytes, size_t most,
			     struct span *ret_piece)
{
	ssize_t n = read(fd, bytes, output->left < most ? output->left : most);
	*ret_piece = span_of(bytes, n > 0 ? (size_t)n : 0);
	if (n < 0 && (errno == EINTR || errno == EAGAIN) && output->left == SIZE_MAX)
		return OUTPUT_NOT_NOW;
	if (n > 0 && output->left != SIZE_MAX)
		output->left -= (size_t)n;
	return n <= 0 || output->left == 0 ? OUTPUT_END : OUTPUT_PIECE;
}
