/* rabbitmq_link - a connection to a RabbitMQ that comes back: the next address at once, or after a
 * wait when all have failed.
 *
 * Passwords that come from files are read again before each login, and every ten seconds behind it; one that has
 * changed is told the broker with connection.update-secret, before a token ends.
 *
 * Thread: the loop's.
 * Owns:   the connection in `conn`, which changes with each attempt; borrows everything else.
 * Units:  milliseconds.
 * Fails:  never for good: an attempt that fails ends in the owner's closed(), who decides between
 *         rabbitmq_link_lost() and rabbitmq_link_stop(). */
#ifndef OUTFALL_SOURCES_RABBITMQ_LINK_H
#define OUTFALL_SOURCES_RABBITMQ_LINK_H

#include "base/backoff.h"
#include "base/error.h"
#include "sources/hosts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amqp_conn;
struct amqp_events;
struct log;
struct loop;
struct rabbitmq_settings;
struct timer;

struct rabbitmq_link {
	/* Set by the owner before rabbitmq_link_init(). */
	struct loop *loop;
	struct log *log;
	const struct rabbitmq_settings *settings;
	const char *name;                 /* how the broker lists the connection */
	uint16_t channels;                /* the highest channel number in use */
	void (*dialing)(void *arg);       /* an attempt has begun */
	const struct amqp_events *events; /* of every connection */
	void *arg;

	struct amqp_conn *conn; /* NULL: none */
	struct timer *again;
	struct reconnect backoff;
	struct hosts hosts;
	bool
	    awaits_files; /* to dial, when the files of its address have been read, or it is time */
	struct timer
	    *look;    /* while logged in, where there are such files: whether they have changed */
	bool doubted; /* the broker has refused something since the login */
	struct error failed; /* why an attempt could not even begin, or is left; ST_OK: neither */
};

enum status rabbitmq_link_init(struct rabbitmq_link *link, struct error *why);
void rabbitmq_link_fini(struct rabbitmq_link *link);

void rabbitmq_link_dial(struct rabbitmq_link *link); /* now */
/* It has logged in. Once that has stood for a while, the next wait is a short one again. */
void rabbitmq_link_worked(struct rabbitmq_link *link);
/* Drops the connection, says so in the log, and dials the next address, perhaps after a wait. */
void rabbitmq_link_lost(struct rabbitmq_link *link, const struct error *why);
/* The same without a wait, and without a word; false, and only dropped, when all have been tried. */
bool rabbitmq_link_try_next(struct rabbitmq_link *link);
void rabbitmq_link_stop(struct rabbitmq_link *link); /* drops it, and dials no more */
/* Logged in, and now it may not do something. Where the password comes from a file, that may be another by now: a token
 * that has expired. Then the connection is left, as with rabbitmq_link_leave(). */
void rabbitmq_link_doubt(struct rabbitmq_link *link);
/* Connected, and of no use any more: ends in closed() as soon as nobody is at work in it. */
void rabbitmq_link_leave(struct rabbitmq_link *link, const struct error *why);

uint32_t rabbitmq_random(void);
uint64_t rabbitmq_wall_ms(void); /* since 1970 */

#endif
