#include "sources/rabbitmq/rabbitmq_server.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static bool is_at_least(const char *server, unsigned major, unsigned minor)
{
	unsigned has_major, has_minor;
	if (sscanf(server, "RabbitMQ %u.%u", &has_major, &has_minor) != 2)
		return false;
	return has_major > major || (has_major == major && has_minor >= minor);
}

bool rabbitmq_server_speaks_tx(const char *server)
{
	return strncmp(server, "RabbitMQ ", 9) == 0;
}

const struct rabbitmq_delivery_rules *rabbitmq_server_delivery_rules(const char *server)
{
	static const struct rabbitmq_delivery_rules newest_first[] = {
	    {4, 3, 20, false},
	    {4, 0, 20, true },
	    {3, 8, 0,  true },
	};
	for (size_t i = 0; i < sizeof newest_first / sizeof *newest_first; i++)
		if (is_at_least(server, newest_first[i].major, newest_first[i].minor))
			return &newest_first[i];
	return NULL;
}

bool rabbitmq_server_updates_secrets(const char *server)
{
	return is_at_least(server, 3, 8);
}

bool rabbitmq_server_has_streams(const char *server)
{
	return is_at_least(server, 3, 9);
}

bool rabbitmq_server_knows_consumer_timeout(const char *server)
{
	return is_at_least(server, 3, 12);
}

bool rabbitmq_server_tells_single_active(const char *server)
{
	return is_at_least(server, 3, 10);
}

bool rabbitmq_server_dead_letters_at_least_once(const char *server)
{
	return is_at_least(server, 3, 10);
}
