/* The properties were decoded once when the message came in, and forgotten: a plugin needs none of
 * them. Handlers that are told (processes) pay for a second decoding here, which is little beside a
 * process.
 *
 * A member is written only when there is something in it, and the comma in front belongs to it; so
 * each object is begun by the first thing that is put into it. */
#include "sources/rabbitmq/rabbitmq_describe.h"

#include "base/base64.h"
#include "base/text.h"
#include "wire/amqp_codec.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { LEVELS_MOST = 16 };

/* --- headers ------------------------------------------------------------------------------------ */

static void put_signed(struct text *to, int64_t number)
{
	if (number < 0)
		text_put_literal(to, "-");
	text_put_number(to, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static void put_double(struct text *to, double number, int digits)
{
	char buf[40];
	if (!isfinite(number)) {
		text_put_literal(to, "null");
		return;
	}
	int len = snprintf(buf, sizeof buf, "%.*g", digits, number);
	text_put(to, span_of(buf, (size_t)len));
}

/* 1234 with two decimals is 1234e-2: exact, whatever the number of decimals. */
static void put_decimal(struct text *to, amqp_decimal_t decimal)
{
	text_put_number(to, decimal.value);
	if (decimal.decimals == 0)
		return;
	text_put_literal(to, "e-");
	text_put_number(to, decimal.decimals);
}

static void put_bytes(struct text *to, struct span bytes)
{
	if (text_is_utf8(bytes)) {
		text_put_json(to, bytes);
		return;
	}
	text_put_literal(to, "{\"base64\":\"");
	base64_put(to, bytes);
	text_put_literal(to, "\"}");
}

static void put_value(struct text *to, const amqp_field_value_t *value, unsigned level);

static void put_array(struct text *to, const amqp_array_t *array, unsigned level)
{
	text_put_literal(to, "[");
	for (int i = 0; i < array->num_entries; i++) {
		if (i > 0)
			text_put_literal(to, ",");
		put_value(to, &array->entries[i], level);
	}
	text_put_literal(to, "]");
}

static void put_entry(struct text *to, const amqp_table_entry_t *entry, unsigned level)
{
	text_put_json(to, amqp_span_of(entry->key));
	text_put_literal(to, ":");
	put_value(to, &entry->value, level);
}

static void put_table(struct text *to, const amqp_table_t *table, unsigned level)
{
	text_put_literal(to, "{");
	for (int i = 0; i < table->num_entries; i++) {
		if (i > 0)
			text_put_literal(to, ",");
		put_entry(to, &table->entries[i], level);
	}
	text_put_literal(to, "}");
}

static void put_value(struct text *to, const amqp_field_value_t *value, unsigned level)
{
	bool nested = value->kind == AMQP_FIELD_KIND_ARRAY || value->kind == AMQP_FIELD_KIND_TABLE;
	if (nested && level == LEVELS_MOST) {
		text_put_literal(to, "null");
		return;
	}
	switch ((amqp_field_value_kind_t)value->kind) {
	case AMQP_FIELD_KIND_BOOLEAN:
		text_put(to, span_text(value->value.boolean ? "true" : "false"));
		return;
	case AMQP_FIELD_KIND_I8:
		put_signed(to, value->value.i8);
		return;
	case AMQP_FIELD_KIND_U8:
		text_put_number(to, value->value.u8);
		return;
	case AMQP_FIELD_KIND_I16:
		put_signed(to, value->value.i16);
		return;
	case AMQP_FIELD_KIND_U16:
		text_put_number(to, value->value.u16);
		return;
	case AMQP_FIELD_KIND_I32:
		put_signed(to, value->value.i32);
		return;
	case AMQP_FIELD_KIND_U32:
		text_put_number(to, value->value.u32);
		return;
	case AMQP_FIELD_KIND_I64:
		put_signed(to, value->value.i64);
		return;
	case AMQP_FIELD_KIND_U64:
	case AMQP_FIELD_KIND_TIMESTAMP:
		text_put_number(to, value->value.u64);
		return;
	case AMQP_FIELD_KIND_F32: /* digits: as many as tell any two of the kind apart */
		put_double(to, (double)value->value.f32, 9);
		return;
	case AMQP_FIELD_KIND_F64:
		put_double(to, value->value.f64, 17);
		return;
	case AMQP_FIELD_KIND_DECIMAL:
		put_decimal(to, value->value.decimal);
		return;
	case AMQP_FIELD_KIND_UTF8:
	case AMQP_FIELD_KIND_BYTES:
		put_bytes(to, amqp_span_of(value->value.bytes));
		return;
	case AMQP_FIELD_KIND_ARRAY:
		put_array(to, &value->value.array, level + 1);
		return;
	case AMQP_FIELD_KIND_TABLE:
		put_table(to, &value->value.table, level + 1);
		return;
	case AMQP_FIELD_KIND_VOID:
		break;
	}
	text_put_literal(to, "null");
}

/* `opening` for the first member of its object, a comma for the others. */
static void open_member(struct text *to, const char *opening, bool *is_open)
{
	text_put(to, span_text(*is_open ? "," : opening));
	*is_open = true;
}

static bool is_ours(const amqp_table_entry_t *entry)
{
	static const char prefix[] = "x-outfall-";
	return entry->key.len >= sizeof prefix - 1 &&
	       memcmp(entry->key.bytes, prefix, sizeof prefix - 1) == 0;
}

static void put_headers(struct text *to, const amqp_table_t *headers)
{
	bool is_open = false;
	for (int i = 0; i < headers->num_entries; i++) {
		if (is_ours(&headers->entries[i]))
			continue;
		open_member(to, ",\"headers\":{", &is_open);
		put_entry(to, &headers->entries[i], 1);
	}
	if (is_open)
		text_put_literal(to, "}");
}

/* --- the other properties ----------------------------------------------------------------------- */

struct property {
	const char *name;
	amqp_flags_t flag;
	bool is_number;
	uint64_t number;
	amqp_bytes_t text;
};

static void put_properties(struct text *to, const amqp_basic_properties_t *p)
{
	const struct property all[] = {
	    {"content_type",     AMQP_BASIC_CONTENT_TYPE_FLAG,     false, 0,                p->content_type    },
	    {"content_encoding", AMQP_BASIC_CONTENT_ENCODING_FLAG, false, 0,                p->content_encoding},
	    {"delivery_mode",    AMQP_BASIC_DELIVERY_MODE_FLAG,    true,  p->delivery_mode, {0}                },
	    {"priority",         AMQP_BASIC_PRIORITY_FLAG,         true,  p->priority,      {0}                },
	    {"correlation_id",   AMQP_BASIC_CORRELATION_ID_FLAG,   false, 0,                p->correlation_id  },
	    {"reply_to",         AMQP_BASIC_REPLY_TO_FLAG,         false, 0,                p->reply_to        },
	    {"expiration",       AMQP_BASIC_EXPIRATION_FLAG,       false, 0,                p->expiration      },
	    {"message_id",       AMQP_BASIC_MESSAGE_ID_FLAG,       false, 0,                p->message_id      },
	    {"timestamp",        AMQP_BASIC_TIMESTAMP_FLAG,        true,  p->timestamp,     {0}                },
	    {"type",             AMQP_BASIC_TYPE_FLAG,             false, 0,                p->type            },
	    {"user_id",          AMQP_BASIC_USER_ID_FLAG,          false, 0,                p->user_id         },
	    {"app_id",           AMQP_BASIC_APP_ID_FLAG,           false, 0,                p->app_id          },
	    {"cluster_id",       AMQP_BASIC_CLUSTER_ID_FLAG,       false, 0,                p->cluster_id      },
	};
	bool is_open = false;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		const struct property *property = &all[i];
		if (!(p->_flags & property->flag))
			continue;
		open_member(to, ",\"properties\":{", &is_open);
		text_put_json(to, span_text(property->name));
		text_put_literal(to, ":");
		if (property->is_number)
			text_put_number(to, property->number);
		else
			text_put_json(to, amqp_span_of(property->text));
	}
	if (is_open)
		text_put_literal(to, "}");
}

void rabbitmq_describe(struct span encoded, struct text *to)
{
	amqp_pool_t pool;
	void *decoded;
	init_amqp_pool(&pool, 4096);
	if (amqp_decode_properties(AMQP_BASIC_CLASS, &pool, amqp_bytes_of(encoded), &decoded) >=
	    0) {
		const amqp_basic_properties_t *p = decoded;
		put_properties(to, p);
		if (p->_flags & AMQP_BASIC_HEADERS_FLAG)
			put_headers(to, &p->headers);
	}
	empty_amqp_pool(&pool);
}
