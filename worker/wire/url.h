/* url - where a broker or a service is and who we are there, taken apart.
 *
 *     amqp://user:password@host:5672/vhost      amqps://   the same with TLS
 *     redis://user:password@host:6379/0         rediss://  the same with TLS
 *     unix://user:password@/run/redis.sock?db=0            Redis on a Unix socket
 *     redis+sentinel://user:password@host:26379,host:26379/MASTER/0?sentinel_user=u&sentinel_password=p
 *                                               rediss+sentinel://  the same with TLS, Sentinels included
 *                                               (user and password are the master's)
 *     redis+cluster://user:password@host:6379,host:6379    some nodes of a cluster; rediss+cluster://
 *     http://user:password@host:80/path        https://   the same with TLS
 *
 * Every part may be percent-encoded; a host in brackets is an IPv6 address.
 *
 * Thread: any; a struct url belongs to its caller.
 * Owns:   the parts, which live in one allocation until url_free().
 * Fails:  url_parse() with ST_INVALID or ST_NOMEM. The sentence never quotes the URL: it may hold
 *         a password. */
#ifndef OUTFALL_WIRE_URL_H
#define OUTFALL_WIRE_URL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum url_scheme {
	URL_AMQP,
	URL_AMQPS,
	URL_REDIS,
	URL_REDISS,
	URL_UNIX,
	URL_SENTINEL,
	URL_SENTINELS,
	URL_CLUSTER,
	URL_CLUSTERS,
	URL_HTTP,
	URL_HTTPS,
};

enum { URL_HOST_BYTES = 256 }; /* a name has at most 253 */

struct url {
	enum url_scheme scheme;
	const char *user;     /* NULL: none given; may be "" */
	const char *password; /* NULL: none given; may be "" */
	/* Without brackets; "localhost" when none is given; NULL with URL_UNIX. URL_SENTINEL and
	 * URL_CLUSTER: all of them, as they stand in the URL; see url_node(). */
	const char *host;
	unsigned port;     /* the scheme's own when none is given; 0 with URL_UNIX */
	const char *path;  /* after the slash: virtual host, database; NULL: not even a slash.
	                       * URL_UNIX: the socket, with its slash */
	const char *query; /* after the question mark, still encoded; NULL: none, or URL_SENTINEL */
	/* URL_SENTINEL: what the master is called, and who we are to the Sentinels; NULL: nobody. */
	const char *service, *sentinel_user, *sentinel_password;
	char *text; /* what the parts point into, NULs among them; a password may be in it */
	size_t text_bytes;
};

/* On failure *ret_url is untouched. */
enum status url_parse(const char *text, struct url *ret_url, struct error *why);
void url_free(struct url *url); /* fine on a zeroed one */

/* Whether its scheme is one with TLS. Of a text, which may be anything, too. */
bool url_wants_tls(const struct url *url);
bool url_is_tls(const char *url);

/* `url` without its password, for people: "amqp://user:***@mq1:5672/vhost". Any text is fine. */
void url_redacted(const char *url, char *buf, size_t size);

struct url_node {
	char host[URL_HOST_BYTES];
	unsigned port;
};

/* The i-th host of a URL_SENTINEL or URL_CLUSTER. False: it has fewer. */
bool url_node(const struct url *url, size_t i, struct url_node *ret_sentinel);

#endif
