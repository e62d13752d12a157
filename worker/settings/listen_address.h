/* listen_address - "127.0.0.1:9180" as something to bind to.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  with false. No name is looked up but "localhost": what a worker listens on must not depend
 *         on who answers for a name today. "*" is every interface, IPv4 included. Port 0 lets the
 *         kernel choose. */
#ifndef OUTFALL_SETTINGS_LISTEN_ADDRESS_H
#define OUTFALL_SETTINGS_LISTEN_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct listen_address {
	struct sockaddr_storage at;
	socklen_t len;
};

bool listen_address_parse(const char *text, struct listen_address *ret_address);
in_port_t listen_address_port(
    const struct listen_address *address); /* in network order, as in sockaddr */
void listen_address_set_port(struct listen_address *address, in_port_t port);

/* Whether one who listens on the first keeps others from the second. */
bool listen_addresses_clash(const struct listen_address *a, const struct listen_address *b);

/* The same port on every interface, IPv4 alone. */
void listen_address_any_ipv4(struct listen_address *address);

/* The other way round. */
void listen_address_print(const struct listen_address *address, char *buf, size_t size);

#endif
