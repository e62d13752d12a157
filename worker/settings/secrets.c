/* A URL comes from one of three keys; a password_file adds what the URL leaves out. The password is
 * put into the text of the URL, percent-encoded, so that everything behind reads one kind of
 * address. */
#include "settings/secrets.h"

#include "settings/problems.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_MOST_BYTES = 4096 }; /* many times the longest URL that a broker takes */

struct desk { /* what every step here needs */
	const struct block *block;
	struct region *region;
	struct problems *problems;
};

static const char *beside(struct region *region, const char *file, const char *name)
{
	const char *slash = strrchr(file, '/');
	if (name[0] == '/' || slash == NULL)
		return name;
	return region_print(region, "%.*s/%s", (int)(slash - file), file, name);
}

static ssize_t read_bytes(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size_t len = 0;
	ssize_t n = 1;
	while (n != 0 && len < size) {
		n = read(fd, buf + len, size - len);
		if (n < 0 && errno != EINTR)
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	int errnum = errno;
	(void)close(fd); /* only read from */
	errno = errnum;
	return n < 0 ? -1 : (ssize_t)len;
}

/* The one line in the file that `key` names. */
static const char *read_secret(const struct desk *desk, const char *key)
{
	const struct said *said = block_said(desk->block, key);
	const char *path = beside(desk->region, said->place.file, said->texts[0]);
	char *text = region_take(desk->region, SECRET_MOST_BYTES + 1);
	ssize_t len = read_bytes(path, text, SECRET_MOST_BYTES);
	if (len < 0) {
		problems_error(desk->problems, said->place, "%s %s cannot be read: %s", key, path,
			       strerror(errno));
		return NULL;
	}
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	if (len == 0 || len == SECRET_MOST_BYTES || strlen(text) != (size_t)len ||
	    strpbrk(text, "\r\n") != NULL) {
		problems_error(desk->problems, said->place,
			       "%s %s must hold one line of at most 4 kB", key, path);
		return NULL;
	}
	return text;
}

/* --- which key gives the address --- */

static bool given(const struct desk *desk, const char *key)
{
	const struct key_row *row = table_find_key((enum section)desk->block->section, key);
	return row != NULL && block_said(desk->block, key)->n > 0;
}

static const char *address_key(const struct desk *desk)
{
	static const char *const keys[] = {"url", "urls", "url_file"};
	const char *found = NULL;
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		if (!given(desk, keys[i]))
			continue;
		if (found != NULL)
			problems_error(desk->problems, block_place(desk->block, keys[i]),
				       "%s and %s are both given: leave one out", found, keys[i]);
		found = keys[i];
	}
	if (found == NULL)
		problems_error(desk->problems, desk->block->place,
			       "%s \"%s\" has no url: say where the broker is",
			       table_sections[desk->block->section].name, desk->block->title);
	return found;
}

/* --- one address --- */

static const char *scheme_trouble(int section, enum url_scheme scheme)
{
	if (section == SECTION_RABBITMQ && scheme == URL_AMQPS)
		return "amqps:// is not supported by this version: use amqp://";
	if (section == SECTION_RABBITMQ && scheme != URL_AMQP)
		return "a rabbitmq section needs an amqp:// address";
	if (section == SECTION_REDIS && scheme == URL_REDISS)
		return "rediss:// is not supported by this version: use redis:// or unix://";
	if (section == SECTION_REDIS && scheme != URL_REDIS && scheme != URL_UNIX)
		return "a redis section needs a redis:// or unix:// address";
	return NULL;
}

static bool is_database(const char *path)
{
	return path == NULL || (strspn(path, "0123456789") == strlen(path) && strlen(path) <= 5);
}

static bool check_address(const struct desk *desk, const char *key, const char *text)
{
	struct place place = block_place(desk->block, key);
	struct error why;
	struct url url;
	if (strncmp(text, "redis+sentinel://", 17) == 0) {
		problems_error(desk->problems, place,
			       "%s: redis+sentinel:// is not supported by this version: use "
			       "redis:// or unix://",
			       key);
		return false;
	}
	if (url_parse(text, &url, &why) != ST_OK) {
		problems_error(desk->problems, place, "%s: %s", key,
			       strncmp(why.text, "url: ", 5) == 0 ? why.text + 5 : why.text);
		return false;
	}
	const char *trouble = scheme_trouble(desk->block->section, url.scheme);
	if (trouble == NULL && url.scheme == URL_REDIS && !is_database(url.path))
		trouble = "the path of a redis:// address is the number of a database";
	if (trouble != NULL)
		problems_error(desk->problems, place, "%s: %s", key, trouble);
	url_free(&url);
	return trouble == NULL;
}

/* --- password_file --- */

static const char *percent_encode(struct region *region, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";
	char *encoded = region_take(region, 3 * strlen(text) + 1);
	char *to = encoded;
	for (const char *c = text; *c != '\0'; c++) {
		if (strchr(plain, *c) != NULL)
			*to++ = *c;
		else
			to += sprintf(to, "%%%02X", (unsigned char)*c);
	}
	return encoded;
}

/* Where the login of a good URL ends: at its last "@" before the path; NULL without one. */
static const char *end_of_login(const char *login)
{
	const char *end = login + strcspn(login, "/?");
	return memrchr(login, '@', (size_t)(end - login));
}

static const char *with_password(const struct desk *desk, const char *text, const char *password)
{
	const char *login = strstr(text, "://") + 3;
	const char *at = end_of_login(login);
	struct place place = block_place(desk->block, "password_file");
	if (at != NULL && memchr(login, ':', (size_t)(at - login)) != NULL) {
		problems_error(desk->problems, place,
			       "password_file: the URL has a password, too: leave one out");
		return NULL;
	}
	if (at == NULL && desk->block->section == SECTION_RABBITMQ) {
		problems_error(desk->problems, place,
			       "password_file: the URL has no user: amqp://user@host");
		return NULL;
	}
	const char *rest = at != NULL ? at + 1 : login;
	int before = (int)((at != NULL ? at : login) - text);
	return region_print(desk->region, "%.*s:%s@%s", before, text, password, rest);
}

/* --- all of it --- */

/* Replaces the address by its finished form. False: it is no good, and that has been reported. */
static bool finish_address(const struct desk *desk, const char *key, const char *password,
			   const char **text)
{
	if (!check_address(desk, key, *text))
		return false;
	const char *finished = password != NULL ? with_password(desk, *text, password) : *text;
	if (finished == NULL)
		return false;
	*text = finished;
	return true;
}

static bool finish_addresses(const struct desk *desk, const char *key, const char **texts)
{
	const char *password = NULL;
	if (given(desk, "password_file")) {
		password = read_secret(desk, "password_file");
		if (password == NULL)
			return false;
		password = percent_encode(desk->region, password);
	}
	bool good = true;
	for (; *texts != NULL; texts++)
		good &= finish_address(desk, key, password, texts);
	return good;
}

/* The addresses as they were given; NULL: there are none to go on with, which has been reported. */
static const char **given_addresses(const struct desk *desk, const char *key, size_t *ret_n)
{
	const struct said *said = block_said(desk->block, key);
	if (said->unset || block_said(desk->block, "password_file")->unset)
		return NULL;
	if (strcmp(key, "urls") == 0) {
		*ret_n = said->n;
		return said->texts;
	}
	if (said->n > 1 || said->texts[0][0] == '\0')
		return NULL; /* value.c has reported both */
	const char **texts = region_take(desk->region, 2 * sizeof *texts);
	texts[0] = strcmp(key, "url") == 0 ? said->texts[0] : read_secret(desk, key);
	*ret_n = 1;
	return texts[0] != NULL ? texts : NULL;
}

bool secrets_urls(const struct block *block, struct region *region, struct problems *problems,
		  const char ***ret_urls, size_t *ret_n)
{
	struct desk desk = {block, region, problems};
	size_t n = 0;
	const char *key = address_key(&desk);
	if (key == NULL)
		return false;
	const char **texts = given_addresses(&desk, key, &n);
	if (texts == NULL || !finish_addresses(&desk, key, texts))
		return false;
	*ret_urls = texts;
	*ret_n = n;
	return true;
}
