/* The source has one of these, and so has whatever publishes: what they share is how to come back. An
 * attempt that cannot even begin (no memory, an address that does not parse) takes the same way as
 * one that failed on the wire: told from a clean stack, through the owner's closed(). So does a
 * connection that is left, because an owner finds out inside its events, where it must not go. */
#include "sources/rabbitmq/rabbitmq_link.h"

#include "base/log.h"
#include "base/memory.h"
#include "loop/loop.h"
#include "sources/rabbitmq/rabbitmq_server.h"
#include "sources/rabbitmq/rabbitmq_settings.h"
#include "wire/amqp.h"
#include "wire/stream.h"
#include "wire/url.h"

#include <sys/random.h>
#include <time.h>

enum { LOOK_MS = 10000 }; /* into files; tokens live for minutes at least */

/* Spreads waits; nothing depends on its quality. */
uint32_t rabbitmq_random(void)
{
	uint32_t bits = 0;
	(void)!getrandom(&bits, sizeof bits, GRND_NONBLOCK);
	return bits;
}

uint64_t rabbitmq_wall_ms(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now); /* that clock is always there */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static const char *or_default(const char *text, const char *otherwise)
{
	return text != NULL && text[0] != '\0' ? text : otherwise;
}

static enum status dial_url(struct rabbitmq_link *link, const struct url *url)
{
	const struct rabbitmq_settings *settings = link->settings;
	struct address to = hosts_address(&link->hosts);
	struct amqp_login login = {
	    .auth = settings->auth == RABBITMQ_AUTH_EXTERNAL ? AMQP_AUTH_EXTERNAL : AMQP_AUTH_PLAIN,
	    .user = url->user != NULL ? url->user : "guest",
	    .password = url->password != NULL ? url->password : "guest",
	    .vhost = or_default(url->path, "/"),
	    .name = link->name,
	    .channels = link->channels,
	    .heartbeat_ms = settings->heartbeat_ms,
	    .login_ms = settings->broker.connect_timeout_ms,
	};
	link->conn = amqp_conn_open(link->loop, &to, &login, link->events, link->arg);
	return link->conn != NULL ? ST_OK : error_set(&link->failed, ST_NOMEM, "out of memory");
}

static enum status dial(struct rabbitmq_link *link)
{
	const struct url *url;
	enum status st = hosts_next(&link->hosts, &url, &link->failed);
	return st == ST_OK ? dial_url(link, url) : st;
}

static void dial_now(struct rabbitmq_link *link)
{
	link->awaits_files = false;
	timer_stop(link->again);
	if (dial(link) != ST_OK)
		timer_start(link->again, 0);
}

/* --- files that change ------------------------------------------------------------------------- */

static void tell_secret(struct rabbitmq_link *link)
{
	struct url url;
	struct error why;
	if (!rabbitmq_server_updates_secrets(amqp_conn_server(link->conn)) ||
	    hosts_current(&link->hosts, &url, &why) != ST_OK)
		return; /* the next login has it */
	if (url.password != NULL) {
		amqp_conn_update_secret(link->conn, url.password);
		log_say(link->log, LOG_INFO, "password has changed, told the broker",
			kv_text("source", link->settings->name), kv_text("connection", link->name));
	}
	url_free(&url);
}

static void leave_for_new_secret(struct rabbitmq_link *link)
{
	struct error why;
	(void)error_set(&why, ST_AGAIN, "access was refused, and the password has changed");
	rabbitmq_link_leave(link, &why);
}

static void files_read(void *arg, enum hosts_news news)
{
	struct rabbitmq_link *link = arg;
	if (link->awaits_files)
		dial_now(link);
	else if (link->conn == NULL || news != HOSTS_CHANGED || link->failed.status != ST_OK)
		return;
	else if (link->doubted)
		leave_for_new_secret(link);
	else
		tell_secret(link);
}

static void look(void *arg)
{
	struct rabbitmq_link *link = arg;
	(void)hosts_read(&link->hosts, link->loop, files_read, link); /* or it is under way */
	timer_start(link->look, LOOK_MS);
}

void rabbitmq_link_doubt(struct rabbitmq_link *link)
{
	link->doubted = true;
	if (link->conn != NULL && timer_armed(link->look))
		look(link);
}

/* --- dialing ----------------------------------------------------------------------------------- */

void rabbitmq_link_dial(struct rabbitmq_link *link)
{
	link->failed.status = ST_OK;
	link->awaits_files = hosts_read(&link->hosts, link->loop, files_read, link);
	if (link->awaits_files)
		timer_start(link->again, link->settings->broker.connect_timeout_ms);
	else
		dial_now(link);
	link->dialing(link->arg);
}

static void try_again(void *arg)
{
	struct rabbitmq_link *link = arg;
	if (link->awaits_files) {
		log_say(link->log, LOG_WARN, "secret not read again in time, using the last one",
			kv_text("source", link->settings->name));
		dial_now(link);
		return;
	}
	if (link->failed.status == ST_OK) {
		rabbitmq_link_dial(link);
		return;
	}
	struct error why = link->failed; /* what closed() does forgets it */
	link->events->closed(link->arg, &why);
}

enum status rabbitmq_link_init(struct rabbitmq_link *link, struct error *why)
{
	link->again = timer_create_on(link->loop, try_again, link);
	link->look = timer_create_on(link->loop, look, link);
	if (link->again == NULL || link->look == NULL ||
	    hosts_init(&link->hosts, &link->settings->broker, link->log, link->settings->name,
		       rabbitmq_random()) != ST_OK)
		return error_set(why, ST_NOMEM, "out of memory");
	link->hosts.dead_after_ms = 2 * link->settings->heartbeat_ms; /* as amqp.c counts */
	return ST_OK;
}

void rabbitmq_link_fini(struct rabbitmq_link *link)
{
	amqp_conn_destroy(link->conn);
	link->conn = NULL;
	timer_destroy(link->again);
	timer_destroy(link->look);
	link->again = link->look = NULL;
	if (link->hosts.settings != NULL)
		hosts_fini(&link->hosts);
}

void rabbitmq_link_worked(struct rabbitmq_link *link)
{
	hosts_worked(&link->hosts, loop_now_ns(link->loop));
	link->doubted = false;
	if (hosts_have_files(&link->hosts))
		timer_start(link->look, LOOK_MS);
}

void rabbitmq_link_stop(struct rabbitmq_link *link)
{
	amqp_conn_destroy(link->conn);
	link->conn = NULL;
	link->awaits_files = false;
	timer_stop(link->again);
	timer_stop(link->look);
	link->failed.status = ST_OK;
}

void rabbitmq_link_leave(struct rabbitmq_link *link, const struct error *why)
{
	link->failed = *why;
	timer_start(link->again, 0);
}

bool rabbitmq_link_try_next(struct rabbitmq_link *link)
{
	bool steady;
	rabbitmq_link_stop(link);
	if (hosts_failed(&link->hosts, loop_now_ns(link->loop), &steady))
		return false;
	rabbitmq_link_dial(link);
	return true;
}

void rabbitmq_link_lost(struct rabbitmq_link *link, const struct error *why)
{
	char url[256];
	bool steady;
	uint64_t wait_ms = 0;
	rabbitmq_link_stop(link);
	bool wait = hosts_failed(&link->hosts, loop_now_ns(link->loop), &steady);
	if (steady)
		reconnect_worked(&link->backoff);
	if (wait)
		wait_ms = reconnect_failed(&link->backoff, rabbitmq_random());
	hosts_redacted(&link->hosts, url, sizeof url);
	log_say(link->log, LOG_WARN, "rabbitmq connection lost, reconnecting",
		kv_text("source", link->settings->name), kv_text("connection", link->name),
		kv_text("url", url), kv_int("wait_ms", (int64_t)wait_ms), kv_why(why));
	timer_start(link->again, wait_ms);
}
