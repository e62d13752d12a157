/* handshake - the proof that a server speaks WebSocket and is not just repeating (RFC 6455, 4.2.2).
 *
 * Thread: any.
 * Fails:  handshake_accept() with false when that is no key. */
#ifndef OUTFALL_ADMIN_HANDSHAKE_H
#define OUTFALL_ADMIN_HANDSHAKE_H

#include <stdbool.h>

enum { HANDSHAKE_ACCEPT_BYTES = 29 }; /* 28 letters and the NUL */

bool handshake_accept(const char *key, char ret_accept[HANDSHAKE_ACCEPT_BYTES]);

#endif
