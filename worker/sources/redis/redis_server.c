/* 6.2 is the first with BLMOVE, LMOVE, LPOS, HRANDFIELD and RPOP of several. Valkey and others that are like Redis tell in
 * `redis_version` which one. */
#include "sources/redis/redis_server.h"

#include <stdio.h>
#include <string.h>

enum { LEAST_MAJOR = 6, LEAST_MINOR = 2 };

/* The value of "name:value" on a line of its own; empty: there is none. */
static struct span info_value(struct span info, const char *name)
{
	size_t name_len = strlen(name);
	while (info.len > 0) {
		const char *end = memchr(info.ptr, '\n', info.len);
		size_t len = end != NULL ? (size_t)(end - info.ptr) : info.len;
		size_t value_len = len > 0 && info.ptr[len - 1] == '\r' ? len - 1 : len;
		if (value_len > name_len && info.ptr[name_len] == ':' &&
		    memcmp(info.ptr, name, name_len) == 0)
			return span_of(info.ptr + name_len + 1, value_len - name_len - 1);
		size_t whole = end != NULL ? len + 1 : len;
		info = span_of(info.ptr + whole, info.len - whole);
	}
	return span_of("", 0);
}

static void copy_value(struct span value, char *buf, size_t size)
{
	size_t len = value.len < size - 1 ? value.len : size - 1;
	memcpy(buf, value.ptr, len);
	buf[len] = '\0';
}

struct redis_server redis_server_read(struct span info)
{
	struct redis_server server = {0};
	char version[32];
	copy_value(info_value(info, "redis_version"), version, sizeof version);
	if (sscanf(version, "%4u.%4u", &server.major, &server.minor) != 2)
		server.major = server.minor = 0;
	copy_value(info_value(info, "maxmemory_policy"), server.policy, sizeof server.policy);
	server.append_only = span_equal(info_value(info, "aof_enabled"), span_text("1"));
	return server;
}

enum status redis_server_check(const struct redis_server *server, struct error *why)
{
	if (server->major == 0 || server->major > LEAST_MAJOR ||
	    (server->major == LEAST_MAJOR && server->minor >= LEAST_MINOR))
		return ST_OK;
	return error_set(
	    why, ST_REFUSED,
	    "the server is Redis %u.%u; at least %d.%d is needed, for its commands BLMOVE "
	    "and LMOVE",
	    server->major, server->minor, LEAST_MAJOR, LEAST_MINOR);
}

bool redis_server_evicts(const struct redis_server *server)
{
	return server->policy[0] != '\0' && strcmp(server->policy, "noeviction") != 0;
}
