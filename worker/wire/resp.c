/* hiredis parses, we do the rest. Its reader calls back for each element (redisReplyObjectFunctions);
 * instead of hiredis' own objects, four mallocs for a string in an array, ours are laid out in an
 * arena that is emptied after each reply. That is most of what a claim of 256 jobs costs, and it
 * is also the bound: an arena over its limit refuses, and the reader gives up with "out of memory".
 * A single huge string is collected by the reader before it calls us, so its buffer is held against
 * the same limit.
 *
 * There are two lines of hiredis. From 1.0 on its reader understands RESP3 wherever it comes, and arrays in
 * arrays without an end. Nobody here says HELLO 3, so both are refused with the words that 0.14 has for
 * them: what a server may say does not depend on what we were built with.
 *
 * Requests are written into the stream's buffer as they are composed: a request of 500 arguments
 * costs no allocation. That is why the number of arguments comes first.
 *
 * The login is pipelined: AUTH, SELECT, CLIENT SETNAME and CLIENT ID leave in one packet, and the
 * first refusal that matters counts. The last reply makes it ready. */
#include "wire/resp.h"

#include "base/memory.h"
#include "base/must.h"
#include "loop/loop.h"
#include "wire/url.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
	ARENA_FIRST = 4 << 10,
	ARENA_KEEP = 256 << 10, /* a larger chunk is given back after the reply */
	READER_KEEP = 1 << 20,  /* hiredis would give back its buffer beyond 16 KB, each time */
	ARG_HEAD = 24,          /* "$", a 64-bit number, CR LF */
	DEEPEST = 8,            /* arrays in each other; 0.14 has room for no more */
};

struct chunk {
	struct chunk *older;
	size_t room, used;
	max_align_t bytes[];
};

struct arena {
	struct chunk *newest;
	size_t taken; /* for the reply being read */
	size_t limit;
};

struct waiting { /* a request without its reply */
	resp_answered *answered;
	void *arg;
};

/* BROKEN: the stream has died under a request, and is about to tell. */
enum resp_state { RESP_LOGGING_IN, RESP_READY, RESP_BROKEN, RESP_DEAD };

struct resp {
	struct loop *loop;
	struct resp_login login; /* the texts are ours, but not the address's */
	const struct resp_events *events;
	void *arg;

	enum resp_state state;
	bool reading; /* replies are being handed out: do not free */
	bool closed;  /* resp_close() was called */
	uint64_t bytes_in;
	struct error why;

	struct stream *stream;
	struct timer *timer; /* the login's deadline; dead: tells it */
	redisReader *reader;
	struct arena arena;
	int64_t client_id;

	struct waiting *waiting; /* a ring of `room`, a power of two */
	size_t room, first, count;
	size_t args_left; /* of the request being composed */
};

/* --- replies -------------------------------------------------------------------------------- */

static void *arena_take(struct arena *arena, size_t bytes)
{
	bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (bytes > arena->limit - arena->taken)
		return NULL;
	struct chunk *chunk = arena->newest;
	if (chunk == NULL || chunk->room - chunk->used < bytes) {
		size_t room = chunk != NULL ? chunk->room * 2 : ARENA_FIRST;
		if (room > ARENA_KEEP)
			room = ARENA_KEEP;
		if (room < bytes)
			room = bytes;
		chunk = memory_take(sizeof *chunk + room);
		if (chunk == NULL)
			return NULL;
		*chunk = (struct chunk){.older = arena->newest, .room = room};
		arena->newest = chunk;
	}
	void *taken = (char *)chunk->bytes + chunk->used;
	chunk->used += bytes;
	arena->taken += bytes;
	return taken;
}

/* Keeps the newest chunk, which is the largest that ordinary replies need. */
static void arena_empty(struct arena *arena)
{
	struct chunk *keep = arena->newest;
	arena->taken = 0;
	if (keep == NULL)
		return;
	while (keep->older != NULL) {
		struct chunk *older = keep->older;
		keep->older = older->older;
		memory_free(older);
	}
	keep->used = 0;
	if (keep->room > ARENA_KEEP) {
		memory_free(keep);
		arena->newest = NULL;
	}
}

static void arena_fini(struct arena *arena)
{
	arena_empty(arena);
	memory_free(arena->newest);
	arena->newest = NULL;
}

static struct resp *resp_of(const redisReadTask *task)
{
	return task->privdata;
}

/* The first byte of an element of this type. */
static char mark_of(int type)
{
	static const char marks[] = {
		[REDIS_REPLY_STRING] = '$',
		[REDIS_REPLY_ARRAY] = '*',
		[REDIS_REPLY_INTEGER] = ':',
		[REDIS_REPLY_STATUS] = '+',
		[REDIS_REPLY_ERROR] = '-',
		[REDIS_REPLY_NIL] = '_',
#if HIREDIS_MAJOR >= 1
		[REDIS_REPLY_DOUBLE] = ',',
		[REDIS_REPLY_BOOL] = '#',
		[REDIS_REPLY_MAP] = '%',
		[REDIS_REPLY_SET] = '~',
		[REDIS_REPLY_ATTR] = '|',
		[REDIS_REPLY_PUSH] = '>',
		[REDIS_REPLY_BIGNUM] = '(',
		[REDIS_REPLY_VERB] = '=',
#endif
	};
	bool known = type > 0 && (size_t)type < sizeof marks;
	return known ? marks[type] : '?';
}

static bool is_resp2(int type)
{
	return strchr("$*:+-", mark_of(type)) != NULL;
}

static void say_no_resp2(struct resp *resp, int type)
{
	(void)error_set(&resp->why, ST_PROTO,
			"not a Redis reply: Protocol error, got \"%c\" as reply type byte",
			mark_of(type));
}

/* Where this element's reply lies: in its parent's items, or on its own. NULL: no memory, or `why` says it. */
static struct reply *place(const redisReadTask *task)
{
	if (!is_resp2(task->type)) {
		say_no_resp2(resp_of(task), task->type);
		return NULL;
	}
	if (task->parent != NULL) {
		struct reply *parent = task->parent->obj;
		return (struct reply *)parent->items + task->idx; /* ours: the arena's */
	}
	return arena_take(&resp_of(task)->arena, sizeof(struct reply));
}

static void *create_text(const redisReadTask *task, char *text, size_t len)
{
	struct reply *reply = place(task);
	char *copy = reply != NULL ? arena_take(&resp_of(task)->arena, len) : NULL;
	if (copy == NULL)
		return NULL;
	memcpy(copy, text, len);
	reply->kind = task->type == REDIS_REPLY_ERROR    ? REPLY_ERROR
		      : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
							 : REPLY_TEXT;
	reply->text = span_of(copy, len);
	return reply;
}

static bool is_too_deep(const redisReadTask *task)
{
	int depth = 0;
	for (; task != NULL; task = task->parent)
		depth++;
	return depth > DEEPEST;
}

static void *refuse_array(struct resp *resp, const char *why)
{
	(void)error_set(&resp->why, ST_PROTO, "not a Redis reply: %s", why);
	return NULL;
}

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count; /* the reader has dealt with -1 */
#endif

static void *create_array(const redisReadTask *task, element_count elements)
{
	size_t n_items = (size_t)elements;
	struct arena *arena = &resp_of(task)->arena;
	struct reply *reply = place(task);
	if (reply == NULL)
		return NULL;
	if (is_too_deep(task))
		return refuse_array(resp_of(task), "arrays nested too deep");
	if (n_items > INT_MAX) /* the reader counts them with an int */
		return refuse_array(resp_of(task), "Multi-bulk length out of range");
	if (n_items > arena->limit / sizeof *reply)
		return NULL;
	struct reply *items = arena_take(arena, n_items * sizeof *items);
	if (items == NULL)
		return NULL;
	*reply = (struct reply){.kind = REPLY_ARRAY, .items = items, .n_items = n_items};
	return reply;
}

static void *create_number(const redisReadTask *task, long long number)
{
	struct reply *reply = place(task);
	if (reply != NULL)
		*reply = (struct reply){.kind = REPLY_NUMBER, .number = number};
	return reply;
}

static void *create_nil(const redisReadTask *task)
{
	struct reply *reply = place(task);
	if (reply != NULL)
		*reply = (struct reply){.kind = REPLY_NIL};
	return reply;
}

#if HIREDIS_MAJOR >= 1
static void *create_double(const redisReadTask *task, double number, char *text, size_t len)
{
	(void)number, (void)text, (void)len;
	return place(task); /* which it has none for */
}

static void *create_bool(const redisReadTask *task, int yes)
{
	(void)yes;
	return place(task);
}
#endif

static void free_nothing(void *reply)
{
	(void)reply; /* the arena is emptied as a whole */
}

static redisReplyObjectFunctions reply_functions = {
    .createString = create_text,
    .createArray = create_array,
    .createInteger = create_number,
    .createNil = create_nil,
#if HIREDIS_MAJOR >= 1
    .createDouble = create_double, /* the reader calls neither with care */
    .createBool = create_bool,
#endif
    .freeObject = free_nothing,
};

/* --- the end -------------------------------------------------------------------------------- */

static void free_login(struct resp_login *login)
{
	char *password = (char *)(uintptr_t)login->password;
	memory_free_secret(password);
	memory_free((char *)(uintptr_t)login->user);
	memory_free((char *)(uintptr_t)login->client_name);
}

static void free_now(struct resp *resp)
{
	if (resp->reader != NULL)
		redisReaderFree(resp->reader);
	arena_fini(&resp->arena);
	free_login(&resp->login);
	memory_free(resp->waiting);
	memory_free(resp);
}

static void let_go(struct resp *resp)
{
	resp->state = RESP_DEAD;
	stream_close(resp->stream);
	resp->stream = NULL;
	resp->count = 0;
	resp->args_left = 0;
	timer_stop(resp->timer);
}

/* Not from within a call of the owner. Afterwards `resp` may be gone, unless it is reading. */
static void fail_now(struct resp *resp)
{
	let_go(resp);
	struct error why = resp->why;
	resp->events->closed(resp->arg, &why);
}

static void fail_later(struct resp *resp)
{
	if (resp->state == RESP_DEAD)
		return;
	let_go(resp);
	timer_start(resp->timer, 0);
}

static void timer_fired(void *arg)
{
	struct resp *resp = arg;
	if (resp->state == RESP_LOGGING_IN)
		(void)error_set(&resp->why, ST_TIMEOUT, "login: no answer in time");
	fail_now(resp);
}

void resp_close(struct resp *resp)
{
	if (resp == NULL)
		return;
	must(!resp->closed);
	resp->closed = true;
	let_go(resp);
	timer_destroy(resp->timer);
	resp->timer = NULL;
	if (!resp->reading)
		free_now(resp);
}

/* --- input ---------------------------------------------------------------------------------- */

uint64_t resp_bytes_in(const struct resp *resp)
{
	return resp->bytes_in;
}

static void reader_failed(struct resp *resp)
{
	if (resp->why.status != ST_OK)
		; /* we have refused to go on */
	else if (resp->reader->err == REDIS_ERR_OOM)
		(void)error_set(&resp->why, ST_FULL, "reply of more than %zu bytes, or no memory",
				resp->arena.limit);
	else
		(void)error_set(&resp->why, ST_PROTO, "not a Redis reply: %s",
				resp->reader->errstr);
	fail_now(resp);
}

static void hand_out(struct resp *resp, const struct reply *reply)
{
	if (resp->count == 0) {
		if (reply->kind == REPLY_ERROR) /* "-ERR max number of clients reached", and out */
			(void)error_set(&resp->why, resp_error_status(reply->text), "%.*s",
					(int)reply->text.len, reply->text.ptr);
		else
			(void)error_set(&resp->why, ST_PROTO, "a reply that nobody asked for");
		fail_now(resp);
		return;
	}
	struct waiting waiting = resp->waiting[resp->first];
	resp->first = (resp->first + 1) & (resp->room - 1);
	resp->count--;
	waiting.answered(waiting.arg, reply);
}

/* -1: between two elements. */
static int type_being_read(const redisReader *reader)
{
	if (reader->ridx < 0)
		return -1;
#if HIREDIS_MAJOR >= 1
	return reader->task[reader->ridx]->type;
#else
	return reader->rstack[reader->ridx].type;
#endif
}

/* An element that is none of ours and has begun: it may never end. */
static bool is_beyond_resp2(struct resp *resp)
{
	int type = type_being_read(resp->reader);
	if (type < 0 || is_resp2(type))
		return false;
	say_no_resp2(resp, type);
	return true;
}

static void read_replies(struct resp *resp, struct span bytes)
{
	if (redisReaderFeed(resp->reader, bytes.ptr, bytes.len) != REDIS_OK) {
		reader_failed(resp);
		return;
	}
	while (resp->state != RESP_DEAD) {
		void *reply = NULL;
		if (redisReaderGetReply(resp->reader, &reply) != REDIS_OK ||
		    is_beyond_resp2(resp)) {
			reader_failed(resp);
			return;
		}
		if (reply == NULL)
			break;
		hand_out(resp, reply);
		arena_empty(&resp->arena);
	}
	if (resp->state != RESP_DEAD && resp->reader->len > resp->arena.limit) {
		(void)error_set(&resp->why, ST_FULL, "reply of more than %zu bytes",
				resp->arena.limit);
		fail_now(resp);
	}
}

static size_t received(void *arg, struct span bytes)
{
	struct resp *resp = arg;
	resp->bytes_in += bytes.len;
	resp->reading = true;
	read_replies(resp, bytes);
	resp->reading = false;
	if (resp->closed)
		free_now(resp);
	return bytes.len;
}

/* --- login ---------------------------------------------------------------------------------- */

static void login_answered(void *arg, const struct reply *reply)
{
	struct resp *resp = arg;
	if (reply->kind != REPLY_ERROR)
		return;
	(void)error_set(&resp->why, resp_error_status(reply->text), "login: %.*s",
			(int)reply->text.len, reply->text.ptr);
	fail_now(resp);
}

static void name_answered(void *arg, const struct reply *reply)
{
	(void)arg;
	(void)reply; /* a name helps people; an ACL may forbid it */
}

static void id_answered(void *arg, const struct reply *reply)
{
	struct resp *resp = arg;
	if (reply->kind == REPLY_NUMBER)
		resp->client_id = reply->number;
	resp->state = RESP_READY;
	timer_stop(resp->timer);
	resp->events->ready(resp->arg);
}

static void opened(void *arg)
{
	struct resp *resp = arg;
	const struct resp_login *login = &resp->login;
	bool named_user = login->user != NULL && login->user[0] != '\0';
	if (login->password != NULL) {
		resp_begin(resp, named_user ? 3 : 2, login_answered, resp);
		resp_arg_text(resp, "AUTH");
		if (named_user)
			resp_arg_text(resp, login->user);
		resp_arg_text(resp, login->password);
	}
	if (!login->sentinel) {
		resp_begin(resp, 2, login_answered, resp);
		resp_arg_text(resp, "SELECT");
		resp_arg_number(resp, login->database);
	}
	if (login->client_name != NULL) {
		resp_begin(resp, 3, name_answered, resp);
		resp_arg_text(resp, "CLIENT");
		resp_arg_text(resp, "SETNAME");
		resp_arg_text(resp, login->client_name);
	}
	resp_begin(resp, 2, id_answered, resp);
	resp_arg_text(resp, "CLIENT");
	resp_arg_text(resp, "ID");
}

static void stream_ended(void *arg, const struct error *why)
{
	struct resp *resp = arg;
	resp->why = *why;
	fail_now(resp);
}

static const struct stream_events stream_events = {
    .opened = opened, .received = received, .closed = stream_ended};

/* False, and "copied" for as much as there was memory. */
static bool copy_text(const char *text, const char **ret_copy)
{
	*ret_copy = text != NULL ? memory_text(text) : NULL;
	return *ret_copy != NULL || text == NULL;
}

static bool copy_login(struct resp *resp, const struct resp_login *login)
{
	resp->login = *login;
	resp->login.address = (struct address){0}; /* stream_open() copies it */
	bool user = copy_text(login->user, &resp->login.user);
	bool password = copy_text(login->password, &resp->login.password);
	bool name = copy_text(login->client_name, &resp->login.client_name);
	return user && password && name;
}

static bool create_parts(struct resp *resp, const struct address *to)
{
	resp->timer = timer_create_on(resp->loop, timer_fired, resp);
	resp->reader = redisReaderCreateWithFunctions(&reply_functions);
	if (resp->timer == NULL || resp->reader == NULL)
		return false;
	resp->reader->privdata = resp;
	resp->reader->maxbuf = READER_KEEP;
	resp->stream = stream_open(resp->loop, to, resp->login.deadline_ms, &stream_events, resp);
	return resp->stream != NULL;
}

struct resp *resp_open(struct loop *loop, const struct resp_login *login,
		       const struct resp_events *events, void *arg)
{
	struct resp *resp = memory_clear(1, sizeof *resp);
	if (resp == NULL)
		return NULL;
	resp->loop = loop;
	resp->events = events;
	resp->arg = arg;
	resp->arena.limit = login->reply_limit;
	if (!copy_login(resp, login) || !create_parts(resp, &login->address)) {
		timer_destroy(resp->timer);
		free_now(resp);
		return NULL;
	}
	timer_start(resp->timer, login->deadline_ms);
	return resp;
}

/* --- requests ------------------------------------------------------------------------------- */

static bool push_waiting(struct resp *resp, resp_answered *answered, void *arg)
{
	if (resp->count == resp->room) {
		size_t room = resp->room ? resp->room * 2 : 8;
		struct waiting *waiting = memory_take(room * sizeof *waiting);
		if (waiting == NULL)
			return false;
		for (size_t i = 0; i < resp->count; i++)
			waiting[i] = resp->waiting[(resp->first + i) & (resp->room - 1)];
		memory_free(resp->waiting);
		resp->waiting = waiting;
		resp->room = room;
		resp->first = 0;
	}
	resp->waiting[(resp->first + resp->count) & (resp->room - 1)] =
	    (struct waiting){answered, arg};
	resp->count++;
	return true;
}

/* NULL: requests are swallowed from here on. */
static char *request_room(struct resp *resp, size_t bytes)
{
	char *room = stream_room(resp->stream, bytes);
	if (room == NULL) {
		resp->state = RESP_BROKEN;
		timer_stop(resp->timer);
	}
	return room;
}

/* Writes "<mark><number>CRLF" and returns how long that is. */
static size_t put_head(char *to, char mark, size_t number)
{
	char digits[20];
	size_t n = 0, len = 0;
	do {
		digits[n++] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	to[len++] = mark;
	while (n > 0)
		to[len++] = digits[--n];
	to[len++] = '\r';
	to[len++] = '\n';
	return len;
}

void resp_begin(struct resp *resp, size_t n_args, resp_answered *answered, void *arg)
{
	if (resp->state >= RESP_BROKEN)
		return;
	must(resp->args_left == 0 && n_args > 0);
	char *room = request_room(resp, ARG_HEAD);
	if (room == NULL)
		return;
	if (!push_waiting(resp, answered, arg)) {
		(void)error_set(&resp->why, ST_NOMEM, "request: out of memory");
		fail_later(resp);
		return;
	}
	resp->args_left = n_args;
	stream_wrote(resp->stream, put_head(room, '*', n_args));
}

void resp_arg(struct resp *resp, struct span arg)
{
	if (resp->state >= RESP_BROKEN)
		return;
	char *room = request_room(resp, ARG_HEAD + arg.len + 2);
	if (room == NULL)
		return;
	must(resp->args_left > 0);
	resp->args_left--;
	size_t head = put_head(room, '$', arg.len);
	if (arg.len > 0)
		memcpy(room + head, arg.ptr, arg.len);
	memcpy(room + head + arg.len, "\r\n", 2);
	stream_wrote(resp->stream, head + arg.len + 2);
}

void resp_arg_text(struct resp *resp, const char *arg)
{
	resp_arg(resp, span_text(arg));
}

void resp_arg_number(struct resp *resp, int64_t arg)
{
	char text[24];
	int len = snprintf(text, sizeof text, "%" PRId64, arg);
	resp_arg(resp, span_of(text, (size_t)len));
}

const char *resp_tls(const struct resp *resp)
{
	return resp->stream != NULL ? stream_tls(resp->stream) : NULL;
}

int64_t resp_client_id(const struct resp *resp)
{
	return resp->client_id;
}

size_t resp_unanswered(const struct resp *resp)
{
	return resp->count;
}

/* --- words ---------------------------------------------------------------------------------- */

/* Before Redis 7 an error from within a script stands behind where in the script it was: "ERR Error
 * running script (call to f_...): @user_script:14: @user_script: 14: -READONLY You can't write ...". */
static struct span innermost(struct span text)
{
	static const char wrapped[] = "ERR Error running script";
	if (text.len < sizeof wrapped - 1 || memcmp(text.ptr, wrapped, sizeof wrapped - 1) != 0)
		return text;
	const char *code = memmem(text.ptr, text.len, ": -", 3);
	if (code == NULL)
		return text;
	return span_of(code + 3, text.len - (size_t)(code + 3 - text.ptr));
}

enum status resp_error_status(struct span text)
{
	text = innermost(text);
	static const struct {
		const char *begins;
		enum status st;
	} rows[] = {
	    {"WRONGPASS",                 ST_AUTH   },
	    {"NOAUTH",                    ST_AUTH   },
	    {"NOPERM",                    ST_AUTH   },
	    {"ERR invalid password",      ST_AUTH   },
	    {"ERR AUTH",                  ST_AUTH   },
	    {"ERR Client sent AUTH",      ST_AUTH   },
	    {"NOSCRIPT",                  ST_AGAIN  },
	    {"ERR DB index",              ST_MISSING},
	    {"ERR invalid DB index",      ST_MISSING},
	    {"ERR max number of clients", ST_AGAIN  },
	    {"LOADING",                   ST_AGAIN  },
	    {"READONLY",                  ST_AGAIN  },
	    {"MASTERDOWN",                ST_AGAIN  },
	    {"UNBLOCKED",                 ST_AGAIN  },
	    {"CLUSTERDOWN",               ST_AGAIN  },
	    {"TRYAGAIN",                  ST_AGAIN  },
	    {"MOVED ",                    ST_AGAIN  },
	    {"ASK ",		      ST_AGAIN  },
	    {"NOREPLICAS",                ST_AGAIN  },
	    {"MISCONF",                   ST_AGAIN  },
	    {"BUSY",		      ST_AGAIN  },
	    {"OOM",		       ST_AGAIN  },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len = strlen(rows[i].begins);
		if (text.len >= len && memcmp(text.ptr, rows[i].begins, len) == 0)
			return rows[i].st;
	}
	return ST_REFUSED;
}

enum redirect resp_redirect(struct span error, const char *here, struct url_node *ret_node)
{
	char words[URL_HOST_BYTES + 32], how[6];
	unsigned slot, port;
	int at = 0;
	(void)snprintf(words, sizeof words, "%.*s", (int)error.len, error.ptr);
	if (sscanf(words, "%5s %u %n", how, &slot, &at) != 2 || at == 0)
		return REDIRECT_NONE;
	bool asks = strcmp(how, "ASK") == 0;
	if (!asks && strcmp(how, "MOVED") != 0)
		return REDIRECT_NONE;
	char *colon = strrchr(words + at, ':'); /* the last: an IPv6 address has no brackets here */
	if (colon == NULL || sscanf(colon + 1, "%5u", &port) != 1 || port == 0 || port > 65535)
		return REDIRECT_NONE;
	*colon = '\0';
	(void)snprintf(ret_node->host, sizeof ret_node->host, "%.255s",
		       words[at] != '\0' ? words + at : here);
	ret_node->port = port;
	return asks ? REDIRECT_ASK : REDIRECT_MOVED;
}

static enum status parse_database(const char *text, unsigned *ret_database, struct error *why)
{
	unsigned database = 0;
	for (const char *c = text; *c != '\0'; c++) {
		if (*c < '0' || *c > '9' || database > 1000000)
			return error_set(why, ST_INVALID, "url: the database must be a number");
		database = database * 10 + (unsigned)(*c - '0');
	}
	*ret_database = database;
	return ST_OK;
}

enum status resp_login_from_url(const struct url *url, struct resp_login *ret_login,
				struct error *why)
{
	struct resp_login login = {.user = url->user, .password = url->password};
	const char *database = "0";
	switch (url->scheme) {
	case URL_REDIS:
	case URL_REDISS:
		login.address = (struct address){.host = url->host, .port = url->port};
		if (url->path != NULL)
			database = url->path;
		break;
	case URL_SENTINEL:
	case URL_SENTINELS:
	case URL_CLUSTER:
	case URL_CLUSTERS:
		if (url->path != NULL)
			database = url->path;
		break;
	case URL_UNIX:
		login.address = (struct address){.path = url->path};
		break;
	case URL_AMQP:
	case URL_AMQPS:
	case URL_HTTP:
	case URL_HTTPS:
		return error_set(why, ST_INVALID,
				 "url: must begin with redis://, rediss://, unix://, "
				 "redis+sentinel:// or redis+cluster://");
	}
	if (url->query != NULL && strncmp(url->query, "db=", 3) == 0)
		database = url->query + 3;
	else if (url->query != NULL)
		return error_set(why, ST_INVALID, "url: only \"?db=<number>\" is understood");
	if (parse_database(database, &login.database, why) != ST_OK)
		return ST_INVALID;
	*ret_login = login;
	return ST_OK;
}
