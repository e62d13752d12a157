/* supervisord - asks the supervisord that started us how it will stop us.
 *
 * Thread: the loop's.
 * Owns:   its connection, until the answer is there or supervisord_destroy().
 * Fails:  supervisord_ask() with ST_NOMEM, or ST_INVALID for an address that cannot be one. What goes
 *         wrong later is told: answered() comes exactly once, within 5 s of the loop's time, unless
 *         destroyed before. Nothing waits for it. */
#ifndef OUTFALL_MANAGERS_SUPERVISORD_H
#define OUTFALL_MANAGERS_SUPERVISORD_H

#include "base/error.h"
#include "managers/supervisord_answer.h"

struct loop;
struct supervisord;

struct supervisord_question {
	const char *url;             /* "unix:///run/supervisor.sock", "http://127.0.0.1:9001" */
	const char *group;           /* NULL: not known */
	const char *process;         /* who we are there */
	const char *user, *password; /* NULL: none */
	/* `program` is NULL when it did not tell, and `why` says why. Borrowed, as the texts above are
	 * for as long as the question stands. */
	void (*answered)(void *arg, const struct supervisord_program *program,
			 const struct error *why);
	void *arg;
};

enum status supervisord_ask(struct loop *loop, const struct supervisord_question *question,
			    struct supervisord **ret_supervisord, struct error *why);
void supervisord_destroy(struct supervisord *supervisord); /* NULL is fine; not in answered() */

#endif
