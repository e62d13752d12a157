/* error - what the world did to us, as a status to branch on and a sentence to read.
 *
 * Thread: any; a struct error belongs to its caller.
 * Owns:   nothing; the text lives inside the struct and is cut at its end.
 * Fails:  never.
 *
 * The lowest layer sets the sentence, each layer above adds in front only what it alone knows:
 *     redis source "mail": connect cache-1:6379: connection refused
 * Whoever decides what to do logs it, once; code below reports. */
#ifndef OUTFALL_BASE_ERROR_H
#define OUTFALL_BASE_ERROR_H

enum status {
	ST_OK = 0,
	ST_AGAIN,     /* not now: would block, nothing there yet */
	ST_NOMEM,     /* an allocation failed */
	ST_FULL,      /* a configured bound was reached */
	ST_SYSTEM,    /* a system call failed; the text has strerror */
	ST_INVALID,   /* input that can never be right */
	ST_PROTO,     /* the peer broke its protocol */
	ST_CLOSED,    /* the peer went away, or we closed */
	ST_TIMEOUT,   /* the deadline passed */
	ST_AUTH,      /* the broker refused our credentials */
	ST_MISSING,   /* the broker has no such queue, virtual host, database */
	ST_REFUSED,   /* the broker, or this host, refused for another lasting reason */
	ST_UNTRUSTED, /* TLS: one side does not trust the other's certificate */
};

struct error {
	enum status status;
	char text[480];
};

/* Replaces what `e` says and returns `st`. `e` may be NULL: the caller does not care why. */
enum status error_set(struct error *e, enum status st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* error_set() with ": <strerror(errnum)>" at the end and ST_SYSTEM. */
enum status error_system(struct error *e, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<what>: " in front of what `e` says and returns `st`. */
enum status error_add(struct error *e, enum status st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const char *status_name(enum status st);

#endif
