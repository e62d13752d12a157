/* One request, one answer, one connection. HTTP/1.0, so that the end of the connection is the end of the
 * answer where it does not say its length. A supervisord that starts fifty programs at once answers
 * when it comes to it, and one that hangs must not be noticed: hence the loop, and a deadline. */
#include "managers/supervisord.h"

#include "base/base64.h"
#include "base/memory.h"
#include "base/text.h"
#include "loop/loop.h"
#include "wire/stream.h"
#include "wire/url.h"

#define PATIENCE_MS 5000
#define ANSWER_MOST (8u << 20) /* some 2 KB for each program, and nobody has four thousand */

struct supervisord {
	struct supervisord_question question;
	struct stream *stream; /* NULL: answered */
	struct timer *patience;
	struct text answer;
};

static void tell(struct supervisord *s, const struct supervisord_program *program,
		 const struct error *why)
{
	stream_close(s->stream);
	s->stream = NULL;
	timer_stop(s->patience);
	s->question.answered(s->question.arg, program, why);
}

static void read_answer(struct supervisord *s)
{
	struct supervisord_program program;
	struct error why;
	enum status st = supervisord_answer_read(text_span(&s->answer), s->question.group,
						 s->question.process, &program, &why);
	tell(s, st == ST_OK ? &program : NULL, &why);
	text_fini(&s->answer);
}

/* --- stream ---------------------------------------------------------------------------------------- */

static void opened(void *arg)
{
	(void)arg; /* the request was written before, and leaves now */
}

static size_t received(void *arg, struct span bytes)
{
	struct supervisord *s = arg;
	struct error why;
	text_put(&s->answer, bytes);
	if (s->answer.failed || s->answer.len > ANSWER_MOST) {
		(void)error_set(&why, ST_FULL, "its answer is too long");
		tell(s, NULL, &why);
	} else if (supervisord_answer_is_whole(text_span(&s->answer))) {
		read_answer(s);
	}
	return bytes.len;
}

static void closed(void *arg, const struct error *why)
{
	struct supervisord *s = arg;
	if (s->answer.len > 0)
		read_answer(s);
	else
		tell(s, NULL, why);
}

static void patience_ended(void *arg)
{
	struct error why;
	(void)error_set(&why, ST_TIMEOUT, "no answer within %d s", PATIENCE_MS / 1000);
	tell(arg, NULL, &why);
}

static const struct stream_events stream_events = {
    .opened = opened, .received = received, .closed = closed};

/* --- asking ---------------------------------------------------------------------------------------- */

static void put_login(const struct supervisord_question *question, struct text *request)
{
	struct text login = {0};
	if (question->user == NULL || question->password == NULL)
		return;
	text_print(&login, "%s:%s", question->user, question->password);
	text_put_literal(request, "Authorization: Basic ");
	base64_put(request, text_span(&login));
	text_put_literal(request, "\r\n");
	request->failed |= login.failed;
	text_fini(&login);
}

static void put_request(const struct supervisord_question *question, struct text *request)
{
	static const char body[] = "<?xml version='1.0'?>\n<methodCall>\n"
				   "<methodName>supervisor.getAllConfigInfo</methodName>\n"
				   "<params>\n</params>\n</methodCall>\n";
	text_print(request,
		   "POST /RPC2 HTTP/1.0\r\nHost: localhost\r\nUser-Agent: outfall/%s\r\n"
		   "Content-Type: text/xml\r\nContent-Length: %zu\r\n",
		   OUTFALL_VERSION, sizeof body - 1);
	put_login(question, request);
	text_put_literal(request, "\r\n");
	text_put_literal(request, body);
}

static enum status dial(struct supervisord *s, struct loop *loop, const struct url *url,
			struct error *why)
{
	struct address to = {.host = url->host, .port = url->port};
	struct text request = {0};
	if (url->scheme == URL_UNIX)
		to = (struct address){.path = url->path};
	else if (url->scheme != URL_HTTP)
		return error_set(why, ST_INVALID, "neither unix:// nor http://");
	put_request(&s->question, &request);
	if (!request.failed)
		s->stream = stream_open(loop, &to, PATIENCE_MS, &stream_events, s);
	if (s->stream != NULL)
		stream_write(s->stream, text_span(&request));
	text_fini(&request);
	return s->stream != NULL ? ST_OK : error_set(why, ST_NOMEM, "out of memory");
}

static enum status begin(struct supervisord *s, struct loop *loop, struct error *why)
{
	struct url url = {0};
	s->patience = timer_create_on(loop, patience_ended, s);
	if (s->patience == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	enum status st = url_parse(s->question.url, &url, why);
	if (st == ST_OK)
		st = dial(s, loop, &url, why);
	url_free(&url);
	if (st == ST_OK)
		timer_start(s->patience, PATIENCE_MS);
	return st;
}

enum status supervisord_ask(struct loop *loop, const struct supervisord_question *question,
			    struct supervisord **ret_supervisord, struct error *why)
{
	struct supervisord *s = memory_clear(1, sizeof *s);
	if (s == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	s->question = *question;
	enum status st = begin(s, loop, why);
	if (st != ST_OK)
		supervisord_destroy(s);
	else
		*ret_supervisord = s;
	return st;
}

void supervisord_destroy(struct supervisord *s)
{
	if (s == NULL)
		return;
	stream_close(s->stream);
	timer_destroy(s->patience);
	text_fini(&s->answer);
	memory_free(s);
}
