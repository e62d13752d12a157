/* pages - what is answered to which request: method and path in, status and body out. No socket in
 * sight; the server sends it, or holds it back when `how` says so.
 *
 * Thread: the loop's.
 * Owns:   an answer's body, until answer_fini().
 * Units:  milliseconds.
 * Fails:  never: trouble is an answer, too. */
#ifndef OUTFALL_ADMIN_PAGES_H
#define OUTFALL_ADMIN_PAGES_H

#include "admin/guard.h"
#include "admin/reloading.h"
#include "base/text.h"
#include "observe/status.h"
#include "settings/settings.h"

struct census;
struct core;
struct log;
struct view;

/* What a drain that was asked for here gives as its reason. */
#define PAGES_DRAIN_WHY "POST /drain"

struct pages {
	struct core *core;
	struct log *log;
	enum last_consumer last_consumer;
	struct census *census; /* NULL: nobody wants to know */
	void (*look)(const struct pages *pages, struct view *ret_view);
	struct reloading reloading;
};

enum answer_how {
	ANSWER_NOW,
	ANSWER_AT_THE_END,    /* when the drain is over, or `wait_ms` is; then pages_wait_over() */
	ANSWER_WHEN_COUNTED,  /* when the census is over; then the request again, as `counted` */
	ANSWER_WHEN_RELOADED, /* when `reload` is over, or the time is; then the request again */
	ANSWER_FEED,          /* not at all: it becomes a WebSocket, with `websocket_accept` */
};

struct answer {
	enum answer_how how;
	unsigned status;
	const char *type;  /* of the body */
	struct text made;  /* the body, where it was made for this answer */
	struct span fixed; /* else */
	const char *allow; /* the methods that would have done; NULL: not the question */
	bool ask_token;    /* WWW-Authenticate */
	bool is_page;      /* may load scripts and styles from here, and nothing from elsewhere */
	uint64_t wait_ms;  /* UINT64_MAX: until the end */
	uint64_t reload;
	char websocket_accept[32];
};

/* Carries out what the request asks for, if it may. */
void pages_answer(const struct pages *pages, const struct gate *gate, const struct request *request,
		  struct answer *ret_answer);

/* Whether making this page takes long where there are many queues and jobs: such are made a few in each
 * turn, so that who asks for many at once waits, and nobody else. */
bool pages_is_dear(const char *path);

/* What a request for the end is told: that it has come, or that it has not in the time it gave. */
void pages_wait_over(const struct pages *pages, struct answer *ret_answer);

void answer_fini(struct answer *answer);
struct span answer_body(const struct answer *answer);

/* What may be done by those who come in here. */
enum status_control pages_control(const struct gate *gate);

#endif
