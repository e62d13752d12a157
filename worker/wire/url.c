/* One copy of the text is cut into parts in place, then each part is decoded in place: decoding
 * never makes a text longer. The order matters: cut first, so that an encoded "@" or "/" inside a
 * password or a virtual host is not taken for a separator.
 *
 * A password with a raw "@" is common and harmless, since a host cannot hold one: the last "@" of
 * the authority counts. A raw "/", "?" or "#" there is ambiguous and shows up as a wrong port or
 * host; the message then says to percent-encode it. */
#include "wire/url.h"

#include "base/memory.h"
#include "settings/settings.h"

#include <stdio.h>
#include <string.h>

static const struct scheme {
	const char *prefix;
	unsigned port;
} schemes[] = {
    [URL_AMQP] = {"amqp://",   5672},
      [URL_AMQPS] = {"amqps://",  5671},
    [URL_REDIS] = {"redis://",  6379},
      [URL_REDISS] = {"rediss://", 6379},
    [URL_UNIX] = {"unix://",   0   },
      [URL_HTTP] = {"http://",   80  },
    [URL_HTTPS] = {"https://",  443 },
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

static enum status parse_parts(char *rest, struct url *url, struct error *why)
{
	char *fragment = strchr(rest, '#');
	if (fragment != NULL)
		return error_set(why, ST_INVALID, "url: '#' must be percent-encoded as %%23");
	url->query = cut(strchr(rest, '?'));
	char *slash = strchr(rest, '/');
	char *path = cut(slash);
	char *at = strrchr(rest, '@');
	char *host = at != NULL ? cut(at) : rest;
	if (at != NULL && parse_login(rest, url, why) != ST_OK)
		return ST_INVALID;
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
			 "url: must begin with amqp://, amqps://, redis://, rediss:// or unix://");
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
	url.port = schemes[url.scheme].port;
	char *rest = url.text + strlen(schemes[url.scheme].prefix);
	enum status st = parse_parts(rest, &url, why);
	if (st != ST_OK) {
		memory_free(url.text);
		return st;
	}
	*ret_url = url;
	return ST_OK;
}

void url_free(struct url *url)
{
	memory_free(url->text);
	*url = (struct url){0};
}

/* Works on what url_parse() refuses too, since that is what gets printed most: whatever stands
 * between the first ':' and the very last '@' is taken for a password, even if slashes are in it. */
void url_redacted(const char *url, char *buf, size_t size)
{
	const char *slashes = strstr(url, "://");
	const char *login = slashes != NULL ? slashes + 3 : url;
	const char *at = strrchr(login, '@');
	const char *colon = at != NULL ? memchr(login, ':', (size_t)(at - login)) : NULL;
	if (colon == NULL)
		(void)snprintf(buf, size, "%s", url); /* cut is fine: it is for people */
	else
		(void)snprintf(buf, size, "%.*s:***%s", (int)(colon - url), url, at);
}
