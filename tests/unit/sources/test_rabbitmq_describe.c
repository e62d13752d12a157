/* What handlers are told of a message: rows for each type, then tables that nobody sane would send. */
#include "sources/rabbitmq/rabbitmq_describe.h"

#include "base/memory.h"
#include "base/text.h"
#include "sources/rabbitmq/rabbitmq_message.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct span encode(const amqp_basic_properties_t *properties)
{
	struct span encoded;
	assert_int_equal(rabbitmq_message_encode(properties, 1 << 17, &encoded, NULL), ST_OK);
	return encoded;
}

/* The members as an object's text. */
static void describe(struct text *to, struct span encoded)
{
	text_put_literal(to, "{\"type\":\"job\"");
	rabbitmq_describe(encoded, to);
	text_put_literal(to, "}");
	assert_false(to->failed);
}

static void assert_described(const amqp_basic_properties_t *properties, const char *want)
{
	struct text text = {0};
	struct span encoded = encode(properties);
	describe(&text, encoded);
	text_put(&text, span_of("", 1));
	assert_string_equal(text.bytes + strlen("{\"type\":\"job\""), want);
	memory_free((char *)(uintptr_t)encoded.ptr);
	text_fini(&text);
}

static amqp_basic_properties_t with_headers(amqp_table_entry_t *entries, int n)
{
	return (amqp_basic_properties_t){
	    ._flags = AMQP_BASIC_HEADERS_FLAG,
	    .headers = {.num_entries = n, .entries = entries},
	};
}

static void nothing_of_nothing(void **state)
{
	(void)state;
	amqp_basic_properties_t bare = {0};
	assert_described(&bare, "}");
	amqp_table_entry_t ours[] = {
	    rabbitmq_number_entry("x-outfall-attempt", 2),
	    rabbitmq_text_entry("x-outfall-checkpoint", span_text("secret")),
	};
	amqp_basic_properties_t p = with_headers(ours, 2);
	assert_described(&p, "}");
	p.headers.num_entries = 0;
	assert_described(&p, "}");
}

static void properties_by_their_names(void **state)
{
	(void)state;
	amqp_basic_properties_t all = {
	    ._flags = 0xffff & ~(amqp_flags_t)(3 | AMQP_BASIC_HEADERS_FLAG),
	    .content_type = amqp_cstring_bytes("text/plain"),
	    .content_encoding = amqp_cstring_bytes("gzip"),
	    .delivery_mode = 2,
	    .priority = 255,
	    .correlation_id = amqp_cstring_bytes("c"),
	    .reply_to = amqp_cstring_bytes("r"),
	    .expiration = amqp_cstring_bytes("1000"),
	    .message_id = amqp_cstring_bytes("\"m\""),
	    .timestamp = UINT64_MAX,
	    .type = amqp_cstring_bytes("\xff"),
	    .user_id = amqp_cstring_bytes("u"),
	    .app_id = amqp_cstring_bytes(""),
	    .cluster_id = amqp_cstring_bytes("x"),
	};
	assert_described(
	    &all,
	    ",\"properties\":{\"content_type\":\"text/plain\",\"content_encoding\":\"gzip\","
	    "\"delivery_mode\":2,\"priority\":255,\"correlation_id\":\"c\",\"reply_to\":\"r\","
	    "\"expiration\":\"1000\",\"message_id\":\"\\\"m\\\"\","
	    "\"timestamp\":18446744073709551615,\"type\":\"\xef\xbf\xbd\",\"user_id\":\"u\","
	    "\"app_id\":\"\",\"cluster_id\":\"x\"}}");
}

static void headers_of_each_type(void **state)
{
	(void)state;
	amqp_field_value_t two[] = {
	    {.kind = AMQP_FIELD_KIND_I8, .value.i8 = -128},
	    {.kind = AMQP_FIELD_KIND_VOID                         },
	};
	amqp_table_entry_t inner = rabbitmq_text_entry("k", span_text("v"));
	const struct {
		amqp_field_value_t value;
		const char *want;
	} rows[] = {
	    {{.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1},                         "true"                   },
	    {{.kind = AMQP_FIELD_KIND_BOOLEAN},                                             "false"                  },
	    {{.kind = AMQP_FIELD_KIND_I8, .value.i8 = -1},                                  "-1"                     },
	    {{.kind = AMQP_FIELD_KIND_U8, .value.u8 = 255},                                 "255"                    },
	    {{.kind = AMQP_FIELD_KIND_I16, .value.i16 = -32768},                            "-32768"                 },
	    {{.kind = AMQP_FIELD_KIND_U16, .value.u16 = 65535},                             "65535"                  },
	    {{.kind = AMQP_FIELD_KIND_I32, .value.i32 = INT32_MIN},                         "-2147483648"            },
	    {{.kind = AMQP_FIELD_KIND_U32, .value.u32 = UINT32_MAX},                        "4294967295"             },
	    {{.kind = AMQP_FIELD_KIND_I64, .value.i64 = INT64_MIN},                         "-9223372036854775808"   },
	    {{.kind = AMQP_FIELD_KIND_U64, .value.u64 = UINT64_MAX},                        "18446744073709551615"   },
	    {{.kind = AMQP_FIELD_KIND_TIMESTAMP, .value.u64 = 1700000000},                  "1700000000"             },
	    {{.kind = AMQP_FIELD_KIND_F32, .value.f32 = 0.5F},                              "0.5"                    },
	    {{.kind = AMQP_FIELD_KIND_F64, .value.f64 = 0.1},                               "0.10000000000000001"    },
	    {{.kind = AMQP_FIELD_KIND_F64, .value.f64 = 1e300},                             "1.0000000000000001e+300"},
	    {{.kind = AMQP_FIELD_KIND_F64, .value.f64 = (double)NAN},                       "null"                   },
	    {{.kind = AMQP_FIELD_KIND_F32, .value.f32 = INFINITY},                          "null"                   },
	    {{.kind = AMQP_FIELD_KIND_DECIMAL, .value.decimal = {2, 1234}},                 "1234e-2"                },
	    {{.kind = AMQP_FIELD_KIND_DECIMAL, .value.decimal = {0, 7}},                    "7"                      },
	    {{.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("\xc3\xa4")},
	     "\"\xc3\xa4\""											  },
	    {{.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("\xff\xfe")},
	     "{\"base64\":\"//4=\"}"										 },
	    {{.kind = AMQP_FIELD_KIND_BYTES, .value.bytes = amqp_cstring_bytes("text")},
	     "\"text\""											      },
	    {{.kind = AMQP_FIELD_KIND_VOID},						"null"                   },
	    {{.kind = AMQP_FIELD_KIND_ARRAY, .value.array = {2, two}},                      "[-128,null]"            },
	    {{.kind = AMQP_FIELD_KIND_ARRAY},					       "[]"                     },
	    {{.kind = AMQP_FIELD_KIND_TABLE, .value.table = {1, &inner}},                   "{\"k\":\"v\"}"          },
	    {{.kind = AMQP_FIELD_KIND_TABLE},					       "{}"                     },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char want[128];
		amqp_table_entry_t e[] = {
		    rabbitmq_number_entry("x-outfall-attempt", 1), /* the comma is not its */
		    {.key = amqp_cstring_bytes("h"), .value = rows[i].value},
		};
		amqp_basic_properties_t p = with_headers(e, 2);
		(void)snprintf(want, sizeof want, ",\"headers\":{\"h\":%s}}", rows[i].want);
		assert_described(&p, want);
	}
}

static void several_of_each(void **state)
{
	(void)state;
	amqp_table_entry_t e[] = {rabbitmq_text_entry("a", span_text("1")),
				  rabbitmq_text_entry("\xff", span_text("2"))};
	amqp_basic_properties_t p = with_headers(e, 2);
	p._flags |= AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_TYPE_FLAG;
	p.priority = 1;
	p.type = amqp_cstring_bytes("t");
	assert_described(&p, ",\"properties\":{\"priority\":1,\"type\":\"t\"},"
			     "\"headers\":{\"a\":\"1\",\"\xef\xbf\xbd\":\"2\"}}");
}

/* --- hostile tables ------------------------------------------------------------------------------ */

/* Whatever is appended, the handler's line stays one line of JSON. */
static void assert_json(struct span encoded)
{
	struct text text = {0};
	json_error_t error;
	describe(&text, encoded);
	assert_null(memchr(text.bytes, '\n', text.len));
	/* jansson's own limits: no NUL in a key, no integer beyond an int64. */
	for (char *at; (at = memmem(text.bytes, text.len, "\\u0000", 6)) != NULL;)
		at[5] = '1';
	json_t *parsed = json_loadb(text.bytes, text.len, JSON_DECODE_INT_AS_REAL, &error);
	if (parsed == NULL)
		fail_msg("%s: %.*s", error.text, (int)text.len, text.bytes);
	json_decref(parsed);
	text_fini(&text);
}

static void deep_nesting_ends_somewhere(void **state)
{
	(void)state;
	enum { DEEP = 1000 };
	static amqp_field_value_t arrays[DEEP];
	static amqp_table_entry_t tables[DEEP];
	for (int i = 0; i < DEEP; i++) {
		bool last = i == DEEP - 1;
		arrays[i].kind = AMQP_FIELD_KIND_ARRAY;
		arrays[i].value.array = (amqp_array_t){last ? 0 : 1, last ? NULL : &arrays[i + 1]};
		tables[i].key = amqp_cstring_bytes("t");
		tables[i].value.kind = AMQP_FIELD_KIND_TABLE;
		tables[i].value.value.table =
		    (amqp_table_t){last ? 0 : 1, last ? NULL : &tables[i + 1]};
	}
	amqp_table_entry_t e[] = {
	    {.key = amqp_cstring_bytes("a"), .value = arrays[0]},
            tables[0]
        };
	amqp_basic_properties_t p = with_headers(e, 2);
	struct span encoded = encode(&p);
	struct text text = {0};
	describe(&text, encoded);
	assert_json(encoded);
	assert_true(text.len < 200);
	memory_free((char *)(uintptr_t)encoded.ptr);
	text_fini(&text);
}

static void any_bytes(void **state)
{
	(void)state;
	amqp_field_value_t two[] = {
	    {.kind = AMQP_FIELD_KIND_U64,  .value.u64 = 1                                  },
	    {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("text \"\n\\")},
	};
	amqp_table_entry_t inner = rabbitmq_text_entry("k", span_text("v"));
	amqp_table_entry_t e[] = {
	    {.key = amqp_cstring_bytes("array"),
	     .value = {.kind = AMQP_FIELD_KIND_ARRAY, .value.array = {2, two}}   },
	    {.key = amqp_cstring_bytes("table"),
	     .value = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {1, &inner}}},
	    rabbitmq_number_entry("number", 5),
	};
	amqp_basic_properties_t p = with_headers(e, 3);
	p._flags |= AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_TIMESTAMP_FLAG;
	p.type = amqp_cstring_bytes("type");
	struct span whole = encode(&p);
	uint32_t random = 2463534242u;
	for (unsigned i = 0; i < 200000; i++) {
		/* In memory of its own size, so that a sanitizer sees a read beyond it. */
		size_t len = i % 3 == 0 ? random % (whole.len + 1) : whole.len;
		char *bytes = malloc(len + (len == 0));
		assert_non_null(bytes);
		memcpy(bytes, whole.ptr, len);
		for (unsigned n = i % 4; n > 0 && len > 0; n--) {
			random ^= random << 13;
			random ^= random >> 17;
			random ^= random << 5;
			bytes[random % len] = (char)(random >> 16);
		}
		assert_json(span_of(bytes, len));
		free(bytes);
	}
	memory_free((char *)(uintptr_t)whole.ptr);
}

static void without_memory_nothing_is_half_written(void **state)
{
	(void)state;
	amqp_basic_properties_t p = {._flags = AMQP_BASIC_TYPE_FLAG,
				     .type = amqp_cstring_bytes("t")};
	struct span encoded = encode(&p);
	struct text text = {0};
	(void)memory_fail_at(1);
	rabbitmq_describe(encoded, &text);
	(void)memory_fail_at(0);
	assert_true(text.failed);
	memory_free((char *)(uintptr_t)encoded.ptr);
	text_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_of_nothing),
	    cmocka_unit_test(properties_by_their_names),
	    cmocka_unit_test(headers_of_each_type),
	    cmocka_unit_test(several_of_each),
	    cmocka_unit_test(deep_nesting_ends_somewhere),
	    cmocka_unit_test(any_bytes),
	    cmocka_unit_test(without_memory_nothing_is_half_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
