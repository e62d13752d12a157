/* exec_heard - what a slot's process writes: stdout and stderr, line by line into the log; descriptor 4,
 * lines about its job, which the host hears.
 *
 * Thread: the loop's.
 * Owns:   lines begun and not ended.
 * Fails:  never: what makes no sense is logged once for each job, and counted. */
#ifndef OUTFALL_EXECUTORS_EXEC_HEARD_H
#define OUTFALL_EXECUTORS_EXEC_HEARD_H

#include "executors/exec/exec_slot.h"

void heard_init(struct slot *slot, size_t log_line_bytes, size_t said_bytes);
void heard_fini(struct slot *slot);

void heard_begin(struct slot *slot);

/* False: one of the three cannot be watched now, for lack of memory in the kernel. */
bool heard_watch(struct slot *slot);
void heard_ready(struct slot *slot, enum pipe_end end); /* there is something to read */

/* The process is gone: what it wrote is in the pipes, what comes later is not its word. */
void heard_last(struct slot *slot);
bool heard_all(const struct slot *slot);

/* The job's time is over; what was not read by now is dropped, and the host hears nothing of it. */
void heard_end(struct slot *slot);

#endif
