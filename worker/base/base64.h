/* base64 - bytes as letters, for where only text can travel (RFC 4648, padded, on one line).
 *
 * Thread: any.
 * Owns:   nothing; both write to the caller's text, behind what is there.
 * Units:  bytes.
 * Fails:  as struct text does for lack of memory; base64_read() with false when that is no base64. */
#ifndef OUTFALL_BASE_BASE64_H
#define OUTFALL_BASE_BASE64_H

#include "base/text.h"

void base64_put(struct text *text, struct span bytes);

/* What was appended before the fault was found stays there. */
bool base64_read(struct text *bytes, struct span encoded);

#endif
