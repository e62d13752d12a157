/* Each script is sent with redis_job.lua in front: Lua in Redis has no way to share a function
 * between scripts, short of Redis 7's function libraries, which need other rights. In front of both
 * is a line that Dragonfly wants of scripts that name keys of their own; to others it is a comment. */
#include "sources/redis/redis_script.h"

#include "base/memory.h"
#include "base/must.h"

#include "redis_census.lua.h"
#include "redis_delay.lua.h"
#include "redis_job.lua.h"
#include "redis_leave.lua.h"
#include "redis_reclaim.lua.h"
#include "redis_renew.lua.h"
#include "redis_turn.lua.h"
#include "redis_undo.lua.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(enum redis_script script)
{
	switch (script) {
	case SCRIPT_TURN:
		return redis_turn_lua;
	case SCRIPT_RENEW:
		return redis_renew_lua;
	case SCRIPT_UNDO:
		return redis_undo_lua;
	case SCRIPT_RECLAIM:
		return redis_reclaim_lua;
	case SCRIPT_LEAVE:
		return redis_leave_lua;
	case SCRIPT_CENSUS:
		return redis_census_lua;
	case SCRIPT_DELAY:
		break;
	}
	return redis_delay_lua;
}

/* NULL: no memory. */
static char *whole_text(enum redis_script script)
{
	static const char flags[] = "--!df flags=allow-undeclared-keys\n";
	size_t size = sizeof flags + sizeof redis_job_lua + strlen(text_of(script));
	char *whole = memory_take(size);
	if (whole == NULL)
		return NULL;
	int len = snprintf(whole, size, "%s%s%s", flags, redis_job_lua, text_of(script));
	must(len > 0 && (size_t)len < size);
	return whole;
}

enum status redis_script_load(struct resp *redis, enum redis_script script, resp_answered *answered,
			      void *arg)
{
	char *whole = whole_text(script);
	if (whole == NULL)
		return ST_NOMEM;
	resp_begin(redis, 3, answered, arg);
	resp_arg_text(redis, "SCRIPT");
	resp_arg_text(redis, "LOAD");
	resp_arg_text(redis, whole);
	memory_free(whole);
	return ST_OK;
}

static void add_keys(struct resp *redis, const char *const *keys, size_t n_keys)
{
	resp_arg_number(redis, (int64_t)n_keys);
	for (size_t i = 0; i < n_keys; i++)
		resp_arg_text(redis, keys[i]);
}

enum status redis_script_eval(struct resp *redis, enum redis_script script, const char *const *keys,
			      size_t n_keys, size_t n_args, resp_answered *answered, void *arg)
{
	char *whole = whole_text(script);
	if (whole == NULL)
		return ST_NOMEM;
	resp_begin(redis, 3 + n_keys + n_args, answered, arg);
	resp_arg_text(redis, "EVAL");
	resp_arg_text(redis, whole);
	add_keys(redis, keys, n_keys);
	memory_free(whole);
	return ST_OK;
}

enum status redis_script_loaded(const struct reply *reply, struct script_digest *ret_digest,
				struct error *why)
{
	if (reply->kind == REPLY_ERROR)
		return error_set(why, resp_error_status(reply->text), "load script: %.*s",
				 (int)reply->text.len, reply->text.ptr);
	if (reply->kind != REPLY_TEXT || reply->text.len != sizeof ret_digest->hex - 1)
		return error_set(why, ST_PROTO, "load script: a reply that makes no sense");
	memcpy(ret_digest->hex, reply->text.ptr, reply->text.len);
	ret_digest->hex[reply->text.len] = '\0';
	return ST_OK;
}

void redis_script_call(struct resp *redis, const struct script_digest *digest,
		       const char *const *keys, size_t n_keys, size_t n_args,
		       resp_answered *answered, void *arg)
{
	resp_begin(redis, 3 + n_keys + n_args, answered, arg);
	resp_arg_text(redis, "EVALSHA");
	resp_arg_text(redis, digest->hex);
	add_keys(redis, keys, n_keys);
}
