/* One copy of the text is cut into parts in place, then each part is decoded in place: decoding
 * never makes a text longer. The order matters: cut first, so that an encoded "@" or "/" inside a
 * password or a virtual host is not taken for a separator.
 *
 * A password with a raw "@" is common and harmless, since a host cannot hold one: the last "@" of
 * the authority counts. A raw "/", "?" or "#" there is ambiguous and shows up as a wrong port or
 * host; the message then says to percent-encode it.
 *
 * Of Sentinels there are several in one URL, since they are asked about one master, and of a cluster's
 * nodes, since each knows where the others are. Their list stays as it is, checked once, and is taken apart again by whoever wants the next. */
#include "wire/url.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const struct scheme {
	const char *prefix;
	unsigned port;
	bool tls;
} schemes[] = {
    [URL_AMQP] = {"amqp://",            5672,  false},
    [URL_AMQPS] = {"amqps://",           5671,  true },
    [URL_REDIS] = {"redis://",           6379,  false},
    [URL_REDISS] = {"rediss://",          6379,  true },
    [URL_UNIX] = {"unix://",            0,     false},
    [URL_SENTINEL] = {"redis+sentinel://",  26379, false},
    [URL_SENTINELS] = {"rediss+sentinel://", 26379, true },
    [URL_CLUSTER] = {"redis+cluster://",   6379,  false},
    [URL_CLUSTERS] = {"rediss+cluster://",  6379,  true },
    [URL_HTTP] = {"http://",            80,    false},
    [URL_HTTPS] = {"https://",           443,   true },
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* In place. `part` may be NULL. A NUL byte would cut the text short unseen, so it is refused. */
static enum status decode(const char *part, const char *what, struct error *why)
{
	if (part == NULL)
		return ST_OK;
	char *to = (char *)part; /* ours: it points into url.text */
	for (const char *from = part; *from != '\0'; from++) {
		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		int high = hex_digit(from[1]);
		int low = high < 0 ? -1 : hex_digit(from[2]);
		if (low < 0 || high * 16 + low == 0)
			return error_set(why, ST_INVALID,
					 "url: %s: '%%' must be followed by two hex digits, not 00",
					 what);
		*to++ = (char)(high * 16 + low);
		from += 2;
	}
	*to = '\0';
	return ST_OK;
}

/* Ends the text at `at` and returns what follows it. NULL stays NULL. */
static char *cut(char *at)
{
	if (at == NULL)
		return NULL;
	*at = '\0';
	return at + 1;
}

static enum status parse_port(const char *text, unsigned *ret_port, struct error *why)
{
	unsigned port = 0;
	const char *c = text;
	for (; *c >= '0' && *c <= '9' && port <= 65535; c++)
		port = port * 10 + (unsigned)(*c - '0');
	if (*c != '\0' || c == text || port == 0 || port > 65535)
		return error_set(why, ST_INVALID,
				 "url: the port must be 1 to 65535 (a '/', '?' or '#' in the "
				 "password must be percent-encoded)");
	*ret_port = port;
	return ST_OK;
}

/* "host", "host:port", "[v6]", "[v6]:port", "" or ":port". */
static enum status parse_host(char *text, struct url *url, struct error *why)
{
	char *port = NULL;
	url->host = text;
	if (*text == '[') {
		char *after = cut(strchr(text, ']'));
		if (after == NULL || (*after != ':' && *after != '\0') || text[1] == '\0')
			return error_set(why, ST_INVALID,
					 "url: host: '[' needs an address and ']'");
		url->host = text + 1;
		port = *after == ':' ? after + 1 : NULL;
	} else {
		port = cut(strchr(text, ':'));
		if (port != NULL && strchr(port, ':') != NULL)
			return error_set(why, ST_INVALID,
					 "url: host: an IPv6 address needs '[' and ']'");
	}
	if (*url->host == '\0')
		url->host = "localhost";
	else if (decode(url->host, "host", why) != ST_OK)
		return ST_INVALID;
	return port != NULL ? parse_port(port, &url->port, why) : ST_OK;
}

static enum status parse_login(char *text, struct url *url, struct error *why)
{
	url->password = cut(strchr(text, ':'));
	url->user = text;
	if (decode(url->user, "user", why) != ST_OK)
		return ST_INVALID;
	return decode(url->password, "password", why);
}

static bool is_sentinel(enum url_scheme scheme)
{
	return scheme == URL_SENTINEL || scheme == URL_SENTINELS;
}

/* The i-th of the texts between commas, cut out of a copy; NULL: there are fewer. */
static char *nth_host(const char *list, size_t i, char *copy, size_t size)
{
	for (; i > 0; i--) {
		list = strchr(list, ',');
		if (list == NULL)
			return NULL;
		list++;
	}
	int len = snprintf(copy, size, "%.*s", (int)strcspn(list, ","), list);
	return len >= 0 && (size_t)len < size ? copy : NULL;
}

bool url_node(const struct url *url, size_t i, struct url_node *ret_sentinel)
{
	char copy[URL_HOST_BYTES];
	struct url one = {.port = schemes[url->scheme].port};
	struct error why;
	char *text = nth_host(url->host, i, copy, sizeof copy);
	if (text == NULL || parse_host(text, &one, &why) != ST_OK)
		return false;
	(void)snprintf(ret_sentinel->host, sizeof ret_sentinel->host, "%s", one.host); /* fits */
	ret_sentinel->port = one.port;
	return true;
}

static enum status check_nodes(const struct url *url, struct error *why)
{
	size_t n = 1;
	for (const char *c = url->host; *c != '\0'; c++)
		n += *c == ',';
	for (size_t i = 0; i < n; i++) {
		char copy[URL_HOST_BYTES];
		struct url one = {.port = url->port};
		char *text = nth_host(url->host, i, copy, sizeof copy);
		if (text == NULL || *text == '\0')
			return error_set(why, ST_INVALID,
					 "url: host: between commas there must be a host, of at "
					 "most 255 bytes");
		if (parse_host(text, &one, why) != ST_OK)
			return ST_INVALID;
	}
	return ST_OK;
}

/* "sentinel_user=...&sentinel_password=...", each at most once or not at all. */
static enum status parse_sentinel_login(char *query, struct url *url, struct error *why)
{
	static const char user[] = "sentinel_user=", password[] = "sentinel_password=";
	while (query != NULL) {
		char *next = cut(strchr(query, '&'));
		if (strncmp(query, user, sizeof user - 1) == 0)
			url->sentinel_user = query + sizeof user - 1;
		else if (strncmp(query, password, sizeof password - 1) == 0)
			url->sentinel_password = query + sizeof password - 1;
		else
			return error_set(why, ST_INVALID,
					 "url: after the question mark only sentinel_user and "
					 "sentinel_password are understood");
		query = next;
	}
	if (url->sentinel_user != NULL && url->sentinel_password == NULL)
		return error_set(why, ST_INVALID, "url: sentinel_user needs a sentinel_password");
	if (decode(url->sentinel_user, "sentinel_user", why) != ST_OK)
		return ST_INVALID;
	return decode(url->sentinel_password, "sentinel_password", why);
}

/* What follows the login: "host,host/master/database?...", of which `host` and `path` are cut already. */
static enum status parse_sentinel(char *path, char *query, struct url *url, struct error *why)
{
	url->service = path;
	url->path = cut(path != NULL ? strchr(path, '/') : NULL);
	url->query = NULL;
	if (path == NULL || *path == '\0')
		return error_set(why, ST_INVALID,
				 "url: redis+sentinel:// needs the name of the master: "
				 "redis+sentinel://host:26379/mymaster");
	if (decode(url->service, "name of the master", why) != ST_OK ||
	    decode(url->path, "database", why) != ST_OK)
		return ST_INVALID;
	enum status st = check_nodes(url, why);
	return st == ST_OK ? parse_sentinel_login(query, url, why) : st;
}

static enum status parse_parts(char *rest, struct url *url, struct error *why)
{
	char *fragment = strchr(rest, '#');
	if (fragment != NULL)
		return error_set(why, ST_INVALID, "url: '#' must be percent-encoded as %%23");
	char *query = cut(strchr(rest, '?'));
	url->query = query;
	char *slash = strchr(rest, '/');
	char *path = cut(slash);
	char *at = strrchr(rest, '@');
	char *host = at != NULL ? cut(at) : rest;
	if (at != NULL && parse_login(rest, url, why) != ST_OK)
		return ST_INVALID;
	if (is_sentinel(url->scheme)) {
		url->host = host;
		return parse_sentinel(path, query, url, why);
	}
	if (url->scheme == URL_CLUSTER || url->scheme == URL_CLUSTERS) {
		url->host = host;
		url->path = path;
		return check_nodes(url, why);
	}
	if (url->scheme != URL_UNIX) {
		url->path = path;
		if (decode(url->path, "path", why) != ST_OK)
			return ST_INVALID;
		return parse_host(host, url, why);
	}
	if (*host != '\0' || path == NULL || *path == '\0')
		return error_set(why, ST_INVALID,
				 "url: unix:// needs the path of a socket: unix:///run/redis.sock");
	*slash = '/'; /* its login ended before it, and nothing else reads up to here */
	url->path = slash;
	return decode(url->path, "path", why);
}

static enum status find_scheme(const char *text, enum url_scheme *ret_scheme, struct error *why)
{
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		if (strncmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
			*ret_scheme = (enum url_scheme)i;
			return ST_OK;
		}
	}
	/* A handler's address never comes here without its http:// (check_handlers.c). */
	return error_set(why, ST_INVALID,
			 "url: must begin with amqp://, amqps://, redis://, rediss://, unix://, "
			 "redis+sentinel:// or redis+cluster://");
}

enum status url_parse(const char *text, struct url *ret_url, struct error *why)
{
	struct url url = {0};
	if (find_scheme(text, &url.scheme, why) != ST_OK)
		return ST_INVALID;
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return error_set(why, ST_INVALID,
					 "url: blanks and control characters must be "
					 "percent-encoded");
	url.text = memory_text(text);
	if (url.text == NULL)
		return error_set(why, ST_NOMEM, "url: out of memory");
	url.text_bytes = strlen(text);
	url.port = schemes[url.scheme].port;
	char *rest = url.text + strlen(schemes[url.scheme].prefix);
	enum status st = parse_parts(rest, &url, why);
	if (st != ST_OK) {
		url_free(&url);
		return st;
	}
	*ret_url = url;
	return ST_OK;
}

void url_free(struct url *url)
{
	if (url->text != NULL)
		explicit_bzero(url->text, url->text_bytes);
	memory_free(url->text);
	*url = (struct url){0};
}

bool url_wants_tls(const struct url *url)
{
	return schemes[url->scheme].tls;
}

bool url_is_tls(const char *url)
{
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
			return schemes[i].tls;
	return false;
}

/* Works on what url_parse() refuses too, since that is what gets printed most: whatever stands
 * between the first ':' and the very last '@' is taken for a password, even if slashes are in it. Only
 * what Sentinels are told stands behind all that, and is left out as a whole. */
void url_redacted(const char *url, char *buf, size_t size)
{
	const char *told = strstr(url, "?sentinel_");
	size_t len = told != NULL ? (size_t)(told - url) : strlen(url);
	const char *slashes = memmem(url, len, "://", 3);
	const char *login = slashes != NULL ? slashes + 3 : url;
	size_t login_len = len - (size_t)(login - url);
	const char *at = memrchr(login, '@', login_len);
	const char *colon = at != NULL ? memchr(login, ':', (size_t)(at - login)) : NULL;
	const char *end = told != NULL ? "?***" : "";
	if (colon == NULL) /* cut is fine: it is for people */
		(void)snprintf(buf, size, "%.*s%s", (int)len, url, end);
	else
		(void)snprintf(buf, size, "%.*s:***%.*s%s", (int)(colon - url), url,
			       (int)(url + len - at), at, end);
}
