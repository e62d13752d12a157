/* guard - may this request be answered? Pure.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  never.
 *
 * Who may open the Unix socket may do everything: its file mode is the guard. Over TCP anybody may
 * read and nobody may steer, unless there is a token and the request brings it. And since people
 * read pages with browsers, which other pages can make ask things: a name in Host that is not one
 * of ours means that somebody's name leads to our address (DNS rebinding), and a foreign Origin
 * that another page is asking. */
#ifndef OUTFALL_ADMIN_GUARD_H
#define OUTFALL_ADMIN_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct gate { /* where requests come in */
	bool is_unix;
	const char *const *hosts; /* further names of ours; NULL-terminated, or NULL */
	const char *token;        /* NULL: none */
};

struct request { /* texts are borrowed for one call, NULL where there is none */
	const char *method, *path;
	const char *host, *origin, *authorization;
	const char *upgrade, *websocket_key, *websocket_version;
	const char *wait, *by, *force; /* arguments behind the "?" */
	bool counted; /* asked a second time: whoever else takes from our queues has been counted */
	uint64_t reload; /* the same: which reload it waits for; 0: none. It may, it has begun it */
	bool late;       /* ... and has waited for long enough */
};

enum guard_word {
	GUARD_PASS,
	GUARD_FOREIGN_HOST,
	GUARD_FOREIGN_ORIGIN,
	GUARD_READ_ONLY, /* nobody may steer here */
	GUARD_NO_TOKEN,  /* who brings the token may */
};

enum guard_word guard_check(const struct gate *gate, const struct request *request);

/* "Bearer TOKEN", in a time that does not depend on how much of it is right. */
bool guard_token_matches(const char *token, const char *authorization);

/* Reading changes nothing; everything but GET and HEAD may. */
bool request_steers(const struct request *request);

#endif
