/* Addresses are always ours to be asked under: a browser that was tricked sends the name that it was
 * tricked with, never a number. Programs may leave Host out (HAProxy's checks speak HTTP/1.0);
 * browsers cannot. */
#include "admin/guard.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { HOST_MOST = 255 };

bool request_steers(const struct request *request)
{
	return strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0;
}

/* "name:port" or "[v6]:port" without what follows the name. False: it is no such thing. */
static bool take_name(const char *host, char name[HOST_MOST + 1], bool *ret_bracketed)
{
	*ret_bracketed = host[0] == '[';
	const char *from = host + *ret_bracketed;
	size_t len = strcspn(from, *ret_bracketed ? "]" : ":");
	const char *rest = from + len;
	if (len == 0 || len > HOST_MOST || (*ret_bracketed && *rest++ != ']'))
		return false;
	if (*rest == ':')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (*rest != '\0')
		return false;
	memcpy(name, from, len);
	name[len] = '\0';
	return true;
}

static bool is_one_of(const char *name, const char *const *names)
{
	for (; names != NULL && *names != NULL; names++)
		if (strcasecmp(name, *names) == 0)
			return true;
	return false;
}

static bool is_our_name(const struct gate *gate, const char *host)
{
	char name[HOST_MOST + 1];
	unsigned char address[sizeof(struct in6_addr)];
	bool bracketed;
	if (!take_name(host, name, &bracketed))
		return false;
	if (bracketed)
		return inet_pton(AF_INET6, name, address) == 1;
	return inet_pton(AF_INET, name, address) == 1 || strcasecmp(name, "localhost") == 0 ||
	       is_one_of(name, gate->hosts);
}

/* The page that asks came from the same place as it asks. */
static bool is_same_origin(const char *origin, const char *host)
{
	static const char *const schemes[] = {"http://", "https://"};
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		size_t len = strlen(schemes[i]);
		if (strncasecmp(origin, schemes[i], len) == 0)
			return host != NULL && strcasecmp(origin + len, host) == 0;
	}
	return false;
}

bool guard_token_matches(const char *token, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	if (authorization == NULL || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
		return false;
	const char *said = authorization + sizeof scheme - 1;
	size_t said_len = strlen(said), token_len = strlen(token);
	/* As many steps as were said, whatever is right of it. */
	volatile unsigned char different = said_len != token_len;
	for (size_t i = 0; i < said_len; i++)
		different |= (unsigned char)(said[i] ^ token[token_len != 0 ? i % token_len : 0]);
	return different == 0 && token_len != 0;
}

enum guard_word guard_check(const struct gate *gate, const struct request *request)
{
	bool feed = request->upgrade != NULL;
	if (!gate->is_unix && request->host != NULL && !is_our_name(gate, request->host))
		return GUARD_FOREIGN_HOST;
	if ((feed || request_steers(request)) && request->origin != NULL &&
	    !is_same_origin(request->origin, request->host))
		return GUARD_FOREIGN_ORIGIN;
	if (gate->is_unix || !request_steers(request))
		return GUARD_PASS;
	if (gate->token == NULL)
		return GUARD_READ_ONLY;
	return guard_token_matches(gate->token, request->authorization) ? GUARD_PASS
									: GUARD_NO_TOKEN;
}
