/* What would only show when the worker starts, or when an operator wants to stop it in a hurry. */
#include "settings/listen_address.h"
#include "settings/problems.h"
#include "settings/rules.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { TOKEN_LEAST = 16 }; /* letters; fewer can be guessed over a network */

static void check_socket(const struct rules *rules, const struct said *said, const char *path)
{
	struct place place = said->place;
	struct sockaddr_un un;
	struct stat st;
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
		problems_error(rules->problems, place, "admin: the socket cannot be made in %s: %s",
			       said_path(said, folder, "its folder"), strerror(errno));
	else if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		problems_error(rules->problems, place,
			       "admin: where the socket should be is a file that is no socket");
}

/* What binding to it will meet, but for somebody who is there already: that may be the worker whose
 * configuration this is. */
static int probe(struct listen_address *address)
{
	in_port_t port = listen_address_port(address);
	if (ntohs(port) >= IPPORT_RESERVED)
		listen_address_set_port(address, 0);
	int fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0; /* a family that this host has not is the listener's affair */
	int result = bind(fd, (const struct sockaddr *)&address->at, address->len);
	int errnum = result != 0 && errno != EADDRINUSE ? errno : 0;
	(void)close(fd); /* a probe */
	return errnum;
}

static void check_address(const struct rules *rules, const struct block *block, const char *key,
			  const char *text)
{
	struct listen_address address;
	int errnum = 0;
	bool good = listen_address_parse(text, &address);
	if (good && !rules->again)
		errnum = probe(&address);
	if (errnum != 0)
		problems_error(rules->problems, block_place(block, key),
			       "admin: %s cannot be listened on: %s", key, strerror(errnum));
	if (!good)
		problems_error(rules->problems, block_place(block, key),
			       "%s needs an address and a port, like 127.0.0.1:9180, [::1]:9180, "
			       "localhost:9180 or *:9180",
			       key);
}

static void check_same_address(const struct rules *rules, const struct block *block,
			       const struct admin_settings *admin)
{
	struct listen_address http, agent;
	if (admin->http == NULL || admin->agent == NULL ||
	    !listen_address_parse(admin->http, &http) ||
	    !listen_address_parse(admin->agent, &agent) || !listen_addresses_clash(&http, &agent))
		return;
	problems_error(rules->problems, block_place(block, "agent"),
		       "admin: http and agent cannot listen on one port: give agent another");
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
	if (admin->socket != NULL && !rules->again)
		check_socket(rules, block_said(block, "socket"), admin->socket);
	if (admin->http != NULL) {
		check_address(rules, block, "http", admin->http);
	} else {
		warn_without_http(rules, block, "hosts");
		warn_without_http(rules, block, "token_file");
	}
	if (admin->agent != NULL)
		check_address(rules, block, "agent", admin->agent);
	check_same_address(rules, block, admin);
	if (admin->token != NULL && strlen(admin->token) < TOKEN_LEAST)
		problems_warn(rules->problems, block_place(block, "token_file"),
			      "admin: a token of less than %d letters can be guessed", TOKEN_LEAST);
	if (admin->no_socket && block_said(block, "socket_mode")->n > 0)
		problems_warn(rules->problems, block_place(block, "socket_mode"),
			      "admin: socket_mode has no effect without socket");
}
