/* Replies as such: whatever comes, resp.c hands out replies that can be read to their last byte, one for
 * each request, and the same ones however the bytes are torn; then it ends once, with a reason. */
#include "fake_edges.h"
#include "fuzz.h"
#include "reply_piece.h"

#include "base/must.h"
#include "loop/loop.h"
#include "wire/resp.h"

enum { HEAD_BYTES = 1, LIMIT = 8192, REQUESTS = 64, TURNS = 20000 };

struct heard {
	struct loop *loop;
	struct resp *resp;
	unsigned ready, closed, asked, answered;
	size_t bytes; /* of the reply being read */
	uint64_t hash;
	bool full; /* ended by the limit, which counts what lies unread beside a reply */
};

static void mix(struct heard *heard, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < len; i++)
		heard->hash = (heard->hash ^ p[i]) * UINT64_C(0x100000001b3);
	heard->bytes += len;
}

static void read_reply(struct heard *heard, const struct reply *reply)
{
	heard->hash = (heard->hash ^ reply->kind) * UINT64_C(0x100000001b3);
	switch (reply->kind) {
	case REPLY_NIL:
		return;
	case REPLY_NUMBER:
		mix(heard, &reply->number, sizeof reply->number);
		return;
	case REPLY_TEXT:
	case REPLY_STATUS:
	case REPLY_ERROR:
		mix(heard, reply->text.ptr, reply->text.len);
		return;
	case REPLY_ARRAY:
		for (size_t i = 0; i < reply->n_items; i++)
			read_reply(heard, &reply->items[i]);
		return;
	}
	must(false && "a kind of reply");
}

static void answered(void *arg, const struct reply *reply);

static void ask(struct heard *heard)
{
	if (heard->asked == REQUESTS)
		return;
	heard->asked++;
	resp_begin(heard->resp, 1, answered, heard);
	resp_arg_text(heard->resp, "PING");
}

static void answered(void *arg, const struct reply *reply)
{
	struct heard *heard = arg;
	must(heard->ready == 1 && heard->closed == 0);
	heard->bytes = 0;
	heard->answered++;
	read_reply(heard, reply);
	must(heard->bytes <= LIMIT);
	if (reply->kind == REPLY_ERROR)
		(void)resp_error_status(reply->text);
	ask(heard);
}

static void ready(void *arg)
{
	struct heard *heard = arg;
	must(heard->ready++ == 0);
	for (int i = 0; i < 3; i++)
		ask(heard);
}

static void closed(void *arg, const struct error *why)
{
	struct heard *heard = arg;
	must(heard->closed++ == 0);
	must(why->status != ST_OK && why->text[0] != '\0');
	heard->full = why->status == ST_FULL;
	resp_close(heard->resp);
	heard->resp = NULL;
}

static const struct resp_events events = {ready, closed};

static struct heard converse(struct span script, unsigned torn)
{
	struct heard heard = {0};
	struct resp_login login = {
	    .address = {.host = "localhost", .port = 6379},
	    .client_name = "fuzz",
	    .deadline_ms = 5000,
	    .reply_limit = LIMIT
        };
	struct fake_peer peer = {.script = script,
				 .piece = reply_piece,
				 .answers =
				     torn == 0, /* a torn one cannot know when it may speak */
				 .hangs_up = true,
				 .torn = torn};
	must(loop_create(&heard.loop, NULL) == ST_OK);
	fake_edges_set_peer(heard.loop, &peer);
	heard.resp = resp_open(heard.loop, &login, &events, &heard);
	must(heard.resp != NULL);
	for (unsigned i = 0; i < TURNS && heard.closed == 0 && fake_edges_turn(heard.loop); i++)
		;
	resp_close(heard.resp);
	loop_destroy(heard.loop);
	return heard;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < HEAD_BYTES)
		return 0;
	struct span script = span_of((const char *)bytes + HEAD_BYTES, size - HEAD_BYTES);
	(void)converse(script, 0);
	struct heard one = converse(script, 1), other = converse(script, 2 + bytes[0]);
	if (!one.full && !other.full)
		must(one.answered == other.answered && one.hash == other.hash);
	return 0;
}
