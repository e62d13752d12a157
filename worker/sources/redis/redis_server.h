/* redis_server - what a server says of itself at login (INFO, CONFIG GET save), and whether it is fit to keep jobs.
 *
 * It must know the commands that we use. It should throw nothing away when it is full, and keep what it
 * has on disk. Both commands may be forbidden to our user; then nothing is known, and nothing said.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  never: what it cannot read it does not know. */
#ifndef OUTFALL_SOURCES_REDIS_SERVER_H
#define OUTFALL_SOURCES_REDIS_SERVER_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>

struct redis_server {
	unsigned major, minor; /* of the Redis that it is, or is like; 0, 0: not known */
	char policy[32];       /* maxmemory_policy; "": not known */
	bool append_only;      /* it writes each change to disk */
};

struct redis_server redis_server_read(struct span info);
/* ST_REFUSED, with the version it takes: commands that we need are missing. */
enum status redis_server_check(const struct redis_server *server, struct error *why);
/* When its memory is full it throws away keys, jobs among them. */
bool redis_server_evicts(const struct redis_server *server);

#endif
