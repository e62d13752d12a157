/* hosts - where a broker is to be found: which address is next, and as whom to log in there now.
 *
 * Thread: the loop's.
 * Owns:   the addresses it has read again, and what it read for TLS; an address handed out is valid
 *         until the next is asked for, and connections must end before hosts_fini().
 * Units:  nanoseconds.
 * Fails:  hosts_next() with ST_NOMEM, or ST_INVALID for an address that does not parse. A file that
 *         cannot be read again is no failure: what was read last holds, and the log says so. */
#ifndef OUTFALL_SOURCES_HOSTS_H
#define OUTFALL_SOURCES_HOSTS_H

#include "base/error.h"
#include "wire/stream.h"
#include "wire/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker_settings;
struct hosts_reading;
struct log;
struct loop;
struct tls;

struct hosts {
	const struct broker_settings *settings;
	struct log *log;
	const char *source; /* for the log */
	/* For connections that the kernel should give up; see struct address. */
	uint64_t dead_after_ms;

	struct hosts_reading *reading; /* under way; NULL: none */
	bool unreadable;               /* the last one failed */
	size_t *order;                 /* of settings->urls */
	char **again;         /* of settings->urls: as last read from their file; NULL: never */
	size_t next, current; /* in `order`; in settings->urls */
	unsigned place;       /* counts how often the next address was another host's */
	size_t failed;        /* tries in a row, up to all of them */
	uint64_t up_since_ns; /* 0: the last try did not work */
	unsigned first;       /* see struct address: another one after each try that failed */
	struct url url;       /* the one handed out last */
	struct tls *tls;      /* NULL: no address has needed it yet */
};

/* `source` is borrowed. `random`: any 32 random bits; they choose the order. */
enum status hosts_init(struct hosts *hosts, const struct broker_settings *settings, struct log *log,
		       const char *source, uint32_t random);
void hosts_fini(struct hosts *hosts); /* fine on a zeroed one */

bool hosts_have_files(const struct hosts *hosts); /* for addresses or passwords */
enum hosts_news {
	HOSTS_AS_BEFORE,
	HOSTS_CHANGED, /* the address handed out last has changed, or its password has */
};
/* Reads these files again, on a thread, for hosts_next() to hand out; then `done` is called. False: there are
 * none, or they are still being read, and `done` is not called for this time. */
bool hosts_read(struct hosts *hosts, struct loop *loop,
		void (*done)(void *arg, enum hosts_news news), void *arg);
void hosts_read_now(struct hosts *hosts); /* for who has nothing else to do */
void hosts_stop_reading(struct hosts *hosts);
/* The address handed out last, as it was read last: its password may be another now. Freed by the caller. */
enum status hosts_current(const struct hosts *hosts, struct url *ret_url, struct error *why);

/* The next address, as its files had it when they were read last. Where to connect is hosts_address() of it. */
enum status hosts_next(struct hosts *hosts, const struct url **ret_url, struct error *why);
struct address hosts_address(const struct hosts *hosts);
/* The address names Sentinels: one of them, or the master that they tell, is where to connect. */
bool hosts_ask_sentinels(const struct hosts *hosts);
bool hosts_is_cluster(
    const struct hosts *hosts); /* it names some nodes, any of which may redirect */
struct address hosts_address_of(const struct hosts *hosts, const char *host, unsigned port);
void hosts_redacted(const struct hosts *hosts, char *buf, size_t size); /* for people */

void hosts_worked(struct hosts *hosts, uint64_t now_ns); /* the try ended in a login */
/* It did not, or the connection was lost. True: every address has failed since one worked for a
 * while, so wait before the next. *ret_steady: one had worked for a while. */
bool hosts_failed(struct hosts *hosts, uint64_t now_ns, bool *ret_steady);

#endif
