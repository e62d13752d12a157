/* amqp_frame - the few AMQP 0-9-1 frames that are worth reading and writing by hand. Pure bytes.
 *
 * Everything else goes through rabbitmq-c. These are the ones that a worker meets for every job:
 * the seven bytes in front of each frame, and what answers a delivery. They have a fixed size, so
 * writing one into the output is a handful of stores.
 *
 * Thread: any.
 * Owns:   nothing.
 * Units:  bytes; integers are in network order on the wire, in host order here.
 * Fails:  never; room is the caller's to provide. */
#ifndef OUTFALL_WIRE_AMQP_FRAME_H
#define OUTFALL_WIRE_AMQP_FRAME_H

#include <stdbool.h>
#include <stdint.h>

enum {
	AMQP_HEAD_BYTES = 7,   /* type, channel, size */
	AMQP_AROUND_BYTES = 8, /* the head, and the end octet behind the payload */
	AMQP_ACK_BYTES = 21,
	AMQP_NACK_BYTES = 21,
	AMQP_REJECT_BYTES = 21,
	AMQP_HEARTBEAT_BYTES = 8,
};

struct amqp_head {
	uint8_t type; /* AMQP_FRAME_METHOD and so on */
	uint16_t channel;
	uint32_t size; /* of the payload */
};

/* Which tags an answer speaks of: this one, or every one up to it that has no answer yet. */
enum amqp_reach { AMQP_ONE, AMQP_UP_TO };

struct amqp_head amqp_head_read(const char *from);
void amqp_head_write(char *to, struct amqp_head head);

/* A whole frame each. */
void amqp_ack_write(char *to, uint16_t channel, uint64_t tag, enum amqp_reach reach);
void amqp_requeue_write(char *to, uint16_t channel, uint64_t tag, enum amqp_reach reach);
/* For good, or to be delivered again as a failure. */
void amqp_reject_write(char *to, uint16_t channel, uint64_t tag, bool requeue);
void amqp_heartbeat_write(char *to);

#endif
