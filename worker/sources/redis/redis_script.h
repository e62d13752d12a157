/* redis_script - the Lua scripts that this program has Redis run (*.lua, next to this file).
 *
 * A script is loaded at each login and then called by the digest that the server tells, with
 * EVALSHA. A server that forgets its scripts answers NOSCRIPT; a new login loads them again.
 *
 * Thread: the loop's.
 * Owns:   nothing.
 * Fails:  redis_script_load() and redis_script_eval() with ST_NOMEM; redis_script_loaded() with what the server said. */
#ifndef OUTFALL_SOURCES_REDIS_SCRIPT_H
#define OUTFALL_SOURCES_REDIS_SCRIPT_H

#include "base/error.h"
#include "wire/resp.h"

enum redis_script {
	SCRIPT_TURN,
	SCRIPT_RENEW,
	SCRIPT_UNDO,
	SCRIPT_RECLAIM,
	SCRIPT_LEAVE,
	SCRIPT_CENSUS,
	SCRIPT_DELAY
};

struct script_digest {
	char hex[41];
};

enum status redis_script_load(struct resp *redis, enum redis_script script, resp_answered *answered,
			      void *arg);
enum status redis_script_loaded(const struct reply *reply, struct script_digest *ret_digest,
				struct error *why);

/* Begins a call; `n_args` arguments are to follow. */
void redis_script_call(struct resp *redis, const struct script_digest *digest,
		       const char *const *keys, size_t n_keys, size_t n_args,
		       resp_answered *answered, void *arg);

/* The same without loading it first, which takes no other right than to run it. For who calls it rarely. */
enum status redis_script_eval(struct resp *redis, enum redis_script script, const char *const *keys,
			      size_t n_keys, size_t n_args, resp_answered *answered, void *arg);

#endif
