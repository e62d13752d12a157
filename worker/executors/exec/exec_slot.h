/* exec_slot - what the parts of the exec executor share: a slot is the place of one job and its process.
 *
 *     exec.c        the life of a slot: start, stop, end
 *     exec_pipes.c  our ends of its pipes, and which of them the loop hears of
 *     exec_told.c   what its process is given to read: the body, the job's line, notices
 *     exec_heard.c  what its process writes: output for the log, lines about the job
 *
 * Thread: the loop's.
 * Owns:   see exec.h; private to the four.
 * Units:  bytes. */
#ifndef OUTFALL_EXECUTORS_EXEC_SLOT_H
#define OUTFALL_EXECUTORS_EXEC_SLOT_H

#include "base/list.h"
#include "base/text.h"
#include "executors/child/output.h"
#include "executors/child/process.h"
#include "executors/child/spawn_profile.h"
#include "executors/exec/exit_codes.h"
#include "executors/executor.h"

struct environment;
struct log;
struct loop;
struct timer;
struct watch;

/* A pipe is known by the number that its other end has in the child. */
enum pipe_end { PIPE_STDIN, PIPE_STDOUT, PIPE_STDERR, PIPE_TOLD, PIPE_SAID, PIPES };

struct slot {
	struct list in_idle;      /* while it has no job */
	struct list in_unwatched; /* while it has one, and its outputs are not watched yet */
	struct exec *exec;
	unsigned number; /* its place in exec->slots */
	struct process process;
	struct job *job; /* NULL: idle */
	uint32_t round; /* counts the jobs here: an event of an earlier one is not about this one */
	struct outcome outcome; /* what the end of the process says, until that is told */

	struct our_end {
		int fd; /* -1: closed */
		bool watched;
	} pipes[PIPES];

	/* What it is given. */
	size_t body_written;
	struct text untold;    /* of descriptor 3: what the pipe had no room for */
	unsigned notices_kept; /* among that */

	/* What it writes; by enum pipe_end, those of the pipes we write to stay unused. */
	struct output out[PIPES];
	unsigned lines_logged, lines_left_out;
	char last_words[256]; /* the last line of its stderr, cut; "": none */
	unsigned rubbish;     /* lines of descriptor 4 that we made no sense of */
	bool refused;         /* a checkpoint, and that was said */
};

struct exec {
	struct executor base;
	struct loop *loop;
	struct log *log;
	struct children *children;
	const struct handler_settings *settings;
	char *path; /* of the program; NULL: look for it again */
	struct environment *environment;
	struct spawn_profile profile;
	int null_fd;
	int epoll_fd;
	struct watch *ready; /* on epoll_fd */
	struct timer *look;  /* when the first of `unwatched` is no short job any more */
	struct list unwatched;
	struct text line;        /* where a line to a child is put together */
	size_t said_bytes;       /* the longest line of descriptor 4 */
	uint64_t own_peak_bytes; /* of the worker's memory; at least */
	struct slot **slots;     /* each of them stays where it is when there come to be more */
	unsigned n_slots;
	struct list idle;
};

#endif
