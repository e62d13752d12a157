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
	WORDS_ROOM = 256,    /* a short string of the protocol */
	ARGUMENTS_MOST = 16, /* a queue with more is not told */
	QUESTIONS_MOST =
	    2 * ARGUMENTS_MOST + 4 /* each argument, and the two flags, may have changed */
};

static const char SINGLE_ACTIVE[] = "x-single-active-consumer";
static const char TYPE[] = "x-queue-type";

/* What the queue is, as far as it is known: the next declaration. */
struct rabbitmq_learned {
	bool durable, auto_delete;
	unsigned questions; /* since ask() */
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

void rabbitmq_single_active_fini(struct rabbitmq_single_active *sa)
{
	memory_free(sa->learned);
	sa->learned = NULL;
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
	if (sa->state == SINGLE_ACTIVE_TOLD)
		sa->state = SINGLE_ACTIVE_UNASKED;
}

void rabbitmq_single_active_connection_lost(struct rabbitmq_single_active *sa)
{
	sa->state = SINGLE_ACTIVE_UNASKED;
	sa->wire = QUESTION_SHUT;
}

static enum rabbitmq_single_active_answer tell(struct rabbitmq_single_active *sa,
					       enum rabbitmq_single_active_answer answer)
{
	sa->state = SINGLE_ACTIVE_TOLD;
	sa->is_one = answer == SINGLE_ACTIVE_YES_IT_IS;
	return answer;
}

void rabbitmq_single_active_give_up(struct rabbitmq_single_active *sa)
{
	(void)tell(sa, SINGLE_ACTIVE_NOT_TOLD); /* that is known already */
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

static void send_declaration(struct rabbitmq_single_active *sa, struct amqp_conn *conn)
{
	struct rabbitmq_learned *learned = sa->learned;
	amqp_table_entry_t arguments[ARGUMENTS_MOST + 1];
	arguments[0] = rabbitmq_text_entry("x-max-age", span_text("1s")); /* makes none */
	for (size_t i = 0; i < learned->n; i++)
		arguments[i + 1] = entry_of(&learned->arguments[i].is);
	amqp_queue_declare_t declare = {
	    .queue = amqp_cstring_bytes(sa->queue->name),
	    .durable = learned->durable,
	    .auto_delete = learned->auto_delete,
	    .arguments = {.num_entries = (int)learned->n + 1, .entries = arguments},
	};
	amqp_channel_open_t open = {0};
	amqp_conn_send(conn, sa->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
	amqp_conn_send(conn, sa->channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
	sa->wire = QUESTION_OPEN;
	learned->questions++;
}

bool rabbitmq_single_active_begin(struct rabbitmq_single_active *sa)
{
	if (sa->learned == NULL) {
		sa->learned = memory_clear(1, sizeof *sa->learned);
		if (sa->learned == NULL)
			return false;
		sa->learned->durable = true; /* most are */
	}
	sa->learned->questions = 0;
	sa->state = SINGLE_ACTIVE_ASKED;
	return true;
}

enum rabbitmq_single_active_answer rabbitmq_single_active_ask(struct rabbitmq_single_active *sa,
							      struct amqp_conn *conn,
							      uint16_t channel)
{
	must(rabbitmq_single_active_is_due(sa, conn));
	bool may_ask = channel != 0 && amqp_conn_use_channel(conn, channel);
	if (!may_ask || !rabbitmq_single_active_begin(sa))
		return tell(sa, SINGLE_ACTIVE_NOT_TOLD);
	sa->channel = channel;
	if (sa->wire == QUESTION_SHUT)
		send_declaration(sa, conn); /* else when its close-ok has come */
	return SINGLE_ACTIVE_NO_NEWS_YET;
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

static struct learned_argument *find_argument(struct rabbitmq_learned *learned, struct span key)
{
	for (size_t i = 0; i < learned->n; i++)
		if (span_equal(learned->arguments[i].is.key, key))
			return &learned->arguments[i];
	return NULL;
}

/* Those behind it borrow from their own words, which move along. */
static void unlearn(struct rabbitmq_learned *learned, struct learned_argument *argument)
{
	struct learned_argument *last = &learned->arguments[--learned->n];
	if (argument == last)
		return;
	memcpy(argument->words, last->words, sizeof argument->words);
	(void)rabbitmq_mismatch_read(span_text(argument->words), &argument->is); /* as before */
	argument->is.type = last->is.type;
}

/* "received 'classic' but current is 'quorum'" says no type: it is the one that was sent, by us or (4.0 on) by
 * the broker itself for the default. */
static enum rabbitmq_value_type type_of(const struct learned_argument *before,
					const struct rabbitmq_mismatch *is)
{
	if (is->type != VALUE_IS_AS_SENT)
		return is->type;
	if (before != NULL)
		return before->is.type;
	return span_equal(is->key, span_text(TYPE)) ? VALUE_IS_TEXT : VALUE_IS_OTHER;
}

static bool learn_argument(struct rabbitmq_learned *learned, const struct rabbitmq_mismatch *is,
			   struct span words)
{
	struct learned_argument *place = find_argument(learned, is->key);
	enum rabbitmq_value_type type = type_of(place, is);
	if (type == VALUE_IS_OTHER || words.len >= WORDS_ROOM)
		return false;
	if (type == VALUE_IS_NONE) {
		if (place != NULL)
			unlearn(learned, place);
		return place != NULL;
	}
	if (place == NULL && learned->n == ARGUMENTS_MOST)
		return false;
	if (place != NULL && place->is.type == type && span_equal(place->is.current, is->current))
		return false; /* that was sent, and is not what it takes */
	if (place == NULL)
		place = &learned->arguments[learned->n++];
	memcpy(place->words, words.ptr, words.len);
	place->words[words.len] = '\0';
	(void)rabbitmq_mismatch_read(span_of(place->words, words.len), &place->is); /* it was */
	place->is.type = type;
	return true;
}

static bool learn(struct rabbitmq_learned *learned, const struct rabbitmq_mismatch *is,
		  struct span words)
{
	if (learned->questions >= QUESTIONS_MOST)
		return false;
	if (span_equal(is->key, span_text("durable")))
		return learn_flag(&learned->durable, is);
	if (span_equal(is->key, span_text("auto_delete")))
		return learn_flag(&learned->auto_delete, is);
	return learn_argument(learned, is, words);
}

static bool is_true(const struct rabbitmq_mismatch *is)
{
	return span_equal(is->current, span_text("true"));
}

/* It is what was declared. */
static enum rabbitmq_single_active_answer as_learned(struct rabbitmq_single_active *sa)
{
	const struct learned_argument *argument =
	    find_argument(sa->learned, span_text(SINGLE_ACTIVE));
	bool is_one = argument != NULL && is_true(&argument->is);
	return tell(sa, is_one ? SINGLE_ACTIVE_YES_IT_IS : SINGLE_ACTIVE_NO_IT_IS_NOT);
}

enum rabbitmq_single_active_answer rabbitmq_single_active_answered(
    struct rabbitmq_single_active *sa, struct span words)
{
	struct rabbitmq_mismatch is;
	must(sa->state == SINGLE_ACTIVE_ASKED && sa->learned != NULL);
	if (words.len == 0)
		return as_learned(sa);
	if (!rabbitmq_mismatch_read(words, &is) || !learn(sa->learned, &is, words))
		return tell(sa, SINGLE_ACTIVE_NOT_TOLD);
	if (span_equal(is.key, span_text(SINGLE_ACTIVE)) && is_true(&is))
		return tell(sa, SINGLE_ACTIVE_YES_IT_IS); /* whatever the rest of it is */
	return SINGLE_ACTIVE_ASK_AGAIN;
}

/* --- its channel ------------------------------------------------------------------------------- */

static enum rabbitmq_single_active_answer declared(struct rabbitmq_single_active *sa,
						   struct amqp_conn *conn)
{
	amqp_channel_close_t close = {.reply_code = AMQP_REPLY_SUCCESS,
				      .reply_text = amqp_cstring_bytes("done")};
	amqp_conn_send(conn, sa->channel, AMQP_CHANNEL_CLOSE_METHOD, &close);
	sa->wire = QUESTION_CLOSING;
	return sa->state == SINGLE_ACTIVE_ASKED ? rabbitmq_single_active_answered(sa, span_text(""))
						: SINGLE_ACTIVE_NO_NEWS_YET;
}

static enum rabbitmq_single_active_answer refused(struct rabbitmq_single_active *sa,
						  struct amqp_conn *conn, struct span words)
{
	enum rabbitmq_single_active_answer answer = SINGLE_ACTIVE_NO_NEWS_YET;
	amqp_channel_close_ok_t ok = {0};
	amqp_conn_send(conn, sa->channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
	sa->wire = QUESTION_SHUT;
	if (sa->state == SINGLE_ACTIVE_ASKED)
		answer = rabbitmq_single_active_answered(sa, words);
	if (answer == SINGLE_ACTIVE_ASK_AGAIN)
		send_declaration(sa, conn);
	return answer;
}

static enum rabbitmq_single_active_answer closed(struct rabbitmq_single_active *sa,
						 struct amqp_conn *conn)
{
	sa->wire = QUESTION_SHUT;
	if (sa->state == SINGLE_ACTIVE_ASKED)
		send_declaration(sa, conn);
	return SINGLE_ACTIVE_NO_NEWS_YET;
}

enum rabbitmq_single_active_answer rabbitmq_single_active_method(struct rabbitmq_single_active *sa,
								 struct amqp_conn *conn,
								 amqp_method_number_t id,
								 const void *decoded,
								 struct span *ret_words)
{
	if (id == AMQP_QUEUE_DECLARE_OK_METHOD && sa->wire == QUESTION_OPEN)
		return declared(sa, conn);
	if (id == AMQP_CHANNEL_CLOSE_OK_METHOD && sa->wire == QUESTION_CLOSING)
		return closed(sa, conn);
	if (id == AMQP_CHANNEL_CLOSE_METHOD && sa->wire != QUESTION_SHUT) {
		const amqp_channel_close_t *m = decoded;
		*ret_words = span_of(m->reply_text.bytes, m->reply_text.len);
		return refused(sa, conn, *ret_words);
	}
	return SINGLE_ACTIVE_NO_NEWS_YET;
}
