/* tls - TLS 1.2 and later as a machine without a descriptor: sealed bytes in, plain bytes out, and
 * the other way round. Who moves the sealed bytes is stream.c.
 *
 * Thread: the loop's.
 * Owns:   a struct tls holds what was read from the files of one struct tls_settings (borrowed); a
 *         session holds one connection's state and both its buffers, and must end before its tls.
 * Units:  bytes.
 * Fails:  with a sentence that says whose certificate is wrong and how. ST_UNTRUSTED: one side does
 *         not trust the other; ST_PROTO: no TLS, or not ours; ST_SYSTEM, ST_INVALID: our files;
 *         ST_NOMEM.
 *
 * Files are read anew when they have changed, so that renewed certificates count from the next
 * connection on, without a restart. */
#ifndef OUTFALL_WIRE_TLS_H
#define OUTFALL_WIRE_TLS_H

#include "base/error.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct tls;
struct tls_session;

enum tls_verify {
	TLS_VERIFY_FULL, /* a certificate that we trust, for the host that was dialled */
	TLS_VERIFY_CA,   /* ... for whomever */
	TLS_VERIFY_NONE, /* anything: encrypted, but perhaps with the wrong peer */
};

/* Files are read again whenever they have changed. */
struct tls_settings {
	const char *ca_file;     /* NULL: the system's */
	const char *cert_file;   /* ours, with its chain; NULL: none */
	const char *key_file;    /* NULL: it is in cert_file */
	const char *server_name; /* NULL: the host of the address */
	enum tls_verify verify;
};

enum tls_file { TLS_CA_FILE, TLS_CERT_FILE, TLS_KEY_FILE };

/* Reads nothing yet. NULL: no memory. */
struct tls *tls_create(const struct tls_settings *settings);
void tls_destroy(struct tls *tls); /* NULL is fine */

/* Reads what has changed since the last time. On failure what was read before stays in use, if there
 * is such (tls_is_usable()); *ret_which is then the file that is no good, and may be NULL. */
enum status tls_read_files(struct tls *tls, enum tls_file *ret_which, struct error *why);
bool tls_is_usable(const struct tls *tls);

/* The end of the first certificate in a file. */
enum status tls_certificate_ends(const char *path, time_t *ret_ends, struct error *why);

/* A client's session, for a peer called `host` (settings->server_name goes first). */
enum status tls_session_create(struct tls *tls, const char *host, struct tls_session **ret_session,
			       struct error *why);
void tls_session_destroy(struct tls_session *session); /* NULL is fine */

/* Where sealed bytes from the peer go. At most *ret_room of them; then tls_came() says how many.
 * NULL: no memory. All that came before must have been used up. */
char *tls_room(struct tls_session *session, size_t *ret_room);
void tls_came(struct tls_session *session, size_t bytes);
bool tls_has_input(const struct tls_session *session); /* something came that was not used up */

/* ST_AGAIN: more must come first. Whatever it returns, there may be something to be sent. */
enum status tls_shake_hands(struct tls_session *session, struct error *why);

/* Plain bytes from what came. ST_AGAIN: there are no more for now; ST_CLOSED: the peer said that
 * there will be none. */
enum status tls_unseal(struct tls_session *session, char *to, size_t room, size_t *ret_bytes,
		       struct error *why);
/* All of `plain` joins what is to be sent. */
enum status tls_seal(struct tls_session *session, struct span plain, struct error *why);
void tls_say_goodbye(struct tls_session *session); /* close_notify; after it nothing is sealed */

struct span tls_unsent(const struct tls_session *session); /* borrowed until the next call */
void tls_sent(struct tls_session *session, size_t bytes);

const char *tls_version(const struct tls_session *session); /* "TLSv1.3", for people */

#endif
