/* amqp_codec - rabbitmq-c's headers, wherever its version keeps them, and its two kinds of text.
 *
 * From rabbitmq-c we use what turns structs into bytes and back, and never its sockets: every call
 * of it that touches one may block.
 *
 * Thread: any.
 * Owns:   nothing; spans and amqp_bytes_t borrow.
 * Fails:  never. */
#ifndef OUTFALL_WIRE_AMQP_CODEC_H
#define OUTFALL_WIRE_AMQP_CODEC_H

#include "base/span.h"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

static inline amqp_bytes_t amqp_bytes_of(struct span span)
{
	return (amqp_bytes_t){.len = span.len, .bytes = (void *)(uintptr_t)span.ptr};
}

static inline struct span amqp_span_of(amqp_bytes_t bytes)
{
	return span_of(bytes.bytes, bytes.len);
}

#endif
