#include "settings/listen_address.h"

#include "base/duration.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { HOST_MOST = 64 };

static bool parse_port(const char *text, in_port_t *ret_port)
{
	uint64_t port;
	if (!count_parse(text, &port) || port > 65535)
		return false;
	*ret_port = htons((uint16_t)port);
	return true;
}

static void set_v4(struct listen_address *address, struct in_addr host, in_port_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address->at;
	*in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = host, .sin_port = port};
	address->len = sizeof *in;
}

static void set_v6(struct listen_address *address, struct in6_addr host, in_port_t port)
{
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)&address->at;
	*in = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = host, .sin6_port = port};
	address->len = sizeof *in;
}

/* `host` without brackets; `bracketed`: it had some. */
static bool parse_host(const char *host, bool bracketed, in_port_t port,
		       struct listen_address *ret_address)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (bracketed) {
		if (inet_pton(AF_INET6, host, &v6) != 1)
			return false;
		set_v6(ret_address, v6, port);
		return true;
	}
	if (strcmp(host, "*") == 0) {
		set_v6(ret_address, in6addr_any, port);
		return true;
	}
	if (strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &v4) != 1)
		return false;
	set_v4(ret_address, v4, port);
	return true;
}

bool listen_address_parse(const char *text, struct listen_address *ret_address)
{
	char host[HOST_MOST];
	struct listen_address address = {0};
	in_port_t port;
	const char *colon = strrchr(text, ':');
	if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host ||
	    !parse_port(colon + 1, &port))
		return false;
	size_t len = (size_t)(colon - text);
	bool bracketed = text[0] == '[' && text[len - 1] == ']';
	(void)snprintf(host, sizeof host, "%.*s", (int)(bracketed ? len - 2 : len),
		       text + bracketed);
	if (!parse_host(host, bracketed, port, &address))
		return false;
	*ret_address = address;
	return true;
}

/* Both families have the port in one place. */
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
	       "a port is a port");

in_port_t listen_address_port(const struct listen_address *address)
{
	return ((const struct sockaddr_in *)(const void *)&address->at)->sin_port;
}

void listen_address_set_port(struct listen_address *address, in_port_t port)
{
	((struct sockaddr_in *)(void *)&address->at)->sin_port = port;
}

static bool is_every(const struct listen_address *address)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&address->at;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&address->at;
	if (address->at.ss_family == AF_INET6)
		return memcmp(&v6->sin6_addr, &in6addr_any, sizeof in6addr_any) == 0;
	return v4->sin_addr.s_addr == INADDR_ANY;
}

bool listen_addresses_clash(const struct listen_address *a, const struct listen_address *b)
{
	in_port_t port = listen_address_port(a);
	if (port == 0 || port != listen_address_port(b))
		return false;
	if (is_every(a) || is_every(b))
		return true;
	return a->len == b->len && memcmp(&a->at, &b->at, a->len) == 0;
}

void listen_address_print(const struct listen_address *address, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&address->at;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&address->at;
	if (address->at.ss_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		(void)snprintf(buf, size, "[%s]:%u", host, ntohs(v6->sin6_port));
		return;
	}
	(void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
	(void)snprintf(buf, size, "%s:%u", host, ntohs(v4->sin_port));
}

void listen_address_any_ipv4(struct listen_address *address)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = listen_address_port(address)};
	*address = (struct listen_address){.len = sizeof any};
	memcpy(&address->at, &any, sizeof any);
}
