/* status_log - the state of the worker as lines of the log, for whoever has a signal and no socket.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Units:  nanoseconds, monotonic.
 * Fails:  never; what the log does not take is counted there. */
#ifndef OUTFALL_OBSERVE_STATUS_LOG_H
#define OUTFALL_OBSERVE_STATUS_LOG_H

#include <stdint.h>

struct core;
struct log;

/* One line for the whole, one for each source, queue, handler and running job (the first hundred). They are
 * warnings, so that they are seen where that is the log's level. */
void status_log(struct log *log, const struct core *core, uint64_t now_ns);

#endif
