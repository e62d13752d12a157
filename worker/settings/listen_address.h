/* listen_address - "127.0.0.1:9180" as something to bind to.
 *
 * Thread: any.
 * Owns:   nothing.
 * Fails:  with false. No name is looked up but "localhost": what a worker listens on must not depend
 *         on who answers for a name today. "*" is every interface, IPv4 included. Port 0 lets the
 *         kernel choose. */
#ifndef OUTFALL_SETTINGS_LISTEN_ADDRESS_H
#define OUTFALL_SETTINGS_LISTEN_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct listen_address {
	struct sockaddr_storage at;
	socklen_t len;
};

bool listen_address_parse(const char *text, struct listen_address *ret_address);
/* The other way round. */
void listen_address_print(const struct listen_address *address, char *buf, size_t size);

#endif
