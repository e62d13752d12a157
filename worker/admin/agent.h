/* agent - HAProxy's agent check: a port that says one line to whoever connects, and closes.
 *
 *     up ready 75%       takes jobs; 25 of 100 places are taken
 *     drain              stopping, or quiet: no new connections, please
 *     down#mq: ...       not ready, and why
 *
 * The percentage is what is free of the worker's concurrency, 1 at least: 0 would mean "drain".
 *
 * Thread: the loop's.
 * Owns:   the listening socket from agent_open() on, if that succeeds.
 * Fails:  opening, with a sentence. A client that does not take its line is left without. */
#ifndef OUTFALL_ADMIN_AGENT_H
#define OUTFALL_ADMIN_AGENT_H

#include "base/error.h"
#include "base/text.h"

struct agent;
struct log;
struct loop;
struct view;

/* Called for each client. */
typedef void agent_look(void *arg, struct view *ret_view);

enum status agent_open(struct loop *loop, struct log *log, int listener, agent_look *look,
		       void *arg, struct agent **ret_agent, struct error *why);
void agent_close(struct agent *agent); /* NULL is fine */

/* The line for a worker in this state. */
void agent_say(struct text *line, const struct view *view);

#endif
