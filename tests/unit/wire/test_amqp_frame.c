/* What we write by hand must be, byte for byte, what rabbitmq-c would have written. */
#include "wire/amqp_frame.h"

#include "wire/amqp_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void expect_frame(const char *ours, uint16_t channel, amqp_method_number_t id, void *method)
{
	unsigned char theirs[64] = {AMQP_FRAME_METHOD, (unsigned char)(channel >> 8),
				    (unsigned char)channel};
	amqp_bytes_t into = {.len = sizeof theirs - 11, .bytes = theirs + 11};
	int size = amqp_encode_method(id, method, into);
	assert_true(size > 0);
	theirs[6] = (unsigned char)(size + 4);
	for (int i = 0; i < 4; i++)
		theirs[7 + i] = (unsigned char)(id >> (24 - 8 * i));
	theirs[11 + size] = AMQP_FRAME_END;
	assert_memory_equal(ours, theirs, (size_t)size + 12);
	assert_int_equal(size + 12, AMQP_ACK_BYTES);
}

static const struct answer_case {
	uint16_t channel;
	uint64_t tag;
} answers[] = {
    {1,      1			   },
    {1,      0			   },
    {0x1234, UINT64_MAX                  },
    {65535,  UINT64_C(0x0102030405060708)}
};

static void test_answers_are_as_the_library_writes_them(void **state)
{
	(void)state;
	char ours[64];
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		uint16_t channel = answers[i].channel;
		uint64_t tag = answers[i].tag;
		for (int up_to = 0; up_to <= 1; up_to++) {
			enum amqp_reach reach = up_to ? AMQP_UP_TO : AMQP_ONE;
			amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = up_to};
			amqp_ack_write(ours, channel, tag, reach);
			expect_frame(ours, channel, AMQP_BASIC_ACK_METHOD, &ack);
			amqp_basic_nack_t nack = {
			    .delivery_tag = tag, .multiple = up_to, .requeue = 1};
			amqp_requeue_write(ours, channel, tag, reach);
			expect_frame(ours, channel, AMQP_BASIC_NACK_METHOD, &nack);
		}
		for (int requeue = 0; requeue <= 1; requeue++) {
			amqp_basic_reject_t reject = {.delivery_tag = tag, .requeue = requeue};
			amqp_reject_write(ours, channel, tag, requeue);
			expect_frame(ours, channel, AMQP_BASIC_REJECT_METHOD, &reject);
		}
	}
}

static void test_heads_are_read_as_they_were_written(void **state)
{
	(void)state;
	static const struct amqp_head heads[] = {
	    {AMQP_FRAME_METHOD, 0,      0         },
	    {AMQP_FRAME_BODY,   65535,  UINT32_MAX},
	    {AMQP_FRAME_HEADER, 0x8001, 0x80818283},
	};
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		char bytes[AMQP_HEAD_BYTES];
		amqp_head_write(bytes, heads[i]);
		struct amqp_head head = amqp_head_read(bytes);
		assert_int_equal(head.type, heads[i].type);
		assert_int_equal(head.channel, heads[i].channel);
		assert_int_equal(head.size, heads[i].size);
	}
}

static void test_a_heartbeat_is_an_empty_frame_on_channel_0(void **state)
{
	(void)state;
	char bytes[AMQP_HEARTBEAT_BYTES];
	amqp_heartbeat_write(bytes);
	assert_memory_equal(bytes, "\x08\0\0\0\0\0\0\xce", sizeof bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers_are_as_the_library_writes_them),
	    cmocka_unit_test(test_heads_are_read_as_they_were_written),
	    cmocka_unit_test(test_a_heartbeat_is_an_empty_frame_on_channel_0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
