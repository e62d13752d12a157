/* A URL comes from one of three keys; a password_file adds what the URL leaves out. The password is
 * put into the text of the URL, percent-encoded, so that everything behind reads one kind of
 * address.
 *
 * Files are read when the configuration is, and again before each connection: a password that was
 * changed on the broker and in its file holds from then on, without a restart. Only a regular file
 * can be read twice; a pipe (`password_file = /dev/fd/3`) gives its secret once, and reading it again
 * might wait for ever, so what it gave stays. */
#include "settings/secrets.h"

#include "base/memory.h"
#include "settings/problems.h"
#include "settings/source_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MOST_BYTES = 4096 }; /* many times the longest URL that a broker takes */

/* --- one line of a file --- */

struct secret {
	char text[SECRET_MOST_BYTES + 1];
};

static ssize_t read_bytes(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n = 1;
	while (n != 0 && len < size) {
		n = read(fd, buf + len, size - len);
		if (n < 0 && errno != EINTR)
			return -1;
		len += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)len;
}

static bool is_one_line(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		if (bytes.ptr[i] == '\0' || bytes.ptr[i] == '\r' || bytes.ptr[i] == '\n')
			return false;
	return bytes.len > 0;
}

/* ST_INVALID: it is not one line. */
static enum status read_line(int fd, struct secret *ret_secret)
{
	char *text = ret_secret->text;
	ssize_t len = read_bytes(fd, text, SECRET_MOST_BYTES);
	if (len < 0)
		return ST_SYSTEM;
	text[len] = '\0';
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	return len < SECRET_MOST_BYTES && is_one_line(span_of(text, (size_t)len)) ? ST_OK
										  : ST_INVALID;
}

/* ST_AGAIN: it is no file to be read again. */
static enum status read_again_file(const char *path, struct secret *ret_secret)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return ST_SYSTEM;
	enum status result = ST_AGAIN;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		result = read_line(fd, ret_secret);
	int errnum = errno;
	(void)close(fd); /* only read from */
	errno = errnum;
	return result;
}

static const char *path_of(const struct secrets_context *context, const char *key)
{
	const struct said *said = block_said(context->block, key);
	return files_beside(context->region, said->place.file, said->texts[0]);
}

/* What the key was given is not repeated: it may be the secret itself. */
const char *secrets_line(const struct secrets_context *context, const char *key)
{
	struct place place = block_place(context->block, key);
	struct span bytes = {0};
	struct error why;
	enum status st = files_read(context->files, path_of(context, key), SECRET_MOST_BYTES,
				    context->region, &bytes, &why);
	while (bytes.len > 0 &&
	       (bytes.ptr[bytes.len - 1] == '\n' || bytes.ptr[bytes.len - 1] == '\r'))
		bytes.len--;
	if (st == ST_FULL || (st == ST_OK && !is_one_line(bytes))) {
		problems_error(context->problems, place,
			       "the file of %s must hold one line of at most 4 kB", key);
		return NULL;
	}
	if (st == ST_OK)
		return region_text(context->region, bytes.ptr, bytes.len);
	problems_error(context->problems, place, "the file of %s cannot be read: %s", key,
		       why.text);
	return NULL;
}

/* --- which key gives the address --- */

static bool given(const struct secrets_context *context, const char *key)
{
	const struct key_row *row = section_find_key(context->block->section, key);
	return row != NULL && block_said(context->block, key)->n > 0;
}

static const char *address_key(const struct secrets_context *context)
{
	static const char *const keys[] = {"url", "urls", "url_file"};
	const char *found = NULL;
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		if (!given(context, keys[i]))
			continue;
		if (found != NULL)
			problems_error(context->problems, block_place(context->block, keys[i]),
				       "%s and %s are both given: leave one out", found, keys[i]);
		found = keys[i];
	}
	if (found == NULL)
		problems_error(context->problems, context->block->place,
			       "%s \"%s\" has no url: say where the broker is",
			       context->block->section->name, context->block->title);
	return found;
}

/* --- one address --- */

static bool check_address(const struct secrets_context *context, const char *key, const char *text)
{
	struct place place = block_place(context->block, key);
	struct error why;
	struct url url;
	if (url_parse(text, &url, &why) != ST_OK) {
		problems_error(context->problems, place, "%s: %s", key,
			       strncmp(why.text, "url: ", 5) == 0 ? why.text + 5 : why.text);
		return false;
	}
	const char *trouble = context->block->section->schema->wrong_url(&url);
	if (trouble != NULL)
		problems_error(context->problems, place, "%s: %s", key, trouble);
	url_free(&url);
	return trouble == NULL;
}

/* --- password_file --- */

/* `to` has room for three bytes for each of `text`, and one more. */
static void percent_encode(char *to, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";
	for (const char *c = text; *c != '\0'; c++) {
		if (strchr(plain, *c) != NULL)
			*to++ = *c;
		else
			to += sprintf(to, "%%%02X", (unsigned char)*c);
	}
	*to = '\0';
}

/* Where the login of a good URL ends: at its last "@" before the path; NULL without one. */
static const char *end_of_login(const char *login)
{
	const char *end = login + strcspn(login, "/?");
	return memrchr(login, '@', (size_t)(end - login));
}

static size_t joined_bytes(const char *bare_url, const char *password)
{
	return strlen(bare_url) + 3 * strlen(password) + sizeof ":@";
}

/* `to` has room for joined_bytes(). */
static void join(char *to, const char *bare_url, const char *password)
{
	const char *login = strstr(bare_url, "://") + 3;
	const char *at = end_of_login(login);
	size_t before = (size_t)((at != NULL ? at : login) - bare_url);
	memcpy(to, bare_url, before);
	to[before] = ':';
	percent_encode(to + before + 1, password);
	to += strlen(to);
	*to++ = '@';
	strcpy(to, at != NULL ? at + 1 : login);
}

static const char *with_password(const struct secrets_context *context, const char *text,
				 const char *password)
{
	const char *login = strstr(text, "://") + 3;
	const char *at = end_of_login(login);
	struct place place = block_place(context->block, "password_file");
	if (at != NULL && memchr(login, ':', (size_t)(at - login)) != NULL) {
		problems_error(context->problems, place,
			       "password_file: the URL has a password, too: leave one out");
		return NULL;
	}
	const char *needs_user = context->block->section->schema->needs_user;
	if (at == NULL && needs_user != NULL) {
		problems_error(context->problems, place, "password_file: the URL has no user: %s",
			       needs_user);
		return NULL;
	}
	char *joined = region_take(context->region, joined_bytes(text, password));
	join(joined, text, password);
	return joined;
}

/* --- all of it --- */

/* Replaces the address by its finished form. False: it is no good, and that has been reported. */
static bool finish_address(const struct secrets_context *context, const char *key,
			   const char *password, const char **text)
{
	if (!check_address(context, key, *text))
		return false;
	const char *finished = password != NULL ? with_password(context, *text, password) : *text;
	if (finished == NULL)
		return false;
	*text = finished;
	return true;
}

static const char **copy(const struct secrets_context *context, const char **texts, size_t n)
{
	const char **copies = region_take(context->region, (n + 1) * sizeof *copies);
	memcpy(copies, texts, n * sizeof *copies);
	return copies;
}

static bool finish_addresses(const struct secrets_context *context, const char *key,
			     const char **texts, const char *password)
{
	bool good = true;
	for (; *texts != NULL; texts++)
		good &= finish_address(context, key, password, texts);
	return good;
}

/* The addresses as they were given; NULL: there are none to go on with, which has been reported. */
static const char **given_addresses(const struct secrets_context *context, const char *key,
				    size_t *ret_n)
{
	const struct said *said = block_said(context->block, key);
	if (said->unset || block_said(context->block, "password_file")->unset)
		return NULL;
	if (strcmp(key, "urls") == 0) {
		*ret_n = said->n;
		return copy(context, said->texts, said->n);
	}
	if (said->n > 1 || said->texts[0][0] == '\0')
		return NULL; /* value.c has reported both */
	const char **texts = region_take(context->region, 2 * sizeof *texts);
	texts[0] = strcmp(key, "url") == 0 ? said->texts[0] : secrets_line(context, key);
	*ret_n = 1;
	return texts[0] != NULL ? texts : NULL;
}

bool secrets_urls(const struct secrets_context *context, struct broker_settings *broker)
{
	const char *password = NULL;
	size_t n = 0;
	const char *key = address_key(context);
	if (key == NULL)
		return false;
	const char **texts = given_addresses(context, key, &n);
	if (texts == NULL)
		return false;
	const char **bare = copy(context, texts, n);
	if (given(context, "password_file")) {
		password = secrets_line(context, "password_file");
		if (password == NULL)
			return false;
		broker->password_file = path_of(context, "password_file");
	}
	if (!finish_addresses(context, key, texts, password))
		return false;
	if (strcmp(key, "url_file") == 0)
		broker->url_file = path_of(context, "url_file");
	broker->urls = texts;
	broker->bare_urls = bare;
	broker->n_urls = n;
	return true;
}

/* --- once more --- */

/* NULL stays for what cannot be read twice. */
static enum status read_file_again(const char *key, const char *path, struct secret *secret,
				   const char **ret_text, struct error *why)
{
	switch (read_again_file(path, secret)) {
	case ST_OK:
		*ret_text = secret->text;
		return ST_OK;
	case ST_AGAIN:
		return ST_OK;
	case ST_INVALID:
		return error_set(why, ST_INVALID, "%s %s does not hold one line", key, path);
	default:
		return error_system(why, errno, "%s %s", key, path);
	}
}

/* Of the kind it was when it was loaded: whoever asks expects nothing else. */
static enum status check_again(const struct broker_settings *broker, const char *text,
			       struct error *why)
{
	struct url url;
	const struct source_schema *schema = broker->schema;
	enum status st = url_parse(text, &url, why);
	if (st != ST_OK)
		return error_add(why, st, "url_file %s", broker->url_file);
	const char *trouble = schema->wrong_url(&url);
	if (trouble != NULL)
		st = error_set(why, ST_INVALID, "url_file %s: %s", broker->url_file, trouble);
	else if (broker->password_file != NULL && url.password != NULL)
		st = error_set(why, ST_INVALID, "url_file %s: there is a password_file, too",
			       broker->url_file);
	else if (broker->password_file != NULL && schema->needs_user != NULL && url.user == NULL)
		st = error_set(why, ST_INVALID, "url_file %s: the URL has no user",
			       broker->url_file);
	url_free(&url);
	return st;
}

static enum status read_again(const struct broker_settings *broker, size_t i,
			      struct secret *secrets, char **ret_url, struct error *why)
{
	const char *bare = NULL, *password = NULL;
	enum status st = ST_OK;
	if (broker->url_file != NULL)
		st = read_file_again("url_file", broker->url_file, &secrets[0], &bare, why);
	if (st == ST_OK && bare != NULL)
		st = check_again(broker, bare, why);
	if (st == ST_OK && broker->password_file != NULL)
		st = read_file_again("password_file", broker->password_file, &secrets[1], &password,
				     why);
	if (st != ST_OK)
		return st;
	if (broker->password_file != NULL && password == NULL)
		return ST_OK; /* all that there is of it is in broker->urls */
	if (bare == NULL && password == NULL)
		return ST_OK;
	if (bare == NULL)
		bare = broker->bare_urls[i];
	char *url =
	    password != NULL ? memory_take(joined_bytes(bare, password)) : memory_text(bare);
	if (url == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	if (password != NULL)
		join(url, bare, password);
	*ret_url = url;
	return ST_OK;
}

enum status secrets_read_again(const struct broker_settings *broker, size_t i, char **ret_url,
			       struct error *why)
{
	enum { MOST = 2 };
	*ret_url = NULL;
	if (broker->url_file == NULL && broker->password_file == NULL)
		return ST_OK;
	struct secret *secrets = memory_take(MOST * sizeof *secrets);
	if (secrets == NULL)
		return error_set(why, ST_NOMEM, "out of memory");
	enum status st = read_again(broker, i, secrets, ret_url, why);
	explicit_bzero(secrets, MOST * sizeof *secrets);
	memory_free(secrets);
	return st;
}
