/* rabbitmq_describe - what came with a message beside its body, as JSON members for its handler.
 *
 *     ,"properties":{"content_type":"text/plain","priority":5},"headers":{"customer":42}
 *
 * Properties bear their names from the protocol, with underscores. Headers keep their types as far as
 * JSON has them:
 *
 *     boolean, any integer, float, double    boolean or number (infinite or none: null)
 *     decimal                                number
 *     timestamp                              number, seconds
 *     long string, byte array                text; {"base64":"..."} if that is no UTF-8
 *     array, table                           array, object; deeper than 16 levels: null
 *     void                                   null
 *
 * Our own x-outfall-* headers are left out: the job's line says what is in them.
 *
 * Thread: any.
 * Owns:   nothing; members are appended to the caller's text.
 * Fails:  as struct text does; without memory to decode them nothing is appended. */
#ifndef OUTFALL_SOURCES_RABBITMQ_DESCRIBE_H
#define OUTFALL_SOURCES_RABBITMQ_DESCRIBE_H

#include "base/span.h"

struct text;

/* `encoded`: the properties as they came, flags first. */
void rabbitmq_describe(struct span encoded, struct text *to);

#endif
