/* Tables are counted as deep as rabbitmq-c would follow them, and nothing that it would follow is
 * overlooked. */
#include "wire/amqp_nesting.h"

#include "wire/amqp_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 131072 };

struct bytes {
	unsigned char at[ROOM];
	size_t len;
};

static void put(struct bytes *to, const void *from, size_t len)
{
	assert_true(to->len + len <= sizeof to->at);
	memcpy(to->at + to->len, from, len);
	to->len += len;
}

static void put_u32(struct bytes *to, size_t n)
{
	unsigned char be[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
			       (unsigned char)(n >> 8), (unsigned char)n};
	put(to, be, sizeof be);
}

/* A table, and in it `levels` - 1 more of `kind`, one in the other. */
static struct span nest(struct bytes *to, size_t levels, char kind)
{
	size_t step = kind == AMQP_FIELD_KIND_TABLE ? 6 : 5;
	size_t left = (levels - 1) * step + (step == 5 && levels > 1 ? 1 : 0);
	to->len = 0;
	put_u32(to, left);
	for (size_t i = 1; i < levels; i++) {
		if (i == 1 || kind == AMQP_FIELD_KIND_TABLE)
			put(to, "", 1); /* an empty key */
		put(to, &kind, 1);
		left -= i == 1 ? 6 : step;
		put_u32(to, left);
	}
	return span_of((char *)to->at, to->len);
}

static bool library_decodes(struct span table)
{
	amqp_pool_t pool;
	amqp_table_t decoded;
	size_t at = 0;
	init_amqp_pool(&pool, 4096);
	int st = amqp_decode_table(amqp_bytes_of(table), &pool, &decoded, &at);
	empty_amqp_pool(&pool);
	return st >= 0;
}

static void test_levels_are_counted(void **state)
{
	static struct bytes room;
	static const char kinds[] = {AMQP_FIELD_KIND_TABLE, AMQP_FIELD_KIND_ARRAY};
	(void)state;
	for (size_t i = 0; i < sizeof kinds; i++) {
		assert_true(library_decodes(nest(&room, 7, kinds[i]))); /* so it is a table */
		for (size_t n = 1; n <= AMQP_LEVELS_MOST; n++)
			assert_int_equal(amqp_table_nesting(nest(&room, n, kinds[i])),
					 AMQP_NESTING_FINE);
		for (size_t n = AMQP_LEVELS_MOST + 1; n < 20000; n = n * 2 + 1)
			assert_int_equal(amqp_table_nesting(nest(&room, n, kinds[i])),
					 AMQP_NESTING_TOO_DEEP);
	}
}

static amqp_field_value_t value_of(amqp_field_value_kind_t kind)
{
	static amqp_table_entry_t entries[2];
	static amqp_field_value_t items[2];
	amqp_field_value_t value = {.kind = (uint8_t)kind};
	entries[0] = entries[1] = (amqp_table_entry_t){.key = amqp_cstring_bytes("key")};
	entries[0].value.kind = entries[1].value.kind = AMQP_FIELD_KIND_VOID;
	items[0].kind = items[1].kind = AMQP_FIELD_KIND_BOOLEAN;
	if (kind == AMQP_FIELD_KIND_TABLE)
		value.value.table = (amqp_table_t){2, entries};
	else if (kind == AMQP_FIELD_KIND_ARRAY)
		value.value.array = (amqp_array_t){2, items};
	else if (kind == AMQP_FIELD_KIND_UTF8 || kind == AMQP_FIELD_KIND_BYTES)
		value.value.bytes = amqp_cstring_bytes("some text");
	return value;
}

/* Each kind between two others, as the library writes it; then cut at every length. */
static void test_every_kind_is_passed(void **state)
{
	static const char kinds[] = "tbBsuIilLfdDSxTVAF";
	(void)state;
	for (size_t i = 0; kinds[i] != '\0'; i++) {
		unsigned char into[128];
		size_t len = 0;
		amqp_table_entry_t e[3];
		for (size_t k = 0; k < 3; k++)
			e[k] = (amqp_table_entry_t){
			    .key = amqp_cstring_bytes("k"),
			    .value = value_of(k == 1 ? (amqp_field_value_kind_t)kinds[i]
						     : AMQP_FIELD_KIND_TABLE)};
		amqp_table_t table = {3, e};
		amqp_bytes_t room = {sizeof into, into};
		assert_int_equal(amqp_encode_table(room, &table, &len), AMQP_STATUS_OK);
		assert_int_equal(amqp_table_nesting(span_of((char *)into, len)), AMQP_NESTING_FINE);
		for (size_t cut = 0; cut < len; cut++) {
			char *copy = malloc(cut + 1); /* of its own size, for the sanitizer */
			assert_non_null(copy);
			memcpy(copy, into, cut);
			assert_int_equal(amqp_table_nesting(span_of(copy, cut)),
					 AMQP_NESTING_BROKEN);
			free(copy);
		}
	}
}

static const struct broken_case {
	const char *what;
	const char *bytes;
	size_t len;
} broken[] = {
    {"a kind that nobody knows",         "\0\0\0\2\0?",             6 },
    {"a table beyond the one around it", "\0\0\0\6\0F\0\0\0\3\1kV", 13},
    {"a text beyond its table",          "\0\0\0\7\0S\0\0\0\2abcd", 14},
    {"a key beyond its table",           "\0\0\0\2\5kV...........", 12},
    {"a key and no more",                "\0\0\0\2\1k",             6 },
};

static void test_what_is_broken_is_not_followed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
		if (amqp_table_nesting(span_of(broken[i].bytes, broken[i].len)) !=
		    AMQP_NESTING_BROKEN)
			fail_msg("%s is taken for a table", broken[i].what);
}

static struct span properties(struct bytes *to, unsigned flags, const char *texts, size_t levels)
{
	static struct bytes table;
	unsigned char word[2] = {(unsigned char)(flags >> 8), (unsigned char)flags};
	to->len = 0;
	put(to, word, sizeof word);
	if ((flags & 1) != 0)
		put(to, "\0\0", 2); /* more flags, none of them set */
	put(to, texts, strlen(texts));
	if (levels > 0) {
		struct span nested = nest(&table, levels, AMQP_FIELD_KIND_ARRAY);
		put(to, nested.ptr, nested.len);
	}
	return span_of((char *)to->at, to->len);
}

static void test_headers_are_found_among_properties(void **state)
{
	static struct bytes room;
	static const struct {
		unsigned flags;
		const char *texts;
	} rows[] = {
	    {AMQP_BASIC_HEADERS_FLAG,                                    ""									   },
	    {AMQP_BASIC_HEADERS_FLAG | 1,                                ""									   },
	    {AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG,     "\x04text"                                                                   },
	    {AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG, "\x03"
									 "raw"},
	    {AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG |
		 AMQP_BASIC_CONTENT_ENCODING_FLAG,          "\x04text\x03raw"							    },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct span fine = properties(&room, rows[i].flags, rows[i].texts, 3);
		assert_int_equal(amqp_properties_nesting(fine), AMQP_NESTING_FINE);
		struct span deep = properties(&room, rows[i].flags, rows[i].texts, 20000);
		assert_int_equal(amqp_properties_nesting(deep), AMQP_NESTING_TOO_DEEP);
	}
	struct span none = properties(&room, AMQP_BASIC_MESSAGE_ID_FLAG, "\x02id", 0);
	assert_int_equal(amqp_properties_nesting(none), AMQP_NESTING_FINE);
	assert_int_equal(amqp_properties_nesting(span_of("\0", 1)), AMQP_NESTING_BROKEN);
	assert_int_equal(amqp_properties_nesting(span_of("\0\1\0", 3)), AMQP_NESTING_BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_levels_are_counted),
	    cmocka_unit_test(test_every_kind_is_passed),
	    cmocka_unit_test(test_what_is_broken_is_not_followed),
	    cmocka_unit_test(test_headers_are_found_among_properties),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
