/* exec_probe - whether a process for a job could be had now, without a job.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Fails:  with what is missing. That it could be had is a good guess: the program itself is not run. */
#ifndef OUTFALL_EXECUTORS_EXEC_PROBE_H
#define OUTFALL_EXECUTORS_EXEC_PROBE_H

#include "base/error.h"

/* The folder it is to run in, or NULL; and with so many pipes. */
enum status probe_process(const char *path, const char *directory, unsigned pipes,
			  struct error *why);

#endif
