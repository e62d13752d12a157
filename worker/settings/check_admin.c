/* What would only show when the worker starts, or when an operator wants to stop it in a hurry. */
#include "settings/listen_address.h"
#include "settings/problems.h"
#include "settings/rules.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { TOKEN_LEAST = 16 }; /* letters; fewer can be guessed over a network */

static void check_socket(const struct rules *rules, const struct said *said, const char *path)
{
	struct place place = said->place;
	struct sockaddr_un un;
	char folder[sizeof un.sun_path] = ".";
	const char *slash = strrchr(path, '/');
	if (strlen(path) >= sizeof un.sun_path) {
		problems_error(rules->problems, place,
			       "admin: the path of a socket has at most %zu bytes",
			       sizeof un.sun_path - 1);
		return;
	}
	if (slash != NULL) {
		size_t len = (size_t)(slash - path) + 1;
		memcpy(folder, path, len);
		folder[len] = '\0';
	}
	if (access(folder, W_OK | X_OK) != 0)
		problems_warn(rules->problems, place, "admin: the socket cannot be made in %s: %s",
			      said_path(said, folder, "its folder"), strerror(errno));
}

static void check_address(const struct rules *rules, const struct block *block, const char *key,
			  const char *text)
{
	struct listen_address address;
	if (!listen_address_parse(text, &address))
		problems_error(rules->problems, block_place(block, key),
			       "%s needs an address and a port, like 127.0.0.1:9180, [::1]:9180, "
			       "localhost:9180 or *:9180",
			       key);
}

/* Keys that only mean something beside `http`. */
static void warn_without_http(const struct rules *rules, const struct block *block, const char *key)
{
	if (block_said(block, key)->n > 0)
		problems_warn(rules->problems, block_place(block, key),
			      "admin: %s has no effect without http", key);
}

void check_admin(const struct rules *rules, const struct block *block)
{
	const struct admin_settings *admin = &rules->settings->admin;
	if (admin->socket != NULL)
		check_socket(rules, block_said(block, "socket"), admin->socket);
	if (admin->http != NULL) {
		check_address(rules, block, "http", admin->http);
	} else {
		warn_without_http(rules, block, "hosts");
		warn_without_http(rules, block, "token_file");
	}
	if (admin->agent != NULL)
		check_address(rules, block, "agent", admin->agent);
	if (admin->token != NULL && strlen(admin->token) < TOKEN_LEAST)
		problems_warn(rules->problems, block_place(block, "token_file"),
			      "admin: a token of less than %d letters can be guessed", TOKEN_LEAST);
	if (admin->socket == NULL && block_said(block, "socket_mode")->n > 0)
		problems_warn(rules->problems, block_place(block, "socket_mode"),
			      "admin: socket_mode has no effect without socket");
}
