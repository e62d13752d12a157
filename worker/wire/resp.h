/* resp - a conversation with one Redis server: requests out, replies back in the same order.
 *
 *     resp_begin(redis, 3, popped, list);
 *     resp_arg_text(redis, "RPOP"); resp_arg_text(redis, key); resp_arg_number(redis, 64);
 *
 * Requests are pipelined: they leave with the turn (stream.h), each reply runs its own `answered`.
 *
 * Thread: the loop's.
 * Owns:   its stream. A reply and everything in it is borrowed for the call. The conversation
 *         belongs to whoever opened it until resp_close(), which is safe in its own callbacks.
 * Units:  bytes; milliseconds for the deadline.
 * Fails:  through `closed`, once: requests without an answer then never get one, and whether the
 *         server carried them out is unknown. Requests to a dead conversation are swallowed. */
#ifndef OUTFALL_WIRE_RESP_H
#define OUTFALL_WIRE_RESP_H

#include "base/error.h"
#include "base/span.h"
#include "wire/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct resp;
struct url;
struct url_node;

enum reply_kind { REPLY_NIL, REPLY_NUMBER, REPLY_TEXT, REPLY_STATUS, REPLY_ERROR, REPLY_ARRAY };

struct reply {
	enum reply_kind kind;
	union {
		int64_t number;
		struct span text; /* TEXT, STATUS, ERROR */
		struct {
			const struct reply *items;
			size_t n_items;
		};
	};
};

struct resp_login { /* borrowed texts; copied by resp_open() */
	struct address address;
	unsigned place;              /* not used here: tells addresses apart, see hosts.h */
	const char *user, *password; /* NULL: none */
	unsigned database;
	bool sentinel;           /* it has no databases to choose from */
	const char *client_name; /* shows in CLIENT LIST; NULL: none */
	uint64_t deadline_ms;    /* for connecting and logging in together */
	size_t reply_limit;      /* a larger reply ends the conversation with ST_FULL */
};

struct resp_events {
	void (*ready)(void *arg); /* logged in */
	/* A refused login says ST_AUTH, ST_MISSING (no such database) or ST_REFUSED. */
	void (*closed)(void *arg, const struct error *why);
};

typedef void resp_answered(void *arg, const struct reply *reply);

/* Takes address, login and database from a redis://, rediss:// or unix:// URL; the texts stay the
 * URL's, and address.tls is left to whoever has one. With redis+sentinel:// that is the login of the
 * master, and the address is still to be asked for.
 * ST_INVALID: another scheme, or a database that is no number. */
enum status resp_login_from_url(const struct url *url, struct resp_login *ret_login,
				struct error *why);

/* NULL: no memory. No callback comes before this returns. */
struct resp *resp_open(struct loop *loop, const struct resp_login *login,
		       const struct resp_events *events, void *arg);
void resp_close(struct resp *resp); /* NULL is fine; requests not yet sent are dropped */

/* A request of exactly `n_args` arguments, the command's name included. */
void resp_begin(struct resp *resp, size_t n_args, resp_answered *answered, void *arg);
void resp_arg(struct resp *resp, struct span arg);
void resp_arg_text(struct resp *resp, const char *arg);
void resp_arg_number(struct resp *resp, int64_t arg);

const char *resp_tls(const struct resp *resp);   /* "TLSv1.3", NULL: plain */
int64_t resp_client_id(const struct resp *resp); /* for CLIENT UNBLOCK; 0: the server keeps it */
size_t resp_unanswered(const struct resp *resp);
uint64_t resp_bytes_in(
    const struct resp *resp); /* since it was opened: does anything still come? */

/* What an error reply means for the one who asked: ST_AGAIN for a server that is loading, busy, a
 * replica, full, or has forgotten its scripts (find a better one, wait, log in again), ST_AUTH,
 * ST_MISSING (no such database), ST_REFUSED for the rest. */
enum status resp_error_status(struct span text);

enum redirect {
	REDIRECT_NONE,  /* it is another error */
	REDIRECT_MOVED, /* that node has the slot */
	REDIRECT_ASK,   /* that node is about to have it, and answers who says ASKING first */
};

/* An error that names the node of a cluster to speak to instead: "MOVED 3999 127.0.0.1:6381". One that does
 * not know its own name leaves out the host, which is then `here`. */
enum redirect resp_redirect(struct span error, const char *here, struct url_node *ret_node);

#endif
