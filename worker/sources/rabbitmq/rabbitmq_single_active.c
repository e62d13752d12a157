#include "sources/rabbitmq/rabbitmq_single_active.h"

#include "base/memory.h"
#include "base/must.h"
#include "sources/rabbitmq/rabbitmq_message.h"
#include "sources/rabbitmq/rabbitmq_mismatch.h"
#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp.h"

#include <stdlib.h>
#include <string.h>

enum {
	WORDS_ROOM = 256,   /* a short string of the protocol */
	ARGUMENTS_MOST = 15 /* before the one in question: a queue with more is not told */
};

static const char QUESTION[] = "x-single-active-consumer";

struct rabbitmq_learned {
	bool durable, auto_delete;
	size_t n;
	struct learned_argument {
		char words[WORDS_ROOM]; /* that is what the mismatch borrows from */
		struct rabbitmq_mismatch is;
	} arguments[ARGUMENTS_MOST];
};

void rabbitmq_single_active_init(struct rabbitmq_single_active *sa,
				 const struct queue_settings *queue)
{
	*sa = (struct rabbitmq_single_active){
	    .queue = queue,
	    .is_one = queue->single_active == SINGLE_ACTIVE_YES,
	};
}

static void forget(struct rabbitmq_single_active *sa)
{
	memory_free(sa->learned);
	sa->learned = NULL;
}

void rabbitmq_single_active_fini(struct rabbitmq_single_active *sa)
{
	forget(sa);
}

bool rabbitmq_single_active_is_due(const struct rabbitmq_single_active *sa,
				   const struct amqp_conn *conn)
{
	return sa->queue->single_active == SINGLE_ACTIVE_AUTO &&
	       sa->queue->declare == DECLARE_PASSIVE && sa->state != SINGLE_ACTIVE_TOLD &&
	       rabbitmq_server_tells_single_active(amqp_conn_server(conn));
}

void rabbitmq_single_active_doubt(struct rabbitmq_single_active *sa)
{
	forget(sa);
	sa->state = SINGLE_ACTIVE_UNASKED;
}

/* --- asking ------------------------------------------------------------------------------------ */

static amqp_table_entry_t entry_of(const struct rabbitmq_mismatch *is)
{
	amqp_table_entry_t e = {.key = amqp_bytes_of(is->key)};
	switch (is->type) {
	case VALUE_IS_BOOL:
		e.value.kind = AMQP_FIELD_KIND_BOOLEAN;
		e.value.value.boolean = span_equal(is->current, span_text("true"));
		return e;
	case VALUE_IS_NUMBER: /* the quote behind it ends the number */
		e.value.kind = AMQP_FIELD_KIND_I64;
		e.value.value.i64 = strtoll(is->current.ptr, NULL, 10);
		return e;
	case VALUE_IS_TEXT:
		e.value.kind = AMQP_FIELD_KIND_UTF8;
		e.value.value.bytes = amqp_bytes_of(is->current);
		return e;
	case VALUE_IS_NONE:
	case VALUE_IS_AS_SENT:
	case VALUE_IS_OTHER:
		break;
	}
	must(false && "only what can be sent is learned");
}

enum status rabbitmq_single_active_ask(struct rabbitmq_single_active *sa, struct amqp_conn *conn,
				       uint16_t channel)
{
	must(rabbitmq_single_active_is_due(sa, conn));
	if (sa->learned == NULL) {
		sa->learned = memory_clear(1, sizeof *sa->learned);
		if (sa->learned == NULL)
			return ST_NOMEM;
		sa->learned->durable = true;
	}
	const struct rabbitmq_learned *learned = sa->learned;
	amqp_table_entry_t arguments[ARGUMENTS_MOST + 1];
	arguments[0] = rabbitmq_number_entry(QUESTION, 7);
	for (size_t i = 0; i < learned->n; i++)
		arguments[i + 1] = entry_of(&learned->arguments[i].is);
	amqp_queue_declare_t declare = {
	    .queue = amqp_cstring_bytes(sa->queue->name),
	    .durable = learned->durable,
	    .auto_delete = learned->auto_delete,
	    .arguments = {.num_entries = (int)learned->n + 1, .entries = arguments},
	};
	amqp_conn_send(conn, channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
	sa->state = SINGLE_ACTIVE_ASKED;
	return ST_OK;
}

/* --- what the answer says ------------------------------------------------------------------------ */

static bool learn_flag(bool *flag, const struct rabbitmq_mismatch *is)
{
	bool current = span_equal(is->current, span_text("true"));
	if (current == *flag)
		return false;
	*flag = current;
	return true;
}

static bool learn_argument(struct rabbitmq_learned *learned, struct span words)
{
	struct rabbitmq_mismatch is;
	if (learned->n == ARGUMENTS_MOST || words.len >= WORDS_ROOM)
		return false;
	struct learned_argument *next = &learned->arguments[learned->n];
	memcpy(next->words, words.ptr, words.len);
	next->words[words.len] = '\0';
	if (!rabbitmq_mismatch_read(span_of(next->words, words.len), &is))
		return false;
	if (is.type == VALUE_IS_NONE || is.type == VALUE_IS_AS_SENT || is.type == VALUE_IS_OTHER)
		return false; /* what was learned before is not true any more, or cannot be sent */
	next->is = is;
	learned->n++;
	return true;
}

static bool learn(struct rabbitmq_learned *learned, const struct rabbitmq_mismatch *is,
		  struct span words)
{
	if (span_equal(is->key, span_text("durable")))
		return learn_flag(&learned->durable, is);
	if (span_equal(is->key, span_text("auto_delete")))
		return learn_flag(&learned->auto_delete, is);
	return learn_argument(learned, words);
}

enum rabbitmq_single_active_answer rabbitmq_single_active_answered(
    struct rabbitmq_single_active *sa, struct span words)
{
	struct rabbitmq_mismatch is;
	must(sa->state == SINGLE_ACTIVE_ASKED);
	bool understood = rabbitmq_mismatch_read(words, &is);
	bool told = understood && span_equal(is.key, span_text(QUESTION));
	if (understood && !told && learn(sa->learned, &is, words))
		return SINGLE_ACTIVE_ASK_AGAIN;
	sa->state = SINGLE_ACTIVE_TOLD;
	forget(sa);
	sa->is_one = told && span_equal(is.current, span_text("true"));
	if (!told)
		return SINGLE_ACTIVE_NOT_TOLD;
	return sa->is_one ? SINGLE_ACTIVE_YES_IT_IS : SINGLE_ACTIVE_NO_IT_IS_NOT;
}
