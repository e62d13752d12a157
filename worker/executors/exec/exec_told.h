/* exec_told - what a slot's process is given to read: its job's body on stdin; on descriptor 3 the job's
 * line and, later, notices.
 *
 * Thread: the loop's.
 * Owns:   what did not fit into a pipe yet.
 * Units:  milliseconds.
 * Fails:  told_begin(): the job cannot start then. Later on a child that does not read, or closes its
 *         end, has its way. */
#ifndef OUTFALL_EXECUTORS_EXEC_TOLD_H
#define OUTFALL_EXECUTORS_EXEC_TOLD_H

#include "executors/exec/exec_slot.h"

/* Before there is a child; stdin's pipe is open only if there is a body. */
enum status told_begin(struct slot *slot, struct error *why);

void told_drain(struct slot *slot, uint64_t remaining_ms);
void told_cancel(struct slot *slot);

void told_ready(struct slot *slot, enum pipe_end end); /* there is room again */
void told_end(struct slot *slot);                      /* nobody reads any more */

#endif
