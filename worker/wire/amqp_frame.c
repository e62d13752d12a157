/* basic.ack, basic.nack and basic.reject happen to have one shape: a class, a method, the tag and
 * one octet of flags. That octet is all they differ in, besides the method's number. */
#include "wire/amqp_frame.h"

#include "wire/amqp_codec.h"

static void write_u16(char *to, uint16_t v)
{
	to[0] = (char)(v >> 8);
	to[1] = (char)v;
}

static void write_u32(char *to, uint32_t v)
{
	write_u16(to, (uint16_t)(v >> 16));
	write_u16(to + 2, (uint16_t)v);
}

static void write_u64(char *to, uint64_t v)
{
	write_u32(to, (uint32_t)(v >> 32));
	write_u32(to + 4, (uint32_t)v);
}

static uint32_t read_u16(const char *from)
{
	return (uint32_t)(unsigned char)from[0] << 8 | (unsigned char)from[1];
}

struct amqp_head amqp_head_read(const char *from)
{
	return (struct amqp_head){
	    .type = (uint8_t)from[0],
	    .channel = (uint16_t)read_u16(from + 1),
	    .size = read_u16(from + 3) << 16 | read_u16(from + 5),
	};
}

void amqp_head_write(char *to, struct amqp_head head)
{
	to[0] = (char)head.type;
	write_u16(to + 1, head.channel);
	write_u32(to + 3, head.size);
}

static void write_answer(char *to, uint16_t channel, uint32_t method, uint64_t tag, unsigned flags)
{
	enum { PAYLOAD = 4 + 8 + 1 };
	amqp_head_write(to, (struct amqp_head){AMQP_FRAME_METHOD, channel, PAYLOAD});
	write_u32(to + AMQP_HEAD_BYTES, method);
	write_u64(to + AMQP_HEAD_BYTES + 4, tag);
	to[AMQP_HEAD_BYTES + 12] = (char)flags;
	to[AMQP_HEAD_BYTES + PAYLOAD] = (char)AMQP_FRAME_END;
}

enum { FLAG_MULTIPLE = 1, FLAG_NACK_REQUEUE = 2, FLAG_REJECT_REQUEUE = 1 };

void amqp_ack_write(char *to, uint16_t channel, uint64_t tag, enum amqp_reach reach)
{
	write_answer(to, channel, AMQP_BASIC_ACK_METHOD, tag,
		     reach == AMQP_UP_TO ? FLAG_MULTIPLE : 0);
}

void amqp_requeue_write(char *to, uint16_t channel, uint64_t tag, enum amqp_reach reach)
{
	write_answer(to, channel, AMQP_BASIC_NACK_METHOD, tag,
		     FLAG_NACK_REQUEUE | (reach == AMQP_UP_TO ? FLAG_MULTIPLE : 0));
}

void amqp_reject_write(char *to, uint16_t channel, uint64_t tag, bool requeue)
{
	write_answer(to, channel, AMQP_BASIC_REJECT_METHOD, tag, requeue ? FLAG_REJECT_REQUEUE : 0);
}

void amqp_heartbeat_write(char *to)
{
	amqp_head_write(to, (struct amqp_head){AMQP_FRAME_HEARTBEAT, 0, 0});
	to[AMQP_HEAD_BYTES] = (char)AMQP_FRAME_END;
}
