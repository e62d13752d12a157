/* child_told - what we tell a handler's process: one JSON object on each line. exec handlers read
 * them from descriptor 3, the job's line first; pool processes from their stdin, where `bytes` bytes
 * of body follow the job's line.
 *
 *     {"type":"job","id":"…","source":"…","queue":"…","attempt":1,"interruptions":0,"crashes":0,
 *      "redelivered":false,"timeout_ms":0,"content_type":"…","traceparent":"…","bytes":123,
 *      "checkpoint":"…","properties":{…},"headers":{…}}
 *     {"type":"drain","notice":"drain","remaining_ms":25000}
 *     {"type":"cancel","notice":"cancel","id":"…","reason":"timeout|drain"}
 *
 * What there is none of is left out: content_type, traceparent, checkpoint (a text, or
 * "checkpoint_base64" if it is none), properties, headers, and remaining_ms when nothing limits it.
 *
 * Thread: the loop's.
 * Owns:   nothing; lines are appended to the caller's text.
 * Units:  milliseconds, bytes.
 * Fails:  as struct text does. */
#ifndef OUTFALL_EXECUTORS_CHILD_TOLD_H
#define OUTFALL_EXECUTORS_CHILD_TOLD_H

#include "base/text.h"

#include <stdint.h>

struct job;

void child_told_job(struct text *text, const struct job *job, uint64_t timeout_ms);
void child_told_drain(struct text *text, uint64_t remaining_ms); /* UINT64_MAX: no limit */
void child_told_cancel(struct text *text, const struct job *job);

#endif
